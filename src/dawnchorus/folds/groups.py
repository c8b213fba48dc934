"""Groups of recordings that no fold may split: of one recordist, at one site, from one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dawnchorus.errors import DataError
from dawnchorus.formats.text_tables import identity_of
from dawnchorus.wording import counted


@dataclass(frozen=True)
class GroupedRecordings:
    """The groups and classes of recordings, and the number of recordings of a class in a group.

    Attributes
    ----------
    columns
        The columns that link recordings.
    groups
        Group of every recording, shape (n_recordings,), int64, from 0.
    classes
        Class of every recording, shape (n_recordings,), int64, an index of ``names``.
    names
        Primary labels and labels of boxes in alphabetical order, shape (n_classes,).
    counts
        Number of recordings in each group that have a class, shape (n_groups, n_classes), int64.
    n_unknown
        Recordings whose value is unknown in all of the columns.

    Examples
    --------
    >>> import pandas as pd
    >>> recordings = pd.DataFrame({"filename": list("abc"), "primary_label": ["owl", "owl", "wren"]})
    >>> recordings["author"] = ["Ada", "Bea", "Bea"]
    >>> grouped = group_recordings(recordings, ("author",))
    >>> grouped.n_groups, grouped.sizes, grouped.noun
    (2, array([1, 2]), 'recordist')
    """

    columns: tuple[str, ...]
    groups: np.ndarray
    classes: np.ndarray
    names: np.ndarray
    counts: np.ndarray
    n_unknown: int

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.counts)

    @property
    def sizes(self) -> np.ndarray:
        """Number of recordings in each group, shape (n_groups,)."""
        return np.bincount(self.groups, minlength=self.n_groups)

    @property
    def groups_of_class(self) -> np.ndarray:
        """Number of groups that hold a class, shape (n_classes,)."""
        return (self.counts > 0).sum(axis=0)

    @property
    def noun(self) -> str:
        """Word for a group in messages: recordist, recording or group."""
        if self.n_groups == len(self.groups):
            return "recording"
        return "recordist" if self.columns == ("author",) else "group"

    def __repr__(self) -> str:
        recordings, groups = counted(len(self.groups), "recording"), counted(self.n_groups, "group")
        return f"GroupedRecordings({recordings} in {groups}, by {' and '.join(self.columns)})"


def group_columns(recordings: pd.DataFrame, chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns that link recordings: the chosen, or ``author`` and, where it is there, ``site``.

    Raises
    ------
    DataError
        One of them is missing: without it linked recordings could lie on both sides of a fold.

    Examples
    --------
    >>> import pandas as pd
    >>> group_columns(pd.DataFrame(columns=["filename", "author", "site"]), None)
    ('author', 'site')
    """
    if chosen is None:
        chosen = ("author", "site") if "site" in recordings else ("author",)
    missing = [column for column in chosen if column not in recordings]
    if missing:
        raise DataError(
            f"the recordings table has no column {', '.join(missing)} to keep together in a fold; "
            f"its columns are {', '.join(map(str, recordings.columns))}"
        )
    return tuple(dict.fromkeys(chosen))


