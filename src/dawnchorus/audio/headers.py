"""The headers of many recordings: each version of a file is read once, and kept between runs.

They are kept in one small CSV file a folder of recordings, in the user's cache folder (``DAWNCHORUS_CACHE``
names another). Where it is lost, the headers are read again.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import platformdirs
from joblib import Parallel, delayed

from dawnchorus.audio.container import AudioInfo, FileIdentity, known_info, read_info, remember_info
from dawnchorus.errors import AudioError
from dawnchorus.files import replacing
from dawnchorus.files.storage import as_path
from dawnchorus.progress import track

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "DAWNCHORUS_CACHE"
_COLUMNS = ("path", "size", "mtime_ns", "sample_rate", "n_frames", "n_channels", "crc32")
_THREADS = 8  # reading a header waits for the disk more than it computes


def cache_dir() -> Path:
    """Return the folder of files that are kept between runs and can be made again.

    Examples
    --------
    >>> import os
    >>> os.environ["DAWNCHORUS_CACHE"] = "cache"
    >>> cache_dir().as_posix()
    'cache'
    """
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("dawnchorus", appauthor=False)


def read_headers(folder: Path, names: Sequence[str]) -> list[AudioInfo | AudioError]:
    """Return the info of each recording's header, or the error that reading it raised.

    Parameters
    ----------
    folder
        Folder of recordings.
    names
        Their paths, relative to it.

    Examples
    --------
    >>> from pathlib import Path
    >>> wren, owl = read_headers(Path("recordings"), ["wren/XC5.wav", "owl/XC1.wav"])
    >>> wren.duration_s, wren.sample_rate
    (1.0, 32000)
    """
    folder = as_path(folder)
    kept = _read_kept(_kept_file(folder), folder)
    for identity, info in kept.items():
        remember_info(identity, info)
    found = {folder / name: _known_header(folder / name) for name in names}
    unknown = [path for path, header in found.items() if header is None]
    if unknown:
        read = Parallel(n_jobs=_THREADS, prefer="threads", return_as="generator")(
            delayed(_read_header)(path) for path in unknown
        )
        for path, header in zip(unknown, track(read, "Reading headers", total=len(unknown)), strict=True):
            found[path] = header
        _write_kept(_kept_file(folder), folder, kept, [path for path in unknown if path.exists()])
    return [header for path in (folder / name for name in names) if (header := found[path]) is not None]


def _known_header(path: Path) -> AudioInfo | AudioError | None:
    try:
        return known_info(path)[1]
    except AudioError as error:
        return error


def _read_header(path: Path) -> AudioInfo | AudioError:
    try:
        return read_info(path)
    except AudioError as error:
        return error


def _kept_file(folder: Path) -> Path:
    name = hashlib.sha256(os.fsencode(as_path(folder).absolute())).hexdigest()[:24]
    return cache_dir() / "headers" / f"{name}.csv"


def _read_kept(file: Path, folder: Path) -> dict[FileIdentity, AudioInfo]:
    """Return the kept info of versions of files, empty where the file is missing or damaged."""
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as opened:
            header, *rows = csv.reader(opened)
        return dict(_parse_row(row, folder) for row in rows) if tuple(header) == _COLUMNS else {}
    except (OSError, ValueError, csv.Error):
        return {}


def _parse_row(row: list[str], folder: Path) -> tuple[FileIdentity, AudioInfo]:
    name, *numbers, checksum = row
    if checksum != _checksum(row[:-1]):
        raise ValueError("the row is damaged")
    size, mtime_ns, sample_rate, n_frames, n_channels = map(int, numbers)
    return (folder / name, size, mtime_ns), AudioInfo(sample_rate, n_frames, n_channels)


def _checksum(cells: Iterable[object]) -> str:
    return f"{zlib.crc32(','.join(map(str, cells)).encode(errors='surrogateescape')):08x}"


def _name_in(folder: Path, path: Path) -> str:
    """Return a path relative to the folder, or whole where it lies elsewhere."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _write_kept(
    file: Path, folder: Path, earlier: dict[FileIdentity, AudioInfo], new_paths: Iterable[Path]
) -> None:
    """Write one version of each file; where that fails, the next run reads the headers again."""
    kept = {identity[0]: (identity, info) for identity, info in earlier.items()}
    for path in new_paths:
        if isinstance(info := _known_header(path), AudioInfo):
            kept[path] = (known_info(path)[0], info)
    facts = [
        (_name_in(folder, path), *identity[1:], *info) for path, (identity, info) in sorted(kept.items())
    ]
    rows = [(*row, _checksum(row)) for row in facts]
    try:
        with (
            replacing(file, sync=False) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as opened,
        ):
            csv.writer(opened).writerows([_COLUMNS, *rows])
    except OSError as error:
        logger.debug("%s cannot be written: %s", file, error)
