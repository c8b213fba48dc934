"""Checks of the training settings against each other and this machine, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from dawnchorus.config import TrainFunctionArgs
from dawnchorus.errors import ConfigError
from dawnchorus.metrics import chosen_metrics
from dawnchorus.training.losses import losses_that_take_unknown, make_loss
from dawnchorus.training.optimizer import make_optimizer, make_schedule
from dawnchorus.training.run_loggers import chosen_loggers
from dawnchorus.training.trainer import make_callbacks
from dawnchorus.wording import counted


def check_training_args(args: TrainFunctionArgs, *, where: str) -> None:
    """Raise an error where the training settings cannot be met.

    Parameters
    ----------
    args
        The settings.
    where
        Start of a message.

    Raises
    ------
    ConfigError
        A loss, an optimiser, a schedule, a callback, a metric or an argument of them is unknown or refused,
        settings do not fit together, or the machine lacks the device that they need.
    MissingExtraError
        The package of a logger is not installed.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> args = load_train_config("train.py").train_function_args
    >>> check_training_args(args, where="train.py")
    >>> check_training_args(args.model_copy(update={"loss": "bce_focl"}), where="train.py")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: train.py: loss is 'bce_focl', which is not known; ...
    """
    make_loss(args.loss, args.loss_args, where=where)
    optimizer = make_optimizer(torch.nn.Linear(1, 1), args.optimizer, where=where)
    make_schedule(optimizer, args.scheduler, n_steps=2, monitor=args.main_metric, where=where)
    make_callbacks(args.callbacks, where=where)
    chosen_metrics(args.metrics, args.main_metric, where=where)
    chosen_loggers(args)
    unknown = _unknown_targets(args.train_dataset_config)
    if unknown:
        _refuse_unknown(unknown, args, where=where)
    on_gpu = args.accelerator != "cpu" and torch.cuda.is_available()
    n_gpus = torch.cuda.device_count() if on_gpu else 0
    rules = (
        (
            args.accelerator != "gpu" or on_gpu,
            "accelerator is 'gpu', and PyTorch sees none; take 'auto' or 'cpu'",
        ),
        (
            args.precision_mode != "16-mixed" or on_gpu,
            "precision_mode 16-mixed needs a GPU; take bf16-mixed or 32-true",
        ),
        (
            not on_gpu or args.devices <= n_gpus,
            f"devices is {args.devices}, and PyTorch sees {n_gpus} GPUs",
        ),
        (
            not args.sync_batchnorm or on_gpu,
            "sync_batchnorm needs GPUs; leave it out",
        ),
    )
    for holds, message in rules:
        if not holds:
            raise ConfigError(f"{where}: {message}")


def check_known_labels(recordings: pd.DataFrame, args: TrainFunctionArgs, *, where: str) -> None:
    """Raise a ConfigError where recordings make targets unknown, and the loss does not pass over them.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import load_train_config
    >>> args = load_train_config("train.py").train_function_args
    >>> check_known_labels(pd.DataFrame({"known_labels": [("owl",)]}), args, where="train.py")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: train.py: known_labels of 1 recording needs a loss ...
    """
    asked = recordings["known_labels"].map(len) if "known_labels" in recordings else pd.Series(dtype=int)
    n_recordings = int((asked > 0).sum())
    if n_recordings:
        _refuse_unknown(f"known_labels of {counted(n_recordings, 'recording')}", args, where=where)


def _refuse_unknown(what: str, args: TrainFunctionArgs, *, where: str) -> None:
    loss = make_loss(args.loss, args.loss_args, where=where)
    if not loss.takes_unknown:
        raise ConfigError(
            f"{where}: {what} needs a loss that passes over unknown targets, and loss is "
            f"{loss.name}; take one of {', '.join(losses_that_take_unknown())}, or give your own the "
            "attribute takes_unknown = True"
        )


def _unknown_targets(dataset: Mapping[str, Any]) -> str | None:
    """Return the key of a training dataset that makes targets unknown, or None."""
    if dataset.get("unknown_secondary_labels", False):
        return "unknown_secondary_labels"
    pseudo = dataset.get("soundscape_pseudo_config") or {}
    tables = pseudo.get("tables", ()) if isinstance(pseudo, Mapping) else pseudo.tables
    for number, table in enumerate(tables):
        given = table if isinstance(table, Mapping) else vars(table)
        if given.get("missing") == "unknown":
            return f"soundscape_pseudo_config.tables.{number}.missing"
    known = (pseudo.get("known") if isinstance(pseudo, Mapping) else pseudo.known) or {}
    for number, table in enumerate(known.get("tables", ()) if isinstance(known, Mapping) else known.tables):
        given = table if isinstance(table, Mapping) else vars(table)
        if given.get("missing") == "unknown":
            return f"soundscape_pseudo_config.known.tables.{number}.missing"
    for number, noise in enumerate(dataset.get("background", ())):
        given = noise if isinstance(noise, Mapping) else vars(noise)
        if given.get("unknown_labels"):
            return f"background.{number}.unknown_labels"
    return None
