"""Another choice among the checkpoints that the folds of a run have kept, after training."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dawnchorus.config import TrainConfig
from dawnchorus.errors import ConfigError, RunError
from dawnchorus.evaluate.validated_recordings import recordings_with_folds, validated_by
from dawnchorus.files import write_text
from dawnchorus.metrics import LOG_PREFIX, LOSS, chosen_metrics
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.runs import Run
from dawnchorus.training.checkpoints import AVERAGED_NAME, LAST, LAST_NAME, average_checkpoints, epoch_metrics
from dawnchorus.training.fold_training import score_checkpoint
from dawnchorus.training.run_locks import RunLocks
from dawnchorus.training.validation import Validation

logger = logging.getLogger(__name__)


class ChosenCheckpoint(NamedTuple):
    """The checkpoint that a fold has now, and the report that says so.

    Examples
    --------
    >>> ChosenCheckpoint(0, "last.safetensors", {"val_macro_roc_auc": 0.91}).checkpoint
    'last.safetensors'
    """

    fold: int
    checkpoint: str
    report: dict[str, float | str]


def choose_checkpoints(
    run: Run, config: TrainConfig, by: str, *, average: int = 1, folds: Sequence[int] | None = None
) -> list[ChosenCheckpoint]:
    """Make another of its checkpoints the model of each fold, and score it on what the fold validates.

    Later predictions, exports and scores take the new ones.

    Parameters
    ----------
    run, config
        The run, and its config.
    by
        A metric of its epochs such as ``cmap``, of which the best is taken; ``loss`` for the smallest
        validation loss; or ``last`` for the last epoch.
    average
        Number of the best checkpoints whose weights are averaged.
    folds
        Folds to choose for; None takes all that are finished.

    Raises
    ------
    ConfigError
        The epochs have no such metric, or fewer checkpoints are kept than are averaged.
    RunError
        A fold is not finished, another process trains it, or nothing is validated.

    Examples
    --------
    >>> import shutil
    >>> from pathlib import Path
    >>> from dawnchorus.runs import Run
    >>> run = Run.open(shutil.copytree("logdirs/tiny", "logdirs/chosen"))
    >>> [each.checkpoint for each in choose_checkpoints(run, run.config(), "last")]
    ['last.safetensors', 'last.safetensors']
    """
    recordings, labels = recordings_with_folds(run, config), LabelMap(run.card().labels)
    if not recordings["validated"].any():
        raise RunError(f"{run.path} was trained on all recordings and has kept its last checkpoints only")
    args = config.train_function_args
    chosen = []
    with RunLocks(run, is_needed=True) as locks:
        for fold in run.chosen_folds(folds):
            with locks.preparing():
                locks.hold(fold)
            paths = ranked_checkpoints(run, fold, by, n_best=average)
            windows = validated_by(recordings, config, labels, fold).dataset
            validation = Validation(
                windows, labels, fold=fold, n_windows=len(windows), lenient=args.debug,
                metrics=chosen_metrics(args.metrics, args.main_metric, where=config.exp_name),
            )  # fmt: skip
            path = paths[0]
            if average > 1:
                path = run.checkpoints_dir(fold) / AVERAGED_NAME
                average_checkpoints(paths, path, run.card())
            scores = score_checkpoint(run, config, fold, path, windows, validation)
            os.utime(path)  # what was made with the weights before is older, and made anew
            earlier = run.finished(fold) or {}
            report: dict[str, float | str] = {
                "best_checkpoint": path.name,
                **scores,
                "best_epoch": epoch_metrics(paths[0])["epoch"],
                **{key: earlier[key] for key in ("n_epochs", "seconds") if key in earlier},
            }
            write_text(run.finished_file(fold), json.dumps(report, indent=2))
            chosen.append(ChosenCheckpoint(fold, path.name, report))
    return chosen


def ranked_checkpoints(run: Run, fold: int, by: str, *, n_best: int) -> list[Path]:
    """Return the best checkpoints that a fold has kept, the best first.

    Raises
    ------
    ConfigError
        The epochs have no such metric, or fewer checkpoints are kept.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> len(ranked_checkpoints(Run.open("logdirs/tiny"), 0, "cmap", n_best=1))
    1
    """
    folder = run.checkpoints_dir(fold)
    if by == LAST:
        kept = {folder / LAST_NAME: 0.0}
    else:
        name = by if by.startswith(LOG_PREFIX) else LOG_PREFIX + by
        paths = [path for path in folder.glob("*.safetensors") if path.name not in (AVERAGED_NAME, LAST_NAME)]
        metrics = {path: epoch_metrics(path) for path in paths}
        known = sorted({key for each in metrics.values() for key in each if key.startswith(LOG_PREFIX)})
        if name not in known:
            legal = ", ".join([*(key.removeprefix(LOG_PREFIX) for key in known), LAST])
            raise ConfigError(f"{run.path} has no {by!r} of its epochs; legal are {legal}")
        sign = -1 if name == LOG_PREFIX + LOSS else 1
        kept = {path: sign * values[name] for path, values in metrics.items() if name in values}
    if n_best > len(kept):
        raise ConfigError(
            f"{n_best} checkpoints cannot be averaged: fold {fold} has {len(kept)} to choose from by {by}; "
            "n_checkpoints in the config says how many training keeps"
        )
    return sorted(kept, key=lambda path: (-kept[path], path.name))[:n_best]
