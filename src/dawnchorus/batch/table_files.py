"""All tables of a folder of predictions, made from the journal: only what changed is read and written.

``journal/tables.json`` holds what the tables have of each recording, among it how many bytes and rows. So the
rows of new recordings are written aside, and joined with those that are there; a folder with a table for each
recording gets the new ones, a dataset with a folder a day gets the days that they are of. Where that is not
possible, everything is written aside. In either case the tables are, byte for byte, those of one call that
made them all, and each takes its place when all are written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import IO, NamedTuple

from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.audio.recorder_times import recorder_of
from dawnchorus.batch.earlier_tables import EarlierTables, digest_of
from dawnchorus.batch.journal import Entry
from dawnchorus.batch.journaled import JournaledInference
from dawnchorus.config import Record
from dawnchorus.config.registry import RECORDER_NAMES
from dawnchorus.files import temporary_folder
from dawnchorus.files.checked_json import read_checked, write_checked
from dawnchorus.formats import (
    DetectionWriters,
    FolderWriter,
    Format,
    ModelFacts,
    RecordingDetections,
    TableWriter,
    absolute_time,
    formats_of,
    open_writers,
    own_goals,
)
from dawnchorus.formats.parquet import UNKNOWN_DAY, ParquetWriter
from dawnchorus.predict.detections import DetectionSettings, detect, rounded_thresholds
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.predict.region import Region
from dawnchorus.predict.region_removals import JudgedRecording, applied
from dawnchorus.predict.window_tables import (
    EMBEDDINGS_NAME,
    WINDOWS_NAME,
    embedding_table,
    join_windows,
    window_table,
)
from dawnchorus.progress import track

_COPY_BYTES = 1 << 20


class TabledRecording(NamedTuple):
    """What the tables hold of a recording.

    Attributes
    ----------
    entry
        Digest of its entry in the journal.
    duration_s, n_windows
        Its length in seconds, and its windows.
    counts
        Number of detections, by label.
    days
        The days that it lies in, as the Parquet dataset names them.
    n_bytes
        Of its rows in each table that is one text file, by format.

    Examples
    --------
    >>> TabledRecording("3f9a", 12.0, 3, {"owl": 2}, ["unknown"], {"csv": 80}).counts["owl"]
    2
    """

    entry: str
    duration_s: float
    n_windows: int
    counts: dict[str, int]
    days: list[str]
    n_bytes: dict[str, int]


class WrittenTables(NamedTuple):
    """The tables of a call.

    Attributes
    ----------
    paths
        The files and folders, by format, or under ``windows`` and ``embeddings``.
    recordings
        What they hold of each recording, by its name.
    changed
        Files that a person has changed, and that stay as they are; below the folder of tables.

    Examples
    --------
    >>> WrittenTables({}, {}, changed=["detections.csv"]).changed
    ['detections.csv']
    """

    paths: dict[str, Path]
    recordings: dict[str, TabledRecording]
    changed: list[str]


class _TablesState(Record):
    key: str
    recordings: dict[str, TabledRecording]


@dataclass(frozen=True)
class TableSource:
    """What the tables are made of.

    Attributes
    ----------
    work
        The journal, and postprocessing.
    root
        Folder that the names of recordings begin at.
    detection, formats, overlap_s, escape_formulas, times, with_windows, with_embeddings, region
        As in :class:`dawnchorus.batch.bulk.BulkSettings`.

    Examples
    --------
    >>> from dawnchorus.batch.bulk import BulkSettings
    >>> {"formats", "times"} <= set(TableSource.__annotations__) & set(BulkSettings.__annotations__)
    True
    """

    work: JournaledInference
    root: Path
    detection: DetectionSettings
    formats: tuple[Format, ...]
    overlap_s: float
    escape_formulas: bool
    times: RecorderTimes
    with_windows: bool
    with_embeddings: bool
    region: Region | None = None

    def write(self, recordings: Sequence[RecordingFile], tables: EarlierTables) -> WrittenTables:
        """Bring the tables in a folder to the state of the journal.

        Parameters
        ----------
        recordings
            All that the tables are to hold, sorted by name.
        tables
            Those in the folder, after :meth:`~dawnchorus.batch.earlier_tables.EarlierTables.begin`.
        """
        file, index = self.work.journal.tables_file, self.work.journal.index
        goals = {**tables.goals, **tables.guests}
        asked = [*formats_of(self.formats), *(name for name in ("windows", "embeddings") if self._has(name))]
        paths = {name: tables.folder / goals[name] for name in asked}
        earlier = self._earlier(file, tables)
        entries = {name: tabled.entry for name, tabled in earlier.items()}
        changed = [r for r in recordings if entries.get(r.name) != index[r.name].digest]
        gone = earlier.keys() - {r.name for r in recordings}
        if earlier and not (changed or gone):
            return WrittenTables(paths, earlier, [])
        with temporary_folder(tables.folder) as aside:
            join = _Join(tables, aside / "new", aside / "whole", earlier, {r.name for r in changed}, gone)
            join.whole.mkdir()
            tabled = None
            if len(changed) < len(recordings):
                tabled = self._write_changed(recordings, changed, join)
            if tabled is None:
                shutil.rmtree(join.whole)
                join.outdated.clear()
                join.changed_tables.clear()
                tabled = self._write(recordings, join.whole, self.formats)
                join.outdated.update(tables.files_of(path.name for path in paths.values()))
            tables, kept = tables.replace_files(join.whole, join.outdated, join.changed_tables)
        write_checked(file, {"key": self._key(tables), "recordings": tabled})
        return WrittenTables(paths, tabled, kept)

    def _has(self, name: str) -> bool:
        return {"windows": self.with_windows, "embeddings": self.with_embeddings}[name]

    def _earlier(self, file: Path, tables: EarlierTables) -> dict[str, TabledRecording]:
        """Return what the tables hold, nothing where they are not there as they were left."""
        state = read_checked(file, _TablesState)
        if state is None or state.key != self._key(tables):
            return {}
        if not all((tables.folder / path).exists() for path in tables.digests or ()):
            return {}
        return state.recordings

    def _key(self, tables: EarlierTables) -> str:
        """Return what the tables depend on beside the entries, and what lies in the folder, as one digest."""
        card = self.work.inference.card
        facts = [
            version("dawnchorus"),
            card.labels,
            list(RECORDER_NAMES),
            tables.made,
            tables.goals,
            tables.guests,
        ]
        facts += [card.credit, {label: dict(names) for label, names in (card.species or {}).items()}]
        return hashlib.sha256(json.dumps([*facts, tables.digests]).encode()).hexdigest()

    def _writers(self, out: Path, formats: Sequence[Format]) -> DetectionWriters:
        card = self.work.inference.card
        return open_writers(
            formats,
            out,
            labels=card.labels,
            high_hz=card.sample_rate / 2,
            overlap_s=self.overlap_s,
            escape_formulas=self.escape_formulas,
            has_channels=self.work.inference.has_channels,
            model=ModelFacts(
                card.credit,
                card.species,
                rounded_thresholds(card.labels, self.detection.thresholds),
                self.detection.species or (),
            ),
        )

    def _write(
        self,
        recordings: Sequence[RecordingFile],
        out: Path,
        formats: Sequence[Format],
        *,
        windows: bool = True,
    ) -> dict[str, TabledRecording]:
        """Write tables of these recordings into a folder, a recording at a time."""
        card, tabled = self.work.inference.card, {}
        has_channels = self.work.inference.has_channels
        with ExitStack() as stack:
            writers = stack.enter_context(self._writers(out, formats))
            texts = {name: each for name, each in writers.writers.items() if isinstance(each, TableWriter)}
            tables = []
            if windows and self.with_windows:
                windows_table = window_table(
                    out / WINDOWS_NAME, card.labels, has_channels=has_channels, taxonomy=card.species
                )
                tables.append(stack.enter_context(windows_table))
            if windows and self.with_embeddings and recordings:
                first = self.work.read(recordings[0]).predictions
                tables.append(stack.enter_context(embedding_table(out / EMBEDDINGS_NAME, first)))
            for recording in track(recordings, "Writing tables"):
                entry = self.work.read(recording)
                found = self._detections(recording, entry)
                before = {name: text.n_bytes() for name, text in texts.items()}
                writers.add(found)
                for table in tables:
                    table.add(recording.name, entry.predictions)
                tabled[recording.name] = TabledRecording(
                    entry.digest,
                    found.duration_s,
                    len(entry.predictions.starts),
                    dict(Counter(found.detections["label"])),
                    _days_of(found),
                    {name: text.n_bytes() - before[name] for name, text in texts.items()},
                )
        return tabled

    def judged(self, recordings: Iterable[RecordingFile]) -> Iterator[JudgedRecording]:
        """Yield the windows of recordings as the region judges them."""
        for recording in recordings:
            yield self._judged(recording, self.work.read(recording))

    def _judged(self, recording: RecordingFile, entry: Entry) -> JudgedRecording:
        _, *place = recorder_of(recording.path) if entry.recorder is None else entry.recorder
        start = self.times.start_of(recording.path, entry.start)
        where = None if self.region is None else self.region.place_of(recording.name, *place)
        return JudgedRecording(recording.name, entry.predictions, start, where)

    def _detections(self, recording: RecordingFile, entry: Entry) -> RecordingDetections:
        card, windows = self.work.inference.card, entry.predictions
        if self.region is not None:
            windows = applied(self.region, self._judged(recording, entry))
        return RecordingDetections(
            recording.name,
            self.root / recording.name,
            float(windows.stops.max()) / card.sample_rate,
            self.times.start_of(recording.path, entry.start),
            detect(windows, card.labels, self.detection),
            recorder_of(recording.path) if entry.recorder is None else entry.recorder,
            entry.source_rate,
        )

    def _write_changed(
        self, recordings: Sequence[RecordingFile], changed: Sequence[RecordingFile], join: _Join
    ) -> dict[str, TabledRecording] | None:
        """Write what changed and join it with what is there; return None where that is not possible."""
        writers = self._writers(join.new, self.formats).writers
        kinds = (FolderWriter, TableWriter, ParquetWriter)
        if not own_goals().keys() >= writers.keys() or not all(
            isinstance(w, kinds) for w in writers.values()
        ):
            return None
        names = [recording.name for recording in recordings]
        all_names = {*names, *join.earlier}
        folders = [each for each in writers.values() if isinstance(each, FolderWriter)]
        if any(len({each.table_of(n).casefold() for n in all_names}) < len(all_names) for each in folders):
            return None  # tables of one name are numbered, which depends on all recordings
        daily = [name for name, each in writers.items() if isinstance(each, ParquetWriter)]
        new = self._write(changed, join.new, [name for name in writers if name not in daily])
        tabled = {name: new.get(name) or join.earlier[name] for name in names}
        for folder in folders:
            join.add_folder(folder)
        for name, text in writers.items():
            if isinstance(text, TableWriter) and not join.add_text(name, text.goal, tabled):
                return None
        for name, goal in (("windows", WINDOWS_NAME), ("embeddings", EMBEDDINGS_NAME)):
            if self._has(name):
                join.add_windows(goal, tabled)
        if daily:
            if not (
                any(each.counts for each in join.earlier.values()) and any(e.counts for e in tabled.values())
            ):
                return None  # an empty dataset is of a day of its own
            days = join.days_of(new)
            self._write(
                [r for r in recordings if days & set(tabled[r.name].days)], join.new, daily, windows=False
            )
            join.add_days(ParquetWriter.goal, days)
        return tabled


@dataclass(frozen=True)
class _Join:
    """Tables of what changed, in ``new``, which are joined with those that are there, in ``whole``.

    ``outdated`` are files of tables that go, unless ``whole`` has a new one, and ``changed_tables`` those
    that a person has changed; below the folder of tables.
    """

    tables: EarlierTables
    new: Path
    whole: Path
    earlier: Mapping[str, TabledRecording]
    changed: Set[str]
    gone: Set[str]
    outdated: set[str] = field(default_factory=set)
    changed_tables: set[str] = field(default_factory=set)

    def add_folder(self, writer: FolderWriter) -> None:
        """Take the tables of changed recordings; those of recordings that are gone are outdated."""
        (self.new / writer.goal).rename(self.whole / writer.goal)
        self.outdated.update(f"{writer.goal}/{writer.table_of(name)}" for name in self.gone)

    def add_text(self, name: str, goal: str, tabled: Mapping[str, TabledRecording]) -> bool:
        """Join a text table; return whether its header is the one that is there."""
        old, new = self.tables.folder / goal, self.new / goal
        if not self._is_ours(goal):
            self.changed_tables.add(goal)
            return True
        parts = [(each, tabled_here.n_bytes[name]) for each, tabled_here in tabled.items()]
        ours = {each: earlier.n_bytes[name] for each, earlier in self.earlier.items()}
        n_header = old.stat().st_size - sum(ours.values())
        with old.open("rb") as old_file, new.open("rb") as new_file, (self.whole / goal).open("wb") as joined:
            header = new_file.read(n_header)
            if header != old_file.read(n_header):
                return False
            joined.write(header)
            for is_new, start, n_bytes in _joined(self._places(ours, parts)):
                source = new_file if is_new else old_file
                source.seek(n_header + start)
                _copy(source, joined, n_bytes)
        return True

    def add_windows(self, goal: str, tabled: Mapping[str, TabledRecording]) -> None:
        """Join a table of windows."""
        old, new = self.tables.folder / goal, self.new / goal
        if not new.exists():
            new = old  # nothing changed, and recordings are gone
        if not self._is_ours(goal):
            self.changed_tables.add(goal)
            return
        ours = {each: earlier.n_windows for each, earlier in self.earlier.items()}
        parts = [(each, tabled_here.n_windows) for each, tabled_here in tabled.items()]
        join_windows(old, new, self._places(ours, parts), self.whole / goal)

    def days_of(self, new: Mapping[str, TabledRecording]) -> set[str]:
        """Return the days of all recordings that changed or are gone, as they are and as they were."""
        before = [self.earlier[name] for name in (*self.changed, *self.gone) if name in self.earlier]
        return {day for each in (*before, *new.values()) for day in each.days}

    def add_days(self, goal: str, days: Set[str]) -> None:
        """Take the files of these days."""
        for day in sorted(days):
            folder = f"{goal}/day={day}"
            if (self.new / folder).is_dir():
                (self.whole / goal).mkdir(exist_ok=True)
                (self.new / folder).rename(self.whole / folder)
            self.outdated.update(p for p in self.tables.digests or () if p.startswith(f"{folder}/"))

    def _is_ours(self, goal: str) -> bool:
        return digest_of(self.tables.folder / goal) in (self.tables.digests or {}).get(goal, ())

    def _places(
        self, ours: Mapping[str, int], parts: Sequence[tuple[str, int]]
    ) -> Iterator[tuple[bool, int, int]]:
        """Yield of each recording whether it is new, and where its part begins, and the length of that."""
        begins, at = {}, 0
        for name, length in ours.items():
            begins[name], at = at, at + length
        at = 0
        for name, length in parts:
            is_new = name in self.changed
            yield is_new, at if is_new else begins[name], length
            at += length if is_new else 0


def _joined(places: Iterable[tuple[bool, int, int]]) -> Iterator[tuple[bool, int, int]]:
    """Yield places with those that follow one another as one."""
    held: tuple[bool, int, int] | None = None
    for is_new, start, length in places:
        if held is not None and held[0] == is_new and held[1] + held[2] == start:
            held = (is_new, held[1], held[2] + length)
            continue
        if held is not None:
            yield held
        held = (is_new, start, length)
    if held is not None:
        yield held


def _copy(source: IO[bytes], target: IO[bytes], n_bytes: int) -> None:
    while n_bytes and (chunk := source.read(min(n_bytes, _COPY_BYTES))):
        target.write(chunk)
        n_bytes -= len(chunk)


def _days_of(recording: RecordingDetections) -> list[str]:
    """Return the local days that a recording lies in, as the Parquet dataset names them."""
    first = recording.start
    last = absolute_time(first, recording.duration_s)
    if first is None or last is None:
        return [UNKNOWN_DAY]
    n_days = (last.date() - first.date()).days
    return [(first.date() + timedelta(days=day)).isoformat() for day in range(n_days + 1)]
