"""A training that is killed, at any moment and by any means, ends as if it had not been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.models.checkpoint_file import read_checkpoint
from dawnchorus.runs import Run
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.module import WaveClassifierModule

REPOSITORY = Path(__file__).resolve().parents[2]
EVERYTHING = {
    "ema_decay": 0.9,
    "accumulate_batches": 2,
    "clip_gradient_norm": 1.0,
    "deterministic": True,
    "average_best": 2,
    "frozen_layers": ["backbone"],
    "frozen_epochs": 1,
    "early_stopping_epochs": 4,
    "batch_augmentations": {"random_filtering": {}, "spectrogram_masks": {}},
}
"""Whatever has a state of its own."""


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> Callable[..., TrainConfig]:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 6.0))

    def make(exp_name: str, **args: Any) -> TrainConfig:
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        small = {
            "exp_name": exp_name,
            "logdir": tmp_path / "logdirs",
            "data": {"audio_dir": root, "features_dir": None},
            "train_function_args": {"clips_per_epoch": 8, "n_epochs": 4, "train_loader": {"batch_size": 4}},
        }
        return validate(TrainConfig, merge(merge(values, small), {"train_function_args": args}), where="test")

    return make


class KilledError(Exception):
    """Stands for a process that ends."""


def killing(n_steps: int) -> Callable[..., None]:
    """Return a hook that ends the training at a step."""
    steps = iter(range(n_steps))

    def die(self: WaveClassifierModule, *args: Any) -> None:
        if next(steps, None) is None:
            raise KilledError

    return die


def assert_same(run: Run, expected: Run) -> None:
    """Compare weights, optimiser, schedule, averages and scores, bit by bit."""
    (ours, our_state, _), (theirs, their_state, _) = (
        read_checkpoint(each.checkpoints_dir(0) / "last.safetensors") for each in (run, expected)
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    for key in ("optimizer_states", "lr_schedulers", "epoch", "global_step", "current_model_state"):
        assert repr(our_state.get(key)) == repr(their_state.get(key)), key
    reports = [{**(each.finished(0) or {}), "seconds": None} for each in (run, expected)]
    assert reports[0] == reports[1]
    best = (each.best_checkpoint(0) for each in (run, expected))
    (ours, *_), (theirs, *_) = (read_checkpoint(path) for path in best)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    tables = [pd.read_csv(each.fold_dir(0) / "per_class.csv") for each in (run, expected)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("args", [{}, EVERYTHING], ids=["plain", "everything"])
def test_interrupted_at_any_step_it_ends_with_the_same_bits(
    make_config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, args: dict[str, Any]
) -> None:
    expected = lightning_training(make_config("undisturbed", **args), folds=[0])
    config = make_config("interrupted", **args)
    for n_steps, hook in ((3, "training_step"), (1, "validation_step"), (1, "on_save_checkpoint")):
        original = getattr(WaveClassifierModule, hook)
        die = killing(n_steps)

        def hooked(self: Any, *values: Any, original: Any = original, die: Any = die) -> Any:
            die(self)
            return original(self, *values)

        with monkeypatch.context() as patch:
            patch.setattr(WaveClassifierModule, hook, hooked)
            with pytest.raises(KilledError):
                lightning_training(config, folds=[0])
    assert_same(lightning_training(config, folds=[0]), expected)


@pytest.mark.stress
def test_killed_with_signal_9_at_random_moments_it_ends_with_the_same_bits(
    make_config: Callable[..., TrainConfig], tmp_path: Path, data_factory: Any
) -> None:
    args = {"n_epochs": 6, "clips_per_epoch": 16}
    expected = lightning_training(make_config("undisturbed", **args), folds=[0])
    file = tmp_path / "config.py"
    base = str(REPOSITORY / "train_configs" / "smoke.py")
    file.write_text(
        f"CONFIG = {{'base': {base!r}, 'exp_name': 'killed', 'logdir': {str(tmp_path / 'logdirs')!r},"
        f"'data': {{'audio_dir': {str(data_factory.root)!r}, 'features_dir': None}},"
        f"'train_function_args': {{'train_loader': {{'batch_size': 4}}, **{args!r}}}}}"
    )
    run = Run(tmp_path / "logdirs" / "killed")
    command = [sys.executable, "-m", "dawnchorus", "train", str(file), "--folds", "0"]
    moments = random.Random(0)
    n_killed = 0
    for n_epochs in range(5):
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ
        )
        while process.poll() is None and len(list(run.path.glob("fold_0/checkpoints/0*"))) <= n_epochs:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        n_killed += process.wait() == -signal.SIGKILL
    assert n_killed > 0
    subprocess.run(command, check=True, capture_output=True)
    assert_same(run, expected)
    assert not list(run.path.rglob(".dawnchorus-*.tmp"))


def test_a_stopped_fold_that_was_killed_before_its_report_is_not_trained_on(
    make_config: Callable[..., TrainConfig],
) -> None:
    # A learning rate that moves nothing: no epoch improves on the first.
    args = {
        "early_stopping_epochs": 2,
        "n_epochs": 9,
        "optimizer": {"lr": 1e-12},
        "scheduler": {"name": "constant"},
    }
    run = lightning_training(make_config("stopped", **args), folds=[0])
    report = run.finished(0) or {}
    assert report["n_epochs"] == 3
    run.finished_file(0).unlink()
    again = lightning_training(make_config("stopped", **args), folds=[0]).finished(0) or {}
    assert {**again, "seconds": 0} == {**report, "seconds": 0}
