"""Which process of a data-parallel training this is."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from dawnchorus.config import TrainFunctionArgs
from dawnchorus.errors import RunError
from dawnchorus.training import processes
from dawnchorus.training.processes import Process, this_process, wait_for

PREFIXES = ("SLURM_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)


def args(devices: int = 4, num_nodes: int = 2) -> TrainFunctionArgs:
    return TrainFunctionArgs(
        train_dataset_class=None, val_dataset_class=None, devices=devices, num_nodes=num_nodes
    )


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "3"}, 3),
        ({"NODE_RANK": "1"}, 4),
        ({"NODE_RANK": "1", "LOCAL_RANK": "2"}, 6),
        ({"GROUP_RANK": "1", "LOCAL_RANK": "2"}, 6),
        ({"NODE_RANK": "0", "GROUP_RANK": "1", "LOCAL_RANK": "2"}, 2),
        ({"TORCHELASTIC_RUN_ID": "job", "RANK": "5", "LOCAL_RANK": "1", "NODE_RANK": "0"}, 5),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "7", "SLURM_JOB_NAME": "train", "LOCAL_RANK": "1"}, 7),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash", "LOCAL_RANK": "2"}, 2),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "7", "SLURM_JOB_NAME": "train", "RANK": "5"}, 7),
        # A platform that numbers machines by RANK starts no processes: Lightning does.
        ({"RANK": "0", "LOCAL_RANK": "1"}, 1),
    ],
)
def test_the_place_of_a_process_is_what_its_starter_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert this_process(args()) == Process(rank, 8)


def test_training_on_one_device_has_one_process_whatever_the_variables_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.setenv(name, "3")
    assert this_process(args(1, 1)) == Process() == Process(0, 1)
    assert this_process(args(2, 1)) == Process(3 * 2 + 3, 2)


def test_a_file_is_waited_for_until_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LOOK_EVERY_S", 0.01)
    file = tmp_path / "config.json"
    writer = threading.Timer(0.3, file.touch)
    started = time.monotonic()
    writer.start()
    wait_for(file)
    assert file.is_file()
    assert 0.3 <= time.monotonic() - started < 10
    writer.join()


def test_a_file_that_is_there_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_PATIENCE_S", -1)
    (tmp_path / "config.json").touch()
    wait_for(tmp_path / "config.json")


def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.1)
    with pytest.raises(
        RunError, match=r"config\.json was not written by the first process; .* the same logdir"
    ):
        wait_for(tmp_path / "config.json")
