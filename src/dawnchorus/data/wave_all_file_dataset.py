"""``WaveAllFileDataset``: every window of every recording, for validation and inference."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch.utils.data import Dataset

from dawnchorus.audio.windows import window_starts
from dawnchorus.config import DataSettings, Settings
from dawnchorus.data.clips import ClipSettings, as_settings, composition, make_clip, open_recordings
from dawnchorus.data.labels import LabelMap

logger = logging.getLogger(__name__)


class WaveAllFileDatasetSettings(ClipSettings):
    """Settings of a :class:`WaveAllFileDataset`.

    Attributes
    ----------
    step_s
        Seconds from one window to the next; None lays them side by side.
    use_h5py
        Read the HDF5 file of a recording where there is one.
    use_audio_cache
        Keep what was decoded in memory, for sets that are gone through again and again.
    """

    step_s: float | None = Field(default=None, gt=0)
    use_h5py: bool = True
    use_audio_cache: bool = False


class Window(NamedTuple):
    """One window: ``wave`` (n_samples,) float32, the row of its recording, and its start in samples."""

    wave: torch.Tensor
    recording: int
    start: int


class WaveAllFileDataset(Dataset[Window]):
    """Systematic windows of recordings; the last one of each may be partial and is never dropped.

    Parameters
    ----------
    recordings
        Recordings table (:mod:`dawnchorus.data.recordings`).
    data
        Where the audio lies.
    labels
        Classes of the model.
    settings
        Settings object, or their keys as in a config.

    Attributes
    ----------
    targets
        Shape (n_recordings, n_classes), float32 in {0, 1}: primary and secondary labels.
    """

    settings_class: type[Settings] = WaveAllFileDatasetSettings

    def __init__(
        self,
        recordings: pd.DataFrame,
        data: DataSettings,
        labels: LabelMap,
        settings: WaveAllFileDatasetSettings | Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = as_settings(settings, WaveAllFileDatasetSettings, "WaveAllFileDataset")
        self.sources = open_recordings(
            recordings, data, sample_rate=self.settings.sample_rate, use_h5py=self.settings.use_h5py
        )
        self.targets = np.stack(
            [
                labels.multi_hot([row["primary_label"], *row["secondary_labels"]])
                for row in recordings.to_dict("records")
            ]
        )
        n_step = round((self.settings.step_s or self.settings.segment_len) * self.settings.sample_rate)
        self.windows = [
            (recording, int(start))
            for recording, source in enumerate(self.sources)
            for start in window_starts(source.n_samples, self.settings.n_samples, n_step)
        ]
        self._cache: dict[int, np.ndarray] = {}
        logger.info(composition(self.sources))

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        recording, start = self.windows[index]
        wave = self._read(recording, start)
        return Window(torch.from_numpy(make_clip(wave, self.settings)), recording, start)

    def _read(self, recording: int, start: int) -> np.ndarray:
        source = self.sources[recording]
        if not self.settings.use_audio_cache:
            return source.read(start, self.settings.n_samples)
        if recording not in self._cache:
            self._cache[recording] = source.read(0, source.n_samples)
        return self._cache[recording][start : start + self.settings.n_samples]
