"""Settings of a clip; :mod:`dawnchorus.audio.clips` reads clips."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from dawnchorus.config import Settings, SettingsT, validate


class ClipSettings(Settings):
    """Settings of a clip.

    Attributes
    ----------
    segment_len
        Length in seconds of the segment whose species are predicted.
    sample_rate
        In Hz.
    late_normalize
        Divide by ``max |x|`` after the crop and after each step that changes the level.
    look_back_s, look_ahead_s
        Seconds before and after the segment that the clip includes. Targets are of the segment alone.
    channel
        What is read of recordings with several channels: a number from 1, their ``mean``, or the ``loudest``
        by energy. HDF5 files must have been made with it. The model's card keeps it, for predictions.

    Examples
    --------
    >>> clip = ClipSettings(segment_len=5.0, look_back_s=1.0)
    >>> clip.n_segment, clip.n_samples
    (160000, 192000)
    """

    segment_len: float = Field(default=5.0, ge=0.01, le=3600)
    sample_rate: int = Field(default=32_000, gt=0)
    late_normalize: bool = True
    look_back_s: float = Field(default=0.0, ge=0, le=3600)
    look_ahead_s: float = Field(default=0.0, ge=0, le=3600)
    channel: Annotated[int, Field(ge=1)] | Literal["mean", "loudest"] = "mean"

    @property
    def zeros_after(self) -> bool:
        """Whether zeros stand behind a segment that is cut short: never in the recipe."""
        return False

    @cached_property
    def n_segment(self) -> int:
        """Number of samples of a segment: 160,000 for 5 s at 32 kHz."""
        return round(self.segment_len * self.sample_rate)

    @cached_property
    def n_look_back(self) -> int:
        """Number of samples before the segment."""
        return round(self.look_back_s * self.sample_rate)

    @cached_property
    def n_samples(self) -> int:
        """Number of samples of a whole clip."""
        return self.n_look_back + self.n_segment + round(self.look_ahead_s * self.sample_rate)


def as_settings(
    settings: SettingsT | Mapping[str, object] | None, settings_class: type[SettingsT], owner: str
) -> SettingsT:
    """Return the settings object for one, for the dict of a config file, or for None.

    Examples
    --------
    >>> as_settings({"segment_len": 3.0}, ClipSettings, "an example").segment_len
    3.0
    >>> as_settings({"segment": 3.0}, ClipSettings, "an example")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: an example settings: segment is not known; did you mean segment_len?
    """
    if isinstance(settings, settings_class):
        return settings
    return validate(settings_class, dict(settings or {}), where=f"{owner} settings")
