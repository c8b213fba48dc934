"""Readers of labelled recordings: from CSV such as BirdCLEF's ``train.csv``, DataFrames, species folders."""

from __future__ import annotations

import ast
import json
import logging
import math
import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.audio.listing import list_audio_files
from dawnchorus.config import TableInMemory
from dawnchorus.errors import DataError
from dawnchorus.files import legible
from dawnchorus.formats.annotations import TABLE_NAME
from dawnchorus.formats.faults import Fault
from dawnchorus.formats.text_tables import clean_label, read_text_table, some
from dawnchorus.recordings.fold_arrays import read_folds
from dawnchorus.recordings.labels import NOCALL
from dawnchorus.wording import shown

_RANGES = {"rating": (0.0, 5.0), "latitude": (-90.0, 90.0), "longitude": (-180.0, 180.0)}
logger = logging.getLogger(__name__)

_NEGATIVES = frozenset({"noise", "background", "other", "silence"})
"""Folders of recordings without any species, as in BirdNET-Analyzer's training."""

_MISSING = frozenset({"", "nan", "none", "null", "na"})
_BRACKETS = {"[": "]", "(": ")", "{": "}"}


def recordings_from_folders(audio_dir: Path, known: Iterable[str] = ()) -> pd.DataFrame:
    """Return the table of a folder with a subfolder for each species; recordists are unknown.

    As for BirdNET-Analyzer, the folders ``noise``, ``background``, ``other`` and ``silence``, in any case,
    and those whose name begins with a minus hold recordings without any species, unless they are among
    ``known``, the classes where they are given.

    Raises
    ------
    DataError
        There is no audio, or audio lies outside a species folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> recordings_from_folders(Path("recordings"))[["filename", "primary_label"]].head(2)
          filename primary_label
    0  owl/XC1.wav           owl
    1  owl/XC2.wav           owl
    """
    relative = [path.relative_to(audio_dir) for path in list_audio_files(audio_dir)]
    loose = [path.name for path in relative if len(path.parts) < 2]
    if loose:
        raise DataError(
            f"{audio_dir}: {some(loose)} in no species folder; put each recording into a folder named after "
            f"its species, or add a {TABLE_NAME} with the columns filename and primary_label"
        )
    folders = [clean_label(legible(path.parts[0])) for path in relative]
    classes = set(known)
    negatives = {
        folder
        for folder in folders
        if folder not in classes and (folder.casefold() in _NEGATIVES or folder.startswith("-"))
    }
    if negatives:
        logger.warning(
            f"{audio_dir}: the recordings in {some(sorted(negatives))} are taken for ones without any "
            'species; a class of such a name has to be in the config\'s "labels"'
        )
    labels = [NOCALL if folder in negatives else folder for folder in folders]
    return with_all_columns(
        pd.DataFrame({"filename": [legible(path.as_posix()) for path in relative], "primary_label": labels})
    )


class RowsOfRoot(NamedTuple):
    """The rows of one dataset root in a table over several, and the folds of all rows.

    Attributes
    ----------
    column
        Column with the names of roots; None takes all rows.
    names
        Names of the root.
    folds_array
        ``.npy`` with the folds of all rows of the table, as :func:`.read_folds` reads it, or None.

    Examples
    --------
    >>> RowsOfRoot("data_root_id", ("train_audio",)).folds_array is None
    True
    """

    column: str | None = None
    names: tuple[str, ...] = ()
    folds_array: Path | None = None

    def of(self, table: pd.DataFrame, source: Path) -> pd.DataFrame:
        """Return the rows of the root, with a column ``fold`` where there is an array of them.

        Raises
        ------
        DataError
            The column is missing or names the root in no row, or the array is not one fold a row.
        """
        if self.folds_array is not None:
            table = table.assign(fold=read_folds(self.folds_array, len(table), source))
        if self.column is None:
            return table
        if self.column not in table:
            raise DataError(
                f"{source} has no column {self.column} of dataset roots; its columns are {some(list(table))}"
            )
        own = table[table[self.column].isin(self.names)]
        if own.empty:
            raise DataError(
                f"{source} has no row of {' or '.join(dict.fromkeys(self.names))} in its column "
                f"{self.column}, only of {some(sorted(set(table[self.column])))}; name the dataset root as "
                "the column does"
            )
        return own


