"""When and where was recorded: sites, and the recordings that a standard can hold."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Self

from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.audio.recorder_times import recorder_of, recorder_time, time_at
from dawnchorus.formats.detection_writer import DetectionWriter, open_text
from dawnchorus.formats.recording import RecordingDetections
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

LEFT_OUT_NAME = "left_out.csv"
_TRIED = 20  # recordings that are looked at before the work


def site_of(recording: RecordingDetections) -> str:
    """Return a recording's site: the first folder of its name, else its device, else its place, else nothing.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.audio.recorder_times import Recorder
    >>> from dawnchorus.formats.recording import RecordingDetections
    >>> nothing = pd.DataFrame({"start_s": [], "end_s": [], "label": [], "probability": []})
    >>> placed = Recorder(None, -27.4, 152.9)
    >>> site_of(RecordingDetections("a.wav", Path("a.wav"), 60.0, None, nothing, placed))
    '-27.40000_152.90000'
    """
    device, latitude, longitude = recording.recorder
    place = "" if latitude is None or longitude is None else f"{latitude:.5f}_{longitude:.5f}"
    return recording.site or device or place


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


class LeftOut:
    """Recordings that a standard cannot hold, written to ``left_out.csv`` with what they lack.

    Parameters
    ----------
    folder
        Where the table goes; there is none where nothing is left out.
    standard
        Its name, for the warning at the end.

    Examples
    --------
    >>> from pathlib import Path
    >>> with LeftOut(Path("."), "Camtrap DP") as left_out:
    ...     left_out.add("a.wav", "its time is not known")
    >>> Path("left_out.csv").read_text().splitlines()[1]
    'a.wav,its time is not known'
    """

    def __init__(self, folder: Path, standard: str) -> None:
        self.path, self.standard = folder / LEFT_OUT_NAME, standard
        self.n_recordings, self.first_reason = 0, ""
        self._files = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._files.close()
        if self.n_recordings and kind is None:
            logger.warning(
                f"{self.standard} has no place for {counted(self.n_recordings, 'recording')}: "
                f"{self.first_reason}; {LEFT_OUT_NAME} there lists them all"
            )

    def add(self, filename: str, reason: str) -> None:
        """Write a recording, and the reason."""
        if not self.n_recordings:
            self._writer = csv.writer(self._files.enter_context(open_text(self.path)), lineterminator="\n")
            self._writer.writerow(("filename", "reason"))
            self.first_reason = reason
        self.n_recordings += 1
        self._writer.writerow((filename, reason))


def left_out_ahead(
    writers: Mapping[str, type[DetectionWriter]], paths: Sequence[Path], times: RecorderTimes
) -> str | None:
    """Return a sentence on recordings that formats will leave out, None where they take all that were tried.

    Parameters
    ----------
    writers
        The formats, by their names.
    paths
        The recordings, of which some are looked at.
    times
        Where their times come from.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.recorder_names import RecorderTimes
    >>> from dawnchorus.formats import formats_of
    >>> paths = [Path("20240504_220000.wav")]
    >>> left_out_ahead(formats_of("csv"), paths, RecorderTimes()) is None
    True
    >>> left_out_ahead(formats_of("camtrap_dp"), paths, RecorderTimes(None, "+02:00"))
    'camtrap_dp leaves out recordings whose coordinates are not known, which are 1 of the 1 looked at; ...'
    """
    offset = [name for name, writer in writers.items() if writer.needs_offset]
    place = [name for name, writer in writers.items() if writer.needs_place]
    if not (offset or place):
        return None
    tried = paths[:: max(1, len(paths) // _TRIED)][:_TRIED]
    n_offset = n_place = 0
    for path in tried:
        known = recorder_time(path)
        start = times.start_of(path, None if known is None else known.start)
        n_offset += start is None or start.utcoffset() is None
        n_place += None in recorder_of(path)[1:]
    told = []
    for names, n, what, remedy in (
        (offset, n_offset, "time or its offset from UTC is", "give --time-zone"),
        (place, n_place, "coordinates are", "give dawnchorus convert the tables, with --sites, afterwards"),
    ):
        if names and n:
            leave = "leaves" if len(names) == 1 else "leave"
            told.append(
                f"{' and '.join(names)} {leave} out recordings whose {what} not known, which are {n} of the "
                f"{len(tried)} looked at; {remedy}"
            )
    return "; ".join(told) or None


def lacking(
    recording: RecordingDetections, *, offset: bool = False, place: bool = False, site: bool = False
) -> str | None:
    """Return what a recording lacks of its time and place, None where it has all that is wanted.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats.recording import RecordingDetections
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
    if site and not site_of(recording):
        return "its site is not known; give a table of sites"
    return None
