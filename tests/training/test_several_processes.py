"""Data-parallel training: two processes, as on two devices, do what one does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from dawnchorus.cli import main
from dawnchorus.models.weights import load_state_dict_file
from dawnchorus.report.run_tables import fold_history
from dawnchorus.runs import Run

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = """
CONFIG = {{
    "base": {base!r},
    "exp_name": "one",
    "logdir": {logdir!r},
    "data": {{"audio_dir": {audio!r}, "features_dir": None}},
    # Without batch normalisation and dropout, both of which look at a device's own clips.
    "nn_model_config": {{"backbone": "test_nfnet.r160_in1k", "dropout": 0.0}},
    "train_function_args": {{
        "clips_per_epoch": 16, "n_epochs": 2, "accelerator": "cpu",
        "train_loader": {{"batch_size": 8}}, "val_loader": {{"batch_size": 4}},
        "scheduler": {{"name": "cosine", "restarts": 1}}, "callbacks": ["epoch_rates:EpochRates"],
    }},
}}
"""
CALLBACK = """
from pathlib import Path

from lightning.pytorch.callbacks import Callback


class EpochRates(Callback):
    def on_train_epoch_end(self, trainer, module):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        name = f"rates_{trainer.world_size}_{trainer.global_rank}.txt"
        with Path(__file__).with_name(name).open("a") as file:
            print(trainer.current_epoch, rate, file=file)
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> Path:
    folder = tmp_path_factory.mktemp("several")
    audio = data_factory_in(folder / "audio").recordings(n_species=2, n_per_species=7, duration_s=(5.0, 11.0))
    file = folder / "config.py"
    (folder / "epoch_rates.py").write_text(CALLBACK)
    base = str(REPOSITORY / "train_configs" / "smoke.py")
    file.write_text(CONFIG.format(base=base, logdir=str(folder / "logdirs"), audio=str(audio)))
    return file


def start(config_file: Path, name: str, *options: str, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dawnchorus", "train", str(config_file), "--exp-name", name, *options]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def train_here(config_file: Path, name: str) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", str(config_file), "--exp-name", name])


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def one_process(config_file: Path) -> Run:
    train_here(config_file, "one")
    return Run.open(config_file.parent / "logdirs" / "one")


def assert_alike(run: Run, expected: Run, folds: tuple[int, ...] = (0, 1)) -> None:
    for fold in folds:
        for column in ("val_macro_roc_auc", "val_cmap", "val_loss", "train_loss"):
            ours, theirs = (fold_history(each, fold)[column] for each in (run, expected))
            assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), abs=2e-5), (fold, column)
        ours, theirs = (
            load_state_dict_file(each.checkpoints_dir(fold) / "last.safetensors") for each in (run, expected)
        )
        for name, tensor in theirs.items():
            # Adam makes whole steps of rounding where gradients all but cancel, as of the attention bias.
            torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=3e-4, msg=name)


class Training(NamedTuple):
    """A run, and what its training printed."""

    run: Run
    out: str
    err: str


@pytest.fixture(scope="module")
def two_processes(config_file: Path) -> Training:
    out, err = ended(start(config_file, "two", "--fold", "all", "--devices", "2"))
    return Training(Run.open(config_file.parent / "logdirs" / "two"), out, err)


def test_two_processes_end_with_the_scores_and_weights_of_one(
    config_file: Path, two_processes: Training, one_process: Run
) -> None:
    run, out, err = two_processes
    assert run.finished_folds() == [0, 1]
    assert_alike(run, one_process)
    assert out.count("trained folds 0, 1") == 1
    assert err.count("Fold 1: best") == 1
    assert "Warning" not in err
    assert "recommended" not in err
    rates = [(config_file.parent / f"rates_{name}.txt").read_text() for name in ("1_0", "2_0", "2_1")]
    assert rates[0].splitlines()[0].startswith("0 ")
    assert rates[0] == rates[1] == rates[2]
    # How many devices there are says nothing of what is trained: another number goes on with the run.
    train_here(config_file, "two")


def test_another_choice_of_checkpoints_is_that_of_one_process(
    two_processes: Training, one_process: Run
) -> None:
    for run in (one_process, two_processes.run):
        with pytest.raises(SystemExit, match="0"):
            main(["choose-checkpoints", str(run.path), "--by", "loss", "--average", "2"])
    for fold in (0, 1):
        expected, found = one_process.finished(fold), two_processes.run.finished(fold)
        assert found["best_checkpoint"] == expected["best_checkpoint"]
        scores = {key: value for key, value in expected.items() if key.startswith("val_")}
        assert scores
        assert {key: found[key] for key in scores} == pytest.approx(scores, abs=1e-4)


@pytest.mark.stress
def test_two_machines_train_as_one_does(config_file: Path, one_process: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    machines = [
        start(
            config_file, "machines", "--folds", "0", "--num-nodes", "2",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=port, NODE_RANK=str(rank),
        )
        for rank in (1, 0)
    ]  # fmt: skip
    for machine in machines:
        ended(machine)
    assert_alike(Run.open(config_file.parent / "logdirs" / "machines"), one_process, folds=(0,))


def test_a_batch_that_devices_cannot_share_is_refused(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["train", str(config_file), "--exp-name", "three", "--devices", "3"])
    told = capsys.readouterr().err
    assert "train_loader.batch_size is 8, which 3 devices cannot share evenly; take a multiple" in told
