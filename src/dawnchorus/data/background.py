"""Late augmentation: environmental noise mixed into a clip before its last normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.source import AudioSource, open_source
from dawnchorus.audio.windows import normalize_peak, pad_left
from dawnchorus.config import Settings
from dawnchorus.data.mixing import mix_waves


class BackgroundSettings(Settings):
    """One kind of noise: a folder of sounds without birds, and how often and how loud it is heard.

    Attributes
    ----------
    folder
        Sound files, searched with all sub-folders.
    probability
        Chance that a clip gets this noise.
    min_share, max_share
        Range of the noise's share ``a`` in ``clip · (1 − a) + noise · a``, both at peak 1.
    """

    folder: Path
    probability: float = Field(default=0.5, ge=0, le=1)
    min_share: float = Field(default=0.25, ge=0, le=1)
    max_share: float = Field(default=0.75, ge=0, le=1)


class BackgroundNoise:
    """Noises to draw from; opening lists the folders, so that a missing one is noticed at once."""

    def __init__(self, kinds: tuple[BackgroundSettings, ...], *, sample_rate: int) -> None:
        self.kinds = kinds
        self.sources: list[list[AudioSource]] = [
            [open_source(path, sample_rate=sample_rate) for path in list_audio_files(kind.folder)]
            for kind in kinds
        ]

    def mix_into(
        self, wave: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32] | None:
        """Return the clip with one noise mixed in, or None where none was drawn.

        The kinds are tried in a random order, each with its own probability; the first that is
        drawn is used.
        """
        for kind in rng.permutation(len(self.kinds)):
            settings = self.kinds[kind]
            if rng.random() < settings.probability:
                noise = self._crop(self.sources[kind], len(wave), rng)
                share = rng.uniform(settings.min_share, settings.max_share)
                return mix_waves(wave, normalize_peak(noise), 1 - share)
        return None

    def _crop(
        self, sources: list[AudioSource], n_samples: int, rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        source = sources[int(rng.integers(len(sources)))]
        start = int(rng.integers(0, max(source.n_samples - n_samples, 0) + 1))
        return pad_left(source.read(start, n_samples), n_samples)
