"""Augmentation of log-mel pictures of shape (batch, 1, n_mels, n_frames), in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dawnchorus.errors import ConfigError


class MaskParams(NamedTuple):
    """Where `SpectrogramMasks` covers a batch: ``width`` cells from ``start``; width 0 is no mask.

    Attributes
    ----------
    mel_start, mel_width
        Frequency masks, shape (batch, max_masks), int64, mel bands.
    frame_start, frame_width
        Time masks, shape (batch, max_masks), int64, frames.
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
        Share of the examples that get frequency masks and time masks, each in [0, 1].
    min_masks, max_masks
        Masks of either kind where there are any, drawn with equal chances.
    max_mels, max_frames
        Widest mask; widths from 1 on are equally likely.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    frequency_probability: float = 0.3
    time_probability: float = 0.3
    min_masks: int = 1
    max_masks: int = 3
    max_mels: int = 10
    max_frames: int = 20

    def __post_init__(self) -> None:
        rules = (
            ("frequency_probability", 0 <= self.frequency_probability <= 1, "0 to 1"),
            ("time_probability", 0 <= self.time_probability <= 1, "0 to 1"),
            ("min_masks", 1 <= self.min_masks <= self.max_masks, f"1 to max_masks ({self.max_masks})"),
            ("max_mels", self.max_mels >= 1, "1 or more"),
            ("max_frames", self.max_frames >= 1, "1 or more"),
        )
        for name, holds, legal in rules:
            if not holds:
                raise ConfigError(f"SpectrogramMasks: {name} is {getattr(self, name)}; legal: {legal}")

    def draw(self, batch_size: int, n_mels: int, n_frames: int, *, generator: Generator) -> MaskParams:
        """Return masks for ``batch_size`` pictures, on the generator's device."""
        mels = self._draw_bars(batch_size, n_mels, self.max_mels, self.frequency_probability, generator)
        frames = self._draw_bars(batch_size, n_frames, self.max_frames, self.time_probability, generator)
        return MaskParams(*mels, *frames)

    def apply(self, logmel: Tensor, params: MaskParams) -> Tensor:
        """Return the pictures with 0, the quietest level, under the masks.

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
        """Return the pictures, shape (batch, 1, n_mels, n_frames), under freshly drawn masks."""
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
        width = torch.randint(1, min(max_width, length) + 1, shape, generator=generator, device=device)
        width = width * (chosen & (torch.arange(self.max_masks, device=device) < n_masks))
        start = torch.rand(shape, generator=generator, device=device, dtype=torch.float64) * (
            length - width + 1
        )
        return start.long(), width


def _covered(length: int, start: Tensor, width: Tensor) -> Tensor:
    """Return which cells lie under any bar, shape (batch, length), bool."""
    cell = torch.arange(length, device=start.device)
    start, end = start[..., None], (start + width)[..., None]
    return ((cell >= start) & (cell < end)).any(1)


@dataclass(frozen=True)
class PowerScaling:
    """A random exponent on the picture: below 1 lifts faint song, above 1 buries it.

    Afterwards each picture is stretched to [0, 1] again, as the front-end leaves it.

    Parameters
    ----------
    min_exponent, max_exponent
        Range of the exponent, above 0.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    min_exponent: float = 0.5
    max_exponent: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.min_exponent <= self.max_exponent:
            raise ConfigError(
                f"PowerScaling: min_exponent is {self.min_exponent}; "
                f"legal: above 0, at most max_exponent ({self.max_exponent:g})"
            )

    def draw(self, batch_size: int, *, generator: Generator) -> Tensor:
        """Return an exponent for each picture, shape (batch,), on the generator's device."""
        unit = torch.rand(batch_size, generator=generator, device=generator.device)
        return self.min_exponent + (self.max_exponent - self.min_exponent) * unit

    def apply(self, logmel: Tensor, exponents: Tensor) -> Tensor:
        """Return the pictures to the power of their exponents, stretched to [0, 1].

        Parameters
        ----------
        logmel
            Shape (batch, 1, n_mels, n_frames), in [0, 1].
        exponents
            Shape (batch,), on any device.

        Returns
        -------
        Tensor
            Same shape; a picture of one single level becomes 0.
        """
        scaled = logmel ** exponents.to(logmel.device)[:, None, None, None]
        low, high = scaled.amin((1, 2, 3), keepdim=True), scaled.amax((1, 2, 3), keepdim=True)
        spread = high - low
        return (scaled - low) / spread.where(spread > 0, 1)

    def __call__(self, logmel: Tensor, generator: Generator) -> Tensor:
        """Return the pictures, shape (batch, 1, n_mels, n_frames), to freshly drawn powers."""
        return self.apply(logmel, self.draw(len(logmel), generator=generator))
