"""Prediction of soundscapes into the table of a submission, within a time budget."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.container import read_info
from dawnchorus.audio.source import STORE_SUFFIXES, open_stored
from dawnchorus.competition.submission.degradation import ShrinkingEnsemble, Way
from dawnchorus.competition.submission.form import SubmissionForm
from dawnchorus.competition.submission.submission_table import SubmissionTable
from dawnchorus.engines import Engine
from dawnchorus.errors import AudioError, ConfigError, StoreError
from dawnchorus.files import Failure
from dawnchorus.predict.birds_inference import Predicted
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.progress import audio_progress

PLANNED_FRACTION = 0.9
"""Fraction of the budget that is planned with: the machine may become slower."""

LAST_FRACTION = 0.97
"""Fraction of the budget after which prediction stops; the rest is for writing the table."""

FIRST, THEN = 4, 24
"""Soundscapes that the throughput is measured on: at first and after each change, and from then on."""

_USUAL_S = 60.0  # of a BirdCLEF soundscape, where not one can be read


@dataclass(frozen=True)
class SubmissionSettings:
    """Settings of a submission.

    Attributes
    ----------
    budget_s
        Seconds from the start of the command to the finished table; infinity sets no limit.
    postprocess
        Postprocessing of the probabilities of a soundscape's windows.
    n_workers
        Threads that make spectrograms; one for two cores if not given.
    exponent
        Of the mean over the models, as for :class:`.CombinedEngine`.

    Examples
    --------
    >>> SubmissionSettings(budget_s=90 * 60).n_workers is None
    True
    """

    budget_s: float = math.inf
    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    n_workers: int | None = None
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if not self.budget_s > 0:
            raise ConfigError(
                f"the budget is {self.budget_s / 60:g} minutes; it must be above 0; leave it out to take as "
                "long as it takes"
            )


class _TimeIsUpError(Exception):
    """Nothing more can be predicted within the budget."""


class Submission(NamedTuple):
    """A submission, the ways it was predicted in, and counts.

    Attributes
    ----------
    table
        A column a class, rows by ``row_id``, all of them, in the order of the form.
    ways
        How windows were predicted: the whole ensemble first, then what was left of it.
    failures
        Soundscapes that could not be read.
    n_predicted
        Soundscapes that were predicted.
    n_unreached
        Soundscapes that the budget did not suffice for.
    n_filled
        Rows that hold the mean of the others, or where there are none that of the sample: their soundscapes
        could not be read, were not reached, or end before them.
    seconds
        From the start of the command.

    Examples
    --------
    >>> import pandas as pd
    >>> submission = Submission(pd.DataFrame(), [], [], 3, n_unreached=0, n_filled=0, seconds=12.5)
    >>> submission.n_predicted
    3
    """

    table: pd.DataFrame
    ways: list[Way]
    failures: list[Failure]
    n_predicted: int
    n_unreached: int
    n_filled: int
    seconds: float


def predict_submission(
    engines: Sequence[Engine],
    weights: Sequence[float],
    soundscapes: Mapping[str, Path],
    form: SubmissionForm | None,
    settings: SubmissionSettings,
    *,
    started: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Submission:
    """Return the submission of an ensemble for soundscapes, within the budget.

    The first soundscapes are measured. Where all would take longer than the budget, networks are left out in
    the order of :mod:`dawnchorus.competition.submission.degradation`, and the throughput is measured again.
    Where even one network is too slow, the rows that are missing at the end hold the mean of the others.

    Parameters
    ----------
    engines, weights
        The models of the ensemble; networks are left out of these engines themselves.
    soundscapes
        Files by the name that their rows have.
    form
        Rows and classes; None takes the models' classes, and the rows of each soundscape.
    settings
        Budget, and postprocessing of probabilities.
    started
        When the command began, by ``clock``; None takes now.
    clock
        Rising seconds.

    Raises
    ------
    ModelError
        The models' windows are shorter than a row, or they have none of the form's classes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> soundscapes = {"night": Path("night.wav")}
    >>> engines = [open_engine("model", n_threads=1)]
    >>> submission = predict_submission(engines, [1.0], soundscapes, None, SubmissionSettings())
    >>> submission.table.index.tolist(), submission.table.columns.tolist()
    (['night_5', 'night_10', 'night_15'], ['wren', 'robin', 'owl'])
    """
    started = clock() if started is None else started
    ensemble = ShrinkingEnsemble(
        engines, weights, settings.postprocess, exponent=settings.exponent, n_workers=settings.n_workers
    )
    durations_s = _durations(soundscapes)
    table = SubmissionTable(form or SubmissionForm(ensemble.labels), durations_s)
    table.check_classes(ensemble.labels)
    name_of = {path: name for name, path in soundscapes.items() if table.wants(name)}
    seconds_of = {path: durations_s[name] for path, name in name_of.items()}
    failures: list[Failure] = []
    n_predicted = 0
    with suppress(_TimeIsUpError):
        for path, outcome in _in_time(ensemble, seconds_of, settings.budget_s, started, clock):
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                table.add(name_of[path], outcome, ensemble.labels)
                n_predicted += 1
    n_filled = table.fill()
    n_unreached = len(name_of) - n_predicted - len(failures)
    seconds = clock() - started
    return Submission(table.frame(), ensemble.ways, failures, n_predicted, n_unreached, n_filled, seconds)


def _in_time(
    ensemble: ShrinkingEnsemble,
    seconds_of: Mapping[Path, float],
    budget_s: float,
    started: float,
    clock: Callable[[], float],
) -> Iterator[Predicted]:
    """Yield soundscapes as they are predicted; between some of them the ensemble shrinks.

    Raises
    ------
    _TimeIsUpError
        The budget is spent, which may be in the middle of a soundscape.
    """

    def go_on(seconds: float) -> None:
        """Report audio that was predicted, and raise where the time is up."""
        advance(seconds)
        if clock() - started > LAST_FRACTION * budget_s:
            raise _TimeIsUpError

    waiting, at_once = list(seconds_of), FIRST
    with audio_progress("Predicting", total_s=sum(seconds_of.values())) as advance:
        while waiting:
            part, waiting = waiting[:at_once], waiting[at_once:]
            began, predicted_s = clock(), 0.0
            for predicted in ensemble.predict(part, go_on):
                yield predicted
                if not isinstance(predicted.outcome, Failure):
                    predicted_s += seconds_of[predicted.path]
            now, at_once = clock(), THEN if predicted_s else FIRST
            if waiting and predicted_s:
                needed_s = (now - began) / predicted_s * sum(seconds_of[path] for path in waiting)
                if ensemble.shrink(needed_s, PLANNED_FRACTION * budget_s - (now - started)):
                    at_once = FIRST


def _durations(soundscapes: Mapping[str, Path]) -> dict[str, float]:
    """Return the length of each soundscape in seconds; one that cannot be read gets the most common."""
    found = {name: _duration(path) for name, path in soundscapes.items()}
    lengths = Counter(seconds for seconds in found.values() if seconds is not None)
    usual_s = lengths.most_common(1)[0][0] if lengths else _USUAL_S
    return {name: usual_s if seconds is None else seconds for name, seconds in found.items()}


def _duration(path: Path) -> float | None:
    try:
        if path.suffix.lower() in STORE_SUFFIXES:
            stored = open_stored(path)
            return stored.n_samples / stored.sample_rate
        return read_info(path).duration_s
    except (AudioError, StoreError, OSError):
        return None
