"""``lightning_training`` on real files: runs, resumes, refuses."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from dawnchorus.config import SchedulerSettings, TrainConfig, merge, read_config_file, validate
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import ConfigError, DataError, ModelError, RunError, WeightsError
from dawnchorus.files import read_failures
from dawnchorus.models.weights import load_state_dict_file
from dawnchorus.report.run_tables import fold_history
from dawnchorus.runs import Run
from dawnchorus.training import trainer
from dawnchorus.training.fold_training import FoldTraining, train_fold
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.networks import new_model
from dawnchorus.training.optimizer import lr_multiplier
from dawnchorus.training.run_preparation import prepare_run

REPOSITORY = Path(__file__).resolve().parents[2]
MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> MakeConfig:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 6.0))

    def make(**changes: Any) -> TrainConfig:
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        small = {
            "logdir": tmp_path / "logdirs",
            "data": {"audio_dir": root, "features_dir": None},
            "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
            "train_function_args": {"clips_per_epoch": 8, "n_epochs": 3, "train_loader": {"batch_size": 4}},
        }
        return validate(TrainConfig, merge(merge(values, small), changes), where="test")

    return make


def weights_of(run: Run, fold: int) -> dict[str, torch.Tensor]:
    return load_state_dict_file(run.checkpoints_dir(fold) / "last.safetensors")


@pytest.mark.parametrize("smallest", [20, 2, 0])
def test_few_recordings_are_drawn_several_times_in_an_epoch(make_config: MakeConfig, smallest: int) -> None:
    changes = {"clips_per_epoch": None, "min_clips_per_epoch": smallest, "class_balance": "none"}
    config = make_config(train_function_args=changes)
    training = FoldTraining(config, prepare_run(config), 0)
    items = [draw.item for draw in training.sampler]
    n_recordings = len(training.train_set)
    assert 2 < n_recordings < 20
    assert len(items) == max(n_recordings, smallest)
    assert set(items) == set(range(n_recordings))


def test_a_run_leaves_all_that_is_needed_to_use_it(make_config: MakeConfig) -> None:
    run = lightning_training(make_config(), config_file=REPOSITORY / "train_configs" / "smoke.py")
    names = {path.name for path in run.path.iterdir()}
    assert names >= {"config.json", "config_files", "model_card.json", "environment.json", "folds.csv"}
    assert run.finished_folds() == [0, 1]
    for fold in (0, 1):
        checkpoints = sorted(path.name for path in run.checkpoints_dir(fold).iterdir())
        assert len(checkpoints) == 4
        assert checkpoints[-1] == "last.safetensors"
        assert list(run.fold_dir(fold).glob("logs/version_*/metrics.csv"))
        assert run.best_checkpoint(fold).is_file()
    assert run.config() == make_config()
    card = run.card()
    assert card.labels == ("species_0", "species_1")
    assert card.frontend["n_mels"] == 128
    assert json.loads((run.path / "environment.json").read_text())["packages"]["torch"]


def test_without_a_terminal_each_epoch_is_a_line_and_renews_the_page(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    logged: list[list[int]] = []

    def page(run: Run, *, with_recordings: bool) -> None:
        assert not with_recordings
        logged.append(list(fold_history(run, 0).index))

    monkeypatch.setattr(trainer, "write_run_page", page)
    monkeypatch.setattr(trainer, "_PAGE_EVERY_S", 0.0)
    monkeypatch.setattr(trainer, "_PAGE_REST", 0)
    with caplog.at_level(logging.INFO, logger="dawnchorus"), warnings.catch_warnings():
        warnings.simplefilter("error")
        lightning_training(make_config(train_function_args={"train_loader": {"num_workers": 8}}), folds=[0])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Fold 0")]
    number = r"\d+\.\d+"
    for epoch, line in enumerate(lines, start=1):
        pattern = rf"Fold 0: epoch {epoch}/3, loss {number}, macro ROC-AUC {number}, \d+:\d\d:\d\d left"
        assert re.fullmatch(pattern, line)
    assert len(lines) == 3
    assert lines[-1].endswith("0:00:00 left")
    assert logged == [[0], [0, 1]], "each page has the epochs before it"
    assert caplog.text.count("Dataset composition") == 1


def test_pages_are_seldom_renewed_where_epochs_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Run] = []
    monkeypatch.setattr(trainer, "write_run_page", lambda run, with_recordings: calls.append(run))
    renewal = trainer.PageRenewal(Run(tmp_path))
    for epoch in range(100):
        renewal.on_train_epoch_start(SimpleNamespace(is_global_zero=True, current_epoch=epoch), None)
        renewal.on_train_epoch_start(SimpleNamespace(is_global_zero=False, current_epoch=epoch), None)
    assert len(calls) == 1


def test_a_finished_fold_is_not_trained_again(make_config: MakeConfig) -> None:
    run = lightning_training(make_config(), folds=[0])
    before = run.finished_file(0).stat().st_mtime_ns
    assert lightning_training(make_config()).finished_folds() == [0, 1]
    assert run.finished_file(0).stat().st_mtime_ns == before


def test_an_interrupted_fold_ends_as_if_it_had_not_been(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmented = {"batch_augmentations": {"random_filtering": {}, "spectrogram_masks": {}}}
    undisturbed = lightning_training(
        make_config(exp_name="undisturbed", train_function_args=augmented), folds=[0]
    )

    class KilledError(Exception):
        pass

    def die_in_epoch_1(self: Any) -> None:
        if self.current_epoch == 1:
            raise KilledError

    config = make_config(exp_name="interrupted", train_function_args=augmented)
    with monkeypatch.context() as patch:
        patch.setattr("dawnchorus.training.module.WaveClassifierModule.on_train_epoch_end", die_in_epoch_1)
        with pytest.raises(KilledError):
            lightning_training(config, folds=[0])
    run = Run(config.run_dir)
    assert run.finished(0) is None
    assert (run.checkpoints_dir(0) / "last.safetensors").is_file()
    lightning_training(config, folds=[0])
    expected, resumed = weights_of(undisturbed, 0), weights_of(run, 0)
    assert expected.keys() == resumed.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_fold_killed_after_its_last_epoch_is_finished_without_training(make_config: MakeConfig) -> None:
    run = lightning_training(make_config(), folds=[0])
    before, report = weights_of(run, 0), run.finished(0)
    run.finished_file(0).unlink()
    lightning_training(make_config(), folds=[0])
    assert {**run.finished(0), "seconds": 0} == {**report, "seconds": 0}  # type: ignore[dict-item]
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(run, 0).items())


def test_a_bad_recording_is_left_out_and_listed(make_config: MakeConfig, data_factory: Any) -> None:
    config = make_config()
    next(data_factory.root.rglob("*.flac")).write_bytes(b"not audio")
    run = lightning_training(config, folds=[0])
    assert [failure.path.suffix for failure in read_failures(run.path)] == [".flac"]
    assert len(run.folds()) == 11


def test_nothing_is_written_where_the_weights_cannot_be_had(make_config: MakeConfig) -> None:
    config = make_config(nn_model_config={"weights": "/nowhere.pth"})
    with pytest.raises(WeightsError, match="nowhere"):
        lightning_training(config)
    assert not config.run_dir.exists()


def test_labels_that_changed_under_a_run_are_noticed(make_config: MakeConfig, data_factory: Any) -> None:
    lightning_training(make_config(), folds=[0])
    table = data_factory.root / "recordings.csv"
    table.write_text(table.read_text().replace(",species_0,", ",zz,"))
    with pytest.raises(RunError, match="begun with other recordings, labels or folds"):
        lightning_training(make_config())


def test_a_folder_with_the_same_names_is_no_part_of_a_run(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    lightning_training(config, folds=[0])
    shutil.copytree(config.data[0].audio_dir, tmp_path / "copy")
    with pytest.raises(RunError, match="was begun with the recordings in"):
        lightning_training(make_config(data={"audio_dir": tmp_path / "copy"}))


def test_a_run_without_a_checkpoint_gives_way_to_a_corrected_config(make_config: MakeConfig) -> None:
    prepare_run(make_config())
    run = lightning_training(make_config(train_function_args={"n_epochs": 1}), folds=[0])
    assert run.config().train_function_args.n_epochs == 1


def test_a_fold_learns_from_no_recordist_that_it_is_tested_on(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    for dataset_class in (WaveDataset, WaveAllFileDataset):
        original = dataset_class.__init__

        def remember(self: Any, recordings: Any, *args: Any, original: Any = original, **kwargs: Any) -> None:
            seen.append(set(recordings["author"]))
            original(self, recordings, *args, **kwargs)

        monkeypatch.setattr(dataset_class, "__init__", remember)
    config = make_config(train_function_args={"n_epochs": 1})
    prepared = prepare_run(config)
    seen.clear()
    train_fold(config, prepared, 0)
    train_authors, val_authors = seen
    assert train_authors
    assert val_authors
    assert not train_authors & val_authors


def test_a_directory_of_another_config_is_refused_with_the_difference(make_config: MakeConfig) -> None:
    lightning_training(make_config(), folds=[0])
    with pytest.raises(RunError, match=r"another config \(train_function_args.n_epochs: 3 → 4\)"):
        lightning_training(make_config(train_function_args={"n_epochs": 4}))


def test_recordings_that_changed_under_a_run_are_noticed(make_config: MakeConfig, data_factory: Any) -> None:
    run = lightning_training(make_config(), folds=[0])
    table = data_factory.root / "recordings.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(RunError, match="begun with other recordings, labels or folds"):
        lightning_training(make_config())
    assert run.finished_folds() == [0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"nn_model_config": {"n_classes": 3}}, ConfigError, "n_classes is given by the recordings"),
        ({"nn_model_config": {"dropout": "many"}}, ConfigError, "nn_model_config does not make a network"),
        (
            {"nn_model_config": {"frontend": {"sample_rate": 16_000, "f_max_hz": 8000.0}}},
            ConfigError,
            "must agree",
        ),
        (
            {"train_function_args": {"batch_augmentations": {"random_filtering": {"min_dB": 1}}}},
            ConfigError,
            r"random_filtering.min_dB is not known; did you mean min_db\?",
        ),
        (
            {"train_function_args": {"train_dataset_config": {"mixup": {"alphas": 1}}}},
            ConfigError,
            r"mixup.alphas is not known; did you mean alpha\?",
        ),
        (
            {"train_function_args": {"train_dataset_config": {"background": [{"folder": "/nowhere"}]}}},
            DataError,
            "/nowhere: no such folder",
        ),
        (
            {"nn_model_config": {"backbon": "x"}},
            ConfigError,
            r"nn_model_config.backbon is not known; did you",
        ),
        ({"nn_model_config": {"backbone": "test_resnett"}}, ModelError, "test_resnet"),
        ({"nn_model_config": {"weights": "/nowhere.pth"}}, WeightsError, "nowhere.pth"),
        (
            {"train_function_args": {"val_dataset_config": {"channel": 2}}},
            ConfigError,
            "channel is mean in train_dataset_config and 2",
        ),
        (
            {"train_function_args": {"val_dataset_config": {"segment_len": 4.0}}},
            ConfigError,
            "segment_len is 5.0 in train_dataset_config and 4.0",
        ),
        (
            {"train_function_args": {"train_dataset_config": {"mixupp": 4.0}}},
            ConfigError,
            "mixupp is not known; did you mean mixup",
        ),
    ],
)
def test_a_wrong_model_or_dataset_is_told_before_anything_is_trained(
    make_config: MakeConfig, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lightning_training(make_config(**changes))
    assert not make_config().run_dir.exists()


def test_a_fold_that_does_not_exist_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="fold 7 does not exist; the run has the folds 0 to 1"):
        lightning_training(make_config(), folds=[7])


def test_wandb_writes_an_offline_run_where_it_is_asked_to(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = lightning_training(make_config(train_function_args={"n_epochs": 1}))
    for fold in (0, 1):
        assert list(run.fold_dir(fold).glob("wandb/offline-run-*/*.wandb"))


def test_a_debug_run_takes_seconds_and_random_weights(make_config: MakeConfig) -> None:
    config = make_config(nn_model_config={"pretrained": True}, train_function_args={"debug": True})
    run = lightning_training(config)
    assert run.path.name == "smoke-debug"
    assert run.finished(0)["n_epochs"] == 1  # type: ignore[index]


def test_a_model_starts_from_a_published_backbone(make_config: MakeConfig, golden: Path) -> None:
    file = golden / "backbone_mobilenetv4_conv_small.pth"
    config = make_config(nn_model_config={"backbone": "mobilenetv4_conv_small", "weights": str(file)})
    model = new_model(config, ["a", "b", "c"]).model
    published = load_state_dict_file(file)
    name = "conv_stem.weight"
    assert torch.equal(model.state_dict()[f"backbone.{name}"], published[name])


def test_the_cosine_falls_from_the_rate_to_the_floor() -> None:
    schedule = lr_multiplier(SchedulerSettings(min_lr=1e-6), lr=1e-4, n_steps=100)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-4)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=1e-6)
    for step in range(101):
        assert schedule(step) * 1e-4 == pytest.approx(oracle.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        oracle.step()


def test_one_cycle_rises_and_falls_and_constant_stays() -> None:
    schedule = lr_multiplier(
        SchedulerSettings(name="one_cycle", warmup_share=0.25, min_lr=0), lr=1, n_steps=40
    )
    values = [schedule(step) for step in range(41)]
    assert int(np.argmax(values)) in (9, 10)
    assert values[-1] == pytest.approx(0)
    assert values[25] == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
    assert lr_multiplier(SchedulerSettings(name="constant"), lr=1, n_steps=4)(3) == 1


def test_a_cosine_may_begin_anew() -> None:
    schedule = lr_multiplier(SchedulerSettings(restarts=2, min_lr=0.0), lr=1e-3, n_steps=90)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    oracle = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=30)
    for step in range(90):
        assert schedule(step) == pytest.approx(oracle.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        oracle.step()
    assert schedule(90) == pytest.approx(0)


class CountedEpochs(Callback):
    n_epochs = 0

    def on_train_epoch_end(self, *_: Any) -> None:
        type(self).n_epochs += 1


def test_a_schedule_and_callbacks_of_ones_own_are_trained_with(make_config: Any) -> None:
    scheduler = {
        "name": "torch.optim.lr_scheduler:StepLR",
        "args": {"step_size": 1, "gamma": 0.1},
        "interval": "epoch",
    }
    args = {"scheduler": scheduler, "callbacks": [CountedEpochs], "n_epochs": 3}
    run = lightning_training(make_config(train_function_args=args), folds=[0])
    rates = fold_history(run, 0)["learning_rate"].tolist()
    assert rates == pytest.approx([rates[0], rates[0] / 10, rates[0] / 100])
    assert CountedEpochs.n_epochs == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"scheduler": {"name": "cosin"}}, "scheduler.name is 'cosin'; legal are cosine, one_cycle, c"),
        ({"scheduler": {"args": {"gamma": 1}}}, "scheduler.args is {'gamma': 1}, and one_cycle takes none"),
        (
            {"scheduler": {"name": "torch.optim.lr_scheduler:StepLR", "args": {"size": 1}}},
            r"scheduler.args.size is not known; did you mean step_size\?",
        ),
        ({"scheduler": {"name": "torch.optim.lr_scheduler:StepLR"}}, "scheduler: StepLR refuses {}: "),
        ({"scheduler": {"name": "pathlib:Path"}}, "scheduler: Path refuses {}|which makes PosixPath"),
        ({"callbacks": ["mine"]}, "callbacks.0 is 'mine'; give an import path package.module:name"),
        ({"callbacks": ["pathlib:Path"]}, r"callbacks.0 is 'pathlib:Path'; it must be a lightning"),
    ],
)
def test_a_wrong_schedule_or_callback_is_told_before_training(
    make_config: Any, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare_run(make_config(train_function_args=args))


def test_each_fold_may_start_from_weights_of_its_own(make_config: Any, tmp_path: Path) -> None:
    first = lightning_training(make_config())
    for fold in (0, 1):
        shutil.copy(first.best_checkpoint(fold), tmp_path / f"start_{fold}.safetensors")
    start = str(tmp_path / "start_{fold}.safetensors")
    config = make_config(exp_name="next", nn_model_config={"weights": start})
    prepared = prepare_run(config)
    for fold in (0, 1):
        started = FoldTraining(config, prepared, fold).module().model.state_dict()
        torch.testing.assert_close(
            started["head.pooling.p"], first.load_model(fold).state_dict()["head.pooling.p"]
        )
