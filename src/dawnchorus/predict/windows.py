"""Outputs of an ensemble for the windows of one recording."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.wording import counted


class WindowPredictions(NamedTuple):
    """The windows of one recording.

    Attributes
    ----------
    starts, stops
        Shape (n_windows,), int64, in samples, rising; the last stop is the recording's end.
    probabilities
        Shape (n_windows, n_classes), float32 in [0, 1].
    sample_rate
        In Hz.
    embeddings
        Shape (n_windows, n_features), float32; None where they were not requested.

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

    def __repr__(self) -> str:
        n_windows, n_classes = self.probabilities.shape
        embedded = ", with embeddings" if self.embeddings is not None else ""
        classes = counted(n_classes, "class", "classes")
        return f"WindowPredictions({counted(n_windows, 'window')}, {classes}{embedded})"
