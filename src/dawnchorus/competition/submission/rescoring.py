"""Changes to the scores of a submission that rank better and are no probabilities any more.

They are for competitions, never for ``dawnchorus predict``, and off unless they are named. Each works on a
whole table: rows by ``row_id``, a column a class. What they gain is what their authors report, on a
leaderboard of their own; ``dawnchorus score --rescore`` says what they add on labelled soundscapes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.competition.submission.form import parse_row_id, read_submission
from dawnchorus.config.settings import nearest
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.text_tables import read_text_table, some

Scores = npt.NDArray[np.float64]

SHRINKAGE = 8.0
"""Labelled rows of a site or hour at which its own frequency counts as much as that of all."""

_SITE = re.compile(r"(?:^|_)([A-Za-z0-9-]+)_(?:19|20)\d{6}_(\d{2})\d{4}(?!\d)")
_LEAST = 1e-6


def scale_by_top_two(scores: Scores) -> Scores:
    """Return scores of one soundscape times the mean of the two largest of their class, (n_rows, n_classes).

    BirdCLEF+ 2026, several of the first places: +0.018 to +0.027.

    Examples
    --------
    >>> import numpy as np
    >>> scale_by_top_two(np.array([[0.5], [1.0], [0.0]])).ravel()
    array([0.375, 0.75 , 0.   ])
    """
    largest = np.sort(scores, axis=0)[-2:]
    scaled: Scores = scores * largest.mean(axis=0)
    return scaled


def scale_by_power(scores: Scores, power: float = 0.4) -> Scores:
    """Return scores of one soundscape times the largest of their class to a power, (n_rows, n_classes).

    BirdCLEF+ 2026: +0.002 to +0.017 with 0.4.

    Examples
    --------
    >>> import numpy as np
    >>> scale_by_power(np.array([[0.25], [0.0625]]), 0.5).ravel()
    array([0.125  , 0.03125])
    """
    scaled: Scores = scores * scores.max(axis=0) ** power
    return scaled


def delta_smooth(scores: Scores, share: float = 0.15) -> Scores:
    """Return scores of one soundscape blended with those of the rows beside, (n_rows, n_classes).

    A row gives ``share`` · (1 − its largest score) of itself for the mean of its neighbours, so that sure
    rows stay as they are; the first and the last row have one neighbour. Public notebooks of BirdCLEF+ 2026;
    without the second factor it is the kernel [α/2, 1 − α, α/2], with 0.15: −0.001 to +0.007.

    Examples
    --------
    >>> import numpy as np
    >>> delta_smooth(np.array([[0.0], [1.0], [0.5]]), 0.5).ravel()
    array([0.5  , 1.   , 0.625])
    """
    if len(scores) < 2:
        return scores
    before, after = np.roll(scores, 1, axis=0), np.roll(scores, -1, axis=0)
    before[0], after[-1] = after[0], before[-1]
    given = share * (1 - scores.max(axis=1, keepdims=True).clip(0, 1))
    smoothed: Scores = (1 - given) * scores + given * (before + after) / 2
    return smoothed


def smooth_within(scores: Scores, groups: Sequence[str], share: float = 0.1) -> Scores:
    """Return scores blended with the mean of their group of classes, shape (n_rows, n_classes).

    A class gives ``share`` of its score for the mean over the classes of its group, itself included; one
    without a group ("") keeps its own. Public notebooks of BirdCLEF+ 2026, by genus and by class.

    Examples
    --------
    >>> import numpy as np
    >>> smooth_within(np.array([[1.0, 0.0, 0.5]]), ["Strix", "Strix", ""], 0.5)
    array([[0.75, 0.25, 0.5 ]])
    """
    smoothed = scores.copy()
    names = np.array(groups, dtype=object)
    for name in set(groups) - {""}:
        members = names == name
        mean = scores[:, members].mean(axis=1, keepdims=True)
        smoothed[:, members] = (1 - share) * scores[:, members] + share * mean
    return smoothed


def shrunk_priors(truth: Scores, keys: Sequence[str]) -> dict[str, Scores]:
    """Return the frequency of each class by a key such as a site, shrunk towards that of all rows.

    With n labelled rows of the key, its own frequency has the weight n / (n + 8). Shapes (n_classes,).

    Parameters
    ----------
    truth
        Shape (n_rows, n_classes), 0 and 1.
    keys
        The key of each row.

    Examples
    --------
    >>> import numpy as np
    >>> priors = shrunk_priors(np.array([[1.0], [1.0], [0.0], [0.0]]), ["a", "a", "b", "b"])
    >>> priors["a"], priors["b"]
    (array([0.6]), array([0.4]))
    """
    overall = truth.mean(axis=0)
    rows_of = pd.Series(range(len(keys))).groupby(np.array(keys, dtype=object)).indices
    return {
        str(key): (len(rows) * truth[rows].mean(axis=0) + SHRINKAGE * overall) / (len(rows) + SHRINKAGE)
        for key, rows in rows_of.items()
    }


def add_priors(
    scores: Scores, keys: Sequence[str], priors: Mapping[str, Scores], overall: Scores, weight: float = 0.4
) -> Scores:
    """Return scores whose log odds are moved by those of a prior, shape (n_rows, n_classes).

    logit p + ``weight`` · (logit prior − logit overall). BirdCLEF+ 2026, by site and hour with 0.4 to 0.5; an
    hour alone lost 0.006 for one author.

    Parameters
    ----------
    scores
        Shape (n_rows, n_classes), in [0, 1].
    keys
        The key of each row; one without a prior leaves the row.
    priors, overall
        Those of :func:`shrunk_priors`, and the frequency over all rows, shape (n_classes,).
    weight
        Share of the prior.

    Examples
    --------
    >>> import numpy as np
    >>> moved = add_priors(np.array([[0.5], [0.5]]), ["a", "?"], {"a": np.array([0.8])}, np.array([0.5]), 1.0)
    >>> moved.ravel().round(3)
    array([0.8, 0.5])
    """
    shift = np.zeros_like(scores)
    for row, key in enumerate(keys):
        if key in priors:
            shift[row] = _logit(priors[key]) - _logit(overall)
    moved: Scores = 1 / (1 + np.exp(-(_logit(scores) + weight * shift)))
    return moved


def _logit(values: Scores) -> Scores:
    clipped = values.clip(_LEAST, 1 - _LEAST)
    odds: Scores = np.log(clipped / (1 - clipped))
    return odds


def rank_blend(tables: Sequence[pd.DataFrame], weights: Sequence[float]) -> pd.DataFrame:
    """Return the weighted mean of the ranks of several submissions, each class by itself over all rows.

    Ranks are means of ties, divided by the number of rows. A table without a class has no say in it: the
    weights of the others are what counts there. BirdCLEF+ 2026, first place: 0.8 own and 0.2 another model.

    Raises
    ------
    DataError
        The tables have different rows.

    Examples
    --------
    >>> import pandas as pd
    >>> first = pd.DataFrame({"owl": [0.1, 0.9], "wren": [0.2, 0.1]}, index=["night_5", "night_10"])
    >>> second = pd.DataFrame({"owl": [0.6, 0.5]}, index=["night_5", "night_10"])
    >>> rank_blend([first, second], [0.75, 0.25])
               owl  wren
    night_5  0.625   1.0
    night_10 0.875   0.5
    """
    first = tables[0]
    sums, totals = np.zeros(first.shape), np.zeros(first.shape[1])
    for table, weight in zip(tables, weights, strict=True):
        if set(table.index) != set(first.index):
            raise DataError(
                f"a submission to blend has other rows than the first, {len(table)} and {len(first)}; blend "
                "submissions for the same soundscapes"
            )
        shared = [label for label in first.columns if label in table]
        columns = first.columns.get_indexer(pd.Index(shared))
        ranks = table.loc[first.index, shared].rank(pct=True).to_numpy()
        sums[:, columns] += weight * ranks
        totals[columns] += weight
    return pd.DataFrame(sums / totals, index=first.index, columns=first.columns)


class Rescoring(NamedTuple):
    """A change to the scores of a submission, by its name.

    Attributes
    ----------
    name
        ``top-two``, ``power``, ``delta``, ``genus``, ``class``, ``site-prior`` or ``hour-prior``.
    value
        Its number: a power, a share or a weight; None takes the usual one, and ``top-two`` has none.

    Examples
    --------
    >>> Rescoring.parse("delta=0.2"), Rescoring.parse("top-two").value
    (Rescoring(name='delta', value=0.2), None)
    >>> Rescoring.parse("detla")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: detla is no rescoring; did you mean delta?
    """

    name: str
    value: float | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value:g}"

    @classmethod
    def parse(cls, text: str) -> Rescoring:
        """Return the change that ``NAME`` or ``NAME=VALUE`` names.

        Raises
        ------
        ConfigError
            There is none of that name, or the value is no number of 0 or more; a share is at most 1.
        """
        name, separator, value = text.partition("=")
        if name not in RESCORINGS:
            raise ConfigError(f"{name} is no rescoring{nearest(name, RESCORINGS, kind='names')}")
        if not separator:
            return cls(name)
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        most = 1.0 if name in _SHARES else sys.float_info.max
        if not 0 <= number <= most or name == "top-two":
            legal = "give a number from 0 to 1" if name in _SHARES else "give a number of 0 or more"
            legal = "it takes none" if name == "top-two" else legal
            raise ConfigError(f"the value of {name} is {value!r}; {legal}")
        return cls(name, number)


RESCORINGS = ("top-two", "power", "delta", "genus", "class", "site-prior", "hour-prior")
_SHARES = ("delta", "genus", "class")
_BY_SOUNDSCAPE: dict[str, Callable[..., Scores]] = {
    "top-two": scale_by_top_two,
    "power": scale_by_power,
    "delta": delta_smooth,
}


class RescoringTables(NamedTuple):
    """Tables that some changes need.

    Attributes
    ----------
    taxonomy
        CSV table with ``primary_label``, and ``scientific_name`` (for ``genus``) or ``class_name``.
    priors
        Labelled rows in the form of a submission, 0 and 1, for ``site-prior`` and ``hour-prior``. They may
        not be rows that are scored.

    Examples
    --------
    >>> RescoringTables().taxonomy is None
    True
    """

    taxonomy: Path | None = None
    priors: Path | None = None


def rescored(
    table: pd.DataFrame, changes: Sequence[Rescoring], tables: RescoringTables | None = None
) -> pd.DataFrame:
    """Return a submission after changes, one after the other.

    Parameters
    ----------
    table
        Rows by ``row_id``, a column a class, in [0, 1].
    changes
        The changes in their order.
    tables
        What some of them need.

    Raises
    ------
    ConfigError
        A change needs a table that is not given.
    DataError
        A table lacks a column, or shares rows with the submission.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"owl": [0.5, 1.0]}, index=pd.Index(["night_5", "night_10"], name="row_id"))
    >>> rescored(table, [Rescoring("top-two")])["owl"].tolist()
    [0.375, 0.75]
    """
    tables = tables or RescoringTables()
    for change in changes:
        options = () if change.value is None else (change.value,)
        scores = table.to_numpy(np.float64)
        if change.name in _BY_SOUNDSCAPE:
            changed = _by_soundscape(table, _BY_SOUNDSCAPE[change.name], options)
        elif change.name in ("genus", "class"):
            changed = smooth_within(scores, _groups(table.columns, change.name, tables.taxonomy), *options)
        else:
            changed = _with_priors(table, change.name, tables.priors, options)
        table = pd.DataFrame(changed, index=table.index, columns=table.columns)
    return table


def _by_soundscape(table: pd.DataFrame, function: Callable[..., Scores], options: Sequence[float]) -> Scores:
    rows = [parse_row_id(str(row_id), where="submission") for row_id in table.index]
    order = pd.DataFrame(rows, columns=["soundscape", "end_s"]).sort_values("end_s", kind="stable")
    scores = table.to_numpy(np.float64)
    changed = np.empty_like(scores)
    for _, of_one in order.groupby("soundscape", sort=False):
        there = of_one.index.to_numpy()
        changed[there] = function(scores[there], *options)
    return changed


def _groups(labels: Sequence[str], level: str, taxonomy: Path | None) -> list[str]:
    """Return the genus or the class of each label, empty where the table does not have it."""
    if taxonomy is None:
        raise ConfigError(f"{level} needs a table of the species; give it with --taxonomy")
    column = "scientific_name" if level == "genus" else "class_name"
    rows = read_text_table(taxonomy, required=("primary_label", column))
    found = dict(zip(rows["primary_label"], rows[column], strict=True))
    names = [found.get(label, "") for label in labels]
    if not any(names):
        raise DataError(f"{taxonomy} knows none of the classes {some(list(labels))}")
    return [name.split()[0] if level == "genus" and name else name for name in names]


def _with_priors(table: pd.DataFrame, name: str, priors: Path | None, options: Sequence[float]) -> Scores:
    if priors is None:
        raise ConfigError(f"{name} needs labelled rows; give them with --priors")
    truth = read_submission(priors)
    labelled = [parse_row_id(row_id, where=str(priors)).soundscape for row_id in truth.index]
    scored = [parse_row_id(str(row_id), where="submission").soundscape for row_id in table.index]
    if shared := sorted(set(labelled).intersection(scored)):
        raise DataError(
            f"{priors} has rows of {some(shared)}, which the submission has too; a prior of what is scored "
            "would be a leak, take them out"
        )
    part = 0 if name == "site-prior" else 1
    wanted = truth.reindex(columns=table.columns)
    values, lacking = wanted.to_numpy(np.float64), wanted.isna().all(axis=0).to_numpy()
    keys = [site_and_hour(soundscape)[part] for soundscape in labelled]
    overall = values.mean(axis=0)
    changed = add_priors(
        table.to_numpy(np.float64),
        [site_and_hour(soundscape)[part] for soundscape in scored],
        {key: prior for key, prior in shrunk_priors(values, keys).items() if key},
        overall,
        *options,
    )
    changed[:, lacking] = table.to_numpy(np.float64)[:, lacking]
    return changed


def site_and_hour(soundscape: str) -> tuple[str, str]:
    """Return the site and the hour in a soundscape's name, empty where it has none.

    Examples
    --------
    >>> site_and_hour("H02_20230420_074000"), site_and_hour("BC2026_Test_0001_S08_20250606_030007")
    (('H02', '07'), ('S08', '03'))
    >>> site_and_hour("night")
    ('', '')
    """
    found = _SITE.search(soundscape)
    return (found[1], found[2]) if found else ("", "")
