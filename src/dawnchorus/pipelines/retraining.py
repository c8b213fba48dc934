"""The next round: a run trained again with what people have reviewed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.config import DataSettings, TrainConfig, validate
from dawnchorus.config.changes import changed, with_data
from dawnchorus.files import Failure
from dawnchorus.pipelines.experiment import TrainedRun, train
from dawnchorus.recordings.recordings_table import names_of_roots
from dawnchorus.review.reviewing import Review
from dawnchorus.review.training_data import Others, TrainingData, write_training_data
from dawnchorus.runs import Run
from dawnchorus.training.losses import make_loss
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

_ROUND = "-round"
_TRAINING = "training"
_MASKED = {"bce": "masked_bce", "bce_focal": "masked_bce_focal"}
"""The loss that is the same but for passing over unknown targets."""


class Retrained(NamedTuple):
    """The run of the next round, and the data that were added to it.

    Attributes
    ----------
    run
        The run.
    data
        The reviewed clips that it was trained on too.
    failures
        Recordings of the review that could not be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_run
    >>> from dawnchorus.review.training_data import TrainingData
    >>> Retrained(open_run("logdirs/tiny"), TrainingData(Path("training"), 96, 20, [])).data.n_clips
    96
    """

    run: TrainedRun
    data: TrainingData
    failures: list[Failure] = []  # noqa: RUF012  a default that nobody changes


def retrain(
    run: Run,
    review: Review,
    *,
    exp_name: str | None = None,
    config: TrainConfig | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Retrained:
    """Return a run trained on the recordings of an earlier one and on the reviewed clips, negatives included.

    The networks begin where those of the earlier run began, and not with its weights: its folds were dealt
    without the new clips, so that a network would have been trained on what it is scored on. Species that
    nobody was asked about in a clip are unknown where the loss can pass over them, and absent otherwise;
    ``bce`` and ``bce_focal`` become ``masked_bce`` and ``masked_bce_focal``. The classes stay the same.

    Parameters
    ----------
    run
        The run that has predicted, or any other.
    review
        The review of the predictions.
    exp_name
        Name of the new run; that of the earlier one with ``-round2``, or the next number, if not given. A
        training that was killed goes on when it is called again.
    config
        Config of the run, where its folder was moved or has parts of one's own.
    changes
        Keys of the config with other values, as in :func:`dawnchorus.train`.

    Raises
    ------
    DataError
        No clip has an answer yet.
    RunError, TrainingError
        As for :func:`dawnchorus.train`.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus import open_run
    >>> from dawnchorus.review.reviewing import open_review
    >>> found = pd.DataFrame({"filename": "night.wav", "start_s": range(4), "label": "wren"})
    >>> found.assign(end_s=found["start_s"] + 1, probability=0.9).to_csv("detections.csv", index=False)
    >>> review = open_review("detections.csv", ".")
    >>> for clip in review.queue().index:
    ...     review.answer(clip, "Ada", "yes")
    >>> made = retrain(open_run("logdirs/tiny"), review)
    >>> made.run.path.name, made.data.n_clips, len(made.run.folds())
    ('tiny-round2', 4, 12)
    """
    before = run.config() if config is None else config
    name = exp_name or _next_name(before, run)
    labels = run.card().labels
    args = before.train_function_args
    loss = args.loss if not isinstance(args.loss, str) else _MASKED.get(args.loss, args.loss)
    others: Others = "unknown" if _takes_unknown(loss, args.loss_args) else "absent"
    folder = review.folder / _TRAINING / name
    data = write_training_data(review, folder, labels=labels, others=others)
    logger.info(
        f"{counted(data.n_clips, 'reviewed clip')}, {data.n_negative} of them negative: {data.folder}"
    )
    roots = (*_named(before.data), DataSettings(audio_dir=folder.absolute(), name=f"review-{name}"))
    values = {**with_data(before), "data": roots, "labels": labels, "exp_name": name}
    values = changed(changed(values, {"loss": loss}), changes or {})
    again = train(validate(TrainConfig, values, where="dawnchorus retrain"))
    return Retrained(again, data, data.failures)


def _next_name(config: TrainConfig, run: Run) -> str:
    """Return the name of the first round that is not finished."""
    stem = re.sub(rf"{_ROUND}\d+$", "", config.exp_name)
    number = 2
    while _is_finished(config.model_copy(update={"exp_name": f"{stem}{_ROUND}{number}"})):
        number += 1
    return f"{stem}{_ROUND}{number}"


def _is_finished(config: TrainConfig) -> bool:
    path = config.run_dir
    if not (path / "config.json").is_file():
        return False
    run = Run(path)
    folds = sorted(run.folds()["fold"].unique())
    return all(run.finished(int(fold)) is not None for fold in folds)


def _named(roots: tuple[DataSettings, ...]) -> tuple[DataSettings, ...]:
    """Return dataset roots with the names that they will have among several."""
    names = names_of_roots([*roots, DataSettings(audio_dir=Path("review"), name="review-")])
    return tuple(
        root.absolute().model_copy(update={"name": name}) for root, name in zip(roots, names, strict=False)
    )


def _takes_unknown(loss: Any, loss_args: Mapping[str, Any]) -> bool:
    return make_loss(loss, loss_args, where="dawnchorus retrain").takes_unknown
