"""Export of a run's folds as bundles for other engines, compared with PyTorch before they are kept.

A bundle is a folder that predicts wherever it is copied to: the model with its card in it, ``bundle.json``
(the card for people), and the results of ``dawnchorus calibrate`` and ``dawnchorus tune``.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dawnchorus.config import TrainConfig
from dawnchorus.engines.engine_settings import TUNED_NAME, default_settings
from dawnchorus.engines.onnx_engine import OnnxEngine
from dawnchorus.engines.opening import BUNDLE_NAME, checkpoints_fingerprint
from dawnchorus.engines.openvino_engine import OpenVinoEngine
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import ExportError
from dawnchorus.evaluate.out_of_fold import recordings_with_folds
from dawnchorus.export.int8 import ScoreClips, check_score, quantize, score_clips
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import read_onnx, write_fp16, write_ir
from dawnchorus.export.parity import TOLERANCE_FP16, Parity, check_parity, generated_clips, parity_clips
from dawnchorus.files import replacing_all
from dawnchorus.formats.taxonomy import read_taxonomy
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.thresholds import CALIBRATION_NAME, THRESHOLDS_NAME
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)


def export_ensemble(
    run: Run,
    config: TrainConfig | None,
    *,
    folds: Sequence[int] | None = None,
    int8: bool = False,
    taxonomy: Path | None = None,
) -> list[Parity]:
    """Write the exports of a run, and return the difference of each from PyTorch on real clips.

    Parameters
    ----------
    run
        A run with finished folds.
    config
        The run's config; the clips for the comparison are read from its recordings. None compares on
        generated clips, for a run without recordings, as an adopted one is.
    folds
        Folds of the ensemble; None takes all that are finished.
    int8
        Whether to write one in 8 bits too, which is compared by its score and not by probabilities.
    taxonomy
        Table with names of the classes for the model card, in addition to those that the run has.

    Raises
    ------
    DataError
        The taxonomy cannot be read, or knows none of the classes.
    ExportError
        An export differs from PyTorch by more than the tolerance; earlier exports stay.
    MissingExtraError
        8 bits are wanted and nncf is not installed.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> export_ensemble(run, run.config(), folds=[7])
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: logdirs/tiny has no finished fold 7; finished are [0, 1]
    """
    chosen = run.chosen_folds(folds)
    card = replace(run.card(), folds=chosen)
    if taxonomy is not None:
        card = replace(card, species={**card.species, **read_taxonomy(taxonomy, card.labels)})
    labels = LabelMap(card.labels)
    if int8 and config is None:
        raise ExportError(f"{run.path} has no config and no recordings, which 8 bits need; leave --int8 out")
    recordings = None if config is None else recordings_with_folds(run, config)
    if config is None or recordings is None:
        clips = generated_clips(card)
    else:
        clips = parity_clips(recordings, config, labels)
    models = [run.load_model(fold) for fold in chosen]
    reference = TorchEngine(models, card, device="cpu")
    settings = default_settings()
    files = [run.onnx_file, run.openvino_file, *([run.int8_file] if int8 else [])]
    # All or none are moved into place, so that engines never hold different models.
    with replacing_all([file.parent for file in files]) as folders:
        onnx_file, openvino_file, *int8_files = [
            folder / file.name for folder, file in zip(folders, files, strict=True)
        ]
        facts, calibration = _facts(run, card), _calibration_of(run, card)
        for file, goal in zip((onnx_file, openvino_file, *int8_files), files, strict=True):
            _begin_bundle(file.parent, facts, [*calibration, goal.parent / TUNED_NAME])
        write_onnx(models, card, onnx_file)
        parities = [check_parity("ONNX", OnnxEngine(onnx_file, settings), reference, clips)]
        whole = read_onnx(onnx_file, card)
        write_ir(whole, openvino_file)
        check_parity("OpenVINO", OpenVinoEngine(openvino_file, settings), reference, clips)
        write_fp16(whole, openvino_file)
        narrow = OpenVinoEngine(openvino_file, settings)
        parities.append(check_parity("OpenVINO fp16", narrow, reference, clips, tolerance=TOLERANCE_FP16))
        for file in int8_files:
            assert config is not None
            assert recordings is not None
            scored = score_clips(recordings, config, labels)
            # Ranges are taken from every other clip, and the score from those between.
            write_ir(quantize(read_onnx(onnx_file, card), scored.waves[::2]), file)
            between = ScoreClips(scored.waves[1::2], scored.targets[1::2])
            parities.append(check_score(OpenVinoEngine(file, settings), reference, between))
    if not int8 and run.int8_file.parent.is_dir():
        shutil.rmtree(run.int8_file.parent)
        logger.info("The export in 8 bits was of earlier weights and is removed; --int8 makes it anew.")
    return parities


def _begin_bundle(folder: Path, facts: str, kept: Sequence[Path]) -> None:
    """Make the folder of a bundle with all but the model; existing files of ``kept`` are copied into it."""
    folder.mkdir()
    (folder / BUNDLE_NAME).write_text(facts, encoding="utf-8")
    for file in kept:
        if file.is_file():
            shutil.copy(file, folder / file.name)


def _facts(run: Run, card: ModelCard) -> str:
    facts = {"checkpoints": checkpoints_fingerprint(run, card.folds), **asdict(card)}
    return json.dumps(facts, indent=2, ensure_ascii=False)


def _calibration_of(run: Run, card: ModelCard) -> list[Path]:
    """Return the files of a calibration of these weights, without those of earlier weights."""
    newest = run.newest_weights_ns(card.folds)
    files = [run.path / name for name in (THRESHOLDS_NAME, CALIBRATION_NAME)]
    there = [file for file in files if file.is_file()]
    outdated = [file for file in there if file.stat().st_mtime_ns <= newest]
    for file in outdated:
        logger.warning("%s is of earlier weights and left out; run dawnchorus calibrate again.", file)
    return [file for file in there if file not in outdated]
