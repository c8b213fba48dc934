"""First and last samples of windows, and the padding and normalisation of a window's sound.

Samples are counted in integers throughout, so that no window drifts, however long the recording:
the k-th window covers ``[k · step, min(k · step + window, n_samples))``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import count

import numpy as np

SHORTEST_S = 0.01
"""The least length of a recording and of its last window, seconds: what is shorter holds no sound to predict.

Divided by its peak, a window of a few samples would be a click at full scale.
"""


def shortest_window(sample_rate: int) -> int:
    """Return the least number of samples of a recording's last window.

    Examples
    --------
    >>> shortest_window(32_000)
    320
    """
    return math.ceil(SHORTEST_S * sample_rate)


def window_starts(n_samples: int, window: int, step: int | None = None, *, shortest: int = 1) -> np.ndarray:
    """Return the first samples of the windows that cover a recording, shape (n_windows,), int64.

    Parameters
    ----------
    n_samples
        Length of the recording, at least 1. Up to ``window`` samples make a single window.
    window
        Length of a window in samples; the last one may be shorter.
    step
        From one start to the next, in samples; a whole window if not given.
    shortest
        Least length of a last window that is not the only one: a shorter one is left out, and with it the
        recording's last samples (:func:`shortest_window`).

    Raises
    ------
    ValueError
        The recording has no samples, or the windows would leave gaps.

    Examples
    --------
    >>> window_starts(12, window=5)
    array([ 0,  5, 10])
    >>> window_starts(12, window=5, shortest=3)
    array([0, 5])
    >>> window_starts(12, window=5, step=3)
    array([0, 3, 6, 9])
    """
    step = _checked_step(window, step)
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: a recording without samples has no windows")
    n_more = max(0, -(-(n_samples - window) // step))  # windows after the first until the end is covered
    if n_more and n_samples - n_more * step < shortest:
        n_more -= 1
    return np.arange(1 + n_more, dtype=np.int64) * step


def stream_windows(
    blocks: Iterable[np.ndarray], window: int, step: int | None = None
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the windows of :func:`window_starts` from a recording that arrives in blocks.

    Holds one window and one block, however long the recording is.

    Parameters
    ----------
    blocks
        Consecutive pieces of a recording, each of shape (any number,), float32.
    window, step
        In samples, as for :func:`window_starts`.

    Yields
    ------
    tuple
        ``(start, stop, samples)``: samples of shape (stop - start,), float32, not padded.

    Raises
    ------
    ValueError
        The blocks hold no samples, or the windows would leave gaps.

    Examples
    --------
    >>> import numpy as np
    >>> blocks = [np.zeros(7, np.float32), np.zeros(5, np.float32)]
    >>> [(start, stop) for start, stop, samples in stream_windows(blocks, window=5)]
    [(0, 5), (5, 10), (10, 12)]
    """
    step = _checked_step(window, step)
    held = np.zeros(0, np.float32)  # begins at sample `start`
    start = stop = 0
    for block in blocks:
        held = np.concatenate([held, block])
        while start + len(held) > stop and len(held) >= window:
            stop = start + window
            yield start, stop, held[:window]
            held = held[step:]
            start += step
    if start + len(held) > stop:
        yield start, start + len(held), held
    elif stop == 0:
        raise ValueError("the blocks hold no samples, so that there are no windows")


def planned_starts(
    n_samples: int, window: int, step: int, shift: int | None = None, *, shortest: int = 1
) -> np.ndarray:
    """Return :func:`window_starts`, and where ``shift`` is given the windows beside them, sorted, int64.

    Parameters
    ----------
    n_samples, window, step, shortest
        In samples, as for :func:`window_starts`.
    shift
        Distance in samples of a window's two neighbours for shift test-time augmentation. Only
        neighbours that lie wholly within the recording are taken.

    Examples
    --------
    >>> planned_starts(20, window=5, step=5, shift=2)
    array([ 0,  2,  3,  5,  7,  8, 10, 12, 13, 15])
    """
    wanted = window_starts(n_samples, window, step, shortest=shortest)
    if shift is None:
        return wanted
    beside = np.concatenate([wanted - shift, wanted + shift])
    return np.union1d(wanted, beside[(beside >= 0) & (beside + window <= n_samples)])


