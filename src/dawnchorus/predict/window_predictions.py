"""Outputs of an ensemble for the windows of one recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.models.score_calibration import ScoreCalibration
from dawnchorus.wording import counted


class WindowPredictions(NamedTuple):
    """The windows of one recording.

    Attributes
    ----------
    starts, stops
        Shape (n_windows,), int64, in samples, rising; the last stop is the recording's end, or
        less than 10 ms before it.
    probabilities
        Shape (n_windows, n_classes), float32 in [0, 1].
    sample_rate
        In Hz.
    embeddings
        Shape (n_windows, n_features), float32; None where they were not requested.
    channels
        Shape (n_windows,), int64: the channel of each window, from 1, rising; then starts and stops rise
        within a channel. None for the mean of all channels, or the loudest one.

    Examples
    --------
    >>> import numpy as np
    >>> starts, stops = np.array([0, 160_000]), np.array([160_000, 320_000])
    >>> windows = WindowPredictions(starts, stops, np.float32([[0.9, 0.1], [0.8, 0.7]]), sample_rate=32_000)
    >>> windows.stops / windows.sample_rate, windows.probabilities.max(axis=0)
    (array([ 5., 10.]), array([0.9, 0.7], dtype=float32))
    """

    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    sample_rate: int
    embeddings: npt.NDArray[np.float32] | None = None
    channels: npt.NDArray[np.int64] | None = None

    def calibrated(self, calibration: ScoreCalibration | None) -> WindowPredictions:
        """Return the windows with probabilities of presence for raw scores; as they are for None."""
        if calibration is None or not len(self.starts):
            return self
        return self._replace(probabilities=calibration.apply(self.probabilities))

    def by_channel(self) -> list[WindowPredictions]:
        """Return the windows of each channel; all together where they are of one."""
        if self.channels is None:
            return [self]
        return [self._of(self.channels == channel) for channel in np.unique(self.channels)]

    def _of(self, rows: npt.NDArray[np.bool_]) -> WindowPredictions:
        return self._replace(
            starts=self.starts[rows],
            stops=self.stops[rows],
            probabilities=self.probabilities[rows],
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            channels=None if self.channels is None else self.channels[rows],
        )

    def __repr__(self) -> str:
        n_windows, n_classes = self.probabilities.shape
        embedded = ", with embeddings" if self.embeddings is not None else ""
        classes = counted(n_classes, "class", "classes")
        return f"WindowPredictions({counted(n_windows, 'window')}, {classes}{embedded})"


def joined(parts: Sequence[WindowPredictions]) -> WindowPredictions:
    """Return the windows of the channels of one recording together.

    Examples
    --------
    >>> import numpy as np
    >>> starts, stops, channels = np.array([0, 0]), np.array([5, 5]), np.array([1, 2])
    >>> windows = WindowPredictions(starts, stops, np.float32([[0.9], [0.8]]), 1, channels=channels)
    >>> joined(windows.by_channel()).channels
    array([1, 2])
    """
    first = parts[0]

    def column(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return first._replace(
        starts=column("starts"),
        stops=column("stops"),
        probabilities=column("probabilities"),
        embeddings=None if first.embeddings is None else column("embeddings"),
        channels=None if first.channels is None else column("channels"),
    )
