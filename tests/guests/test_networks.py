"""Networks, backbones and heads of a foreign package, from training to prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dawnchorus.cli import main
from dawnchorus.config import TrainConfig
from dawnchorus.engines import open_engine
from dawnchorus.engines.ensembles import Ensemble, WeightedModel
from dawnchorus.errors import ConfigError, ModelError, RunError
from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
from dawnchorus.export.ensemble_export import export_ensemble
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.models.ensemble import EnsembleModule
from dawnchorus.models.head import ModelOutput
from dawnchorus.models.network import check_network
from dawnchorus.runs import Run, open_run
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.losses import bce_loss, make_loss

SOURCE = '''
"""Parts that dawnchorus has never heard of."""

import torch
from torch import nn

from dawnchorus import ModelOutput
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings


class MeanHead(nn.Module):
    """Means of the feature map, and one layer."""

    def __init__(self, in_features, n_classes, *, scale=1.0):
        super().__init__()
        self.linear, self.scale = nn.Linear(in_features, n_classes), scale

    def forward(self, features):
        logits = self.scale * self.linear(features.mean((2, 3)))
        return ModelOutput(logits, logits.sigmoid())


def strided(width=8):
    """A backbone of two layers."""
    return nn.Sequential(nn.Conv2d(1, width, 8, stride=8), nn.BatchNorm2d(width), nn.GELU())


class Net(nn.Module):
    """A whole network, with a name that a published checkpoint would begin with."""

    def __init__(self, *, n_classes, width=8, frontend=None):
        super().__init__()
        self.frontend = LogMelFrontend(FrontendSettings.from_mapping(frontend or {}))
        self.model = strided(width)
        self.out = nn.Linear(width, n_classes)

    def forward(self, wave):
        return self.forward_spectrogram(self.frontend(wave))

    def forward_spectrogram(self, logmel):
        embedding = self.model(logmel).mean((2, 3))
        logits = self.out(embedding)
        return ModelOutput(logits, logits.sigmoid(), embedding=embedding)
'''
FRONTEND = {"sample_rate": 16_000, "n_fft": 512, "hop_length": 256, "n_mels": 64, "f_max_hz": 8000.0}
PARTS = {
    "network": {"nn_model_class": "{0}:Net", "nn_model_config": {"width": 6}},
    "backbone": {"nn_model_config": {"backbone": "{0}:strided", "backbone_config": {"width": 6}}},
    "head": {"nn_model_config": {"head": "{0}:MeanHead", "head_config": {"scale": 2.0}}},
}


def experiment_with(
    make: Callable[..., TrainConfig], module: str, part: str, *, as_objects: bool
) -> TrainConfig:
    """Return an experiment with one part of the guest, by import path or as the object."""
    import importlib

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        if not isinstance(value, str) or "{0}" not in value:
            return value
        path = value.format(module)
        if not as_objects:
            return path
        return getattr(importlib.import_module(module), path.partition(":")[2])

    changes: dict[str, Any] = {**named(PARTS[part]), "exp_name": part}
    config = make(**changes)
    if part == "network":  # its keywords are its own
        return config.model_copy(update={"nn_model_config": {"width": 6, "frontend": FRONTEND}})
    return config


def some_clips(run: Run) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (3, run.card().n_samples)).astype(np.float32)


@pytest.mark.parametrize("as_objects", [False, True], ids=["import_path", "object"])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_goes_from_training_to_prediction(
    guest_package: Any, tiny_config: Any, part: str, as_objects: bool
) -> None:
    module = f"guests_{part}_{as_objects}.parts"
    guest_package(module, SOURCE)
    config = experiment_with(tiny_config, module, part, as_objects=as_objects)
    lightning_training(config)
    run = open_run(config)
    assert 0 <= predict_out_of_fold(run, run.config()).macro_roc_auc <= 1
    waves = some_clips(run)
    expected = open_engine(run.path, "torch", config=config).predict(waves)
    assert expected.shape == (3, 2)
    assert Ensemble([WeightedModel(run.path, config=config)], "torch").common_folds() == [0, 1]
    if as_objects:
        return  # the same graph as by import path
    export_ensemble(run, run.config())
    for engine, tolerance in (("onnx", 1e-4), ("openvino", 5e-3)):
        found = open_engine(run.path, engine).predict(waves)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_a_card_alone_does_not_open_it_and_names_the_remedy(guest_package: Any, tiny_config: Any) -> None:
    module = "guests_of_a_card"
    guest_package(module, SOURCE)
    config = experiment_with(tiny_config, module, "head", as_objects=False)
    run = lightning_training(config, folds=[0])
    assert run.card().model_config["head"] == f"{module}:MeanHead"
    with pytest.raises(ConfigError, match=r"MeanHead', which is no head of dawnchorus; .*config=CONFIG"):
        open_engine(run.path, "torch")
    with pytest.raises(ConfigError, match=r"model_config\.head"):
        Run.open(run.path).load_model(0)
    assert open_engine(run.path, "torch", config=config).card.labels == ("species_0", "species_1")
    other = {**config.nn_model_config, "head_config": {"scale": 3.0}}
    changed = config.model_copy(update={"nn_model_config": other})
    with pytest.raises(RunError, match=r"another config \(nn_model_config.head_config.scale: 2.0 → 3.0\)"):
        open_engine(run.path, "torch", config=changed)


def test_a_network_class_is_refused_by_its_card_and_its_saved_config(
    guest_package: Any, tiny_config: Any
) -> None:
    module = "guests_of_a_class"
    guest_package(module, SOURCE)
    config = experiment_with(tiny_config, module, "network", as_objects=False)
    run = Run.open(lightning_training(config, folds=[0]).path)
    with pytest.raises(ConfigError, match=rf"'{module}:Net', which is no network of dawnchorus"):
        run.load_model(0)
    with pytest.raises(ConfigError, match=r"as in dawnchorus evaluate CONFIG\.py"):
        run.config()


def test_a_registered_part_is_opened_by_its_card(guest_package: Any, tiny_config: Any) -> None:
    module = "guests_registered"
    guest_package(
        module,
        SOURCE.replace("import torch\n", "from dawnchorus.config.registry import register\nimport torch\n")
        .replace("class MeanHead", '@register("head", "mean_of_a_guest")\nclass MeanHead')
        .replace("class Net", '@register("network", "net_of_a_guest")\nclass Net'),
    )
    __import__(module)
    head = tiny_config(exp_name="by_head", nn_model_config={"head": "mean_of_a_guest"})
    net = tiny_config(exp_name="by_net", nn_model_class="net_of_a_guest")
    net = net.model_copy(update={"nn_model_config": {"frontend": FRONTEND}})
    for config in (head, net):
        run = Run.open(lightning_training(config, folds=[0]).path)
        assert run.config().exp_name == config.exp_name
        assert open_engine(run.path, "torch").predict(some_clips(run)).shape == (3, 2)


def test_the_command_line_takes_the_training_config_for_the_run(
    guest_package: Any,
    tiny_config_file: Any,
    data_factory: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def told(*arguments: str | Path) -> str:
        with pytest.raises(SystemExit):
            main(list(map(str, arguments)))
        return "".join(capsys.readouterr())

    monkeypatch.chdir(tmp_path)
    guest_package("guests_of_commands.parts", SOURCE)
    head = '{"head": "guests_of_commands.parts:MeanHead", "head_config": {"scale": 2.0}}'
    file: Path = tiny_config_file(f'"exp_name": "mine", "nn_model_config": {head},')
    soundscape = data_factory.tone("../night.wav", 3.0, sample_rate=16_000)
    assert "trained folds 0, 1" in told("train", file)
    assert "out-of-fold macro ROC-AUC" in told("evaluate", file)
    run = file.parent / "logdirs" / "mine"
    refused = told("predict", run, soundscape, "--out", "refused")
    assert "error: " in refused
    assert "a model card imports no code: open the run by the training config" in refused
    printed = told("predict", file, soundscape, "--out", "by_config", "--engine", "torch")
    assert "in 1 recording," in printed
    assert "ONNX: at most" in told("export", file)
    assert "in 1 recording," in told("predict", run, soundscape, "--out", "by_export")


BROKEN = """
import torch
from torch import nn
from dawnchorus import ModelOutput, WaveCNNAttenClassifier
from dawnchorus.features.frontend import LogMelFrontend


