"""A Parquet dataset with a folder a day, for archives of months and years."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dawnchorus.files import legible, replacing
from dawnchorus.formats.detection_writer import DetectionWriter, TableSettings
from dawnchorus.formats.recording import RecordingDetections

UNKNOWN_DAY = "unknown"
SCHEMA = pa.schema(
    [
        ("filename", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("time", pa.timestamp("us")),
        ("utc_offset_minutes", pa.int16()),
        ("scientific_name", pa.string()),
        ("common_name", pa.string()),
        ("date", pa.date32()),
        ("hour", pa.int8()),
        ("site", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("device", pa.string()),
        ("model", pa.string()),
        ("threshold", pa.float32()),
    ]
)
_HELD_ROWS = 65_536  # a few MiB
_HELD_RECORDINGS = 1_024  # a table with few rows still takes some 10 KiB


class ParquetWriter(DetectionWriter):
    """``detections/day=YYYY-MM-DD/part-0.parquet``: one file a day, with every digit of the probabilities.

    ``day`` is the local day of the detection, not of the recording, and ``unknown`` without a time.
    ``time`` is the local time of the detection, and ``utc_offset_minutes`` what to subtract from it for UTC,
    null where the recording's time zone is not known. ``date`` and ``hour`` are those of ``time``, ``site``
    is the first folder of the recording's name; names, place, device, model and threshold are null or empty
    where they are not known. Where channels were read by their numbers, ``channel`` is a column.

    A day may recur, for example at the next site; pyarrow's own partitioning would either hold all days
    open or begin another file. So each day is written in segments, which become one file at the end, whose
    bytes depend on the rows of that day alone.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [0.0], "end_s": [5.0], "label": ["owl"], "probability": [0.9]})
    >>> began = datetime(2024, 5, 4, 22)
    >>> with open_writers(["parquet"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, began, detections))
    >>> [path.as_posix() for path in Path("tables").glob("*/*/*")]
    ['tables/detections/day=2024-05-04/part-0.parquet']
    """

    goal = "detections"

    @contextmanager
    def writing(self) -> Iterator[None]:
        with replacing(self.path) as self._folder:
            self._folder.mkdir()
            self._held: list[pa.Table] = []
            self._n_segments = 0
            yield
            self._write_segments()
            if self._n_segments == 0:  # a dataset without rows still has columns
                self._write_segment(UNKNOWN_DAY, self.schema.empty_table())
            for day in sorted(self._folder.iterdir()):
                _merge_segments(day, self.schema)

    @property
    def schema(self) -> pa.Schema:
        """Columns of every file."""
        return SCHEMA.append(pa.field("channel", pa.int16())) if self.settings.has_channels else SCHEMA

    def add(self, recording: RecordingDetections) -> None:
        if recording.detections.empty:
            return
        self._held.append(_table(recording, self.settings, self.schema))
        n_rows = sum(table.num_rows for table in self._held)
        if n_rows >= _HELD_ROWS or len(self._held) >= _HELD_RECORDINGS:
            self._write_segments()

    def _write_segments(self) -> None:
        if not self._held:
            return
        rows = pa.concat_tables(self._held)
        self._held = []
        for day in pc.unique(rows["day"]).to_pylist():
            self._write_segment(day, rows.filter(pc.equal(rows["day"], day)).select(self.schema.names))

    def _write_segment(self, day: str, rows: pa.Table) -> None:
        folder = self._folder / f"day={day}"
        folder.mkdir(exist_ok=True)
        pq.write_table(rows, folder / f"segment-{self._n_segments:09}.parquet")
        self._n_segments += 1


def _table(recording: RecordingDetections, settings: TableSettings, schema: pa.Schema) -> pa.Table:
    """Return the columns of the dataset, and the day of each row."""
    rows = list(recording.rows())
    times = [recording.time_of(row) for row in rows]
    columns = {
        "filename": [legible(recording.filename)] * len(rows),
        "start_s": [row.start_s for row in rows],
        "end_s": [row.end_s for row in rows],
        "label": [row.label for row in rows],
        "probability": [row.probability for row in rows],
        "time": [time and time.replace(tzinfo=None) for time in times],
        "utc_offset_minutes": [_utc_offset_minutes(time) for time in times],
        "channel": [row.channel for row in rows],
        "scientific_name": [settings.species[row.label].scientific for row in rows],
        "common_name": [settings.species[row.label].common for row in rows],
        "date": [time and time.date() for time in times],
        "hour": [time and time.hour for time in times],
        "site": [legible(recording.site)] * len(rows),
        "latitude": [recording.recorder.latitude] * len(rows),
        "longitude": [recording.recorder.longitude] * len(rows),
        "device": [recording.recorder.device] * len(rows),
        "model": [settings.model.name] * len(rows),
        "threshold": [settings.model.thresholds.get(row.label) for row in rows],
        "day": [time.date().isoformat() if time else UNKNOWN_DAY for time in times],
    }
    schema = schema.append(pa.field("day", pa.string()))
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _utc_offset_minutes(time: datetime | None) -> int | None:
    offset = time.utcoffset() if time else None
    return None if offset is None else round(offset.total_seconds() / 60)


def _merge_segments(day: Path, schema: pa.Schema) -> None:
    """Make one file of a day's segments, in their order, holding little more than one of them at a time."""
    held: list[pa.Table] = []
    with pq.ParquetWriter(day / "part-0.parquet", schema) as writer:
        for segment in sorted(day.glob("segment-*")):
            with pq.ParquetFile(segment) as file:
                held.append(file.read())
            segment.unlink()
            rows = pa.concat_tables(held)
            n_whole = rows.num_rows // _HELD_ROWS * _HELD_ROWS
            if n_whole:
                writer.write_table(rows[:n_whole].combine_chunks(), row_group_size=_HELD_ROWS)
            held = [rows[n_whole:]]
        writer.write_table(pa.concat_tables(held).combine_chunks())
