"""What every format is given: one recording's detections, and when each of them was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.recorder_times import time_at

_HALF_MILLISECOND_S = 0.0005


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
        When the recording began, aware or naive; None where nobody knows.
    detections
        Columns ``start_s``, ``end_s``, ``label``, ``probability``; already sorted.
    """

    filename: str
    path: Path
    duration_s: float
    start: datetime | None
    detections: pd.DataFrame


class Detection(NamedTuple):
    """One row, in Python's own types."""

    start_s: float
    end_s: float
    label: str
    probability: float


def detections_in(recording: RecordingDetections) -> Iterator[Detection]:
    """Yield the rows of a recording, in their order."""
    columns = [recording.detections[column].tolist() for column in Detection._fields]
    return map(Detection._make, zip(*columns, strict=True))


def absolute_time(start: datetime | None, offset_s: float) -> datetime | None:
    """Return the moment ``offset_s`` seconds after ``start``, to the microsecond; None if ``start`` is."""
    return None if start is None else time_at(start, offset_s)


def nearest_millisecond(moment: datetime) -> datetime:
    """Return ``moment`` rounded to whole milliseconds, halves up."""
    later = absolute_time(moment, _HALF_MILLISECOND_S) or moment
    return later.replace(microsecond=later.microsecond // 1000 * 1000)
