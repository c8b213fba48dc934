"""A DataFrame in a config, in place of the path of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TableInMemory:
    """A DataFrame as the text of a CSV file, so that both are read and checked in one way.

    It is a copy: later changes of the DataFrame have no effect.

    Attributes
    ----------
    csv
        The rows, with commas; lists of secondary labels and boxes are written as lists.
    n_rows
        Number of rows.

    Examples
    --------
    >>> import pandas as pd
    >>> table = TableInMemory.of(pd.DataFrame({"filename": ["a.wav"], "primary_label": ["wren"]}))
    >>> print(table.csv)
    filename,primary_label
    a.wav,wren
    """

    csv: str = field(repr=False)
    n_rows: int

    @classmethod
    def of(cls, table: Any) -> TableInMemory:
        """Return the copy of a ``pandas.DataFrame``.

        Parameters
        ----------
        table
            Columns ``filename`` and ``primary_label``; ``filename`` may be its index.

        Raises
        ------
        ValueError
            It has no columns.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"filename": ["a.wav"], "primary_label": ["wren"]})
        >>> TableInMemory.of(table)
        TableInMemory(n_rows=1)
        """
        if table.index.name == "filename" and "filename" not in table:
            table = table.reset_index()
        if not len(table.columns):
            raise ValueError("the DataFrame has no columns; it needs filename and primary_label")
        written = {name: table[name].map(write) for name, write in _WRITTEN.items() if name in table}
        return cls(table.assign(**written).to_csv(index=False, lineterminator="\n"), len(table))

    def __str__(self) -> str:
        return "the DataFrame"


def is_dataframe(value: Any) -> bool:
    """Return whether a value is a pandas DataFrame, without importing pandas.

    Examples
    --------
    >>> import pandas as pd
    >>> is_dataframe(pd.DataFrame()), is_dataframe("recordings.csv")
    (True, False)
    """
    return hasattr(value, "to_csv") and hasattr(value, "columns")


def _as_names(cell: Any) -> Any:
    return repr([str(label) for label in cell]) if _is_list(cell) else cell


def _as_boxes(cell: Any) -> Any:
    """Return boxes as JSON; other values stay as they are, and the reader reports them."""
    if not _is_list(cell):
        return cell
    return json.dumps([_as_box(box) for box in cell], ensure_ascii=False)


def _as_box(box: Any) -> Any:
    try:
        start_s, end_s, label = box
        return [float(start_s), float(end_s), str(label)]
    except (TypeError, ValueError):
        return str(box)


def _is_list(cell: Any) -> bool:
    return isinstance(cell, Iterable) and not isinstance(cell, str | bytes | Mapping)


def _absolute(cell: Any) -> Any:
    return str(Path(cell).absolute()) if isinstance(cell, str | Path) and str(cell) else cell


_WRITTEN = {
    "secondary_labels": _as_names,
    "known_labels": _as_names,
    "boxes": _as_boxes,
    "audio_path": _absolute,
    "stored_path": _absolute,
}
"""Columns whose cells are not written as pandas would."""
