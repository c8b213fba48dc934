"""The input of every format: one recording's detections, and the time of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.recorder_times import Recorder, time_at

_HALF_MILLISECOND_S = 0.0005


class Detection(NamedTuple):
    """One row, in Python's own types.

    Attributes
    ----------
    start_s, end_s
        Where it is, seconds.
    label, probability
        The class, and how sure the model is; NaN where only a person has named it.
    channel
        From 1; None where the sound was not of one channel.
    verdict
        What reviewers say: ``yes``, ``no``, ``unsure`` or ``conflict``; empty where nobody has listened.
    heard
        Labels that reviewers have heard beside it, or instead.
    reviewers
        Their names.

    Examples
    --------
    >>> Detection(0.0, 5.0, "owl", 0.9).label
    'owl'
    """

    start_s: float
    end_s: float
    label: str
    probability: float
    channel: int | None = None
    verdict: str = ""
    heard: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()


class RecordingDetections(NamedTuple):
    """The detections in one recording.

    Attributes
    ----------
    filename
        Path of the recording below the folder that was predicted, with forward slashes.
    path
        The audio file; its last parts are those of ``filename``.
    duration_s
        Length of the recording.
    start
        When the recording began, aware or naive; None where unknown.
    detections
        Columns ``start_s``, ``end_s``, ``label``, ``probability``, and ``channel`` where it is known, and
        ``verdict``, ``heard`` and ``reviewers`` where people have listened; already sorted.
    recorder
        Its device and place, where known.
    sample_rate
        Of the audio file, in Hz; None where it is to be read from there.
    named_site
        Its site in a table of sites; empty where there is none.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> table = pd.DataFrame({"start_s": [5.0], "end_s": [10.0], "label": ["wren"], "probability": [0.9]})
    >>> recording = RecordingDetections("a.wav", Path("a.wav"), 60.0, datetime(2024, 5, 1, 4), table)
    >>> [(row.label, str(recording.time_of(row))) for row in recording.rows()]
    [('wren', '2024-05-01 04:00:05')]
    """

    filename: str
    path: Path
    duration_s: float
    start: datetime | None
    detections: pd.DataFrame
    recorder: Recorder = Recorder()
    sample_rate: int | None = None
    named_site: str = ""

    @property
    def site(self) -> str:
        """Its site in the table of sites, else the first folder of its name; empty where it has none."""
        if self.named_site:
            return self.named_site
        first, slash, _ = self.filename.partition("/")
        return first if slash else ""

    def rows(self) -> Iterator[Detection]:
        """Yield the rows, in their order."""
        names = [column for column in Detection._fields if column in self.detections]
        columns = (self.detections[column].tolist() for column in names)
        return (Detection(**dict(zip(names, cells, strict=True))) for cells in zip(*columns, strict=True))

    def occurrences(self) -> Iterator[Detection]:
        """Yield what is said to occur: rows that no reviewer has refused, and what was heard beside them.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"start_s": [5.0], "end_s": [10.0], "label": ["wren"], "probability": [0.9]})
        >>> table = table.assign(verdict="no", heard=[("owl",)], reviewers=[("Ada",)])
        >>> recording = RecordingDetections("a.wav", Path("a.wav"), 60.0, None, table)
        >>> [(row.label, row.verdict, row.probability) for row in recording.occurrences()]
        [('owl', 'yes', nan)]
        """
        said: dict[tuple[float, float, str, int | None], Detection] = {}
        for row in self.rows():
            if row.verdict != "no":
                said.setdefault((row.start_s, row.end_s, row.label, row.channel), row)
        for row in self.rows():
            for label in row.heard:
                heard = row._replace(label=label, probability=math.nan, verdict="yes", heard=())
                said.setdefault((row.start_s, row.end_s, label, row.channel), heard)
        return iter(sorted(said.values(), key=lambda row: (row.channel or 0, row.start_s)))

    def time_of(self, row: Detection) -> datetime | None:
        """Return when a detection begins, to the microsecond; None where unknown."""
        return absolute_time(self.start, row.start_s)


def absolute_time(start: datetime | None, offset_s: float) -> datetime | None:
    """Return the moment ``offset_s`` seconds after ``start``, to the microsecond; None if ``start`` is.

    Examples
    --------
    >>> from datetime import datetime
    >>> absolute_time(datetime(2024, 5, 4, 22), 7.5).isoformat()
    '2024-05-04T22:00:07.500000'
    >>> absolute_time(None, 7.5) is None
    True
    """
    return None if start is None else time_at(start, offset_s)


def nearest_millisecond(moment: datetime) -> datetime:
    """Return ``moment`` rounded to whole milliseconds, halves up.

    Examples
    --------
    >>> from datetime import datetime
    >>> nearest_millisecond(datetime(2024, 5, 4, 22, 0, 0, 1500)).isoformat()
    '2024-05-04T22:00:00.002000'
    """
    later = absolute_time(moment, _HALF_MILLISECOND_S) or moment
    return later.replace(microsecond=later.microsecond // 1000 * 1000)
