"""Lists of recordings that were left out, with the reasons."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dawnchorus.files.replacement import replacing
from dawnchorus.files.storage import stored_path

FAILURES_NAME = "failures.csv"
NOTES_NAME = "notes.csv"
"""Recordings that were read, and what is odd about their sound; the columns are those of failures."""


class Failure(NamedTuple):
    """A recording that was left out: its path, and the reason in one sentence.

    Examples
    --------
    >>> from pathlib import Path
    >>> failure = Failure(Path("owl/XC5.wav"), "truncated; 44 of 64000 bytes of sound are there")
    >>> failure.path.name, failure.reason[:9]
    ('XC5.wav', 'truncated')
    """

    path: Path
    reason: str


def write_failures(folder: Path, failures: Sequence[Failure], *, name: str = FAILURES_NAME) -> None:
    """Write ``failures.csv`` (path, reason) into ``folder``, or remove an old one where nothing failed.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_failures(Path("tables"), [Failure(Path("owl/XC5.wav"), "truncated")])
    >>> print(Path("tables/failures.csv").read_text())
    path,reason
    owl/XC5.wav,truncated
    """
    path = folder / name
    if not failures:
        path.unlink(missing_ok=True)
        return
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(Failure._fields)
        writer.writerows(failures)


def read_failures(folder: Path, *, name: str = FAILURES_NAME) -> list[Failure]:
    """Return the failures that ``failures.csv`` in ``folder`` lists; none where there is no such file.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_failures(Path("tables"), [Failure(Path("owl/XC5.wav"), "truncated")])
    >>> read_failures(Path("tables"))[0].reason
    'truncated'
    """
    path = folder / name
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != Failure._fields:
            return []  # a file of that name that dawnchorus did not write
        return [Failure(stored_path(row["path"]), row["reason"]) for row in rows]
