"""Folds that do not leak: stratified by primary label, grouped by recordist."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from dawnchorus.config import FoldSettings
from dawnchorus.errors import DataError


class FoldAssignment(NamedTuple):
    """The fold of every recording, and what a person should know about them.

    Attributes
    ----------
    folds
        Fold of every row of the recordings table, from 0.
    n_folds
        Number of folds.
    notes
        Sentences on what could not be done: fewer folds, classes without a leak-free score.
    """

    folds: np.ndarray
    n_folds: int
    notes: tuple[str, ...]


def assign_folds(recordings: pd.DataFrame, settings: FoldSettings, *, seed: int) -> FoldAssignment:
    """Return leak-free folds of the recordings.

    Official folds are taken where the table has them. Otherwise scikit-learn's
    ``StratifiedGroupKFold`` deals the groups so that the classes are spread alike.

    Raises
    ------
    DataError
        A species has fewer recordings than folds, there are too few groups, official folds are
        incomplete or split a group.
    """
    groups = group_of(recordings, settings.group_column)
    if settings.fold_column in recordings:
        folds = _official_folds(recordings[settings.fold_column], settings.fold_column)
        n_folds, notes = int(folds.max()) + 1, ["The official folds of the table are used."]
    else:
        n_folds, notes = _feasible_n_folds(recordings, groups, settings)
        splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
        folds = np.empty(len(recordings), dtype=np.int64)
        with warnings.catch_warnings():
            # scikit-learn warns of classes with fewer recordings than folds; the notes name them.
            warnings.filterwarnings("ignore", message="The least populated class")
            for fold, (_, rows) in enumerate(splitter.split(recordings, recordings["primary_label"], groups)):
                folds[rows] = fold
    check_no_leak(folds, groups, settings.group_column)
    notes += _notes_on_single_fold_classes(recordings["primary_label"], folds)
    return FoldAssignment(folds, n_folds, tuple(notes))


def group_of(recordings: pd.DataFrame, group_column: str) -> np.ndarray:
    """Return a group number per recording; one whose group is unknown is a group of its own.

    Raises
    ------
    DataError
        There is no such column: without it nothing would keep a recordist on one side.
    """
    if group_column not in recordings:
        raise DataError(
            f"the recordings table has no column {group_column} to keep together in a fold; "
            f"its columns are {', '.join(recordings.columns)}"
        )
    known = recordings[group_column].fillna("").astype(str).str.strip()
    names = [name or f"\0unknown {row}" for row, name in enumerate(known)]
    return pd.factorize(np.array(names, dtype=object))[0]


def check_no_leak(folds: np.ndarray, groups: np.ndarray, group_column: str) -> None:
    """Raise a DataError where recordings of one group lie in more than one fold."""
    pairs = pd.DataFrame({"group": groups, "fold": folds}).drop_duplicates()
    crossing = int(pairs["group"].duplicated().sum())
    if crossing:
        raise DataError(
            f"{crossing} groups of the column {group_column} would lie on both sides of a fold; correct the "
            "fold column, or set folds.group_column to the column that the folds were made by"
        )


def save_folds(path: Path, recordings: pd.DataFrame, folds: np.ndarray) -> None:
    """Write the table filename, primary_label, author, fold, so that a person can read and keep it."""
    from dawnchorus.files import replacing

    table = recordings[["filename", "primary_label", "author"]].assign(fold=folds)
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def _official_folds(column: pd.Series, name: str) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = int(numbers.isna().sum() + (numbers.dropna() % 1 != 0).sum())
    if wrong:
        raise DataError(
            f"the column {name} holds no whole number in {wrong} rows; every recording needs a fold"
        )
    folds = pd.factorize(numbers.to_numpy(), sort=True)[0]
    if folds.max() < 1:
        raise DataError(f"the column {name} holds one fold only; at least 2 are needed, or drop the column")
    return folds


def _feasible_n_folds(
    recordings: pd.DataFrame, groups: np.ndarray, settings: FoldSettings
) -> tuple[int, list[str]]:
    """Return the number of folds that the recordings allow, with a note where it was lowered."""
    labels = recordings["primary_label"]
    if labels.nunique() < 2:
        raise DataError(f"the recordings are all of {labels.iloc[0]}; at least two species are needed")
    least = 2 if settings.fewer_if_needed else settings.n_folds
    rarest, n_rarest = min(Counter(labels).items(), key=lambda item: (item[1], item[0]))
    if n_rarest < least:
        raise DataError(
            f"{rarest} has {n_rarest} recording{'s' * (n_rarest > 1)}, fewer than the {least} folds that are "
            "needed: add recordings, lower n_folds, or leave the species out"
        )
    groups_of_class = pd.Series(groups).groupby(labels.to_numpy()).nunique()
    possible = settings.n_folds
    while possible > 2 and (groups_of_class >= possible).mean() < 0.5:
        possible -= 1
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise DataError(
            f"all recordings share one value of {settings.group_column}; no leak-free split exists"
        )
    possible = min(possible, n_groups)
    if possible == settings.n_folds:
        return possible, []
    reason = f"more than half of the species have fewer than {settings.n_folds} recordists"
    if not settings.fewer_if_needed:
        raise DataError(f"{reason}; set n_folds to {possible}, or fewer_if_needed to True")
    return possible, [f"{possible} folds instead of {settings.n_folds}: {reason}."]


def _notes_on_single_fold_classes(labels: pd.Series, folds: np.ndarray) -> list[str]:
    n_folds_of_class = pd.Series(folds).groupby(labels.to_numpy()).nunique()
    alone = sorted(n_folds_of_class.index[n_folds_of_class < 2])
    if not alone:
        return []
    return [
        f"No leak-free score for {', '.join(alone)}: all recordings lie in one fold, because they share a "
        "recordist, so the model that is tested on them has never heard the species."
    ]