def group_of(recordings: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return the group of every recording, shape (n_recordings,), int64.

    Recordings that share a value in any column are in one group, and so are all that are linked
    through others. Case and spaces tell no values apart, and an unknown value (empty, ``unknown``,
    ``anonymous``, ``nan``, ``-``) links nothing. Groups are numbered by their first filename, so that the
    order of the rows changes nothing.

    Examples
    --------
    >>> import pandas as pd
    >>> recordings = pd.DataFrame({"filename": list("abcd"), "author": ["Ada", "Bea", "ADA ", "unknown"]})
    >>> group_of(recordings, ["author"])
    array([0, 1, 0, 2])
    """
    n_recordings = n_nodes = len(recordings)
    linked, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for column in columns:
        values_here = _identities(recordings[column])
        known = np.flatnonzero(values_here != "")
        codes, different = pd.factorize(values_here[known])
        linked.append(known)
        values.append(n_nodes + codes)
        n_nodes += len(different)
    ends = np.concatenate(linked), np.concatenate(values)
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(n_nodes, n_nodes))
    component = connected_components(graph, directed=False)[1][:n_recordings]
    by_name = np.argsort(recordings["filename"].to_numpy(dtype=object), kind="stable")
    groups = np.empty(n_recordings, dtype=np.int64)
    groups[by_name] = pd.factorize(component[by_name])[0]
    return groups


def group_recordings(recordings: pd.DataFrame, columns: tuple[str, ...]) -> GroupedRecordings:
    """Return the recordings in the groups that the columns make.

    Examples
    --------
    >>> import pandas as pd
    >>> recordings = pd.DataFrame({"filename": list("abc"), "primary_label": ["owl", "owl", "wren"]})
    >>> recordings["author"] = ["Ada", "Bea", "Bea"]
    >>> group_recordings(recordings, ("author",)).counts  # a row a recordist, a column a species
    array([[1, 0],
           [1, 1]])
    """
    groups = group_of(recordings, columns)
    heard = learnt_labels(recordings)
    names = np.array(sorted(set().union(*heard)), dtype=object)
    class_of = {name: number for number, name in enumerate(names)}
    classes = np.array([class_of[label] for label in recordings["primary_label"]], dtype=np.int64)
    counts = np.zeros((groups.max() + 1, len(names)), dtype=np.int64)
    for group, labels in zip(groups, heard, strict=True):
        for label in labels:
            counts[group, class_of[label]] += 1
    unknown = np.all([_identities(recordings[column]) == "" for column in columns], axis=0)
    return GroupedRecordings(columns, groups, classes, names, counts, int(unknown.sum()))


def learnt_labels(recordings: pd.DataFrame) -> list[set[str]]:
    """Return the labels that each recording is a training example of: the primary one and its boxes'.

    Examples
    --------
    >>> import pandas as pd
    >>> learnt_labels(pd.DataFrame({"primary_label": ["owl", "wren"]}))
    [{'owl'}, {'wren'}]
    """
    boxes = recordings["boxes"] if "boxes" in recordings else [None] * len(recordings)
    return [
        {primary, *(label for _, _, label in found or ())}
        for primary, found in zip(recordings["primary_label"], boxes, strict=True)
    ]


def check_no_leak(folds: np.ndarray, groups: np.ndarray, *, columns: Sequence[str] = ("author",)) -> None:
    """Raise a DataError where a group lies in two folds, of which -1, always in training, may be one.

    Examples
    --------
    >>> import numpy as np
    >>> check_no_leak(np.array([0, 0, 1]), groups=np.array([0, 0, 1]))
    """
    pairs = pd.DataFrame({"group": groups, "fold": folds}).drop_duplicates()
    crossing = pairs["group"][pairs["group"].duplicated()].unique()
    if len(crossing):
        first = np.unique(folds[groups == crossing[0]])
        raise DataError(
            f"{len(crossing)} group{'s' * (len(crossing) > 1)} by {' and '.join(columns)} would lie on both "
            f"sides of a fold (one is in the folds {', '.join(map(str, first))}); correct the fold column, "
            "or set group_column to the column that the folds were made by"
        )


def _identities(column: pd.Series) -> np.ndarray:
    """Return the values by which a column links recordings, shape (n_rows,), empty where one is unknown."""
    text = as_text(column)
    codes, different = pd.factorize(text)
    return np.array([identity_of(value) for value in different], dtype=object)[codes]


def as_text(column: pd.Series) -> np.ndarray:
    """Return the trimmed text of a column, shape (n_rows,), empty where a value is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> as_text(pd.Series([" Ada ", None, "Bea"]))
    array(['Ada', '', 'Bea'], dtype=object)
    """
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    return text.to_numpy(dtype=object)
