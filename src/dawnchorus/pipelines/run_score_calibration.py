"""Score calibration of a run from its out-of-fold predictions: fitted, tested on held-out parts, written.

After training it is made without asking (:func:`calibrate_after_training`), again whenever folds are new.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dawnchorus.config import TrainConfig, read_json_if_sound
from dawnchorus.engines.calibrations import checkpoint_digests, fits_bundle
from dawnchorus.errors import DataError, DawnchorusError
from dawnchorus.evaluate.calibration import best_f1_threshold
from dawnchorus.evaluate.confusions import CALIBRATED_RELIABILITY_NAME
from dawnchorus.evaluate.out_of_fold import OutOfFold, predict_out_of_fold, saved_out_of_fold
from dawnchorus.evaluate.reliability import reliability, reliability_table
from dawnchorus.evaluate.score_fitting import (
    calibrated,
    cross_fitted,
    fit_scores,
    folds_together,
    log_loss,
)
from dawnchorus.evaluate.validated_recordings import recordings_with_folds
from dawnchorus.files import locked, replacing, write_text
from dawnchorus.folds.groups import group_columns, group_of
from dawnchorus.formats.whole_tables import write_csv
from dawnchorus.models.score_calibration import SCORE_CALIBRATION_NAME, HeldOut, ScoreCalibration
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)

AIM = "the best F1"
N_PARTS = 5
"""Parts of the groups of a single fold, on each of which the calibration of the others is tested."""

_EXPORTS = "onnx_ensem_5first_folds*"


class CalibratedScores(NamedTuple):
    """A calibration, and the out-of-fold scores that it was fitted to.

    Attributes
    ----------
    calibration
        Of the run.
    probabilities
        Calibrated scores of the items that it was fitted to, shape (n_items, n_classes), float64.
    held_out
        The same by calibrations that were not fitted to them.

    Examples
    --------
    >>> from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> found = fit_run_scores(run, run.config(), predict_out_of_fold(run, run.config()))
    >>> found.calibration.labels, found.held_out.shape
    (('owl', 'wren'), (8, 2))
    """

    calibration: ScoreCalibration
    probabilities: NDArray[np.float64]
    held_out: NDArray[np.float64]


def fit_run_scores(run: Run, config: TrainConfig, result: OutOfFold) -> CalibratedScores:
    """Return the calibration of a run's scores.

    Each fold is calibrated by the others, and a single fold's groups by its other groups, which gives the
    held-out scores. On these the default threshold is the one with the best F1 of all pairs of recording and
    scored class, but never so low that a detection has less than twice the odds of a pair drawn at random:
    the best F1 of a model that knows nothing is that of detecting everything. Where it lowers their log loss,
    the folds are brought to one scale first.

    Parameters
    ----------
    run, config
        The run, and its config.
    result
        Out-of-fold predictions of all its finished folds.

    Raises
    ------
    DataError
        There is one part only, or one without whose recordings no species is present.

    Examples
    --------
    >>> from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> found = fit_run_scores(run, run.config(), predict_out_of_fold(run, run.config()))
    >>> found.calibration.held_out.by, 0 < found.calibration.threshold <= 1
    ('fold', True)
    """
    folds = sorted(int(fold) for fold in result.predictions["fold"].unique())
    parts = _parts(run, config, result)
    return fit_result_scores(result, run.card().labels, parts, weights=checkpoint_digests(run, folds))


def fit_result_scores(
    result: OutOfFold, labels: Sequence[str], parts: NDArray[np.int64], *, weights: dict[str, str]
) -> CalibratedScores:
    """Return the calibration of out-of-fold scores, as :func:`fit_run_scores` does for those of a run.

    Parameters
    ----------
    result
        Out-of-fold predictions.
    labels
        The classes of the model, in its order.
    parts
        Part of each recording that is calibrated by the others, such as its fold, shape (n_recordings,).
    weights
        SHA-256 of the weights that it is for, in hexadecimal digits, by their names.

    Raises
    ------
    DataError
        There is one part only, or one without whose recordings no species is present.

    Examples
    --------
    >>> from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> result = predict_out_of_fold(run, run.config())
    >>> parts = result.predictions["fold"].to_numpy()
    >>> fit_result_scores(result, run.card().labels, parts, weights={}).calibration.held_out.n_parts
    2
    """
    scored_labels = result.scored_labels
    scored = [labels.index(label) for label in scored_labels]
    targets = np.where(result.targets < 0, -1, result.targets > 0.5)
    raw = result.predictions[list(labels)].to_numpy(np.float64)
    folds = result.predictions["fold"].to_numpy()
    scales = {False: raw}
    if len(np.unique(folds)) > 1:
        scales[True] = folds_together(raw, folds)
    tested = {
        together: cross_fitted(targets, scores, parts, labels, scored_labels=scored_labels)
        for together, scores in scales.items()
    }
    losses = {together: log_loss(targets[:, scored], held[:, scored]) for together, held in tested.items()}
    together = min(losses, key=losses.__getitem__)
    classes = fit_scores(targets, scales[together], labels, scored_labels=scored_labels)
    truth, held_out = targets[:, scored], tested[together][:, scored]
    share = (truth > 0).sum() / (truth >= 0).sum()
    threshold = _rounded(max(best_f1_threshold(truth, held_out), 2 * share / (1 + share)))
    above = (held_out >= threshold) & (truth >= 0)
    calibration = ScoreCalibration(
        classes=classes,
        threshold=threshold,
        aim=AIM,
        folds_together=together,
        weights=weights,
        held_out=HeldOut(
            by="fold" if len(scales) > 1 else "group",
            n_recordings=len(raw),
            n_parts=len(np.unique(parts)),
            ece=reliability(truth, held_out).expected_calibration_error,
            raw_ece=reliability(truth, raw[:, scored]).expected_calibration_error,
            n_positive=int((truth > 0).sum()),
            n_above=int(above.sum()),
            n_right=int((truth[above] > 0).sum()),
        ),
    )
    return CalibratedScores(calibration, calibrated(scales[together], classes), tested[together])


def calibrate_scores(run: Run, config: TrainConfig, result: OutOfFold) -> CalibratedScores:
    """Fit a run's score calibration, and write it into the run and into the exports of its weights.

    Their reliability goes to ``oof_reliability_calibrated.csv``.

    Raises
    ------
    DataError
        As for :func:`fit_run_scores`.

    Examples
    --------
    >>> from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> found = calibrate_scores(run, run.config(), predict_out_of_fold(run, run.config()))
    >>> (run.path / "score_calibration.json").is_file()
    True
    """
    found = fit_run_scores(run, config, result)
    labels = run.card().labels
    scored = [labels.index(label) for label in result.scored_labels]
    targets = np.where(result.targets < 0, -1, result.targets > 0.5)
    bins = reliability(targets[:, scored], found.held_out[:, scored])
    write_csv(run.path / CALIBRATED_RELIABILITY_NAME, reliability_table(bins))
    write_text(run.path / SCORE_CALIBRATION_NAME, found.calibration.to_json())
    copy_to_exports(run, found.calibration)
    return found


def copy_to_exports(run: Run, calibration: ScoreCalibration) -> None:
    """Copy a run's calibration into the folders of its exports that are of the same weights.

    Examples
    --------
    >>> from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> found = calibrate_scores(run, run.config(), predict_out_of_fold(run, run.config()))
    >>> copy_to_exports(run, found.calibration)  # it has no exports
    """
    for folder in export_dirs(run):
        if fits_bundle(calibration, folder):
            with replacing(folder / SCORE_CALIBRATION_NAME) as temporary:
                shutil.copyfile(run.path / SCORE_CALIBRATION_NAME, temporary)


def export_dirs(run: Run) -> list[Path]:
    """Return the folders of a run's exports.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> export_dirs(Run.open("logdirs/tiny"))
    []
    """
    return sorted(path for path in run.path.glob(_EXPORTS) if path.is_dir())


def present_calibration(run: Run, folds: Sequence[int]) -> ScoreCalibration | None:
    """Return the calibration that a run has, where it is of the present weights of these folds and no others.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> present_calibration(Run.open("logdirs/tiny"), [0, 1]) is None
    True
    """
    found = read_json_if_sound(run.path / SCORE_CALIBRATION_NAME, ScoreCalibration)
    is_current = (
        found is not None
        and found.labels == run.card().labels
        and found.weights == checkpoint_digests(run, folds)
    )
    return found if is_current else None


def calibrate_after_training(run: Run, config: TrainConfig) -> ScoreCalibration | None:
    """Return the calibration of a run's finished folds, made where it is not there yet.

    None, with the reason in the log, where there can be none; the scores then stay raw. Of several processes
    that train folds of the run, one does it for all. What ``dawnchorus calibrate`` has written stays.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> calibrate_after_training(run, run.config())
    ScoreCalibration(2 classes, threshold ... for the best F1)
    """
    if not run.folds()["validated"].any():
        logger.info("%s was trained on all recordings; its scores stay raw.", run.path)
        return None
    while True:
        folds = run.finished_folds()
        with locked(run.path / ".calibration.lock") as is_ours:
            if not is_ours:
                logger.info("Another process calibrates %s.", run.path)
                return None
            try:
                found = _calibrated(run, config, folds)
            except DawnchorusError as error:
                logger.warning("%s is not calibrated, and its scores stay raw: %s", run.path, error)
                found = None
        if run.finished_folds() == folds:  # of those that another process has trained meanwhile too
            return found


def _calibrated(run: Run, config: TrainConfig, folds: Sequence[int]) -> ScoreCalibration:
    present = present_calibration(run, folds)
    if present is not None:
        copy_to_exports(run, present)
        return present
    size = config.train_function_args.val_loader.batch_size
    saved = saved_out_of_fold(run, config, folds=folds)
    result = saved or predict_out_of_fold(run, config, folds=folds, batch_size=size, reuse=True)
    found = calibrate_scores(run, config, result).calibration
    write_run_page(run)
    return found


def _parts(run: Run, config: TrainConfig, result: OutOfFold) -> NDArray[np.int64]:
    """Return the part of each item: its fold, or of a single fold, one of a few parts of its groups."""
    folds = result.predictions["fold"].to_numpy()
    if len(np.unique(folds)) > 1:
        return folds
    recordings = recordings_with_folds(run, config)
    groups = group_of(recordings, group_columns(recordings, config.folds.group_column))
    of_name = dict(zip(recordings["filename"], groups.tolist(), strict=True))
    own = np.array([of_name[name] for name in result.predictions["filename"]])
    names, numbers, sizes = np.unique(own, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError(
            "all recordings of the only fold are of one group, so that nothing is left to test a calibration "
            "on; train more folds"
        )
    # Groups are dealt from the largest to the smallest, each to the part that is smallest so far.
    filled = np.zeros(min(N_PARTS, len(names)), np.int64)
    part_of_group = np.zeros(len(names), np.int64)
    for group in np.argsort(-sizes, kind="stable"):
        part_of_group[group] = filled.argmin()
        filled[filled.argmin()] += sizes[group]
    return part_of_group[numbers]


def _rounded(threshold: float) -> float:
    """Return a threshold with three decimals at most, not above it."""
    return math.floor(threshold * 1000) / 1000 or threshold


def summary_of(calibration: ScoreCalibration) -> str:
    """Return a calibration in a sentence, for the end of a command.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> summary_of(calibrate_after_training(run, run.config())).split(";")[0]
    'scores are calibrated probabilities of presence'
    """
    held = calibration.held_out
    if held is None:
        return "scores are calibrated probabilities of presence; how good they are was not counted"
    return (
        "scores are calibrated probabilities of presence; at the default threshold "
        f"{calibration.threshold:g} ({calibration.aim}), on {held.n_recordings} recordings held out "
        f"{held.precision:.0%} of detections are right and {held.recall:.0%} of the birds are found; "
        f"expected calibration error {held.ece:.3f}, of raw scores {held.raw_ece:.3f}"
    )
