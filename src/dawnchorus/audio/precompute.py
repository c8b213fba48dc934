"""A folder of recordings → a folder of stores: in parallel, resumable, and no bad file stops the rest.

Each store is written under a temporary name and renamed when whole, so a run that is killed loses what it
was writing and nothing else; the next run skips what is there and unchanged. Recordings that cannot be
decoded are listed in ``failures.csv``.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dawnchorus.audio.decode import SAMPLE_RATE, count_samples, list_audio_files, stream_audio
from dawnchorus.audio.store import TEMPORARY_PATTERN, is_current, store_path, write_store
from dawnchorus.errors import AudioError, DawnchorusError
from dawnchorus.files import Failure, write_failures
from dawnchorus.progress import track

_STALE_S = 3600  # a temporary file that nobody has written to for this long belongs to no living run
_BYTES_PER_SAMPLE = 2  # int16
_BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class PrecomputeSettings:
    """How a folder is converted.

    Attributes
    ----------
    sample_rate
        Of the stores, in Hz.
    n_cores
        Processes that convert at the same time.
    normalize
        Whether each recording is divided by its peak.
    only_biggest
        Whether the longest recordings come first.
    leave_gb
        Gigabytes (10⁹ bytes) of disk that must stay free: the first recording that would go
        below, and all after it, are left out. None sets no limit.
    """

    sample_rate: int = SAMPLE_RATE
    n_cores: int = 1
    normalize: bool = False
    only_biggest: bool = False
    leave_gb: float | None = None


@dataclass(frozen=True)
class PrecomputeReport:
    """What one run did: recordings converted, already there, left out to keep disk free, and failed."""

    n_done: int
    n_skipped: int
    n_left_out: int
    failures: list[Failure]
    hours_done: float


class _Job(NamedTuple):
    audio_path: Path
    store: Path
    relative_path: Path


def precompute_folder(
    audio_dir: Path, features_dir: Path, settings: PrecomputeSettings = PrecomputeSettings()
) -> PrecomputeReport:
    """Convert every recording below ``audio_dir`` that has no current store, and report the counts.

    Parameters
    ----------
    audio_dir
        A folder of recordings, nested as deep as it likes.
    features_dir
        Where the stores go, in the same folders; ``failures.csv`` is written here if any failed.
    settings
        Sample rate, processes, order and limits.

    Raises
    ------
    DataError
        ``audio_dir`` is missing or holds no recordings; nothing was written.
    DawnchorusError
        The disk is full. What is whole stays, and a later run goes on from there.
    """
    from joblib import Parallel, delayed

    audio_dir, features_dir = Path(audio_dir), Path(features_dir)
    jobs = _plan(audio_dir, features_dir)
    features_dir.mkdir(parents=True, exist_ok=True)
    _remove_stale(features_dir)
    current = {job for job in jobs if _is_done(job, settings)}
    todo = [job for job in jobs if job not in current]
    chosen = _choose(todo, features_dir, settings)
    workers = Parallel(n_jobs=settings.n_cores, return_as="generator_unordered")
    outcomes = workers(delayed(_convert)(job, settings) for job in chosen)
    hours, failures = 0.0, []
    for outcome in track(outcomes, "Converting recordings", total=len(chosen)):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            hours += outcome
    failures.sort()
    write_failures(features_dir, failures)
    return PrecomputeReport(
        n_done=len(chosen) - len(failures),
        n_skipped=len(current),
        n_left_out=len(todo) - len(chosen),
        failures=failures,
        hours_done=hours,
    )


def _plan(audio_dir: Path, features_dir: Path) -> list[_Job]:
    relative_paths = [path.relative_to(audio_dir) for path in list_audio_files(audio_dir)]
    return [_Job(audio_dir / path, store_path(features_dir, path), path) for path in relative_paths]


def _is_done(job: _Job, settings: PrecomputeSettings) -> bool:
    rate, normalize = settings.sample_rate, settings.normalize
    return is_current(job.store, job.audio_path, sample_rate=rate, normalize=normalize)


def _choose(jobs: list[_Job], features_dir: Path, settings: PrecomputeSettings) -> list[_Job]:
    """Return the jobs in the order asked for, up to the first that would leave too little disk free."""
    if not settings.only_biggest and settings.leave_gb is None:
        return jobs
    sizes = {job: _store_bytes(job, settings.sample_rate) for job in jobs}
    if settings.only_biggest:
        jobs = sorted(jobs, key=lambda job: -sizes[job])
    if settings.leave_gb is None:
        return jobs
    free = shutil.disk_usage(features_dir).free - settings.leave_gb * _BYTES_PER_GB
    return list(_while_they_fit(jobs, sizes, free))


def _while_they_fit(jobs: list[_Job], sizes: dict[_Job, int], free: float) -> Iterator[_Job]:
    for job in jobs:
        free -= sizes[job]
        if free < 0:
            return
        yield job


def _store_bytes(job: _Job, sample_rate: int) -> int:
    """Return the size of a store in bytes; a recording that cannot be read takes none."""
    try:
        return _BYTES_PER_SAMPLE * count_samples(job.audio_path, sample_rate=sample_rate)
    except AudioError:
        return 0


def _convert(job: _Job, settings: PrecomputeSettings) -> float | Failure:
    """Convert one recording; return its hours, or the failure if it is the recording's own fault."""
    rate = settings.sample_rate
    try:
        n_samples = write_store(
            job.store,
            stream_audio(job.audio_path, sample_rate=rate),
            sample_rate=rate,
            source=job.audio_path,
            normalize=settings.normalize,
        )
    except AudioError as error:
        return Failure(job.relative_path, str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DawnchorusError(
                f"{job.store.parent}: the disk is full; the stores that are written are whole, "
                "so free some space and run the same command again"
            ) from error
        return Failure(job.relative_path, f"{job.store}: cannot be written; {error.strerror or error}")
    return n_samples / rate / 3600


def _remove_stale(features_dir: Path) -> None:
    """Remove what killed runs left behind, but nothing that a living one may still be writing."""
    for temporary in features_dir.rglob(TEMPORARY_PATTERN):
        try:
            if time.time() - temporary.stat().st_mtime > _STALE_S:
                temporary.unlink()
        except FileNotFoundError:
            continue  # renamed or removed by another run meanwhile
