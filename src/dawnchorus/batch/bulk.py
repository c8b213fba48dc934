"""Prediction of many recordings into tables on disk, which are made from a journal of outputs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.audio.recorder_times import recorder_of
from dawnchorus.batch.earlier_tables import SETTINGS_NAME, EarlierTables
from dawnchorus.batch.journal import JOURNAL_NAME
from dawnchorus.batch.journaled import JournaledInference, durations_of, open_journal
from dawnchorus.config.import_paths import import_path
from dawnchorus.engines.engine import Engine
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.files import FAILURES_NAME, NOTES_NAME, Failure, read_failures, write_failures
from dawnchorus.formats import (
    FORMATS,
    Format,
    ModelFacts,
    RecordingDetections,
    formats_of,
    open_writers,
    own_goals,
)
from dawnchorus.predict.detections import DetectionSettings, detect, rounded_thresholds
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.predict.window_tables import (
    EMBEDDINGS_NAME,
    WINDOWS_NAME,
    embedding_table,
    window_table,
)
from dawnchorus.progress import track

logger = logging.getLogger(__name__)

DEFAULT_FORMATS = ("csv", "raven")
SHORT_S = 600.0
"""A single recording of at most this length, seconds, leaves no journal unless one is requested."""

_OURS = (JOURNAL_NAME, SETTINGS_NAME, FAILURES_NAME, NOTES_NAME, WINDOWS_NAME, EMBEDDINGS_NAME)
"""Files that no format may write."""


@dataclass(frozen=True)
class BulkSettings:
    """Settings of a bulk prediction.

    Attributes
    ----------
    detection
        What counts as a detection.
    overlap_s
        Seconds that a window shares with the next one.
    postprocess
        Postprocessing of probabilities before detection.
    formats
        As for :func:`dawnchorus.formats.formats_of`: names, import paths, classes.
    with_windows, with_embeddings
        Whether to write the probabilities and the embedding of every window.
    n_workers
        Threads that make spectrograms; None chooses.
    times
        Sources of times where neither metadata nor known forms of names hold them.
    journal
        Whether the journal stays when all is done. None keeps it for all jobs but a single recording of at
        most :data:`SHORT_S`; one that is there already stays then too.
    escape_formulas
        As for :func:`dawnchorus.formats.open_writers`.
    channel
        Channel of the recordings; None takes the one that the model was trained with.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> settings = BulkSettings(DetectionSettings(np.float32([0.5, 0.5])), formats=("csv", "raven"))
    >>> settings.formats, settings.overlap_s
    (('csv', 'raven'), 0.0)
    """

    detection: DetectionSettings
    overlap_s: float = 0.0
    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    formats: tuple[Format, ...] = DEFAULT_FORMATS
    with_windows: bool = True
    with_embeddings: bool = False
    n_workers: int | None = None
    times: RecorderTimes = field(default_factory=RecorderTimes)
    journal: bool | None = None
    escape_formulas: bool = False
    channel: Channel | None = None


class BulkPredictions(NamedTuple):
    """Counts of what was predicted, and the paths of the tables.

    Attributes
    ----------
    n_recordings, n_new
        Recordings in the tables, and those among them that this call predicted.
    n_detections
        Rows of the detection tables.
    duration_s
        Seconds of audio in the tables.
    failures
        Recordings that could not be decoded, also in ``failures.csv``.
    paths
        The files and folders, by format, or under ``windows`` and ``embeddings``.
    notes
        What is odd about the sound of recordings in the tables, also in ``notes.csv``.

    Examples
    --------
    >>> from pathlib import Path
    >>> made = BulkPredictions(8, 8, 21, 40.0, failures=[], paths={"csv": Path("tables/detections.csv")})
    >>> made.n_detections, made.paths["csv"].name
    (21, 'detections.csv')
    """

    n_recordings: int
    n_new: int
    n_detections: int
    duration_s: float
    failures: list[Failure]
    paths: dict[str, Path]
    notes: Sequence[Failure] = ()


def predict_bulk(
    engine: Engine, found: RecordingFiles, out_dir: Path, settings: BulkSettings, *, force: bool = False
) -> BulkPredictions:
    """Predict recordings, write the tables, and return counts and paths.

    A call that was killed can be repeated: recordings in the journal are not predicted a second time unless
    their files have changed, and the tables are those of an undisturbed call, bit for bit.

    Parameters
    ----------
    engine
        The ensemble.
    found
        The recordings.
    out_dir
        Where tables and journal go; made if missing. Tables that earlier calls wrote there are written again,
        so that all in it are of the same recordings; with ``force`` those not requested are removed.
    settings
        Thresholds, postprocessing, formats and times.
    force
        Whether tables made with other settings, or predictions of another model, are replaced.

    Raises
    ------
    ConfigError
        A format is not known, or would write where the journal or another table is.
    RunError
        The folder holds tables or predictions made with other settings, or foreign files, and ``force`` is
        not set.
    DataError
        None of the recordings could be decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> settings = BulkSettings(DetectionSettings(np.zeros(3, np.float32)), formats=("csv",))
    >>> found = find_recordings(["night.wav"])
    >>> made = predict_bulk(open_engine("model", n_threads=1), found, Path("tables"), settings)
    >>> made.n_recordings, made.n_detections  # three windows of 5 s, and each of three classes
    (1, 9)
    """
    _check_goals(settings.formats)
    out_dir.mkdir(parents=True, exist_ok=True)  # before the work, to fail early where it cannot be written
    tables, had_journal = EarlierTables.of(out_dir), (out_dir / JOURNAL_NAME).exists()
    settings = settings if force else _with_earlier(settings, tables)
    made = {"folder of recordings": str(found.root.absolute()), **_table_settings(settings)}
    goals = {**_check_goals(settings.formats), **_window_goals(settings)}
    if not force:
        tables.check(made, goals, has_journal=had_journal)
    with open_journal(
        engine,
        out_dir,
        settings.postprocess,
        overlap_s=settings.overlap_s,
        with_embeddings=settings.with_embeddings,
        n_workers=settings.n_workers,
        force=force,
        channel=settings.channel,
        keep=had_journal or not _is_short(found) if settings.journal is None else settings.journal,
    ) as work:
        made |= {key: work.network[key] for key in ("model", "overlap or shift", "channel")}
        if not force and not had_journal:  # a journal has refused another network itself
            tables.check(made, goals, has_journal=had_journal)
        _begin(tables, made, goals)
        n_new, failures = work.predict(found)
        write_failures(out_dir, failures)
        failed = {failure.path for failure in failures}
        done = [recording for recording in found.recordings if recording.path not in failed]
        if not done:
            raise DataError(
                f"none of the {len(found.recordings)} recordings could be decoded; the first: "
                f"{failures[0].reason}"
            )
        notes = _write_notes(out_dir, work, done)
        paths, counts = _write_tables(work, RecordingFiles(found.root, done), out_dir, settings)
    return BulkPredictions(len(done), n_new, counts.n_detections, counts.duration_s, failures, paths, notes)


def _write_notes(
    out_dir: Path, work: JournaledInference, recordings: Iterable[RecordingFile]
) -> list[Failure]:
    """Write and return the notes on recordings: new ones, and those of earlier calls on the others."""
    paths = {recording.path for recording in recordings}
    earlier = read_failures(out_dir, name=NOTES_NAME)
    notes = [note for note in earlier if note.path in paths - work.notes.keys()]
    notes += [Failure(path, note) for path, found in work.notes.items() for note in found]
    write_failures(out_dir, sorted(notes), name=NOTES_NAME)
    return sorted(notes)


def _is_short(found: RecordingFiles) -> bool:
    """Return whether a job is a single short recording, which is quick to predict again."""
    if len(found.recordings) != 1:
        return False
    durations = list(durations_of(found.root, found.recordings))
    return bool(durations) and durations[0] <= SHORT_S


def _check_goals(formats: Iterable[Format]) -> dict[str, str]:
    """Return the file or folder of each format, by its name."""
    goals = {name: writer.goal for name, writer in formats_of(formats).items()}
    for name, goal in goals.items():
        if goal.casefold() in _OURS:
            raise ConfigError(f"the format {name} writes {goal}, as predict itself does; call it otherwise")
    return goals


def _with_earlier(settings: BulkSettings, tables: EarlierTables) -> BulkSettings:
    """Return settings that also write the tables of earlier calls, so that none stays outdated.

    The formats that the note in the folder names are looked up among the registered ones, never imported.
    """
    earlier = tuple(name for name in FORMATS if name in tables.written)
    return replace(
        settings,
        formats=(*settings.formats, *earlier),
        with_windows=settings.with_windows or "windows" in tables.written,
        with_embeddings=settings.with_embeddings or "embeddings" in tables.written,
    )


def _begin(tables: EarlierTables, made: Mapping[str, Any], goals: Mapping[str, str]) -> None:
    """Note the tables to be written; earlier ones of users' formats that are not written now stay."""
    ours = {*own_goals(), "windows", "embeddings"}
    left = {name: goal for name, goal in tables.guests.items() if name not in goals}
    for name, goal in left.items():
        logger.warning(
            f"{goal!r} in {tables.folder} is of the format {name}, which is not asked for, and stays as it "
            f"was; to write it again, name it too: --format {name}"
        )
    own = {name: goal for name, goal in goals.items() if name in ours}
    guests = {name: goal for name, goal in goals.items() if name not in ours}
    tables.begin(made, own, {**left, **guests})


