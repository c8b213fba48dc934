"""Loggers of a fold's metrics: CSV always, TensorBoard and Weights & Biases where configured."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from dawnchorus.config import TrainFunctionArgs
from dawnchorus.errors import MissingExtraError
from dawnchorus.wording import install_extra

_LONGEST_NAME = 110  # of the 128 letters that Weights & Biases allows, with room for "-fold_12"
_OFFLINE = ("offline", "dryrun")  # Lightning sets the second, which is the older name of the first

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


def chosen_loggers(args: TrainFunctionArgs) -> tuple[str, ...]:
    """Return the loggers beside CSV: the config's, and W&B where ``WANDB_MODE`` requests it.

    Raises
    ------
    MissingExtraError
        The package of a logger that the config names is not installed.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> args = load_train_config("train.py", {"train_function_args": {"loggers": ["tensorboard"]}})
    >>> "tensorboard" in chosen_loggers(args.train_function_args)
    True
    """
    for name in args.loggers:
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            raise MissingExtraError(
                f"loggers names {name}, which is not installed; install it with: {install_extra(name)}"
            )
    mode = os.environ.get("WANDB_MODE")
    chosen = set(args.loggers)
    if mode == "disabled":
        chosen.discard("wandb")
    elif mode and importlib.util.find_spec("wandb"):
        chosen.add("wandb")
    return tuple(sorted(chosen))


def make_loggers(args: TrainFunctionArgs, fold_dir: Path) -> list[Logger]:
    """Return the loggers of a fold; each writes below ``fold_dir``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> args = load_train_config("train.py").train_function_args
    >>> type(make_loggers(args, Path("fold_0"))[0]).__name__
    'CSVLogger'
    """
    chosen = chosen_loggers(args)
    fold_dir.mkdir(parents=True, exist_ok=True)  # W&B uses a temporary folder where this one is missing
    loggers: list[Logger] = [CSVLogger(fold_dir, name="logs")]
    if "tensorboard" in chosen:
        loggers.append(TensorBoardLogger(fold_dir, name="tensorboard", version=""))
    if "wandb" in chosen:
        run_name = _short_enough(fold_dir.parent.name)
        loggers.append(
            WandbLogger(
                project="dawnchorus", group=run_name, name=f"{run_name}-{fold_dir.name}",
                save_dir=fold_dir.absolute(), offline=os.environ.get("WANDB_MODE") in _OFFLINE,
            )
        )  # fmt: skip
    return loggers


@contextmanager
def closing_loggers(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close a fold's loggers at the end of the block, also where it fails.

    Otherwise TensorBoard's file would stay open, and the next fold would write into the same W&B run.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> args = load_train_config("train.py").train_function_args
    >>> with closing_loggers(make_loggers(args, Path("fold_0"))):
    ...     pass  # trainer.fit(...)
    """
    status = "failed"
    try:
        yield
        status = "success"
    finally:
        for logger in loggers:
            if status == "failed":  # after a success, the trainer has done so
                logger.finalize(status)
            if isinstance(logger, WandbLogger):
                import wandb

                wandb.finish(exit_code=int(status == "failed"))


def _short_enough(name: str) -> str:
    """Return a name, shortened with a digest where Weights & Biases would refuse it and a fold's together."""
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - 9]}-{digest}"
