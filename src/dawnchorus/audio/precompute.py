"""Recordings → stores: in parallel, resumable, and no bad file stops the rest.

Each store is written under a temporary name and renamed when complete, so a run that is killed loses only
the stores that it was writing; the next run skips stores that are current. Recordings that cannot be
decoded are listed in ``failures.csv``, those for which there was no room in ``left_out.csv``. Stores that
:func:`verify_stores` listed in ``damaged.csv`` are made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dawnchorus.audio.conversion import (
    BYTES_PER_GB,
    Ending,
    Job,
    Limits,
    Outcome,
    Todo,
    convert,
    survey,
    verify,
)
from dawnchorus.audio.listing import Listing, list_recordings
from dawnchorus.audio.published_store import open_published_store
from dawnchorus.audio.store import store_path
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.audio.torchaudio_decode import check_torchaudio
from dawnchorus.cluster.workers import Cluster, Killed, Work, spread
from dawnchorus.errors import DataError, DawnchorusError, StoreError
from dawnchorus.files import (
    FAILURES_NAME,
    NOTES_NAME,
    Failure,
    mend,
    read_failures,
    walk,
    write_failures,
)
from dawnchorus.files.storage import given_path, is_remote
from dawnchorus.progress import track

LEFT_OUT_NAME = "left_out.csv"
DAMAGED_NAME = "damaged.csv"
STORE_SUFFIX = ".hdf5"

T = TypeVar("T")


@dataclass(frozen=True)
class PrecomputeSettings:
    """Settings of a conversion of recordings.

    Attributes
    ----------
    store
        Sample rate, precision and decoder.
    n_cores
        Processes that convert at the same time.
    cluster
        A cluster whose workers convert instead, on one core each.
    only_biggest
        Whether the longest recordings come first.
    leave_gb
        Gigabytes (10⁹ bytes) of disk that must stay free: the first recording that would go
        below, and all after it, are left out. None sets no limit.
    use_published
        Of recordings that the folder already holds in the published layout: whether they count as converted,
        or are converted beside that. None refuses to double them.

    Examples
    --------
    >>> from dawnchorus.audio.store_layout import StoreSettings
    >>> settings = PrecomputeSettings(StoreSettings(sample_rate=48_000), n_cores=4, leave_gb=10.0)
    >>> settings.n_cores, settings.store.sample_rate
    (4, 48000)
    """

    store: StoreSettings = field(default_factory=StoreSettings)
    n_cores: int = 1
    only_biggest: bool = False
    leave_gb: float | None = None
    use_published: bool | None = None
    cluster: Cluster | None = None


@dataclass(frozen=True)
class PrecomputeReport:
    """Counts and lists of one run: recordings converted, of these anew, already there, left out, and failed.

    ``notes`` are on the sound of those that were converted.

    Examples
    --------
    >>> PrecomputeReport(8, n_replaced=0, n_skipped=0, left_out=[], failures=[], hours_done=0.1).n_done
    8
    """

    n_done: int
    n_replaced: int
    n_skipped: int
    left_out: list[Failure]
    failures: list[Failure]
    hours_done: float
    notes: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class VerifyReport:
    """The number of stores that are whole, and the failures of the others, after reading every byte.

    Examples
    --------
    >>> VerifyReport(n_whole=8, damaged=[]).n_whole
    8
    """

    n_whole: int
    damaged: list[Failure]


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
        A folder of recordings, nested to any depth, or a JSON list of their paths.
    features_dir
        Folder for the stores, in the same subfolders, and for the lists of recordings that failed or were
        left out.
    settings
        Precision, processes, order and limits.
    audio_root
        See :func:`dawnchorus.audio.listing.list_recordings`.

    Raises
    ------
    DataError
        ``audio`` is missing or holds no recordings, or ``features_dir`` holds some in the published layout;
        nothing was written.
    MissingExtraError
        torchaudio is the decoder and cannot be imported, or cannot decode; nothing was written.
    DawnchorusError
        ``features_dir`` cannot be written, the disk is full, or a process was killed. Complete
        stores stay, and a later run goes on from there.

    Examples
    --------
    >>> from pathlib import Path
    >>> report = precompute_recordings(Path("recordings"), Path("features"))
    >>> report.n_done, report.failures
    (8, [])
    >>> Path("features/owl/XC1.wav.hdf5").is_file()
    True
    >>> precompute_recordings(Path("recordings"), Path("features")).n_skipped
    8
    """
    if settings.store.decoder == "torchaudio":
        check_torchaudio()
    listing = list_recordings(audio, root=audio_root)
    made = convert_listing(listing, features_dir, settings)
    # Lines about the recordings of this run are replaced; lines about others stay.
    covered = None if Path(audio).is_dir() else set(listing.relative_paths)
    problems = [*made.problems, *update_lists(features_dir, made, covered)]
    if problems:
        raise DawnchorusError(
            f"{'; '.join(problems)}; {made.report.n_done} of {made.n_todo} recordings are converted and "
            "whole, run the same command again for the rest"
        )
    return made.report