class Tensors(nn.Module):
    def __init__(self, in_features, n_classes):
        super().__init__()
        self.linear = nn.Linear(in_features, n_classes)

    def forward(self, features):
        return self.linear(features.mean((2, 3)))


class TooMany(Tensors):
    def forward(self, features):
        logits = super().forward(features).repeat(1, 2)
        return ModelOutput(logits, logits.sigmoid())


class Deaf(nn.Module):
    def __init__(self, *, n_classes, **settings):
        super().__init__()
        self.linear = nn.Linear(1, n_classes)


class Silent(WaveCNNAttenClassifier):
    def forward(self, wave):
        return super().forward(wave)._replace(embedding=None)


class Plain(WaveCNNAttenClassifier):
    def forward(self, wave):
        return super().forward(wave).clip_logits
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nn_model_config": {"head": "{0}:Tensors"}}, "gives Tensor; it must give a dawnchorus.ModelOutput"),
        ({"nn_model_config": {"head": "{0}:TooMany"}}, r"clip_logits has the shape \(1, 4\) for 1 clip of 2"),
        ({"nn_model_class": "{0}:Deaf"}, "Deaf has no frontend with settings; set self.frontend to"),
        ({"nn_model_class": "{0}:Silent"}, r"Silent gives no embedding of shape \(batch, n_features\)"),
        ({"nn_model_class": "{0}:Plain"}, "Plain gives Tensor; it must give a ModelOutput"),
    ],
)
def test_a_part_that_keeps_no_contract_is_told_before_anything_is_written(
    guest_package: Any, tiny_config: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    module = f"guests_broken_{abs(hash(message))}"
    guest_package(module, BROKEN)
    named = {
        key: {name: path.format(module) for name, path in value.items()}
        if isinstance(value, dict)
        else value.format(module)
        for key, value in changes.items()
    }
    with pytest.raises(ModelError, match=message):
        lightning_training(tiny_config(**named))
    assert not (tmp_path / "logdirs").exists()


def test_a_clip_that_a_backbone_of_one_size_cannot_take_is_told_with_the_size(tiny_config: Any) -> None:
    small = {"backbone": "test_coatnet", "backbone_config": {"img_size": (64, 32)}}
    with pytest.raises(ModelError, match=r'bands and 63 frames: .*backbone_config: {"img_size": \(64, 64\)}'):
        lightning_training(tiny_config(nn_model_config=small))


class DeepNetwork(nn.Module):
    """Two stages, with a classifier on each."""

    def __init__(self, *, n_classes: int) -> None:
        super().__init__()
        self.frontend = LogMelFrontend()
        self.first, self.second = nn.Linear(128, 8), nn.Linear(8, 8)
        self.of_first, self.of_second = nn.Linear(8, n_classes), nn.Linear(8, n_classes)

    def forward(self, wave: torch.Tensor) -> ModelOutput:
        return self.forward_spectrogram(self.frontend(wave))

    def forward_spectrogram(self, logmel: torch.Tensor) -> ModelOutput:
        first = self.first(logmel.mean((1, 3))).relu()
        embedding = self.second(first).relu()
        logits = self.of_second(embedding)
        stages = torch.stack([self.of_first(first), logits], dim=1)
        return ModelOutput(logits, logits.sigmoid(), stages, embedding=embedding)


def deep_loss(output: ModelOutput, targets: torch.Tensor) -> torch.Tensor:
    return bce_loss(output.clip_logits, targets) + 0.5 * bce_loss(output.frame_logits[:, 0], targets)


deep_loss.takes_output = True  # type: ignore[attr-defined]


def test_a_network_and_a_loss_of_ones_own_supervise_earlier_stages() -> None:
    network = DeepNetwork(n_classes=3)
    check_network(network, n_samples=32_000, n_classes=3)
    output, targets = network(torch.randn(2, 32_000)), torch.eye(3)[:2]
    loss = make_loss(deep_loss, {}).of_output(output, targets)
    expected = bce_loss(output.clip_logits, targets) + 0.5 * bce_loss(output.frame_logits[:, 0], targets)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert network.of_first.weight.grad is not None
    assert EnsembleModule([network], network.frontend)(torch.randn(2, 32_000)).probabilities.shape == (2, 3)
