"""The batch augmentations by the names that a config gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from torch import Generator, Tensor

from dawnchorus.augment.spectrogram import PowerScaling, SpectralTilt, SpectrogramMasks
from dawnchorus.augment.wave import RandomFiltering
from dawnchorus.config import BatchAugmentationSettings
from dawnchorus.errors import ConfigError

AUGMENTATIONS: dict[str, Any] = {
    "random_filtering": RandomFiltering,
    "spectral_tilt": SpectralTilt,
    "power_scaling": PowerScaling,
    "spectrogram_masks": SpectrogramMasks,
}
ON_WAVE = ("random_filtering",)
ON_SPECTROGRAM = ("spectral_tilt", "power_scaling", "spectrogram_masks")
"""The masks come last, for what they cover is to be 0 when the network sees it."""


class BatchAugmentations:
    """The augmentations that a config switches on, in their order, in one of two places.

    Parameters
    ----------
    settings
        Keyword arguments of each augmentation, or None where it is off.
    names
        Of the augmentations in this place, in their order.

    Raises
    ------
    ConfigError
        A value is not a number, or is out of its range.
    """

    def __init__(self, settings: BatchAugmentationSettings, names: Sequence[str]) -> None:
        chosen = ((name, getattr(settings, name)) for name in names)
        self.steps = [_made(name, values) for name, values in chosen if values is not None]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the batch after all steps."""
        for step in self.steps:
            x = step(x, generator)
        return x


def _made(name: str, values: Mapping[str, Any]) -> Any:
    """Return an augmentation; its settings are all numbers, whole ones where the default is whole."""
    augmentation = AUGMENTATIONS[name]
    for field in fields(augmentation):
        value = values.get(field.name, field.default)
        whole = isinstance(field.default, int)
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not (is_number and math.isfinite(value)):
            legal = "a whole number" if whole else "a number"
            raise ConfigError(f"batch_augmentations.{name}.{field.name} is {value!r}; legal: {legal}")
    return augmentation(**values)
