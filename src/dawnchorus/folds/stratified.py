"""Dealing whole groups to as many folds as they allow, by scikit-learn's ``StratifiedGroupKFold``."""

from __future__ import annotations

import warnings
from operator import itemgetter

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from dawnchorus.errors import DataError
from dawnchorus.folds.constraints import ALWAYS_IN_TRAINING, FoldConstraints, FoldSplit
from dawnchorus.folds.groups import GroupedRecordings


def split_groups(constraints: FoldConstraints, *, seed: int) -> FoldSplit:
    """Return the folds that ``StratifiedGroupKFold`` splits, after the constraints.

    Raises
    ------
    DataError
        There are too few groups or recordings for the folds, or nothing is left to validate.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.constraints import FoldConstraints
    >>> from dawnchorus.folds.groups import group_recordings
    >>> recordings = pd.DataFrame({"filename": list("abcdef"), "primary_label": ["owl", "wren"] * 3})
    >>> recordings["author"] = ["Ada", "Ada", "Bea", "Bea", "Cleo", "Cleo"]
    >>> settings = FoldSettings(n_folds=3)
    >>> constraints = FoldConstraints.of(recordings, group_recordings(recordings, ("author",)), settings)
    >>> sorted(split_groups(constraints, seed=0).fold_of_group.tolist())  # a recordist a fold
    [0, 1, 2]
    """
    settings = constraints.settings
    always = constraints.always_in_training()
    n_folds, notes = _feasible_n_folds(constraints, always)
    while True:
        fold_of_group = _split(constraints.grouped, always, n_folds, seed=seed)
        fold_of_group = constraints.learnt_in_every_fold(fold_of_group)
        unmet = constraints.unmet(fold_of_group, n_folds)
        if unmet is None:
            return FoldSplit(fold_of_group, n_folds, notes)
        if n_folds == 2:
            raise DataError(f"with 2 folds, {unmet}; {constraints.remedy()}")
        if not settings.fewer_if_needed:
            remedy = constraints.remedy("lower n_folds, or set fewer_if_needed to True")
            raise DataError(f"with {n_folds} folds, {unmet}; {remedy}")
        n_folds -= 1
        notes = [f"{n_folds} folds instead of {settings.n_folds}: with {n_folds + 1}, {unmet}."]


def _split(grouped: GroupedRecordings, always: np.ndarray, n_folds: int, *, seed: int) -> np.ndarray:
    """Return the fold of every group: scikit-learn's, over the groups that are not set apart."""
    rows = ~always[grouped.groups]
    groups, classes = grouped.groups[rows], grouped.classes[rows]
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    fold_of_group = np.full(grouped.n_groups, ALWAYS_IN_TRAINING, dtype=np.int64)
    with warnings.catch_warnings():
        # scikit-learn warns of classes with few recordings; the notes name them.
        warnings.filterwarnings("ignore", message="The least populated class")
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than")
        for fold, (_, tested) in enumerate(splitter.split(classes, classes, groups)):
            fold_of_group[groups[tested]] = fold
    return fold_of_group


def _feasible_n_folds(constraints: FoldConstraints, always: np.ndarray) -> tuple[int, list[str]]:
    """Return the number of folds that the recordings allow, with a note where it was lowered."""
    _refuse_too_little_to_validate(constraints, always)
    settings, noun = constraints.settings, constraints.grouped.noun
    grouped = constraints.grouped
    counts = grouped.counts[~always]
    largest = int(np.bincount(grouped.classes[~always[grouped.groups]]).max())
    left = " that are not always in training" if always.any() else ""
    limits = [
        (len(counts), f"there are only {len(counts)} {noun}s{left}"),
        (largest, f"no species has more than {largest} recording{'s' * (largest > 1)}{left}"),
    ]
    if settings.fewer_if_needed:
        limits.append(_most_species_allow(counts[:, ~constraints.rare], settings.n_folds, noun))
    limit, reason = min(limits, key=itemgetter(0))
    if limit < 2:
        raise DataError(f"{reason}, too few to keep some for validation; {constraints.remedy()}")
    if limit >= settings.n_folds:
        return settings.n_folds, []
    if not settings.fewer_if_needed:
        raise DataError(
            f"{reason}, fewer than the {settings.n_folds} folds; set n_folds to {limit}, or fewer_if_needed "
            "to True"
        )
    return limit, [f"{limit} folds instead of {settings.n_folds}: {reason}."]


def _most_species_allow(counts: np.ndarray, n_folds: int, noun: str) -> tuple[int, str]:
    """Return the most folds, up to ``n_folds``, for which half of the classes have groups enough."""
    groups_of_class = (counts > 0).sum(axis=0)
    possible = n_folds
    while possible > 2 and (groups_of_class >= possible).mean() < 0.5:
        possible -= 1
    return possible, f"more than half of the species have fewer than {n_folds} {noun}s"


def _refuse_too_little_to_validate(constraints: FoldConstraints, always: np.ndarray) -> None:
    grouped, rare_up_to = constraints.grouped, constraints.settings.rare_up_to
    if grouped.n_groups < 2:
        raise DataError(
            f"all {len(grouped.groups)} recordings are one group by {' and '.join(grouped.columns)}; no "
            "leak-free split exists. Choose another group_column, or add recordings"
        )
    most = grouped.counts.sum(axis=0).max()
    if most <= rare_up_to:
        raise DataError(
            f"rare_up_to is {rare_up_to}, and no species has more than {most} recordings: nothing is left to "
            f"validate; set rare_up_to below {most}"
        )
    left = int((~always).sum())
    if left < 2:
        raise DataError(
            f"{left} of the {grouped.n_groups} {grouped.noun}s would be left to validate, the others being "
            f"always in training; {constraints.remedy()}"
        )
