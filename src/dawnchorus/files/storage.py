"""Paths of object storage and the web: files that are read by ranges of bytes, and listed like folders.

A :class:`RemotePath` is a path whose text is an address, such as ``s3://bucket/night.wav``. What reads files
through ``open``, ``stat`` and ``exists`` reads it as any other. fsspec speaks the protocols, with credentials
from where its packages take them (environment, profiles, roles); dawnchorus never sees, stores or prints one.
Transient faults are tried again.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from dawnchorus.errors import ConfigError, MissingExtraError
from dawnchorus.wording import install_extra

PROTOCOLS = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
"""Protocols, and the package that each needs beside fsspec."""

_ADDRESS = re.compile(r"(s3|gs|az|abfs|https?):/+(?=[^/])", re.IGNORECASE)
_BLOCK_BYTES = 4 << 20
_N_BLOCKS = 16
_RECENT_S = 3.0
"""What the storage said of an object counts so long, where a change would be noticed later."""
_BUFFER_BYTES = 1 << 16
_ATTEMPTS = 5
_PAUSE_S = 0.2
_NUMBERS = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
}
_FINAL = tuple(_NUMBERS)
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of HTTP after which a request is worth another try."""
_OPEN_PARAMETERS = frozenset({"versionId"})
"""Parameters of a query that are no secret."""
_CONTAINER_AT_ACCOUNT = frozenset({"az", "abfs"})
"""Protocols whose addresses may have ``container@account`` for a host."""
_MATRIX = re.compile(r"(?:;|%3B)[^/;=]*(?:=|%3D)", re.IGNORECASE)
"""A parameter within the path of the web, as in ``night.wav;token=…``."""
_WITH_SECRETS = re.compile(r"(?<=://)[^/@\s]*@|(?<=\?)[^\s'\"]+")

T = TypeVar("T")


class RemotePath(type(Path())):  # type: ignore[misc]
    """The path of an object, or of a prefix that is treated as a folder.

    Examples
    --------
    >>> path = RemotePath("s3://season/site_1") / "night.wav"
    >>> str(path), path.name, path.parent == RemotePath("s3://season/site_1")
    ('s3://season/site_1/night.wav', 'night.wav', True)
    """

    def __str__(self) -> str:
        text = super().__str__()
        found = _ADDRESS.match(text)
        return text if found is None else f"{found[1].lower()}://{text[found.end() :]}"

    def __fspath__(self) -> str:
        return str(self)

    def as_posix(self) -> str:
        """Return the address."""
        return str(self)

    def relative_to(self, *other: Any, **options: Any) -> Path:
        """Return the name below another path, which is no address. Raises ValueError."""
        return Path(*super().relative_to(*other, **options).parts)

    def absolute(self) -> RemotePath:
        """Return the path itself."""
        return self

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return size and time of change, where the storage tells that, in the form of a file's status.

        Raises
        ------
        OSError
            It is not there, or cannot be reached.
        """
        info = _recent_info(self, int(time.monotonic() / _RECENT_S))
        is_folder = info["type"] == "directory"
        mode = stat.S_IFDIR if is_folder else stat.S_IFREG
        return _status(mode | 0o444, int(info.get("size") or 0), _changed_ns(info))

    def info(self) -> dict[str, Any]:
        """Return what the storage says of an object: ``type``, ``size`` and others. Raises OSError."""
        return _tried(self, lambda: dict(self._system().info(str(self))))

    def version(self) -> str:
        """Return a text that differs between versions of an object: its ETag, or the time of its change.

        Raises
        ------
        OSError
            It is not there, or cannot be reached.
        """
        return version_in(self.info())

    def exists(self) -> bool:
        """Return whether there is such an object, or one below this prefix."""
        return self._type() is not None

    def is_file(self) -> bool:
        """Return whether it is an object."""
        return self._type() == "file"

    def is_dir(self) -> bool:
        """Return whether objects lie below this prefix."""
        return self._type() == "directory"

    def _type(self) -> str | None:
        try:
            return str(self.info()["type"])
        except FileNotFoundError:
            return None

    def open(self, mode: str = "r", *_: Any, **__: Any) -> Any:
        """Return the object as a seekable file of bytes.

        Raises
        ------
        ValueError
            Another mode than ``rb`` is asked for.
        OSError
            It is not there, or cannot be reached.
        """
        if mode != "rb":
            raise ValueError(f"{self}: objects are read as bytes here; mode is {mode!r}")
        return io.BufferedReader(RemoteReader(self), _BUFFER_BYTES)

    def read_range(self, start: int, stop: int) -> bytes:
        """Return bytes ``start … stop`` of an object. Raises OSError."""

        def read() -> bytes:
            content = bytes(self._system().cat_file(str(self), start=start, end=stop))
            if len(content) != stop - start:
                raise OSError(errno.EIO, f"{len(content)} of {stop - start} bytes came", str(self))
            return content

        return _tried(self, read)

    def walk_objects(self) -> Iterator[tuple[RemotePath, dict[str, Any]]]:
        """Yield all objects below a prefix, with what the storage says of each. Raises OSError."""
        found = _tried(self, lambda: self._system().find(str(self), withdirs=False, detail=True))
        scheme = str(self).partition("://")[0]
        for name, info in sorted(found.items()):
            if info["type"] == "file":
                yield RemotePath(name if "://" in name else f"{scheme}://{name}"), info

    def put(self, file: Path) -> None:
        """Write a file of this machine here, in one step. Raises OSError."""
        _tried(self, lambda: self._system().put_file(str(file), str(self)))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object. Raises OSError."""
        try:
            _tried(self, lambda: self._system().rm_file(str(self)))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def _system(self) -> Any:
        return file_system(str(self).partition("://")[0])


