"""Faults in the rows of tables, reported all together and not one at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dawnchorus.errors import DataError
from dawnchorus.files import Failure, replacing

_SHOWN = 20


class Fault(NamedTuple):
    """One fault.

    Attributes
    ----------
    table
        File that it is in, or the folder where there is no table.
    line
        Line of the file, from 1, or row of a DataFrame, from 0; None where the whole table is meant.
    filename
        Recording that it is about, empty where none is named.
    what
        What is wrong, and what would be right.
    unit
        ``line`` or ``row``, whichever is counted.

    Examples
    --------
    >>> from pathlib import Path
    >>> print(Fault(Path("train.csv"), 7, "XC1.ogg", "primary_label is empty; name the species"))
    train.csv, line 7: primary_label is empty; name the species
    """

    table: Path
    line: int | None
    filename: str
    what: str
    unit: str = "line"

    def __str__(self) -> str:
        place = str(self.table) if self.line is None else f"{self.table}, {self.unit} {self.line}"
        return f"{place}: {self.what}"


class FaultyTableError(DataError):
    """Tables with faults; ``faults`` has all of them, the message the first twenty.

    Examples
    --------
    >>> from pathlib import Path
    >>> error = FaultyTableError([Fault(Path("train.csv"), 7, "XC1.ogg", "primary_label is empty")])
    >>> error.faults[0].line
    7
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        in_memory = any(fault.unit == "row" for fault in faults)
        super().__init__(f"{describe_faults(faults)}\n{_REMEDY_IN_MEMORY if in_memory else _REMEDY}")


_REMEDY = (
    'mend them, or set "faulty": "leave_out" in the config\'s data to go on without these rows; '
    "`dawnchorus recordings ... --faults FILE` writes them all to a table"
)
_REMEDY_IN_MEMORY = (
    'mend them, or give faulty="leave_out" to go on without these rows; rows count from 0, as in df.iloc, '
    "and the error's `faults` has them all"
)


def describe_faults(faults: Sequence[Fault]) -> str:
    """Return a heading with the count, and the first twenty faults, a line each.

    Examples
    --------
    >>> from pathlib import Path
    >>> print(describe_faults([Fault(Path("train.csv"), 7, "XC1.ogg", "primary_label is empty")]))
    1 fault in the recordings:
      train.csv, line 7: primary_label is empty
    """
    lines = [str(fault) for fault in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"... and {len(faults) - _SHOWN} more")
    heading = "1 fault in the recordings:" if len(faults) == 1 else f"{len(faults)} faults in the recordings:"
    return "\n  ".join([heading, *lines])


def failures_of(faults: Iterable[Fault]) -> list[Failure]:
    """Return the faults as recordings that were left out.

    Examples
    --------
    >>> from pathlib import Path
    >>> failures_of([Fault(Path("train.csv"), 7, "XC1.ogg", "primary_label is empty")])[0].reason
    'train.csv, line 7: primary_label is empty'
    """
    return [Failure(Path(fault.filename or fault.table.name), str(fault)) for fault in faults]


def faults_of(failures: Iterable[Failure]) -> list[Fault]:
    """Return recordings that cannot be read as faults.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.files import Failure
    >>> faults_of([Failure(Path("XC1.ogg"), "truncated")])[0].filename
    'XC1.ogg'
    """
    return [Fault(failure.path, None, failure.path.as_posix(), failure.reason) for failure in failures]


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """Write all faults as a CSV table: table, line, filename, what.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_faults(Path("faults.csv"), [Fault(Path("train.csv"), 7, "XC1.ogg", "primary_label is empty")])
    >>> print(Path("faults.csv").read_text())
    table,line,filename,what
    train.csv,7,XC1.ogg,primary_label is empty
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("table", "line", "filename", "what"))
        writer.writerows(
            (fault.table, "" if fault.line is None else fault.line, fault.filename, fault.what)
            for fault in faults
        )
