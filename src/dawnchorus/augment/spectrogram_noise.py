"""Noise on log-mel spectrograms of shape (batch, 1, n_mels, n_frames), in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor

from dawnchorus.augment.settings import check_settings, uniform
from dawnchorus.augment.spectrogram_masks import covered_cells


class NoiseParams(NamedTuple):
    """The random parameters of `WhiteNoise` and `BandNoise` for a batch.

    Attributes
    ----------
    levels
        Standard deviation of the noise, shape (batch,), float32; 0 where a spectrogram is left alone.
    noise
        Of mean 0 and standard deviation 1, shape (batch, 1, n_mels, n_frames), float32.
    start, width
        The mel bands that get it, shape (batch,), int64.

    Examples
    --------
    >>> import torch
    >>> drawn = WhiteNoise().draw((8, 1, 128, 313), generator=torch.Generator().manual_seed(0))
    >>> drawn.noise.shape, drawn.width[0].item()
    (torch.Size([8, 1, 128, 313]), 128)
    """

    levels: Tensor
    noise: Tensor
    start: Tensor
    width: Tensor


@dataclass(frozen=True)
class WhiteNoise:
    """Normal noise on all cells of the spectrogram, each drawn alone; the sum is cut to [0, 1].

    Parameters
    ----------
    min_level, max_level
        Range of the noise's standard deviation, in ranges of the spectrogram: where that spans 80 dB, 0.05 is
        4 dB.
    probability
        Fraction of the examples that get noise, in [0, 1].

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> noise = WhiteNoise(min_level=0.1, probability=1.0)
    >>> noisy = noise(torch.full((4, 1, 128, 313), 0.5), torch.Generator().manual_seed(0))
    >>> round(float(noisy.std()), 2)
    0.1
    """

    domain: ClassVar = "spectrogram"

    min_level: float = 0.0
    max_level: float = 0.1
    probability: float = 0.5

    def __post_init__(self) -> None:
        legal = f"0 or more, at most max_level ({self.max_level:g})"
        rules = (
            ("min_level", 0 <= self.min_level <= self.max_level, legal),
            ("probability", 0 <= self.probability <= 1, "0 to 1"),
        )
        check_settings(self, rules)

    def draw(self, shape: Sequence[int], *, generator: Generator) -> NoiseParams:
        """Return noise for spectrograms of ``shape`` (batch, 1, n_mels, n_frames), on its device."""
        chosen = uniform(0, 1, shape[0], generator) < self.probability
        levels = uniform(self.min_level, self.max_level, shape[0], generator) * chosen
        noise = torch.randn(tuple(shape), generator=generator, device=generator.device)
        start, width = self._draw_bands(shape[0], shape[2], generator)
        return NoiseParams(levels, noise, start, width)

    def apply(self, logmel: Tensor, params: NoiseParams) -> Tensor:
        """Return the spectrograms plus level · noise in the mel bands of each, cut to [0, 1].

        Parameters
        ----------
        logmel
            Shape (batch, 1, n_mels, n_frames), in [0, 1].
        params
            Of the same shape, on any device.
        """
        levels, noise, start, width = (part.to(logmel.device) for part in params)
        bands = covered_cells(logmel.shape[2], start[:, None], width[:, None])[:, None, :, None]
        levels = levels[:, None, None, None]
        noisy = (logmel + levels * bands * noise).clamp(0, 1).to(logmel.dtype)
        return torch.where(levels > 0, noisy, logmel)

    def __call__(self, logmel: Tensor, generator: Generator) -> Tensor:
        """Return the spectrograms, shape (batch, 1, n_mels, n_frames), with freshly drawn noise."""
        return self.apply(logmel, self.draw(logmel.shape, generator=generator))

    def _draw_bands(self, batch_size: int, n_mels: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return the first mel band that gets noise, and the number of bands, both of shape (batch,)."""
        start = torch.zeros(batch_size, dtype=torch.int64, device=generator.device)
        return start, torch.full_like(start, n_mels)


@dataclass(frozen=True)
class BandNoise(WhiteNoise):
    """Noise as of :class:`WhiteNoise` in some neighbouring mel bands, as of a stream or of insects.

    Parameters
    ----------
    min_level, max_level, probability
        As of :class:`WhiteNoise`.
    min_mels, max_mels
        Fewest and most mel bands; all numbers are equally likely, and so are all places.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> band = BandNoise(probability=1.0, min_mels=16, max_mels=16)
    >>> noisy = band(torch.full((4, 1, 128, 313), 0.5), torch.Generator().manual_seed(0))
    >>> (noisy != 0.5).any(3).sum(2).squeeze().tolist()
    [16, 16, 16, 16]
    """

    min_mels: int = 10
    max_mels: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        legal = f"1 to max_mels ({self.max_mels})"
        check_settings(self, [("min_mels", 1 <= self.min_mels <= self.max_mels, legal)])

    def _draw_bands(self, batch_size: int, n_mels: int, generator: Generator) -> tuple[Tensor, Tensor]:
        device, shape = generator.device, (batch_size,)
        narrowest, widest = min(self.min_mels, n_mels), min(self.max_mels, n_mels)
        width = torch.randint(narrowest, widest + 1, shape, generator=generator, device=device)
        place = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
        return (place * (n_mels - width + 1)).long(), width