ALL_ROWS = RowsOfRoot()


def read_recordings_table(
    path: Path | TableInMemory, known: Iterable[str] = (), *, rows: RowsOfRoot = ALL_ROWS
) -> tuple[pd.DataFrame, list[Fault]]:
    """Return the valid rows of a table with at least ``filename`` and ``primary_label``, and the faults.

    A column ``line`` holds the row's line in the file, or row in the DataFrame. A column ``boxes``, where the
    table has it, holds a tuple of (start_s, end_s, label), or None.

    Parameters
    ----------
    path
        A CSV file, or the copy of a DataFrame.
    known
        Labels beside the primary ones, which tell lists that are separated by spaces from names with spaces.
    rows
        The rows of one dataset root, where the table is over several.

    Raises
    ------
    DataError
        The file is missing, is not a table, lacks a column, or has no rows; or as for :class:`RowsOfRoot`.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import TableInMemory
    >>> table = pd.DataFrame({"filename": ["a.wav", ""], "primary_label": ["wren", "robin"]})
    >>> sound, faults = read_recordings_table(TableInMemory.of(table))
    >>> len(sound), str(faults[0])
    (1, 'the DataFrame, row 1: filename is empty; fill it or drop the row')
    """
    table = read_text_table(path, required=("filename", "primary_label"))
    source, unit, first = source_of(path)
    if table.empty:
        raise DataError(f"{source} lists no recordings; add a {unit} for each")
    table = rows.of(table, source)
    for column in ("primary_label", "secondary_labels", "known_labels"):
        if column in table:
            table[column] = table[column].map(clean_label)
    faults: dict[int, list[str]] = {}

    def note(row: Any, what: str) -> None:
        faults.setdefault(int(row), []).append(what)

    for column in ("filename", "primary_label"):
        for row in table.index[table[column] == ""]:
            note(row, f"{column} is empty; fill it or drop the {unit}")
    for row in table.index[table["filename"].duplicated() & (table["filename"] != "")]:
        note(row, f"{table['filename'][row]} listed more than once; keep one {unit} a recording")
    table = with_all_columns(table).assign(line=table.index + first)
    for column in ("secondary_labels", "known_labels"):
        if column in table:
            table[column] = _parsed_label_lists(table, column, known, note)
    if "boxes" in table:
        table["boxes"] = _parsed_boxes(table["boxes"], note)
    for column, (low, high) in _RANGES.items():
        if column in table:
            table[column] = _parsed_numbers(table[column], low, high, note)
    found = [
        Fault(source, row + first, str(table["filename"][row]), what, unit)
        for row in sorted(faults)
        for what in faults[row]
    ]
    return table.drop(index=list(faults)).reset_index(drop=True), found


class _Source(NamedTuple):
    """Name of a table in messages, the unit that they count in it, and the number of its first row."""

    table: Path
    unit: str = "line"
    first: int = 2


def source_of(table: Path | TableInMemory) -> _Source:
    """Return the name, unit and first row number of a table for the messages of faults.

    Examples
    --------
    >>> from pathlib import Path
    >>> source_of(Path("recordings.csv"))[0].name
    'recordings.csv'
    """
    return _Source(Path(str(table)), "row", 0) if isinstance(table, TableInMemory) else _Source(table)


