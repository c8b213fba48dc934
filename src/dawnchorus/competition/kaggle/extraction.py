"""Extraction of archives: each file atomically, none outside the folder, existing ones left alone."""

from __future__ import annotations

import errno
import io
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from dawnchorus.competition.kaggle.download_record import RECORD_NAME
from dawnchorus.competition.kaggle.kaggle_catalogue import Part
from dawnchorus.downloads.disk_space import require_room
from dawnchorus.errors import DownloadError
from dawnchorus.files import Piece, PiecedFile, mend, replacing, size_of, sync_all
from dawnchorus.progress import track


def open_joined(paths: Sequence[Path]) -> io.BufferedReader:
    """Open files as one, in the order given; they must not change meanwhile.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("zip.part-0").write_bytes(b"dawn"), Path("zip.part-1").write_bytes(b"chorus")
    >>> with open_joined([Path("zip.part-0"), Path("zip.part-1")]) as joined:
    ...     joined.read()
    b'dawnchorus'
    """
    pieces = [Piece(0, path.stat().st_size, path=path) for path in paths]
    return io.BufferedReader(PiecedFile(Path(), pieces))


WORK_NAME = ".downloads"
"""The folder below all downloads for archives; only pieces may be unpacked into it."""

_BLOCK_BYTES = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that Python does not support
    RuntimeError,  # a password
    ValueError,
)


class DamagedArchiveError(DownloadError):
    """An archive that cannot be unpacked, or must not be.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("birds.zip").write_bytes(b"no zip archive")
    >>> unpack(Path("birds.zip"), Path("data"), lambda names: {}, title="birds")
    Traceback (most recent call last):
        ...
    dawnchorus.competition.kaggle.extraction.DamagedArchiveError: birds: its archive cannot be unpacked (File
    is not a zip file); what came is removed: run this again
    """


def piece_folder(part: Part) -> str:
    """Return where the pieces of a part gather, relative to the folder of all downloads.

    Examples
    --------
    >>> from dawnchorus.competition.kaggle.kaggle_catalogue import Part
    >>> piece_folder(Part("noise", "soundscapes without birds", ())).endswith("noise")
    True
    """
    return f"{WORK_NAME}/{part.name}"


def destinations(names: Sequence[str], part: Part) -> dict[str, str]:
    """Return where each file of a part's archive must lie, relative to the folder of all downloads.

    Where the archive holds only a folder that has the name of the part's own, the two are one. Files that the
    part does not need are left out.

    Parameters
    ----------
    names
        The files of the archive, with slashes.
    part
        Names the folders, and those that are moved.

    Examples
    --------
    >>> from dawnchorus.competition.kaggle.kaggle_catalogue import Part
    >>> destinations(["train.csv"], Part("tables", "tables", (), folder="birdclef"))
    {'train.csv': 'birdclef/train.csv'}
    """
    if part.moved or part.pieces:
        found = {name: _moved(name, part) for name in names}
        return {name: target for name, target in found.items() if target is not None}
    return below(names, part.folder)


def below(names: Sequence[str], folder: str) -> dict[str, str]:
    """Return the files of an archive below a folder, not twice where the archive holds only that folder.

    Examples
    --------
    >>> below(["models/a.pth", "models/b.pth"], "models")
    {'models/a.pth': 'models/a.pth', 'models/b.pth': 'models/b.pth'}
    >>> below(["a.pth"], "models")
    {'a.pth': 'models/a.pth'}
    """
    is_same = bool(folder) and all(name.startswith(f"{folder}/") for name in names)
    return {name: str(PurePosixPath("" if is_same else folder, name)) for name in names}


def _moved(name: str, part: Part) -> str | None:
    piece = PurePosixPath(name).name
    if part.pieces is not None and piece.startswith(part.pieces.prefix):
        return f"{piece_folder(part)}/{piece}"
    for begin, folder in part.moved:
        if name.startswith(f"{begin}/"):
            return str(PurePosixPath(folder, name[len(begin) + 1 :]))
    return None


