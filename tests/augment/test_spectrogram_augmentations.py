"""Masks, powers and tilts on the picture, against loops and numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dawnchorus.augment import (
    BandNoise,
    LowPass,
    LowPassParams,
    MaskParams,
    PowerParams,
    PowerScaling,
    SpectralTilt,
    SpectrogramMasks,
    TiltParams,
    WhiteNoise,
)
from dawnchorus.augment.batch_augmentations import ON_SPECTROGRAM, BatchAugmentations
from dawnchorus.config import BatchAugmentationSettings
from dawnchorus.errors import ConfigError

ALL = torch.ones(64, dtype=torch.bool)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def logmel() -> torch.Tensor:
    """Pictures without a zero, so that each zero is a mask; shape (64, 1, 128, 313)."""
    return torch.rand(64, 1, 128, 313, generator=generator(9)) * 0.9 + 0.1


def test_masks_are_what_a_loop_over_the_examples_would_cut_out(logmel):
    masks = SpectrogramMasks()
    params = masks.draw(64, 128, 313, generator=generator())
    expected = logmel.numpy().copy()
    for picture, mel_start, mel_width, frame_start, frame_width in zip(expected, *params, strict=True):
        for start, width in zip(mel_start, mel_width, strict=True):
            picture[:, start : start + width, :] = 0
        for start, width in zip(frame_start, frame_width, strict=True):
            picture[:, :, start : start + width] = 0
    actual = masks.apply(logmel, params)
    np.testing.assert_array_equal(actual, expected)
    assert (actual == 0).any()
    assert (logmel > 0).all(), "the input is not changed"


def test_one_mask_covers_its_cells_and_no_other():
    bars = (torch.tensor([[value]]) for value in (3, 2, 5, 1))
    actual = SpectrogramMasks().apply(torch.ones(1, 1, 8, 9), MaskParams(*bars))
    assert actual[0, 0, :, 0].tolist() == [1, 1, 1, 0, 0, 1, 1, 1]
    assert actual[0, 0, 0].tolist() == [1, 1, 1, 1, 1, 0, 1, 1, 1]


def test_masks_are_spread_as_asked():
    params = SpectrogramMasks().draw(20_000, 128, 313, generator=generator())
    for start, width, length, widest in (
        (params.mel_start, params.mel_width, 128, 10),
        (params.frame_start, params.frame_width, 313, 20),
    ):
        n_masks = (width > 0).sum(1)
        assert (n_masks > 0).float().mean() == pytest.approx(0.3, abs=0.02)
        shares = torch.bincount(n_masks[n_masks > 0], minlength=4)[1:] / (n_masks > 0).sum()
        np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
        assert sorted(set(width[width > 0].tolist())) == list(range(1, widest + 1))
        assert start[width > 0].min() == 0
        assert (start + width)[width > 0].max() == length


def test_frequency_and_time_masks_may_be_switched_off(logmel):
    masks = SpectrogramMasks(frequency_probability=0, time_probability=0)
    assert torch.equal(masks(logmel, generator()), logmel)
    only_time = SpectrogramMasks(frequency_probability=0, time_probability=1)(logmel, generator()) == 0
    assert torch.equal(only_time.any(2, keepdim=True).expand_as(only_time), only_time)
    assert only_time.any((1, 2, 3)).all()


def test_masks_fit_into_a_picture_smaller_than_they_may_be():
    params = SpectrogramMasks(1, 1, max_mels=50, max_frames=50).draw(500, 4, 6, generator=generator())
    assert (params.mel_start + params.mel_width).max() == 4
    assert (params.frame_start + params.frame_width).max() == 6


@pytest.mark.parametrize("augmentation", [SpectrogramMasks(), PowerScaling(), SpectralTilt()])
def test_draws_repeat_with_a_seed_and_differ_without(augmentation, logmel):
    stream = generator(1)
    first, second = augmentation(logmel, stream), augmentation(logmel, stream)
    assert not torch.equal(first, second)
    assert torch.equal(augmentation(logmel, generator(1)), first)
    assert not torch.equal(augmentation(logmel, generator(2)), first)


@pytest.mark.parametrize("augmentation", [PowerScaling(), SpectralTilt()])
def test_the_same_draws_change_a_batch_as_they_change_its_pictures_one_by_one(augmentation, logmel):
    before = logmel.clone()
    params = augmentation.draw(64, generator=generator())
    together = augmentation.apply(logmel, params)
    alone = [
        augmentation.apply(logmel[i : i + 1], type(params)(*(p[i : i + 1] for p in params)))
        for i in range(64)
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    assert torch.equal(augmentation.apply(logmel, params), together)
    assert torch.equal(logmel, before), "the input is not changed"


@pytest.mark.parametrize("augmentation", [PowerScaling(probability=0.5), SpectralTilt(probability=0.5)])
def test_a_picture_that_is_not_chosen_is_left_alone(augmentation, logmel):
    params = augmentation.draw(64, generator=generator())
    actual = augmentation.apply(logmel, params)
    same = (actual == logmel).all((1, 2, 3))
    assert torch.equal(same, ~params.chosen)
    assert same.any()
    assert not same.all()


@pytest.mark.parametrize("augmentation", [SpectrogramMasks(), PowerScaling(), SpectralTilt()])
def test_params_follow_the_picture_to_its_device(augmentation, logmel):
    sizes = (64, 128, 313) if isinstance(augmentation, SpectrogramMasks) else (64,)
    params = augmentation.draw(*sizes, generator=generator())
    # The device "meta" computes nothing, and refuses to mix with the CPU.
    assert augmentation.apply(logmel.to("meta"), params).shape == logmel.shape


@pytest.mark.parametrize("augmentation", [PowerScaling(), SpectralTilt()])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_picture_of_one_level_becomes_silence(augmentation, level):
    assert (augmentation(torch.full((3, 1, 4, 5), level), generator()) == 0).all()


@pytest.mark.parametrize(
    "draw_with", [lambda p: PowerScaling(probability=p), lambda p: SpectralTilt(probability=p)]
)
def test_as_many_pictures_are_chosen_as_asked(draw_with):
    for probability in (0.0, 0.3, 1.0):
        chosen = draw_with(probability).draw(10_000, generator=generator()).chosen
        assert chosen.float().mean() == pytest.approx(probability, abs=0.02)


def test_a_power_is_numpys_and_the_picture_spans_0_to_1_again(logmel):
    exponents = torch.linspace(0.5, 2, 64)
    actual = PowerScaling().apply(logmel, PowerParams(exponents, ALL)).numpy()
    for picture, source, exponent in zip(actual, logmel.double().numpy(), exponents.tolist(), strict=True):
        scaled = source**exponent
        np.testing.assert_allclose(picture, (scaled - scaled.min()) / np.ptp(scaled), atol=1e-5)
    assert actual.min() == 0
    assert actual.max() == 1


def test_exponents_are_spread_as_asked():
    exponents, _ = PowerScaling(0.8, 1.6).draw(5000, generator=generator())
    assert exponents.shape == (5000,)
    assert exponents.min() == pytest.approx(0.8, abs=0.01)
    assert exponents.max() == pytest.approx(1.6, abs=0.01)
    assert exponents.mean() == pytest.approx(1.2, abs=0.02)


def test_a_tilt_is_numpys_and_the_picture_spans_0_to_1_again(logmel):
    slopes = torch.linspace(-1, 1, 64)
    actual = SpectralTilt().apply(logmel, TiltParams(slopes, ALL)).numpy()
    position = np.arange(128)[:, None] / 127 - 0.5
    for picture, source, slope in zip(actual, logmel.double().numpy(), slopes.tolist(), strict=True):
        tilted = source + slope * position
        np.testing.assert_allclose(picture, (tilted - tilted.min()) / np.ptp(tilted), atol=1e-5)
    assert actual.min() == 0
    assert actual.max() == 1


def test_a_tilt_of_a_quarter_is_an_equaliser_of_20_db_where_the_picture_spans_80():
    filters_db = torch.linspace(-10, 10, 128)[:, None]
    level_db = torch.rand(1, 1, 128, 40, generator=generator()) * 80 - 80
    level_db[..., 0, 0], level_db[..., -1, -1] = -80, 0
    equalised_db = level_db + filters_db
    # What the front-end would make of the equalised sound, without the cut at 80 dB.
    expected = (equalised_db - equalised_db.min()) / (equalised_db.max() - equalised_db.min())
    params = TiltParams(torch.tensor([0.25]), torch.tensor([True]))
    torch.testing.assert_close(SpectralTilt().apply(level_db / 80 + 1, params), expected, atol=1e-5, rtol=0)


def test_a_tilt_leaves_the_silence_before_a_short_recording_silent():
    picture = torch.rand(2, 1, 16, 30, generator=generator())
    picture[..., :10] = 0
    actual = SpectralTilt().apply(picture, TiltParams(torch.tensor([-0.8, 0.8]), ALL[:2]))
    assert (actual[..., :10] == 0).all()
    position = np.linspace(-0.5, 0.5, 16)[:, None]
    for tilted, source, slope in zip(actual[:, 0], picture[:, 0].double().numpy(), (-0.8, 0.8), strict=True):
        song = source[:, 10:] + slope * position
        low = min(song.min(), 0)  # the silence is still the quietest, or what lies below it is cut off
        np.testing.assert_allclose(tilted[:, 10:], (song - low) / (song.max() - low), atol=1e-5)


def test_slopes_are_spread_as_asked():
    slopes, _ = SpectralTilt(-0.1, 0.3).draw(5000, generator=generator())
    assert slopes.shape == (5000,)
    assert slopes.min() == pytest.approx(-0.1, abs=0.01)
    assert slopes.max() == pytest.approx(0.3, abs=0.01)
    assert slopes.mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frequency_probability": -0.1}, "frequency_probability is -0.1; legal: 0 to 1"),
        ({"time_probability": 2}, "time_probability is 2; legal: 0 to 1"),
        ({"min_masks": 4}, r"min_masks is 4; legal: 1 to max_masks \(3\)"),
        ({"max_mels": 0}, "max_mels is 0; legal: 1 or more"),
        ({"min_width": -1}, "min_width is -1; legal: 0 or more"),
        ({"min_width": 12}, "max_mels is 10; legal: 12 or more"),
        ({"max_frames": 0}, "max_frames is 0; legal: 1 or more"),
    ],
)
def test_an_illegal_mask_is_named(settings, message):
    with pytest.raises(ConfigError, match=f"SpectrogramMasks: {message}"):
        SpectrogramMasks(**settings)


@pytest.mark.parametrize("bounds", [(0, 1), (2, 1)])
def test_an_illegal_power_is_named(bounds):
    with pytest.raises(
        ConfigError, match=r"min_exponent is [02]; legal: above 0, at most max_exponent \(1\)"
    ):
        PowerScaling(*bounds)


@pytest.mark.parametrize("augmentation", [PowerScaling, SpectralTilt])
@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_an_illegal_probability_is_named(augmentation, probability):
    message = rf"{augmentation.__name__}: probability is {probability}; legal: 0 to 1"
    with pytest.raises(ConfigError, match=message):
        augmentation(probability=probability)


def test_an_illegal_tilt_is_named():
    with pytest.raises(ConfigError, match=r"SpectralTilt: min_tilt is 0.5; legal: at most max_tilt \(0.25\)"):
        SpectralTilt(min_tilt=0.5)


def test_white_noise_adds_its_level_times_the_noise_and_stays_in_range() -> None:
    logmel = torch.rand(3, 1, 16, 40, generator=generator())
    drawn = WhiteNoise(max_level=0.6, probability=0.7).draw(logmel.shape, generator=generator())
    expected = np.clip(logmel.numpy() + drawn.levels.numpy()[:, None, None, None] * drawn.noise.numpy(), 0, 1)
    np.testing.assert_allclose(WhiteNoise().apply(logmel, drawn).numpy(), expected, atol=1e-6)
    levels = WhiteNoise(min_level=0.1, max_level=0.3, probability=0.25).draw(
        (4000, 1, 1, 1), generator=generator()
    )
    chosen = levels.levels[levels.levels > 0]
    assert len(chosen) / 4000 == pytest.approx(0.25, abs=0.03)
    assert chosen.mean().item() == pytest.approx(0.2, abs=0.01)
    assert 0.1 <= chosen.min() <= chosen.max() <= 0.3
    assert levels.noise.std().item() == pytest.approx(1, abs=0.05)


def test_band_noise_reaches_its_bands_alone_and_every_place() -> None:
    logmel = torch.full((2000, 1, 20, 3), 0.5)
    band = BandNoise(min_level=0.1, probability=1.0, min_mels=4, max_mels=6)
    drawn = band.draw(logmel.shape, generator=generator())
    changed = (band.apply(logmel, drawn) != logmel).any(3)[:, 0].numpy()
    mels = np.arange(20)
    start, width = drawn.start.numpy()[:, None], drawn.width.numpy()[:, None]
    np.testing.assert_array_equal(changed, (mels >= start) & (mels < start + width))
    assert set(changed.sum(axis=1)) == {4, 5, 6}
    assert changed.any(axis=0).all()
    assert BandNoise(min_mels=30, max_mels=40).draw((2, 1, 20, 3), generator=generator()).width.tolist() == [
        20,
        20,
    ]


def test_a_low_pass_multiplies_by_a_line_from_one_at_its_cutoff_to_its_floor() -> None:
    logmel = torch.rand(3, 1, 32, 5, generator=generator())
    drawn = LowPassParams(
        torch.tensor([0.25, 1.0, 0.5]), torch.tensor([0.1, 0.2, 0.3]), torch.tensor([True, True, False])
    )
    position = np.linspace(0, 1, 32)
    factor = np.ones((3, 32))
    factor[0] = np.interp(position, [0, 0.25, 1], [1, 1, 0.1])
    expected = logmel.numpy() * factor[:, None, :, None]
    np.testing.assert_allclose(LowPass().apply(logmel, drawn).numpy(), expected, atol=1e-6)
    many = LowPass(min_cutoff=0.4, max_cutoff=0.6, min_floor=0.2, max_floor=0.3, probability=0.25)
    cutoffs, floors, chosen = many.draw(4000, generator=generator())
    assert 0.4 <= cutoffs.min() <= cutoffs.max() <= 0.6
    assert 0.2 <= floors.min() <= floors.max() <= 0.3
    assert chosen.float().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: WhiteNoise(min_level=0.2),
            r"WhiteNoise: min_level is 0.2; legal: 0 or more, at most max_level",
        ),
        (lambda: BandNoise(min_mels=0), r"BandNoise: min_mels is 0; legal: 1 to max_mels \(60\)"),
        (lambda: LowPass(max_cutoff=1.5), "LowPass: max_cutoff is 1.5; legal: at most 1"),
        (lambda: LowPass(min_floor=0.6), r"LowPass: min_floor is 0.6; legal: 0 to max_floor \(0.5\)"),
    ],
)
def test_noise_and_low_pass_refuse_what_is_out_of_range(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_noise_and_low_pass_are_drawn_anew_by_name_and_come_before_the_masks() -> None:
    names = ("spectrogram_masks", "white_noise", "band_noise", "low_pass")
    settings = BatchAugmentationSettings(**{name: {} for name in names})
    chosen = BatchAugmentations(settings, ON_SPECTROGRAM)
    assert [each.name for each in chosen.named] == ["white_noise", "band_noise", "low_pass", names[0]]
    logmel = torch.rand(8, 1, 64, 50, generator=generator())
    first, again, other = (chosen(logmel, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
