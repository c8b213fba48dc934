"""Thresholds of the classes from out-of-fold predictions, and a picture of their reliability."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dawnchorus.config import TrainConfig
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
from dawnchorus.files import replacing, write_text
from dawnchorus.predict.thresholds import CALIBRATION_NAME, THRESHOLDS_NAME
from dawnchorus.report.reliability_picture import Calibration, draw_calibration
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)

PICTURE_NAME = "reliability.png"
_EXPORTS = "onnx_ensem_5first_folds*"


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
    predicts its own recordings first. For the limits of the thresholds see
    :mod:`dawnchorus.evaluate.calibration`.

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
    labels = run.card().labels
    thresholds = thresholds_at_precision(
        result.targets,
        result.predictions[list(labels)].to_numpy(),
        labels,
        precision,
        scored_labels=result.scored_labels,
    )
    calibrated = _written(run, result, thresholds, precision)
    write_run_page(run)
    return calibrated


def _written(run: Run, result: OutOfFold, thresholds: list[ClassThreshold], precision: float) -> Calibrated:
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
        sorted(path for path in run.path.glob(_EXPORTS) if path.is_dir()),
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
        "pooled_threshold": None if math.isinf(pooled) else pooled,  # JSON has no infinity
        "ece": calibrated.reliability.expected_calibration_error,
        "n_recordings": len(result.predictions),
        "folds": sorted(int(fold) for fold in result.predictions["fold"].unique()),
        "n_classes_by_how": calibrated.n_by_how,
    }
