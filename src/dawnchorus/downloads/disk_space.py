"""Checks of free disk space before files are written."""

from __future__ import annotations

import shutil
from pathlib import Path

from dawnchorus.errors import DownloadError

_GB = 1e9


class DiskFullError(DownloadError):
    """Less of the disk is free than must stay free.

    Examples
    --------
    >>> from pathlib import Path
    >>> try:
    ...     check_free_disk(Path(), leave_gb=1e9)
    ... except DiskFullError as error:
    ...     print("make room" in str(error))
    True
    """


def size_text(n_bytes: float) -> str:
    """Return a size as text: ``12.30 GB``, or ``4.56 MB`` where it is small.

    Examples
    --------
    >>> size_text(12.3e9), size_text(4.56e6)
    ('12.30 GB', '4.56 MB')
    """
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.2f} MB"


def require_room(folder: Path, n_bytes: int, what: str) -> None:
    """Raise where ``folder``'s disk has less than ``n_bytes`` free.

    Parameters
    ----------
    folder
        An existing folder.
    n_bytes
        Bytes to be written there.
    what
        Beginning of the sentence: what needs the space, and how it was estimated.

    Raises
    ------
    DownloadError
        There is less; the message has the bytes needed, those free, and the remedy.

    Examples
    --------
    >>> from pathlib import Path
    >>> require_room(Path(), 1000, "a table")
    """
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise DownloadError(
            f"{what}: {size_text(n_bytes)} are needed in {folder}, and {size_text(free)} are free; "
            "make room, choose fewer parts with --only, or another --out"
        )


def check_free_disk(folder: Path, leave_gb: float, *, n_bytes: int = 0) -> None:
    """Check that ``n_bytes`` fit, and ``leave_gb`` stay free.

    Raises
    ------
    DiskFullError
        They do not.

    Examples
    --------
    >>> from pathlib import Path
    >>> check_free_disk(Path(), leave_gb=0.0)
    """
    free = shutil.disk_usage(folder).free
    if free - n_bytes < leave_gb * _GB:
        raise DiskFullError(
            f"{folder}: {free / _GB:.2f} GB are free, and {leave_gb:g} GB are to stay free; make room or "
            "give a smaller --leave-gb, and the same command goes on"
        )
