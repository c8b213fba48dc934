"""Out-of-fold predictions: every recording predicted by the model that was not trained on it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from dawnchorus.config import TrainConfig
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import DataError
from dawnchorus.evaluate.confusions import (
    CONFUSIONS_NAME,
    MOST_WRONG_NAME,
    RELIABILITY_NAME,
    confusions,
    most_wrong,
)
from dawnchorus.evaluate.reliability import reliability, reliability_table
from dawnchorus.evaluate.score_fitting import folds_together
from dawnchorus.evaluate.validated_recordings import recordings_with_folds, validated_by
from dawnchorus.files import write_text
from dawnchorus.folds.groups import learnt_labels
from dawnchorus.formats.text_tables import some
from dawnchorus.formats.whole_tables import read_whole_table, write_csv, write_parquet
from dawnchorus.metrics import (
    LOG_PREFIX,
    MACRO_ROC_AUC,
    known_metrics,
    macro_roc_auc,
    per_class_roc_auc,
    per_class_table,
)
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.runs import Run
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

_KEYS = ["filename", "primary_label", "fold"]
WINDOWS_NAME = "oof_windows.parquet"
START_COLUMN = "start_s"
"""Column of predictions of windows: where each begins in its recording, seconds."""


class OutOfFold(NamedTuple):
    """The score of a run, each recording predicted by the model that was not trained on it.

    Attributes
    ----------
    predictions
        Table filename, primary_label, fold and a column a class, one row a validated recording; or one row a
        window of these, with its ``start_s`` before the classes.
    targets
        Shape (n_rows, n_classes), in the order of the predictions.
    macro_roc_auc
        Of the rows of all folds together (pooled), over the classes in ``scored_labels``.
    together_macro_roc_auc
        Of the rows of all folds after their scores were brought to one scale
        (:func:`dawnchorus.evaluate.score_fitting.folds_together`), for networks of different folds score
        differently; with one fold, the same.
    fold_macro_roc_auc
        Of the rows of each fold alone, over those of these classes that have both outcomes there. A
        fold without any is not in it.
    scored_labels
        Classes that can be scored without a leak (:func:`scored_columns`).
    scores
        The metrics of the config, pooled too, by their names, macro ROC-AUC first. Left out are those
        that are not defined here, and those that a saved config names by import path.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> result = predict_out_of_fold(run, run.config())
    >>> result.predictions.shape, result.scored_labels
    ((8, 5), ('owl', 'wren'))
    >>> list(result.fold_macro_roc_auc), 0 <= result.mean_of_folds <= 1
    ([0, 1], True)
    """

    predictions: pd.DataFrame
    targets: np.ndarray
    macro_roc_auc: float
    scored_labels: tuple[str, ...]
    scores: dict[str, float]
    fold_macro_roc_auc: dict[int, float]
    together_macro_roc_auc: float = math.nan

    @property
    def mean_of_folds(self) -> float:
        """Mean of :attr:`fold_macro_roc_auc`, the score that the published system states; NaN without any."""
        return float(np.mean(list(self.fold_macro_roc_auc.values()))) if self.fold_macro_roc_auc else math.nan

    def __repr__(self) -> str:
        classes = counted(len(self.scored_labels), "class", "classes")
        scored = f"macro ROC-AUC {self.macro_roc_auc:.4f} pooled over {classes}"
        mean = f"{self.mean_of_folds:.4f} as mean of {counted(len(self.fold_macro_roc_auc), 'fold')}"
        rows = "window" if START_COLUMN in self.predictions else "recording"
        return f"OutOfFold({counted(len(self.predictions), rows)}, {scored}, {mean})"


def predict_out_of_fold(
    run: Run,
    config: TrainConfig,
    *,
    folds: Sequence[int] | None = None,
    batch_size: int = 16,
    reuse: bool = False,
) -> OutOfFold:
    """Return the predictions of every finished fold on its own validation recordings.

    They are written beside the run as ``oof_predictions.parquet``, ``oof_scores.csv`` (per class) and
    ``oof_score.json``; reliability, confusions and the recordings that are most wrong as
    ``oof_reliability.csv``, ``oof_confusions.csv`` and ``oof_most_wrong.csv``.

    Parameters
    ----------
    run, config
        The run, and its config.
    folds
        Folds that predict; None takes all that are finished.
    batch_size
        Clips per forward pass.
    reuse
        Whether folds do not predict again whose predictions were saved with their present weights.

    Raises
    ------
    RunError
        A fold is not finished, or recordings of the folds are missing.
    DataError
        No class can be scored without a leak, or no recording is validated.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> result = predict_out_of_fold(run, run.config())
    >>> result.targets.shape, list(result.predictions.columns)
    ((8, 2), ['filename', 'primary_label', 'fold', 'owl', 'wren'])
    >>> 0 <= result.macro_roc_auc <= 1
    True
    """

    def of_fold(rows: pd.DataFrame, dataset: Any, fold: int) -> _FoldPredictions:
        saved = _saved_of(run, fold, rows) if reuse else None
        if saved is None:
            inference = _inference(run, fold, batch_size)
            saved = inference.predict_dataset(dataset, description=f"Fold {fold}, out of fold")
        return saved, dataset.targets, rows[_KEYS]

    result = _predicted(run, config, folds, of_fold)
    _write(run, result)
    return result


def predict_windows_out_of_fold(
    run: Run, config: TrainConfig, *, folds: Sequence[int] | None = None, batch_size: int = 16
) -> OutOfFold:
    """Return the predictions of every finished fold on each window of its own validation recordings.

    A window of a recording with labels in time has those that it overlaps; of others, all labels of the
    recording, so that a silent window counts as wrong. They are written as ``oof_windows.parquet``.

    Raises
    ------
    RunError
        A fold is not finished, or recordings of the folds are missing.
    DataError
        No class can be scored without a leak, or no recording is validated.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> result = predict_windows_out_of_fold(run, run.config())
    >>> list(result.predictions.columns)
    ['filename', 'primary_label', 'fold', 'start_s', 'owl', 'wren']
    """

    def of_fold(rows: pd.DataFrame, dataset: Any, fold: int) -> _FoldPredictions:
        inference = _inference(run, fold, batch_size)
        probabilities = inference.predict_dataset_windows(
            dataset, description=f"Fold {fold}, windows out of fold"
        )
        numbers, starts = np.array(dataset.windows, dtype=np.int64).T
        of_window = rows[_KEYS].iloc[numbers].assign(**{START_COLUMN: starts / run.card().sample_rate})
        return probabilities, dataset.window_targets(), of_window

    result = _predicted(run, config, folds, of_fold)
    write_parquet(run.path / WINDOWS_NAME, result.predictions)
    return result


_FoldPredictions: TypeAlias = tuple[np.ndarray, np.ndarray, pd.DataFrame]
"""Probabilities and targets of a fold's recordings or windows, both (n_rows, n_labels), and their keys."""


