"""Replacement of files and folders, whole or not at all, and the locks that it takes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dawnchorus.errors import WRITE_REMEDIES, DawnchorusError, WriteError
from dawnchorus.files.paths import legible

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_IS_WINDOWS = sys.platform == "win32"
_OURS = re.compile(r"(\.dawnchorus-[0-9a-f]{8})\.(?:lock|tmp.*|staged|whole|old)")
"""Names of temporary files: a stem, which has a lock, and what each is for."""

_ATTEMPTS = 100
_SYNCED_ONE_BY_ONE = 64  # files; with more, one sync of all disks waits less
_PROBE_BYTES = 1 << 16


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` when the block ends without an error.

    The block writes a file or a folder there. When it fails, that is removed, and ``path`` stays as it was.
    What a killed process left is removed, or put in place where it was whole, when another one first writes
    into the same folder. The file gets the permissions that the umask gives to new files. The temporary name
    keeps the suffix, because many writers choose their format by it.

    Parameters
    ----------
    path
        The file or folder to write; missing folders above it are made.
    sync
        Whether to wait for the disk, so that a power cut leaves the old or the new file. Without it an empty
        one is possible, which is good enough for what is checked when it is read, and can be made again.

    Raises
    ------
    WriteError
        The disk is full, or the folder may not be written to.

    Examples
    --------
    >>> from pathlib import Path
    >>> with replacing(Path("tables/scores.csv")) as temporary:
    ...     _ = temporary.write_text("label,score")
    >>> Path("tables/scores.csv").read_text()
    'label,score'
    """
    with naming(path), _begun(path.parent) as stem:
        temporary = Path(f"{stem}.tmp{path.suffix}")
        try:
            yield temporary
            _settle(temporary, stem, sync=sync)
            if temporary.is_dir() and path.is_dir():
                _staged(stem).mkdir()
                temporary.rename(_staged(stem) / path.name)
                _put_in_place(stem)
            else:
                temporary.replace(path)
            if sync:
                _sync_folder(path.parent)
        finally:
            _remove(temporary)


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield temporary paths for files or folders of one folder, which are replaced together.

    If the process is killed while they are moved into place, :func:`mend` moves the rest.

    Examples
    --------
    >>> from pathlib import Path
    >>> with replacing_all([Path("run/onnx"), Path("run/openvino")]) as temporaries:
    ...     for temporary in temporaries:
    ...         temporary.mkdir()
    >>> sorted(path.name for path in Path("run").iterdir())
    ['onnx', 'openvino']
    """
    with naming(paths[0]), _begun(paths[0].parent) as stem:
        _staged(stem).mkdir()
        yield [_staged(stem) / path.name for path in paths]
        _settle(_staged(stem), stem)
        _put_in_place(stem)
        _sync_folder(stem.parent)


@contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder below ``folder``, which is removed at the end; after a kill, by :func:`mend`.

    Examples
    --------
    >>> from pathlib import Path
    >>> with temporary_folder(Path("tables")) as temporary:
    ...     _ = (temporary / "scores.csv").write_text("label,score")
    >>> list(Path("tables").iterdir())
    []
    """
    with _begun(folder) as stem:
        temporary = Path(f"{stem}.tmp")
        temporary.mkdir()
        try:
            yield temporary
        finally:
            _remove(temporary)


def mend(folder: Path) -> None:
    """Complete or remove what killed processes left in a folder by :func:`replacing`.

    What is still being written stays. On a file system without locks all of it stays.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path(".dawnchorus-0a1b2c3d.tmp.csv").write_text("left by a process that was killed")
    >>> mend(Path())
    >>> list(Path().iterdir())
    []
    """
    _mended.add(folder)
    names: list[re.Match[str]] = []
    with suppress(OSError):  # it is not there, or may not be looked into
        names = [found for path in folder.iterdir() if (found := _OURS.fullmatch(path.name))]
    for stem in {folder / found[1] for found in names}:
        with suppress(OSError), _claimed(stem) as is_abandoned:  # it may not be ours to change
            if is_abandoned:
                _complete(stem)
                for found in names:
                    if found[1] == stem.name and not found[0].endswith(".lock"):
                        _remove(folder / found[0])