class RemoteReader(io.RawIOBase):
    """An object as a seekable file, of which blocks are fetched as they are read.

    The process keeps the blocks that it read last, so that crops near one another are one request.

    Parameters
    ----------
    path
        The object.

    Examples
    --------
    >>> import io
    >>> issubclass(RemoteReader, io.RawIOBase)  # as what ``open`` returns
    True
    """

    def __init__(self, path: RemotePath) -> None:
        super().__init__()
        self.path, self._position = path, 0
        info = path.info()
        self.n_bytes, self._version = int(info.get("size") or 0), version_in(info)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position and return it, bytes from the beginning."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.n_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the block at the position goes; return how many bytes were read."""
        number, within = divmod(self._position, _BLOCK_BYTES)
        n_wanted = min(len(buffer), max(self.n_bytes - self._position, 0))
        if not n_wanted:
            return 0
        part = _block(self.path, self._version, self.n_bytes, number)[within : within + n_wanted]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


@lru_cache(maxsize=_N_BLOCKS)
def _block(path: RemotePath, version: str, n_bytes: int, number: int) -> bytes:
    """Return a block of a version of an object. Raises OSError, also where there is another version now."""
    start = number * _BLOCK_BYTES
    block = path.read_range(start, min(start + _BLOCK_BYTES, n_bytes))
    if path.version() != version:
        raise OSError(errno.ESTALE, "changed while it was read", str(path))
    return block


@lru_cache(maxsize=1 << 10)
def _recent_info(path: RemotePath, _moment: int) -> dict[str, Any]:
    return path.info()


def as_path(name: str | Path) -> Path:
    """Return the path that a name means: of object storage or the web, or of this machine.

    Text is an address where it has ``://``. A path stays what it is: one that was joined of a folder and a
    name of a table is of this machine, whatever the name.

    Raises
    ------
    ConfigError
        An address holds a password or a signature, which would stand in tables and messages.

    Examples
    --------
    >>> str(as_path("s3://season/night.wav")), as_path("night.wav").name
    ('s3://season/night.wav', 'night.wav')
    """
    if isinstance(name, Path):
        return name
    return _checked_address(name) if is_remote(name) else Path(name)


def given_path(name: str | Path) -> Path:
    """Return the path that a user has given, of which ``Path`` may have made ``s3:/season`` already.

    For arguments and options of commands, and folders that functions are given; never for names that stand
    in a table.

    Raises
    ------
    ConfigError
        An address holds a password or a signature, which would stand in tables and messages.

    Examples
    --------
    >>> from pathlib import Path
    >>> str(given_path(Path("s3://season/tables")))
    's3://season/tables'
    """
    if isinstance(name, RemotePath) or not begins_like_address(name):
        return as_path(name)
    return _checked_address(str(name))


def stored_path(text: str) -> Path:
    """Return the path that dawnchorus itself wrote as text: an object may have any name.

    Examples
    --------
    >>> str(stored_path("s3://season/night?.wav"))
    's3://season/night?.wav'
    """
    return RemotePath(text) if is_remote(text) else Path(text)


def absolute_text(path: Path) -> str:
    """Return a path from the root of its file system on, links as they are named; an address as it is.

    Examples
    --------
    >>> absolute_text(RemotePath("s3://season/site_1"))
    's3://season/site_1'
    """
    return str(path) if is_remote(path) else Path(os.path.abspath(path)).as_posix()  # noqa: PTH100


def is_remote(name: str | Path) -> bool:
    """Return whether a text is an address of object storage or the web, or a path is a RemotePath.

    Examples
    --------
    >>> is_remote("s3://season/night.wav"), is_remote("C:/night.wav"), is_remote("s3:/season/night.wav")
    (True, False, False)
    """
    if isinstance(name, Path):
        return isinstance(name, RemotePath)
    return begins_like_address(name) and name.partition(":")[2].startswith("//")


