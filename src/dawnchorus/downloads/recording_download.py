"""Download of the recordings that a search returned, and the table of all that are there."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dawnchorus.downloads.disk_space import DiskFullError, check_free_disk
from dawnchorus.downloads.http_service import Service
from dawnchorus.downloads.recording_catalogue import CatalogueRecording, read_table, row_of, write_table
from dawnchorus.downloads.retries import ServiceDownError
from dawnchorus.downloads.transfer import fetch_file
from dawnchorus.errors import DownloadError
from dawnchorus.files import Failure, inside, locked, size_of, write_failures
from dawnchorus.progress import track

LOCK_NAME = ".download.lock"
ANSWERS_NAME = ".answers"
"""Folder of the answers to searches, which is removed when all is done."""

_TABLE_EVERY_S = 60.0
_GIVE_UP_AFTER = 5  # recordings in a row for which the service is down


@dataclass
class FetchReport:
    """Outcome of a download.

    Attributes
    ----------
    fetched, there, failed
        Counts by species: new ones, those that were there before, and those that could not be fetched.
    failures
        The reasons.
    n_bytes
        Size of the new ones.

    Examples
    --------
    >>> report = FetchReport()
    >>> report.fetched["Turdus merula"] += 1
    >>> report.species, report.failures
    (['Turdus merula'], [])
    """

    fetched: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    n_bytes: int = 0

    @property
    def species(self) -> list[str]:
        """Names of all species, sorted."""
        return sorted({*self.fetched, *self.there, *self.failed})


def default_table(folder: Path) -> Path:
    """Return the table beside a folder: data/xeno_canto.csv of data/xeno_canto.

    Examples
    --------
    >>> from pathlib import Path
    >>> default_table(Path("data/xeno_canto")).as_posix()
    'data/xeno_canto.csv'
    """
    return folder.with_name(f"{folder.name}.csv")


def fetch_recordings(
    service: Service, wanted: Sequence[CatalogueRecording], folder: Path, table: Path, *, leave_gb: float
) -> FetchReport:
    """Fetch the recordings that are not there, and write the table of all that are there afterwards.

    Recordings of earlier calls stay, whether they are wanted now or not. Repeating an interrupted call gives
    the result of an uninterrupted one.

    Parameters
    ----------
    service
        Where they come from.
    wanted
        In the order in which they are fetched.
    folder
        Where they go; those that cannot be fetched are listed in its ``failures.csv``.
    table
        CSV file, rewritten as recordings come.
    leave_gb
        How much of the disk stays free, GB.

    Raises
    ------
    DownloadError
        Another process is at work in the folder, the disk is full, or the service is down.
    DataError
        The file at ``table`` is not such a table.
    UnsafePathError
        A line of the table names a file outside the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.downloads.rate_limit import RateLimit
    >>> from dawnchorus.downloads.http_service import connected
    >>> with connected("xeno-canto", RateLimit()) as service:
    ...     report = fetch_recordings(service, [], Path("audio"), Path("audio.csv"), leave_gb=0.0)
    >>> report.n_bytes, Path("audio.csv").is_file()
    (0, True)
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK_NAME) as is_ours:
        if not is_ours:
            raise DownloadError(
                f"{folder}: another download is at work here; wait for it, or choose another --out"
            )
        rows = {
            name: row
            for name, row in read_table(table).items()
            if row["filename"] and size_of(inside(folder, row["filename"], named_in=table))
        }
        report = FetchReport()
        try:
            _fetch_all(service, wanted, folder, table, rows, report, leave_gb)
        finally:
            write_table(table, rows)
            write_failures(folder, report.failures)
        shutil.rmtree(folder / ANSWERS_NAME, ignore_errors=True)
    return report


def _fetch_all(
    service: Service,
    wanted: Sequence[CatalogueRecording],
    folder: Path,
    table: Path,
    rows: dict[str, dict[str, str]],
    report: FetchReport,
    leave_gb: float,
) -> None:
    n_gone, written_s = 0, time.monotonic()
    for recording in track(wanted, "Fetching recordings"):
        earlier = rows.get(recording.id, {})
        filename = earlier.get("filename") or recording.filename
        path, species = folder / filename, recording.scientific_name
        # A file gets this name only when it is whole; but one that was listed may have been damaged since.
        if size_of(path) and earlier.get("size_bytes", str(size_of(path))) == str(size_of(path)):
            report.there[species] += 1
        else:
            try:
                check_free_disk(folder, leave_gb)
                report.n_bytes += fetch_file(service, recording.file_url, path, leave_gb=leave_gb)
                report.fetched[species] += 1
                n_gone = 0
            except DiskFullError:
                raise
            except DownloadError as error:
                report.failed[species] += 1
                report.failures.append(Failure(Path(filename), str(error)))
                n_gone = n_gone + 1 if isinstance(error, ServiceDownError) else 0
                if n_gone == _GIVE_UP_AFTER:
                    raise DownloadError(
                        f"{service.name} could not send {n_gone} recordings in a row, the last because "
                        f"{error}; what came so far is kept"
                    ) from None
                continue
        rows[recording.id] = {**earlier, **row_of(recording, filename, size_of(path))}
        if time.monotonic() - written_s > _TABLE_EVERY_S:
            write_table(table, rows)
            written_s = time.monotonic()