def _window_goals(settings: BulkSettings) -> dict[str, str]:
    """Return the names of the tables of windows that are to be written."""
    goals = {"windows": WINDOWS_NAME} if settings.with_windows else {}
    return {**goals, "embeddings": EMBEDDINGS_NAME} if settings.with_embeddings else goals


class _Counts(NamedTuple):
    n_detections: int
    duration_s: float


def _write_tables(
    work: JournaledInference, found: RecordingFiles, out_dir: Path, settings: BulkSettings
) -> tuple[dict[str, Path], _Counts]:
    """Write all tables from the journal, a recording at a time, and return where they are."""
    card = work.inference.card
    thresholds = rounded_thresholds(card.labels, settings.detection.thresholds)
    n_detections, duration_s = 0, 0.0
    with ExitStack() as stack:
        writers = open_writers(
            settings.formats,
            out_dir,
            labels=card.labels,
            high_hz=card.sample_rate / 2,
            overlap_s=settings.overlap_s,
            escape_formulas=settings.escape_formulas,
            has_channels=work.inference.has_channels,
            model=ModelFacts(card.exp_name, card.species, thresholds),
        )
        stack.enter_context(writers)
        paths, tables = dict(writers.paths), []
        if settings.with_windows:
            paths["windows"] = out_dir / WINDOWS_NAME
            tables.append(
                stack.enter_context(
                    window_table(paths["windows"], card.labels, has_channels=work.inference.has_channels)
                )
            )
        if settings.with_embeddings:
            paths["embeddings"] = out_dir / EMBEDDINGS_NAME
            first = work.read(found.recordings[0]).predictions
            tables.append(stack.enter_context(embedding_table(paths["embeddings"], first)))
        for recording in track(found.recordings, "Writing tables"):
            windows, start = work.read(recording)
            detections = detect(windows, card.labels, settings.detection)
            seconds = float(windows.stops.max()) / card.sample_rate
            path = found.root / recording.name
            start = settings.times.start_of(recording.path, start)
            recorder = recorder_of(recording.path)
            writers.add(RecordingDetections(recording.name, path, seconds, start, detections, recorder))
            for table in tables:
                table.add(recording.name, windows)
            n_detections += len(detections)
            duration_s += seconds
    return paths, _Counts(n_detections, duration_s)


def _table_settings(settings: BulkSettings) -> dict[str, Any]:
    """Return what the tables depend on beside the journal, in JSON's types."""
    detection, given = settings.detection, settings.times.name
    thresholds = [float(value) for value in np.asarray(detection.thresholds)]
    return {
        "threshold": thresholds[0] if len(set(thresholds)) == 1 else [str(value) for value in thresholds],
        "species": None if detection.species is None else list(detection.species),
        "top-k": detection.top_k,
        "merge": detection.merge,
        "gap": detection.gap_s,
        "longest": detection.longest_s,
        "overlap-average": settings.postprocess.overlap_average,
        "smooth": None if settings.postprocess.smoothing is None else list(settings.postprocess.smoothing),
        "scale-by-maximum": settings.postprocess.scale_exponent,
        "recorder name": None if given is None else given if isinstance(given, str) else import_path(given),
        "time zone": settings.times.time_zone,
        "escape-formulas": settings.escape_formulas,
    }
