"""The optimiser, and the schedule of the learning rate over the steps of a run."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch

from dawnchorus.config import OptimizerSettings, SchedulerSettings
from dawnchorus.config.import_paths import import_path
from dawnchorus.config.registry import OPTIMIZERS, SCHEDULES
from dawnchorus.config.settings import check_keys, check_keywords
from dawnchorus.errors import ConfigError


def make_optimizer(
    module: torch.nn.Module, settings: OptimizerSettings, *, where: str | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser that the settings name, over the parameters of a module.

    Parameters
    ----------
    module
        The module to train.
    settings
        The optimiser by name, import path or class, and its arguments.
    where
        Start of a message: the config.

    Raises
    ------
    ConfigError
        The optimiser or an argument is not known, or it refuses a value.

    Examples
    --------
    >>> import torch
    >>> from dawnchorus.config import OptimizerSettings
    >>> settings = OptimizerSettings(name="torch.optim:NAdam", lr=1e-3, args={"momentum_decay": 0.01})
    >>> type(make_optimizer(torch.nn.Linear(2, 1), settings)).__name__
    'NAdam'
    """
    prefix = f"{where}: " if where else ""
    part = OPTIMIZERS.find(settings.name, where=f"{prefix}optimizer.name")
    name = import_path(part).partition(":")[2]
    _check_arguments(part, settings, name=name, prefix=prefix)
    keywords = {"lr": settings.lr, **settings.args}
    if _takes(part, "weight_decay"):
        keywords["weight_decay"] = settings.weight_decay
    try:
        optimizer = part(module.parameters(), **keywords)
    except (TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{prefix}optimizer: {name} refuses {keywords}: {reason}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(
            f"{prefix}optimizer.name is {settings.name!r}, which makes {type(optimizer).__name__}; it must "
            "make a torch.optim.Optimizer"
        )
    return optimizer


def _check_arguments(part: Any, settings: OptimizerSettings, *, name: str, prefix: str) -> None:
    """Raise a ConfigError where the optimiser does not take an argument, or it belongs beside ``args``."""
    for key in ("lr", "weight_decay"):
        if key in settings.args:
            raise ConfigError(f"{prefix}optimizer.args.{key} stands beside args, as optimizer.{key}")
    asked_for = "weight_decay" in settings.model_fields_set and settings.weight_decay > 0
    if asked_for and not _takes(part, "weight_decay"):
        raise ConfigError(
            f"{prefix}optimizer.weight_decay is {settings.weight_decay:g}, and {name} takes none; leave it "
            "out, or set it to 0"
        )
    parameters = list(inspect.signature(part).parameters.values())[1:]
    if all(each.kind is not each.VAR_KEYWORD for each in parameters):
        legal = [each.name for each in parameters if each.name not in ("lr", "weight_decay")]
        check_keys(settings.args, legal, where=f"{prefix}optimizer.args")


def _takes(part: Any, keyword: str) -> bool:
    parameters = inspect.signature(part).parameters.values()
    return any(each.name == keyword or each.kind is each.VAR_KEYWORD for each in parameters)


def lr_multiplier(settings: SchedulerSettings, *, lr: float, n_steps: int) -> Callable[[int], float]:
    """Return the learning rate at a step, as a multiple of ``lr``.

    Cosine: ``floor + (1 − floor) · (1 + cos(π · step / n_steps)) / 2`` with ``floor = min_lr / lr``
    (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983); with ``restarts``, that over equal parts of
    the steps. One-cycle rises linearly from the floor over the first ``warmup_share`` of the steps and then
    falls in the same way.

    Examples
    --------
    >>> from dawnchorus.config import SchedulerSettings
    >>> schedule = lr_multiplier(SchedulerSettings(min_lr=1e-6), lr=1e-4, n_steps=100)
    >>> [round(schedule(step), 3) for step in (0, 50, 100)]  # from 1 along a cosine to 1e-6 / 1e-4
    [1.0, 0.505, 0.01]
    """
    floor = settings.min_lr / lr
    n_warmup = round(settings.warmup_share * n_steps) if settings.name == "one_cycle" else 0

    def multiplier(step: int) -> float:
        if settings.name == "constant":
            return 1.0
        if step < n_warmup:
            return floor + (1 - floor) * (step + 1) / n_warmup
        done = min((step - n_warmup) / max(n_steps - n_warmup, 1), 1.0)
        if done < 1:
            done = done * (1 + settings.restarts) % 1
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return multiplier


def make_schedule(
    optimizer: torch.optim.Optimizer,
    settings: SchedulerSettings,
    *,
    n_steps: int,
    monitor: str,
    where: str | None = None,
) -> dict[str, Any]:
    """Return the schedule of the settings in Lightning's form.

    Parameters
    ----------
    optimizer
        The optimiser whose rate is changed; it has its highest.
    settings
        The schedule by name, import path or class.
    n_steps
        Steps of the whole run.
    monitor
        Logged name that ``ReduceLROnPlateau`` watches.
    where
        Start of a message: the config.

    Raises
    ------
    ConfigError
        The schedule or an argument is not known, or it refuses a value.

    Examples
    --------
    >>> import torch
    >>> from dawnchorus.config import SchedulerSettings
    >>> optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)
    >>> settings = SchedulerSettings(name="torch.optim.lr_scheduler:StepLR", args={"step_size": 3})
    >>> type(make_schedule(optimizer, settings, n_steps=9, monitor="val_loss")["scheduler"]).__name__
    'StepLR'
    """
    schedulers = torch.optim.lr_scheduler
    if settings.is_own:
        lr = float(optimizer.param_groups[0]["lr"])
        multiplier = lr_multiplier(settings, lr=lr, n_steps=n_steps)
        return {"scheduler": schedulers.LambdaLR(optimizer, multiplier), "interval": "step"}
    prefix = f"{where}: " if where else ""
    part = SCHEDULES.find(settings.name, where=f"{prefix}scheduler.name")
    if not callable(part):
        raise ConfigError(f"{prefix}scheduler.name is {part!r}; give a class or function, or its import path")
    check_keywords(part, settings.args, where=f"{prefix}scheduler.args")
    try:
        scheduler = part(optimizer, **settings.args)
    except (TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        name = import_path(part).partition(":")[2]
        raise ConfigError(f"{prefix}scheduler: {name} refuses {settings.args}: {reason}") from error
    if not isinstance(scheduler, schedulers.LRScheduler):
        raise ConfigError(
            f"{prefix}scheduler.name is {settings.name!r}, which makes {type(scheduler).__name__}; it must "
            "make a torch.optim.lr_scheduler.LRScheduler"
        )
    if isinstance(scheduler, schedulers.ReduceLROnPlateau):
        return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}
    return {"scheduler": scheduler, "interval": settings.interval}


def scaled_lr(settings: OptimizerSettings, batch_ratio: float) -> float:
    """Return the learning rate for a batch that is ``batch_ratio`` times as large.

    In proportion for SGD (Goyal et al. 2017, https://arxiv.org/abs/1706.02677), with the square root for
    optimisers that divide by the gradients' size (Malladi et al. 2022, https://arxiv.org/abs/2205.10287).

    Examples
    --------
    >>> from dawnchorus.config import OptimizerSettings
    >>> scaled_lr(OptimizerSettings(name="SGD", lr=0.1), 4), scaled_lr(OptimizerSettings(lr=1e-4), 4)
    (0.4, 0.0002)
    """
    is_sgd = OPTIMIZERS.find(settings.name) is torch.optim.SGD
    return settings.lr * (batch_ratio if is_sgd else math.sqrt(batch_ratio))
