"""When and where was recorded: sites, and the recordings that a standard can hold."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path

from dawnchorus.audio.recorder_times import time_at
from dawnchorus.formats.detection_writer import open_text
from dawnchorus.formats.recording import RecordingDetections
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

LEFT_OUT_NAME = "left_out.csv"


def site_of(recording: RecordingDetections) -> str:
    """Return a recording's site: the first folder of its name, else its device, else its place.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.audio.recorder_times import Recorder
    >>> nothing = pd.DataFrame({"start_s": [], "end_s": [], "label": [], "probability": []})
    >>> placed = Recorder(None, -27.4, 152.9)
    >>> site_of(RecordingDetections("a.wav", Path("a.wav"), 60.0, None, nothing, placed))
    '-27.40000_152.90000'
    """
    device, latitude, longitude = recording.recorder
    place = "" if latitude is None or longitude is None else f"{latitude:.5f}_{longitude:.5f}"
    return recording.site or device or place or "site"


def days_of(start: datetime, duration_s: float) -> Iterator[tuple[date, float]]:
    """Yield each day that a recording lies in, by its own clock, and how many seconds of it.

    Examples
    --------
    >>> from datetime import datetime
    >>> [(str(day), seconds) for day, seconds in days_of(datetime(2024, 5, 4, 23, 59), 90.0)]
    [('2024-05-04', 60.0), ('2024-05-05', 30.0)]
    """
    while True:
        midnight = datetime.combine(start.date() + timedelta(days=1), time(), start.tzinfo)
        left_s = (midnight - start).total_seconds()
        yield start.date(), min(duration_s, left_s)
        if duration_s <= left_s:
            return
        duration_s, start = duration_s - left_s, midnight


def interval(start: datetime, begin_s: float, end_s: float) -> str:
    """Return a stretch of a recording as an interval of ISO 8601, to the second.

    Examples
    --------
    >>> from datetime import datetime
    >>> interval(datetime(2024, 5, 4, 22), 5.0, 10.0)
    '2024-05-04T22:00:05/2024-05-04T22:00:10'
    """
    moments = (time_at(start, begin_s), time_at(start, end_s))
    return "/".join(moment.isoformat(timespec="seconds") for moment in moments)


@dataclass
class LeftOut:
    """Recordings that a standard cannot hold, with what they lack.

    Examples
    --------
    >>> from pathlib import Path
    >>> left_out = LeftOut("Camtrap DP")
    >>> left_out.add("a.wav", "its time is not known")
    >>> left_out.write(Path("."))
    >>> Path("left_out.csv").read_text().splitlines()[1]
    'a.wav,its time is not known'
    """

    standard: str
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, filename: str, reason: str) -> None:
        """Note a recording."""
        self.reasons[filename] = reason

    def write(self, folder: Path) -> None:
        """Write ``left_out.csv`` where there are some, and say so in a warning."""
        if not self.reasons:
            return
        with open_text(folder / LEFT_OUT_NAME) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("filename", "reason"))
            writer.writerows(self.reasons.items())
        logger.warning(
            f"{self.standard} has no place for {counted(len(self.reasons), 'recording')}: "
            f"{next(iter(self.reasons.values()))}; {LEFT_OUT_NAME} there lists them all"
        )


def lacking(recording: RecordingDetections, *, offset: bool = False, place: bool = False) -> str | None:
    """Return what a recording lacks of its time and place, None where it has all that is wanted.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> nothing = pd.DataFrame({"start_s": [], "end_s": [], "label": [], "probability": []})
    >>> lacking(RecordingDetections("a.wav", Path("a.wav"), 60.0, datetime(2024, 5, 4), nothing), offset=True)
    'the offset of its time from UTC is not known; give the time zone'
    """
    if recording.start is None:
        return "its time is not known"
    if offset and recording.start.utcoffset() is None:
        return "the offset of its time from UTC is not known; give the time zone"
    if place and None in (recording.recorder.latitude, recording.recorder.longitude):
        return "its coordinates are not known; give a table of sites"
    return None
