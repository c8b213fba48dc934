"""Frozen layers: to the bit as they were, while the rest learns."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from dawnchorus.config import OptimizerSettings
from dawnchorus.errors import ConfigError
from dawnchorus.training.frozen_layers import frozen_layers
from dawnchorus.training.optimizer import make_optimizer

ADAMW = OptimizerSettings(name="AdamW", lr=0.1, weight_decay=0.5)
SGD = OptimizerSettings(name="SGD", lr=0.1, weight_decay=0.5)


def network() -> nn.Module:
    """Return a stem, blocks 0 to 10 with normalisation, and a head."""
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(OrderedDict(conv=nn.Conv1d(4, 4, 1), bn=nn.BatchNorm1d(4), act=nn.ReLU()))
        for _ in range(11)
    ]
    backbone = nn.Sequential(OrderedDict(stem=nn.Conv1d(2, 4, 1), blocks=nn.Sequential(*blocks)))
    return nn.Sequential(OrderedDict(backbone=backbone, head=nn.Conv1d(4, 3, 1))).train()


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    (model(torch.randn(8, 2, 5)) - 3).square().mean().backward()
    optimizer.step()


def changed_by_a_step(
    model: nn.Module, optimizer: torch.optim.Optimizer | None = None, settings: OptimizerSettings = ADAMW
) -> set[str]:
    """Train for two steps; return the names of parameters and buffers that are not what they were."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(2):
        step(model, optimizer or make_optimizer(model, settings))
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("settings", [ADAMW, SGD])
def test_frozen_layers_and_their_statistics_stay_and_all_else_moves(settings: OptimizerSettings) -> None:
    model = network()
    frozen_layers(model, ["backbone.stem", "backbone.blocks.1"]).begin_epoch(model, 0)
    stayed = set(model.state_dict()) - changed_by_a_step(model, settings=settings)
    assert stayed == {
        name for name in model.state_dict() if name.startswith(("backbone.stem.", "backbone.blocks.1."))
    }
    assert "backbone.blocks.1.bn.num_batches_tracked" in stayed


def test_nothing_stays_where_nothing_is_frozen() -> None:
    model = network()
    frozen_layers(model, []).begin_epoch(model, 0)
    assert changed_by_a_step(model) == set(model.state_dict())


def test_a_beginning_means_whole_parts_of_a_name() -> None:
    model = network()
    frozen = frozen_layers(model, ["backbone.blocks.1"])
    parts = {"conv.weight", "conv.bias", "bn.weight", "bn.bias"}
    assert frozen.parameters == {f"backbone.blocks.1.{part}" for part in parts}
    assert frozen.normalisations == {"backbone.blocks.1.bn"}
    single = frozen_layers(model, ["backbone.blocks.10.bn.weight"])
    assert single.parameters == {"backbone.blocks.10.bn.weight"}
    assert len(frozen_layers(model, ["backbone"]).parameters) == 2 + 4 * 11


def test_a_frozen_normalisation_normalises_by_what_it_learnt_before() -> None:
    model = network()
    normalisation = model.get_submodule("backbone.blocks.0.bn")
    frozen_layers(model, ["backbone.blocks.0"]).begin_epoch(model, 0)
    features = 5 + torch.randn(8, 4, 5)
    # Its running mean is 0 and its variance 1 at first, so that it passes everything on.
    torch.testing.assert_close(normalisation(features), features / (1 + 1e-5) ** 0.5)


def test_layers_are_freed_after_their_epochs_and_then_learn_with_the_same_optimiser() -> None:
    model = network()
    frozen = frozen_layers(model, ["backbone"], n_epochs=2)
    optimizer = make_optimizer(model, ADAMW)
    for epoch, expected in ((0, "head."), (1, "head."), (2, ""), (3, "")):
        frozen.begin_epoch(model, epoch)
        names = {name for name in model.state_dict() if name.startswith(expected)}
        assert changed_by_a_step(model, optimizer) == names, epoch


def test_a_resumed_training_begins_in_the_state_of_its_epoch() -> None:
    model = network()
    frozen = frozen_layers(model, ["backbone"], n_epochs=2)
    frozen.begin(model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"head.weight", "head.bias"}, "data-parallel training asks before the first epoch"
    frozen.begin_epoch(model, 5)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_without_a_number_of_epochs_layers_are_never_freed() -> None:
    model = network()
    frozen = frozen_layers(model, ["backbone"])
    frozen.begin_epoch(model, 10_000)
    assert changed_by_a_step(model) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("prefixes", "message"),
    [
        (["backbon"], r"named 'backbon'; did you mean backbone\?"),
        (["backbone.blocks.11"], r"named 'backbone.blocks.11'; did you mean backbone.blocks.1[0]?\?"),
        (["backbone", "backbone.blocks.0.act"], "named 'backbone.blocks.0.act'"),
        (["backbone", "head"], "backbone, head leaves nothing to train; name fewer layers"),
    ],
)
def test_layers_that_cannot_be_frozen_are_named(prefixes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^frozen_layers: (nothing in the network is )?{message}"):
        frozen_layers(network(), prefixes)
