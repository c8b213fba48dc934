"""A user's own loss, metric, optimiser and augmentations: trained with, and not needed afterwards."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawnchorus.config import TrainConfig
from dawnchorus.engines import open_engine
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
from dawnchorus.export.ensemble_export import export_ensemble
from dawnchorus.models.checkpoint_file import read_checkpoint
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.runs import Run
from dawnchorus.training.checkpoints import epoch_metrics
from dawnchorus.training.fold_training import train_fold
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.module import WaveClassifierModule
from dawnchorus.training.run_preparation import check_train_config, prepare_run

MakeConfig = Callable[..., TrainConfig]
SOURCE = '''
import torch
from dataclasses import dataclass

CALLS = {"wave": 0, "spectrogram": 0, "hiss": 0}

class Scaled(torch.nn.Module):
    """A loss with a weight that is trained and a buffer that moves with it."""

    takes_unknown = True

    def __init__(self, power=2.0):
        super().__init__()
        self.power = power
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("offset", torch.tensor(0.25))

    def forward(self, logits, targets):
        known = targets >= 0
        values = (logits.sigmoid() - targets).abs()[known] ** self.power
        return self.weight.abs() * values.mean() + self.offset

def squared(logits, targets, *, factor=1.0):
    return factor * (logits.sigmoid() - targets).square().mean()

def each(logits, targets):
    return (logits - targets).square()

def hit_rate(y_true, y_score):
    return y_true[range(len(y_true)), y_score.argmax(1)].mean()

hit_rate.heading, hit_rate.format = "hits", ".1%"

def never(y_true, y_score):
    raise ValueError("too few birds")

class Halving(torch.optim.SGD):
    def __init__(self, params, lr, dampening_of_all=0.5):
        super().__init__(params, lr=lr * dampening_of_all)

@dataclass
class Quieter:
    domain = "wave"
    factor: float = 0.5

    def __call__(self, wave, generator):
        CALLS["wave"] += 1
        return wave * (1 - self.factor * torch.rand(len(wave), 1, generator=generator, device=wave.device))

class Flip:
    domain = "spectrogram"

    def __call__(self, logmel, generator):
        CALLS["spectrogram"] += 1
        return logmel.flip(3)

class Hiss:
    def __init__(self, level=0.01):
        self.level = level

    def __call__(self, wave, sample_rate, rng):
        assert sample_rate == 16_000
        CALLS["hiss"] += 1
        return wave + self.level * rng.standard_normal(len(wave))
'''


@pytest.fixture
def guests(guest_package: Any) -> Any:
    """The module ``warbler.parts``, imported."""
    guest_package("warbler.parts", SOURCE)
    return importlib.import_module("warbler.parts")


def doors(**changes: Any) -> dict[str, Any]:
    """Return every door of training, by import paths."""
    return {
        "loss": "warbler.parts:Scaled",
        "loss_args": {"power": 1.5},
        "metrics": ("macro_roc_auc", "warbler.parts:hit_rate", "warbler.parts:never"),
        "main_metric": "hit_rate",
        "optimizer": {"name": "warbler.parts:Halving", "lr": 0.01, "args": {"dampening_of_all": 0.25}},
        "batch_augmentations": {"warbler.parts:Quieter": {"factor": 0.1}, "warbler.parts:Flip": {}},
        "train_dataset_config": {
            "early_transforms": [{"name": "warbler.parts:Hiss", "params": {"level": 0.02}}],
            "late_transforms": ["warbler.parts:Hiss"],
        },
        **changes,
    }


def test_a_run_with_parts_of_ones_own_is_evaluated_exported_and_predicted_with_without_them(
    tiny_config: MakeConfig, guests: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_config(train_function_args=doors(), exp_name="guests")
    with caplog.at_level(logging.WARNING):
        run = lightning_training(config, folds=[0])
    assert "metric never is left out where it is not defined: never is not defined: too few" in caplog.text
    assert min(guests.CALLS.values()) > 0
    report = run.finished(0) or {}
    assert 0 <= report["val_hit_rate"] <= 1
    assert "val_macro_roc_auc" in report
    assert "val_never" not in report
    assert report["best_checkpoint"] == f"000-{report['val_hit_rate']:.4f}.safetensors"
    best = run.checkpoints_dir(0) / report["best_checkpoint"]
    assert epoch_metrics(best)["val_hit_rate"] == report["val_hit_rate"]
    assert not any("offset" in name or "loss" in name for name in read_checkpoint(best).weights)
    page = (run.path / "report.html").read_text()
    assert ">hits<" in page.replace("\n", "").replace(" ", "")
    assert "never" in page
    assert "Validation hits" in page
    saved = json.loads(run.config_file.read_text())["train_function_args"]
    assert saved["loss"] == "warbler.parts:Scaled"
    assert saved["main_metric"] == "val_hit_rate"

    for name in ("warbler", "warbler.parts"):
        monkeypatch.setitem(sys.modules, name, None)  # an import would fail
    opened = Run.open(run.path)
    result = predict_out_of_fold(opened, opened.config())
    assert list(result.scores) == ["macro_roc_auc"]
    export_ensemble(opened, opened.config())
    recording = next(iter(Path(config.data[0].audio_dir).glob("*/*.wav")))
    torch_scores, onnx_scores = (
        BirdsInference(open_engine(run.path, engine)).predict_recording(recording).probabilities  # type: ignore[arg-type]
        for engine in ("torch", "onnx")
    )
    np.testing.assert_allclose(onnx_scores, torch_scores, atol=1e-3)


def test_objects_stand_where_names_do_and_a_run_with_them_goes_on_with_the_same_ones_alone(
    tiny_config: MakeConfig, guests: Any
) -> None:
    def config(power: float = 1.5, n_epochs: int = 1) -> TrainConfig:
        objects = doors(
            loss=guests.Scaled(power),
            loss_args={},
            metrics=(guests.hit_rate,),
            optimizer={"name": guests.Halving, "lr": 0.01, "args": {"dampening_of_all": 0.25}},
            batch_augmentations={"quieter": guests.Quieter(0.1), "flip": guests.Flip},
            train_dataset_config={"early_transforms": [guests.Hiss(0.02), guests.Hiss]},
            n_epochs=n_epochs,
        )
        return tiny_config(train_function_args=objects, exp_name="objects")

    given = config()
    prepared = prepare_run(given)
    assert train_fold(given, prepared, 0)
    saved = json.loads(prepared.run.config_file.read_text())["train_function_args"]
    assert saved["loss"].startswith("warbler.parts:Scaled(power=1.5, offset=")
    assert saved["batch_augmentations"]["quieter"] == "warbler.parts:Quieter(factor=0.1)"
    assert saved["train_dataset_config"]["early_transforms"][0] == "warbler.parts:Hiss(level=0.02)"
    last = read_checkpoint(prepared.run.checkpoints_dir(0) / "last.safetensors")
    assert last.state is not None
    weight = last.state["beside_model"]["loss.loss.weight"]
    assert weight != 1, "the loss was trained"
    assert given.train_function_args.loss.weight.item() == 1, "and the next fold begins as the first"
    prepare_run(config())
    with pytest.raises(RunError, match=r"loss: .*power=1.5.* → .*power=3.0"):
        prepare_run(config(power=3.0))


def test_a_resumed_fold_goes_on_with_what_its_loss_has_learnt(
    tiny_config: MakeConfig, guests: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    begin = WaveClassifierModule.on_train_epoch_start

    def die_in_epoch_1(module: WaveClassifierModule) -> None:
        if module.current_epoch == 1:
            raise KilledError
        begin(module)

    states = []
    for name in ("whole", "resumed"):
        config = tiny_config(train_function_args=doors(n_epochs=2), exp_name=name)
        prepared = prepare_run(config)
        if name == "resumed":
            monkeypatch.setattr(WaveClassifierModule, "on_train_epoch_start", die_in_epoch_1)
            with pytest.raises(KilledError):
                train_fold(config, prepared, 0)
            monkeypatch.setattr(WaveClassifierModule, "on_train_epoch_start", begin)
        train_fold(config, prepared, 0)
        last = read_checkpoint(prepared.run.checkpoints_dir(0) / "last.safetensors")
        assert last.state is not None
        states.append({**last.weights, **last.state["beside_model"]})
    whole, resumed = states
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "warbler.parts:Missing"}, "^test: loss is 'warbler.parts:Missing', which cannot be imp"),
        (
            {"loss": "warbler.parts:squared", "loss_args": {"fator": 2}},
            r"^test: loss_args.fator is not known; did you mean factor\?",
        ),
        (
            {"loss": "warbler.parts:Scaled", "loss_args": {"power": 2, "x": 1}},
            "loss_args.x is not known; legal keys are power",
        ),
        (
            {"loss": "warbler.parts:each", "train_dataset_config": {"unknown_secondary_labels": True}},
            "loss is warbler.parts:each; take one of masked_bce, .*, or give your own .*takes_unknown = True",
        ),
        ({"main_metric": "hits"}, "^test: main_metric is 'val_hits'; legal are macro_roc_auc, cmap, and the"),
        ({"metrics": ("warbler.parts:CALLS",)}, "^test: metrics.0: .* cannot be called; give a class"),
        (
            {"metrics": ("cmap", "cmap")},
            "^test: metrics has two of the name cmap; leave one out, or rename it",
        ),
        ({"optimizer": {"name": "NAdam"}}, r"^test: optimizer.name is 'NAdam', .* did you mean .*Adam\?"),
        (
            {"optimizer": {"name": "SGD", "args": {"momentun": 0.9}}},
            r"^test: optimizer.args.momentun is not known; did you mean momentum\?",
        ),
        (
            {"optimizer": {"name": "SGD", "args": {"momentum": -1}}},
            "^test: optimizer: SGD refuses .*: Invalid momentum value: -1",
        ),
        (
            {"optimizer": {"args": {"lr": 1}}},
            "^test: optimizer.args.lr stands beside args, as optimizer.lr",
        ),
        (
            {"optimizer": {"name": "warbler.parts:Halving", "weight_decay": 0.1}},
            "optimizer.weight_decay is 0.1, and Halving takes none; leave it out, or set it to 0",
        ),
        (
            {"optimizer": {"name": "warbler.parts:Hiss"}},
            "^test: optimizer: Hiss refuses",
        ),
        (
            {"batch_augmentations": {"spectral_tild": {}}},
            r"^test: batch_augmentations.spectral_tild is 'spectral_tild', .* did you mean spectral_tilt\?",
        ),
        (
            {"batch_augmentations": {"warbler.parts:Quieter": {"fctor": 1}}},
            r"batch_augmentations.warbler.parts:Quieter.fctor is not known; did you mean factor\?",
        ),
        (
            {"batch_augmentations": {"warbler.parts:Hiss": {}}},
            "warbler.parts:Hiss does not say where it goes; give it an attribute domain, 'wave' or 'spec",
        ),
    ],
)
def test_what_cannot_be_trained_with_is_told_in_a_sentence_before_anything_is_trained(
    tiny_config: MakeConfig, guests: Any, changes: dict[str, Any], message: str
) -> None:
    config = tiny_config(train_function_args=changes, exp_name="test")
    with pytest.raises(ConfigError, match=message) as caught:
        check_train_config(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"loss": "warbler.parts:each"}, ConfigError, r"the loss warbler.parts:each gives shape \(4, 2\)"),
        (
            {"metrics": ("warbler.parts:never",), "main_metric": "never"},
            DataError,
            "never is not defined: too few birds",
        ),
        ({"batch_augmentations": {"cut": lambda: None}}, ConfigError, "does not say where it goes"),
    ],
)
def test_a_part_that_breaks_its_promise_ends_the_training_with_a_sentence(
    tiny_config: MakeConfig, guests: Any, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lightning_training(tiny_config(train_function_args=changes, exp_name="test"), folds=[0])


def test_a_run_of_a_version_without_these_keys_goes_on(tiny_config: MakeConfig) -> None:
    config = tiny_config(exp_name="older")
    prepared = prepare_run(config)
    saved = json.loads(prepared.run.config_file.read_text())
    for key in ("metrics",):
        del saved["train_function_args"][key]
    del saved["train_function_args"]["optimizer"]["args"]
    saved["train_function_args"]["batch_augmentations"] = {"random_filtering": None}
    prepared.run.config_file.write_text(json.dumps(saved))
    prepared.run.check_made_from(config)
    saved["train_function_args"]["optimizer"]["lr"] = 1.0
    prepared.run.config_file.write_text(json.dumps(saved))
    with pytest.raises(RunError, match=r"optimizer.lr: 1.0 →"):
        prepared.run.check_made_from(config)
