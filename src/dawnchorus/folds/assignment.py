"""Leak-free folds, stratified by primary label, with linked recordings on one side; and notes on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dawnchorus.config import FoldSettings
from dawnchorus.errors import DataError
from dawnchorus.files import replacing
from dawnchorus.folds.groups import GroupedRecordings, check_no_leak, group_columns, group_recordings
from dawnchorus.folds.splits import (
    ALWAYS_IN_TRAINING,
    FoldConstraints,
    FoldSplit,
    official_split,
    split_groups,
)
from dawnchorus.recordings.labels import NOCALL
from dawnchorus.wording import counted

_NAMES_SHOWN = 10
_NO_VALIDATION = "One model is trained on all recordings: none is validated, and there is no score."


def fold_notes(split: FoldSplit, constraints: FoldConstraints) -> list[str]:
    """Return notes on the species that not every fold validates.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.splits import FoldSplit, FoldConstraints
    >>> from dawnchorus.folds.groups import group_recordings
    >>> recordings = pd.DataFrame({"filename": list("abc"), "primary_label": ["owl", "owl", "wren"]})
    >>> recordings["author"] = ["Ada", "Bea", "Bea"]
    >>> grouped = group_recordings(recordings, ("author",))
    >>> constraints = FoldConstraints.of(recordings, grouped, FoldSettings(n_folds=2, rare_up_to=1))
    >>> fold_notes(FoldSplit(np.array([0, 1]), 2, []), constraints)[0]
    'Rare, with at most 1 recordings, and never validated: wren.'
    """
    return [*_on_rare(constraints), *_on_moved(split, constraints), *_on_validation(split, constraints)]


def group_notes(split: FoldSplit, grouped: GroupedRecordings) -> list[str]:
    """Return a note where the group of most recordings is unknown, or one group holds most recordings.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.folds.splits import FoldSplit
    >>> from dawnchorus.folds.groups import group_recordings
    >>> recordings = pd.DataFrame({"filename": list("abc"), "primary_label": ["owl", "owl", "wren"]})
    >>> recordings["author"] = ["Ada", "Bea", "Bea"]
    >>> group_notes(FoldSplit(np.array([0, 1]), 2, []), group_recordings(recordings, ("author",)))
    ['One recordist holds 67% of the recordings: the model tested on it learns from the other 33%.']
    """
    n_recordings = len(grouped.groups)
    if 2 * grouped.n_unknown > n_recordings:
        some = "all" if grouped.n_unknown == n_recordings else f"{grouped.n_unknown} of the"
        return [
            f"The {' and '.join(grouped.columns)} of {some} {n_recordings} recordings is unknown: where "
            "several are by one person or from one place, they may lie on both sides of a fold."
        ]
    fractions = grouped.sizes / n_recordings
    largest = fractions.max()
    if largest > 0.5 and split.fold_of_group[fractions.argmax()] != ALWAYS_IN_TRAINING:
        return [
            f"One {grouped.noun} holds {largest:.0%} of the recordings: the model tested on it learns from "
            f"the other {1 - largest:.0%}."
        ]
    return []


def _on_rare(constraints: FoldConstraints) -> list[str]:
    if not constraints.rare.any():
        return []
    names, limit = name_some(constraints.grouped.names[constraints.rare]), constraints.settings.rare_up_to
    return [f"Rare, with at most {limit} recordings, and never validated: {names}."]


def _on_moved(split: FoldSplit, constraints: FoldConstraints) -> list[str]:
    """Return a note on the groups that are always in training, where that costs validation."""
    grouped = constraints.grouped
    always = split.fold_of_group == ALWAYS_IN_TRAINING
    costly = always & ~constraints.only_rare()
    needed = [
        number
        for number in np.flatnonzero(constraints.promised & grouped.counts[costly].any(axis=0))
        if len(np.unique(split.fold_of_group[(grouped.counts[:, number] > 0) & ~always])) < 2
    ]
    if not needed:
        return []
    n_recordings = int(grouped.sizes[costly].sum())
    return [
        f"Always in training (fold -1), so that every fold learns {name_some(grouped.names[needed])}: "
        f"{_counted(n_recordings, 'recording')}"
        + ("" if grouped.noun == "recording" else f" of {_counted(int(costly.sum()), grouped.noun)}")
        + "."
    ]


def _on_validation(split: FoldSplit, constraints: FoldConstraints) -> list[str]:
    """Return notes on the classes that not every fold validates, one for all with the same numbers."""
    grouped = constraints.grouped
    fates: dict[tuple[int, int, bool], list[str]] = defaultdict(list)
    for number in np.flatnonzero(~constraints.rare & (grouped.names != NOCALL)):
        folds = set(split.fold_of_group[grouped.counts[:, number] > 0].tolist())
        always = ALWAYS_IN_TRAINING in folds
        n_validating = len(folds - {ALWAYS_IN_TRAINING})
        if n_validating < split.n_folds:
            n_groups = int(grouped.groups_of_class[number])
            fates[n_validating, n_groups, always and n_validating < 2].append(grouped.names[number])
    return [
        _fate(names, n_groups, n_validating, split.n_folds, grouped.noun, always=always)
        for (n_validating, n_groups, always), names in sorted(fates.items())
    ]


def _fate(
    names: Sequence[str], n_groups: int, n_validating: int, n_folds: int, noun: str, *, always: bool
) -> str:
    one = len(names) == 1
    has, it, score, rests = (
        ("has", "it", "its score", "rests") if one else ("have", "them", "their scores", "rest")
    )
    has_groups = f"{name_some(names)} {has} {_counted(n_groups, noun)}" + ("" if one else " each")
    if n_validating == 0:
        return f"{has_groups}, always in training: no fold validates {it}."
    if n_validating == 1 and not always:
        where = "" if n_groups == 1 else ", all in one fold"
        return (
            f"{has_groups}{where}: no leak-free score, because the model tested on {it} has never heard "
            f"{it}; set every_class_in_training to learn {it} in every fold."
        )
    without = n_folds - n_validating
    validate = "validates" if without == 1 else "validate"
    return (
        f"{has_groups} for {n_folds} folds: {_number(without)} of the folds {validate} without {it}, "
        f"and {score} {rests} on the other {_number(n_validating)}."
    )


def name_some(names: Sequence[str] | np.ndarray) -> str:
    """Return up to ten names, and the number of others: ``a``, ``a and b``, ``a, b and 3 more``.

    Examples
    --------
    >>> name_some(["owl", "wren"]), name_some([f"species {number}" for number in range(12)])[-22:]
    ('owl and wren', ', species 9 and 2 more')
    """
    shown = [str(name) for name in names[:_NAMES_SHOWN]]
    rest = len(names) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _counted(number: int, noun: str) -> str:
    return f"{_number(number)} {noun}{'s' * (number != 1)}"


def _number(number: int) -> str:
    return "one" if number == 1 else str(number)


class FoldAssignment(NamedTuple):
    """The fold of every recording, and notes for the user.

    Attributes
    ----------
    folds
        Fold of every row of the recordings table, shape (n_recordings,), int64, from 0; -1 is always
        in training.
    validated
        Whether a row is tested on by the model of its fold, shape (n_recordings,), bool; false in fold -1,
        and where a recording of a rare class lies in a fold only because its group does.
    n_folds
        Number of folds.
    notes
        Sentences on the limits of the folds, such as fewer folds, or classes without a leak-free score.
    groups
        Group of every row, shape (n_recordings,), int64: a group is wholly in one fold.
    group_columns
        The columns that made the groups.

    Examples
    --------
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> recordings = load_recordings("recordings").table
    >>> assignment = assign_folds(recordings, FoldSettings(n_folds=2), seed=42)
    >>> assignment.n_folds, assignment.n_groups, int(assignment.training_rows(0).sum())
    (2, 4, 4)
    """

    folds: np.ndarray
    validated: np.ndarray
    n_folds: int
    notes: tuple[str, ...]
    groups: np.ndarray
    group_columns: tuple[str, ...]

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(np.unique(self.groups))

    def training_rows(self, fold: int) -> np.ndarray:
        """Return a mask of the rows that the model of a fold is trained on, shape (n_recordings,), bool."""
        return training_rows(self.folds, fold)

    def validation_rows(self, fold: int) -> np.ndarray:
        """Return a mask of the rows that the model of a fold is tested on, shape (n_recordings,), bool."""
        return validation_rows(self.folds, self.validated, fold)

    def __repr__(self) -> str:
        recordings, groups = counted(len(self.folds), "recording"), counted(self.n_groups, "group")
        return f"FoldAssignment({counted(self.n_folds, 'fold')} of {recordings} in {groups})"


def training_rows(folds: np.ndarray, fold: int) -> np.ndarray:
    """Return a mask of the rows that the model of a fold is trained on, shape (n_recordings,), bool.

    Examples
    --------
    >>> import numpy as np
    >>> training_rows(np.array([0, 1, -1]), fold=0)
    array([False,  True,  True])
    """
    return np.asarray(folds) != fold


def validation_rows(folds: np.ndarray, validated: np.ndarray, fold: int) -> np.ndarray:
    """Return a mask of the rows that the model of a fold is tested on, shape (n_recordings,), bool.

    Examples
    --------
    >>> import numpy as np
    >>> validation_rows(np.array([0, 1, 0]), np.array([True, True, False]), fold=0)
    array([ True, False, False])
    """
    return (np.asarray(folds) == fold) & np.asarray(validated)


def assign_folds(recordings: pd.DataFrame, settings: FoldSettings, *, seed: int) -> FoldAssignment:
    """Return leak-free folds of the recordings; the order of the rows changes nothing.

    Official folds are taken where the table has them. Otherwise scikit-learn's
    ``StratifiedGroupKFold`` splits the groups so that the classes are spread alike; with ``n_folds`` 1, all
    recordings are always in training.

    Raises
    ------
    DataError
        There is one species only, a column is missing, official folds are incomplete or split a
        group, there are too few groups, or nothing is left to validate in a fold.

    Examples
    --------
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> recordings = load_recordings("recordings").table
    >>> folds = assign_folds(recordings, FoldSettings(n_folds=2), seed=42).folds
    >>> recordings.assign(fold=folds).groupby("author")["fold"].nunique().tolist()  # a fold each
    [1, 1, 1, 1]
    """
    if recordings["primary_label"].nunique() < 2:
        only = ", ".join(recordings["primary_label"].unique()) or "no species"
        raise DataError(f"the recordings are all of {only}; at least two species are needed")
    grouped = group_recordings(recordings, group_columns(recordings, settings.group_column))
    if settings.n_folds == 1 and _official_column(recordings, settings) is None:
        always = np.full(len(recordings), ALWAYS_IN_TRAINING)
        return FoldAssignment(
            always, np.zeros(len(always), dtype=bool), 1, (_NO_VALIDATION,), grouped.groups, grouped.columns
        )
    constraints = FoldConstraints.of(recordings, grouped, settings)
    official = _official_column(recordings, settings)
    if official is None:
        split = split_groups(constraints, seed=seed)
        split.notes.extend(group_notes(split, grouped))
    else:
        split = official_split(official, constraints)
    folds = split.fold_of_group[grouped.groups]
    check_no_leak(folds, grouped.groups, columns=grouped.columns)
    notes = (*split.notes, *fold_notes(split, constraints))
    validated = constraints.validated(folds)
    return FoldAssignment(folds, validated, split.n_folds, notes, grouped.groups, grouped.columns)


def _official_column(recordings: pd.DataFrame, settings: FoldSettings) -> pd.Series | None:
    """Return the column of official folds; None where the default, ``fold`` or ``fold_id``, is absent."""
    name = settings.fold_column
    if name == FoldSettings.model_fields["fold_column"].default:
        name = next((column for column in (name, "fold_id") if column in recordings), None)
    if name is None:
        return None
    if name not in recordings:
        raise DataError(
            f"the recordings table has no column {name} of official folds; its columns are "
            f"{', '.join(map(str, recordings.columns))}"
        )
    return recordings[name]


def fold_counts(recordings: pd.DataFrame, assignment: FoldAssignment) -> pd.DataFrame:
    """Return the number of training and validation recordings of each class in every fold.

    One row a class and a row ``all``. The columns are pairs: recordings and groups in all, and for
    every fold ``train`` and ``val``.

    Examples
    --------
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> recordings = load_recordings("recordings").table
    >>> counts = fold_counts(recordings, assign_folds(recordings, FoldSettings(n_folds=2), seed=42))
    >>> counts.index.tolist(), counts.loc["owl"].tolist()
    (['owl', 'wren', 'all'], [4, 4, 2, 2, 2, 2])
    """
    labels = recordings["primary_label"].to_numpy()
    table = {
        ("", "recordings"): np.ones(len(labels), dtype=bool),
        ("", "groups"): ~pd.DataFrame({"label": labels, "group": assignment.groups}).duplicated().to_numpy(),
    }
    for fold in range(assignment.n_folds):
        table[f"fold {fold}", "train"] = assignment.training_rows(fold)
        table[f"fold {fold}", "val"] = assignment.validation_rows(fold)
    counts = pd.DataFrame(table).groupby(labels).sum()
    total = counts.sum()
    total["", "groups"] = assignment.n_groups
    return pd.concat([counts, total.to_frame("all").T]).rename_axis(index="primary_label")


def save_folds(path: Path, recordings: pd.DataFrame, assignment: FoldAssignment) -> None:
    """Write the folds as a CSV table.

    Its columns are filename, primary_label, author, the other columns that groups were made by,
    fold, and validated (true or false).

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> recordings = load_recordings("recordings").table
    >>> save_folds(Path("folds.csv"), recordings, assign_folds(recordings, FoldSettings(n_folds=2), seed=42))
    >>> Path("folds.csv").read_text().splitlines()[0]
    'filename,primary_label,author,fold,validated'
    """
    first = dict.fromkeys(["filename", "primary_label", "author", *assignment.group_columns])
    named = [column for column in first if column in recordings and column not in ("fold", "validated")]
    validated = np.where(assignment.validated, "true", "false")
    table = recordings[named].assign(fold=assignment.folds, validated=validated)
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
