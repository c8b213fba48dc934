"""Which recordings there are: below a folder, or on a JSON list."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dawnchorus.audio.container import AUDIO_SUFFIXES, legal_suffixes
from dawnchorus.errors import DataError

LIST_SUFFIX = ".json"


class Listing(NamedTuple):
    """Recordings by their paths relative to ``root``, which are also their names in the store."""

    root: Path
    relative_paths: list[Path]


def list_recordings(audio: Path, *, root: Path | None = None) -> Listing:
    """Return the recordings below a folder, or those that a JSON list of paths names.

    Parameters
    ----------
    audio
        A folder, or a file with the suffix ``.json`` that holds a list of paths. These may be absolute,
        or relative to ``root``; whether the files exist is not asked here.
    root
        The folder that names in the store are relative to; the folder ``audio``, or that of the list,
        if not given.

    Raises
    ------
    DataError
        The folder is missing or holds no recording, the list is no list of paths, or a path lies
        outside ``root``.
    """
    audio = Path(audio)
    if audio.suffix.lower() != LIST_SUFFIX or audio.is_dir():
        paths, root = list_audio_files(audio), audio if root is None else root
    else:
        root = audio.parent if root is None else root
        paths = [root / name for name in _read_json_list(audio)]
    relative_paths = [Path(os.path.relpath(path, root)) for path in paths]
    outside = [
        path for path, relative in zip(paths, relative_paths, strict=True) if relative.parts[0] == ".."
    ]
    if outside:
        raise DataError(
            f"{audio}: {outside[0]} lies outside {root}, which names in the store are relative to, as do "
            f"{len(outside) - 1} more; name a folder above all of them with --audio_root"
        )
    return Listing(Path(root), sorted(set(relative_paths)))


def list_audio_files(folder: Path) -> list[Path]:
    """Return all recordings at any depth below ``folder``, sorted; hidden files and folders are left out.

    Links to files and to folders are followed, but none into a folder that it lies in.

    Raises
    ------
    DataError
        The folder is missing, is no folder, or holds no recording.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; name a folder that holds recordings")
    found = sorted(_walk(folder, ()))
    if not found:
        raise DataError(f"{folder}: no recordings here or below; {legal_suffixes()} are read")
    return found


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Yield the recordings below a folder; ``above`` identifies the folders that it lies in."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), (*above, identity))
            elif Path(entry.name).suffix.lower() in AUDIO_SUFFIXES:
                yield Path(entry.path)


def _read_json_list(path: Path) -> list[str]:
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; name a JSON list of recordings, or a folder") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON; {error}") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f'{path}: not a list of paths; write it as ["bird/XC1.ogg", "bird/XC2.ogg"]')
    return names
