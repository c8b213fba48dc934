"""Trainings that cannot go on end in a sentence, and what was good stays."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.errors import TrainingError
from dawnchorus.models.checkpoint_file import read_checkpoint
from dawnchorus.runs import Run
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.module import WaveClassifierModule
from dawnchorus.training.training_failures import told_in_a_sentence

REPOSITORY = Path(__file__).resolve().parents[2]
MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> MakeConfig:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 6.0))

    def make(logdir: Path = tmp_path / "logdirs", **args: Any) -> TrainConfig:
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        small = {
            "logdir": logdir,
            "data": {"audio_dir": root, "features_dir": None},
            "train_function_args": {"clips_per_epoch": 8, "n_epochs": 4, "train_loader": {"batch_size": 4}},
        }
        return validate(TrainConfig, merge(merge(values, small), {"train_function_args": args}), where="test")

    return make


def test_a_loss_that_is_no_number_names_its_batch_and_keeps_the_last_good_checkpoint(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = WaveClassifierModule.spectrogram

    def poisoned(self: WaveClassifierModule, wave: torch.Tensor) -> torch.Tensor:
        picture = original(self, wave)
        return picture * math.nan if self.current_epoch == 1 and self.trainer.global_step == 3 else picture

    monkeypatch.setattr(WaveClassifierModule, "spectrogram", poisoned)
    config = make_config()
    message = (
        r"fold 0 stopped: the loss is nan in epoch 1, batch 1 \(species_.*/XC.*\); the last good checkpoint "
        r"is .*last\.safetensors\. Lower optimizer\.lr \(0\.002\), set clip_gradient_norm, or look at these"
    )
    with pytest.raises(TrainingError, match=message):
        lightning_training(config, folds=[0])
    run = Run(config.run_dir)
    kept, state, _ = read_checkpoint(run.checkpoints_dir(0) / "last.safetensors")
    assert state["epoch"] == 0
    assert all(torch.isfinite(tensor.float()).all() for tensor in kept.values())
    assert run.finished(0) is None


def test_a_learning_rate_that_blows_the_weights_up_is_told(make_config: MakeConfig) -> None:
    config = make_config(optimizer={"name": "SGD", "lr": 1e30}, scheduler={"name": "constant"})
    with pytest.raises(TrainingError, match=r"(the loss is|the network's answers are not numbers)"):
        lightning_training(config, folds=[0])


def test_memory_that_ends_names_what_to_lower(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(self: WaveClassifierModule, wave: torch.Tensor) -> torch.Tensor:
        return torch.empty(len(wave), 1 << 50)  # more than any machine has: PyTorch's own error

    monkeypatch.setattr(WaveClassifierModule, "spectrogram", too_much)
    message = (
        r"out of memory in fold 0 with batches of 4 \(16 in validation\) in 32-true; lower "
        r"train_loader.batch_size and raise accumulate_batches \(1\)"
    )
    with pytest.raises(TrainingError, match=message):
        lightning_training(make_config(), folds=[0])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory in fold 1"),
        (MemoryError(), "out of memory in fold 1"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"the disk of .* is full \(No space left on device\)",
        ),
    ],
)
def test_what_ends_a_training_is_one_sentence(
    make_config: MakeConfig, tmp_path: Path, error: Exception, message: str
) -> None:
    args = make_config().train_function_args
    with (
        pytest.raises(TrainingError, match=message) as caught,
        told_in_a_sentence(args, fold=1, folder=tmp_path),
    ):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("a defect"), PermissionError(errno.EACCES, "not allowed")])
def test_any_other_error_stays_what_it_is(make_config: MakeConfig, tmp_path: Path, error: Exception) -> None:
    args = make_config().train_function_args
    with pytest.raises(type(error)), told_in_a_sentence(args, fold=0, folder=tmp_path):
        raise error


def test_what_a_compiler_lacks_is_one_sentence(make_config: MakeConfig, tmp_path: Path) -> None:
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    args = make_config().train_function_args
    factor = time.time()  # nothing that was compiled before
    compiled = torch.compile(lambda x: torch.sin(x) + x.cos() * factor)
    message = r"torch\.compile failed \(.*\); set compile to False"
    with (
        pytest.raises(TrainingError, match=message),
        told_in_a_sentence(args, fold=0, folder=tmp_path),
        inductor.patch({"cpp.cxx": ("/nowhere/compiler",), "fx_graph_cache": False}),
    ):
        compiled(torch.rand(7, 9))
    torch._dynamo.reset()


SMALL_DISK_MB = 7


def test_a_full_disk_leaves_the_last_good_checkpoint_whole(make_config: MakeConfig, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        config = make_config(logdir=disk)
        with pytest.raises(
            TrainingError, match=r"the disk of .*fold_0 is full .* run the same command again"
        ):
            lightning_training(config, folds=[0])
        last = Run(config.run_dir).checkpoints_dir(0) / "last.safetensors"
        assert read_checkpoint(last).state is not None
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        assert lightning_training(config, folds=[0]).finished_folds() == [0]
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_command_says_it_on_one_line(make_config: MakeConfig, tmp_path: Path, data_factory: Any) -> None:
    file = tmp_path / "config.py"
    base = str(REPOSITORY / "train_configs" / "smoke.py")
    file.write_text(
        f"CONFIG = {{'base': {base!r}, 'logdir': {str(tmp_path / 'logs')!r}, 'data': {{'audio_dir': "
        f"{str(make_config().data[0].audio_dir)!r}, 'features_dir': None}}, 'train_function_args': "
        "{'optimizer': {'name': 'SGD', 'lr': 1e30}, 'scheduler': {'name': 'constant'}, "
        "'clips_per_epoch': 16}}"
    )
    command = [sys.executable, "-m", "dawnchorus", "train", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert result.returncode == 1
    assert "error: fold 0 stopped:" in result.stderr
    assert "Traceback" not in result.stderr
