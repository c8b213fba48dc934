"""Folds that a column of the table gives: numbers, or names in their natural order."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from dawnchorus.errors import DataError
from dawnchorus.folds.constraints import ALWAYS_IN_TRAINING, FoldConstraints, FoldSplit
from dawnchorus.folds.groups import as_text, check_no_leak

_NAMES_SHOWN = 10


def official_split(column: pd.Series, constraints: FoldConstraints) -> FoldSplit:
    """Return the folds of a column, numbered from 0 in the order of its values, after the constraints.

    Raises
    ------
    DataError
        The column has gaps, or one fold only; its folds split a group; a fold has nothing to validate.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.constraints import FoldConstraints
    >>> from dawnchorus.folds.groups import group_recordings
    >>> recordings = pd.DataFrame({"filename": list("abcd"), "primary_label": ["owl", "wren"] * 2})
    >>> recordings["author"] = ["Ada", "Ada", "Bea", "Bea"]
    >>> recordings["fold"] = ["north", "north", "south", "south"]
    >>> grouped = group_recordings(recordings, ("author",))
    >>> constraints = FoldConstraints.of(recordings, grouped, FoldSettings())
    >>> official_split(recordings["fold"], constraints).fold_of_group
    array([0, 1])
    """
    folds, values = _folds_and_values(column)
    grouped = constraints.grouped
    check_no_leak(folds, grouped.groups, columns=grouped.columns)
    fold_of_group = np.empty(grouped.n_groups, dtype=np.int64)
    fold_of_group[grouped.groups] = folds
    fold_of_group[constraints.only_rare()] = ALWAYS_IN_TRAINING
    fold_of_group = constraints.learnt_in_every_fold(fold_of_group)
    unmet = constraints.unmet(fold_of_group, len(values))
    if unmet is not None:
        remedy = constraints.remedy("correct the column", "set fold_column to None to split anew")
        raise DataError(f"with the official folds of the column {column.name}, {unmet}; {remedy}")
    renamed = [f"{value} is fold {fold}" for fold, value in enumerate(values) if value != str(fold)]
    shown = ": " + ", ".join(renamed[:_NAMES_SHOWN]) if renamed else ""
    more = f" and {len(renamed) - _NAMES_SHOWN} more" if len(renamed) > _NAMES_SHOWN else ""
    note = f"The official folds of the column {column.name} are used{shown}{more}."
    return FoldSplit(fold_of_group, len(values), [note])


def _folds_and_values(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Return the fold of every row from 0, -1 where the column says -1, and the values in that order."""
    text = pd.Series(as_text(column))
    gaps = int((text == "").sum())
    if gaps:
        raise DataError(
            f"the column {column.name} is empty in {gaps} of {len(text)} rows; every recording needs a fold"
        )
    numbers = pd.to_numeric(text, errors="coerce")
    if numbers.isna().all():
        values = sorted(set(text), key=_natural)
    else:
        wrong = text[numbers.isna() | (numbers % 1 != 0)]
        if len(wrong):
            raise DataError(
                f"the column {column.name} mixes {wrong.iloc[0]!r} with whole numbers, in {len(wrong)} "
                f"row{'s' * (len(wrong) > 1)} of {len(text)}; folds are whole numbers, -1 for what is always "
                "in training, or all of them names"
            )
        text = numbers.astype(int).astype(str)
        values = [str(number) for number in sorted(set(text.astype(int)) - {ALWAYS_IN_TRAINING})]
    if len(values) < 2:
        raise DataError(
            f"the column {column.name} holds one fold only; at least 2 are needed. Drop the column, or set "
            "fold_column to None"
        )
    number_of = {value: fold for fold, value in enumerate(values)}
    return text.map(lambda value: number_of.get(value, ALWAYS_IN_TRAINING)).to_numpy(np.int64), values


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key by which fold_2 comes before fold_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
