"""Parts of pages: tables whose cells sort by their values, and pictures for light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from dawnchorus.report.run_curves import DARK, LIGHT, png_of

_DASH = "—"


class Column(NamedTuple):
    """A column of a table: its heading, and the format of its numbers.

    Examples
    --------
    >>> Column("ROC-AUC", show="{:.3f}".format).is_number, Column("species").is_number
    (True, False)
    """

    heading: str
    show: Callable[[Any], str] | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is aligned right, and sorted by value."""
        return self.show is not None


class Cell(NamedTuple):
    """The text of a cell, and the value that it is sorted by; an empty one comes last.

    Examples
    --------
    >>> Cell("0.913", value="0.9127").text
    '0.913'
    """

    text: str
    value: str


class ShownTable(NamedTuple):
    """A table as the page has it.

    Examples
    --------
    >>> ShownTable([Column("species")], [[Cell("owl", "owl")]]).rows[0][0].text
    'owl'
    """

    columns: list[Column]
    rows: list[list[Cell]]


class Picture(NamedTuple):
    """A PNG for light and one for dark pages, and a description in words.

    Examples
    --------
    >>> Picture(b"...", b"...", "Loss over the epochs").description
    'Loss over the epochs'
    """

    light: bytes
    dark: bytes
    description: str


def shown_table(table: pd.DataFrame, columns: Mapping[str, Column]) -> ShownTable:
    """Return some columns of a table as a page shows them; a number that is missing is a dash.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"label": ["owl"], "score": [0.9127]})
    >>> columns = {"label": Column("class"), "score": Column("score", "{:.2f}".format)}
    >>> shown_table(table, columns).rows[0][1].text
    '0.91'
    """
    rows = [
        [_cell(value, column) for value, column in zip(row, columns.values(), strict=True)]
        for row in table[list(columns)].itertuples(index=False, name=None)
    ]
    return ShownTable(list(columns.values()), rows)


def _cell(value: Any, column: Column) -> Cell:
    if column.show is None:
        return Cell(str(value), str(value))
    return Cell(_DASH, "") if math.isnan(value) else Cell(column.show(value), str(value))


def picture_of(figure: Figure, description: str) -> Picture:
    """Return a figure as a page shows it, with its finding in words.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> picture_of(Figure(figsize=(1, 1)), "nothing").light[1:4]
    b'PNG'
    """
    return Picture(png_of(figure, LIGHT), png_of(figure, DARK), description)
