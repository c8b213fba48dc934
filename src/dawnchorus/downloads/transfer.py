"""Resumable download of one file, which takes its name when it is whole."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from dawnchorus.downloads.disk_space import DiskFullError, check_free_disk, size_text
from dawnchorus.downloads.http_service import Service, describe_broken
from dawnchorus.downloads.retries import Interrupted, retried
from dawnchorus.errors import DownloadError
from dawnchorus.files import naming, size_of

if TYPE_CHECKING:
    from requests import Response

PART_SUFFIX = ".part"
"""Suffix of a file until it is whole."""

_VERSION_SUFFIX = ".version"
_LONGEST = 1 << 32  # bytes; the most that a WAV file holds
_LOOK_EVERY = 1 << 24  # bytes
_BLOCK = 1 << 13  # bytes; a broken connection loses up to so many
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_SOUND = re.compile(r"audio/|video/|application/(?:ogg|octet-stream|mp4)|binary/octet-stream")


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
    retried(lambda: _receive(service, url, part, leave_gb), url, n_kept=lambda: size_of(part))
    part.with_name(part.name + _VERSION_SUFFIX).unlink(missing_ok=True)
    part.replace(path)
    return size_of(path)


def _receive(service: Service, url: str, part: Path, leave_gb: float) -> None:
    """Append to a partial file up to its end, or until the connection breaks."""
    there = size_of(part)
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
            raise Interrupted("the service knows the file with another length")
        total = _total(response, url, part, there)
        if response.status_code == 200:
            _keep_version(response, version)
        _refuse_too_long(total or 0, url)
        check_free_disk(part.parent, leave_gb, n_bytes=max(0, (total or 0) - there))
        try:
            _write(response, url, part, None if total is not None else leave_gb)
        except DownloadError:
            part.unlink()
            raise
        finally:
            for allowance in service.rate_limit.n_bytes:
                allowance.spend(response.raw.tell())
    size = size_of(part)
    if total is not None and size != total:
        raise Interrupted(f"{size} of {total} bytes came")
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
    Interrupted
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
            raise Interrupted(f"the service sends another piece than the one from byte {there} on")
        return total
    return None if "Content-Encoding" in response.headers else _whole(response.headers.get("Content-Length"))


def _content_range(response: Response) -> tuple[int | None, int | None]:
    """Return the first byte of the answer and the length of the whole file, where it has them."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    start, total = match.groups() if match else (None, None)
    return _whole(start), _whole(total)


def _whole(text: str | None) -> int | None:
    """Return a number of bytes; None where there is none."""
    return int(text) if text and re.fullmatch("[0-9]{1,4000}", text) else None


def _refuse_too_long(n_bytes: int, url: str) -> None:
    if n_bytes > _LONGEST:
        raise DownloadError(
            f"{url}: the service sends more than {size_text(_LONGEST)}, and no recording is as long"
        )


def _write(response: Response, url: str, part: Path, leave_gb: float | None) -> None:
    """Write what comes; with ``leave_gb`` see that it fits, where the service has not announced its size."""
    import requests

    with naming(part), part.open("ab" if response.status_code == 206 else "wb") as file:
        looked_at = file.tell()
        try:
            for block in response.iter_content(_BLOCK):
                file.write(block)
                if leave_gb is not None and file.tell() - looked_at > _LOOK_EVERY:
                    looked_at = file.tell()
                    _refuse_too_long(looked_at, url)
                    _refuse_what_does_not_fit(looked_at, url, part.parent, leave_gb)
        except requests.RequestException as error:
            raise Interrupted(describe_broken(error)) from None
        finally:
            file.flush()
        os.fsync(file.fileno())


def _refuse_what_does_not_fit(n_bytes: int, url: str, folder: Path, leave_gb: float) -> None:
    """Raise an error of this recording alone; when it is removed, there is room for others."""
    try:
        check_free_disk(folder, leave_gb)
    except DiskFullError as error:
        raise DownloadError(
            f"{url}: it has no announced length, and after {size_text(n_bytes)} of it {error}"
        ) from None
