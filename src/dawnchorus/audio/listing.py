"""Lists of recordings: those below a folder, or on a JSON list."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.audio.container import AUDIO_SUFFIXES, legal_suffixes
from dawnchorus.config import read_json
from dawnchorus.errors import DataError
from dawnchorus.files import is_file, walk
from dawnchorus.files.storage import as_path, given_path, is_remote
from dawnchorus.wording import first_few, in_line

logger = logging.getLogger(__name__)

LIST_SUFFIX = ".json"
_UNREAD_SUFFIXES = frozenset(
    {".wac", ".w4v", ".zc", ".amr", ".ape", ".wv", ".tta", ".dsf", ".mka", ".mkv", ".mov", ".avi", ".ra"}
)
"""Sound, or video with sound, that nothing here reads."""


class Listing(NamedTuple):
    """Recordings by their paths relative to ``root``, which are also their names in the store.

    Examples
    --------
    >>> from pathlib import Path
    >>> Listing(Path("recordings"), [Path("owl/XC1.wav")]).relative_paths[0].name
    'XC1.wav'
    """

    root: Path
    relative_paths: list[Path]


def list_recordings(audio: Path, *, root: Path | None = None) -> Listing:
    """Return the recordings below a folder, or those that a JSON list of paths names.

    Parameters
    ----------
    audio
        A folder, or a file with the suffix ``.json`` that holds a list of paths. These may be absolute,
        or relative to ``root``; whether each of the files exists is not checked here.
    root
        The folder that names in the store are relative to. If not given, the folder ``audio``; or for a list
        its own folder, or the working directory where that has the recordings.

    Raises
    ------
    DataError
        The folder is missing or holds no recording, the file is no list of paths, or a path lies
        outside ``root``, or without ``root`` no relative path of a list is in either folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> listing = list_recordings(Path("recordings"))
    >>> len(listing.relative_paths), listing.relative_paths[0].as_posix()
    (8, 'owl/XC1.wav')
    """
    audio = given_path(audio)
    if not is_remote(audio) and audio.is_file() and audio.suffix.lower() != LIST_SUFFIX:
        raise DataError(
            f"{audio}: neither a folder nor a {LIST_SUFFIX} list of recordings; name one of the two"
        )
    if is_remote(audio) or audio.suffix.lower() != LIST_SUFFIX or audio.is_dir():
        root, paths = audio if root is None else root, list_audio_files(audio)
    else:
        names = _read_json_list(audio)
        root = _root_of(names, audio) if root is None else root
        paths = [root / name for name in names]
    root = given_path(root)
    relative_paths, outside = set(), []
    for path in paths:
        try:
            relative_paths.add(path.absolute().relative_to(root.absolute()))
        except ValueError:
            outside.append(path)
    if outside:
        raise DataError(
            f"{audio}: {len(outside)} recordings, {in_line(str(outside[0]))} first, lie outside {root}, "
            "which names in the store are relative to; name a folder above all of them with --audio_root"
        )
    return Listing(root, sorted(relative_paths))


def _root_of(names: list[str], audio: Path) -> Path:
    """Return the folder that the names of a list are relative to: its own, or the working directory."""
    relative = [name for name in names if not Path(name).is_absolute()]
    for folder in (audio.parent, Path()):
        if not relative or any(is_file(folder / name) for name in relative):
            return folder
    raise DataError(
        f"{audio}: none of {len(relative)} recordings, {in_line(relative[0])} first, is in "
        f"{audio.parent.absolute()} or in {Path.cwd()}; name the folder that they are relative to with "
        "--audio_root"
    )


def list_audio_files(folder: Path) -> list[Path]:
    """Return all recordings at any depth below ``folder``, sorted; hidden files and folders are left out.

    Links to files and to folders are followed, but none into a folder that it lies in.

    Raises
    ------
    DataError
        The folder is missing, is no folder, or holds no recording.

    Examples
    --------
    >>> from pathlib import Path
    >>> [path.name for path in list_audio_files(Path("recordings/owl"))]
    ['XC1.wav', 'XC2.wav', 'XC3.wav', 'XC4.wav']
    """
    folder = as_path(folder)
    if not is_remote(folder) and not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: {what}; name a folder that holds recordings")
    everything = files_below(folder)
    found = sorted(path for path in everything if path.suffix.lower() in AUDIO_SUFFIXES)
    if not found:
        raise DataError(f"{folder}: no recordings here or below; {legal_suffixes()} are read")
    return found


def files_below(folder: Path) -> list[Path]:
    """Return the files at any depth below a folder, and log how many are sound and still passed over.

    These are hidden ones, and those whose kind is not read. What a Mac adds to its files, ``._night.wav``, is
    no sound.

    Raises
    ------
    DataError
        A server cannot be reached, or refuses.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("card").mkdir()
    >>> Path("card/night.wac").touch()
    >>> [path.name for path in files_below(Path("card"))]  # logs that 1 file is passed over, whose kind ...
    ['night.wac']
    """
    passed_over: list[Path] = []
    try:
        paths = list(walk(folder, passed_over=passed_over))
    except OSError as error:  # of a server
        raise DataError(f"{folder}: cannot be listed; {error.strerror or error}") from None
    hidden = [
        path.name
        for path in passed_over
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("._") and is_file(path)
    ]
    if hidden:
        logger.warning(
            "%s: %s passed over, being hidden: %s; rename what is to be read",
            folder,
            "1 recording is" if len(hidden) == 1 else f"{len(hidden)} recordings are",
            first_few(hidden),
        )
    counts = Counter(suffix for path in paths if (suffix := path.suffix.lower()) in _UNREAD_SUFFIXES)
    if counts:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
        number = counts.total()
        logger.warning(
            "%s: %s passed over, whose kind is not read: %s; convert them to FLAC",
            folder,
            "1 file is" if number == 1 else f"{number} files are",
            kinds,
        )
    return paths


def _read_json_list(path: Path) -> list[str]:
    form = 'write it as ["bird/XC1.ogg", "bird/XC2.ogg"]'
    names = read_json(path, list[Any], error=DataError, remedy=form)
    if not names or not all(isinstance(name, str) for name in names):  # which may be no UTF-8
        raise DataError(f"{path}: not a list of paths; {form}")
    for name in names:
        if not _is_plain(name):
            raise DataError(f"{path}: {name!r} is no path of a recording; write it in full, without `..`")
    return names


def _is_plain(name: str) -> bool:
    """Return whether a name can be that of a file, and leads only into subfolders."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    parts = Path(name).parts
    return bool(parts) and ".." not in parts and "\0" not in name
