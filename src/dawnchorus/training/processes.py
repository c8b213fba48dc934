"""The rank of this process in a data-parallel training, found before Lightning starts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from dawnchorus.config import TrainFunctionArgs
from dawnchorus.errors import RunError

_PATIENCE_S, _LOOK_EVERY_S = 1800, 0.5


class Process(NamedTuple):
    """One of the processes that train together, one for each device.

    Attributes
    ----------
    rank
        From 0. The first process writes the files of the run.
    n_processes
        Number of processes on all machines.

    Examples
    --------
    >>> Process(rank=1, n_processes=4).rank
    1
    """

    rank: int = 0
    n_processes: int = 1


def this_process(args: TrainFunctionArgs) -> Process:
    """Return the rank of this process, from the variables that torchrun, SLURM or Lightning set.

    Lightning starts the processes of a machine itself, by running the command again with ``LOCAL_RANK``.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> this_process(load_train_config("train.py").train_function_args)
    Process(rank=0, n_processes=1)
    """
    if args.n_devices == 1:
        return Process()
    if TorchElasticEnvironment.detect():
        rank = int(os.environ["RANK"])
    elif SLURMEnvironment.detect():
        rank = int(os.environ["SLURM_PROCID"])
    else:
        node = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
        rank = node * args.devices + int(os.environ.get("LOCAL_RANK", "0"))
    return Process(rank, args.n_devices)


def wait_for(file: Path) -> None:
    """Wait until the first process, perhaps on another machine, has written a file.

    Raises
    ------
    RunError
        The file does not exist after half an hour.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("config.json").touch()
    >>> wait_for(Path("config.json"))
    """
    waited_until = time.monotonic() + _PATIENCE_S
    while not file.is_file():
        if time.monotonic() > waited_until:
            raise RunError(
                f"{file} was not written by the first process; it may have ended with an error, and all "
                "machines need the same logdir"
            )
        time.sleep(_LOOK_EVERY_S)
