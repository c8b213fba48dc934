"""Writing files so that a reader sees the whole of one or none of it, and listing what failed."""

from __future__ import annotations

import csv
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

FAILURES_NAME = "failures.csv"


class Failure(NamedTuple):
    """A recording that had to be left out: its path, and one sentence why."""

    path: Path
    reason: str


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes the place of ``path`` when the block ends well.

    When the block fails, the temporary file or folder is removed and ``path`` stays as it was.
    The temporary name keeps the suffix, by which many writers choose their format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex[:8]}.tmp{path.suffix}"
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file, or leave what was there."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write ``failures.csv`` (path, reason) into ``folder``, or remove an old one where nothing failed."""
    path = folder / FAILURES_NAME
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


def read_failures(folder: Path) -> list[Failure]:
    """Return what ``failures.csv`` in ``folder`` lists; nothing where there is none."""
    path = folder / FAILURES_NAME
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [Failure(Path(row["path"]), row["reason"]) for row in csv.DictReader(file)]
