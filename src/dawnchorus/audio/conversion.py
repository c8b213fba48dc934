"""Conversion of one recording of many, in any process: survey it, convert it, verify its store.

Failures of a recording are returned and not raised, so that the others go on.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dawnchorus.audio.container import count_salvaged
from dawnchorus.audio.content_digest import content_digest
from dawnchorus.audio.decode import count_samples, resampled_length, stream_audio
from dawnchorus.audio.source import open_stored
from dawnchorus.audio.store import is_current
from dawnchorus.audio.store_layout import BLOCK, ROW, StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.audio.torchaudio_decode import load_with_torchaudio
from dawnchorus.errors import AudioError, StoreError
from dawnchorus.files import Failure, FileVersion

BYTES_PER_GB = 1e9
_FRAME_BYTES = 4_096  # size of a store without sound and blocks, rounded up
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Job(NamedTuple):
    """A recording, its store, its name in the lists, and whether its store is known to be damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> job = Job(Path("audio/XC1.ogg"), Path("features/XC1.ogg.hdf5"), Path("XC1.ogg"), is_damaged=False)
    >>> job.store.name
    'XC1.ogg.hdf5'
    """

    audio_path: Path
    store: Path
    relative_path: Path
    is_damaged: bool


@dataclass(frozen=True, slots=True)
class Todo:
    """A recording that needs a store, how long it is in hours, and how large its store will be.

    Examples
    --------
    >>> from pathlib import Path
    >>> job = Job(Path("audio/XC1.ogg"), Path("features/XC1.ogg.hdf5"), Path("XC1.ogg"), is_damaged=False)
    >>> Todo(job, hours=0.1, n_bytes=23_000_000).hours
    0.1
    """

    job: Job
    hours: float
    n_bytes: int


class Ending(Enum):
    """The result of a conversion.

    Examples
    --------
    >>> Ending.LEFT_OUT.value
    'left out'
    """

    DONE = "done"
    CURRENT = "already there"
    FAILED = "failed"
    LEFT_OUT = "left out"
    DISK_FULL = "disk full"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of converting a recording, with the reason where it is not done, and notes on its sound.

    ``is_unreadable`` says that the recording itself is the reason.

    Examples
    --------
    >>> from pathlib import Path
    >>> job = Job(Path("audio/XC1.ogg"), Path("features/XC1.ogg.hdf5"), Path("XC1.ogg"), is_damaged=False)
    >>> outcome = Outcome(Todo(job, 0.1, 23_000_000), Ending.FAILED, "truncated")
    >>> outcome.failure.reason
    'truncated'
    """

    item: Todo
    ending: Ending
    reason: str = ""
    notes: tuple[str, ...] = ()
    is_unreadable: bool = False

    @property
    def failure(self) -> Failure:
        """The line for a list of recordings."""
        return Failure(self.item.job.relative_path, self.reason)


@dataclass(frozen=True)
class Limits:
    """The disk that stores are written to, and how many gigabytes (10⁹ bytes) of it must stay free.

    Examples
    --------
    >>> from pathlib import Path
    >>> Limits(Path(), leave_gb=None).room()
    inf
    >>> Limits(Path(), leave_gb=1.0).room() < float("inf")
    True
    """

    features_dir: Path
    leave_gb: float | None

    def room(self) -> float:
        """Return how many bytes may still be written."""
        if self.leave_gb is None:
            return float("inf")
        return shutil.disk_usage(self.features_dir).free - self.leave_gb * BYTES_PER_GB

    def left_out(self, item: Todo) -> Outcome:
        """Return the outcome of a recording for which there is no room."""
        reason = f"{item.job.audio_path}: left out, so that {self.leave_gb:g} GB of the disk stay free"
        return Outcome(item, Ending.LEFT_OUT, reason)