def with_all_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the columns that every recordings table has; unknown values are empty.

    Examples
    --------
    >>> import pandas as pd
    >>> table = with_all_columns(pd.DataFrame({"filename": ["a.wav"], "primary_label": ["owl"]}))
    >>> table["secondary_labels"].tolist(), table["author"].tolist()
    ([()], [''])
    """
    defaults: dict[str, Any] = {"secondary_labels": [()] * len(table), "author": "", "rating": float("nan")}
    return table.assign(**{name: value for name, value in defaults.items() if name not in table})


def parse_label_list(cell: object, *, known: Container[str] = ()) -> tuple[str, ...]:
    """Return the labels in a cell such as ``a;b``, ``a b`` or ``['a', 'b']``; nothing is evaluated.

    A cell with brackets, quotes or separators ``; , |`` is split at those, so that names may hold
    spaces. A bare cell is split at white space only where that gives labels that are ``known``:
    ``Turdus merula`` is one species.

    Raises
    ------
    ValueError
        A bracket is not closed.

    Examples
    --------
    >>> parse_label_list("owl;wren"), parse_label_list("['owl', 'wren']"), parse_label_list("Turdus merula")
    (('owl', 'wren'), ('owl', 'wren'), ('Turdus merula',))
    """
    cell = cell.strip() if isinstance(cell, str) else ""
    if not cell or (cell.lower() in _MISSING and cell not in known):
        return ()
    if cell.startswith("[") != cell.endswith("]"):
        raise ValueError("a bracket is open")
    is_list = _BRACKETS.get(cell[0]) == cell[-1]
    literal = _parsed_literal(cell) if is_list else None
    if literal is not None:
        labels = literal
    elif is_list or re.search("[;,|'\"]", cell):
        bare = cell[1:-1] if is_list else cell
        labels = [part.strip(" \t'\"[]") for part in re.split("[;,|]", bare)]
    else:
        parts = cell.split()
        labels = parts if all(part in known for part in parts) else [cell]
    return tuple(dict.fromkeys(label for label in labels if label))


def _parsed_literal(cell: str) -> list[str] | None:
    """Return the names in a cell with a list of quoted names, as in Python or JSON; None for other cells."""
    if re.search(r"['\"]\s+['\"]", cell):  # as NumPy prints them; to Python, these are parts of one string
        return [single or double for single, double in re.findall(r"'([^']*)'|\"([^\"]*)\"", cell)]
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, list | tuple | set) or not all(isinstance(label, str) for label in value):
        return None
    return [label.strip() for label in value]


def _parsed_label_lists(
    table: pd.DataFrame, column: str, others: Iterable[str], note: Any
) -> list[tuple[str, ...]]:
    known = {*table["primary_label"], *others}
    lists: list[tuple[str, ...]] = []
    for row, cell, primary in zip(table.index, table[column], table["primary_label"], strict=True):
        try:
            labels = parse_label_list(cell, known=known)
        except ValueError as error:
            note(row, f"{column} is {cell!r}: {error}; write ['a', 'b'], a;b, or nothing")
            labels = ()
        of_others = column == "secondary_labels"
        lists.append(tuple(label for label in labels if label != primary or not of_others))
    return lists


def _parsed_boxes(column: pd.Series, note: Any) -> pd.Series:
    """Return the boxes of each row, None where the cell is not a list, such as their number."""
    parsed = pd.Series([None] * len(column), dtype=object, index=column.index)
    for row, cell in column.items():
        if not str(cell).startswith("["):
            continue
        try:
            boxes = tuple((float(start), float(end), str(label)) for start, end, label in json.loads(cell))
        except (TypeError, ValueError, OverflowError, RecursionError):
            note(row, f"boxes is {shown(str(cell))}; it must be a list of (start_s, end_s, label), or empty")
            continue
        parsed[row] = tuple((start, end, label.strip()) for start, end, label in boxes)
        for start, end, label in boxes:
            if not (0 <= start < end and math.isfinite(end)):
                note(
                    row,
                    f"the box {label} from {start:g} to {end:g} is no stretch of time; times are seconds "
                    "from 0, and the end comes after the start",
                )
            elif not label.strip():
                note(row, f"the box from {start:g} to {end:g} has no label; name the species")
    return parsed


def _parsed_numbers(column: pd.Series, low: float, high: float, note: Any) -> pd.Series:
    text = column.astype(object).fillna("").astype(str).str.strip()
    missing = text.str.lower().isin(_MISSING)
    numbers = pd.to_numeric(text.where(~missing), errors="coerce").astype(float)
    for row in column.index[numbers.isna() & ~missing]:
        note(row, f"{column.name} is {text[row]!r}; it must be a number such as {high / 2:g}, or empty")
    for row in column.index[(numbers < low) | (numbers > high)]:
        note(row, f"{column.name} is {text[row]}, beyond {low:g} to {high:g}; leave it empty where unknown")
    return numbers
