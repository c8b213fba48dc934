"""Score calibrations beside runs and exports, found for the engines that were opened from them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dawnchorus.config import read_json_if_sound
from dawnchorus.engines.engine import Engine
from dawnchorus.engines.opening import BUNDLE_NAME, BundleFacts, is_run
from dawnchorus.engines.probe_engine import is_probe
from dawnchorus.models.probe_head import HEAD_NAME
from dawnchorus.models.reviewed_calibration import ReviewedCalibration
from dawnchorus.models.score_calibration import SCORE_CALIBRATION_NAME, ScoreCalibration, Thresholds

if TYPE_CHECKING:
    from dawnchorus.runs import Run

logger = logging.getLogger(__name__)


def calibration_of(engine: Engine) -> ScoreCalibration | None:
    """Return the calibration that lies beside an engine's run or export; None where there is none.

    None too, with a warning, where it is of earlier weights.

    Raises
    ------
    ModelError
        The file is damaged, or of other classes.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> calibration_of(open_engine("model", n_threads=1)) is None
    True
    """
    folder = engine.folder
    if folder is None or not (folder / SCORE_CALIBRATION_NAME).is_file():
        return None
    file = folder / SCORE_CALIBRATION_NAME
    calibration = ScoreCalibration.read(file)
    calibration.check_labels(engine.card.labels, where=file)
    if not _is_of(calibration, folder, engine.card.folds):
        logger.warning(
            "%s is of other weights than the model has now, and not used; dawnchorus calibrate RUN makes it "
            "anew.",
            file,
        )
        return None
    return calibration


def with_calibration(engine: Engine) -> Engine:
    """Return an engine with the calibration beside it and its default thresholds, if there is one.

    Raises
    ------
    ModelError
        As for :func:`calibration_of`.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> with_calibration(open_engine("model", n_threads=1)).thresholds is None
    True
    """
    engine.calibration = calibration_of(engine)
    if engine.calibration is not None:
        engine.thresholds = Thresholds(engine.calibration.thresholds(), engine.calibration.aim)
    return engine


def with_answers(engine: Engine, file: Path) -> Engine:
    """Return an engine with what reviewers have answered over its calibration, or over its raw scores.

    Parameters
    ----------
    engine
        As :func:`with_calibration` returns it, or without a calibration.
    file
        ``reviewed_calibration.json`` of a review.

    Raises
    ------
    ModelError
        The file holds none, or is about other scores or classes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> curve = '{"label": "wren", "slope": 1.0, "offset": -2.0, "n_answers": 20}'
    >>> _ = Path("reviewed.json").write_text('{"scale": null, "classes": [' + curve + "]}")
    >>> with_answers(open_engine("model", n_threads=1), Path("reviewed.json")).calibration
    ScoreCalibration(3 classes, threshold 0.50 for half)
    """
    given = ReviewedCalibration.read(file).over(engine.calibration, engine.card.labels)
    engine.calibration = given
    if engine.thresholds is None:
        engine.thresholds = Thresholds(given.thresholds(), given.aim)
    return engine


def calibrations_of(engines: Sequence[Engine]) -> list[ScoreCalibration] | None:
    """Return the calibrations of several engines; None where one has none, with a warning if others do.

    Raises
    ------
    ModelError
        As for :func:`calibration_of`.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> calibrations_of([open_engine("model", n_threads=1)]) is None
    True
    """
    found = [calibration_of(engine) for engine in engines]
    there = [each for each in found if each is not None]
    if len(there) == len(found):
        return there
    if there:
        without = [engine.card.exp_name for engine, each in zip(engines, found, strict=True) if each is None]
        logger.warning(
            "%s is not calibrated, so that the raw scores of all models are averaged.", " and ".join(without)
        )
    return None


def checkpoint_digests(run: Run, folds: Sequence[int]) -> dict[str, str]:
    """Return the SHA-256 of the best checkpoint of each fold, in hexadecimal digits, by its number as text.

    Raises
    ------
    RunError
        A fold is not finished, or its checkpoint is gone.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> digests = checkpoint_digests(Run.open("logdirs/tiny"), [0, 1])
    >>> list(digests), len(digests["0"])
    (['0', '1'], 64)
    """
    digests = {}
    for fold in folds:
        with run.best_checkpoint(fold).open("rb") as file:
            digests[str(fold)] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def head_digest(probe: Path) -> str:
    """Return the SHA-256 of the head of a probe, in hexadecimal digits.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("owls").mkdir()
    >>> _ = Path("owls/head.npz").write_bytes(b"weights")
    >>> head_digest(Path("owls"))[:8]
    '9a129038'
    """
    with (probe / HEAD_NAME).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fits_bundle(calibration: ScoreCalibration, bundle: Path) -> bool:
    """Return whether a calibration is of the weights of an export, as far as its ``bundle.json`` says.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.models.score_calibration import ScoreCalibration
    >>> fits_bundle(ScoreCalibration.model_construct(weights={}), Path("a_model_file_alone"))
    True
    """
    facts = read_json_if_sound(bundle / BUNDLE_NAME, BundleFacts)
    if facts is None:
        return True
    digests = [calibration.weights.get(str(fold)) for fold in facts.folds]
    if None in digests:
        return False
    joined = hashlib.sha256(bytes.fromhex("".join(digest or "" for digest in digests))).hexdigest()[:16]
    return facts.checkpoints == f"torch {joined}"  # as fingerprint_of makes it of the files


def _is_of(calibration: ScoreCalibration, folder: Path, folds: Sequence[int]) -> bool:
    if is_probe(folder):
        return calibration.weights == {HEAD_NAME: head_digest(folder)}
    if not is_run(folder):
        return fits_bundle(calibration, folder)
    from dawnchorus.runs import Run

    return calibration.is_of(checkpoint_digests(Run(folder), folds))
