"""Loggers beside the CSV files: real TensorBoard files, and W&B where it is wanted."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from dawnchorus.config import TrainConfig, TrainFunctionArgs, merge, read_config_file, validate
from dawnchorus.errors import MissingExtraError
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.run_loggers import chosen_loggers, closing_loggers, make_loggers

REPOSITORY = Path(__file__).resolve().parents[2]
MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _no_wandb_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> MakeConfig:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 6.0))

    def make(**changes: Any) -> TrainConfig:
        clips = {f"{role}_dataset_config": {"segment_len": 1.0} for role in ("train", "val")}
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        small = {
            "logdir": tmp_path / "logdirs",
            "data": {"audio_dir": root, "features_dir": None},
            "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
            "train_function_args": {"clips_per_epoch": 8, "n_epochs": 1, "train_loader": {"batch_size": 4}}
            | clips,
        }
        return validate(TrainConfig, merge(merge(values, small), changes), where="test")

    return make


def args(*loggers: str) -> TrainFunctionArgs:
    return TrainFunctionArgs(train_dataset_class=None, val_dataset_class=None, loggers=loggers)


def missing(name: str) -> Callable[[str], object]:
    """Return a search for packages that does not find one."""
    return lambda package: None if package == name else object()


def test_tensorboard_reads_back_what_training_logged(make_config: MakeConfig) -> None:
    accumulation = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = make_config(train_function_args={"loggers": ["tensorboard"], "n_epochs": 2})
    run = lightning_training(config, folds=[0])
    events = accumulation.EventAccumulator(str(run.fold_dir(0) / "tensorboard"))
    events.Reload()
    (table,) = run.fold_dir(0).glob("logs/version_*/metrics.csv")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    for name in ("val_macro_roc_auc", "val_cmap", "val_loss", "train_loss"):
        expected = [float(row[name]) for row in rows if row[name]]
        assert len(expected) == 2
        logged = [event.value for event in events.Scalars(name)]
        assert logged == pytest.approx(expected, rel=1e-6), name


def test_csv_alone_is_written_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    assert [type(one) for one in make_loggers(args(), tmp_path / "run" / "fold_0")] == [CSVLogger]


def test_every_logger_writes_below_its_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    fold_dir = tmp_path / "run" / "fold_0"
    made = make_loggers(args("wandb", "tensorboard"), fold_dir)
    assert [type(one) for one in made] == [CSVLogger, TensorBoardLogger, WandbLogger]
    assert all(Path(str(one.save_dir)).is_relative_to(fold_dir) for one in made)


@pytest.mark.parametrize(
    ("mode", "loggers", "chosen"),
    [
        (None, (), ()),
        (None, ("wandb",), ("wandb",)),
        (None, ("wandb", "tensorboard", "wandb"), ("tensorboard", "wandb")),
        ("", (), ()),
        ("offline", (), ("wandb",)),
        ("online", ("tensorboard",), ("tensorboard", "wandb")),
        ("disabled", ("wandb",), ()),
        ("disabled", ("wandb", "tensorboard"), ("tensorboard",)),
        ("disabled", (), ()),
    ],
)
def test_the_config_chooses_and_wandbs_own_variable_overrules(
    monkeypatch: pytest.MonkeyPatch, mode: str | None, loggers: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", missing("nothing"))
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    assert chosen_loggers(args(*loggers)) == chosen


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_logger_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", missing(name))
    message = rf"loggers names {name}, which is not installed; install it with: pip install -e '\.\[{name}\]'"
    with pytest.raises(MissingExtraError, match=message):
        chosen_loggers(args("tensorboard", "wandb"))


def test_a_variable_alone_does_not_ask_for_a_package_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", missing("wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert chosen_loggers(args()) == ()


def test_a_missing_logger_is_told_before_a_run_is_begun(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(train_function_args={"loggers": ["wandb"]})
    monkeypatch.setattr(importlib.util, "find_spec", missing("wandb"))
    with pytest.raises(MissingExtraError, match="wandb"):
        lightning_training(config)
    assert not config.run_dir.exists()


@pytest.mark.parametrize("fails", [False, True])
def test_loggers_are_closed_whether_the_training_fails_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    codes: list[int] = []
    monkeypatch.setattr(wandb, "finish", lambda exit_code: codes.append(exit_code))
    with (
        pytest.raises(RuntimeError, match="broken") if fails else nullcontext(),
        closing_loggers(make_loggers(args("wandb"), tmp_path / "run" / "fold_0")),
    ):
        if fails:
            raise RuntimeError("broken")
    assert codes == [int(fails)]


def test_a_long_name_is_shortened_for_wandb_and_stays_its_own(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    names = []
    for ending in ("a", "b"):
        *_, logger = make_loggers(args("wandb"), tmp_path / f"{'published_' * 19}{ending}" / "fold_12")
        names += [logger._wandb_init["name"], logger._wandb_init["group"]]
    assert len(set(names)) == 4
    assert max(map(len, names)) <= 128  # what Weights & Biases takes
