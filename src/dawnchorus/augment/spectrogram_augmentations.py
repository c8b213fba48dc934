"""Augmentations of log-mel spectrograms of shape (batch, 1, n_mels, n_frames), in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Generator, Tensor

from dawnchorus.errors import ConfigError


class MaskParams(NamedTuple):
    """The masks of `SpectrogramMasks` for a batch: ``width`` cells from ``start``; width 0 is no mask.

    Attributes
    ----------
    mel_start, mel_width
        Frequency masks, shape (batch, max_masks), int64, mel bands.
    frame_start, frame_width
        Time masks, shape (batch, max_masks), int64, frames.

    Examples
    --------
    >>> import torch
    >>> masks = SpectrogramMasks(max_masks=2).draw(8, 128, 313, generator=torch.Generator().manual_seed(0))
    >>> masks.mel_start.shape, masks.frame_width.shape
    (torch.Size([8, 2]), torch.Size([8, 2]))
    """

    mel_start: Tensor
    mel_width: Tensor
    frame_start: Tensor
    frame_width: Tensor


@dataclass(frozen=True)
class SpectrogramMasks:
    """Bars of silence over some mel bands and some frames.

    After Park et al., "SpecAugment" (Interspeech 2019), with a drawn number of masks.

    Parameters
    ----------
    frequency_probability, time_probability
        Fraction of the examples that get frequency masks and time masks, each in [0, 1].
    min_masks, max_masks
        Masks of either kind where there are any; all numbers are equally likely.
    min_width, max_mels, max_frames
        Narrowest mask of either kind, and widest of each; all widths are equally likely, and 0 is no mask.
        The published system has 0 to 9 mels and 0 to 19 frames.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> masks = SpectrogramMasks(frequency_probability=0.0, time_probability=1.0)
    >>> masked = masks(torch.ones(4, 1, 128, 313), torch.Generator().manual_seed(0))
    >>> masked.shape, bool((masked == 0).any((1, 2, 3)).all())  # every clip has some silent frames
    (torch.Size([4, 1, 128, 313]), True)
    """

    domain: ClassVar = "spectrogram"

    frequency_probability: float = 0.3
    time_probability: float = 0.3
    min_masks: int = 1
    max_masks: int = 3
    min_width: int = 1
    max_mels: int = 10
    max_frames: int = 20

    def __post_init__(self) -> None:
        rules = (
            ("frequency_probability", 0 <= self.frequency_probability <= 1, "0 to 1"),
            ("time_probability", 0 <= self.time_probability <= 1, "0 to 1"),
            ("min_masks", 1 <= self.min_masks <= self.max_masks, f"1 to max_masks ({self.max_masks})"),
            ("min_width", self.min_width >= 0, "0 or more"),
            ("max_mels", self.max_mels >= max(self.min_width, 1), f"{max(self.min_width, 1)} or more"),
            ("max_frames", self.max_frames >= max(self.min_width, 1), f"{max(self.min_width, 1)} or more"),
        )
        _check(self, rules)

    def draw(self, batch_size: int, n_mels: int, n_frames: int, *, generator: Generator) -> MaskParams:
        """Return masks for ``batch_size`` spectrograms, on the generator's device."""
        mels = self._draw_bars(batch_size, n_mels, self.max_mels, self.frequency_probability, generator)
        frames = self._draw_bars(batch_size, n_frames, self.max_frames, self.time_probability, generator)
        return MaskParams(*mels, *frames)

    def apply(self, logmel: Tensor, params: MaskParams) -> Tensor:
        """Return the spectrograms with 0, the quietest level, under the masks.

        Parameters
        ----------
        logmel
            Shape (batch, 1, n_mels, n_frames).
        params
            Of the same batch size, on any device.
        """
        mel_start, mel_width, frame_start, frame_width = (part.to(logmel.device) for part in params)
        mels = _covered(logmel.shape[2], mel_start, mel_width)
        frames = _covered(logmel.shape[3], frame_start, frame_width)
        return logmel.masked_fill(mels[:, None, :, None] | frames[:, None, None, :], 0)

    def __call__(self, logmel: Tensor, generator: Generator) -> Tensor:
        """Return the spectrograms, shape (batch, 1, n_mels, n_frames), under freshly drawn masks."""
        batch_size, _, n_mels, n_frames = logmel.shape
        return self.apply(logmel, self.draw(batch_size, n_mels, n_frames, generator=generator))

    def _draw_bars(
        self, batch_size: int, length: int, max_width: int, probability: float, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Return starts and widths along an axis of ``length`` cells, both of shape (batch, max_masks)."""
        device, shape = generator.device, (batch_size, self.max_masks)
        chosen = torch.rand(batch_size, 1, generator=generator, device=device) < probability
        n_masks = torch.randint(
            self.min_masks, self.max_masks + 1, (batch_size, 1), generator=generator, device=device
        )
        narrowest, widest = min(self.min_width, length), min(max_width, length)
        width = torch.randint(narrowest, widest + 1, shape, generator=generator, device=device)
        width = width * (chosen & (torch.arange(self.max_masks, device=device) < n_masks))
        start = torch.rand(shape, generator=generator, device=device, dtype=torch.float64) * (
            length - width + 1
        )
        return start.long(), width


def _covered(length: int, start: Tensor, width: Tensor) -> Tensor:
    """Return whether each cell lies under a bar, shape (batch, length), bool."""
    cell = torch.arange(length, device=start.device)
    start, end = start[..., None], (start + width)[..., None]
    return ((cell >= start) & (cell < end)).any(1)


class PowerParams(NamedTuple):
    """The random parameters of `PowerScaling` for a batch.

    Attributes
    ----------
    exponents
        Shape (batch,), float32, above 0.
    chosen
        Whether each spectrogram is changed, shape (batch,), bool.

    Examples
    --------
    >>> import torch
    >>> drawn = PowerScaling().draw(8, generator=torch.Generator().manual_seed(0))
    >>> drawn.exponents.shape, bool(drawn.chosen.all())
    (torch.Size([8]), True)
    """

    exponents: Tensor
    chosen: Tensor


@dataclass(frozen=True)
class PowerScaling:
    """A random exponent on the spectrogram: below 1 it raises faint song, above 1 it lowers it.

    Afterwards each spectrogram is stretched to [0, 1] again, as the front-end leaves it.

    Parameters
    ----------
    min_exponent, max_exponent
        Range of the exponent, above 0.
    probability
        Fraction of the examples that are changed, in [0, 1].

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> logmel = torch.tensor([[[[0.0, 0.5, 1.0]]]])
    >>> PowerScaling().apply(logmel, PowerParams(torch.tensor([2.0]), torch.tensor([True])))
    tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """

    domain: ClassVar = "spectrogram"

    min_exponent: float = 0.5
    max_exponent: float = 2.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        legal = f"above 0, at most max_exponent ({self.max_exponent:g})"
        rules = (
            ("min_exponent", 0 < self.min_exponent <= self.max_exponent, legal),
            ("probability", 0 <= self.probability <= 1, "0 to 1"),
        )
        _check(self, rules)

    def draw(self, batch_size: int, *, generator: Generator) -> PowerParams:
        """Return exponents and choices for ``batch_size`` spectrograms, on the generator's device."""
        exponents = _uniform(self.min_exponent, self.max_exponent, batch_size, generator)
        return PowerParams(exponents, _uniform(0, 1, batch_size, generator) < self.probability)

    def apply(self, logmel: Tensor, params: PowerParams) -> Tensor:
        """Return the spectrograms to the power of their exponents, stretched to [0, 1].

        Parameters
        ----------
        logmel
            Shape (batch, 1, n_mels, n_frames), in [0, 1].
        params
            Of the same batch size, on any device.

        Returns
        -------
        Tensor
            Same shape; a chosen spectrogram of a single level becomes 0, the others are unchanged.
        """
        exponents, chosen = (part.to(logmel.device)[:, None, None, None] for part in params)
        return torch.where(chosen, _stretched(logmel**exponents), logmel)

    def __call__(self, logmel: Tensor, generator: Generator) -> Tensor:
        """Return the spectrograms, shape (batch, 1, n_mels, n_frames), to freshly drawn powers."""
        return self.apply(logmel, self.draw(len(logmel), generator=generator))


class TiltParams(NamedTuple):
    """The random parameters of `SpectralTilt` for a batch.

    Attributes
    ----------
    slopes
        Rise from the lowest mel band to the highest, shape (batch,), float32; 1 is the spectrogram's range.
    chosen
        Whether each spectrogram is changed, shape (batch,), bool.

    Examples
    --------
    >>> import torch
    >>> drawn = SpectralTilt(probability=0.5).draw(8, generator=torch.Generator().manual_seed(0))
    >>> drawn.slopes.shape, drawn.chosen.dtype
    (torch.Size([8]), torch.bool)
    """

    slopes: Tensor
    chosen: Tensor


@dataclass(frozen=True)
class SpectralTilt:
    """A random tilt: below 0 it lowers the high frequencies, above 0 the low ones.

    The spectrogram is in dB, stretched to [0, 1]; so a slope along the mel bands acts as an equaliser, as
    distance and foliage do. Where the spectrogram spans 80 dB, 0.25 is 20 dB from the lowest band to the
    highest. Afterwards each spectrogram is stretched to [0, 1] again, as the front-end leaves it.

    Silence stays silence: a frame that is at the spectrogram's quietest level in every band, such
    as the padding of a short recording, stays at 0, and so does a silent spectrogram.

    Parameters
    ----------
    min_tilt, max_tilt
        Range of the slope, in ranges of the spectrogram from the lowest mel band to the highest.
    probability
        Fraction of the examples that are tilted, in [0, 1].

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> logmel = torch.tensor([0.2, 0.5, 0.8]).view(1, 1, 1, 3).expand(1, 1, 3, 3)
    >>> tilted = SpectralTilt().apply(logmel, TiltParams(torch.tensor([0.3]), torch.tensor([True])))
    >>> bool(tilted[0, 0, 2, 1] > tilted[0, 0, 0, 1])  # the highest band gains
    True
    """

    domain: ClassVar = "spectrogram"

    min_tilt: float = -0.25
    max_tilt: float = 0.25
    probability: float = 1.0

    def __post_init__(self) -> None:
        rules = (
            ("min_tilt", self.min_tilt <= self.max_tilt, f"at most max_tilt ({self.max_tilt:g})"),
            ("probability", 0 <= self.probability <= 1, "0 to 1"),
        )
        _check(self, rules)

    def draw(self, batch_size: int, *, generator: Generator) -> TiltParams:
        """Return slopes and choices for ``batch_size`` spectrograms, on the generator's device."""
        slopes = _uniform(self.min_tilt, self.max_tilt, batch_size, generator)
        return TiltParams(slopes, _uniform(0, 1, batch_size, generator) < self.probability)

    def apply(self, logmel: Tensor, params: TiltParams) -> Tensor:
        """Return the spectrograms plus slope · (position of the mel band in −0.5 … 0.5), stretched to [0, 1].

        Parameters
        ----------
        logmel
            Shape (batch, 1, n_mels, n_frames), in [0, 1].
        params
            Of the same batch size, on any device.

        Returns
        -------
        Tensor
            Same shape; frames of silence are 0, as is a chosen spectrogram of a single level; the others are
            unchanged.
        """
        slopes, chosen = (part.to(logmel.device)[:, None, None, None] for part in params)
        position = torch.linspace(-0.5, 0.5, logmel.shape[2], device=logmel.device)[:, None]
        sounding = (logmel > logmel.amin((1, 2, 3), keepdim=True)).any(2, keepdim=True)
        # Silent frames count in the range: the level of the others is relative to them.
        tilted = _stretched(torch.where(sounding, logmel + slopes * position, logmel))
        return torch.where(chosen, tilted.where(sounding, 0), logmel)

    def __call__(self, logmel: Tensor, generator: Generator) -> Tensor:
        """Return the spectrograms, shape (batch, 1, n_mels, n_frames), under freshly drawn tilts."""
        return self.apply(logmel, self.draw(len(logmel), generator=generator))


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
        _check(self, rules)

    def draw(self, shape: Sequence[int], *, generator: Generator) -> NoiseParams:
        """Return noise for spectrograms of ``shape`` (batch, 1, n_mels, n_frames), on its device."""
        chosen = _uniform(0, 1, shape[0], generator) < self.probability
        levels = _uniform(self.min_level, self.max_level, shape[0], generator) * chosen
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
        bands = _covered(logmel.shape[2], start[:, None], width[:, None])[:, None, :, None]
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
        _check(self, [("min_mels", 1 <= self.min_mels <= self.max_mels, legal)])

    def _draw_bands(self, batch_size: int, n_mels: int, generator: Generator) -> tuple[Tensor, Tensor]:
        device, shape = generator.device, (batch_size,)
        narrowest, widest = min(self.min_mels, n_mels), min(self.max_mels, n_mels)
        width = torch.randint(narrowest, widest + 1, shape, generator=generator, device=device)
        place = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
        return (place * (n_mels - width + 1)).long(), width


class LowPassParams(NamedTuple):
    """The random parameters of `LowPass` for a batch.

    Attributes
    ----------
    cutoffs
        Where the fall begins, as a fraction of the mel bands, shape (batch,), float32.
    floors
        Factor of the highest mel band, shape (batch,), float32.
    chosen
        Whether each spectrogram is changed, shape (batch,), bool.

    Examples
    --------
    >>> import torch
    >>> drawn = LowPass().draw(8, generator=torch.Generator().manual_seed(0))
    >>> drawn.cutoffs.shape, bool((drawn.floors <= 1).all())
    (torch.Size([8]), True)
    """

    cutoffs: Tensor
    floors: Tensor
    chosen: Tensor


@dataclass(frozen=True)
class LowPass:
    """A factor that falls from 1 at a random mel band to less at the highest one, as over a long distance.

    It multiplies the spectrogram, which is in dB: silence stays silence, and loud cells lose most.

    Parameters
    ----------
    min_cutoff, max_cutoff
        Range of where the fall begins, as a fraction of the mel bands, in [0, 1].
    min_floor, max_floor
        Range of the factor of the highest band, in [0, 1].
    probability
        Fraction of the examples that are changed, in [0, 1].

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> drawn = LowPassParams(torch.tensor([0.5]), torch.tensor([0.2]), torch.tensor([True]))
    >>> LowPass().apply(torch.ones(1, 1, 5, 1), drawn).squeeze()
    tensor([1.0000, 1.0000, 1.0000, 0.6000, 0.2000])
    """

    domain: ClassVar = "spectrogram"

    min_cutoff: float = 0.25
    max_cutoff: float = 1.0
    min_floor: float = 0.0
    max_floor: float = 0.5
    probability: float = 0.5

    def __post_init__(self) -> None:
        cutoff, floor = (f"0 to {name} ({getattr(self, name):g})" for name in ("max_cutoff", "max_floor"))
        rules = (
            ("min_cutoff", 0 <= self.min_cutoff <= self.max_cutoff, cutoff),
            ("max_cutoff", self.max_cutoff <= 1, "at most 1"),
            ("min_floor", 0 <= self.min_floor <= self.max_floor, floor),
            ("max_floor", self.max_floor <= 1, "at most 1"),
            ("probability", 0 <= self.probability <= 1, "0 to 1"),
        )
        _check(self, rules)

    def draw(self, batch_size: int, *, generator: Generator) -> LowPassParams:
        """Return falls and choices for ``batch_size`` spectrograms, on the generator's device."""
        return LowPassParams(
            _uniform(self.min_cutoff, self.max_cutoff, batch_size, generator),
            _uniform(self.min_floor, self.max_floor, batch_size, generator),
            _uniform(0, 1, batch_size, generator) < self.probability,
        )

    def apply(self, logmel: Tensor, params: LowPassParams) -> Tensor:
        """Return the spectrograms times 1 up to the cutoff, and from there along a line to the floor.

        Parameters
        ----------
        logmel
            Shape (batch, 1, n_mels, n_frames), in [0, 1].
        params
            Of the same batch size, on any device.
        """
        cutoffs, floors, chosen = (part.to(logmel.device)[:, None, None, None] for part in params)
        position = torch.linspace(0, 1, logmel.shape[2], device=logmel.device)[:, None]
        beyond = (position - cutoffs).clamp(min=0) / (1 - cutoffs).where(cutoffs < 1, 1)
        return torch.where(chosen, logmel * (1 - beyond * (1 - floors)).to(logmel.dtype), logmel)

    def __call__(self, logmel: Tensor, generator: Generator) -> Tensor:
        """Return the spectrograms, shape (batch, 1, n_mels, n_frames), with freshly drawn falls."""
        return self.apply(logmel, self.draw(len(logmel), generator=generator))


def _check(augmentation: Any, rules: Iterable[tuple[str, bool, str]]) -> None:
    """Raise a ConfigError for the first setting (name, whether it is legal, legal values) out of range."""
    for name, holds, legal in rules:
        if not holds:
            kind = type(augmentation).__name__
            raise ConfigError(f"{kind}: {name} is {getattr(augmentation, name)}; legal: {legal}")


def _uniform(low: float, high: float, batch_size: int, generator: Generator) -> Tensor:
    """Return a number for each example, low to high, shape (batch,), on the generator's device."""
    return low + (high - low) * torch.rand(batch_size, generator=generator, device=generator.device)


def _stretched(spectrogram: Tensor) -> Tensor:
    """Return each spectrogram stretched to [0, 1]; one of a single level becomes 0."""
    low, high = spectrogram.amin((1, 2, 3), keepdim=True), spectrogram.amax((1, 2, 3), keepdim=True)
    spread = high - low
    return (spectrogram - low) / spread.where(spread > 0, 1)