_mended: set[Path] = set()
"""Folders that this process has mended."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Raise WriteError, which names ``path``, where it cannot be written.

    Libraries raise errors of the system without the name of the file, or errors of their own on a full disk.

    Examples
    --------
    >>> import errno
    >>> from pathlib import Path
    >>> with naming(Path("part.raw")):
    ...     raise OSError(errno.EROFS, "Read-only file system")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.WriteError: part.raw: cannot be written: Read-only file system; choose another folder
    """
    try:
        yield
    except DawnchorusError:
        raise
    except OSError as error:
        if error.errno in WRITE_REMEDIES and _is_of(error, path):
            raise WriteError(error.errno, os.strerror(error.errno), str(path)) from error
        if error.errno is None:
            _raise_if_full(path, error)
        raise
    except Exception as error:
        _raise_if_full(path, error)
        raise


def _is_of(error: OSError, path: Path) -> bool:
    """Return whether an error is of a path, a folder above it or a temporary file, or names nothing."""
    name = error.filename2 or error.filename  # of a copy the second is the one that is written
    return name is None or _OURS.search(str(name)) is not None or Path(str(name)) in (path, *path.parents)


def _raise_if_full(path: Path, cause: Exception) -> None:
    try:
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WriteError(error.errno, os.strerror(error.errno), str(path)) from cause


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a UTF-8 text file as :func:`replacing` does; names in it are :func:`~dawnchorus.files.legible`.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_text(Path("notes.txt"), "a wren at dawn")
    >>> Path("notes.txt").read_text()
    'a wren at dawn'
    """
    with replacing(path, sync=sync) as temporary:
        temporary.write_text(legible(text), encoding="utf-8")


@contextmanager
def _begun(folder: Path) -> Iterator[Path]:
    """Yield the stem of temporary names in a folder, whose lock this process holds."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _mended:
        mend(folder)
    for _ in range(_ATTEMPTS):
        stem = folder / f".dawnchorus-{uuid.uuid4().hex[:8]}"
        with _claimed(stem) as is_ours:
            if is_ours is False:  # mend of another process locked it first
                continue
            try:
                yield stem
            finally:
                _remove(_staged(stem))
            return
    raise OSError(f"no file can be locked in {folder}")


@contextmanager
def _claimed(stem: Path) -> Iterator[bool | None]:
    """Hold the lock of temporary files, then remove it; yield whether it was free, None without locks.

    Without locks nobody knows whether another process still writes, so only a new one is removed.
    """
    lock = Path(f"{stem}.lock")
    is_new = not lock.exists()
    with _locked(lock) as is_free:
        try:
            yield is_free
        finally:
            is_ours = is_free or (is_free is None and is_new)
            if is_ours and not _IS_WINDOWS:
                lock.unlink(missing_ok=True)
    if is_ours and _IS_WINDOWS:  # where an open file cannot be removed
        with suppress(PermissionError):  # another process looks whether it is free
            lock.unlink(missing_ok=True)


def _staged(stem: Path) -> Path:
    return Path(f"{stem}.staged")


def _put_in_place(stem: Path) -> None:
    """Move all that is staged to its place; once it has another name, :func:`mend` does so after a kill."""
    for item in _staged(stem).iterdir():
        place = stem.parent / item.name
        if item.is_dir() and place.exists() and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    _staged(stem).rename(f"{stem}.whole")
    _sync_folder(stem.parent)
    try:
        _complete(stem)
    except OSError:
        _mended.discard(stem.parent)
        raise


