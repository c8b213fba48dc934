"""Two trainings in one run: no fold twice, no config beside weights that it did not make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.config import TrainConfig, read_config_file, validate
from dawnchorus.errors import RunError
from dawnchorus.files import locked
from dawnchorus.runs import Run
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.module import WaveClassifierModule
from dawnchorus.training.run_locks import RunLocks, is_being_trained

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = """
CONFIG = {{
    "base": {base!r},
    "exp_name": "one",
    "logdir": {logdir!r},
    "seed": {seed},
    "data": {{"audio_dir": {audio!r}, "features_dir": None}},
    "nn_model_config": {{"backbone": "test_resnet.r160_in1k"}},
    "train_function_args": {{
        "clips_per_epoch": 4, "n_epochs": 2, "accelerator": "cpu", "train_loader": {{"batch_size": 4}},
        "train_dataset_config": {{"segment_len": 1.0}}, "val_dataset_config": {{"segment_len": 1.0}},
    }},
}}
"""


@pytest.fixture
def audio(data_factory: Any) -> Path:
    return Path(data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 5.5)))


@pytest.fixture
def write_config(audio: Path, tmp_path: Path) -> Callable[[int], Path]:
    def write(seed: int) -> Path:
        file = tmp_path / f"config_{seed}.py"
        base, logdir = str(REPOSITORY / "train_configs" / "smoke.py"), str(tmp_path / "logdirs")
        file.write_text(CONFIG.format(base=base, logdir=logdir, seed=seed, audio=str(audio)))
        return file

    return write


@pytest.fixture
def make_config(write_config: Callable[[int], Path]) -> Callable[[int], TrainConfig]:
    def make(seed: int) -> TrainConfig:
        return validate(TrainConfig, read_config_file(write_config(seed)), where="test")

    return make


def start(file: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dawnchorus", "train", str(file), *options]
    return subprocess.Popen(
        command,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.stress
def test_of_two_configs_under_one_name_one_is_trained_and_the_other_told(
    write_config: Callable[[int], Path], tmp_path: Path
) -> None:
    both = {seed: start(write_config(seed), "--folds", "0") for seed in (1, 2)}
    ended = {seed: process.communicate(timeout=300)[1] for seed, process in both.items()}
    codes = {seed: process.returncode for seed, process in both.items()}
    assert sorted(codes.values()) == [0, 1], ended
    (done,) = (seed for seed, code in codes.items() if code == 0)
    (refused,) = (message for seed, message in ended.items() if seed != done)
    (sentence,) = (line for line in refused.splitlines() if line.startswith("error: "))
    assert "logdirs/one holds a run of another config (seed: " in sentence
    assert "choose another exp_name" in sentence
    run = Run(tmp_path / "logdirs" / "one")
    assert json.loads(run.config_file.read_text())["seed"] == done
    assert run.finished_folds() == [0]


@pytest.mark.stress
def test_two_folds_are_trained_side_by_side(write_config: Callable[[int], Path], tmp_path: Path) -> None:
    both = [start(write_config(1), "--folds", str(fold)) for fold in (0, 1)]
    for process in both:
        assert process.communicate(timeout=300)[1] is not None
        assert process.returncode == 0
    assert Run(tmp_path / "logdirs" / "one").finished_folds() == [0, 1]


def test_a_fold_that_is_being_trained_is_not_trained_a_second_time(
    make_config: Callable[[int], TrainConfig],
) -> None:
    config = make_config(1)
    run = Run(config.run_dir)
    with RunLocks(run) as locks:
        run.path.mkdir(parents=True)
        locks.hold(0)
        assert is_being_trained(run)
        with pytest.raises(RunError, match=r"config\.json is gone"):
            lightning_training(config, folds=[0])
    lightning_training(config, folds=[1])
    with RunLocks(run) as locks:
        locks.hold(0)
        message = r"fold 0 of .*one is being trained by another process; wait for it, train other folds"
        with pytest.raises(RunError, match=message):
            lightning_training(config, folds=[0])
    assert not is_being_trained(run)
    assert lightning_training(config, folds=[0]).finished_folds() == [0, 1]


def test_a_run_that_became_another_one_while_it_was_trained_gets_no_report(
    make_config: Callable[[int], TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, other = make_config(1), make_config(2)
    run = Run(config.run_dir)

    def replace_config(self: WaveClassifierModule) -> None:
        saved = json.loads(run.config_file.read_text())
        run.config_file.write_text(json.dumps({**saved, "seed": other.seed}))

    monkeypatch.setattr(WaveClassifierModule, "on_train_end", replace_config, raising=False)
    with pytest.raises(RunError, match=r"holds a run of another config \(seed: 2 → 1\)"):
        lightning_training(config, folds=[0])
    assert run.finished(0) is None


HOLDER = """
import os, sys, time
from pathlib import Path
from dawnchorus.files import locked
with locked(Path(sys.argv[1])) as is_ours:
    worker_began, told = os.pipe()
    if os.fork() == 0:
        os.write(told, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(worker_began, 1)
    print(is_ours, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_killed_process_leaves_no_lock_although_its_workers_live_on(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "True\n"
            with locked(file) as is_free:
                assert not is_free
            process.kill()
            process.wait()
            with locked(file) as is_free:
                assert is_free
        finally:
            os.killpg(process.pid, signal.SIGKILL)