def _predicted(
    run: Run,
    config: TrainConfig,
    folds: Sequence[int] | None,
    of_fold: Callable[[pd.DataFrame, Any, int], _FoldPredictions],
) -> OutOfFold:
    """Return the predictions of every fold on what it validates, one below the other, with their scores."""
    chosen, recordings = _chosen(run, config, folds)
    labels = LabelMap(run.card().labels)
    parts = []
    for fold in chosen:
        rows, dataset = validated_by(recordings, config, labels, fold)
        parts.append(of_fold(rows, dataset, fold))
    outputs, targets, tables = zip(*parts, strict=True)
    output = pd.DataFrame(np.concatenate(outputs), columns=list(labels.labels))
    predictions = pd.concat([pd.concat(tables, ignore_index=True), output], axis=1)
    return scored(predictions, np.concatenate(targets), recordings, labels, metrics_of(config))


def scored_on(result: OutOfFold, classes: Sequence[str], config: TrainConfig) -> OutOfFold:
    """Return the scores over those of ``classes`` that can be scored without a leak.

    Classes that the run does not have are left out, with a warning.

    Raises
    ------
    DataError
        None of them can be scored.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> result = predict_out_of_fold(run, run.config())
    >>> scored_on(result, ["wren"], run.config()).scored_labels
    ('wren',)
    """
    unknown = [label for label in classes if label not in result.predictions]
    if unknown:
        logger.warning("The run has no class %s, which is left out.", some(unknown))
    names = tuple(label for label in result.scored_labels if label in set(classes))
    if not names:
        raise DataError(
            f"none of the classes {some(list(classes))} can be scored; those that can are "
            f"{some(list(result.scored_labels))}"
        )
    return _scored_over(result.predictions, result.targets, names, metrics_of(config))


def _chosen(run: Run, config: TrainConfig, folds: Sequence[int] | None) -> tuple[Sequence[int], pd.DataFrame]:
    """Return the folds that predict, and the recordings with their folds; some are validated."""
    chosen = run.chosen_folds(folds)
    recordings = recordings_with_folds(run, config)
    if not recordings["validated"].any():
        raise DataError(
            f"{run.path} was trained on all recordings, so that none is left to score it on; train it with "
            "folds.n_folds 2 or more for a score"
        )
    _warn_of_missing(recordings, chosen)
    return chosen, recordings


