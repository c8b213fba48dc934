"""Thresholds of the classes at a precision, from out-of-fold predictions, and a picture of their reliability.

They are of calibrated scores, whose calibration is fitted first
(:mod:`dawnchorus.pipelines.run_score_calibration`); of raw ones where these cannot be calibrated.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dawnchorus.config import TrainConfig
from dawnchorus.errors import DataError
from dawnchorus.evaluate.calibration import (
    NEVER,
    OWN,
    POOLED,
    ClassThreshold,
    PrecisionRecall,
    check_precision,
    precision_recall,
    thresholds_at_precision,
    write_thresholds,
)
from dawnchorus.evaluate.out_of_fold import OutOfFold, predict_out_of_fold, saved_out_of_fold
from dawnchorus.evaluate.reliability import Reliability, reliability
from dawnchorus.evaluate.score_fitting import calibrated as calibrated_by
from dawnchorus.evaluate.score_fitting import folds_together
from dawnchorus.files import replacing, write_text
from dawnchorus.models.score_calibration import ScoreCalibration
from dawnchorus.pipelines.run_score_calibration import (
    calibrate_scores,
    copy_to_exports,
    export_dirs,
    present_calibration,
)
from dawnchorus.predict.thresholds import CALIBRATION_NAME, THRESHOLDS_NAME
from dawnchorus.report.reliability_picture import Calibration, draw_calibration
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)

PICTURE_NAME = "reliability.png"


class Calibrated(NamedTuple):
    """The thresholds of a run, and the files that hold them.

    Attributes
    ----------
    thresholds
        One a class, in the order of the model's outputs.
    n_by_how
        Number of classes with a threshold of their own (``class``), the pooled one (``pooled``), or none
        (``never``).
    pooled_threshold
        Threshold at which all classes together reach the precision; infinite where they never do.
    reliability
        Of the pairs of recording and scored class.
    table, picture, summary
        ``thresholds.csv``, ``reliability.png`` and ``calibration.json`` in the run.
    export_dirs
        Folders of exports that have copies of the table and the summary.
    scores
        Calibration of the scores that the thresholds are of; None where they are raw.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> found = calibrate_run(run, run.config(), precision=0.5)
    >>> [threshold.label for threshold in found.thresholds]
    ['owl', 'wren']
    """

    thresholds: list[ClassThreshold]
    n_by_how: dict[str, int]
    pooled_threshold: float
    reliability: Reliability
    table: Path
    picture: Path
    summary: Path
    export_dirs: list[Path]
    scores: ScoreCalibration | None = None


def calibrate_run(
    run: Run,
    config: TrainConfig,
    *,
    precision: float,
    folds: Sequence[int] | None = None,
    batch_size: int = 16,
) -> Calibrated:
    """Return the lowest threshold of each class at a wanted precision, and write it for later predictions.

    The run's out-of-fold predictions are used where they are those of its present folds; otherwise every fold
    predicts its own recordings first. So is the calibration of the scores, which is of all finished folds.
    For the limits of the thresholds see :mod:`dawnchorus.evaluate.calibration`.

    Parameters
    ----------
    run
        A run with finished folds.
    config
        Its config.
    precision
        Wanted fraction of right detections, in (0, 1].
    folds
        Folds whose recordings are counted; None takes all that are finished.
    batch_size
        Clips per forward pass, where folds must predict.

    Raises
    ------
    DataError
        The precision is not in (0, 1], or no class can be scored without a leak.
    RunError
        A fold is not finished, or recordings of the folds are missing.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> found = calibrate_run(run, run.config(), precision=0.5)
    >>> found.table.as_posix(), sum(found.n_by_how.values())
    ('logdirs/tiny/thresholds.csv', 2)
    """
    check_precision(precision)
    result = saved_out_of_fold(run, config, folds=folds)
    if result is None:
        result = predict_out_of_fold(run, config, folds=folds, batch_size=batch_size)
    else:
        logger.info(f"Using the predictions that are there: {run.oof_file}")
    calibration = _score_calibration(run, config, result, batch_size)
    result = _on_its_scale(result, run.card().labels, calibration)
    labels = run.card().labels
    thresholds = thresholds_at_precision(
        result.targets,
        result.predictions[list(labels)].to_numpy(),
        labels,
        precision,
        scored_labels=result.scored_labels,
    )
    calibrated = _written(run, result, thresholds, precision, calibration)
    write_run_page(run)
    return calibrated


def _score_calibration(
    run: Run, config: TrainConfig, result: OutOfFold, batch_size: int
) -> ScoreCalibration | None:
    """Return the calibration of all finished folds, made where it is missing; None where none can be."""
    folds = run.finished_folds()
    present = present_calibration(run, folds)
    if present is not None:
        copy_to_exports(run, present)
        return present
    try:
        if sorted(result.predictions["fold"].unique().tolist()) != folds:
            result = predict_out_of_fold(run, config, folds=folds, batch_size=batch_size, reuse=True)
        return calibrate_scores(run, config, result).calibration
    except DataError as error:
        logger.warning("The thresholds are of raw scores, which cannot be calibrated: %s", error)
        return None


def _on_its_scale(
    result: OutOfFold, labels: Sequence[str], calibration: ScoreCalibration | None
) -> OutOfFold:
    """Return predictions with calibrated scores, or as they are where there is no calibration."""
    if calibration is None:
        return result
    predictions, names = result.predictions.copy(), list(labels)
    scores = predictions[names].to_numpy(np.float64)
    if calibration.folds_together:
        scores = folds_together(scores, predictions["fold"].to_numpy())
    predictions[names] = calibrated_by(scores, calibration.classes).astype(np.float32)
    return result._replace(predictions=predictions)


def _written(
    run: Run,
    result: OutOfFold,
    thresholds: list[ClassThreshold],
    precision: float,
    calibration: ScoreCalibration | None,
) -> Calibrated:
    labels, scored = run.card().labels, list(result.scored_labels)
    targets = result.targets[:, [labels.index(label) for label in scored]]
    scores = result.predictions[scored].to_numpy()
    curve = precision_recall(targets, scores)
    first = curve.lowest_reaching(precision)
    counted = Counter(row.how.split(":")[0] for row in thresholds)
    calibrated = Calibrated(
        thresholds,
        {how: counted[how] for how in (OWN, POOLED, NEVER)},
        math.inf if first is None else float(curve.thresholds[first]),
        reliability(targets, scores),
        run.path / THRESHOLDS_NAME,
        run.path / PICTURE_NAME,
        run.path / CALIBRATION_NAME,
        export_dirs(run),
        calibration,
    )
    write_thresholds(calibrated.table, thresholds)
    _draw(run, result, calibrated, curve, precision)
    write_text(calibrated.summary, json.dumps(_summary(result, calibrated, precision), indent=2))
    for folder in calibrated.export_dirs:
        for file in (calibrated.table, calibrated.summary):
            with replacing(folder / file.name) as temporary:
                shutil.copyfile(file, temporary)
    return calibrated


def _draw(
    run: Run, result: OutOfFold, calibrated: Calibrated, curve: PrecisionRecall, precision: float
) -> None:
    n_scored, n_labels = len(result.scored_labels), len(calibrated.thresholds)
    draw_calibration(
        calibrated.picture,
        Calibration(calibrated.reliability, curve, calibrated.thresholds, precision),
        title=f"{run.path.name}: {len(result.predictions)} recordings, out of fold, "
        f"{n_scored} of {n_labels} classes scored",
    )


def _summary(result: OutOfFold, calibrated: Calibrated, precision: float) -> dict[str, object]:
    pooled = calibrated.pooled_threshold
    return {
        "precision": precision,
        "calibration": None if calibrated.scores is None else calibrated.scores.digest,
        "pooled_threshold": None if math.isinf(pooled) else pooled,  # JSON has no infinity
        "ece": calibrated.reliability.expected_calibration_error,
        "n_recordings": len(result.predictions),
        "folds": sorted(int(fold) for fold in result.predictions["fold"].unique()),
        "n_classes_by_how": calibrated.n_by_how,
    }
