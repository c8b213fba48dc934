"""Many recordings → tables on disk. A journal keeps the network's work, and the tables follow from it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawnchorus.batch.earlier_tables import EarlierTables
from dawnchorus.batch.journaled import JournaledInference, open_journal
from dawnchorus.engines.runtime import Runtime
from dawnchorus.errors import DataError
from dawnchorus.files import Failure, write_failures
from dawnchorus.formats import FORMATS, RecordingDetections, check_formats, open_writers
from dawnchorus.predict.detections import DetectionSettings, detect
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.sources import Recordings
from dawnchorus.predict.window_tables import (
    EMBEDDINGS_NAME,
    WINDOWS_NAME,
    embedding_table,
    window_table,
)
from dawnchorus.progress import track

DEFAULT_FORMATS = ("csv", "raven")


@dataclass(frozen=True)
class BulkSettings:
    """What is made of recordings.

    Attributes
    ----------
    detection
        What counts as a detection.
    overlap_s
        Seconds that a window shares with the next one.
    postprocess
        What is done to probabilities before.
    formats
        Names of :data:`dawnchorus.formats.FORMATS`.
    with_windows, with_embeddings
        Whether to write the probabilities and the embedding of every window.
    n_workers
        Threads that make spectrograms; None chooses.
    """

    detection: DetectionSettings
    overlap_s: float = 0.0
    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    formats: tuple[str, ...] = DEFAULT_FORMATS
    with_windows: bool = True
    with_embeddings: bool = False
    n_workers: int | None = None


class BulkPredictions(NamedTuple):
    """What was predicted, and where it was written.

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
        The files and folders, by what they are: names of formats, ``windows``, ``embeddings``.
    """

    n_recordings: int
    n_new: int
    n_detections: int
    duration_s: float
    failures: list[Failure]
    paths: dict[str, Path]


def predict_bulk(
    runtime: Runtime, found: Recordings, out_dir: Path, settings: BulkSettings, *, force: bool = False
) -> BulkPredictions:
    """Predict recordings, write the tables, and return what came out.

    A call that was killed is made again: recordings that are in the journal are not predicted a second time
    unless their files have changed, and the tables are those of an undisturbed call, bit for bit.

    Parameters
    ----------
    runtime
        The ensemble.
    found
        The recordings.
    out_dir
        Where tables and journal go; made if missing. Tables that earlier calls wrote there are written again,
        so that all in it are of the same recordings; with ``force`` those not asked for are removed.
    settings
        What is made of them.
    force
        Whether tables made with other settings, or predictions of another model, are replaced.

    Raises
    ------
    ConfigError
        A format is not known.
    RunError
        The folder holds what was made otherwise, or by somebody else, and ``force`` is not set.
    DataError
        None of the recordings could be decoded.
    """
    check_formats(settings.formats)
    out_dir.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be written shows now
    tables = EarlierTables.of(out_dir)
    settings = settings if force else _with_earlier(settings, tables.written)
    made = {"folder of recordings": str(found.root.absolute()), **_table_settings(settings)}
    goals = {**{name: FORMATS[name].goal for name in settings.formats}, **_window_goals(settings)}
    if not force:
        tables.check(made, goals)
    with open_journal(
        runtime,
        out_dir,
        settings.postprocess,
        overlap_s=settings.overlap_s,
        with_embeddings=settings.with_embeddings,
        n_workers=settings.n_workers,
        force=force,
    ) as work:
        tables.begin(made, goals)
        n_new, failures = work.predict(found)
        write_failures(out_dir, failures)
        failed = {failure.path for failure in failures}
        done = [recording for recording in found.recordings if recording.path not in failed]
        if not done:
            raise DataError(
                f"none of the {len(found.recordings)} recordings could be decoded; the first: "
                f"{failures[0].reason}"
            )
        paths, counts = _write_tables(work, Recordings(found.root, done), out_dir, settings)
    return BulkPredictions(len(done), n_new, counts.n_detections, counts.duration_s, failures, paths)


def _with_earlier(settings: BulkSettings, written: Collection[str]) -> BulkSettings:
    """Return settings that also write what earlier calls wrote, so that nothing outdated stays."""
    return replace(
        settings,
        formats=tuple(name for name in FORMATS if name in {*settings.formats, *written}),
        with_windows=settings.with_windows or "windows" in written,
        with_embeddings=settings.with_embeddings or "embeddings" in written,
    )


def _window_goals(settings: BulkSettings) -> dict[str, str]:
    """Return the names of the tables of windows that are to be written."""
    goals = {"windows": WINDOWS_NAME} if settings.with_windows else {}
    return {**goals, "embeddings": EMBEDDINGS_NAME} if settings.with_embeddings else goals


class _Counts(NamedTuple):
    n_detections: int
    duration_s: float


def _write_tables(
    work: JournaledInference, found: Recordings, out_dir: Path, settings: BulkSettings
) -> tuple[dict[str, Path], _Counts]:
    """Write all tables from the journal, a recording at a time, and return where they are."""
    card = work.inference.card
    n_detections, duration_s = 0, 0.0
    high_hz = card.sample_rate / 2
    with ExitStack() as stack:
        writers = open_writers(
            settings.formats, out_dir, labels=card.labels, high_hz=high_hz, overlap_s=settings.overlap_s
        )
        stack.enter_context(writers)
        paths, tables = dict(writers.paths), []
        if settings.with_windows:
            paths["windows"] = out_dir / WINDOWS_NAME
            tables.append(stack.enter_context(window_table(paths["windows"], card.labels)))
        if settings.with_embeddings:
            paths["embeddings"] = out_dir / EMBEDDINGS_NAME
            first = work.read(found.recordings[0]).predictions
            tables.append(stack.enter_context(embedding_table(paths["embeddings"], first)))
        for recording in track(found.recordings, "Writing tables"):
            windows, start = work.read(recording)
            detections = detect(windows, card.labels, settings.detection)
            seconds = float(windows.stops.max()) / card.sample_rate
            path = found.root / recording.name
            writers.add(RecordingDetections(recording.name, path, seconds, start, detections))
            for table in tables:
                table.add(recording.name, windows)
            n_detections += len(detections)
            duration_s += seconds
    return paths, _Counts(n_detections, duration_s)


def _table_settings(settings: BulkSettings) -> dict[str, Any]:
    """Return what the tables depend on beside the journal, in JSON's types."""
    detection = settings.detection
    thresholds = [float(value) for value in np.asarray(detection.thresholds)]
    return {
        "threshold": thresholds[0] if len(set(thresholds)) == 1 else [str(value) for value in thresholds],
        "species": None if detection.species is None else list(detection.species),
        "top-k": detection.top_k,
        "merge": detection.merge,
        "overlap-average": settings.postprocess.overlap_average,
        "smooth": None if settings.postprocess.smoothing is None else list(settings.postprocess.smoothing),
        "scale-by-maximum": settings.postprocess.scale_exponent,
    }