def _inference(run: Run, fold: int, batch_size: int) -> BirdsInference:
    return BirdsInference(TorchEngine([run.load_model(fold)], run.card(), clips_per_request=batch_size))


def saved_out_of_fold(
    run: Run, config: TrainConfig, *, folds: Sequence[int] | None = None
) -> OutOfFold | None:
    """Return what :func:`predict_out_of_fold` saved earlier, without predicting; the targets are made anew.

    None where a new prediction would differ: nothing was saved or it cannot be read, a fold is missing or
    has been trained since, or the recordings or classes have changed.

    Raises
    ------
    RunError
        A fold is not finished, or recordings of the folds are missing.
    DataError
        No class can be scored without a leak.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> saved_out_of_fold(run, run.config()) is None  # nothing was predicted yet
    True
    >>> _ = predict_out_of_fold(run, run.config())
    >>> saved_out_of_fold(run, run.config()).scored_labels
    ('owl', 'wren')
    """
    chosen, labels = run.chosen_folds(folds), LabelMap(run.card().labels)
    saved = _saved_table(run, chosen)
    if saved is None:
        return None
    recordings = recordings_with_folds(run, config)
    rows, datasets = zip(*(validated_by(recordings, config, labels, fold) for fold in chosen), strict=True)
    wanted = pd.concat(rows, ignore_index=True)[_KEYS]
    predictions = wanted.merge(saved.drop(columns="primary_label"), on=["filename", "fold"])
    if not len(wanted) == len(predictions) == saved["fold"].isin(chosen).sum():
        return None
    _warn_of_missing(recordings, chosen)
    targets = np.concatenate([dataset.targets for dataset in datasets])
    return scored(predictions, targets, recordings, labels, metrics_of(config))


def _saved_table(run: Run, folds: Sequence[int]) -> pd.DataFrame | None:
    """Return the saved predictions where they are of the present weights of these folds."""
    if not run.oof_file.is_file() or run.oof_file.stat().st_mtime_ns <= run.newest_weights_ns(folds):
        return None
    try:
        saved = read_whole_table(run.oof_file)
    except DataError:
        return None
    return saved if list(saved) == [*_KEYS, *run.card().labels] else None


def _saved_of(run: Run, fold: int, rows: pd.DataFrame) -> np.ndarray | None:
    """Return the saved probabilities of these rows of a fold, shape (n_rows, n_labels)."""
    saved = _saved_table(run, [fold])
    if saved is None:
        return None
    found = rows[_KEYS].merge(saved.drop(columns="primary_label"), on=["filename", "fold"])
    if not len(rows) == len(found) == (saved["fold"] == fold).sum():
        return None
    return found[list(run.card().labels)].to_numpy()


def scored_columns(
    targets: np.ndarray, fold_of_row: np.ndarray, recordings: pd.DataFrame, labels: LabelMap
) -> list[int]:
    """Return the indices of the classes that can be scored without a leak.

    A class counts where it has a positive and a negative among the rows, and at least one fold
    has it on both sides: a class whose recordings all lie in one fold is only ever tested by a
    model that was not trained on it. Every model is trained on fold -1.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> recordings = pd.DataFrame({"primary_label": ["owl", "owl", "wren", "wren"], "fold": [0, 1, 0, 0]})
    >>> targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> scored_columns(targets, np.array([0, 1, 0, 0]), recordings, LabelMap(("owl", "wren")))
    [0]
    """
    learnt_in: dict[str, set[int]] = {label: set() for label in labels.labels}
    for fold, heard in zip(recordings["fold"], learnt_labels(recordings), strict=True):
        for label in heard.intersection(learnt_in):
            learnt_in[label].add(fold)
    columns = []
    for column, label in enumerate(labels.labels):
        positive = targets[:, column] > 0.5
        tested_in = set(fold_of_row[positive])
        on_both_sides = any(learnt_in[label] - {fold} for fold in tested_in)
        if positive.any() and not positive.all() and on_both_sides:
            columns.append(column)
    return columns


def _warn_of_missing(recordings: pd.DataFrame, chosen: Sequence[int]) -> None:
    missing = sorted(set(recordings["fold"][recordings["validated"]]) - set(chosen))
    if missing:
        logger.warning("The score leaves out the folds %s, which are not finished or not chosen.", missing)


def metrics_of(config: TrainConfig) -> list[Any]:
    """Return the metrics of a config, the one that training watches among them.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> "macro_roc_auc" in metrics_of(load_train_config("train.py"))
    True
    """
    args = config.train_function_args
    return [*args.metrics, args.main_metric.removeprefix(LOG_PREFIX)]