def begins_like_address(name: str | Path) -> bool:
    """Return whether a name is an address, or what ``Path`` makes of one.

    Examples
    --------
    >>> from pathlib import Path
    >>> begins_like_address(Path("s3://season/night.wav")), begins_like_address("s3/night.wav")
    (True, False)
    """
    return _ADDRESS.match(str(name)) is not None


def _checked_address(text: str) -> RemotePath:
    """Return the path of an address. Raises ConfigError, which shows nothing of what may be secret."""
    address = RemotePath(str(RemotePath(text)))
    if _may_hold_secret(str(address)):
        raise ConfigError(
            f"{str(address).partition('://')[0]}://…: the address holds a password or a signature, or may "
            "hold one (user@, ?query, #fragment), which would stand in tables; give credentials by the "
            "environment or a profile"
        )
    return address


def _may_hold_secret(address: str) -> bool:
    """Return whether an address has more than host or bucket, path, and what is known not to be secret."""
    try:
        parts = urlsplit(address)
    except ValueError:  # such as brackets that are not closed
        return True
    authority = unquote(parts.netloc)
    is_web = parts.scheme in ("http", "https")
    names = {unquote(each.partition("=")[0]) for each in re.split("[&;]", parts.query) if each}
    if parts.fragment or names - _OPEN_PARAMETERS:
        return True
    if "@" in authority and (":" in authority or parts.scheme not in _CONTAINER_AT_ACCOUNT):
        return True
    # A password with a slash ends the authority early, and @ comes after it.
    return (":" in authority and "@" in unquote(parts.path)) or (
        is_web and _MATRIX.search(parts.path) is not None
    )


def version_in(info: dict[str, Any]) -> str:
    """Return a text that differs between versions of an object, from what the storage says of it.

    Examples
    --------
    >>> version_in({"size": 3, "ETag": '"3f9a"'})
    '3 3f9a'
    """
    keys = ("ETag", "etag", "mtime", "LastModified", "updated")
    told = next((info[key] for key in keys if info.get(key)), "")
    return f"{info.get('size')} {str(told).strip(chr(34))}".strip()


def file_system(protocol: str) -> Any:
    """Return fsspec's file system of a protocol.

    Raises
    ------
    MissingExtraError
        Its package is not installed.

    Examples
    --------
    >>> file_system("s3").protocol
    ('s3', 's3a')
    """
    try:
        import fsspec

        options = {} if protocol.startswith("http") else {"use_listings_cache": False}
        return fsspec.filesystem(protocol, **options)
    except ImportError as error:
        in_extra = protocol in ("s3", "http", "https")
        remedy = install_extra("storage") if in_extra else f"pip install fsspec {PROTOCOLS[protocol]}"
        raise MissingExtraError(
            f"{protocol}:// needs {PROTOCOLS[protocol]}, which is not installed: {remedy}"
        ) from error


def _tried(path: RemotePath, action: Callable[[], T]) -> T:
    """Return the result of an action, which is tried again after transient faults. Raises OSError."""
    for attempt in range(_ATTEMPTS):
        try:
            return action()
        except MissingExtraError:
            raise
        except Exception as error:  # noqa: BLE001  each protocol has errors of its own
            cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
            status = getattr(cause, "status", None)
            if isinstance(cause, Exception) and status is None:  # a server that cannot be reached, to fsspec
                error = cause
            if isinstance(error, _FINAL) and status not in _TRANSIENT:
                number = error.errno or _NUMBERS[type(error)]
                raise type(error)(number, os.strerror(number), str(path)) from None
            if attempt == _ATTEMPTS - 1 or _is_of_credentials(error):
                _raise_as_os_error(path, error)
        time.sleep(_PAUSE_S * 2**attempt)
    raise AssertionError


def _is_of_credentials(error: Exception) -> bool:
    return "redential" in type(error).__name__ or "redential" in str(error)


def _raise_as_os_error(path: RemotePath, error: Exception) -> NoReturn:
    number = errno.EACCES if _is_of_credentials(error) else getattr(error, "errno", None) or errno.EIO
    raise OSError(number, _reason(error), str(path)) from None


def _reason(error: Exception) -> str:
    """Return why an access failed, on one line, without what may be secret in addresses."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return _WITH_SECRETS.sub("…", " ".join(str(text).split()))[:300]


def _changed_ns(info: dict[str, Any]) -> int:
    changed = next((info[key] for key in ("LastModified", "mtime", "updated") if info.get(key)), None)
    if isinstance(changed, datetime):
        return int(changed.timestamp() * 1_000_000_000)
    return int(changed * 1_000_000_000) if isinstance(changed, int | float) else 0


def _status(mode: int, n_bytes: int, changed_ns: int) -> os.stat_result:
    seconds = changed_ns // 1_000_000_000
    times = (seconds, seconds, seconds, changed_ns / 1e9, changed_ns / 1e9, changed_ns / 1e9)
    return os.stat_result((mode, 0, 0, 1, 0, 0, n_bytes, *times, changed_ns, changed_ns, changed_ns))
