"""What an ensemble says of the windows of one recording."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


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
        Shape (n_windows, n_features), float32; None where nobody asked for them.
    """

    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    sample_rate: int
    embeddings: npt.NDArray[np.float32] | None = None
