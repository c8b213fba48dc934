"""Recordings → stores: in parallel, resumable, and no bad file stops the rest.

Each store is written under a temporary name and renamed when whole, so a run that is killed loses what it
was writing and nothing else; the next run skips what is there and unchanged. Recordings that cannot be
decoded are listed in ``failures.csv``, those that a full disk had no room for in ``left_out.csv``.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.audio.decode import count_samples, stream_audio
from dawnchorus.audio.listing import list_recordings
from dawnchorus.audio.source import open_stored
from dawnchorus.audio.store import is_current, store_path
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.audio.torchaudio_decode import import_torchaudio, load_with_torchaudio
from dawnchorus.errors import AudioError, DataError, DawnchorusError, StoreError
from dawnchorus.files import Failure, remove_abandoned, write_failures
from dawnchorus.progress import track

LEFT_OUT_NAME = "left_out.csv"
DAMAGED_NAME = "damaged.csv"
_BYTES_PER_GB = 1e9
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class PrecomputeSettings:
    """How recordings are converted.

    Attributes
    ----------
    store
        Sample rate, precision and decoder.
    n_cores
        Processes that convert at the same time.
    only_biggest
        Whether the longest recordings come first.
    leave_gb
        Gigabytes (10⁹ bytes) of disk that must stay free: the first recording that would go
        below, and all after it, are left out. None sets no limit.
    """

    store: StoreSettings = field(default_factory=StoreSettings)
    n_cores: int = 1
    only_biggest: bool = False
    leave_gb: float | None = None


@dataclass(frozen=True)
class PrecomputeReport:
    """What one run did: recordings converted, already there, left out to keep disk free, and failed."""

    n_done: int
    n_skipped: int
    left_out: list[Failure]
    failures: list[Failure]
    hours_done: float


@dataclass(frozen=True)
class VerifyReport:
    """What reading every byte of the stores found: how many are whole, and the others."""

    n_whole: int
    damaged: list[Failure]


class _Job(NamedTuple):
    audio_path: Path
    store: Path
    relative_path: Path


@dataclass(frozen=True)
class _Todo:
    """A recording that has no current store, and its length."""

    job: _Job
    n_samples: int
    settings: StoreSettings

    @property
    def hours(self) -> float:
        return self.n_samples / self.settings.sample_rate / 3600

    @property
    def n_bytes(self) -> int:
        return self.n_samples * self.settings.sample_type.itemsize


@dataclass(frozen=True)
class _Outcome:
    """How a conversion ended; without a problem, it is done."""

    hours: float
    problem: Failure | None = None
    is_left_out: bool = False
    is_disk_full: bool = False


@dataclass
class _Tally:
    """The outcomes of a run so far."""

    n_done: int = 0
    hours_done: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    left_out: list[Failure] = field(default_factory=list)
    no_room: str | None = None

    def add(self, outcome: _Outcome) -> None:
        if outcome.problem is None:
            self.n_done += 1
            self.hours_done += outcome.hours
        elif outcome.is_disk_full:
            self.no_room = outcome.problem.reason
        else:
            (self.left_out if outcome.is_left_out else self.failures).append(outcome.problem)


def precompute_recordings(
    audio: Path,
    features_dir: Path,
    settings: PrecomputeSettings = PrecomputeSettings(),
    *,
    audio_root: Path | None = None,
) -> PrecomputeReport:
    """Convert every recording that has no current store, and report the counts.

    Parameters
    ----------
    audio
        A folder of recordings, nested as deep as it likes, or a JSON list of their paths.
    features_dir
        Where the stores go, in the same folders; ``failures.csv`` is written here if any failed.
    settings
        Precision, processes, order and limits.
    audio_root
        See :func:`dawnchorus.audio.listing.list_recordings`.

    Raises
    ------
    DataError
        ``audio`` is missing or holds no recordings; nothing was written.
    MissingExtraError
        torchaudio is asked for and cannot be imported; nothing was written.
    DawnchorusError
        The disk is full. What is whole stays, and a later run goes on from there.
    """
    features_dir = Path(features_dir)
    if settings.store.decoder == "torchaudio":
        import_torchaudio()
    root, relative_paths = list_recordings(audio, root=audio_root)
    jobs = [_Job(root / path, store_path(features_dir, path), path) for path in relative_paths]
    features_dir.mkdir(parents=True, exist_ok=True)
    remove_abandoned(features_dir)

    surveyed = list(
        track(
            _in_parallel(_survey, ((job, settings.store) for job in jobs), settings.n_cores),
            "Looking at recordings",
            total=len(jobs),
        )
    )
    todo = [found for found in surveyed if isinstance(found, _Todo)]
    tally = _Tally(failures=[found for found in surveyed if isinstance(found, Failure)])
    chosen, tally.left_out = _choose(todo, features_dir, settings)

    def until_the_disk_is_full() -> Iterator[tuple[_Todo, Path, float | None]]:
        for item in chosen:
            if tally.no_room:
                return
            yield item, features_dir, settings.leave_gb

    outcomes = _in_parallel(_convert, until_the_disk_is_full(), settings.n_cores)
    hours = sum(item.hours for item in chosen)
    for outcome in track(
        outcomes, "Converting recordings", total=hours, amount=lambda outcome: outcome.hours, unit="h"
    ):
        tally.add(outcome)
    try:
        write_failures(features_dir, sorted(tally.failures))
        write_failures(features_dir, sorted(tally.left_out), name=LEFT_OUT_NAME)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        tally.no_room = _disk_is_full(features_dir, error)
    if tally.no_room:
        raise DawnchorusError(tally.no_room)
    return PrecomputeReport(
        n_done=tally.n_done,
        n_skipped=sum(found is None for found in surveyed),
        left_out=sorted(tally.left_out),
        failures=sorted(tally.failures),
        hours_done=tally.hours_done,
    )


def verify_stores(features_dir: Path, *, n_cores: int = 1) -> VerifyReport:
    """Read every byte of every HDF5 file below a folder; those that are damaged go to ``damaged.csv``.

    Raises
    ------
    DataError
        The folder is missing or holds no HDF5 files.
    """
    features_dir = Path(features_dir)
    paths = sorted(features_dir.rglob("*.hdf5"))
    if not paths:
        raise DataError(f"{features_dir}: no HDF5 files here or below; name the folder of the store")
    reasons = _in_parallel(_verify, ((path, features_dir) for path in paths), n_cores)
    damaged = sorted(found for found in track(reasons, "Verifying", total=len(paths)) if found is not None)
    write_failures(features_dir, damaged, name=DAMAGED_NAME)
    return VerifyReport(len(paths) - len(damaged), damaged)


def _in_parallel(
    function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], n_cores: int
) -> Iterator[Any]:
    """Yield the results in any order; with one core, in this process."""
    from joblib import Parallel, delayed

    calls = (delayed(function)(*values) for values in arguments)
    results: Iterator[Any] = Parallel(n_jobs=n_cores, return_as="generator_unordered")(calls)
    return results


def _survey(job: _Job, settings: StoreSettings) -> _Todo | Failure | None:
    """Return what is to do for a recording: nothing where its store is current."""
    if is_current(job.store, job.audio_path, settings):
        return None
    try:
        return _Todo(job, count_samples(job.audio_path, sample_rate=settings.sample_rate), settings)
    except AudioError as error:
        return Failure(job.relative_path, str(error))


def _choose(
    todo: list[_Todo], features_dir: Path, settings: PrecomputeSettings
) -> tuple[list[_Todo], list[Failure]]:
    """Return what to convert, in the order asked for, and what would leave too little disk free."""
    if settings.only_biggest:
        todo = sorted(todo, key=lambda item: (-item.n_bytes, item.job.relative_path))
    if settings.leave_gb is None:
        return todo, []
    free = _free_bytes(features_dir, settings.leave_gb)
    for n_chosen, item in enumerate(todo):
        free -= item.n_bytes
        if free < 0:
            return todo[:n_chosen], [_no_room_left(item, settings.leave_gb) for item in todo[n_chosen:]]
    return todo, []


def _free_bytes(features_dir: Path, leave_gb: float) -> float:
    """Return how many bytes may still be written where ``leave_gb`` are to stay free."""
    return shutil.disk_usage(features_dir).free - leave_gb * _BYTES_PER_GB


def _disk_is_full(features_dir: Path, error: OSError) -> str:
    return (
        f"{features_dir}: {error.strerror or error}; the stores that are written are whole, "
        "so free some space and run the same command again"
    )


def _no_room_left(item: _Todo, leave_gb: float) -> Failure:
    reason = (
        f"its {item.n_bytes / _BYTES_PER_GB:.3f} GB would leave less than {leave_gb:g} GB of the disk free"
    )
    return Failure(item.job.relative_path, f"{item.job.audio_path}: {reason}")


def _convert(item: _Todo, features_dir: Path, leave_gb: float | None) -> _Outcome:
    """Convert one recording; what fails by its own fault, or for want of disk, is told and not raised."""
    job, settings = item.job, item.settings
    if leave_gb is not None and _free_bytes(features_dir, leave_gb) < item.n_bytes:
        return _Outcome(item.hours, _no_room_left(item, leave_gb), is_left_out=True)
    try:
        if settings.decoder == "torchaudio":
            wave = load_with_torchaudio(job.audio_path, sample_rate=settings.sample_rate)
            blocks, n_samples = iter([wave]), len(wave)
        else:
            blocks = stream_audio(job.audio_path, sample_rate=settings.sample_rate)
            n_samples = item.n_samples
        write_store(job.store, blocks, settings, n_samples=n_samples, source=job.audio_path)
    except AudioError as error:
        return _Outcome(item.hours, Failure(job.relative_path, str(error)))
    except OSError as error:
        if error.errno in _NO_ROOM:
            problem = Failure(job.relative_path, _disk_is_full(features_dir, error))
            return _Outcome(item.hours, problem, is_disk_full=True)
        reason = f"{job.store}: cannot be written; {error.strerror or error}"
        return _Outcome(item.hours, Failure(job.relative_path, reason))
    return _Outcome(item.hours)


def _verify(path: Path, features_dir: Path) -> Failure | None:
    try:
        open_stored(path).verify()
    except StoreError as error:
        return Failure(path.relative_to(features_dir), str(error))
    return None
