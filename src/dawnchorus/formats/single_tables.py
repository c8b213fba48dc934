"""Single tables of all recordings: our own CSV file, and the one that Kaleidoscope opens."""

from __future__ import annotations

import csv
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import ClassVar

from dawnchorus.files import replacing
from dawnchorus.formats.recording import RecordingDetections, nearest_millisecond
from dawnchorus.formats.writer import PROBABILITY_DECIMALS, DetectionWriter, open_text

_TIME_DECIMALS = 6  # drops the rounding error of a difference


class TableWriter(DetectionWriter):
    """One CSV file with the rows of all recordings: subclasses have a name, columns, and the rows of one.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from dawnchorus.formats import write_detections
    >>> class Tally(TableWriter):
    ...     goal = "tally.csv"
    ...     columns = ("recording", "species", "minute")
    ...
    ...     def rows(self, recording):
    ...         for row in recording.rows():
    ...             yield recording.filename, row.label, int(row.start_s // 60)
    >>> detections = pd.DataFrame(
    ...     [("a.wav", 65.0, 70.0, "wren", 0.9)],
    ...     columns=["filename", "start_s", "end_s", "label", "probability"],
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path] = write_detections(detections, Tally, folder).values()
    ...     print(path.read_text(), end="")
    recording,species,minute
    a.wav,wren,1
    """

    columns: ClassVar[Sequence[str]]
    """The header."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        with replacing(self.path) as temporary, open_text(temporary) as file:
            self._writer = csv.writer(file, lineterminator="\n")
            self._writer.writerow(self.header())
            yield

    def header(self) -> Sequence[str]:
        """Return the names of the columns."""
        return self.columns

    def add(self, recording: RecordingDetections) -> None:
        self._writer.writerows(map(self.cells, self.rows(recording)))

    @abstractmethod
    def rows(self, recording: RecordingDetections) -> Iterable[Sequence[object]]:
        """Return the cells of one recording's rows, as many as there are columns."""


class CsvWriter(TableWriter):
    """``detections.csv``: every detection, and its time where that is known.

    ``time`` is in ISO 8601, to the millisecond, with the offset from UTC where it is known. Where
    channels were read by their numbers, ``channel`` is the last column.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> began = datetime(2024, 5, 4, 22)
    >>> with open_writers(["csv"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, began, detections))
    >>> print(Path("tables/detections.csv").read_text())
    filename,start_s,end_s,label,probability,time
    night.wav,7.5,10.0,owl,0.9,2024-05-04T22:00:07.500
    """

    goal = "detections.csv"
    columns = ("filename", "start_s", "end_s", "label", "probability", "time")

    def header(self) -> Sequence[str]:
        return (*self.columns, "channel") if self.settings.has_channels else self.columns

    def rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        for row in recording.rows():
            moment = recording.time_of(row)
            time = nearest_millisecond(moment).isoformat(timespec="milliseconds") if moment else ""
            probability = round(row.probability, PROBABILITY_DECIMALS)
            channel = [row.channel] if self.settings.has_channels else []
            yield [recording.filename, row.start_s, row.end_s, row.label, probability, time, *channel]


class KaleidoscopeWriter(TableWriter):
    """``kaleidoscope.csv``: the columns of BirdNET-Analyzer's table for Kaleidoscope.

    Its place, week and sensitivity are settings that only BirdNET has; those columns are empty.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["kaleidoscope"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, None, detections))
    >>> Path("tables/kaleidoscope.csv").read_text().split(",")[:5]
    ['INDIR', 'FOLDER', 'IN FILE', 'OFFSET', 'DURATION']
    """

    goal = "kaleidoscope.csv"
    columns = (
        *("INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION", "scientific_name", "common_name", "confidence"),
        *("lat", "lon", "week", "overlap", "sensitivity"),
    )

    def rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        relative = PurePosixPath(recording.filename)
        root = str(recording.path.parents[len(relative.parts) - 1])
        folder = "" if len(relative.parts) == 1 else str(relative.parent)
        for row in recording.rows():
            yield (
                *(root, folder, relative.name),
                *(row.start_s, round(row.end_s - row.start_s, _TIME_DECIMALS)),
                *self.settings.species[row.label],
                f"{row.probability:.{PROBABILITY_DECIMALS}f}",
                *("", "", "", self.settings.overlap_s, ""),
            )
