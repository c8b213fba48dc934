"""``lightning_training``: training of an experiment's folds, one after the other, with PyTorch Lightning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dawnchorus.config import TrainConfig
from dawnchorus.errors import ConfigError
from dawnchorus.progress import silence_progress
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run
from dawnchorus.training.auto_batch import with_found_batch
from dawnchorus.training.fold_training import train_fold
from dawnchorus.training.processes import this_process
from dawnchorus.training.run_locks import RunLocks
from dawnchorus.training.run_preparation import PreparedRun, check_made_so, prepare_run

logger = logging.getLogger(__name__)


def lightning_training(
    config: TrainConfig, *, folds: Sequence[int] | None = None, config_file: Path | None = None
) -> Run:
    """Train the folds of an experiment, write ``report.html``, and return the run.

    A finished fold is not trained again; one that was interrupted goes on after its last whole
    epoch and ends as if it had not been.

    Parameters
    ----------
    config
        The experiment.
    folds
        Folds to train; None trains those that the config names, or all.
    config_file
        The Python file that the config was read from; a copy is kept in the run.

    Raises
    ------
    ConfigError
        A key is unknown or a fold does not exist.
    DataError
        The recordings cannot be trained on, or a fold cannot be scored.
    RunError
        The run directory belongs to another config, another process trains the fold, or a checkpoint is
        damaged.
    TrainingError
        The training cannot go on: out of memory, disk full, a NaN loss.

    Examples
    --------
    >>> from dawnchorus import lightning_training
    >>> from dawnchorus.config import load_train_config
    >>> run = lightning_training(load_train_config("train.py"))
    >>> run.path.as_posix(), run.finished_folds()
    ('logdirs/tiny', [0, 1])
    >>> sorted(path.name for path in run.path.glob("*.html"))
    ['report.html']
    """
    is_first = this_process(config.train_function_args).rank == 0
    if not is_first:  # the first process logs for all
        logging.getLogger("dawnchorus").setLevel(logging.WARNING)
        silence_progress()
    with RunLocks(Run(config.run_dir), is_needed=is_first) as locks:
        with locks.preparing():
            prepared = prepare_run(config, config_file=config_file)
            named = config.folds.trained if folds is None else folds
            chosen = chosen_folds(named, prepared.assignment.n_folds)
            unfinished = [fold for fold in chosen if prepared.run.finished(fold) is None]
            if unfinished:  # the lock shows other processes that the run is begun, before it has checkpoints
                locks.hold(unfinished[0])
        for note in prepared.assignment.notes:
            logger.info(note)
        if unfinished:
            config = with_found_batch(config, prepared)
        for fold in chosen:
            is_new = fold in unfinished
            report = _trained(config, prepared, fold, locks) if is_new else prepared.run.finished(fold)
            metric = config.train_function_args.main_metric
            if report is not None and metric in report:
                logger.info(
                    "Fold %d: best %s %.4f (%s)", fold, metric, report[metric], report["best_checkpoint"]
                )
            if is_first:
                write_run_page(prepared.run)
    return prepared.run


def _trained(config: TrainConfig, prepared: PreparedRun, fold: int, locks: RunLocks) -> dict[str, Any] | None:
    """Train a fold that no other process trains; return its report, None in all but the first process."""
    with locks.preparing():
        locks.hold(fold)
        if locks.is_needed:
            check_made_so(prepared)
        report = prepared.run.finished(fold)
    if report is not None and config.train_function_args.n_devices == 1:
        return report  # another process has trained it since this one began
    return train_fold(config, prepared, fold)


def chosen_folds(folds: Sequence[int] | None, n_folds: int) -> list[int]:
    """Return the folds to train, each once; all of them where none are named.

    Raises
    ------
    ConfigError
        A fold does not exist.

    Examples
    --------
    >>> chosen_folds([2, 0, 2], n_folds=5)
    [2, 0]
    """
    if folds is None:
        return list(range(n_folds))
    for fold in folds:
        if not 0 <= fold < n_folds:
            raise ConfigError(f"fold {fold} does not exist; the run has the folds 0 to {n_folds - 1}")
    return list(dict.fromkeys(folds))
