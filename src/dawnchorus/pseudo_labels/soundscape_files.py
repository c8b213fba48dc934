"""Soundscapes by their names in pseudo-labels, and their split into the folds of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from dawnchorus.audio.container import AUDIO_SUFFIXES
from dawnchorus.audio.source import STORE_SUFFIXES
from dawnchorus.errors import DataError
from dawnchorus.predict.recording_files import RecordingFile


class Dealt(NamedTuple):
    """Soundscapes by fold, in the order of the folds and of their names.

    Attributes
    ----------
    by_fold
        The soundscapes that each fold's model predicts.
    unit
        The unit that was kept together: ``site`` or ``soundscape``; ``labelled recording`` where the run's
        folds are followed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> Dealt({0: [RecordingFile(Path("night.wav"), "night.wav")], 1: []}, unit="soundscape").unit
    'soundscape'
    """

    by_fold: dict[int, list[RecordingFile]]
    unit: Literal["site", "soundscape", "labelled recording"]


def soundscape_name(recording: RecordingFile) -> str:
    """Return the file name without its suffix, which identifies a soundscape in pseudo-labels.

    Of a store ``H1.ogg.hdf5``, or ``H1.hdf5`` of the published layout, it is that of its audio file, ``H1``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> soundscape_name(RecordingFile(Path("store/H1.ogg.hdf5"), "H1.ogg.hdf5"))
    'H1'
    """
    path = PurePosixPath(recording.name)
    if path.suffix.lower() in STORE_SUFFIXES and PurePosixPath(path.stem).suffix.lower() in AUDIO_SUFFIXES:
        path = PurePosixPath(path.stem)
    return path.stem


def soundscapes_by_name(recordings: Iterable[RecordingFile]) -> dict[str, RecordingFile]:
    """Return recordings by :func:`soundscape_name`, in their order.

    Raises
    ------
    DataError
        Two have one name, or a name is not valid text: their rows could not be identified.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> list(soundscapes_by_name([RecordingFile(Path("audio/H1.ogg"), "H1.ogg")]))
    ['H1']
    """
    named: dict[str, RecordingFile] = {}
    for recording in recordings:
        name = soundscape_name(recording)
        if name in named:
            raise DataError(
                f"{named[name].name} and {recording.name} are both named {name}, and pseudo-labels tell "
                "soundscapes apart by that; rename one, or make a table a folder"
            )
        if not _is_text(name):
            raise DataError(
                f"the file name {name!r} is no valid UTF-8, so that its pseudo-labels would not be found "
                "again; rename the file"
            )
        named[name] = recording
    return named


def deal_soundscapes(recordings: Sequence[RecordingFile], folds: Sequence[int]) -> Dealt:
    """Return soundscapes split into folds, always in the same way.

    The folder of a soundscape is taken for the site of its recorder: the first one in which the names differ.
    A site's soundscapes sound alike, so where there are at least as many sites as folds, a whole site goes to
    one fold; a soundscape in no folder is a unit by itself. A hash of the unit's name selects its fold, which
    stays the same when others are added: in the next round a model must not label its own training data. Only
    where a fold would get nothing, units are split in the order of their hashes instead.

    Parameters
    ----------
    recordings
        The soundscapes.
    folds
        Numbers of the folds.

    Raises
    ------
    DataError
        There are fewer than two soundscapes: a fold would be left without any row of another fold's model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> names = ["site_1/a.wav", "site_1/b.wav", "site_2/a.wav"]
    >>> dealt = deal_soundscapes([RecordingFile(Path(name), name) for name in names], folds=[0, 1])
    >>> dealt.unit, sorted(len(soundscapes) for soundscapes in dealt.by_fold.values())
    ('site', [1, 2])
    """
    if len(recordings) < 2:
        raise DataError(
            "out of fold, one soundscape would be labelled by one fold, which then has nothing to train on; "
            "give two soundscapes or more"
        )
    sites = _sites([recording.name for recording in recordings])
    by_site = len(set(sites) - {""}) >= len(folds)
    groups: dict[tuple[str, str], list[RecordingFile]] = {}
    for recording, site in zip(recordings, sites, strict=True):
        key = (site, "") if by_site and site else ("", soundscape_name(recording))
        groups.setdefault(key, []).append(recording)
    dealt: dict[int, list[RecordingFile]] = {fold: [] for fold in sorted(folds)}
    order = sorted(groups, key=lambda key: _digest(*key))
    fold_of = {key: sorted(folds)[int.from_bytes(_digest(*key)) % len(folds)] for key in order}
    if len(set(fold_of.values())) < min(len(folds), len(groups)):
        fold_of = {key: sorted(folds)[number % len(folds)] for number, key in enumerate(order)}
    for key in order:
        dealt[fold_of[key]] += groups[key]
    for fold in dealt:
        dealt[fold].sort(key=lambda recording: recording.name)
    return Dealt(dealt, "site" if by_site else "soundscape")


def deal_labelled(
    recordings: Sequence[RecordingFile], folds: Sequence[int], fold_of: Mapping[Path, int]
) -> Dealt:
    """Return labelled recordings by the fold that was left out with them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> owl = RecordingFile(Path("owl/XC1.wav"), "owl/XC1.wav")
    >>> [len(recordings) for recordings in deal_labelled([owl], [0, 1], {owl.path: 1}).by_fold.values()]
    [0, 1]
    """
    by_fold: dict[int, list[RecordingFile]] = {fold: [] for fold in sorted(folds)}
    for recording in recordings:
        by_fold[fold_of[recording.path]].append(recording)
    return Dealt(by_fold, "labelled recording")


def _sites(names: Sequence[str]) -> list[str]:
    """Return the first folder of each name below those that all share, empty where it lies in none."""
    folders = [PurePosixPath(name).parent.parts for name in names]
    n_shared = 0
    while len({folder[: n_shared + 1] for folder in folders}) == 1 and len(folders[0]) > n_shared:
        n_shared += 1
    return ["".join(folder[n_shared : n_shared + 1]) for folder in folders]


def _digest(*texts: str) -> bytes:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogateescape")).digest()


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
