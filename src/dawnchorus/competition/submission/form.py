"""The form of a submission: the rows and classes of ``sample_submission.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.errors import DataError
from dawnchorus.pseudo_labels.pseudo_label_table import ROW_ID, end_text
from dawnchorus.wording import in_line, shown

ROW_S = 5.0
"""Seconds of a row: a submission to BirdCLEF has a row for each 5 s of a soundscape."""

_SHORTEST_LAST_ROW_S = 0.5
"""A remainder above this at the end of a soundscape makes a row of its own: 60.01 s have 12 rows."""


class Row(NamedTuple):
    """A row of a submission: its soundscape, by file name without suffix, and where it ends, in seconds.

    Examples
    --------
    >>> Row("H02_20230420_074000", 5.0).row_id
    'H02_20230420_074000_5'
    """

    soundscape: str
    end_s: float

    @property
    def row_id(self) -> str:
        """Name of the row, such as ``H02_20230420_074000_5``."""
        return f"{self.soundscape}_{end_text(self.end_s)}"


@dataclass(frozen=True)
class SubmissionForm:
    """The classes of a submission in their order, and its rows as far as a sample names them.

    Attributes
    ----------
    labels
        The columns after ``row_id``.
    row_ids
        The sample's rows in their order; empty without a sample.
    values
        The sample's values, shape (n_rows, n_classes), float32.

    Examples
    --------
    >>> SubmissionForm(labels=("owl", "wren"), row_ids=("night_5", "night_10")).labels
    ('owl', 'wren')
    """

    labels: tuple[str, ...]
    row_ids: tuple[str, ...] = ()
    values: npt.NDArray[np.float32] | None = None

    @property
    def table(self) -> pd.DataFrame:
        """The sample: rows by ``row_id``, a column a class; 0 where it has no values."""
        values = 0.0 if self.values is None else self.values.astype(np.float64)
        return pd.DataFrame(values, index=list(self.row_ids), columns=list(self.labels))


def read_sample_submission(path: Path) -> SubmissionForm:
    """Return the form of a ``sample_submission.csv``.

    Raises
    ------
    DataError
        The file is missing, has no ``row_id`` or no class, names a row or a class twice, or has a row whose
        name does not end with a second.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("sample_submission.csv").write_text("row_id,owl,wren\\nnight_5,0.5,0.5\\n")
    >>> form = read_sample_submission(Path("sample_submission.csv"))
    >>> form.labels, form.row_ids
    (('owl', 'wren'), ('night_5',))
    """
    table = read_submission(path)
    row_ids = tuple(table.index)
    name_of: dict[Row, str] = {}
    for row_id in row_ids:
        same = name_of.setdefault(parse_row_id(row_id, where=str(path)), row_id)
        if same != row_id:
            raise DataError(f"{path}: {same} and {row_id} are the same row; once is needed")
    return SubmissionForm(tuple(table.columns), row_ids, table.to_numpy(np.float32))


def read_submission(path: Path) -> pd.DataFrame:
    """Return a submission: rows by ``row_id``, a column a class, float64.

    Raises
    ------
    DataError
        The file is missing or not a CSV table, has no ``row_id`` or no class, names a row or a class twice,
        or holds a value that is not a finite number.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("submission.csv").write_text("row_id,owl,wren\\nnight_5,0.9,0.1\\n")
    >>> read_submission(Path("submission.csv")).loc["night_5", "owl"].item()
    0.9
    """
    try:
        # Read without a header, because pandas would rename a duplicate class.
        cells = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: is no CSV table; {str(error).strip()}") from None
    header = cells.iloc[0].tolist()
    if header[0] != ROW_ID or len(header) < 2:
        raise DataError(
            f"{path}: its first line begins with {shown(header[0])}; a submission has {ROW_ID} and a column "
            "a class"
        )
    _check_once(header[1:], f"{path}: the class")
    row_ids = cells.iloc[1:, 0].tolist()
    _check_once(row_ids, f"{path}: the row")
    values = cells.iloc[1:, 1:].apply(pd.to_numeric, errors="coerce")
    wrong = np.argwhere(~np.isfinite(values.to_numpy(np.float64)))
    if len(wrong):
        row, column = wrong[0]
        cell = cells.iloc[row + 1, column + 1]
        where = f"{path}: {in_line(row_ids[row])}, {in_line(header[column + 1])}"
        raise DataError(f"{where}: {shown(cell)} is no number; give a probability")
    return pd.DataFrame(values.to_numpy(np.float64), index=row_ids, columns=header[1:])


def _check_once(names: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{what} {name} is there twice; once is needed")
        seen.add(name)


def parse_row_id(row_id: str, *, where: str) -> Row:
    """Return the soundscape and the end of a row.

    Raises
    ------
    DataError
        The name does not end with ``_`` and a multiple of 5 seconds.

    Examples
    --------
    >>> parse_row_id("H02_20230420_074000_5", where="sample_submission.csv")
    Row(soundscape='H02_20230420_074000', end_s=5.0)
    """
    soundscape, _, end = row_id.rpartition("_")
    try:
        end_s = float(end)
    except ValueError:
        end_s = 0.0
    if not soundscape or end_s <= 0 or end_s % ROW_S:
        raise DataError(
            f"{where}: the row {row_id!r} does not end with a multiple of {ROW_S:g} s; a row is named "
            "SOUNDSCAPE_SECOND, such as H02_20230420_074000_5"
        )
    return Row(soundscape, end_s)


def rows_of(soundscape: str, duration_s: float) -> list[Row]:
    """Return the rows of a soundscape of a length in seconds: at least one, the last one may be cut short.

    Examples
    --------
    >>> [row.row_id for row in rows_of("night", 12.0)]
    ['night_5', 'night_10', 'night_15']
    """
    n_rows = max(1, int(np.ceil((duration_s - _SHORTEST_LAST_ROW_S) / ROW_S)))
    return [Row(soundscape, ROW_S * (number + 1)) for number in range(n_rows)]
