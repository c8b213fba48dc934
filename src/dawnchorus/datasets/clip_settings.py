"""What a clip is, as configs say it; :mod:`dawnchorus.audio.clips` makes one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from pydantic import Field

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


def as_settings(
    settings: SettingsT | Mapping[str, object] | None, settings_class: type[SettingsT], owner: str
) -> SettingsT:
    """Return settings given as an object, as the dict of a config file, or not at all.

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
