"""Single tables of all recordings: our own CSV files, and the one that Kaleidoscope opens."""

from __future__ import annotations

import csv
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar

from dawnchorus.files import replacing
from dawnchorus.formats.detection_writer import (
    VERDICT_COLUMNS,
    DetectionWriter,
    open_text,
    probability_cell,
    probability_text,
    verdict_cells,
)
from dawnchorus.formats.recording import Detection, RecordingDetections, nearest_millisecond

_TIME_DECIMALS = 6  # drops the rounding error of a difference
_NO_SPECIES = "NoID"
"""What Kaleidoscope's reviewers write where they hear nothing that they know."""


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

    has_header: ClassVar[bool] = True
    """Whether the file begins with it."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        with replacing(self.path) as temporary, open_text(temporary) as self._file:
            self._writer = csv.writer(self._file, lineterminator="\n")
            if self.has_header:
                self._writer.writerow(self.header())
            yield

    def header(self) -> Sequence[str]:
        """Return the names of the columns."""
        return self.columns

    def add(self, recording: RecordingDetections) -> None:
        self._writer.writerows(map(self.cells, self.rows(recording)))

    def n_bytes(self) -> int:
        """Return how many bytes were written so far."""
        return self._file.tell()

    @abstractmethod
    def rows(self, recording: RecordingDetections) -> Iterable[Sequence[object]]:
        """Return the cells of one recording's rows, as many as there are columns."""


class CsvWriter(TableWriter):
    """``detections.csv``: every detection, and its time where that is known.

    ``time`` is in ISO 8601, to the millisecond, with the offset from UTC where it is known; ``date`` and
    ``hour`` are those of the local time. ``site`` is the first folder of the recording's name. Names, place,
    device, model and threshold are empty where they are not known. Where channels were read by their numbers,
    ``channel`` follows; where people have listened, ``verdict``, ``heard`` and ``reviewers`` do, the names in
    the latter two with ``|`` between.

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
    >>> print(Path("tables/detections.csv").read_text().splitlines()[1])
    night.wav,7.5,10.0,owl,0.9,2024-05-04T22:00:07.500,owl,owl,2024-05-04,22,,,,,,
    """

    goal = "detections.csv"
    columns = (
        *("filename", "start_s", "end_s", "label", "probability", "time"),
        *("scientific_name", "common_name", "date", "hour", "site"),
        *("latitude", "longitude", "device", "model", "threshold"),
    )

    def header(self) -> Sequence[str]:
        channel = ("channel",) if self.settings.has_channels else ()
        return (*self.columns, *channel, *(VERDICT_COLUMNS if self.settings.has_verdicts else ()))

    def rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        for row in recording.rows():
            moment = recording.time_of(row)
            time = nearest_millisecond(moment).isoformat(timespec="milliseconds") if moment else ""
            probability = probability_cell(row.probability)
            channel = [row.channel] if self.settings.has_channels else []
            device, latitude, longitude = recording.recorder
            yield [
                *(recording.filename, row.start_s, row.end_s, row.label, probability, time),
                *self.settings.species[row.label],
                *((moment.date().isoformat(), moment.hour) if moment else ("", "")),
                *(recording.site, latitude, longitude, device),
                *(self.settings.model.name, self.settings.model.thresholds.get(row.label)),
                *channel,
                *(verdict_cells(row) if self.settings.has_verdicts else ()),
            ]


class EffortWriter(TableWriter):
    """``effort.csv``: every recording with its start and length, those without a detection too.

    It tells silence from a recorder that was off. ``start`` is in ISO 8601 as the times of ``detections.csv``
    are; ``site``, place and device are empty where they are not known.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> nothing = pd.DataFrame(columns=["start_s", "end_s", "label", "probability"])
    >>> began = datetime(2024, 5, 4, 22)
    >>> with open_writers(["effort"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("pond/night.wav", Path("night.wav"), 12.0, began, nothing))
    >>> print(Path("tables/effort.csv").read_text().splitlines()[1])
    pond/night.wav,2024-05-04T22:00:00.000,12.0,0,pond,,,
    """

    goal = "effort.csv"
    columns = (
        *("filename", "start", "duration_s", "n_detections"),
        *("site", "latitude", "longitude", "device"),
    )

    def rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        start, (device, latitude, longitude) = recording.start, recording.recorder
        yield [
            recording.filename,
            nearest_millisecond(start).isoformat(timespec="milliseconds") if start else "",
            round(recording.duration_s, _TIME_DECIMALS),
            len(recording.detections),
            *(recording.site, latitude, longitude, device),
        ]


class KaleidoscopeWriter(TableWriter):
    """``kaleidoscope.csv``: the table that Kaleidoscope opens with File, Open Results.

    Its columns are those of BirdNET-Analyzer's table for Kaleidoscope, and then of Kaleidoscope's own
    ``id.csv`` and ``cluster.csv``: ``TOP1MATCH`` is the species that it shows, ``TOP1DIST`` the distance,
    here 1 - probability, so that the surest come first, and ``MANUAL ID`` is for the reviewer: empty where
    nobody has listened or is sure, else what was heard, or ``NoID``.
    ``DATE``, ``TIME`` and ``HOUR`` are when the recording began. ``week`` and ``sensitivity`` are settings
    that only BirdNET has.

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
        *("CHANNEL", "DATE", "TIME", "HOUR", "TOP1MATCH", "TOP1DIST", "MANUAL ID"),
    )

    def rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        relative = PurePosixPath(recording.filename)
        absolute = Path(os.path.abspath(recording.path))  # noqa: PTH100  links stay as they are
        root = str(absolute.parents[len(relative.parts) - 1])
        folder = "" if len(relative.parts) == 1 else str(relative.parent)
        start, (_, latitude, longitude) = recording.start, recording.recorder
        began = (f"{start:%Y-%m-%d}", f"{start:%H:%M:%S}", f"{start:%H}") if start else ("", "", "")
        for row in recording.rows():
            names = self.settings.species[row.label]
            yield [
                *(root, folder, relative.name),
                *(row.start_s, round(row.end_s - row.start_s, _TIME_DECIMALS)),
                *names,
                probability_text(row.probability),
                *(latitude, longitude, "", self.settings.overlap_s, ""),
                *(0, *began, names.common, probability_text(1 - row.probability)),
                self._manual_id(row),
            ]

    def _manual_id(self, row: Detection) -> str:
        """Return what a reviewer would have written: one name, ``NoID``, or nothing."""
        if row.verdict not in ("yes", "no"):
            return ""
        name = row.label if row.verdict == "yes" else next(iter(row.heard), None)
        return _NO_SPECIES if name is None else self.settings.common_name(name)
