"""Out-of-fold predictions: every recording through the model that never heard it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dawnchorus.config import TrainConfig
from dawnchorus.data.folds import validation_rows
from dawnchorus.data.groups import learnt_labels
from dawnchorus.data.labels import LabelMap
from dawnchorus.data.recordings import load_recordings
from dawnchorus.errors import DataError, RunError
from dawnchorus.files import write_text
from dawnchorus.inference.birds_inference import BirdsInference
from dawnchorus.inference.runs import Run
from dawnchorus.inference.runtimes import TorchRuntime
from dawnchorus.inference.tables import write_csv, write_parquet
from dawnchorus.metrics import macro_roc_auc, per_class_table

logger = logging.getLogger(__name__)


class OutOfFold(NamedTuple):
    """The score of a run on recordings that its models never heard.

    Attributes
    ----------
    predictions
        Table filename, primary_label, fold and a column a class, one row a validated recording.
    targets
        Shape (n_recordings, n_classes), in the order of the predictions.
    macro_roc_auc
        Over the classes in ``scored_labels``.
    scored_labels
        Classes with both outcomes that some fold has both learnt and been tested on.
    """

    predictions: pd.DataFrame
    targets: np.ndarray
    macro_roc_auc: float
    scored_labels: tuple[str, ...]


def recordings_with_folds(run: Run, config: TrainConfig) -> pd.DataFrame:
    """Return the run's recordings table with its columns ``fold`` and ``validated``.

    Recordings that the run left out, or that came later, are not in it.

    Raises
    ------
    RunError
        Recordings that the folds were made of are gone.
    """
    labels = None if config.labels is None else LabelMap(run.card().labels)
    recordings = load_recordings(config.data, labels=labels).table.drop(
        columns=["fold", "validated"], errors="ignore"
    )
    folds = run.folds()[["filename", "fold", "validated"]]
    joined = recordings.merge(folds, on="filename")
    if len(joined) < len(folds):
        folders = " or ".join(str(place.audio_dir) for place in config.data)
        raise RunError(
            f"{len(folds) - len(joined)} recordings of {run.folds_file} are no longer in {folders}; restore "
            "them or choose another exp_name"
        )
    return joined


def predict_out_of_fold(
    run: Run, config: TrainConfig, *, folds: Sequence[int] | None = None, batch_size: int = 16
) -> OutOfFold:
    """Return the predictions of every finished fold on its own validation recordings.

    They are written beside the run as ``oof_predictions.parquet``, ``oof_scores.csv`` (per class)
    and ``oof_score.json``.
    """
    chosen = run.chosen_folds(folds)
    recordings = recordings_with_folds(run, config)
    missing = sorted(set(recordings["fold"][recordings["validated"]]) - set(chosen))
    if missing:
        logger.warning("The score leaves out the folds %s, which are not finished or not chosen.", missing)
    labels = LabelMap(run.card().labels)
    outputs, targets, tables = [], [], []
    for fold in chosen:
        tested = validation_rows(recordings["fold"].to_numpy(), recordings["validated"].to_numpy(), fold)
        rows = recordings[tested].reset_index(drop=True)
        args = config.train_function_args
        dataset = args.val_dataset_class(rows, labels, args.val_dataset_config)
        inference = BirdsInference(TorchRuntime([run.load_model(fold)], run.card()), batch_size=batch_size)
        outputs.append(inference.predict_dataset(dataset, description=f"Fold {fold}, out of fold"))
        targets.append(dataset.targets)
        tables.append(rows[["filename", "primary_label", "fold"]])
    target = np.concatenate(targets)
    output = pd.DataFrame(np.concatenate(outputs), columns=list(labels.labels))
    predictions = pd.concat([pd.concat(tables, ignore_index=True), output], axis=1)
    scored = scored_columns(target, predictions["fold"].to_numpy(), recordings, labels)
    if not scored:
        raise DataError(
            "no species has recordings on both sides of a fold, so there is no leak-free score; "
            "more recordists of the same species are needed"
        )
    result = OutOfFold(
        predictions,
        target,
        macro_roc_auc(target[:, scored], output.to_numpy()[:, scored]),
        tuple(labels.labels[column] for column in scored),
    )
    _write(run, result)
    return result


def scored_columns(
    targets: np.ndarray, fold_of_row: np.ndarray, recordings: pd.DataFrame, labels: LabelMap
) -> list[int]:
    """Return the classes that can be scored without a leak.

    A class counts where it has a positive and a negative among the rows, and at least one fold
    has it on both sides: a class whose recordings all lie in one fold is only ever tested by a
    model that has not learnt it. What is always in training, fold -1, is learnt by every model.
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


def _write(run: Run, result: OutOfFold) -> None:
    write_parquet(run.oof_file, result.predictions)
    scores = result.predictions[list(result.scored_labels)].to_numpy()
    columns = [run.card().labels.index(label) for label in result.scored_labels]
    rows: list[Any] = per_class_table(result.targets[:, columns], scores, result.scored_labels)
    write_csv(run.path / "oof_scores.csv", pd.DataFrame(rows))
    summary = {
        "oof_macro_roc_auc": result.macro_roc_auc,
        "folds": sorted(int(fold) for fold in result.predictions["fold"].unique()),
        "n_recordings": len(result.predictions),
        "scored_labels": list(result.scored_labels),
    }
    write_text(run.path / "oof_score.json", json.dumps(summary, indent=2))
