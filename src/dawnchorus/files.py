"""Atomic writing of files, locks on files, folder walks, names that are not UTF-8, lists of failures.

A file name that is not UTF-8 has *surrogates* in Python, which pandas, Parquet, JSON and pages cannot hold.
One rule for all: CSV and text tables of what was predicted, and ``failures.csv``, hold the name's own bytes;
everywhere else stands the text of :func:`legible`, and :func:`from_legible` gives the name back.
"""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, NamedTuple

from dawnchorus.errors import UnsafePathError

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

FAILURES_NAME = "failures.csv"
NOTES_NAME = "notes.csv"
"""Recordings that were read, and what is odd about their sound; the columns are those of failures."""

_ATTEMPTS = 100
_ESCAPED_BYTE = re.compile(r"\\(udc[89a-f][0-9a-f])")
_IS_WINDOWS = sys.platform == "win32"
_REPLACEMENT = "." + 8 * "[0-9a-f]" + ".tmp*"
_TEMPORARY = ".dawnchorus-*.tmp"  # a hidden name, free of the final one, which may be long


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


def inside(folder: Path, name: str | Path, *, named_in: Path | str) -> Path:
    """Return the path of ``name`` in ``folder``, where it lies below that folder.

    Call this for every path that is read from a file or a service and then written or removed. Links
    that a user has put into the folder are followed. Reading is not restricted: a table may name recordings
    anywhere.

    Parameters
    ----------
    folder
        The folder that must contain the path.
    name
        A relative path.
    named_in
        Where the name was found, for the message.

    Raises
    ------
    UnsafePathError
        The name is absolute, has ``..`` in it, is empty, or is not a legal file name.

    >>> from pathlib import Path
    >>> inside(Path("out"), "raven/a.txt", named_in="predictions.json").as_posix()
    'out/raven/a.txt'
    """
    path = Path(name)
    is_plain = not (path.is_absolute() or path.root or path.drive or ".." in path.parts or "\0" in str(name))
    if not (is_plain and path.parts):
        raise UnsafePathError(
            f"{named_in} names {str(name)!r}, which does not lie below {folder}; nothing is written or "
            "removed there: correct the name, or delete what names it"
        )
    return folder / path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` when the block ends without an error.

    When the block fails, the temporary file or folder is removed and ``path`` stays as it was.
    The temporary name keeps the suffix, because many writers choose their format by it.

    Examples
    --------
    >>> from pathlib import Path
    >>> with replacing(Path("tables/scores.csv")) as temporary:
    ...     _ = temporary.write_text("label,score")
    >>> Path("tables/scores.csv").read_text()
    'label,score'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex[:8]}.tmp{path.suffix}"
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            earlier = temporary.with_name(f".{uuid.uuid4().hex[:8]}.tmp")
            path.replace(earlier)
            temporary.replace(path)
            shutil.rmtree(earlier)
        else:
            temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def remove_replacements(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder by :func:`replacing`.

    No running process may be writing there.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path(".0a1b2c3d.tmp.csv").write_text("left by a process that was killed")
    >>> remove_replacements(Path())
    >>> list(Path().iterdir())
    []
    """
    for path in folder.glob(".*.tmp*"):
        if fnmatch(path.name, _REPLACEMENT) and not path.is_symlink():
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def replacing_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new file that replaces ``path`` when the block ends without an error; otherwise it is removed.

    The process holds a lock on it, which tells :func:`remove_abandoned` that it is not abandoned.

    Examples
    --------
    >>> from pathlib import Path
    >>> with replacing_file(Path("sound.raw")) as file:
    ...     n_written = file.write(bytes(8))
    >>> Path("sound.raw").stat().st_size
    8
    """
    temporary, file = _locked_temporary(path.parent)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not _IS_WINDOWS:
                temporary.replace(path)
        if _IS_WINDOWS:  # where an open file cannot be renamed
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _locked_temporary(folder: Path) -> tuple[Path, IO[bytes]]:
    for _ in range(_ATTEMPTS):
        temporary = folder / _TEMPORARY.replace("*", uuid.uuid4().hex)
        file = temporary.open("xb")
        try:
            _lock(file)
            if os.fstat(file.fileno()).st_nlink:
                return temporary, file
        except BlockingIOError:
            pass  # remove_abandoned of another process locked it first
        except OSError:
            return temporary, file  # a file system without locks, where remove_abandoned removes nothing
        file.close()
        temporary.unlink(missing_ok=True)
    raise OSError(f"no file can be locked in {folder}")


@contextmanager
def locked(path: Path, *, inherited: bool = False) -> Iterator[bool]:
    """Hold a lock on a file while the block runs; yield whether it was free. It ends with the process.

    On a file system without locks it always counts as free. With ``inherited``, child processes that are
    started with ``close_fds=False`` hold it too, even if this one is killed; otherwise none does. A process
    that holds the lock may remove the file.

    Examples
    --------
    >>> from pathlib import Path
    >>> with locked(Path("job.lock")) as was_free, locked(Path("job.lock")) as is_free_again:
    ...     print(was_free, is_free_again)
    True False
    """
    file, is_free = _opened_and_locked(path)
    with file:
        if not is_free:
            yield False
            return
        os.set_inheritable(file.fileno(), inherited)
        if not inherited:
            _held.append(file)
        try:
            yield True
        finally:
            if not inherited:
                _held.remove(file)


def _opened_and_locked(path: Path) -> tuple[IO[bytes], bool]:
    """Return the open file, and whether it was free."""
    while True:
        file = path.open("a+b")
        try:
            _lock(file)
        except BlockingIOError:
            return file, False
        except OSError:
            return file, True
        if os.fstat(file.fileno()).st_nlink:
            return file, True
        file.close()  # the process that held it has removed it


_held: list[IO[bytes]] = []
"""Files whose lock this process holds alone."""


def _leave_locks_to_parent() -> None:
    """Close inherited locks, which a forked loader worker would otherwise hold after its parent ends."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_parent)


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


def remove_abandoned(folder: Path) -> None:
    """Remove, at any depth, files that killed processes left by :func:`replacing_file`.

    Files that are still being written stay. On a file system without locks nothing is removed.

    Examples
    --------
    >>> from pathlib import Path
    >>> remove_abandoned(Path("features"))  # a folder that need not exist
    """
    for temporary in walk(folder, hidden=True):
        if not fnmatch(temporary.name, _TEMPORARY):
            continue
        try:
            with temporary.open("r+b") as file:
                _lock(file)
                if not _IS_WINDOWS:
                    temporary.unlink()
            if _IS_WINDOWS:
                temporary.unlink()
        except OSError:
            continue  # being written, renamed meanwhile, or not ours to remove


def _lock(file: IO[bytes]) -> None:
    """Take a lock that ends with the process, even if it is killed; Windows locks open files by itself."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def walk(folder: Path, *, hidden: bool = False) -> Iterator[Path]:
    """Yield the files below ``folder``, at any depth.

    Links are followed, except into a folder that contains the link. A folder that may not be read is left
    out, and a warning names it.

    Parameters
    ----------
    folder
        Where to begin; nothing is yielded where it is missing.
    hidden
        Whether files and folders whose names begin with a dot are included.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("2024/may").mkdir(parents=True)
    >>> Path("2024/may/dawn.wav").touch()
    >>> Path("2024/.hidden.wav").touch()
    >>> [path.as_posix() for path in walk(Path("2024"))]
    ['2024/may/dawn.wav']
    """
    return _walk(folder, hidden, ())


def _walk(folder: Path, hidden: bool, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning(f"{folder}: cannot be looked into, and what is in it is left out; {error.strerror}")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for entry in entries:
        if entry.name.startswith(".") and not hidden:
            continue
        if _is_folder(entry):
            yield from _walk(entry, hidden, (*above, identity))
        else:
            yield entry


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # such as a link to itself


def legible(name: str) -> str:
    r"""Return a file name as valid text: a byte that is not UTF-8 becomes an escape such as ``\udce9``.

    In a JSON text the escape stands for the byte itself.

    Examples
    --------
    >>> legible("Nachtigall.wav"), legible("owl\udce9.wav")
    ('Nachtigall.wav', 'owl\\udce9.wav')
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def from_legible(text: str) -> str:
    r"""Return the file name that :func:`legible` made a text of; any other text stays as it is.

    Examples
    --------
    >>> from_legible(legible("owl\udce9.wav")) == "owl\udce9.wav"
    True
    """
    return _ESCAPED_BYTE.sub(lambda found: chr(int(found[1][1:], 16)), text)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, or on failure leave the old one; names in it are :func:`legible`.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_text(Path("notes.txt"), "a wren at dawn")
    >>> Path("notes.txt").read_text()
    'a wren at dawn'
    """
    with replacing(path) as temporary:
        temporary.write_text(legible(text), encoding="utf-8")


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
        return [Failure(Path(row["path"]), row["reason"]) for row in rows]