def _complete(stem: Path) -> None:
    whole, old = Path(f"{stem}.whole"), Path(f"{stem}.old")
    if not whole.is_dir():
        return
    for item in sorted(whole.iterdir()):
        place = stem.parent / item.name
        if place.is_dir():
            old.mkdir(exist_ok=True)
            place.rename(old / item.name)
        item.replace(place)
    whole.rmdir()
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _settle(path: Path, stem: Path, *, sync: bool = True) -> None:
    """Give what was written the permissions of new files, and wait until the disk has it."""
    mode, n_synced = Path(f"{stem}.lock").stat().st_mode & 0o666, 0
    for each in _written(path):
        is_folder = each.is_dir()
        wanted = mode | (mode & 0o444) >> 2 if is_folder else mode
        if each.stat().st_mode & 0o777 != wanted:
            with suppress(OSError):  # some file systems have no permissions
                each.chmod(wanted)
        if sync and n_synced < _SYNCED_ONE_BY_ONE:
            _sync_folder(each) if is_folder else _sync(each, os.O_RDWR)
            n_synced += 1
    if n_synced == _SYNCED_ONE_BY_ONE:
        sync_all()


def _written(path: Path) -> Iterator[Path]:
    """Yield the files and folders below a path, then itself; without links."""
    for folder, _, files in os.walk(path, topdown=False):
        yield from (each for name in files if not (each := Path(folder, name)).is_symlink())
        yield Path(folder)
    if not path.is_dir():
        yield path


def sync_all() -> None:
    """Wait until the disks have all that was written, such as many files with ``sync=False``.

    Examples
    --------
    >>> from pathlib import Path
    >>> for number in range(100):
    ...     write_text(Path(f"{number}.txt"), "a wren at dawn", sync=False)
    >>> sync_all()
    """
    if hasattr(os, "sync"):  # Windows has none
        os.sync()


def _sync_folder(folder: Path) -> None:
    if not _IS_WINDOWS:
        with suppress(OSError):  # some network file systems sync no folders
            _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_writing_back(file: IO[bytes], n_bytes: int) -> None:
    """Start writing the last ``n_bytes`` of a file to the disk, so that a sync at the end waits less.

    Examples
    --------
    >>> from pathlib import Path
    >>> with Path("sound.raw").open("wb") as file:
    ...     start_writing_back(file, file.write(bytes(1024)))
    """
    file.flush()
    if hasattr(os, "posix_fadvise"):  # DONTNEED drops clean pages and starts to write dirty ones
        os.posix_fadvise(file.fileno(), file.tell() - n_bytes, n_bytes, os.POSIX_FADV_DONTNEED)


@contextmanager
def locked(path: Path, *, inherited: bool = False) -> Iterator[bool]:
    """Hold a lock on a file while the block runs; yield whether it was free. It ends with the process.

    On a file system without locks it always counts as free. With ``inherited``, child processes that are
    started with ``close_fds=False`` hold it too, even if this one is killed; otherwise none does. A process
    that holds the lock may remove the file. On Windows, where this is not tested, locks are never inherited.

    Examples
    --------
    >>> from pathlib import Path
    >>> with locked(Path("job.lock")) as was_free, locked(Path("job.lock")) as is_free_again:
    ...     print(was_free, is_free_again)
    True False
    """
    with _locked(path, inherited=inherited) as is_free:
        yield is_free is not False


@contextmanager
def _locked(path: Path, *, inherited: bool = False) -> Iterator[bool | None]:
    """Hold a lock; yield whether it was free, or None on a file system without locks."""
    file, is_free = _opened_and_locked(path)
    with file:
        if is_free is False:
            yield False
            return
        os.set_inheritable(file.fileno(), inherited)
        if not inherited:
            _held.append(file)
        try:
            yield is_free
        finally:
            if not inherited:
                _held.remove(file)


def _opened_and_locked(path: Path) -> tuple[IO[bytes], bool | None]:
    while True:
        file = path.open("a+b")
        try:
            _lock(file)
        except BlockingIOError:
            return file, False
        except OSError:
            return file, None
        if os.fstat(file.fileno()).st_nlink:
            return file, True
        file.close()  # the process that held it has removed it


def _lock(file: IO[bytes]) -> None:
    """Take a lock that ends with the process, even if it is killed.

    Raises
    ------
    BlockingIOError
        Another process has it.
    OSError
        The file system has no locks.
    """
    if sys.platform == "win32":
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(error.errno, error.strerror) from None
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_held: list[IO[bytes]] = []
"""Files whose lock this process holds alone."""


def _leave_locks_to_parent() -> None:
    """Close inherited locks, which a forked loader worker would otherwise hold after its parent ends."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_parent)
