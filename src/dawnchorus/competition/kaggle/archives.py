"""Resumable downloads of archives, which are checked before they take their names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from dawnchorus.competition.kaggle.kaggle_catalogue import KaggleSource
from dawnchorus.config import Record, read_json_if_sound
from dawnchorus.downloads.retries import Interrupted, retried
from dawnchorus.errors import DownloadError
from dawnchorus.files import naming, size_of, write_text
from dawnchorus.progress import track


class ArchiveBytes(NamedTuple):
    """A piece of an archive: where it begins, and its bytes.

    Examples
    --------
    >>> b"".join(ArchiveBytes(start=0, chunks=[b"PK", b"zip"]).chunks)
    b'PKzip'
    """

    start: int
    chunks: Iterable[bytes]


class RemoteArchive(NamedTuple):
    """Size, version and checksum of an archive, from the service, before it is read.

    Attributes
    ----------
    n_bytes
        Its size; None where the service does not send it.
    version
        A mark that changes with the archive; None where the service sends none.
    md5
        Its checksum; None where the service does not send one.
    request
        The last request, to the service or to the storage it redirects to; valid for a few hours.

    Examples
    --------
    >>> RemoteArchive(n_bytes=1024, version="2", md5=None, request=None).n_bytes
    1024
    """

    n_bytes: int | None
    version: str | None
    md5: bytes | None
    request: Any


class ArchiveService(Protocol):
    """A service with archives: see :class:`dawnchorus.competition.kaggle.kaggle_files.KaggleFiles`.

    Examples
    --------
    >>> from contextlib import contextmanager
    >>> class Shelf:
    ...     def locate(self, source):
    ...         return RemoteArchive(n_bytes=3, version="1", md5=None, request=None)
    ...     @contextmanager
    ...     def read(self, source, remote, start):
    ...         yield ArchiveBytes(start, [b"zip"[start:]])
    >>> Shelf().locate(None).n_bytes
    3
    """

    def locate(self, source: KaggleSource) -> RemoteArchive: ...

    def read(
        self, source: KaggleSource, remote: RemoteArchive, start: int
    ) -> AbstractContextManager[ArchiveBytes]: ...


class Fetched(NamedTuple):
    """A whole archive on the disk: its size in bytes, and its version at the service.

    Examples
    --------
    >>> Fetched(n_bytes=1024, version="2").version
    '2'
    """

    n_bytes: int
    version: str | None


def fetch_archive(
    service: ArchiveService, source: KaggleSource, archive: Path, *, require_room: Callable[[int, int], None]
) -> Fetched:
    """Download an archive unless it is there, and return its size and version.

    The bytes gather in ``archive``.partial, with their size and version in ``archive``.json. A killed or
    broken transfer goes on from them as long as the service has the same version.

    Parameters
    ----------
    service, source
        Where it comes from.
    archive
        Its path; it takes this name when its size and checksum are right.
    require_room
        Takes the archive's size and how much of it is still to come, bytes; raises where that does not fit.

    Raises
    ------
    DownloadError
        The service refuses, fails too often, or sends an archive of another size or checksum.

    Examples
    --------
    >>> from contextlib import contextmanager
    >>> from pathlib import Path
    >>> from dawnchorus.competition.kaggle.kaggle_catalogue import KaggleSource
    >>> class Shelf:  # what a service has to offer
    ...     def locate(self, source):
    ...         return RemoteArchive(n_bytes=3, version="1", md5=None, request=None)
    ...     @contextmanager
    ...     def read(self, source, remote, start):
    ...         yield ArchiveBytes(start, [b"zip"[start:]])
    >>> source = KaggleSource("dataset", "somebody/birds")
    >>> fetch_archive(Shelf(), source, Path("birds.zip"), require_room=lambda n_bytes, to_come: None)
    Fetched(n_bytes=3, version='1')
    >>> Path("birds.zip").read_bytes()
    b'zip'
    """
    if archive.is_file():
        _, version = _read_note(archive)
        return Fetched(archive.stat().st_size, version)
    partial = _partial(archive)
    return retried(
        lambda: _fetch_once(service, source, archive, require_room),
        str(source),
        n_kept=lambda: size_of(partial),
    )


def remove_archive(archive: Path) -> None:
    """Remove an archive, or the part of one that has arrived.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("birds.zip").touch()
    >>> remove_archive(Path("birds.zip"))
    >>> Path("birds.zip").exists()
    False
    """
    for path in (archive, _partial(archive), _note(archive)):
        path.unlink(missing_ok=True)


def bytes_at_hand(archive: Path) -> int:
    """Return how many bytes of an archive are on the disk.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("birds.zip.partial").write_bytes(bytes(100))
    >>> bytes_at_hand(Path("birds.zip"))
    100
    """
    return size_of(archive) + size_of(_partial(archive))


def _fetch_once(
    service: ArchiveService, source: KaggleSource, archive: Path, require_room: Callable[[int, int], None]
) -> Fetched:
    remote = service.locate(source)
    partial = _partial(archive)
    known = remote.n_bytes is not None and remote.version is not None
    if not known or _read_note(archive) != (remote.n_bytes, remote.version):
        remove_archive(archive)
        write_text(_note(archive), json.dumps({"n_bytes": remote.n_bytes, "version": remote.version}))
    there = size_of(partial)
    if remote.n_bytes is not None:
        require_room(remote.n_bytes, max(0, remote.n_bytes - there))
    if remote.n_bytes is None or there < remote.n_bytes:
        with service.read(source, remote, there) as piece:
            _append(partial, piece, remote.n_bytes, archive.name)
    _verify(partial, remote, source, archive)
    partial.replace(archive)
    return Fetched(archive.stat().st_size, remote.version)


def _append(partial: Path, piece: ArchiveBytes, n_bytes: int | None, title: str) -> None:
    with naming(partial), partial.open("ab") as file:
        file.truncate(piece.start)
        written = _written(file, piece, n_bytes)
        total_mb = (n_bytes or 0) / 1e6
        for _ in track(written, title, total=total_mb, amount=lambda n: n / 1e6, unit="MB"):
            pass


def _written(file: IO[bytes], piece: ArchiveBytes, n_bytes: int | None) -> Iterator[int]:
    """Write the chunks, and yield how many bytes each had; first, how many there were before."""
    there = piece.start
    yield there
    for chunk in piece.chunks:
        file.write(chunk)
        there += len(chunk)
        yield len(chunk)
        if n_bytes is not None and there > n_bytes:
            break  # the check that follows raises


def _verify(partial: Path, remote: RemoteArchive, source: KaggleSource, archive: Path) -> None:
    there = size_of(partial)
    if remote.n_bytes is not None and there < remote.n_bytes:
        raise Interrupted("the connection ended early")
    if remote.n_bytes is not None and there > remote.n_bytes:
        remove_archive(archive)
        raise DownloadError(
            f"of {source} came more than the {remote.n_bytes} bytes that were announced; what came is "
            "removed: run this again"
        )
    if remote.md5 is None:
        return  # every file inside has a checksum of its own
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
    if found != remote.md5:
        remove_archive(archive)
        raise DownloadError(
            f"the archive of {source} came with the MD5 {found.hex()} where {remote.md5.hex()} was "
            "announced; it is removed: run this again"
        )


def _partial(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.partial")


def _note(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.json")


class _ArchiveNote(Record):
    """What was known of an archive when its first bytes came."""

    n_bytes: int | None
    version: str | None


def _read_note(archive: Path) -> tuple[int | None, str | None]:
    note = read_json_if_sound(_note(archive), _ArchiveNote)
    return (None, None) if note is None else (note.n_bytes, note.version)
