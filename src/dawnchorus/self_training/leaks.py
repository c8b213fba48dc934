"""Checks that no recording that a model is scored on, nor its recordist, enters a round of self-training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.content_digest import content_digest
from dawnchorus.downloads.catalogue_numbers import catalogue_numbers
from dawnchorus.errors import DataError
from dawnchorus.files import from_legible
from dawnchorus.formats.text_tables import identity_of, read_text_table
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.recordings.dataset_root import real_path
from dawnchorus.recordings.table_readers import TABLE_NAME
from dawnchorus.wording import first_few


class SameRecording(NamedTuple):
    """Two files that are one recording, and how it is known.

    Attributes
    ----------
    first, second
        The files.
    by
        ``file``, ``content`` or ``catalogue number``.

    Examples
    --------
    >>> from pathlib import Path
    >>> SameRecording(Path("night.wav"), Path("copy.wav"), by="content").by
    'content'
    """

    first: Path
    second: Path
    by: str


def same_recordings(first: Sequence[Path], second: Sequence[Path]) -> Iterator[SameRecording]:
    """Yield the files of two lists that are one recording.

    They are one file, have one content (:func:`dawnchorus.audio.content_digest.content_digest`), or begin
    their names with one catalogue number of an archive. Content is compared among files of one size.

    Examples
    --------
    >>> from pathlib import Path
    >>> import shutil
    >>> Path("copies").mkdir()
    >>> copy = Path(shutil.copy("night.wav", "copies/dusk.wav"))
    >>> [same.by for same in same_recordings([Path("night.wav")], [copy])]
    ['content']
    """
    by_path = {real_path(path): path for path in first}
    numbers = catalogue_numbers(path.name for path in first)
    by_number = {number: path for number, path in zip(numbers, first, strict=True) if number}
    by_size = defaultdict(list)
    for path in first:
        if (size := _size_of(path)) is not None:
            by_size[size].append(path)
    digests: dict[Path, str] = {}
    for path, number in zip(second, catalogue_numbers(path.name for path in second), strict=True):
        if (real := real_path(path)) in by_path:
            yield SameRecording(by_path[real], path, "file")
        elif number in by_number:
            yield SameRecording(by_number[number], path, "catalogue number")
        elif (size := _size_of(path)) is not None and size in by_size:
            digest = content_digest(path)
            for other in by_size[size]:
                if other not in digests:
                    digests[other] = content_digest(other)
                if digests[other] == digest:
                    yield SameRecording(other, path, "content")
                    break


def _size_of(path: Path) -> int | None:
    """Return the size of a file that is not empty, or None."""
    try:
        return path.stat().st_size or None
    except OSError:
        return None  # of a store without its audio, or gone; reading says so


def check_no_leak(
    recordings: pd.DataFrame, soundscapes: RecordingFiles, scored: RecordingFiles | None
) -> None:
    """Raise a DataError where soundscapes to learn from hold what a model is scored on.

    Parameters
    ----------
    recordings
        The labelled recordings, with ``audio_path`` and ``author``. Each is validated in some fold, so that
        none of them, nor anything else by its recordist, may be among the soundscapes.
    soundscapes
        The soundscapes to learn from. Where their folder has a ``recordings.csv`` with ``filename`` and
        ``author``, recordists are compared.
    scored
        Labelled soundscapes that rounds are scored on; they may be neither among the soundscapes nor among
        the recordings.

    Examples
    --------
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.recordings.recordings_table import load_recordings
    >>> labelled = load_recordings("recordings").table
    >>> check_no_leak(labelled, find_recordings(["night.wav"]), None)
    >>> check_no_leak(labelled, find_recordings(["recordings/owl"]), None)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: 4 of the soundscapes are labelled recordings too ...
    """
    labelled = [Path(from_legible(path)) for path in recordings["audio_path"]]
    unlabelled = _paths(soundscapes.recordings)
    _refuse(
        same_recordings(labelled, unlabelled),
        "of the soundscapes are labelled recordings too",
        "take them out, or a fold would be validated on what it has learnt",
    )
    if scored is not None:
        _refuse(
            same_recordings(_paths(scored.recordings), unlabelled),
            "of the soundscapes are labelled ones that rounds are scored on",
            "keep these in a folder of their own",
        )
        _refuse(
            same_recordings(labelled, _paths(scored.recordings)),
            "of the soundscapes that rounds are scored on are labelled recordings too",
            "take them out of one of the two",
        )
    _refuse_recordists(recordings, authors_of(soundscapes))


def authors_of(soundscapes: RecordingFiles) -> dict[str, str]:
    """Return the recordist of each soundscape whose folder's ``recordings.csv`` names one, by its name.

    Examples
    --------
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> authors_of(find_recordings(["recordings"]))["owl/XC1.wav"]
    'Ada'
    """
    file = soundscapes.root / TABLE_NAME
    if not file.is_file():
        return {}
    table = read_text_table(file, required=("filename",))
    if "author" not in table:
        return {}
    author_of = dict(zip(table["filename"], table["author"], strict=True))
    names = (recording.name for recording in soundscapes.recordings)
    return {name: author_of[name] for name in names if name in author_of}


def _refuse_recordists(recordings: pd.DataFrame, author_of: Mapping[str, str]) -> None:
    if "author" not in recordings:
        return
    known = set(map(identity_of, recordings["author"].astype(str))) - {""}
    both = [name for name, author in author_of.items() if identity_of(author) in known]
    if both:
        named = first_few([f"{name} by {author_of[name]}" for name in both])
        raise DataError(
            f"{len(both)} of the soundscapes are by recordists of the labelled recordings ({named}), which a "
            "fold is validated on; take them out"
        )


def _refuse(found: Iterable[SameRecording], what: str, remedy: str) -> None:
    pairs = list(found)
    if pairs:
        named = first_few([f"{same.second.name} is {same.first.name} by its {same.by}" for same in pairs])
        raise DataError(f"{len(pairs)} {what} ({named}); {remedy}")


def _paths(recordings: Iterable[RecordingFile]) -> list[Path]:
    return [recording.path for recording in recordings]
