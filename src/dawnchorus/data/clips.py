"""From a stretch of audio to the clip that a model sees: the same for training and inference."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from dawnchorus.audio.source import AudioSource, RawRecording, find_stored, open_source
from dawnchorus.audio.windows import normalize_peak, pad_left
from dawnchorus.config import DataSettings, Settings, SettingsT, validate

logger = logging.getLogger(__name__)


class ClipSettings(Settings):
    """What a clip is.

    Attributes
    ----------
    segment_len
        Length of a clip in seconds.
    sample_rate
        In Hz.
    late_normalize
        Divide by max |x| after the crop and after each step that changes the level.
    """

    segment_len: float = Field(default=5.0, gt=0)
    sample_rate: int = Field(default=32_000, gt=0)
    late_normalize: bool = True

    @property
    def n_samples(self) -> int:
        """Samples of a clip: 5 s at 32 kHz are 160,000."""
        return round(self.segment_len * self.sample_rate)


def make_clip(wave: npt.NDArray[np.float32], settings: ClipSettings) -> npt.NDArray[np.float32]:
    """Return a stretch of audio as a clip, shape (n_samples,): padded on the left, normalised."""
    clip = pad_left(wave, settings.n_samples)
    return normalize_peak(clip) if settings.late_normalize else clip


def open_recordings(
    recordings: pd.DataFrame, data: DataSettings, *, sample_rate: int, use_h5py: bool
) -> list[AudioSource]:
    """Return a source per row: the HDF5 file where there is one and ``use_h5py``, else the raw audio.

    An HDF5 file that was made from another version of its recording is not read; a warning counts them.
    """
    features_dir = data.features_dir if use_h5py else None
    if features_dir is not None and not features_dir.is_dir():
        logger.warning(f"{features_dir}: no such folder, so that all audio is decoded as it is read")
    sources = [
        open_source(
            data.audio_dir / name,
            stored=find_stored(features_dir, Path(name)) if features_dir is not None else None,
            sample_rate=sample_rate,
        )
        for name in recordings["filename"]
    ]
    n_outdated = sum(isinstance(source, RawRecording) and source.has_outdated_store for source in sources)
    if n_outdated:
        logger.warning(
            f"{n_outdated} of the HDF5 files in {features_dir} were made from other versions of their "
            "recordings (size or time differ) and are not read; run `dawnchorus precompute` again"
        )
    return sources


def composition(sources: list[AudioSource]) -> str:
    """Return the line that says where a dataset reads from."""
    n_stored = sum(source.kind == "hdf5" for source in sources)
    return f"Dataset composition: {n_stored} HDF5 files, {len(sources) - n_stored} raw audio files"


def as_settings(
    settings: SettingsT | Mapping[str, object] | None, settings_class: type[SettingsT], owner: str
) -> SettingsT:
    """Return settings given as an object, as the dict of a config file, or not at all."""
    if isinstance(settings, settings_class):
        return settings
    return validate(settings_class, dict(settings or {}), where=f"{owner} settings")
