"""Clips: a stretch of audio padded and normalised for a model, for training and inference; NumPy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.windows import normalize_peak, pad_left


class ClipLayout(Protocol):
    """The layout of a clip: its lengths in samples, and whether it is divided by its peak.

    Examples
    --------
    >>> from dawnchorus.datasets.clip_settings import ClipSettings
    >>> clip = ClipSettings(segment_len=5.0, look_back_s=1.0)
    >>> clip.n_segment, clip.n_look_back, clip.n_samples
    (160000, 32000, 192000)
    """

    @property
    def n_samples(self) -> int:
        """Samples of the whole clip."""
        ...

    @property
    def n_segment(self) -> int:
        """Samples of the segment that the clip is about."""
        ...

    @property
    def n_look_back(self) -> int:
        """Samples before the segment that belong to the clip."""
        ...

    @property
    def late_normalize(self) -> bool:
        """Whether the clip is divided by ``max |x|``."""
        ...

    @property
    def zeros_after(self) -> bool:
        """Whether zeros stand behind a segment that a recording's end cuts short, and not before it."""
        ...


def make_clip(
    wave: npt.NDArray[np.float32], settings: ClipLayout, *, n_before: int = 0
) -> npt.NDArray[np.float32]:
    """Return a stretch of audio as a clip, shape (n_samples,): padded with zeros, normalised.

    Parameters
    ----------
    wave
        The part of the clip that lies within the recording, shape (at most n_samples,).
    settings
        Layout of the clip.
    n_before
        Samples of the clip that lie before the recording's beginning.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.datasets.clip_settings import ClipSettings
    >>> make_clip(np.float32([0.1, -0.5]), ClipSettings(segment_len=0.01, sample_rate=400))
    array([ 0. ,  0. ,  0.2, -1. ], dtype=float32)
    """
    clip = fit_clip(wave, settings, n_before=n_before)
    return normalize_peak(clip) if settings.late_normalize else clip


def fit_clip(
    wave: npt.NDArray[np.float32], settings: ClipLayout, *, n_before: int = 0
) -> npt.NDArray[np.float32]:
    """Return a stretch of audio with zeros around it, shape (n_samples,).

    Where the clip is the segment alone, all zeros stand before it, as in the recipe, unless the layout wants
    them after it. Where the clip is longer, ``n_before`` zeros stand before the samples and the rest after
    them.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.datasets.clip_settings import ClipSettings
    >>> fit_clip(np.float32([0.1, -0.5]), ClipSettings(segment_len=0.01, sample_rate=400))
    array([ 0. ,  0. ,  0.1, -0.5], dtype=float32)
    """
    n_samples = settings.n_samples
    if len(wave) == n_samples:
        return wave
    if n_samples == settings.n_segment and not settings.zeros_after:
        return pad_left(wave, n_samples)
    return np.pad(wave, (n_before, n_samples - n_before - len(wave)))


def read_clip(
    read: Callable[[int, int], npt.NDArray[np.float32]], segment_start: int, settings: ClipLayout
) -> npt.NDArray[np.float32]:
    """Return the clip of a segment, not normalised, shape (n_samples,).

    Parameters
    ----------
    read
        Reads ``(start, n_samples)`` of a recording, fewer at its end.
    segment_start
        First sample of the segment.
    settings
        Layout of the clip.

    Examples
    --------
    >>> from dawnchorus.audio.source import open_source
    >>> from dawnchorus.datasets.clip_settings import ClipSettings
    >>> night = open_source("night.wav")
    >>> clip = ClipSettings(segment_len=5.0, look_back_s=1.0)
    >>> read_clip(night.read, 0, clip).shape  # one second of zeros, then the first five of the recording
    (192000,)
    """
    start = segment_start - settings.n_look_back
    n_before = max(-start, 0)
    return fit_clip(read(start + n_before, settings.n_samples - n_before), settings, n_before=n_before)
