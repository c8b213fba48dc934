"""Many recordings → tables on disk. A journal keeps the network's work, and the tables follow from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawnchorus.audio.headers import read_headers
from dawnchorus.audio.source import STORE_SUFFIXES, open_stored
from dawnchorus.errors import DataError, RunError, StoreError
from dawnchorus.files import Failure, remove_replacements, write_failures, write_text
from dawnchorus.inference.birds_inference import BirdsInference
from dawnchorus.inference.detecting import DetectionSettings, detect
from dawnchorus.inference.formats import FORMATS, RecordingDetections, open_writers
from dawnchorus.inference.journal import Entry, Journal, version_of
from dawnchorus.inference.postprocess import PostprocessSettings, postprocess
from dawnchorus.inference.runtimes.runtime import Runtime
from dawnchorus.inference.sources import Recording, Recordings
from dawnchorus.inference.window_tables import (
    EMBEDDINGS_NAME,
    WINDOWS_NAME,
    embedding_table,
    window_table,
)
from dawnchorus.progress import audio_progress, track

DEFAULT_FORMATS = ("csv", "raven")
SETTINGS_NAME = "predictions.json"


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
        Names of :data:`dawnchorus.inference.formats.FORMATS`.
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
        Where tables and journal go; made if missing.
    settings
        What is made of them.
    force
        Whether tables made with other settings, or predictions of another model, are replaced.

    Raises
    ------
    RunError
        The folder holds what was made otherwise, and ``force`` is not set.
    DataError
        None of the recordings could be decoded.
    """
    out_dir.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be written shows now
    tables, earlier = _table_settings(settings), _earlier_tables(out_dir)
    if not force:
        _check_tables(out_dir, earlier, tables)
    settings = _with_earlier_formats(settings, earlier)
    tables["written"] = [*settings.formats, *(["windows"] if settings.with_windows else [])]
    with open_journal(runtime, out_dir, settings, force=force) as work:
        write_text(out_dir / SETTINGS_NAME, json.dumps(tables, indent=2))
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


@contextmanager
def open_journal(
    runtime: Runtime, out_dir: Path, settings: BulkSettings, *, force: bool = False
) -> Iterator[JournaledInference]:
    """Yield an inference whose work is kept in ``out_dir/journal``, which no other process uses meanwhile.

    Raises
    ------
    RunError
        The journal is in use, or of another network and ``force`` is not set.
    """
    inference = BirdsInference(
        runtime,
        overlap_s=settings.overlap_s,
        shift_s=settings.postprocess.shift_s,
        with_embeddings=settings.with_embeddings,
        n_workers=settings.n_workers,
    )
    network = {
        "model": runtime.fingerprint,
        "overlap or shift": [inference.plan.step, inference.plan.shift],
        "embeddings": settings.with_embeddings,
    }
    journal = Journal(out_dir / "journal")
    with journal.opened(network, anew=force):
        remove_replacements(out_dir)
        yield JournaledInference(inference, journal, settings.postprocess)


@dataclass(frozen=True)
class JournaledInference:
    """An inference and the journal of its work.

    Attributes
    ----------
    inference, journal
        What predicts, and where that is kept.
    postprocess
        What is done to probabilities when they are read from the journal.
    """

    inference: BirdsInference
    journal: Journal
    postprocess: PostprocessSettings

    def predict(self, found: Recordings) -> tuple[int, list[Failure]]:
        """Predict what is not in the journal yet; return how many that were, and those that failed."""
        to_do = {
            recording.path: recording
            for recording in found.recordings
            if self.journal.find(recording) is None
        }
        if not to_do:
            return 0, []
        versions: dict[Path, dict[str, Any]] = {}

        def begun() -> Iterator[Path]:
            for path, recording in to_do.items():
                if path.exists():
                    versions[path] = version_of(recording)  # before it is read: it may change meanwhile
                yield path

        failures = []
        total_s = sum(_durations(found.root, list(to_do.values())))
        with audio_progress("Predicting", total_s=total_s) as advance:
            for path, outcome in self.inference.predict_recordings(begun(), on_progress=advance):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    self.journal.write(to_do[path], outcome, versions[path])
        return len(to_do) - len(failures), failures

    def read(self, recording: Recording) -> Entry:
        """Return what is known of a recording, its windows after post-processing.

        Raises
        ------
        RunError
            The recording changed while the job ran.
        """
        entry = self.journal.find(recording)
        if entry is None:
            raise RunError(f"{recording.path} changed while it was predicted; run the command again")
        window, step = self.inference.card.n_segment, self.inference.plan.step
        windows = postprocess(entry.predictions, self.postprocess, window=window, step=step)
        return entry._replace(predictions=windows)


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


def _durations(root: Path, recordings: list[Recording]) -> Iterator[float]:
    """Yield the seconds of each recording, nothing where nobody can tell."""
    audio = [recording.name for recording in recordings if recording.path.suffix not in STORE_SUFFIXES]
    for header in read_headers(root, audio):
        yield getattr(header, "duration_s", 0.0)
    for recording in recordings:
        if recording.path.suffix in STORE_SUFFIXES:
            try:
                stored = open_stored(recording.path)
            except StoreError:
                continue
            yield stored.n_samples / stored.sample_rate


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


def _earlier_tables(out_dir: Path) -> dict[str, Any] | None:
    """Return the settings of the tables that are there, or None where they are not known."""
    try:
        earlier = json.loads((out_dir / SETTINGS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # cut off by a crash of the machine, before any table was written
    return earlier if isinstance(earlier, dict) else None


def _check_tables(out_dir: Path, earlier: dict[str, Any] | None, ours: dict[str, Any]) -> None:
    """Refuse to overwrite tables that were made with other settings, or by somebody else."""
    if earlier is None:
        if (out_dir / "detections.csv").exists() and not (out_dir / SETTINGS_NAME).exists():
            raise RunError(
                f"{out_dir / 'detections.csv'} exists; choose another --out, or overwrite it with --force"
            )
        return
    differing = [key for key in ours if earlier.get(key, ours[key]) != ours[key]]
    if differing:
        raise RunError(
            f"{out_dir} holds tables made with another {' and '.join(differing)}; choose another --out, or "
            "make them anew with --force (recordings are not predicted again for that)"
        )


def _with_earlier_formats(settings: BulkSettings, earlier: dict[str, Any] | None) -> BulkSettings:
    """Return settings that also write what earlier calls wrote here, so that nothing outdated stays."""
    written = (earlier or {}).get("written", [])
    formats = [name for name in FORMATS if name in {*settings.formats, *written}]
    unknown = [name for name in settings.formats if name not in FORMATS]  # refused where they are opened
    return replace(
        settings,
        formats=(*unknown, *formats),
        with_windows=settings.with_windows or "windows" in written,
    )
