"""``WaveDataset``: random clips of labelled recordings, for training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field
from torch.utils.data import Dataset

from dawnchorus.audio.windows import normalize_peak
from dawnchorus.config import DataSettings, Settings
from dawnchorus.data.background import BackgroundNoise, BackgroundSettings
from dawnchorus.data.clips import ClipSettings, as_settings, composition, make_clip, open_recordings
from dawnchorus.data.labels import LabelMap, smooth_target
from dawnchorus.data.mixing import MixupSettings, draw_mixup_weight, mix_targets, mix_waves
from dawnchorus.data.sampling import Draw, generator

logger = logging.getLogger(__name__)


class WaveDatasetSettings(ClipSettings):
    """Settings of a :class:`WaveDataset`.

    Attributes
    ----------
    use_h5py
        Read the HDF5 file of a recording where there is one; the others are decoded at each read.
    precompute
        Decode every recording once and keep it in memory: for small sets.
    use_secondary_labels
        Count the secondary labels as present.
    label_smoothing
        Share of the target that is spread over all classes.
    use_rating
        Scale the target by rating / 5 where a rating is known; 0 is Xeno-canto's mark of no rating.
    mixup
        Mixing of clips; None switches it off.
    background
        Late noises, each with its own probability, tried in a random order; one at most a clip.
    """

    use_h5py: bool = True
    precompute: bool = False
    use_secondary_labels: bool = True
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    use_rating: bool = True
    mixup: MixupSettings | None = None
    background: tuple[BackgroundSettings, ...] = ()


class Clip(NamedTuple):
    """A training example: ``wave`` (n_samples,) float32 and ``target`` (n_classes,) float32 in [0, 1]."""

    wave: torch.Tensor
    target: torch.Tensor


class WaveDataset(Dataset[Clip]):
    """Random crops of recordings with their targets.

    An item is asked for with a :class:`~dawnchorus.data.sampling.Draw` and depends on nothing but
    the draw, the seed and the fold: not on the worker, nor on what was drawn before. A plain
    integer stands for that recording in epoch 0.

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
    seed, fold
        Stream of random numbers.
    """

    settings_class: type[Settings] = WaveDatasetSettings

    def __init__(
        self,
        recordings: pd.DataFrame,
        data: DataSettings,
        labels: LabelMap,
        settings: WaveDatasetSettings | Mapping[str, Any] | None = None,
        *,
        seed: int = 42,
        fold: int = 0,
    ) -> None:
        self.settings = as_settings(settings, WaveDatasetSettings, "WaveDataset")
        self.seed = seed
        self.fold = fold
        self.sources = open_recordings(
            recordings, data, sample_rate=self.settings.sample_rate, use_h5py=self.settings.use_h5py
        )
        self.targets = np.stack(
            [_target(row, labels, self.settings) for row in recordings.to_dict("records")]
        )
        self.background = BackgroundNoise(self.settings.background, sample_rate=self.settings.sample_rate)
        self._cache = self._read_all() if self.settings.precompute else []
        logger.info(composition(self.sources))

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, draw: Draw | int) -> Clip:
        if isinstance(draw, int):
            draw = Draw(epoch=0, position=draw, item=draw)
        rng = generator(self.seed, self.fold, draw.epoch, draw.position)
        wave = self._crop(draw.item, rng)
        target = self.targets[draw.item]
        if self.settings.mixup is not None and rng.random() < self.settings.mixup.probability:
            wave, target = self._mix(wave, target, self.settings.mixup, rng)
        noisy = self.background.mix_into(wave, rng)
        if noisy is not None:
            wave = self._normalize(noisy)
        smoothed = smooth_target(target, self.settings.label_smoothing)
        return Clip(torch.from_numpy(wave), torch.from_numpy(smoothed.astype(np.float32)))

    def _read_all(self) -> list[npt.NDArray[np.float32]]:
        return [source.read(0, source.n_samples) for source in self.sources]

    def _crop(self, index: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return a clip that starts anywhere in the recording."""
        n_samples = self.settings.n_samples
        start = int(rng.integers(0, max(self.sources[index].n_samples - n_samples, 0) + 1))
        if self._cache:
            wave = self._cache[index][start : start + n_samples]
        else:
            wave = self.sources[index].read(start, n_samples)
        return make_clip(wave, self.settings)

    def _mix(
        self,
        wave: npt.NDArray[np.float32],
        target: npt.NDArray[np.float32],
        mixup: MixupSettings,
        rng: np.random.Generator,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        other = int(rng.integers(len(self)))
        weight = draw_mixup_weight(mixup, rng)
        mixed = mix_waves(wave, self._crop(other, rng), weight)
        return self._normalize(mixed), mix_targets(
            target, self.targets[other], weight, soft=mixup.soft_targets
        )

    def _normalize(self, wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return normalize_peak(wave) if self.settings.late_normalize else wave


def _target(
    row: Mapping[Any, Any], labels: LabelMap, settings: WaveDatasetSettings
) -> npt.NDArray[np.float32]:
    """Return the target of a recording before smoothing, shape (n_classes,)."""
    names = [row["primary_label"], *(row["secondary_labels"] if settings.use_secondary_labels else ())]
    target = labels.multi_hot(names)
    rating = row["rating"]
    if settings.use_rating and rating > 0:  # false for NaN
        target = target * np.float32(rating / 5)
    return target
