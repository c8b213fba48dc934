"""The optimiser, and the learning rate over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from dawnchorus.config import OptimizerSettings, SchedulerSettings


def make_optimizer(model: torch.nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Return the optimiser of :mod:`torch.optim` that the settings name."""
    optimizer_class = getattr(torch.optim, settings.name)
    return optimizer_class(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)


def lr_multiplier(settings: SchedulerSettings, *, lr: float, n_steps: int) -> Callable[[int], float]:
    """Return the learning rate at a step, as a multiple of ``lr``.

    Cosine: ``floor + (1 − floor) · (1 + cos(π · step / n_steps)) / 2`` with ``floor = min_lr / lr``
    (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts). One-cycle rises
    linearly from the floor over the first ``warmup_share`` of the steps and then falls so.
    """
    floor = settings.min_lr / lr
    n_warmup = round(settings.warmup_share * n_steps) if settings.name == "one_cycle" else 0

    def multiplier(step: int) -> float:
        if settings.name == "constant":
            return 1.0
        if step < n_warmup:
            return floor + (1 - floor) * (step + 1) / n_warmup
        done = min((step - n_warmup) / max(n_steps - n_warmup, 1), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return multiplier


def scaled_lr(settings: OptimizerSettings, batch_ratio: float) -> float:
    """Return the learning rate for a batch that is ``batch_ratio`` times as large.

    In proportion for SGD (Goyal et al. 2017, https://arxiv.org/abs/1706.02677), with the square root for
    optimisers that divide by the gradients' size (Malladi et al. 2022, https://arxiv.org/abs/2205.10287).
    """
    return settings.lr * (batch_ratio if settings.name == "SGD" else math.sqrt(batch_ratio))
