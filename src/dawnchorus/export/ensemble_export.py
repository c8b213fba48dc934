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
from dawnchorus.engines.calibrations import checkpoint_digests
from dawnchorus.engines.engine_settings import TUNED_NAME, default_settings
from dawnchorus.engines.onnx_engine import OnnxEngine
from dawnchorus.engines.opening import BUNDLE_NAME, checkpoints_fingerprint
from dawnchorus.engines.openvino_engine import OpenVinoEngine
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import ExportError
from dawnchorus.evaluate.validated_recordings import recordings_with_folds
from dawnchorus.export.int8 import ScoreClips, check_score, quantize, score_clips
from dawnchorus.export.onnx import write_one_file, write_onnx, write_onnx_fp16
from dawnchorus.export.openvino import read_onnx, write_fp16, write_ir
from dawnchorus.export.parity import TOLERANCE_FP16, Parity, check_parity, generated_clips, parity_clips
from dawnchorus.files import replacing_all
from dawnchorus.formats.taxonomy import read_taxonomy
from dawnchorus.models.card import ModelCard
from dawnchorus.models.score_calibration import SCORE_CALIBRATION_NAME, ScoreCalibration
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
    one_file: bool = False,
    onnx_fp16: bool = False,
    frames: bool = False,
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
    one_file, onnx_fp16
        Whether to write one ONNX file with the weights in it too, in float32 or in fp16.
    frames
        Whether the exports give frame logits too.
    taxonomy
        Table with names of the classes for the model card, in addition to those that the run has.

    Raises
    ------
    DataError
        The taxonomy cannot be read, or knows none of the classes.
    ExportError
        An export differs from PyTorch by more than the tolerance, one file would exceed 2 GB, or frames are
        wanted of heads that have none; earlier exports stay.
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
    if frames and reference.outputs(clips.waves[:1]).frame_logits is None:
        raise ExportError(f"{run.path}: its head gives no frame logits; leave --frames out")
    settings = default_settings()
    wanted = {"OpenVINO int8": int8, "ONNX one file": one_file, "ONNX fp16": onnx_fp16}
    written = export_files(run)
    files = [file for name, file in written.items() if wanted.get(name, True)]
    # All or none are moved into place, so that engines never hold different models.
    with replacing_all([file.parent for file in files]) as folders:
        new = {file: folder / file.name for folder, file in zip(folders, files, strict=True)}
        onnx_file, openvino_file = new[run.onnx_file], new[run.openvino_file]
        facts, calibration = _facts(run, card), _calibration_of(run, card)
        for goal, file in new.items():
            _begin_bundle(file.parent, facts, [*calibration, goal.parent / TUNED_NAME])
        write_onnx(models, card, onnx_file, frames=frames)
        parities = [check_parity("ONNX", OnnxEngine(onnx_file, settings), reference, clips)]
        whole = read_onnx(onnx_file, card)
        write_ir(whole, openvino_file)
        check_parity("OpenVINO", OpenVinoEngine(openvino_file, settings), reference, clips)
        write_fp16(whole, openvino_file)
        narrow = OpenVinoEngine(openvino_file, settings)
        parities.append(check_parity("OpenVINO fp16", narrow, reference, clips, tolerance=TOLERANCE_FP16))
        if int8:
            assert config is not None
            assert recordings is not None
            scored = score_clips(recordings, config, labels)
            # Ranges are taken from every other clip, and the score from those between.
            write_ir(quantize(read_onnx(onnx_file, card), scored.waves[::2]), new[run.int8_file])
            between = ScoreClips(scored.waves[1::2], scored.targets[1::2])
            parities.append(check_score(OpenVinoEngine(new[run.int8_file], settings), reference, between))
        if one_file:
            write_one_file(onnx_file, new[run.one_file])
            whole = OnnxEngine(new[run.one_file], settings)
            parities.append(check_parity("ONNX one file", whole, reference, clips))
        if onnx_fp16:
            write_onnx_fp16(onnx_file, new[run.onnx_fp16_file])
            half = OnnxEngine(new[run.onnx_fp16_file], settings)
            parities.append(check_parity("ONNX fp16", half, reference, clips, tolerance=TOLERANCE_FP16))
    for name, is_wanted in wanted.items():
        if not is_wanted and written[name].parent.is_dir():
            shutil.rmtree(written[name].parent)
            logger.info("The export %s was of earlier weights and is removed.", written[name].parent.name)
    return parities


def export_files(run: Run) -> dict[str, Path]:
    """Return the model files of a run's exports by :attr:`Parity.engine`; those of options may not be there.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> export_files(Run.open("logdirs/tiny"))["ONNX fp16"].as_posix()
    'logdirs/tiny/onnx_ensem_5first_folds_fp16/model.onnx'
    """
    return {
        "ONNX": run.onnx_file,
        "OpenVINO fp16": run.openvino_file,
        "OpenVINO int8": run.int8_file,
        "ONNX one file": run.one_file,
        "ONNX fp16": run.onnx_fp16_file,
    }


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
    scores = run.path / SCORE_CALIBRATION_NAME
    if scores.is_file():
        if ScoreCalibration.read(scores).is_of(checkpoint_digests(run, card.folds)):
            there.append(scores)
        else:
            logger.warning(
                "%s is of other weights and left out, so that the export gives raw scores; run dawnchorus "
                "calibrate, and export again.",
                scores,
            )
    return [file for file in there if file not in outdated]