class Conversion(NamedTuple):
    """A run: its report, what stopped it, how many recordings needed a store, and which were converted.

    Examples
    --------
    >>> report = PrecomputeReport(0, n_replaced=0, n_skipped=8, left_out=[], failures=[], hours_done=0.0)
    >>> Conversion(report, problems=[], n_todo=0, converted=[]).report.n_skipped
    8
    """

    report: PrecomputeReport
    problems: list[str]
    n_todo: int
    converted: list[Path]


def convert_listing(listing: Listing, features_dir: Path, settings: PrecomputeSettings) -> Conversion:
    """Convert the recordings of a listing that have no current store; lists are left as they are.

    Raises
    ------
    DataError, DawnchorusError
        As for :func:`precompute_recordings`, before anything is converted.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.listing import list_recordings
    >>> listing = list_recordings(Path("recordings"))
    >>> convert_listing(listing, Path("features"), PrecomputeSettings()).report.n_done
    8
    """
    published = _published(listing, Path(features_dir), settings.store.sample_rate)
    if published and settings.use_published is None:
        n_bytes = sum(path.stat().st_size for path in published.values())
        raise DataError(
            f"{features_dir}: {len(published)} of the {len(listing.relative_paths)} recordings are here in "
            f"the published layout ({n_bytes / BYTES_PER_GB:.3g} GB), which training reads as it is, and "
            "converting them would store them twice; give --use-published to keep these, --convert-published "
            "to convert them all the same, or another folder"
        )
    with nullcontext() if settings.cluster is None else settings.cluster.connected():
        return _convert(listing, _made_folder(features_dir), settings, published)


def _convert(
    listing: Listing, features_dir: Path, settings: PrecomputeSettings, published: dict[Path, Path]
) -> Conversion:
    _mend_all(features_dir)
    kept = set(published) if settings.use_published else set()
    listing = listing._replace(relative_paths=[path for path in listing.relative_paths if path not in kept])
    surveyed = _survey_all(listing, features_dir, settings) + [None] * len(kept)
    todo = sorted((found for found in surveyed if isinstance(found, Todo)), key=lambda item: item.job)
    limits = Limits(features_dir, settings.leave_gb)
    chosen, outcomes = _choose(todo, limits, only_biggest=settings.only_biggest)
    n_replaced = sum(item.job.store.exists() for item in chosen)
    stopped_by = _convert_all(chosen, settings, limits, outcomes)
    report = _report(surveyed, outcomes, n_replaced)
    report = replace(report, failures=[_with_store(failure, features_dir) for failure in report.failures])

    converted = [item.job.relative_path for item in _ended(outcomes, Ending.DONE)]
    return Conversion(report, [stopped_by] if stopped_by else [], len(todo), converted)


def update_lists(features_dir: Path, made: Conversion, covered: set[Path] | None) -> list[str]:
    """Bring the lists in a folder up to date; return the reasons where that failed.

    Parameters
    ----------
    features_dir
        The folder of the stores.
    made
        The run.
    covered
        The recordings of the run, whose lines are replaced; None replaces all lines.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.files import Failure
    >>> failed = [Failure(Path("owl/XC5.wav"), "truncated")]
    >>> report = PrecomputeReport(0, n_replaced=0, n_skipped=0, left_out=[], failures=failed, hours_done=0.0)
    >>> update_lists(Path("features"), Conversion(report, [], 1, converted=[]), covered=None)
    []
    >>> Path("features/failures.csv").read_text().splitlines()[-1]
    'owl/XC5.wav,truncated'
    """
    rebuilt = {store_path(Path(), path) for path in made.converted}
    return [
        *_update_list(features_dir, FAILURES_NAME, made.report.failures, covered),
        *_update_list(features_dir, NOTES_NAME, made.report.notes, set(made.converted)),
        *_update_list(features_dir, LEFT_OUT_NAME, made.report.left_out, covered),
        *_update_list(features_dir, DAMAGED_NAME, [], rebuilt),
    ]


