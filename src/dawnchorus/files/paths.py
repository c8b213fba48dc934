"""Paths: what is in a folder, which version of a file is there, and what must not be written to.

A file name that is not UTF-8 has *surrogates* in Python, which pandas, Parquet, JSON and pages cannot hold.
One rule for all: CSV and text tables of what was predicted, and ``failures.csv``, hold the name's own bytes;
everywhere else stands the text of :func:`legible`, and :func:`from_legible` gives the name back.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dawnchorus.errors import OverwriteError, UnsafePathError
from dawnchorus.files.storage import RemotePath, begins_like_address
from dawnchorus.wording import shown

logger = logging.getLogger(__name__)

_ESCAPED_BYTE = re.compile(r"\\(udc[89a-f][0-9a-f])")


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
        The name is absolute, an address, has ``..`` in it, is empty, or is not a legal file name.

    >>> from pathlib import Path
    >>> inside(Path("out"), "raven/a.txt", named_in="predictions.json").as_posix()
    'out/raven/a.txt'
    """
    path = Path(name)
    is_absolute = path.is_absolute() or path.root or path.drive or begins_like_address(name)
    if is_absolute or ".." in path.parts or not path.parts or not _is_name(str(name)):
        raise UnsafePathError(
            f"{named_in} names {shown(str(name))}, which does not lie below {folder}; nothing is written or "
            "removed there: correct the name, or delete what names it"
        )
    return folder / path


def is_file(path: Path) -> bool:
    """Return whether there is a file; False for a name that no file can have.

    Examples
    --------
    >>> from pathlib import Path
    >>> is_file(Path("night.wav")), is_file(Path("x" * 1000))
    (True, False)
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False  # such as a name too long for a file


def _is_name(text: str) -> bool:
    """Return whether a text can be the name of a file."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def refuse_existing(*paths: Path | None, force: bool, remedy: str = "overwrite it with --force") -> None:
    """Raise where a file or folder is there already, unless ``force`` is set; None stands for no file.

    Raises
    ------
    OverwriteError
        One is there.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("folds.csv").touch()
    >>> refuse_existing(Path("folds.csv"), force=True)
    >>> refuse_existing(Path("folds.csv"), force=False)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.OverwriteError: folds.csv exists; choose another name, or overwrite it with --force
    """
    for path in paths:
        if path is not None and path.exists() and not force:
            raise OverwriteError(f"{path} exists; choose another name, or {remedy}")


class FileVersion(NamedTuple):
    """Size and time of change of a file, which identify its version.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("sound.raw").write_bytes(bytes(100))
    >>> FileVersion.of(Path("sound.raw")).n_bytes
    100
    """

    n_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileVersion:
        """Return the version of a file as it is now.

        Raises
        ------
        OSError
            It cannot be looked at, or is a folder or a pipe, which to open would wait for ever.
        """
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        return cls(status.st_size, status.st_mtime_ns)


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 where there is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> size_of(Path("gone.wav"))
    0
    """
    return path.stat().st_size if path.is_file() else 0


def walk(folder: Path, *, hidden: bool = False, passed_over: list[Path] | None = None) -> Iterator[Path]:
    """Yield the files below ``folder``, at any depth.

    Objects below a prefix of storage are found too. Links are followed, except into a folder that contains
    the link. A folder that may not be read is left out, and a warning names it.

    Parameters
    ----------
    folder
        Where to begin; nothing is yielded where it is missing.
    hidden
        Whether files and folders whose names begin with a dot are included.
    passed_over
        List to which those are added that are not included.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("2024/may").mkdir(parents=True)
    >>> Path("2024/may/dawn.wav").touch()
    >>> Path("2024/.hidden.wav").touch()
    >>> [path.as_posix() for path in walk(Path("2024"))]
    ['2024/may/dawn.wav']
    """
    passed_over = [] if passed_over is None else passed_over
    if isinstance(folder, RemotePath):
        return _walk_objects(folder, hidden, passed_over)
    return _walk(folder, hidden, passed_over, ())


def _walk_objects(folder: RemotePath, hidden: bool, passed_over: list[Path]) -> Iterator[Path]:
    for path, _ in folder.walk_objects():
        if hidden or not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
        else:
            passed_over.append(path)


def _walk(
    folder: Path, hidden: bool, passed_over: list[Path], above: tuple[tuple[int, int], ...]
) -> Iterator[Path]:
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
            passed_over.append(entry)
        elif _is_folder(entry):
            yield from _walk(entry, hidden, passed_over, (*above, identity))
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
