"""One table for all recordings: our own CSV file, and the one that Kaleidoscope opens."""

from __future__ import annotations

import csv
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import ClassVar

from dawnchorus.files import replacing
from dawnchorus.formats.recording import (
    RecordingDetections,
    absolute_time,
    detections_in,
    nearest_millisecond,
)
from dawnchorus.formats.writer import PROBABILITY_DECIMALS, DetectionWriter, open_text

_TIME_DECIMALS = 6  # drops the rounding error of a difference


class _SingleTableWriter(DetectionWriter):
    columns: ClassVar[Sequence[str]]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with replacing(self.path) as temporary, open_text(temporary) as file:
            self._writer = csv.writer(file, lineterminator="\n")
            self._writer.writerow(self.columns)
            yield

    def add(self, recording: RecordingDetections) -> None:
        self._writer.writerows(self._rows(recording))

    @abstractmethod
    def _rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        """Yield the cells of one recording's rows."""


class CsvWriter(_SingleTableWriter):
    """``detections.csv``: every detection, and when it was where that is known.

    ``time`` is in ISO 8601, to the millisecond, with the offset from UTC where it is known.
    """

    goal = "detections.csv"
    columns = ("filename", "start_s", "end_s", "label", "probability", "time")

    def _rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        for row in detections_in(recording):
            moment = absolute_time(recording.start, row.start_s)
            time = nearest_millisecond(moment).isoformat(timespec="milliseconds") if moment else ""
            probability = round(row.probability, PROBABILITY_DECIMALS)
            yield recording.filename, row.start_s, row.end_s, row.label, probability, time


class KaleidoscopeWriter(_SingleTableWriter):
    """``kaleidoscope.csv``: the columns of BirdNET-Analyzer's table for Kaleidoscope.

    Its place, week and sensitivity are settings of BirdNET that we have no counterpart of: empty.
    """

    goal = "kaleidoscope.csv"
    columns = (
        *("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "scientific_name", "common_name", "confidence"),
        *("lat", "lon", "week", "overlap", "sensitivity"),
    )

    def _rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        relative = PurePosixPath(recording.filename)
        root = str(recording.path.parents[len(relative.parts) - 1])
        folder = "" if len(relative.parts) == 1 else str(relative.parent)
        for row in detections_in(recording):
            yield (
                *(root, folder, relative.name),
                *(row.start_s, round(row.end_s - row.start_s, _TIME_DECIMALS)),
                *self.settings.species[row.label],
                f"{row.probability:.{PROBABILITY_DECIMALS}f}",
                *("", "", "", self.settings.overlap_s, ""),
            )
