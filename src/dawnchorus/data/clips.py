"""From a stretch of audio to the clip that a model sees: the same for training and inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dawnchorus.audio.windows import normalize_peak, pad_left
from dawnchorus.config import Settings, SettingsT, validate


class ClipSettings(Settings):
    """What a clip is.

    Attributes
    ----------
    segment_len
        Length in seconds of the segment that a clip is about.
    sample_rate
        In Hz.
    late_normalize
        Divide by max |x| after the crop and after each step that changes the level.
    look_back_s, look_ahead_s
        Seconds before and after the segment that the model hears too. Targets are of the segment alone.
    """

    segment_len: float = Field(default=5.0, ge=0.01, le=3600)
    sample_rate: int = Field(default=32_000, gt=0)
    late_normalize: bool = True
    look_back_s: float = Field(default=0.0, ge=0, le=3600)
    look_ahead_s: float = Field(default=0.0, ge=0, le=3600)

    @cached_property
    def n_segment(self) -> int:
        """Samples of a segment: 5 s at 32 kHz are 160,000."""
        return round(self.segment_len * self.sample_rate)

    @cached_property
    def n_look_back(self) -> int:
        """Samples before the segment."""
        return round(self.look_back_s * self.sample_rate)

    @cached_property
    def n_samples(self) -> int:
        """Samples of a whole clip."""
        return self.n_look_back + self.n_segment + round(self.look_ahead_s * self.sample_rate)


def make_clip(
    wave: npt.NDArray[np.float32], settings: ClipSettings, *, n_before: int = 0
) -> npt.NDArray[np.float32]:
    """Return a stretch of audio as a clip, shape (n_samples,): padded with zeros, normalised.

    Parameters
    ----------
    wave
        What the recording has of the clip, shape (at most n_samples,).
    settings
        What a clip is.
    n_before
        Samples of the clip that lie before the recording's beginning.
    """
    clip = fit_clip(wave, settings, n_before=n_before)
    return normalize_peak(clip) if settings.late_normalize else clip


def fit_clip(
    wave: npt.NDArray[np.float32], settings: ClipSettings, *, n_before: int = 0
) -> npt.NDArray[np.float32]:
    """Return a stretch of audio with zeros around it, shape (n_samples,).

    Where the model hears the segment alone, all zeros stand before it, as the recipe has it. Where it
    hears more, everything keeps its place in time.
    """
    n_samples = settings.n_samples
    if len(wave) == n_samples:
        return wave
    if n_samples == settings.n_segment:
        return pad_left(wave, n_samples)
    return np.pad(wave, (n_before, n_samples - n_before - len(wave)))


def read_clip(
    read: Callable[[int, int], npt.NDArray[np.float32]], segment_start: int, settings: ClipSettings
) -> npt.NDArray[np.float32]:
    """Return the clip of a segment, not normalised, shape (n_samples,).

    Parameters
    ----------
    read
        Reads ``(start, n_samples)`` of a recording, fewer at its end.
    segment_start
        First sample of the segment.
    settings
        What a clip is.
    """
    start = segment_start - settings.n_look_back
    n_before = max(-start, 0)
    return fit_clip(read(start + n_before, settings.n_samples - n_before), settings, n_before=n_before)


def as_settings(
    settings: SettingsT | Mapping[str, object] | None, settings_class: type[SettingsT], owner: str
) -> SettingsT:
    """Return settings given as an object, as the dict of a config file, or not at all."""
    if isinstance(settings, settings_class):
        return settings
    return validate(settings_class, dict(settings or {}), where=f"{owner} settings")
