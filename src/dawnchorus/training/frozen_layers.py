"""Layers that are not trained, for small data and a network that was trained on much before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from dawnchorus.config.settings import nearest
from dawnchorus.errors import ConfigError


class FrozenLayers(NamedTuple):
    """The parameters and the normalisations of a network that are not trained, by name.

    Attributes
    ----------
    parameters
        Names of the parameters.
    normalisations
        Names of the modules whose running statistics stay.
    n_epochs
        Number of epochs after which all layers are trained; None for never.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)})
    >>> frozen = frozen_layers(model, ["backbone"])
    >>> frozen.begin(model)
    >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    ['head.weight', 'head.bias']
    """

    parameters: frozenset[str]
    normalisations: frozenset[str]
    n_epochs: int | None

    def begin(self, model: nn.Module) -> None:
        """Freeze the parameters before training begins, when data-parallel training registers them."""
        self._train_parameters(model, False)

    def begin_epoch(self, model: nn.Module, epoch: int) -> None:
        """Freeze or unfreeze the layers for an epoch, from 0. The model must be in training mode."""
        frozen = self.n_epochs is None or epoch < self.n_epochs
        self._train_parameters(model, not frozen)
        for name, module in model.named_modules():
            if name in self.normalisations:
                module.train(not frozen)

    def _train_parameters(self, model: nn.Module, trained: bool) -> None:
        for name, parameter in model.named_parameters():
            if name in self.parameters:
                parameter.requires_grad_(trained)


def frozen_layers(model: nn.Module, prefixes: Sequence[str], *, n_epochs: int | None = None) -> FrozenLayers:
    """Return the layers of a model whose names begin with one of ``prefixes``.

    Parameters
    ----------
    model
        The network.
    prefixes
        Whole parts of names: ``backbone.blocks.1`` does not mean ``backbone.blocks.10``.
    n_epochs
        Number of epochs after which they are trained with the rest; None for never.

    Raises
    ------
    ConfigError
        No name in the model begins with one of them, or nothing is left to train.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)})
    >>> sorted(frozen_layers(model, ["backbone"], n_epochs=3).parameters)
    ['backbone.bias', 'backbone.weight']
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(_begins(name, prefix) for name in names):
            modules = [name for name, _ in model.named_modules() if name]
            raise ConfigError(
                f"frozen_layers: nothing in the network is named {prefix!r}{nearest(prefix, modules)}"
            )
    frozen = frozenset(name for name in names if any(_begins(name, prefix) for prefix in prefixes))
    if len(frozen) == len(names):
        raise ConfigError(f"frozen_layers: {', '.join(prefixes)} leaves nothing to train; name fewer layers")
    normalisations = frozenset(
        name
        for name, module in model.named_modules()
        if hasattr(module, "running_mean") and any(_begins(name, prefix) for prefix in prefixes)
    )
    return FrozenLayers(frozen, normalisations, n_epochs)


def _begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")
