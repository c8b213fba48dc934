"""The augmentations of a training batch that a config switches on.

One of one's own is a class whose objects are called with a batch and a ``torch.Generator`` on its device, and
whose ``domain`` is the stage at which they run::

    @dataclass
    class Echo:
        domain = "wave"  # shape (batch, n_samples); "spectrogram" is (batch, 1, n_mels, n_frames)
        delay_s: float = 0.1

        def __call__(self, wave, generator):
            return wave + 0.3 * wave.roll(round(self.delay_s * 32_000), dims=1)

    "batch_augmentations": {"my_package.augmentations:Echo": {"delay_s": 0.05}}
    "batch_augmentations": {"echo": Echo(0.05)}

It returns a batch of the same shape, does not write into its input, and draws from the generator
alone, so that a run can be repeated. Those of one's own come after dawnchorus's, in the order of the config,
and before the masks, so that masked cells are 0 in the input of the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, NamedTuple, get_args

from torch import Generator, Tensor

from dawnchorus.augment.spectrogram_masks import SpectrogramMasks
from dawnchorus.config import BatchAugmentationSettings
from dawnchorus.config.import_paths import made_part
from dawnchorus.config.registry import AUGMENTATIONS
from dawnchorus.errors import ConfigError

Domain = Literal["wave", "spectrogram"]
ON_WAVE: Domain = "wave"
ON_SPECTROGRAM: Domain = "spectrogram"


class NamedAugmentation(NamedTuple):
    """An augmentation, and its key in the config.

    Examples
    --------
    >>> from dawnchorus.augment.spectrogram_masks import SpectrogramMasks
    >>> NamedAugmentation("spectrogram_masks", SpectrogramMasks()).domain
    'spectrogram'
    """

    name: str
    augmentation: Any

    @property
    def domain(self) -> Domain:
        """Whether it runs on waves or on spectrograms."""
        domain: Domain = self.augmentation.domain
        return domain


class BatchAugmentations:
    """The augmentations that a config switches on, in their order, in one of two domains.

    Parameters
    ----------
    settings
        Keyword arguments of each augmentation, or an object; None switches it off.
    domain
        :data:`ON_WAVE` or :data:`ON_SPECTROGRAM`.
    where
        The config, for messages.

    Raises
    ------
    ConfigError
        An augmentation is not known or has no ``domain``, or a value is illegal.

    Examples
    --------
    >>> import torch
    >>> from dawnchorus.config import BatchAugmentationSettings
    >>> settings = BatchAugmentationSettings.model_validate({"random_filtering": {"min_db": -6.0}})
    >>> on_wave = BatchAugmentations(settings, ON_WAVE)
    >>> on_wave(torch.rand(2, 4096), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 4096])
    """

    def __init__(
        self, settings: BatchAugmentationSettings, domain: Domain, *, where: str | None = None
    ) -> None:
        chosen = make_augmentations(settings, where=where)
        self.named = [each for each in chosen if each.domain == domain]

    @property
    def steps(self) -> list[Any]:
        """The augmentations, in their order."""
        return [each.augmentation for each in self.named]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return the batch after all steps.

        Raises
        ------
        ConfigError
            One returns something else than a batch of the same shape and type.
        """
        for name, step in self.named:
            changed = step(x, generator)
            if not isinstance(changed, Tensor) or changed.shape != x.shape or changed.dtype != x.dtype:
                found = f"{tuple(changed.shape)}, {changed.dtype}" if isinstance(changed, Tensor) else changed
                raise ConfigError(
                    f"batch_augmentations.{name} makes {found} of a batch of {tuple(x.shape)}, {x.dtype}; it "
                    "must keep shape and type"
                )
            x = changed
        return x


def make_augmentations(
    settings: BatchAugmentationSettings, *, where: str | None = None
) -> list[NamedAugmentation]:
    """Return every augmentation that is switched on, in the order in which they run.

    Parameters
    ----------
    settings
        Keyword arguments of each, or an object.
    where
        The config, for messages.

    Raises
    ------
    ConfigError
        An augmentation is not known or has no ``domain``, or a value is illegal.

    Examples
    --------
    >>> from dawnchorus.config import BatchAugmentationSettings
    >>> switched_on = {"spectrogram_masks": {}, "random_filtering": {}}
    >>> [(each.name, each.domain) for each in make_augmentations(BatchAugmentationSettings(**switched_on))]
    [('random_filtering', 'wave'), ('spectrogram_masks', 'spectrogram')]
    """
    key = f"{where}: batch_augmentations" if where else "batch_augmentations"
    ours = list(AUGMENTATIONS)
    made = [
        NamedAugmentation(name, _made(name, value, where=f"{key}.{name}"))
        for name, value in settings.switched_on().items()
    ]
    own_order = {name: number for number, name in enumerate(ours)}
    made.sort(key=lambda each: own_order.get(each.name, len(ours)))
    return sorted(made, key=lambda each: isinstance(each.augmentation, SpectrogramMasks))


def _made(name: str, value: Any, *, where: str) -> Any:
    if isinstance(value, Mapping):
        part = AUGMENTATIONS.find(name, where=where)
        if _is_own(part):
            _check_numbers(part, value, where=where)
        augmentation = made_part(part, value, where=where)
    else:
        augmentation = made_part(value, {}, where=where)
    domains = get_args(Domain)
    if getattr(augmentation, "domain", None) not in domains:
        raise ConfigError(
            f"{where} does not say where it goes; give it an attribute domain, "
            f"{' or '.join(map(repr, domains))}"
        )
    return augmentation


def _is_own(part: Any) -> bool:
    return str(getattr(part, "__module__", "")).startswith("dawnchorus.")


def _check_numbers(augmentation: Any, values: Mapping[str, Any], *, where: str) -> None:
    """Raise where a setting of a built-in one is not of the kind of its default: number, integer or bool."""
    for field in fields(augmentation):
        value = values.get(field.name, field.default)
        if isinstance(field.default, bool):
            if not isinstance(value, bool):
                raise ConfigError(f"{where}.{field.name} is {value!r}; legal: True or False")
            continue
        whole = isinstance(field.default, int)
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not (is_number and math.isfinite(value)):
            legal = "a whole number" if whole else "a number"
            raise ConfigError(f"{where}.{field.name} is {value!r}; legal: {legal}")
