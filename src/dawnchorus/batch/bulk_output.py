"""The folder that the tables of a bulk prediction go to, and how they are made from its journal."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from dawnchorus.batch.bulk_settings import BulkSettings, table_settings
from dawnchorus.batch.earlier_tables import SETTINGS_NAME, EarlierTables
from dawnchorus.batch.journal import JOURNAL_NAME
from dawnchorus.batch.journaled import JournaledInference
from dawnchorus.batch.predicted_with import MODEL_NAME
from dawnchorus.batch.table_files import TableSource
from dawnchorus.engines.engine import Engine
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.files import FAILURES_NAME, NOTES_NAME, Failure, read_failures, write_failures
from dawnchorus.files.storage import absolute_text
from dawnchorus.formats import FORMATS, Format, formats_of, own_goals
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.predict.region_removals import write_removals
from dawnchorus.predict.window_tables import EMBEDDINGS_NAME, WINDOWS_NAME

logger = logging.getLogger(__name__)

_OURS = (JOURNAL_NAME, SETTINGS_NAME, FAILURES_NAME, NOTES_NAME, WINDOWS_NAME, EMBEDDINGS_NAME)
"""Files that no format may write."""


class BulkPredictions(NamedTuple):
    """Counts of what was predicted, and the paths of the tables.

    Attributes
    ----------
    n_recordings, n_new
        Recordings in the tables, and those that this call predicted.
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
    counts
        Detections of each label in the tables, the most frequent first.
    thresholds
        The threshold of all classes, or the lowest and the highest, as text.
    root
        The folder of the recordings.
    gone
        Recordings in the tables, by their path in it, that are no longer there.
    changed
        Files of tables that a person has changed, and that stay as they are.
    dropped
        Recordings that have left the tables, since they were predicted without a journal.
    surest
        Where there is no detection, the highest probability of each label, the highest first.
    n_removed
        Detections that the region took away, where their table was asked for.

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
    counts: Mapping[str, int] = MappingProxyType({})
    thresholds: str = ""
    root: Path = Path()
    gone: Sequence[str] = ()
    changed: Sequence[Path] = ()
    dropped: Sequence[str] = ()
    surest: Mapping[str, float] = MappingProxyType({})
    n_removed: int | None = None

    def placed_in(self, out_dir: Path, folder: Path) -> BulkPredictions:
        """Return the same with the paths below ``folder`` as those below ``out_dir``."""
        return self._replace(
            paths={name: out_dir / path.relative_to(folder) for name, path in self.paths.items()},
            changed=[out_dir / path.relative_to(folder) for path in self.changed],
        )


@dataclass(frozen=True)
class BulkOutput:
    """The folder that tables of many recordings go to, and what is to be written there.

    Attributes
    ----------
    out_dir, root
        The folder, and that of the recordings.
    settings
        Also for the tables that earlier calls wrote there.
    engine
        The ensemble.
    tables
        Those tables.
    had_journal
        Whether the folder held a journal.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.batch.bulk_settings import BulkSettings
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> settings = BulkSettings(DetectionSettings(np.zeros(3, np.float32)), formats=("csv",))
    >>> engine = open_engine("model", n_threads=1)
    >>> output = BulkOutput.of(Path("tables"), Path("recordings"), settings, engine)
    >>> output.goals, output.had_journal
    ({'csv': 'detections.csv', 'windows': 'windows.parquet'}, False)
    """

    out_dir: Path
    root: Path
    settings: BulkSettings
    engine: Engine
    tables: EarlierTables
    had_journal: bool

    @classmethod
    def of(
        cls, out_dir: Path, root: Path, settings: BulkSettings, engine: Engine, *, force: bool = False
    ) -> BulkOutput:
        """Return a folder, made if missing, after a check of what lies in it.

        Raises
        ------
        ConfigError, RunError
            As for :func:`predict_bulk`.
        """
        _check_goals(settings.formats)
        out_dir.mkdir(parents=True, exist_ok=True)  # to fail early, before the work
        tables, had_journal = EarlierTables.of(out_dir), (out_dir / JOURNAL_NAME).exists()
        output = cls(out_dir, root, _with_earlier(settings, tables), engine, tables, had_journal)
        if not force:
            tables.check(output.made, output.goals, has_journal=had_journal)
        return output

    @property
    def made(self) -> dict[str, Any]:
        """The settings that the tables depend on beside the journal, in JSON's types."""
        calibration, licence = self.engine.calibration, self.engine.card.licence
        return {
            "folder of recordings": str(self.root.absolute()),
            "calibration": None if calibration is None else calibration.digest,
            **table_settings(self.settings),
            **({"licence of the weights": licence} if licence else {}),
        }

    @property
    def goals(self) -> dict[str, str]:
        """The file or folder of each table, by its name."""
        return {**_check_goals(self.settings.formats), **_window_goals(self.settings)}

    def begin(self, work: JournaledInference, *, force: bool = False) -> BulkOutput:
        """Note the tables that are to be written from a journal.

        Raises
        ------
        RunError
            Those that are there were made with another network, and ``force`` is not set.
        """
        made = self.made | {key: work.network[key] for key in ("model", "overlap or shift", "channel")}
        if not force:
            self.tables.check(made, self.goals, has_journal=self.had_journal)
        made |= {MODEL_NAME: self.engine.card.exp_name}  # that of a run may change
        return replace(self, tables=_begin(self.tables, made, self.goals))

    def write(
        self,
        work: JournaledInference,
        found: RecordingFiles,
        n_new: int,
        failures: list[Failure],
        *,
        prune: bool = False,
    ) -> BulkPredictions:
        """Write the tables of what a journal holds, and return counts and paths.

        Parameters
        ----------
        work
            The journal.
        found
            The recordings of the job.
        n_new, failures
            What its prediction gave.
        prune
            As for :func:`predict_bulk`.

        Raises
        ------
        DataError
            None of the recordings could be decoded.
        """
        failures = sorted(failures)
        write_failures(self.out_dir, failures)
        recordings, gone = _recordings_of_tables(work, found, failures, prune=prune)
        notes = _write_notes(self.out_dir, work, recordings)
        source = _source_of_tables(work, self.root, self.settings)
        written = source.write(recordings, self.tables)
        region, detection, n_removed = self.settings.region, self.settings.detection, None
        if region is not None and self.settings.removed is not None:
            judged = source.judged(recordings)
            n_removed = write_removals(self.settings.removed, region, judged, detection)
        counts: Counter[str] = Counter()
        for tabled in written.recordings.values():
            counts.update(tabled.counts)
        return BulkPredictions(
            n_recordings=len(recordings),
            n_new=n_new,
            n_detections=counts.total(),
            duration_s=sum(tabled.duration_s for tabled in written.recordings.values()),
            failures=failures,
            paths=written.paths,
            notes=notes,
            counts=dict(counts.most_common()),
            thresholds=detection.thresholds_text(),
            root=self.root,
            gone=gone,
            changed=[self.out_dir / path for path in written.changed],
            surest={} if counts else _surest(work, recordings, detection),
            n_removed=n_removed,
        )