def scored(
    predictions: pd.DataFrame,
    targets: np.ndarray,
    recordings: pd.DataFrame,
    labels: LabelMap,
    metrics: Sequence[Any] = (),
) -> OutOfFold:
    """Return out-of-fold predictions with their scores.

    Parameters
    ----------
    predictions, targets
        As in :class:`OutOfFold`.
    recordings
        All recordings with their ``fold``.
    labels
        The classes.
    metrics
        Metrics beside macro ROC-AUC, as a config has them.

    Raises
    ------
    DataError
        No class can be scored without a leak.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> recordings = pd.DataFrame({"filename": list("abcd"), "primary_label": ["owl", "wren"] * 2})
    >>> recordings["fold"] = [0, 0, 1, 1]
    >>> predictions = recordings.assign(owl=[0.9, 0.2, 0.8, 0.4], wren=[0.1, 0.7, 0.3, 0.6])
    >>> targets = np.array([[1, 0], [0, 1]] * 2)
    >>> scored(predictions, targets, recordings, LabelMap(("owl", "wren"))).macro_roc_auc
    1.0
    """
    found = scored_columns(targets, predictions["fold"].to_numpy(), recordings, labels)
    if not found:
        raise DataError(
            "no species has recordings on both sides of a fold, so there is no leak-free score; "
            "more recordists of the same species are needed"
        )
    return _scored_over(predictions, targets, tuple(labels.labels[column] for column in found), metrics)


def _scored_over(
    predictions: pd.DataFrame, targets: np.ndarray, names: tuple[str, ...], metrics: Sequence[Any]
) -> OutOfFold:
    """Return the scores over the classes ``names``."""
    columns = [predictions.columns.get_loc(name) - predictions.shape[1] for name in names]  # from the end
    truth, output = targets[:, columns], predictions[list(names)].to_numpy()
    scores = {MACRO_ROC_AUC.name: macro_roc_auc(truth, output)}
    for metric in known_metrics(metrics):
        if metric.name in scores:
            continue
        try:
            scores[metric.name] = metric(truth, output)
        except DataError as error:
            logger.warning("The metric %s is left out: %s", metric.name, error)
    fold_of_row = predictions["fold"].to_numpy()
    of_folds, pooled = _fold_scores(truth, output, fold_of_row), scores[MACRO_ROC_AUC.name]
    together = macro_roc_auc(truth, folds_together(output, fold_of_row)) if len(of_folds) > 1 else pooled
    return OutOfFold(predictions, targets, pooled, names, scores, of_folds, together)


def _fold_scores(truth: np.ndarray, output: np.ndarray, fold_of_row: np.ndarray) -> dict[int, float]:
    """Return the macro ROC-AUC of each fold's rows, without folds where it is not defined."""
    scores = {}
    for fold in np.unique(fold_of_row).tolist():
        rows = fold_of_row == fold
        areas = per_class_roc_auc(truth[rows], output[rows])
        if not np.isnan(areas).all():
            scores[fold] = float(np.nanmean(areas))
    return scores


def _write(run: Run, result: OutOfFold) -> None:
    write_parquet(run.oof_file, result.predictions)
    scores = result.predictions[list(result.scored_labels)].to_numpy()
    columns = [run.card().labels.index(label) for label in result.scored_labels]
    rows: list[Any] = per_class_table(result.targets[:, columns], scores, result.scored_labels)
    write_csv(run.path / "oof_scores.csv", pd.DataFrame(rows))
    _write_mistakes(run, result)
    mean = result.mean_of_folds
    summary = {
        **{f"oof_{name}": score for name, score in result.scores.items()},
        "oof_macro_roc_auc_folds_together": result.together_macro_roc_auc,
        "oof_macro_roc_auc_mean_of_folds": None if math.isnan(mean) else mean,
        "oof_macro_roc_auc_of_each_fold": result.fold_macro_roc_auc,
        "folds": sorted(int(fold) for fold in result.predictions["fold"].unique()),
        "n_recordings": len(result.predictions),
        "scored_labels": list(result.scored_labels),
    }
    write_text(run.path / "oof_score.json", json.dumps(summary, indent=2))


def _write_mistakes(run: Run, result: OutOfFold) -> None:
    """Write what the run's page shows: reliability, confusions, and the recordings that are most wrong."""
    labels = run.card().labels
    scored = [labels.index(label) for label in result.scored_labels]
    targets = np.where(result.targets < 0, -1, result.targets > 0.5)
    bins = reliability(targets[:, scored], result.predictions[list(result.scored_labels)].to_numpy())
    write_csv(run.path / RELIABILITY_NAME, reliability_table(bins))
    write_csv(run.path / CONFUSIONS_NAME, confusions(result.predictions, targets, labels))
    write_csv(run.path / MOST_WRONG_NAME, most_wrong(result.predictions, targets, labels))
