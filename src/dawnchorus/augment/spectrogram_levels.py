"""Powers, tilts and falls of log-mel spectrograms of shape (batch, 1, n_mels, n_frames), in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor

from dawnchorus.augment.settings import check_settings, uniform


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
        check_settings(self, rules)

    def draw(self, batch_size: int, *, generator: Generator) -> PowerParams:
        """Return exponents and choices for ``batch_size`` spectrograms, on the generator's device."""
        exponents = uniform(self.min_exponent, self.max_exponent, batch_size, generator)
        return PowerParams(exponents, uniform(0, 1, batch_size, generator) < self.probability)

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
        check_settings(self, rules)

    def draw(self, batch_size: int, *, generator: Generator) -> TiltParams:
        """Return slopes and choices for ``batch_size`` spectrograms, on the generator's device."""
        slopes = uniform(self.min_tilt, self.max_tilt, batch_size, generator)
        return TiltParams(slopes, uniform(0, 1, batch_size, generator) < self.probability)

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
        check_settings(self, rules)

    def draw(self, batch_size: int, *, generator: Generator) -> LowPassParams:
        """Return falls and choices for ``batch_size`` spectrograms, on the generator's device."""
        return LowPassParams(
            uniform(self.min_cutoff, self.max_cutoff, batch_size, generator),
            uniform(self.min_floor, self.max_floor, batch_size, generator),
            uniform(0, 1, batch_size, generator) < self.probability,
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


def _stretched(spectrogram: Tensor) -> Tensor:
    """Return each spectrogram stretched to [0, 1]; one of a single level becomes 0."""
    low, high = spectrogram.amin((1, 2, 3), keepdim=True), spectrogram.amax((1, 2, 3), keepdim=True)
    spread = high - low
    return (spectrogram - low) / spread.where(spread > 0, 1)
