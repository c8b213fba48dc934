"""A random equaliser, an augmentation of waveforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from dawnchorus.augment.settings import check_settings


class FilteringParams(NamedTuple):
    """The random parameters of `RandomFiltering` for a batch.

    Attributes
    ----------
    gains_db
        Gains at equally spaced frequencies up to half the sample rate, shape (batch, n_bands), dB.
    chosen
        Whether each example is filtered, shape (batch,), bool.

    Examples
    --------
    >>> import torch
    >>> drawn = RandomFiltering(n_bands=4).draw(8, generator=torch.Generator().manual_seed(0))
    >>> drawn.gains_db.shape, drawn.chosen.shape
    (torch.Size([8, 4]), torch.Size([8]))
    """

    gains_db: Tensor
    chosen: Tensor


@dataclass(frozen=True)
class RandomFiltering:
    """A random, smooth equaliser that imitates another microphone, distance or wood.

    A few gains are drawn in dB and interpolated linearly, in dB, over the bins of an STFT. Filtered
    examples are scaled to peak 1; silence stays silence.

    Parameters
    ----------
    min_db, max_db
        Range of the gains, dB.
    n_bands
        Gains drawn for each example, at least 2.
    probability
        Fraction of the examples that are filtered, in [0, 1].
    flat_ends
        Whether the gains are those of the centres of ``n_bands`` bands of equal width, and constant beyond
        the outermost, as in the published system. Otherwise they lie at equal distances from 0 Hz to half
        the sample rate.
    n_fft, hop_length
        Of the STFT with a periodic Hann window, samples; ``hop_length`` is at most half of ``n_fft``.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> wave = torch.sin(torch.arange(32_000) * 0.3)[None]
    >>> filtered = RandomFiltering()(wave, torch.Generator().manual_seed(0))
    >>> filtered.shape, round(float(filtered.abs().max()), 3)
    (torch.Size([1, 32000]), 1.0)
    """

    domain: ClassVar = "wave"

    min_db: float = -20.0
    max_db: float = 0.0
    n_bands: int = 4
    probability: float = 1.0
    flat_ends: bool = False
    n_fft: int = 1024
    hop_length: int = 512

    def __post_init__(self) -> None:
        rules = (
            ("min_db", self.min_db <= self.max_db, f"at most max_db ({self.max_db:g})"),
            ("n_bands", self.n_bands >= 2, "2 or more"),
            ("probability", 0 <= self.probability <= 1, "0 to 1"),
            ("hop_length", 1 <= self.hop_length <= self.n_fft // 2, f"1 to n_fft // 2 ({self.n_fft // 2})"),
        )
        check_settings(self, rules)

    def draw(self, batch_size: int, *, generator: Generator) -> FilteringParams:
        """Return gains and choices for ``batch_size`` examples, on the generator's device."""
        device = generator.device
        unit = torch.rand(batch_size, self.n_bands, generator=generator, device=device)
        chosen = torch.rand(batch_size, generator=generator, device=device) < self.probability
        return FilteringParams(self.min_db + (self.max_db - self.min_db) * unit, chosen)

    def apply(self, wave: Tensor, params: FilteringParams) -> Tensor:
        """Return the filtered waveforms.

        Parameters
        ----------
        wave
            Shape (batch, n_samples), float32.
        params
            Of the same batch size, on any device.

        Returns
        -------
        Tensor
            Same shape; peak 1 where filtered (0 where silent), untouched elsewhere.
        """
        # A clip for each core: the spectra of more exceed a CPU's caches, and 64 at once take twice as long.
        at_once = torch.get_num_threads()
        if wave.device.type == "cpu" and len(wave) > at_once:
            parts = zip(*(part.split(at_once) for part in (wave, *params)), strict=True)
            return torch.cat([self.apply(part, FilteringParams(*drawn)) for part, *drawn in parts])
        gains_db, chosen = (part.to(wave.device) for part in params)
        n_samples = wave.shape[1]
        # Only up to a whole hop do the windows overlap enough at the end to divide by their sum.
        padded = functional.pad(wave, (0, -n_samples % self.hop_length))
        window = torch.hann_window(self.n_fft, device=wave.device)
        spectrum = torch.stft(
            padded, self.n_fft, self.hop_length, window=window, pad_mode="constant", return_complex=True
        )
        spectrum = spectrum * self.bin_gains(gains_db)[..., None]
        filtered = torch.istft(spectrum, self.n_fft, self.hop_length, window=window)[:, :n_samples]
        peak = filtered.abs().amax(1, keepdim=True)
        return torch.where(chosen[:, None], filtered / peak.where(peak > 0, 1), wave)

    def bin_gains(self, gains_db: Tensor) -> Tensor:
        """Return a factor for each bin, shape (batch, n_fft // 2 + 1), from gains in dB."""
        n_bins = self.n_fft // 2 + 1
        curve_db = functional.interpolate(
            gains_db[:, None], size=n_bins, mode="linear", align_corners=not self.flat_ends
        )
        return 10 ** (curve_db.squeeze(1) / 20)

    def __call__(self, wave: Tensor, generator: Generator) -> Tensor:
        """Return the waveforms, shape (batch, n_samples), filtered by fresh draws."""
        return self.apply(wave, self.draw(len(wave), generator=generator))