def unpack(
    archive: Path | IO[bytes],
    out: Path,
    arrange: Callable[[Sequence[str]], Mapping[str, str]],
    *,
    title: str,
) -> dict[str, int]:
    """Unpack the files of a zip archive, and return their paths and sizes, bytes.

    A file that is there with the right size and CRC-32 is left alone, so that a killed run goes on.

    Parameters
    ----------
    archive
        The archive, or a file of its bytes.
    out
        Folder below which everything lies.
    arrange
        Takes the names in the archive and returns the path of those that are wanted, relative to ``out``.
    title
        Name of the archive in messages and the progress bar.

    Raises
    ------
    DamagedArchiveError
        It is not a zip archive, a file in it is damaged, or one would lie outside ``out``.
    DownloadError
        Its files do not fit on the disk.

    Examples
    --------
    >>> import zipfile
    >>> from pathlib import Path
    >>> with zipfile.ZipFile("birds.zip", "w") as archive:
    ...     archive.writestr("train.csv", "label")
    >>> unpack(Path("birds.zip"), Path("data"), lambda names: {name: name for name in names}, title="birds")
    {'train.csv': 5}
    """
    with _damage_told(title), zipfile.ZipFile(archive) as opened:
        wanted = _wanted(opened, arrange, title)
        _prepare(out, wanted, title)
        steps = track(
            wanted.items(),
            f"unpacking {title}",
            total=sum(info.file_size for info in wanted.values()) / 1e6,
            amount=lambda step: step[1].file_size / 1e6,
            unit="MB",
        )
        for path, info in steps:
            if not _is_there(out / path, info):
                _write(opened, info, out / path)
        sync_all()
    return {path: info.file_size for path, info in wanted.items()}


def _wanted(
    opened: zipfile.ZipFile, arrange: Callable[[Sequence[str]], Mapping[str, str]], title: str
) -> dict[str, zipfile.ZipInfo]:
    """Return the files to unpack, by path relative to the folder."""
    members = {info.filename: info for info in opened.infolist() if not info.is_dir()}
    for name in members:
        _require_inside(name, title)
    return {path: members[name] for name, path in arrange(list(members)).items()}


def _prepare(out: Path, wanted: Mapping[str, zipfile.ZipInfo], title: str) -> None:
    """Remove half-written files of a killed run, and raise where the files do not fit."""
    out.mkdir(parents=True, exist_ok=True)
    for folder in {(out / path).parent for path in wanted}:
        mend(folder)
    to_come = [info.file_size for path, info in wanted.items() if size_of(out / path) != info.file_size]
    require_room(out, sum(to_come), f"what is packed in {title}")


@contextmanager
def _damage_told(title: str) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which a position below 0 gives
            raise
        raise DamagedArchiveError(
            f"{title}: its archive cannot be unpacked ({error}); what came is removed: run this again"
        ) from error


def _require_inside(name: str, title: str) -> None:
    """Refuse paths that could leave the folder, on any system: roots, drives and ``..``."""
    path = PureWindowsPath(name)  # splits at slashes of both kinds
    begins = [part.casefold() for part in path.parts[:1]]
    if path.root or path.drive or ".." in path.parts or begins in ([WORK_NAME], [RECORD_NAME]):
        raise DamagedArchiveError(
            f"{title}: its archive holds {name!r}, which would lie outside the folder; nothing of it is "
            "unpacked"
        )


def _is_there(path: Path, info: zipfile.ZipInfo) -> bool:
    if not path.is_file() or size_of(path) != info.file_size:
        return False
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
    return crc == info.CRC


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    with replacing(path, sync=False) as temporary, opened.open(info) as packed, temporary.open("wb") as file:
        shutil.copyfileobj(packed, file, _BLOCK_BYTES)
