"""Settings of training that this machine, or each other, do not allow."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from dawnchorus.config import TrainFunctionArgs, validate
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import ConfigError, MissingExtraError
from dawnchorus.training.setting_checks import check_training_args


def settings(**changes: Any) -> TrainFunctionArgs:
    classes = {"train_dataset_class": WaveDataset, "val_dataset_class": WaveAllFileDataset}
    return validate(TrainFunctionArgs, classes | changes, where="mine.py")


def pretend(monkeypatch: pytest.MonkeyPatch, n_gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"average_best": 4, "n_checkpoints": 3},
            "average_best is 4 and n_checkpoints 3; .*: raise n_checkpoints",
        ),
        ({"frozen_epochs": 2}, "frozen_epochs is 2 and frozen_layers names none; name some"),
        (
            {"frozen_epochs": 2, "frozen_layers": ("backbone",), "devices": 2},
            "frozen_epochs needs a single device, .*; leave it out, or take devices 1",
        ),
        (
            {"frozen_epochs": 2, "frozen_layers": ("backbone",), "num_nodes": 2},
            "frozen_epochs needs a single device",
        ),
        (
            {"devices": 3, "train_loader": {"batch_size": 64}},
            "train_loader.batch_size is 64, which 3 devices cannot share evenly; take a multiple",
        ),
        (
            {"devices": 4, "num_nodes": 2, "train_loader": {"batch_size": 12}},
            "batch_size is 12, which 8 devices cannot share",
        ),
        (
            {"auto_batch": True, "num_nodes": 2},
            "auto_batch needs a single machine; find the batch size on one",
        ),
        ({"loggers": ("tensorbord",)}, "loggers.*tensorbord"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.py: .*{message}"):
        settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"average_best": 3, "n_checkpoints": 3},
        {"frozen_epochs": 2, "frozen_layers": ("backbone",)},
        {"frozen_layers": ("backbone",), "devices": 2},
        {"devices": 4, "num_nodes": 2, "train_loader": {"batch_size": 16}},
        {"auto_batch": True, "devices": 4},
    ],
)
def test_their_neighbours_are_allowed(changes: dict[str, Any]) -> None:
    assert settings(**changes).model_fields_set >= set(changes)


@pytest.mark.parametrize(
    ("n_gpus", "changes", "message"),
    [
        (0, {"accelerator": "gpu"}, "accelerator is 'gpu', and PyTorch sees none; take 'auto' or 'cpu'"),
        (
            0,
            {"precision_mode": "16-mixed"},
            "precision_mode 16-mixed needs a GPU; take bf16-mixed or 32-true",
        ),
        (2, {"precision_mode": "16-mixed", "accelerator": "cpu"}, "precision_mode 16-mixed needs a GPU"),
        (2, {"devices": 4}, "devices is 4, and PyTorch sees 2 GPUs"),
        (0, {"sync_batchnorm": True}, "sync_batchnorm needs GPUs; leave it out"),
        (2, {"sync_batchnorm": True, "accelerator": "cpu"}, "sync_batchnorm needs GPUs"),
    ],
)
def test_what_the_machine_lacks_is_told(
    monkeypatch: pytest.MonkeyPatch, n_gpus: int, changes: dict[str, Any], message: str
) -> None:
    pretend(monkeypatch, n_gpus)
    with pytest.raises(ConfigError, match=rf"^mine: {message}"):
        check_training_args(settings(**changes), where="mine")


@pytest.mark.parametrize(
    ("n_gpus", "changes"),
    [
        (0, {"devices": 4}),
        (0, {"precision_mode": "bf16-mixed"}),
        (2, {"precision_mode": "16-mixed", "accelerator": "gpu", "devices": 2, "sync_batchnorm": True}),
        (2, {"accelerator": "cpu", "devices": 4}),
        (0, {"loss": "masked_bce_focal", "train_dataset_config": {"unknown_secondary_labels": True}}),
        (0, {"train_dataset_config": {"unknown_secondary_labels": False}}),
    ],
)
def test_what_the_machine_has_is_allowed(
    monkeypatch: pytest.MonkeyPatch, n_gpus: int, changes: dict[str, Any]
) -> None:
    pretend(monkeypatch, n_gpus)
    check_training_args(settings(**changes), where="mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "bce_focall"}, r"mine: loss is 'bce_focall', which is not known; did you mean bce_focal\?"),
        (
            {"loss": "focal", "loss_args": {"gama": 1}},
            r"mine: loss_args\.gama is not known; did you mean gamma\?",
        ),
        ({"loss": "focal", "loss_args": {"alpha": 2}}, r"mine: loss_args\.alpha is 2; legal: "),
        ({"loss": "bce", "loss_args": {"alpha": 1}}, "mine: loss_args is .*, but the loss bce takes none"),
        (
            {"loss": "bce", "train_dataset_config": {"unknown_secondary_labels": True}},
            "mine: unknown_secondary_labels needs a loss that passes over unknown targets, and loss is bce; "
            "take one of masked_bce",
        ),
        (
            {
                "loss": "bce",
                "train_dataset_config": {
                    "soundscape_pseudo_config": {
                        "known": {
                            "tables": [{"table": "known.csv", "audio_dir": "nights", "missing": "unknown"}]
                        }
                    }
                },
            },
            r"mine: soundscape_pseudo_config\.known\.tables\.0\.missing needs a loss that passes over",
        ),
        (
            {
                "loss": "bce",
                "train_dataset_config": {"background": [{"folder": "wood", "unknown_labels": "all"}]},
            },
            r"mine: background\.0\.unknown_labels needs a loss that passes over unknown targets",
        ),
    ],
)
def test_a_loss_that_cannot_be_made_or_met_is_told(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    pretend(monkeypatch, 0)
    with pytest.raises(ConfigError, match=message):
        check_training_args(settings(**changes), where="mine")


def test_a_logger_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="loggers names tensorboard, which is not installed"):
        check_training_args(settings(loggers=("tensorboard",)), where="mine")
