"""Networks that know something, to see what lower precisions cost: fold 0 of the ESC-10 clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from common import SHARED_DATA

from dawnchorus.config import TrainConfig, validate
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.evaluate.validated_recordings import recordings_with_folds
from dawnchorus.export.int8 import ScoreClips, score_clips
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.runs import Run
from dawnchorus.training.lightning_training import lightning_training

FOLD = 0
RECORDINGS = SHARED_DATA / "esc10"

_EXPERIMENTS = {"tf_efficientnetv2_s_in21k": ("v2s_esc", 12), "eca_nfnet_l0": ("eca_esc", 10)}
"""Name of the run and epochs of the training for each backbone."""


class TrainedNetwork(NamedTuple):
    """A network of a run, and clips.

    Attributes
    ----------
    run
        Where it was trained; fold 0 is the network.
    learnt
        Clips that it was trained on, shape (n_clips, n_samples): ranges for 8 bits are taken from them.
    held_out
        Clips that it has never heard, with their targets.
    """

    run: Run
    learnt: npt.NDArray[np.float32]
    held_out: ScoreClips


def trained_network(
    backbone: str, *, runs: Path | None, work: Path, may_train: bool
) -> TrainedNetwork | None:
    """Return the trained network of a backbone, or None with a note where it may not or cannot be trained.

    Parameters
    ----------
    backbone
        Its name.
    runs
        Folder of finished runs; None takes those in ``work``, and trains what is not there.
    work
        Folder of the trainings of this benchmark, which are kept.
    may_train
        Whether there is time for a training.
    """
    name, n_epochs = _EXPERIMENTS[backbone]
    place = runs or work / "runs"
    if runs is None and not (place / name / f"fold_{FOLD}" / "finished.json").is_file():
        if not may_train or not RECORDINGS.is_dir():
            why = f"{RECORDINGS} does not exist" if may_train else "it would have to be trained first"
            print(f"no trained {backbone}: {why}")
            return None
        lightning_training(training_config(name, backbone, n_epochs, place), folds=[FOLD])
    run = Run.open(place / name)
    print(f"trained {backbone}: fold {FOLD} of {run.path}")
    return _with_clips(run)


def training_config(name: str, backbone: str, n_epochs: int, logdir: Path) -> TrainConfig:
    """Return a training from nothing that takes a few minutes on two cores."""
    values: dict[str, Any] = {
        "exp_name": name,
        "logdir": logdir,
        "data": {"audio_dir": RECORDINGS},
        "train_function": lightning_training,
        "nn_model_class": WaveCNNAttenClassifier,
        "nn_model_config": {"backbone": backbone, "dropout": 0.2},
        "train_function_args": {
            "train_dataset_class": WaveDataset,
            "train_dataset_config": {"mixup": {"probability": 0.3}},
            "val_dataset_class": WaveAllFileDataset,
            "train_loader": {"batch_size": 16},
            "val_loader": {"batch_size": 16},
            "optimizer": {"name": "AdamW", "lr": 1e-3},
            "scheduler": {"name": "one_cycle", "warmup_share": 0.2},
            "n_epochs": n_epochs,
            "precision_mode": "bf16-mixed",
            "channels_last": True,
            "clip_gradient_norm": 1.0,
        },
    }
    return validate(TrainConfig, values, where=name)


def _with_clips(run: Run) -> TrainedNetwork:
    config, labels = run.config(), LabelMap(run.card().labels)
    recordings = recordings_with_folds(run, config)
    is_held_out = (recordings["fold"] == FOLD) & recordings["validated"]
    learnt = recordings[recordings["fold"] != FOLD]
    return TrainedNetwork(
        run,
        score_clips(learnt, config, labels).waves,
        score_clips(recordings[is_held_out], config, labels),
    )
