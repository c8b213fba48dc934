"""Resumable download of one file, which takes its name when it is whole."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dawnchorus.downloads import http_service
from dawnchorus.downloads.disk_space import check_free_disk
from dawnchorus.downloads.http_service import Service, ServiceDownError, describe_broken
from dawnchorus.errors import DownloadError

if TYPE_CHECKING:
    from requests import Response

PART_SUFFIX = ".part"
"""Suffix of a file until it is whole."""

_VERSION_SUFFIX = ".version"
_TRIES = 5
_BLOCK = 1 << 13  # bytes; a broken connection loses up to so many
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_SOUND = re.compile(r"audio/|video/|application/(?:ogg|octet-stream|mp4)|binary/octet-stream")


class _BrokenError(Exception):
    """A transfer that ended early; its message has the reason."""


def fetch_file(service: Service, url: str, path: Path, *, leave_gb: float = 0.0) -> int:
    """Fetch a sound file and return its size, bytes.

    Until it is whole it is named ``{path}.part``; its bytes are not fetched again, where the service can send
    the rest alone.

    Parameters
    ----------
    service
        The service to fetch it from.
    url
        Its address.
    path
        Where it goes; its folder is made if missing.
    leave_gb
        How much of the disk has to stay free, GB.

    Raises
    ------
    ServiceDownError
        The service cannot be reached, is busy for too long, or breaks off every time.
    DiskFullError
        The file does not fit.
    DownloadError
        The answer is not sound, or is empty.

    Examples
    --------
    >>> import io
    >>> from contextlib import contextmanager
    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> from dawnchorus.downloads.rate_limit import RateLimit
    >>> @contextmanager
    ... def recording(url, headers):  # in place of a connection
    ...     raw = io.BytesIO(b"RIFF")
    ...     yield SimpleNamespace(status_code=200, headers={}, raw=raw, iter_content=lambda n: [raw.read(n)])
    >>> service = SimpleNamespace(recording=recording, rate_limit=RateLimit())
    >>> fetch_file(service, "https://example.org/1.wav", Path("owl/1.wav"))
    4
    """
    part = path.with_name(path.name + PART_SUFFIX)
    path.parent.mkdir(parents=True, exist_ok=True)
    broken = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(min(http_service.LONGEST_WAIT_S, http_service.FIRST_WAIT_S * 2 ** (attempt - 1)))
        try:
            _receive(service, url, part, leave_gb)
        except _BrokenError as error:
            broken = str(error)
        else:
            part.with_name(part.name + _VERSION_SUFFIX).unlink(missing_ok=True)
            part.replace(path)
            return _size(path)
    raise ServiceDownError(f"{url}: {broken}, {_TRIES} times; the same command tries again")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(service: Service, url: str, part: Path, leave_gb: float) -> None:
    """Append to a partial file up to its end, or until the connection breaks."""
    there = _size(part)
    headers = {"Accept-Encoding": "identity"}  # else the length would be that of the compressed file
    version = part.with_name(part.name + _VERSION_SUFFIX)
    if there:
        headers["Range"] = f"bytes={there}-"
        if version.is_file():  # if the version has changed, all is sent
            headers["If-Range"] = version.read_text(encoding="utf-8")
    with service.recording(url, headers) as response:
        if response.status_code == 416 and there:
            if _content_range(response)[1] == there:
                return  # it was whole already, and only had to be renamed
            part.unlink()
            raise _BrokenError("the service knows the file with another length")
        total = _total(response, url, part, there)
        if response.status_code == 200:
            _keep_version(response, version)
        check_free_disk(part.parent, leave_gb, n_bytes=max(0, (total or 0) - there))
        try:
            _write(response, part, append=response.status_code == 206)
        finally:
            for allowance in service.rate_limit.n_bytes:
                allowance.spend(response.raw.tell())
    size = _size(part)
    if total is not None and size != total:
        raise _BrokenError(f"{size} of {total} bytes came")
    if not size:
        part.unlink()
        raise DownloadError(f"{url}: empty (0 bytes)")


def _keep_version(response: Response, path: Path) -> None:
    """Write the version of a file that is coming, where the service sends one."""
    version = response.headers.get("ETag", "")
    if not version or version.startswith("W/"):  # a weak one does not stand for the same bytes
        version = response.headers.get("Last-Modified", "")
    if version:
        path.write_text(version, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _total(response: Response, url: str, part: Path, there: int) -> int | None:
    """Return the bytes of the whole file, None where the service does not send it.

    Raises
    ------
    DownloadError
        The answer is not sound.
    _BrokenError
        It is not the requested piece of the file.
    """
    if response.status_code not in (200, 206):
        part.unlink(missing_ok=True)
        raise DownloadError(f"{url}: the service answers {response.status_code} {response.reason}".rstrip())
    kind = response.headers.get("Content-Type", "audio/unknown").lower()
    if not _SOUND.match(kind):
        part.unlink(missing_ok=True)
        raise DownloadError(f"{url}: the service sends {kind.partition(';')[0]}, which is no sound")
    if response.status_code == 206:
        start, total = _content_range(response)
        if start != there:
            part.unlink(missing_ok=True)
            raise _BrokenError(f"the service sends another piece than the one from byte {there} on")
        return total
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None


def _content_range(response: Response) -> tuple[int | None, int | None]:
    """Return the first byte of the answer and the length of the whole file, where it has them."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    start, total = match.groups() if match else (None, None)
    return (None if start is None else int(start)), (int(total) if total and total.isdigit() else None)


def _write(response: Response, part: Path, *, append: bool) -> None:
    import requests

    with part.open("ab" if append else "wb") as file:
        try:
            for block in response.iter_content(_BLOCK):
                file.write(block)
        except requests.RequestException as error:
            raise _BrokenError(describe_broken(error)) from None
        finally:
            file.flush()
        os.fsync(file.fileno())