def verify_stores(features_dir: Path, *, n_cores: int = 1) -> VerifyReport:
    """Read every byte of every HDF5 file below a folder.

    Raises
    ------
    DataError
        The folder is missing or holds no HDF5 files.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = precompute_recordings(Path("recordings"), Path("features"))
    >>> verify_stores(Path("features"))
    VerifyReport(n_whole=8, damaged=[])
    """
    features_dir = Path(features_dir)
    if not features_dir.is_dir():
        raise DataError(f"{features_dir}: no such folder; name the folder of the store")
    paths = [path for path in walk(features_dir) if path.suffix == STORE_SUFFIX]
    if not paths:
        raise DataError(f"{features_dir}: no HDF5 files here or below; name the folder of the store")
    found = _in_parallel(partial(verify, features_dir=features_dir), paths, n_cores)
    damaged = sorted(
        failure for failure in track(found, "Verifying", total=len(paths)) if failure is not None
    )
    return VerifyReport(len(paths) - len(damaged), damaged)


def _made_folder(features_dir: Path) -> Path:
    """Return the folder for the stores, made if need be."""
    if is_remote(given := given_path(features_dir)):
        raise DataError(f"{given}: stores are written to a folder of this machine; name one")
    features_dir = Path(features_dir)
    try:
        features_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DawnchorusError(f"{features_dir}: cannot be made a folder; {error.strerror}") from error
    return features_dir


def _mend_all(features_dir: Path) -> None:
    """Remove what killed processes left, at any depth."""
    for folder in {path.parent for path in walk(features_dir, hidden=True)}:
        mend(folder)


def _published(listing: Listing, features_dir: Path, sample_rate: int) -> dict[Path, Path]:
    """Return the published stores, by recording, where they have the rate and there is none of ours."""
    found = {}
    for path in listing.relative_paths if features_dir.is_dir() else ():
        store = features_dir / path.with_suffix(STORE_SUFFIX)
        if store.is_file() and not store_path(features_dir, path).is_file():
            with suppress(StoreError):
                if open_published_store(store).sample_rate == sample_rate:
                    found[path] = store
    return found


def _survey_all(
    listing: Listing, features_dir: Path, settings: PrecomputeSettings
) -> list[Todo | Failure | None]:
    damaged = {failure.path for failure in read_failures(features_dir, name=DAMAGED_NAME)}
    jobs = []
    for path in listing.relative_paths:
        store = store_path(features_dir, path)
        jobs.append(Job(listing.root / path, store, path, store.relative_to(features_dir) in damaged))
    work = partial(survey, settings=settings.store)
    found = _in_parallel(
        work, jobs, settings.n_cores, settings.cluster, killed=_failure_of_job, n_items=len(jobs)
    )
    return list(track(found, "Looking at recordings", total=len(jobs)))


def _choose(todo: list[Todo], limits: Limits, *, only_biggest: bool) -> tuple[list[Todo], list[Outcome]]:
    """Return the recordings to convert, in order, and the outcomes of those for which there is no room."""
    if only_biggest:
        todo = sorted(todo, key=lambda item: -item.n_bytes)
    room = limits.room()
    for n_chosen, item in enumerate(todo):
        room -= item.n_bytes
        if room < 0:
            return todo[:n_chosen], [limits.left_out(item) for item in todo[n_chosen:]]
    return todo, []


def _convert_all(
    chosen: list[Todo], settings: PrecomputeSettings, limits: Limits, outcomes: list[Outcome]
) -> str:
    """Convert recordings and add the outcomes; return the reason why the run stopped early, or nothing."""
    stopped_by = ""

    def until_the_disk_is_full() -> Iterator[Todo]:
        for item in chosen:
            if stopped_by:
                return
            yield item

    work = partial(convert, settings=settings.store, limits=limits)
    found = _in_parallel(
        work,
        until_the_disk_is_full(),
        settings.n_cores,
        settings.cluster,
        killed=_failure_of_todo,
        n_items=len(chosen),
    )
    hours = sum(item.hours for item in chosen)
    try:
        for outcome in track(
            found, "Converting recordings", total=hours, amount=lambda outcome: outcome.item.hours, unit="h"
        ):
            outcomes.append(outcome)
            if outcome.ending is Ending.DISK_FULL:
                stopped_by = f"{limits.features_dir}: no space left on the disk; make room"
    except DawnchorusError as error:
        stopped_by = str(error)
        _mend_all(limits.features_dir)
    return stopped_by


