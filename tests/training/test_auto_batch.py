"""The batch size that a device trains fastest with, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dawnchorus.config import OptimizerSettings, TrainConfig, merge, read_config_file, validate
from dawnchorus.errors import RunError, TrainingError
from dawnchorus.training import auto_batch
from dawnchorus.training.auto_batch import measure_throughput, with_found_batch
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.optimizer import scaled_lr
from dawnchorus.training.run_preparation import prepare_run

REPOSITORY = Path(__file__).resolve().parents[2]
MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def make_config(data_factory: Any, tmp_path: Path) -> MakeConfig:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 5.5))

    def make(**changes: Any) -> TrainConfig:
        clips = {f"{role}_dataset_config": {"segment_len": 1.0} for role in ("train", "val")}
        values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
        args = {"clips_per_epoch": 16, "n_epochs": 1, "train_loader": {"batch_size": 4}, "auto_batch": True}
        small = {
            "logdir": tmp_path / "logdirs",
            "data": {"audio_dir": root, "features_dir": None},
            "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
            "train_function_args": {**args, **clips, **changes},
        }
        return validate(TrainConfig, merge(values, small), where="test")

    return make


def set_paces(monkeypatch: pytest.MonkeyPatch, throughputs: dict[int, float]) -> list[int]:
    """Let these throughputs be measured; return the list that the largest size asked for is put into."""
    asked: list[int] = []

    def measure(config: TrainConfig, prepared: Any, *, largest: int) -> dict[int, float]:
        asked.append(largest)
        return throughputs

    monkeypatch.setattr(auto_batch, "measure_throughput", measure)
    return asked


@pytest.mark.parametrize(
    ("name", "ratio", "factor"),
    [("SGD", 4, 4), ("SGD", 0.5, 0.5), ("AdamW", 4, 2), ("Adam", 9, 3), ("RAdam", 0.25, 0.5), ("SGD", 1, 1)],
)
def test_the_rate_grows_with_the_batch_or_its_root(name: Any, ratio: float, factor: float) -> None:
    settings = OptimizerSettings(name=name, lr=3e-4)
    assert scaled_lr(settings, ratio) == pytest.approx(factor * 3e-4, rel=1e-12)


@pytest.mark.parametrize(
    ("throughputs", "chosen"),
    [
        ({8: 10.0, 16: 20.0, 32: 40.0}, 32),
        ({8: 10.0, 16: 38.0, 32: 40.0}, 16),  # 95 % of the best to the dot
        ({8: 10.0, 16: 37.9, 32: 40.0}, 32),
        ({8: 40.0, 16: 39.0, 32: 12.0}, 8),
        ({8: 10.0, 16: 40.0, 32: 12.0}, 16),
        ({6: 1.0}, 6),
    ],
)
def test_the_smallest_batch_that_is_nearly_as_fast_as_the_best_is_taken(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, throughputs: dict[int, float], chosen: int
) -> None:
    set_paces(monkeypatch, throughputs)
    config = make_config(optimizer={"lr": 0.01, "name": "SGD"})
    prepared = prepare_run(config)
    found = with_found_batch(config, prepared).train_function_args
    assert found.train_loader.batch_size == chosen
    assert found.optimizer.lr == pytest.approx(0.01 * chosen / 4)
    kept = json.loads((prepared.run.path / "auto_batch.json").read_text())
    assert kept["clips_per_s"] == {str(size): throughput for size, throughput in throughputs.items()}
    assert kept["batch_size"] == chosen
    changed = {"train_loader", "optimizer"}
    before = config.train_function_args.model_dump(exclude=changed)
    assert found.model_dump(exclude=changed) == before


def test_several_devices_each_take_the_batch_that_was_found(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set_paces(monkeypatch, {8: 40.0})
    config = make_config(devices=2, clips_per_epoch=100)
    found = with_found_batch(config, prepare_run(config)).train_function_args
    assert asked == [50]
    assert found.train_loader.batch_size == 16
    assert found.optimizer.lr == pytest.approx(2e-3 * 2)  # AdamW, four times the batch


@pytest.mark.parametrize(("clips_per_epoch", "largest"), [(16, 16), (None, 12), (100_000, 1024)])
def test_no_batch_is_larger_than_an_epoch(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, clips_per_epoch: int | None, largest: int
) -> None:
    asked = set_paces(monkeypatch, {8: 40.0})
    config = make_config(clips_per_epoch=clips_per_epoch)
    with_found_batch(config, prepare_run(config))
    assert asked == [largest]


@pytest.mark.parametrize("changes", [{"auto_batch": False}, {"debug": True}])
def test_a_config_that_does_not_ask_for_it_stays(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    asked = set_paces(monkeypatch, {8: 40.0})
    config = make_config(**changes)
    assert with_found_batch(config, prepare_run(config)) is config
    assert asked == []


class FakeStep:
    """Paces by size; no number where memory ends."""

    device = "the device"
    throughputs: dict[int, float]
    last: int | None = None

    def __init__(self, config: Any, prepared: Any) -> None:
        self.size = 0

    def clips_per_s(self, size: int) -> float:
        self.size = size
        if size not in self.throughputs:
            raise torch.OutOfMemoryError
        return self.throughputs[size]

    def next_would_not_fit(self) -> bool:
        return self.size == self.last


@pytest.mark.parametrize(
    ("throughputs", "last", "largest", "tried"),
    [
        ({8: 1, 16: 2, 32: 4, 64: 8}, None, 64, [8, 16, 32, 64]),
        ({8: 1, 16: 2, 32: 4, 64: 8}, None, 63, [8, 16, 32]),
        ({8: 1, 16: 2}, None, 1000, [8, 16]),
        ({8: 1, 16: 2, 32: 4}, 16, 1000, [8, 16]),
        ({8: 10, 16: 10.1, 32: 10.2, 64: 99}, None, 1000, [8, 16, 32]),
        ({8: 10, 16: 9, 32: 20, 64: 19, 128: 18, 256: 99}, None, 1000, [8, 16, 32, 64, 128]),
        ({5: 1, 10: 2}, None, 5, [5]),
        ({1: 1}, None, 0, [1]),
    ],
)
def test_sizes_are_doubled_until_memory_clips_or_gains_end(
    monkeypatch: pytest.MonkeyPatch,
    throughputs: dict[int, float],
    last: int | None,
    largest: int,
    tried: list[int],
) -> None:
    monkeypatch.setattr(FakeStep, "throughputs", throughputs, raising=False)
    monkeypatch.setattr(FakeStep, "last", last)
    monkeypatch.setattr(auto_batch, "_TrialStep", FakeStep)
    found = measure_throughput(None, None, largest=largest)  # type: ignore[arg-type]
    assert found == {size: throughputs[size] for size in tried}


def test_a_network_too_large_for_the_smallest_batch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeStep, "throughputs", {}, raising=False)
    monkeypatch.setattr(auto_batch, "_TrialStep", FakeStep)
    message = "a batch of 8 clips does not fit into memory; take a smaller backbone"
    with pytest.raises(TrainingError, match=message):
        measure_throughput(None, None, largest=64)  # type: ignore[arg-type]


def test_a_run_trains_with_what_was_found_and_goes_on_with_it(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def remember(self: Any) -> None:
        sizes.append(self.config.train_function_args.train_loader.batch_size)
        assert len(self.trainer.train_dataloader) == 16 // sizes[-1]

    monkeypatch.setattr("dawnchorus.training.module.WaveClassifierModule.on_train_epoch_end", remember)
    run = lightning_training(make_config(), folds=[0])
    file = run.path / "auto_batch.json"
    found = json.loads(file.read_text())
    assert set(found["clips_per_s"]) == {"8", "16"}
    assert all(throughput > 0 for throughput in found["clips_per_s"].values())
    assert found["lr"] == pytest.approx(2e-3 * (found["batch_size"] / 4) ** 0.5)
    # Another size than was found, which nobody would measure, shows whether it is read.
    file.write_text(json.dumps({**found, "batch_size": 2}))
    before, written = file.read_text(), file.stat().st_mtime_ns
    lightning_training(make_config(), folds=[1])
    assert (file.read_text(), file.stat().st_mtime_ns) == (before, written)
    assert sizes == [found["batch_size"], 2]
    assert run.config().train_function_args.train_loader.batch_size == 4, "the config stays the person's"
    run.finished_file(1).unlink()
    for damage in ("{}", "", "[]", '{"batch_size": "many", "lr": 1}', '{"batch_size": 2, "lr": null}'):
        file.write_text(damage)
        with pytest.raises(RunError, match=r"auto_batch\.json.*; delete the run and train again"):
            lightning_training(make_config(), folds=[1])


def test_what_another_machine_found_for_a_run_that_never_began_is_found_anew(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    prepared = prepare_run(config)
    (prepared.run.path / "auto_batch.json").write_text('{"batch_size": 512, "lr": 1.0}')
    set_paces(monkeypatch, {8: 40.0})
    assert with_found_batch(config, prepared).train_function_args.train_loader.batch_size == 8
