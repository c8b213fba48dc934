"""Changes to a batch while training, on the device where the batch lies.

Each is a frozen dataclass of settings with ``draw`` (random parameters from a given ``torch.Generator``),
``apply`` (deterministic), and a call that does both. The input is never changed in place.
"""

from dawnchorus.augment.batch_augmentations import BatchAugmentations
from dawnchorus.augment.random_filtering import FilteringParams, RandomFiltering
from dawnchorus.augment.spectrogram_levels import (
    LowPass,
    LowPassParams,
    PowerParams,
    PowerScaling,
    SpectralTilt,
    TiltParams,
)
from dawnchorus.augment.spectrogram_masks import MaskParams, SpectrogramMasks
from dawnchorus.augment.spectrogram_noise import BandNoise, NoiseParams, WhiteNoise
from dawnchorus.config.registry import AUGMENTATIONS

__all__ = [
    "AUGMENTATIONS",
    "BandNoise",
    "BatchAugmentations",
    "FilteringParams",
    "LowPass",
    "LowPassParams",
    "MaskParams",
    "NoiseParams",
    "PowerParams",
    "PowerScaling",
    "RandomFiltering",
    "SpectralTilt",
    "SpectrogramMasks",
    "TiltParams",
    "WhiteNoise",
]
