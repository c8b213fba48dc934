"""Targets of stretches of a recording, from the boxes that they overlap enough."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.recordings.labels import LabelMap
from dawnchorus.wording import counted

MIN_OVERLAP_S = 0.25
"""A box counts for a clip that contains at least this much of it. Of a box so short that a border between two
clips could leave less in both, half is enough."""


class Boxes(NamedTuple):
    """The boxes of one recording.

    Attributes
    ----------
    start_s, end_s
        Shape (n_boxes,), float64, seconds.
    label
        Shape (n_boxes,), int64, the index of the class.

    Examples
    --------
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> boxes = Boxes.of([(1.0, 2.5, "owl"), (4.0, 6.0, "cat")], LabelMap(("owl", "wren")))
    >>> boxes.start_s, boxes.label
    (array([1.]), array([0]))
    """

    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64]

    @classmethod
    def of(cls, boxes: Iterable[tuple[float, float, str]], labels: LabelMap) -> Boxes:
        """Return the boxes whose label is one of the classes."""
        known = [(start_s, end_s, labels.index(label)) for start_s, end_s, label in boxes if label in labels]
        columns = list(zip(*known, strict=True)) or [(), (), ()]
        return cls(
            np.array(columns[0], np.float64), np.array(columns[1], np.float64), np.array(columns[2], np.int64)
        )

    def __repr__(self) -> str:
        return f"Boxes({counted(len(self.label), 'box', 'boxes')})"


def overlaps(
    start_s: npt.ArrayLike, end_s: npt.ArrayLike, boxes: Boxes, *, min_overlap_s: float = MIN_OVERLAP_S
) -> npt.NDArray[np.bool_]:
    """Return whether stretches overlap boxes by ``min_overlap_s``, or half the box, or the whole stretch.

    Parameters
    ----------
    start_s, end_s
        Stretches, shape (n_stretches,), seconds.
    boxes
        The boxes.
    min_overlap_s
        Smallest overlap with which a box counts, seconds.

    Returns
    -------
    numpy.ndarray
        Shape (n_stretches, n_boxes), bool.

    Examples
    --------
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> boxes = Boxes.of([(1.0, 2.5, "owl"), (4.0, 6.0, "wren")], LabelMap(("owl", "wren")))
    >>> overlaps([0.0, 5.0], [5.0, 10.0], boxes)
    array([[ True,  True],
           [False,  True]])
    """
    starts, ends = np.asarray(start_s, np.float64)[:, None], np.asarray(end_s, np.float64)[:, None]
    overlap_s = np.minimum(ends, boxes.end_s) - np.maximum(starts, boxes.start_s)
    needed_s = np.minimum(np.minimum(min_overlap_s, (boxes.end_s - boxes.start_s) / 2), ends - starts)
    # A tolerance of a nanosecond: 0.3 - 0.05 is not quite 0.25.
    return overlap_s >= needed_s - 1e-9


def time_targets(
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    boxes: Boxes,
    n_classes: int,
    *,
    min_overlap_s: float = MIN_OVERLAP_S,
) -> npt.NDArray[np.float32]:
    """Return 1 where a stretch overlaps a box of the class enough (:func:`overlaps`), else 0.

    Shape (n_stretches, n_classes), float32.

    Examples
    --------
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> boxes = Boxes.of([(1.0, 2.5, "owl"), (4.0, 6.0, "wren")], LabelMap(("owl", "wren")))
    >>> time_targets([0.0, 5.0], [5.0, 10.0], boxes, n_classes=2)
    array([[1., 1.],
           [0., 1.]], dtype=float32)
    """
    counted = overlaps(start_s, end_s, boxes, min_overlap_s=min_overlap_s)
    targets = np.zeros((len(counted), n_classes), dtype=np.float32)
    stretch, box = np.nonzero(counted)
    targets[stretch, boxes.label[box]] = 1
    return targets


def starts_over_box(
    box_start_s: float, box_end_s: float, *, clip_s: float, recording_s: float, min_overlap_s: float
) -> tuple[float, float]:
    """Return the earliest and latest start, seconds, of a clip within the recording that a box counts for.

    A box that is longer than the clip may hold the clip anywhere; a shorter one may lie anywhere in it.

    Examples
    --------
    >>> starts_over_box(10.0, 12.0, clip_s=5.0, recording_s=60.0, min_overlap_s=0.25)
    (5.25, 11.75)
    """
    needed_s = min(min_overlap_s, (box_end_s - box_start_s) / 2, clip_s)
    last_s = max(recording_s - clip_s, 0.0)
    earliest = min(max(box_start_s + needed_s - clip_s, 0.0), last_s)
    latest = min(max(box_end_s - needed_s, 0.0), last_s)
    return earliest, max(earliest, latest)