class WindowStream:
    """The windows of :func:`planned_starts` from a recording that arrives block by block, of any length.

    Each window is yielded once all of it has arrived, so a microphone and a file give the same windows.
    Holds little more than one window and one block.

    Parameters
    ----------
    window, step, shift, shortest
        In samples, as for :func:`planned_starts`.
    n_before, n_after
        Samples before and after a window that are yielded with it; silence where the recording has none.

    Attributes
    ----------
    n_samples
        Number of samples so far.

    Examples
    --------
    >>> import numpy as np
    >>> stream = WindowStream(4, 4)
    >>> [(start, stop) for start, stop, _ in stream.add(np.zeros(9, np.float32))]
    [(0, 4), (4, 8)]
    >>> [(start, stop) for start, stop, _ in stream.end()]
    [(8, 9)]
    """

    def __init__(
        self,
        window: int,
        step: int,
        shift: int | None = None,
        *,
        n_before: int = 0,
        n_after: int = 0,
        shortest: int = 1,
    ) -> None:
        self.window, self.step, self.shift = window, _checked_step(window, step), shift
        self.shortest = shortest
        self.n_after, self.n_whole = n_after, n_before + window + n_after
        self.n_samples = 0
        # Counted from ``n_before`` samples before the recording, a window's whole begins at its start.
        self._held, self._first = np.zeros(n_before, np.float32), 0
        self._candidates = _candidates(window, step, shift, shortest)
        self._start, self._needed = next(self._candidates)
        self._last = -1

    def add(self, block: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the windows that a block makes whole; go through them before the next block is added.

        Yields
        ------
        tuple
            ``(start, stop, samples)``: the window's first and last sample, and the samples of shape
            (n_before + window + n_after,), float32.
        """
        self.n_samples += len(block)
        self._hold(block)
        while max(self._needed, self._start + self.window + self.n_after) <= self.n_samples:
            yield self._start, self._start + self.window, self._samples(self._start)
            self._last = self._start
            while self._start == self._last:
                self._start, self._needed = next(self._candidates)

    def end(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the windows that are left when the recording has ended; the last one may be shorter.

        Raises
        ------
        ValueError
            The recording had no samples.
        """
        self._hold(np.zeros(self.n_after, np.float32))
        planned = planned_starts(self.n_samples, self.window, self.step, self.shift, shortest=self.shortest)
        for start in planned.tolist():
            if start > self._last:
                yield start, min(start + self.window, self.n_samples), self._samples(start)

    def _hold(self, block: np.ndarray) -> None:
        n_passed = min(max(self._last + 1 - self._first, 0), len(self._held))
        self._held, self._first = np.concatenate([self._held[n_passed:], block]), self._first + n_passed

    def _samples(self, start: int) -> np.ndarray:
        return self._held[start - self._first : start - self._first + self.n_whole]


def _candidates(window: int, step: int, shift: int | None, shortest: int) -> Iterator[tuple[int, int]]:
    """Yield the starts of :func:`planned_starts` for a recording without end, rising, some more than once.

    The second of each pair is the least length of a recording that has this window.
    """
    wanted = ((k * step, k * step + window) for k in count())
    if shift is None:
        return wanted
    later = ((k * step + shift, k * step + shift + window) for k in count())

    def least(k: int) -> int:
        """Return how long a recording is that has the k-th window: it has samples of its own, and enough."""
        return max((k - 1) * step + window + 1, k * step + shortest) if k else 0

    # A window before another is taken only where that other exists.
    earlier = ((k * step - shift, max(k * step - shift + window, least(k))) for k in count(-(-shift // step)))
    return merge(wanted, later, earlier)


def check_crop(start: int, n_samples: int) -> None:
    """Raise ValueError for a crop that begins before sample 0 or has a negative length.

    Examples
    --------
    >>> check_crop(0, 160_000)
    >>> check_crop(-1, 160_000)
    Traceback (most recent call last):
        ...
    ValueError: start=-1 and n_samples=160000 must not be negative
    """
    if start < 0 or n_samples < 0:
        raise ValueError(f"start={start} and n_samples={n_samples} must not be negative")


def pad_left(wave: np.ndarray, n_samples: int) -> np.ndarray:
    """Return ``wave`` with zeros before it, shape (n_samples,): a short recording ends where its clip ends.

    Raises
    ------
    ValueError
        ``wave`` is longer than ``n_samples``.

    Examples
    --------
    >>> import numpy as np
    >>> pad_left(np.float32([1, 2]), 4)
    array([0., 0., 1., 2.], dtype=float32)
    """
    n_missing = n_samples - len(wave)
    if n_missing < 0:
        raise ValueError(f"a wave of {len(wave)} samples cannot be padded to {n_samples}")
    return np.pad(wave, (n_missing, 0)) if n_missing else wave


def normalize_peak(wave: np.ndarray) -> np.ndarray:
    """Return ``wave / max |wave|``, float32 in [-1, 1]; silence stays zero.

    The recipe's *late normalisation*: applied to the crop, not to the recording.

    Examples
    --------
    >>> import numpy as np
    >>> normalize_peak(np.float32([0.1, -0.2]))
    array([ 0.5, -1. ], dtype=float32)
    """
    wave = np.asarray(wave, dtype=np.float32)
    peak = peak_of(wave)
    return wave / np.float32(peak) if peak > 0 else wave


def peak_of(wave: np.ndarray) -> float:
    """Return max |wave|, 0 for an empty one.

    Examples
    --------
    >>> import numpy as np
    >>> peak_of(np.float32([0.25, -0.5]))
    0.5
    """
    return max(float(wave.max()), -float(wave.min())) if wave.size else 0.0


def _checked_step(window: int, step: int | None) -> int:
    step = window if step is None else step
    if not 1 <= step <= window:
        raise ValueError(f"step={step} must lie in 1 … window={window}, or samples would be missed")
    return step