def _surest(
    work: JournaledInference, recordings: Sequence[RecordingFile], detection: DetectionSettings
) -> dict[str, float]:
    """Return the highest probability of each label that may be detected, the highest first."""
    labels = work.inference.card.labels
    best = np.zeros(len(labels), np.float32)
    for recording in recordings:
        best = np.maximum(best, work.read(recording).predictions.probabilities.max(axis=0, initial=0))
    allowed = set(labels if detection.species is None else detection.species)
    found = [(label, float(value)) for label, value in zip(labels, best, strict=True) if label in allowed]
    return dict(sorted(found, key=lambda pair: -pair[1]))


def _recordings_of_tables(
    work: JournaledInference, found: RecordingFiles, failures: Sequence[Failure], *, prune: bool
) -> tuple[list[RecordingFile], list[str]]:
    """Return the recordings that the tables hold, and the names of those that are gone.

    A recording that failed is not among them, unless it cannot be reached: then its predictions stay.

    Raises
    ------
    DataError
        There are none.
    """
    failed = {failure.path for failure in failures}
    done = {recording.name: recording for recording in found.recordings if recording.path not in failed}
    excluded = {r.name for r in found.recordings if r.path in failed and r.name in work.versions}
    in_journal = work.journal.names(absolute_text(found.root))
    others = [name for name in in_journal if name not in done.keys() | excluded]
    if prune:
        listed = {recording.name for recording in found.recordings}
        work.journal.forget(name for name in others if name not in listed)
        others = [name for name in others if name in listed]
    if not (done or others):
        raise DataError(
            f"none of the {len(found.recordings)} recordings could be decoded; the first: "
            f"{failures[0].reason}"
        )
    gone = [name for name in others if not (found.root / name).exists()]
    kept = {name: RecordingFile(found.root / name, name) for name in others}
    return [each for _, each in sorted({**done, **kept}.items())], gone


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


def _begin(tables: EarlierTables, made: Mapping[str, Any], goals: Mapping[str, str]) -> EarlierTables:
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
    return tables.begin(made, own, {**left, **guests})


def _source_of_tables(work: JournaledInference, root: Path, settings: BulkSettings) -> TableSource:
    return TableSource(
        work,
        root,
        detection=settings.detection,
        formats=settings.formats,
        overlap_s=settings.overlap_s,
        escape_formulas=settings.escape_formulas,
        times=settings.times,
        with_windows=settings.with_windows,
        with_embeddings=settings.with_embeddings,
        region=settings.region,
    )


def _window_goals(settings: BulkSettings) -> dict[str, str]:
    """Return the names of the tables of windows that are to be written."""
    goals = {"windows": WINDOWS_NAME} if settings.with_windows else {}
    return {**goals, "embeddings": EMBEDDINGS_NAME} if settings.with_embeddings else goals