def survey(job: Job, settings: StoreSettings) -> Todo | Failure | None:
    """Return the work on a recording, a failure where it cannot be read, or None where its store is current.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.store_layout import StoreSettings
    >>> job = Job(Path("night.wav"), Path("night.wav.hdf5"), Path("night.wav"), is_damaged=False)
    >>> todo = survey(job, StoreSettings())
    >>> round(todo.hours * 3600), todo.n_bytes
    (12, 772480)
    """
    if not job.is_damaged and is_current(job.store, job.audio_path, settings):
        return None
    rate = settings.sample_rate
    try:
        n_samples = count_samples(job.audio_path, sample_rate=rate, salvage=settings.salvage)
    except AudioError as error:
        return Failure(job.relative_path, str(error))
    n_bytes = (
        n_samples * settings.sample_type.itemsize + (n_samples // BLOCK + 1) * ROW.itemsize + _FRAME_BYTES
    )
    return Todo(job, n_samples / settings.sample_rate / 3600, n_bytes)


def convert(item: Todo, settings: StoreSettings, limits: Limits) -> Outcome:
    """Convert one recording, unless another run has done so meanwhile.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.store_layout import StoreSettings
    >>> job = Job(Path("night.wav"), Path("night.wav.hdf5"), Path("night.wav"), is_damaged=False)
    >>> outcome = convert(survey(job, StoreSettings()), StoreSettings(), Limits(Path(), leave_gb=None))
    >>> outcome.ending, job.store.is_file()
    (<Ending.DONE: 'done'>, True)
    """
    job = item.job
    if not job.is_damaged and is_current(job.store, job.audio_path, settings):
        return Outcome(item, Ending.CURRENT)
    if limits.room() < item.n_bytes:
        return limits.left_out(item)
    whole = _convert(item, replace(settings, salvage=False))
    return _convert(item, settings) if whole.is_unreadable and settings.salvage else whole


def _convert(item: Todo, settings: StoreSettings) -> Outcome:
    job, notes = item.job, list[str]()
    try:
        source = FileVersion.of(job.audio_path)  # taken first, so that a change while it is read is found
        digest = content_digest(job.audio_path)
        n_samples, blocks = _decode(job.audio_path, settings, notes)
    except AudioError as error:
        return Outcome(item, Ending.FAILED, str(error), is_unreadable=True)
    except OSError as error:
        return Outcome(item, Ending.FAILED, f"{job.audio_path}: cannot be read; {error.strerror or error}")
    try:
        write_store(job.store, blocks, settings, n_samples=n_samples, source=source, source_digest=digest)
    except AudioError as error:
        return Outcome(item, Ending.FAILED, str(error), is_unreadable=True)
    except (ValueError, MemoryError) as error:  # it is longer or shorter than it was, or overflows
        return Outcome(item, Ending.FAILED, f"{job.audio_path}: cannot be stored; {error}")
    except OSError as error:
        ending = Ending.DISK_FULL if error.errno in _NO_ROOM else Ending.FAILED
        return Outcome(item, ending, f"{job.store}: cannot be written; {error.strerror or error}")
    return Outcome(item, Ending.DONE, notes=tuple(notes))


def _decode(path: Path, settings: StoreSettings, notes: list[str]) -> tuple[int, Iterator[np.ndarray]]:
    rate, channel = settings.sample_rate, settings.channel
    if settings.decoder == "torchaudio":
        wave = load_with_torchaudio(path, sample_rate=rate, channel=channel, notes=notes)
        return len(wave), iter([wave])
    blocks = stream_audio(path, sample_rate=rate, channel=channel, notes=notes, salvage=settings.salvage)
    if settings.salvage:
        counted = count_salvaged(path)
        return resampled_length(counted.n_frames, counted.sample_rate, rate), blocks
    return count_samples(path, sample_rate=rate), blocks


def verify(path: Path, features_dir: Path) -> Failure | None:
    """Read every byte of a store; return its failure, or None where it is as written.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("night.wav.hdf5").write_bytes(bytes(1000))
    >>> verify(Path("night.wav.hdf5"), Path()).path.name
    'night.wav.hdf5'
    """
    try:
        open_stored(path).verify()
    except StoreError as error:
        return Failure(path.relative_to(features_dir), str(error))
    return None
