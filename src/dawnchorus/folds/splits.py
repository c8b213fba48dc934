"""Splits of whole groups into folds: by scikit-learn's ``StratifiedGroupKFold``, or by a column of the table.

:class:`FoldConstraints` applies to both: it holds the classes that are never validated, and those that every
training fold must have. Groups are never split, so that nothing can leak.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from dawnchorus.config import FoldSettings
from dawnchorus.errors import DataError
from dawnchorus.folds.groups import GroupedRecordings, as_text, check_no_leak, learnt_labels
from dawnchorus.recordings.labels import NOCALL

ALWAYS_IN_TRAINING = -1
"""The fold that every model is trained on and none is tested on."""


class FoldSplit(NamedTuple):
    """The fold of every group, the number of folds, and notes on the reasons.

    Examples
    --------
    >>> import numpy as np
    >>> split = FoldSplit(fold_of_group=np.array([0, 1, -1]), n_folds=2, notes=[])
    >>> split.n_folds, split.fold_of_group == ALWAYS_IN_TRAINING
    (2, array([False, False,  True]))
    """

    fold_of_group: np.ndarray
    n_folds: int
    notes: list[str]


@dataclass(frozen=True)
class FoldConstraints:
    """The constraints of a split, from the settings and the recordings.

    Attributes
    ----------
    settings
        The settings.
    grouped
        The recordings that are split.
    rare
        Which classes are rare, shape (n_classes,), bool.
    promised
        Which classes every training fold must have, shape (n_classes,), bool.
    heard
        All the species in each recording as one text, shape (n_recordings,): a fold that validates only
        one such text has no ROC-AUC.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.groups import group_recordings
    >>> recordings = pd.DataFrame({"filename": list("abc"), "primary_label": ["owl", "owl", "wren"]})
    >>> recordings["author"] = ["Ada", "Bea", "Bea"]
    >>> grouped, settings = group_recordings(recordings, ("author",)), FoldSettings(rare_up_to=1)
    >>> constraints = FoldConstraints.of(recordings, grouped, settings)
    >>> constraints.grouped.names, constraints.rare
    (array(['owl', 'wren'], dtype=object), array([False,  True]))
    """

    settings: FoldSettings
    grouped: GroupedRecordings
    rare: np.ndarray
    promised: np.ndarray
    heard: np.ndarray

    @classmethod
    def of(
        cls, recordings: pd.DataFrame, grouped: GroupedRecordings, settings: FoldSettings
    ) -> FoldConstraints:
        """Return the constraints of ``settings`` for these recordings; they leave ``nocall`` out."""
        species = grouped.names != NOCALL
        rare = species & (grouped.counts.sum(axis=0) <= settings.rare_up_to)
        promised = species if settings.every_class_in_training else rare
        return cls(settings, grouped, rare, promised, _heard(recordings, set(grouped.names)))

    def validated(self, folds: np.ndarray) -> np.ndarray:
        """Return a mask of the recordings that are validated, shape (n_recordings,), bool."""
        return (folds != ALWAYS_IN_TRAINING) & ~self.rare[self.grouped.classes]

    def only_rare(self) -> np.ndarray:
        """Return a mask of the groups with rare classes only: in training they cost no validation."""
        return np.asarray(self.grouped.counts[:, ~self.rare].sum(axis=1) == 0)

    def always_in_training(self) -> np.ndarray:
        """Return a mask of the groups with rare classes only, and of the only group of a promised class."""
        alone = self.promised & (self.grouped.groups_of_class == 1)
        return self.only_rare() | self.grouped.counts[:, alone].any(axis=1)

    def learnt_in_every_fold(self, fold_of_group: np.ndarray) -> np.ndarray:
        """Return the folds after moving the smallest group of each promised class that lies in one fold.

        It is moved to fold -1, always in training. Classes with the fewest groups come first: a group that
        is moved for them may serve the others. No move takes a class out of a training fold that had it, so
        that one pass is enough.
        """
        counts = self.grouped.counts
        moved, size = fold_of_group.copy(), self.grouped.sizes
        classes = np.flatnonzero(self.promised)
        for number in classes[np.argsort(self.grouped.groups_of_class[classes], kind="stable")]:
            members = np.flatnonzero(counts[:, number])
            folds = np.unique(moved[members])
            if len(folds) == 1 and folds[0] != ALWAYS_IN_TRAINING:
                moved[members[np.argmin(size[members])]] = ALWAYS_IN_TRAINING
        return moved

    def unmet(self, fold_of_group: np.ndarray, n_folds: int) -> str | None:
        """Return the fault of the first fold that cannot be scored, or None where all can."""
        folds = fold_of_group[self.grouped.groups]
        validated = self.validated(folds)
        for fold in range(n_folds):
            heard = set(self.heard[validated & (folds == fold)])
            if not heard:
                return f"fold {fold} would have nothing to validate"
            if len(heard) == 1:
                return (
                    f"fold {fold} would validate recordings of {heard.pop()} only, and a score needs some "
                    "with a species and some without"
                )
        return None

    def remedy(self, *ways: str) -> str:
        """Return the end of a message: ``ways``, and other changes that would help."""
        rare = [f"lower rare_up_to from {self.settings.rare_up_to}"] if self.settings.rare_up_to else []
        every = ["set every_class_in_training to False"] if self.settings.every_class_in_training else []
        return ", or ".join([*ways, *rare, *every, "add recordings"])


def _heard(recordings: pd.DataFrame, names: set[str]) -> np.ndarray:
    secondary = recordings["secondary_labels"] if "secondary_labels" in recordings else [()] * len(recordings)
    sets = [
        {*learnt, *names.intersection(others)} - {NOCALL}
        for learnt, others in zip(learnt_labels(recordings), secondary, strict=True)
    ]
    return np.array([" and ".join(sorted(species)) or NOCALL for species in sets], dtype=object)


def split_groups(constraints: FoldConstraints, *, seed: int) -> FoldSplit:
    """Return the folds of ``StratifiedGroupKFold``, with the constraints applied.

    Raises
    ------
    DataError
        There are too few groups or recordings for the folds, or nothing is left to validate.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.splits import FoldConstraints
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
    """Return the most folds, up to ``n_folds``, for which half of the classes have enough groups; and why."""
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


_NAMES_SHOWN = 10
_TRAIN, _VALID = "train", "valid"
"""The values of a column that validates once: its only fold, and what is always in training."""


def official_split(column: pd.Series, constraints: FoldConstraints) -> FoldSplit:
    """Return the folds of a column, numbered from 0 in the order of its values, with the constraints applied.

    A column of ``train`` and ``valid`` makes one fold, which validates the second.

    Raises
    ------
    DataError
        The column has gaps or one fold only, its folds split a group, or a fold has nothing to validate.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.splits import FoldConstraints
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
    if set(text.str.lower()) == {_TRAIN, _VALID}:
        is_valid = text.str.lower() == _VALID
        return np.where(is_valid, 0, ALWAYS_IN_TRAINING), [_VALID]
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
    """Return a sort key by which fold_2 comes before fold_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
