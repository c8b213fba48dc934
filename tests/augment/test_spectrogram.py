"""Masks and powers on the picture, against loops and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawnchorus.augment.spectrogram import MaskParams, PowerScaling, SpectrogramMasks
from dawnchorus.errors import ConfigError


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


@pytest.mark.parametrize("augmentation", [SpectrogramMasks(), PowerScaling()])
def test_draws_repeat_with_a_seed_and_differ_without(augmentation, logmel):
    stream = generator(1)
    first, second = augmentation(logmel, stream), augmentation(logmel, stream)
    assert not torch.equal(first, second)
    assert torch.equal(augmentation(logmel, generator(1)), first)
    assert not torch.equal(augmentation(logmel, generator(2)), first)


def test_a_power_is_numpys_and_the_picture_spans_0_to_1_again(logmel):
    exponents = torch.linspace(0.5, 2, 64)
    actual = PowerScaling().apply(logmel, exponents).numpy()
    for picture, source, exponent in zip(actual, logmel.double().numpy(), exponents.tolist(), strict=True):
        scaled = source**exponent
        np.testing.assert_allclose(picture, (scaled - scaled.min()) / np.ptp(scaled), atol=1e-5)
    assert actual.min() == 0
    assert actual.max() == 1


def test_the_power_of_silence_is_silence():
    assert (PowerScaling()(torch.zeros(2, 1, 4, 5), generator()) == 0).all()


def test_exponents_are_spread_as_asked():
    exponents = PowerScaling(0.8, 1.6).draw(5000, generator=generator())
    assert exponents.shape == (5000,)
    assert exponents.min() == pytest.approx(0.8, abs=0.01)
    assert exponents.max() == pytest.approx(1.6, abs=0.01)
    assert exponents.mean() == pytest.approx(1.2, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frequency_probability": -0.1}, "frequency_probability is -0.1; legal: 0 to 1"),
        ({"time_probability": 2}, "time_probability is 2; legal: 0 to 1"),
        ({"min_masks": 4}, r"min_masks is 4; legal: 1 to max_masks \(3\)"),
        ({"max_mels": 0}, "max_mels is 0; legal: 1 or more"),
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
