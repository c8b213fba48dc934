"""Masks over log-mel spectrograms of shape (batch, 1, n_mels, n_frames), in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor

from dawnchorus.augment.settings import check_settings


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
        check_settings(self, rules)

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
        mels = covered_cells(logmel.shape[2], mel_start, mel_width)
        frames = covered_cells(logmel.shape[3], frame_start, frame_width)
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


def covered_cells(length: int, start: Tensor, width: Tensor) -> Tensor:
    """Return whether each cell lies under a bar, shape (batch, length), bool.

    Examples
    --------
    >>> import torch
    >>> covered_cells(5, torch.tensor([[1]]), torch.tensor([[2]])).int()
    tensor([[0, 1, 1, 0, 0]], dtype=torch.int32)
    """
    cell = torch.arange(length, device=start.device)
    start, end = start[..., None], (start + width)[..., None]
    return ((cell >= start) & (cell < end)).any(1)
