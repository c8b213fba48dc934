"""Where windows begin and end, in whole samples, and the two things done to a window's sound.

Samples are counted in integers throughout, so that no window drifts, however long the recording:
the k-th window covers ``[k · step, min(k · step + window, n_samples))``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def window_starts(n_samples: int, window: int, step: int | None = None) -> np.ndarray:
    """Return the first samples of the windows that cover a recording, shape (n_windows,), int64.

    Parameters
    ----------
    n_samples
        Length of the recording, at least 1. Up to ``window`` samples make a single window.
    window
        Length of a window in samples; the last one may be shorter.
    step
        From one start to the next, in samples; a whole window if not given.

    Raises
    ------
    ValueError
        The recording has no samples, or the windows would leave gaps.
    """
    step = _checked_step(window, step)
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples}: a recording without samples has no windows")
    n_more = max(0, -(-(n_samples - window) // step))  # windows after the first until the end is covered
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


def planned_starts(n_samples: int, window: int, step: int, shift: int | None = None) -> np.ndarray:
    """Return :func:`window_starts`, and where ``shift`` is given the windows beside them, sorted, int64.

    Parameters
    ----------
    n_samples, window, step
        In samples, as for :func:`window_starts`.
    shift
        Distance in samples of a window's two neighbours for shift test-time augmentation. Only
        neighbours that lie wholly within the recording are taken.
    """
    wanted = window_starts(n_samples, window, step)
    if shift is None:
        return wanted
    beside = np.concatenate([wanted - shift, wanted + shift])
    return np.union1d(wanted, beside[(beside >= 0) & (beside + window <= n_samples)])


def stream_planned(blocks: Iterable[np.ndarray], starts: np.ndarray, window: int) -> Iterator[np.ndarray]:
    """Yield the samples of the windows at ``starts`` from a recording that arrives in blocks.

    Holds little more than one window and one block, however long the recording is.

    Parameters
    ----------
    blocks
        Consecutive pieces of a recording, each of shape (any number,), float32.
    starts
        First samples, rising, all within the recording.
    window
        In samples.

    Yields
    ------
    numpy.ndarray
        Shape (at most window,): fewer where the recording ends.
    """
    rest = iter(blocks)
    held, first, more = np.zeros(0, np.float32), 0, True  # `held` begins at sample `first`
    for start in starts.tolist():
        while more and first + len(held) < start + window:
            block = next(rest, None)
            if block is None:
                more = False
                break
            n_passed = min(max(start - first, 0), len(held))
            held, first = np.concatenate([held[n_passed:], block]), first + n_passed
        yield held[start - first : start - first + window]


def check_crop(start: int, n_samples: int) -> None:
    """Raise ValueError for a crop that begins before sample 0 or has a negative length."""
    if start < 0 or n_samples < 0:
        raise ValueError(f"start={start} and n_samples={n_samples} must not be negative")


def pad_left(wave: np.ndarray, n_samples: int) -> np.ndarray:
    """Return ``wave`` with zeros before it, shape (n_samples,): a short recording ends where its clip ends.

    Raises
    ------
    ValueError
        ``wave`` is longer than ``n_samples``.
    """
    n_missing = n_samples - len(wave)
    if n_missing < 0:
        raise ValueError(f"a wave of {len(wave)} samples cannot be padded to {n_samples}")
    return np.pad(wave, (n_missing, 0)) if n_missing else wave


def normalize_peak(wave: np.ndarray) -> np.ndarray:
    """Return ``wave / max |wave|``, float32 in [-1, 1]; silence stays zero.

    The recipe's *late normalisation*: applied to the crop, not to the recording.
    """
    wave = np.asarray(wave, dtype=np.float32)
    peak = peak_of(wave)
    return wave / np.float32(peak) if peak > 0 else wave


def peak_of(wave: np.ndarray) -> float:
    """Return max |wave|, 0 for an empty one."""
    return max(float(wave.max()), -float(wave.min())) if wave.size else 0.0


def _checked_step(window: int, step: int | None) -> int:
    step = window if step is None else step
    if not 1 <= step <= window:
        raise ValueError(f"step={step} must lie in 1 … window={window}, or samples would be missed")
    return step