def _report(
    surveyed: list[Todo | Failure | None], outcomes: list[Outcome], n_replaced: int
) -> PrecomputeReport:
    """Return the counts and lists of a run, also of one that stopped early."""
    reached = {outcome.item.job for outcome in outcomes if outcome.ending is not Ending.DISK_FULL}
    not_reached = [
        Failure(found.job.relative_path, f"{found.job.audio_path}: not reached before the run had to stop")
        for found in surveyed
        if isinstance(found, Todo) and found.job not in reached
    ]
    done = _ended(outcomes, Ending.DONE)
    return PrecomputeReport(
        n_done=len(done),
        n_replaced=n_replaced,
        n_skipped=sum(found is None for found in surveyed) + len(_ended(outcomes, Ending.CURRENT)),
        left_out=sorted([*_failures(outcomes, Ending.LEFT_OUT), *not_reached]),
        failures=sorted(
            [
                *(found for found in surveyed if isinstance(found, Failure)),
                *_failures(outcomes, Ending.FAILED),
            ]
        ),
        hours_done=sum(item.hours for item in done),
        notes=sorted(
            Failure(outcome.item.job.relative_path, note) for outcome in outcomes for note in outcome.notes
        ),
    )


def _with_store(failure: Failure, features_dir: Path) -> Failure:
    """Return a failure that tells of a store that was made before, such as with ``--salvage``, and stays."""
    store = store_path(features_dir, failure.path)
    if not store.is_file():
        return failure
    return failure._replace(reason=f"{failure.reason}; {store}, which was made before, stays as it is")


def _ended(outcomes: list[Outcome], ending: Ending) -> list[Todo]:
    return [outcome.item for outcome in outcomes if outcome.ending is ending]


def _failures(outcomes: list[Outcome], ending: Ending) -> list[Failure]:
    return [outcome.failure for outcome in outcomes if outcome.ending is ending]


def _update_list(features_dir: Path, name: str, found: list[Failure], covered: set[Path] | None) -> list[str]:
    """Replace the lines about ``covered`` paths, all if None; return the reason if that failed."""
    try:
        old = [] if covered is None else read_failures(features_dir, name=name)
        kept = [line for line in old if line.path not in (covered or ())]
        write_failures(features_dir, sorted([*kept, *found]), name=name)
    except OSError as error:
        first = f", the first of {len(found)} lines being: {found[0].reason}" if found else ""
        return [f"{features_dir / name}: cannot be written ({error.strerror or error}){first}"]
    return []


def _failure_of_job(job: Job, reason: str) -> Failure:
    return Failure(job.relative_path, f"{job.audio_path}: {reason}")


def _failure_of_todo(item: Todo, reason: str) -> Outcome:
    return Outcome(item, Ending.FAILED, _failure_of_job(item.job, reason).reason)


def _in_parallel(
    function: Callable[[Any], T],
    items: Iterable[Any],
    n_cores: int,
    cluster: Cluster | None = None,
    *,
    killed: Callable[[Any, str], T] | None = None,
    n_items: int = 0,
) -> Iterator[T]:
    """Yield the results in any order; with one core, from this process.

    ``killed`` makes the result of an item whose workers were killed; a cluster wants ``n_items`` too.

    Raises
    ------
    DawnchorusError
        A process was killed, or an item raised one.
    """
    if cluster is not None and killed is not None:
        for block, results in spread(cluster, partial(_of_blocks, function), items, n_items=n_items):
            if isinstance(results, Killed):
                yield from (killed(item, results.reason) for item in block)
            else:
                yield from results
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    calls = (delayed(function)(item) for item in items)
    try:
        yield from Parallel(n_jobs=n_cores, return_as="generator_unordered")(calls)
    except TerminatedWorkerError as error:
        raise DawnchorusError(
            "a process was killed, perhaps for want of memory; use fewer --n_cores"
        ) from error


def _of_blocks(function: Callable[[Any], T]) -> Work[Any, list[T]]:
    """Return a function of blocks that applies another to each item."""
    return lambda block: [function(item) for item in block]
