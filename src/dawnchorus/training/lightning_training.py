"""``lightning_training``: the folds of an experiment, one after the other, with PyTorch Lightning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dawnchorus.config import TrainConfig
from dawnchorus.errors import ConfigError
from dawnchorus.progress import silence_progress
from dawnchorus.report.run_page import write_run_page
from dawnchorus.runs import Run
from dawnchorus.training.auto_batch import with_found_batch
from dawnchorus.training.fold_training import train_fold
from dawnchorus.training.preparing import prepare_run
from dawnchorus.training.processes import this_process

logger = logging.getLogger(__name__)


def lightning_training(
    config: TrainConfig, *, folds: Sequence[int] | None = None, config_file: Path | None = None
) -> Run:
    """Return the run with its folds trained, and with a page about it, ``report.html``.

    A finished fold is not trained again; one that was interrupted goes on after its last whole
    epoch and ends as if it had not been.

    Parameters
    ----------
    config
        The experiment.
    folds
        Folds to train; None trains all.
    config_file
        The Python file that the config was read from; a copy is kept in the run.

    Raises
    ------
    ConfigError
        A key is unknown or a fold does not exist.
    DataError
        The recordings cannot be trained on, or a fold cannot be scored.
    RunError
        The run directory belongs to another config, or a checkpoint in it is damaged.
    TrainingError
        The training cannot go on: no memory, no disk, a loss that is no number.
    """
    is_first = this_process(config.train_function_args).rank == 0
    if not is_first:  # what the first process says, it says for all
        logging.getLogger("dawnchorus").setLevel(logging.WARNING)
        silence_progress()
    prepared = prepare_run(config, config_file=config_file)
    for note in prepared.assignment.notes:
        logger.info(note)
    chosen = _chosen_folds(folds, prepared.assignment.n_folds)
    unfinished = [fold for fold in chosen if prepared.run.finished(fold) is None]
    if unfinished:
        config = with_found_batch(config, prepared)
    for fold in chosen:
        report = prepared.run.finished(fold) if fold not in unfinished else None
        report = report or train_fold(config, prepared, fold)
        if report is not None:
            metric = config.train_function_args.main_metric
            logger.info("Fold %d: best %s %.4f (%s)", fold, metric, report[metric], report["best_checkpoint"])
        if is_first:
            write_run_page(prepared.run)
    return prepared.run


def _chosen_folds(folds: Sequence[int] | None, n_folds: int) -> list[int]:
    if folds is None:
        return list(range(n_folds))
    for fold in folds:
        if not 0 <= fold < n_folds:
            raise ConfigError(f"fold {fold} does not exist; the run has the folds 0 to {n_folds - 1}")
    return list(dict.fromkeys(folds))
