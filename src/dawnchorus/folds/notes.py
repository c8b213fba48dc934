"""What a person should know of the folds, in sentences that name the species."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from dawnchorus.folds.constraints import ALWAYS_IN_TRAINING, FoldConstraints, FoldSplit
from dawnchorus.folds.groups import GroupedRecordings
from dawnchorus.recordings.labels import NOCALL

_NAMES_SHOWN = 10


def fold_notes(split: FoldSplit, constraints: FoldConstraints) -> list[str]:
    """Return what became of the species that not every fold validates.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.constraints import FoldSplit, FoldConstraints
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
    """Return what may surprise in groups that were split: hardly any is known, or one is most of all.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.folds.constraints import FoldSplit
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
    shares = grouped.sizes / n_recordings
    largest = shares.max()
    if largest > 0.5 and split.fold_of_group[shares.argmax()] != ALWAYS_IN_TRAINING:
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
    """Return who is always in training, and for which species, where that costs validation."""
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
    """Return a sentence for each fate that classes share, where not every fold validates them."""
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
    """Return up to ten names, and how many more there are: ``a``, ``a and b``, ``a, b and 3 more``.

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
