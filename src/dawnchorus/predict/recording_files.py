"""Recordings to predict: files, folders, patterns, stores, or a list of names."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dawnchorus.audio.container import AUDIO_SUFFIXES, legal_suffixes
from dawnchorus.audio.listing import files_below
from dawnchorus.audio.source import STORE_SUFFIXES
from dawnchorus.errors import DataError
from dawnchorus.files.storage import RemotePath, absolute_text, as_path, is_remote
from dawnchorus.wording import counted

STDIN = "-"
SEGMENTS_INDEX = "segments.csv"
"""The index of clips that were cut out of recordings, in the folder that holds them."""


class RecordingFile(NamedTuple):
    """A recording, and its name in the tables: its path below the root, with forward slashes.

    Examples
    --------
    >>> from pathlib import Path
    >>> RecordingFile(Path("audio/site_1/night.wav"), "site_1/night.wav").name
    'site_1/night.wav'
    """

    path: Path
    name: str


class RecordingFiles(NamedTuple):
    """Recordings by name, and the folder that the names begin at.

    Examples
    --------
    >>> found = find_recordings(["recordings"])
    >>> found.root.name, len(found.recordings)
    ('recordings', 8)
    """

    root: Path
    recordings: list[RecordingFile]

    def __repr__(self) -> str:
        return f"Recordings({counted(len(self.recordings), 'recording')} below {self.root})"


def find_recordings(sources: Sequence[str], *, names: Iterable[str] = ()) -> RecordingFiles:
    """Return the recordings that the sources name, each once, sorted by name.

    Parameters
    ----------
    sources
        Files, folders (at any depth: their audio files, or where there are none their HDF5 files), patterns
        such as ``night_*/*.wav``, or ``-`` for the names given in ``names``.
    names
        Paths, one a line, as they come from standard input. One that does not exist is not refused here:
        it will be listed among the failures, and the others go on.

    Raises
    ------
    DataError
        A source does not exist, is not a recording, or holds none.

    Examples
    --------
    >>> [recording.name for recording in find_recordings(["recordings/owl"]).recordings]
    ['XC1.wav', 'XC2.wav', 'XC3.wav', 'XC4.wav']
    """
    paths: dict[Path, None] = {}
    roots: list[Path] = []
    for source in sources:
        found, root = _paths_of(source, names)
        paths.update(dict.fromkeys(found))
        roots.append(root)
    # One folder is the root itself; of several, or of single files, it is what they have in common.
    root = roots[0] if len(roots) == 1 else _common_folder(roots)
    # By name, so that one that two sources name is there once.
    named = {_name_below(root, path): path for path in paths}
    return RecordingFiles(root, [RecordingFile(named[name], name) for name in sorted(named)])


def _paths_of(source: str, names: Iterable[str]) -> tuple[list[Path], Path]:
    """Return the recordings of one source, and the folder that their names begin at."""
    path = as_path(source)
    if isinstance(path, RemotePath):
        return _objects_of(path)
    if source == STDIN:
        found = [as_path(name) for line in names if (name := line.rstrip("\r\n"))]
        if not found:
            raise DataError("standard input names no recordings; write one path a line")
        return found, _folder_above(found)
    if path.is_dir():
        return _in_folder(path), path
    if path.exists():
        _check_suffix(path)
        return [path], path.parent
    found = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207  any pattern
    found = [path for path in found if path.is_file() and path.suffix.lower() in _SUFFIXES]
    if not found:
        what = "no recording matches it" if glob.has_magic(source) else "no such file or folder"
        raise DataError(f"{source}: {what}; name recordings, a folder of them, or a pattern in quotes")
    return found, _folder_before_wildcards(path)


def _name_below(root: Path, path: Path) -> str:
    if is_remote(path):
        return str(path).removeprefix(f"{root}/")
    return Path(os.path.relpath(path, root)).as_posix()


def _objects_of(path: RemotePath) -> tuple[list[Path], Path]:
    """Return an object, or those below a prefix, and the prefix that their names begin at.

    Raises
    ------
    DataError
        There are none, or they cannot be listed.
    """
    try:
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            return [path], path.parent
        return _in_folder(path), path
    except OSError as error:
        raise DataError(f"{path}: cannot be listed; {error.strerror or error}") from None


_SUFFIXES = AUDIO_SUFFIXES | set(STORE_SUFFIXES)


def _in_folder(folder: Path) -> list[Path]:
    """Return the audio files at any depth below a folder, or its stores where it has no audio.

    Clips that ``dawnchorus segments`` has cut are left out.
    """
    everything = files_below(folder)
    clips = {path.parent for path in everything if path.name == SEGMENTS_INDEX}
    files = [
        path for path in everything if path.suffix.lower() in _SUFFIXES and clips.isdisjoint(path.parents)
    ]
    audio = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    if not files:
        raise DataError(f"{folder}: no recordings here or below; {legal_suffixes()} and .hdf5 are read")
    return audio or files


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{path}: not a recording by its name; {legal_suffixes()} and .hdf5 are read")


def _folder_above(paths: Sequence[Path]) -> Path:
    return _common_folder([path.parent for path in paths])


def _common_folder(folders: Sequence[Path]) -> Path:
    """Return the lowest folder that is above all; ``..`` is taken out of their names first."""
    if len({is_remote(folder) for folder in folders}) > 1:
        raise DataError(
            f"{folders[0]} and others lie partly in object storage and partly on this machine; predict each "
            "with a command of its own"
        )
    try:
        common = os.path.commonpath([absolute_text(folder) for folder in folders])
    except ValueError as error:
        raise DataError(
            f"{folders[0]} and others lie on different drives; predict each drive with a command of its own"
        ) from error
    return RemotePath(common) if is_remote(folders[0]) else Path(common)


def _folder_before_wildcards(pattern: Path) -> Path:
    """Return the folder of all possible matches: names must not depend on which there are."""
    parts = pattern.parts[:-1]
    n_plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:n_plain])


def names_from_stdin() -> Iterator[str]:
    """Yield the lines of standard input as file names, which need not be text; read lazily.

    Examples
    --------
    >>> import io
    >>> from unittest.mock import patch
    >>> typed = io.TextIOWrapper(io.BytesIO(b"night.wav\\ndawn.wav\\n"))
    >>> with patch("sys.stdin", typed):
    ...     [name.strip() for name in names_from_stdin()]
    ['night.wav', 'dawn.wav']
    """
    yield from map(os.fsdecode, sys.stdin.buffer)
