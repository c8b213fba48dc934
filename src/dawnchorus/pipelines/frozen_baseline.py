"""A baseline of a trained run: a logistic regression on frozen features of what the network started from."""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np
import pandas as pd

from dawnchorus.config import TrainConfig
from dawnchorus.engines import open_engine
from dawnchorus.errors import DawnchorusError
from dawnchorus.evaluate.frozen_baseline import BASELINE_NAME, FrozenBaseline, read_baseline
from dawnchorus.evaluate.out_of_fold import scored
from dawnchorus.evaluate.validated_recordings import recordings_with_folds
from dawnchorus.files import write_text
from dawnchorus.folds.groups import group_columns, group_of
from dawnchorus.models.packaged_weights import PREFIX
from dawnchorus.pipelines.labelled_embeddings import LabelledEmbeddings, fold_by_fold
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import digest_of_labels
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)

EMBEDDER = "imagenet"
MOST_RECORDINGS = 3000
"""Of which a baseline is made unasked: beyond, its regressions take longer than people expect."""


def baseline_after_training(run: Run, config: TrainConfig) -> FrozenBaseline | None:
    """Return the score of a logistic regression on frozen features in the finished folds of a run.

    It is made where the network starts from packaged weights, whose features they are, and kept in
    ``frozen_baseline.json``. None, with the reason in the log, where it starts from others or from nothing,
    of more than :data:`MOST_RECORDINGS` recordings, and where ``frozen_baseline`` of the config is False.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> baseline_after_training(run, run.config()) is None  # its network starts from nothing
    True
    """
    args = config.train_function_args
    if not args.frozen_baseline or args.debug or not run.folds()["validated"].any():
        return None
    if not str(config.nn_model_config.get("weights", "")).startswith(PREFIX):
        logger.info(
            "No baseline on frozen features stands beside the score: the network does not start from a "
            "package; dawnchorus probe %s makes one.",
            EMBEDDER,
        )
        return None
    n_recordings = len(run.folds())
    if n_recordings > MOST_RECORDINGS:
        logger.info(
            "No baseline on frozen features stands beside the score: of %d recordings it would take long; "
            "dawnchorus probe %s makes one.",
            n_recordings,
            EMBEDDER,
        )
        return None
    try:
        return _baseline(run, config)
    except (DawnchorusError, ValueError, MemoryError) as error:  # of scikit-learn too
        logger.warning("No baseline on frozen features stands beside the score: %s", error)
        return None


def _baseline(run: Run, config: TrainConfig) -> FrozenBaseline:
    engine = open_engine(EMBEDDER)
    folds = run.finished_folds()
    table = recordings_with_folds(run, config)
    pairs = sorted(zip(table["filename"], table["fold"].tolist(), strict=True))
    digest = hashlib.sha256(f"{digest_of_labels(table)} {pairs} {list(folds)}".encode()).hexdigest()
    there = read_baseline(run)
    if there is not None and there.recordings == digest and there.fingerprint == engine.fingerprint:
        return there
    labels = LabelMap(run.card().labels)
    found = LabelledEmbeddings.of(engine, table, labels)
    found = found.grouped(group_of(found.table, group_columns(found.table, config.folds.group_column)))
    of_row = found.table["fold"].to_numpy()
    validated = found.table["validated"].to_numpy() & np.isin(of_row, folds)
    scores = fold_by_fold(found, of_row, validated, "linear", config.seed)
    keys = found.table[["filename", "primary_label", "fold"]]
    predictions = pd.concat([keys, pd.DataFrame(scores, columns=list(labels.labels))], axis=1)[validated]
    result = scored(predictions.reset_index(drop=True), found.targets[validated], found.table, labels)
    mean = result.mean_of_folds
    baseline = FrozenBaseline(
        embedder=engine.card.exp_name,
        fingerprint=engine.fingerprint,
        recordings=digest,
        macro_roc_auc=result.macro_roc_auc,
        mean_of_folds=None if np.isnan(mean) else mean,
        n_recordings=len(predictions),
    )
    write_text(run.path / BASELINE_NAME, json.dumps(baseline.model_dump(), indent=2) + "\n")
    return baseline
