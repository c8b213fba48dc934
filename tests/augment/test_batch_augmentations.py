"""The augmentations that a config switches on, in their order and their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from dawnchorus.augment import PowerScaling, RandomFiltering, SpectralTilt, SpectrogramMasks
from dawnchorus.augment.batch_augmentations import ON_SPECTROGRAM, ON_WAVE, BatchAugmentations
from dawnchorus.config import BatchAugmentationSettings, validate
from dawnchorus.config.registry import AUGMENTATIONS
from dawnchorus.errors import ConfigError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def settings(**values: dict[str, Any]) -> BatchAugmentationSettings:
    return BatchAugmentationSettings(**values)


def test_a_config_can_switch_on_every_augmentation_and_each_has_one_place() -> None:
    everything = settings(**{name: {} for name in AUGMENTATIONS})
    placed = [BatchAugmentations(everything, place).named for place in (ON_WAVE, ON_SPECTROGRAM)]
    assert [step.name for steps in placed for step in steps] == list(AUGMENTATIONS)


def test_nothing_is_done_by_default() -> None:
    picture = torch.rand(2, 1, 8, 9)
    assert BatchAugmentations(settings(), ON_SPECTROGRAM)(picture, generator()) is picture


def test_what_is_switched_on_runs_with_its_own_settings_in_the_given_order() -> None:
    switched_on = settings(
        spectrogram_masks={"max_mels": 3},
        power_scaling={"min_exponent": 0.7},
        spectral_tilt={},
        random_filtering={},
    )
    assert BatchAugmentations(switched_on, ON_WAVE).steps == [RandomFiltering()]
    on_spectrogram = BatchAugmentations(switched_on, ON_SPECTROGRAM)
    assert on_spectrogram.steps == [
        SpectralTilt(),
        PowerScaling(min_exponent=0.7),
        SpectrogramMasks(max_mels=3),
    ]
    picture = torch.rand(4, 1, 16, 20, generator=generator(1))
    stream, expected = generator(), picture
    for step in on_spectrogram.steps:
        expected = step(expected, stream)
    assert torch.equal(on_spectrogram(picture, generator()), expected)


def test_what_lies_under_a_mask_is_silent_whatever_else_is_done() -> None:
    masked = {"frequency_probability": 1.0, "time_probability": 1.0}
    everything = settings(spectral_tilt={}, power_scaling={}, spectrogram_masks=masked)
    actual = BatchAugmentations(everything, ON_SPECTROGRAM)(torch.rand(6, 1, 32, 40), generator())
    assert (actual == 0).all(3).any((1, 2)).all(), "a bar over some mel bands in every picture"
    assert (actual == 0).all(2).any((1, 2)).all(), "a bar over some frames in every picture"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"random_filtering": {"min_db": "-20"}}, "random_filtering.min_db is '-20'; legal: a number"),
        ({"random_filtering": {"min_db": float("-inf")}}, "random_filtering.min_db is -inf; legal: a number"),
        ({"random_filtering": {"n_bands": 4.0}}, "random_filtering.n_bands is 4.0; legal: a whole number"),
        (
            {"random_filtering": {"probability": True}},
            "random_filtering.probability is True; legal: a number",
        ),
        ({"random_filtering": {"flat_ends": 1}}, "random_filtering.flat_ends is 1; legal: True or False"),
        ({"random_filtering": {"probability": 2}}, "RandomFiltering: probability is 2; legal: 0 to 1"),
        ({"random_filtering": {"max_db": None}}, "random_filtering.max_db is None; legal: a number"),
    ],
)
def test_an_illegal_value_in_a_config_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchAugmentations(settings(**values), ON_WAVE)


@dataclass
class Louder:
    domain = "wave"
    factor: float = 2.0

    def __call__(self, wave: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.factor * wave


class Flip:
    domain = "spectrogram"

    def __call__(self, logmel: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return logmel.flip(3)


def test_ones_own_run_after_ours_in_the_order_of_the_config_and_before_the_masks() -> None:
    switched_on = settings(
        first=Flip(), spectrogram_masks={}, second=Flip, spectral_tilt={}, third=Louder(3.0), off=None
    )
    named = [step.name for step in BatchAugmentations(switched_on, ON_SPECTROGRAM).named]
    assert named == ["spectral_tilt", "first", "second", "spectrogram_masks"]
    on_wave = BatchAugmentations(switched_on, ON_WAVE)
    assert torch.equal(on_wave(torch.ones(2, 3), generator()), torch.full((2, 3), 3.0))


def test_a_name_that_is_registered_or_an_import_path_takes_arguments() -> None:
    here = f"{__name__}:Louder"
    assert BatchAugmentations(settings(**{here: {"factor": 4.0}}), ON_WAVE).steps == [Louder(4.0)]
    with pytest.raises(ConfigError, match=rf"^mine: batch_augmentations.{here}.fctor is not known; did you"):
        BatchAugmentations(settings(**{here: {"fctor": 4.0}}), ON_WAVE, where="mine")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"flip": lambda x, generator: x},
            "batch_augmentations.flip does not say where it goes; give it an attr",
        ),
        (
            {"random_filtring": {}},
            r"random_filtring is 'random_filtring', which is not .* mean random_filtering\?",
        ),
        (
            {"nowhere:Flip": {}},
            "batch_augmentations.nowhere:Flip is 'nowhere:Flip', which cannot be imported",
        ),
    ],
)
def test_an_augmentation_that_cannot_be_made_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchAugmentations(settings(**values), ON_WAVE)


def test_a_value_is_a_dict_or_an_object() -> None:
    with pytest.raises(
        ConfigError, match=r"^mine\.py: batch_augmentations.flip is 3; give a dict of its keyword"
    ):
        validate(BatchAugmentationSettings, {"flip": 3}, where="mine.py")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: x[:, 1:], r"\(2, 2\), torch.float32"),
        (torch.Tensor.double, r".* torch.float64"),
        (id, r"\d+"),
    ],
)
def test_an_augmentation_keeps_shape_and_type(change: Any, found: str) -> None:
    class Changed:
        domain = "wave"

        def __call__(self, wave: torch.Tensor, generator: torch.Generator) -> Any:
            return change(wave)

    steps = BatchAugmentations(settings(changed=Changed), ON_WAVE)
    with pytest.raises(
        ConfigError, match=rf"batch_augmentations.changed makes {found} of a batch of \(2, 3\)"
    ):
        steps(torch.rand(2, 3), generator())
