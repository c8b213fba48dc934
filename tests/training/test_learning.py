"""What a trained network knows, it knows from the labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dawnchorus.config import TrainConfig, merge, validate
from dawnchorus.folds.assignment import assign_folds
from dawnchorus.pipelines.demo import TRAINING
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.training.checkpoints import LAST_NAME, epoch_metrics
from dawnchorus.training.lightning_training import lightning_training

WANTED_MARGIN = 0.2
N_SPECIES, N_PER_SPECIES = 6, 8
SEED = 1


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread: on cores that are busy, two threads wait for each other at every step."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def config_for(root: Path, table: Path) -> TrainConfig:
    changes = {
        "exp_name": table.stem,
        "seed": SEED,
        "logdir": table.parent / "logdirs",
        "data": {"audio_dir": root, "recordings": table},
        "train_function_args": {
            "train_dataset_config": {"precompute": True},
            "clips_per_epoch": 192,
            "n_epochs": 3,
            # Batch normalisation needs some seventy steps before its running statistics are of use.
            "train_loader": {"batch_size": 8},
            "optimizer": {"lr": 2e-3},
        },
    }
    return validate(TrainConfig, merge(TRAINING, changes), where="test")


def test_true_labels_teach_more_than_shuffled_ones(data_factory: Any, tmp_path: Path) -> None:
    root = data_factory.recordings(n_species=N_SPECIES, n_per_species=N_PER_SPECIES, duration_s=(5.0, 5.0))
    recordings = load_recordings(root).table
    true, shuffled = tmp_path / "true.csv", tmp_path / "shuffled.csv"
    folds = assign_folds(recordings, config_for(root, true).folds, seed=SEED)
    table = recordings[["filename", "primary_label", "author"]].assign(fold=folds.folds)
    table.to_csv(true, index=False)
    learnt = np.flatnonzero(folds.training_rows(0))
    dealt_out = np.random.default_rng(SEED).permutation(table["primary_label"].to_numpy()[learnt])
    table.loc[learnt, "primary_label"] = dealt_out
    table.to_csv(shuffled, index=False)
    # Both validate the same recordings with their true labels, and neither chooses its epoch by the score.
    scores: list[float] = []
    for path in (true, shuffled):
        run = lightning_training(config_for(root, path), folds=[0])
        validated = run.folds().query("fold == 0").set_index("filename")["primary_label"]
        assert validated.to_dict() == _true_labels(pd.read_csv(true))
        scores.append(epoch_metrics(run.checkpoints_dir(0) / LAST_NAME)["val_macro_roc_auc"])
    assert scores[0] >= scores[1] + WANTED_MARGIN, scores


def _true_labels(table: pd.DataFrame) -> dict[str, str]:
    validated = table[table["fold"] == 0]
    return dict(zip(validated["filename"], validated["primary_label"], strict=True))
