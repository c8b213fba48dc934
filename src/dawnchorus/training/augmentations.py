"""The batch augmentations by the names that a config gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Generator, Tensor

from dawnchorus.augment.spectrogram import PowerScaling, SpectrogramMasks
from dawnchorus.augment.wave import RandomFiltering
from dawnchorus.config import BatchAugmentationSettings

AUGMENTATIONS: dict[str, Any] = {
    "random_filtering": RandomFiltering,
    "power_scaling": PowerScaling,
    "spectrogram_masks": SpectrogramMasks,
}
ON_WAVE = ("random_filtering",)
ON_SPECTROGRAM = ("power_scaling", "spectrogram_masks")


class BatchAugmentations:
    """The augmentations that a config switches on, in their order, in one of two places."""

    def __init__(self, settings: BatchAugmentationSettings, names: Sequence[str]) -> None:
        chosen = ((AUGMENTATIONS[name], getattr(settings, name)) for name in names)
        self.steps = [augmentation(**values) for augmentation, values in chosen if values is not None]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the batch after all steps."""
        for step in self.steps:
            x = step(x, generator)
        return x
