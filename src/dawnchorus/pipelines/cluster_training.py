"""Folds of an experiment that the workers of a cluster train side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawnchorus.cluster.workers import Cluster, Killed, Work, spread
from dawnchorus.config import TrainConfig, load_train_config
from dawnchorus.errors import ConfigError, DawnchorusError, TrainingError
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)


def train_on_cluster(
    config: Path,
    cluster: Cluster,
    *,
    folds: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    given: Sequence[str] = (),
) -> Run:
    """Train the folds of a config side by side, a worker each, and return the run.

    A fold is trained as by :func:`dawnchorus.lightning_training`: one that was interrupted goes on from its
    last checkpoint, on whatever machine, and one that is finished is not trained again. A fold that fails
    does not stop the others. Where the cluster has GPUs, each worker has one.

    Parameters
    ----------
    config
        The config file, which each worker reads; all machines must see it, the recordings and ``logdir`` by
        the same names.
    cluster
        The cluster.
    folds
        Folds to train; those of the config if not given.
    options, given
        As for :func:`dawnchorus.config.load_train_config`.

    Raises
    ------
    ConfigError
        A key is unknown, a fold does not exist, or a fold is to be shared by several devices.
    DataError, RunError, TrainingError
        As for :func:`dawnchorus.lightning_training`, of the first fold that fails; the others are trained.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.cluster.workers import Cluster
    >>> train_on_cluster(Path("train.py"), Cluster("local"), given=["devices=2"])
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: on a cluster each worker trains a fold of its own; leave devices, num_nodes
    and auto_batch out
    """
    config = config.absolute()
    experiment = load_train_config(config, dict(options or {}), given=given)
    arguments = experiment.train_function_args
    if arguments.n_devices > 1 or arguments.auto_batch:
        raise ConfigError(
            "on a cluster each worker trains a fold of its own; leave devices, num_nodes and auto_batch out"
        )
    unfinished = _unfinished(experiment, config, folds)
    failed: list[DawnchorusError] = []
    opener = _Opener(config, dict(options or {}), tuple(given))
    with cluster.connected():
        for block, result in spread(
            cluster.with_gpus(), opener, unfinished, n_items=len(unfinished), largest=1
        ):
            if isinstance(result, Killed):
                failed.append(
                    TrainingError(f"fold {block[0]}: {result.reason}, perhaps for want of memory; try again")
                )
            elif result is not None:
                failed.append(result)
            else:
                logger.info("Fold %d is trained.", block[0])
    if failed:
        raise failed[0]
    run: Run = experiment.train_function(experiment, folds=folds, config_file=config)
    return run


def _unfinished(experiment: TrainConfig, config: Path, folds: Sequence[int] | None) -> list[int]:
    """Return the folds that are left to train, after a check of tables, config and run."""
    from dawnchorus.training.lightning_training import chosen_folds
    from dawnchorus.training.run_locks import RunLocks
    from dawnchorus.training.run_preparation import prepare_run

    with RunLocks(Run(experiment.run_dir)) as locks, locks.preparing():
        prepared = prepare_run(experiment, config_file=config)
    named = experiment.folds.trained if folds is None else folds
    chosen = chosen_folds(named, prepared.assignment.n_folds)
    return [fold for fold in chosen if prepared.run.finished(fold) is None]


@dataclass(frozen=True)
class _Opener:
    """What a worker needs to begin: it reads the config by itself, with parts of one's own in it."""

    config: Path
    options: Mapping[str, Any]
    given: Sequence[str]

    def __call__(self) -> Work[int, DawnchorusError | None]:
        """Return what trains a fold, or returns why it cannot."""
        experiment = load_train_config(self.config, dict(self.options), given=self.given)
        train: Callable[..., Run] = experiment.train_function

        def work(block: Sequence[int]) -> DawnchorusError | None:
            try:
                train(experiment, folds=list(block), config_file=self.config)
            except DawnchorusError as error:
                return error
            return None

        return work
