"""Shifts, overlap average, smoothing and scaling of one recording's predictions.

All of it is arithmetic on :class:`~dawnchorus.predict.window_predictions.WindowPredictions`, and off
by default. Sums are taken in float64; results are float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.windows import shortest_window, window_starts
from dawnchorus.errors import ConfigError
from dawnchorus.predict.window_predictions import WindowPredictions, joined

NEIGHBOUR_KERNEL = (0.1, 0.2, 0.4, 0.2, 0.1)


@dataclass(frozen=True)
class PostprocessSettings:
    """Steps applied to a recording's predictions, in the order of the fields; none by default.

    Parameters
    ----------
    shift_s
        Average each window with those that lie so many seconds before and after it; above 0 and below the
        window's length.
    overlap_average
        Average overlapping windows onto cells of one step.
    smoothing
        Weights of a window and its neighbours, an odd number, the window's own in the middle.
    scale_exponent
        Multiply by the recording's maximum of the class to the power of this.

    Raises
    ------
    ConfigError
        A value is out of its range.

    Examples
    --------
    >>> settings = PostprocessSettings(smoothing=(0.1, 0.8, 0.1))
    >>> settings.smoothing, settings.overlap_average
    ((0.1, 0.8, 0.1), False)
    """

    shift_s: float | None = None
    overlap_average: bool = False
    smoothing: tuple[float, ...] | None = None
    scale_exponent: float | None = None

    def __post_init__(self) -> None:
        if self.shift_s is not None and not 0 < self.shift_s < math.inf:
            raise ConfigError(
                f"shift_s is {self.shift_s}; it must be above 0 and below the window's length in seconds; "
                "leave it out for no shifted windows"
            )
        fault = None if self.smoothing is None else _fault_of_kernel(self.smoothing)
        if fault:
            raise ConfigError(
                f"smoothing is {self.smoothing}; {fault}; a common choice is {NEIGHBOUR_KERNEL}"
            )
        if self.scale_exponent is not None and not 0 <= self.scale_exponent < math.inf:
            raise ConfigError(
                f"scale_exponent is {self.scale_exponent}; it must be 0 or more; leave it out for no scaling"
            )


def postprocess(
    predictions: WindowPredictions, settings: PostprocessSettings, *, window: int, step: int
) -> WindowPredictions:
    """Return the predictions after the steps that are switched on.

    Parameters
    ----------
    predictions
        Windows at the multiples of ``step``; with a shift, those beside them as well, as
        :func:`~dawnchorus.audio.windows.planned_starts` lays them.
    settings
        The steps.
    window, step
        Length of a window and wanted distance of windows, in samples. With a shift, the result has the
        windows of :func:`~dawnchorus.audio.windows.window_starts`.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> starts, stops = np.array([0, 5, 10]), np.array([5, 10, 15])
    >>> windows = WindowPredictions(starts, stops, np.float32([[0.2], [0.8], [0.2]]), sample_rate=1)
    >>> settings = PostprocessSettings(smoothing=(1, 2, 1))
    >>> postprocess(windows, settings, window=5, step=5).probabilities.ravel().round(2)
    array([0.4, 0.5, 0.4], dtype=float32)
    """
    if predictions.channels is not None:
        parts = [part._replace(channels=None) for part in predictions.by_channel()]
        done = [postprocess(part, settings, window=window, step=step) for part in parts]
        numbers = np.unique(predictions.channels)
        return joined(
            [
                part._replace(channels=np.full(len(part.starts), number))
                for number, part in zip(numbers, done, strict=True)
            ]
        )
    if settings.shift_s is not None:
        shortest = shortest_window(predictions.sample_rate)
        wanted = window_starts(int(predictions.stops.max()), window, step, shortest=shortest)
        shift = round(settings.shift_s * predictions.sample_rate)
        predictions = shift_average(predictions, wanted, shift=shift)
    if settings.overlap_average:
        predictions = overlap_average(predictions, step=step)
    if settings.smoothing is not None:
        smoothed = smooth(predictions.probabilities, settings.smoothing)
        predictions = predictions._replace(probabilities=smoothed)
    if settings.scale_exponent is not None:
        scaled = scale_by_maximum(predictions.probabilities, settings.scale_exponent)
        predictions = predictions._replace(probabilities=scaled)
    return predictions


def shift_average(
    predictions: WindowPredictions, wanted_starts: npt.NDArray[np.int64], *, shift: int
) -> WindowPredictions:
    """Return each wanted window as the plain mean of itself and the windows ``shift`` before and after it.

    Missing neighbours do not count.

    Parameters
    ----------
    predictions
        Windows at any starts, the wanted ones among them; these keep their embeddings.
    wanted_starts, shift
        Shape (n_wanted,), int64, and a number, in samples.

    Raises
    ------
    ValueError
        A wanted window was not predicted.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> starts, stops = np.array([0, 2, 5]), np.array([5, 7, 10])
    >>> windows = WindowPredictions(starts, stops, np.float32([[0.2], [0.6], [0.4]]), sample_rate=1)
    >>> shift_average(windows, np.array([0, 5]), shift=2).probabilities.ravel()
    array([0.4, 0.4], dtype=float32)
    """
    starts = predictions.starts
    sums = np.zeros((len(wanted_starts), predictions.probabilities.shape[1]))
    counts = np.zeros(len(wanted_starts), np.int64)
    for offset in (-shift, 0, shift):
        nearest = np.minimum(np.searchsorted(starts, wanted_starts + offset), len(starts) - 1)
        there = starts[nearest] == wanted_starts + offset
        if offset == 0 and not there.all():
            raise ValueError(f"nothing was predicted for the window at {wanted_starts[~there][0]} samples")
        sums[there] += predictions.probabilities[nearest[there]]
        counts += there
    own = np.searchsorted(starts, wanted_starts)
    embeddings = None if predictions.embeddings is None else predictions.embeddings[own]
    means = (sums / counts[:, None]).astype(np.float32)
    return WindowPredictions(starts[own], predictions.stops[own], means, predictions.sample_rate, embeddings)


def overlap_average(predictions: WindowPredictions, *, step: int) -> WindowPredictions:
    """Return overlapping windows averaged onto cells of one step.

    Cell k covers ``[k · step, (k + 1) · step)``, cut at the recording's end, and is the plain mean of the
    windows that cover all of it. Its embedding is that of the last window that starts with or before it.

    Raises
    ------
    ValueError
        No window covers all of a cell: cells are longer than windows, or lie across their edges.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> starts, stops = np.array([0, 5]), np.array([10, 15])
    >>> windows = WindowPredictions(starts, stops, np.float32([[0.2], [0.6]]), sample_rate=1)
    >>> overlap_average(windows, step=5).probabilities.ravel()
    array([0.2, 0.4, 0.6], dtype=float32)
    """
    end = int(predictions.stops.max())
    cell_starts = np.arange(0, end, step, dtype=np.int64)
    cell_stops = np.minimum(cell_starts + step, end)
    # Starts and stops both rise, so that the windows over a cell are neighbours: first … behind − 1.
    first = np.searchsorted(predictions.stops, cell_stops, side="left")
    behind = np.searchsorted(predictions.starts, cell_starts, side="right")
    n_over = behind - first
    if n_over.min() < 1:
        bare = cell_starts[n_over < 1][0]
        raise ValueError(f"no window covers the whole cell of {step} samples at {bare} samples")
    # A difference of cumulative sums needs no loop, but loses the digits of small probabilities.
    sums = np.zeros((len(cell_starts), predictions.probabilities.shape[1]))
    for offset in range(n_over.max()):
        there = offset < n_over
        sums[there] += predictions.probabilities[first[there] + offset]
    means = (sums / n_over[:, None]).astype(np.float32)
    embeddings = None if predictions.embeddings is None else predictions.embeddings[behind - 1]
    return WindowPredictions(cell_starts, cell_stops, means, predictions.sample_rate, embeddings)


def smooth(
    probabilities: npt.NDArray[np.float32], kernel: Sequence[float] = NEIGHBOUR_KERNEL
) -> npt.NDArray[np.float32]:
    """Return the weighted mean of each window and its neighbours, shape (n_windows, n_classes), float32.

    Parameters
    ----------
    probabilities
        Shape (n_windows, n_classes), windows in the order of time.
    kernel
        Weights, the earliest neighbour's first, the window's own in the middle. They are divided by the sum
        of those whose windows are there, so that a constant stays constant up to the ends.

    Raises
    ------
    ValueError
        The kernel has an even length, a weight below 0, or nothing in its middle.

    Examples
    --------
    >>> import numpy as np
    >>> smooth(np.float32([[0.0], [1.0], [0.0]]), (1, 2, 1)).ravel().round(3)
    array([0.333, 0.5  , 0.333], dtype=float32)
    """
    fault = _fault_of_kernel(kernel)
    if fault:
        raise ValueError(f"kernel={tuple(kernel)}: {fault}")
    n_windows, reach = len(probabilities), len(kernel) // 2
    sums, weights = np.zeros(probabilities.shape), np.zeros(n_windows)
    for offset, weight in enumerate(kernel, start=-reach):
        # Windows from `low` to `high` have a neighbour at `offset`.
        low, high = max(0, -offset), min(n_windows, n_windows - offset)
        if low < high:
            sums[low:high] += weight * probabilities[low + offset : high + offset].astype(np.float64)
            weights[low:high] += weight
    return (sums / weights[:, None]).astype(np.float32)


def scale_by_maximum(
    probabilities: npt.NDArray[np.float32], exponent: float = 1.0
) -> npt.NDArray[np.float32]:
    """Return ``p · max(p)^exponent``, the maximum over the recording's windows of each class.

    This lowers all probabilities of a class that is nowhere certain in the recording.

    Parameters
    ----------
    probabilities
        Shape (n_windows, n_classes), in [0, 1]; the result has the same shape, float32.
    exponent
        0 or more; 0 changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> scale_by_maximum(np.float32([[0.5, 0.2], [0.1, 1.0]])).round(3)
    array([[0.25, 0.2 ],
           [0.05, 1.  ]], dtype=float32)
    """
    maximum = probabilities.max(axis=0, initial=0).astype(np.float64)
    return (probabilities * maximum**exponent).astype(np.float32)


def _fault_of_kernel(kernel: Sequence[float]) -> str | None:
    if len(kernel) % 2 == 0:
        return f"it has {len(kernel)} weights, and must have an odd number of them"
    if not all(0 <= weight < math.inf for weight in kernel) or kernel[len(kernel) // 2] == 0:
        return "its weights must be 0 or more, and the one in the middle above 0"
    return None
