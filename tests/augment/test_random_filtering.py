"""Random filtering, against scipy's filters and a loop over the batch."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch

from dawnchorus.augment.random_filtering import FilteringParams, RandomFiltering
from dawnchorus.errors import ConfigError

ALL = torch.tensor([True, True, True])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def wave() -> torch.Tensor:
    return torch.randn(3, 32_100, generator=generator(9)) * 0.1


def test_a_filter_is_scipys_stft_times_a_curve_that_is_straight_in_db(wave):
    filtering = RandomFiltering()
    params = filtering.draw(3, generator=generator())
    actual = filtering.apply(wave, params)
    # RECIPE: four gains in dB over the 513 bins, inverted, divided by the peak.
    stft = {"window": scipy.signal.get_window("hann", 1024), "nperseg": 1024, "noverlap": 512}
    for index in range(3):
        curve_db = np.interp(np.linspace(0, 3, 513), np.arange(4), params.gains_db[index])
        _, _, spectrum = scipy.signal.stft(wave[index].double().numpy(), **stft)
        _, filtered = scipy.signal.istft(spectrum * 10 ** (curve_db / 20)[:, None], **stft)
        filtered = filtered[:32_100]
        np.testing.assert_allclose(actual[index], filtered / np.abs(filtered).max(), atol=1e-4)


def test_a_tone_between_two_gains_loses_their_mean_in_db():
    filtering = RandomFiltering()
    gains_db = torch.tensor([[0.0, -6.0, -18.0, 0.0]])
    # The second gain stands at bin 512 / 3, the third at 1024 / 3: bin 256 lies half way between.
    assert filtering.bin_gains(gains_db)[0, 256] == pytest.approx(10 ** (-12 / 20), rel=1e-5)


@pytest.mark.parametrize("n_samples", [1, 511, 512, 513, 1023, 160_000])
def test_equal_gains_only_scale_to_the_peak_at_any_length(n_samples):
    wave = torch.randn(2, n_samples, generator=generator()) * 0.1
    params = FilteringParams(torch.full((2, 4), -7.0), torch.tensor([True, True]))
    actual = RandomFiltering().apply(wave, params)
    torch.testing.assert_close(actual, wave / wave.abs().amax(1, keepdim=True), atol=1e-5, rtol=0)


def test_silence_stays_silence_beside_a_song(wave):
    wave[1] = 0
    actual = RandomFiltering()(wave, generator())
    assert (actual[1] == 0).all()
    torch.testing.assert_close(actual.abs().amax(1), torch.tensor([1.0, 0.0, 1.0]))


def test_what_is_not_chosen_is_left_alone(wave):
    params = RandomFiltering().draw(3, generator=generator())
    actual = RandomFiltering().apply(wave, params._replace(chosen=torch.tensor([False, True, False])))
    assert torch.equal(actual[0::2], wave[0::2])
    assert not torch.equal(actual[1], wave[1])


def test_the_batch_is_a_loop_over_its_examples(wave):
    filtering = RandomFiltering()
    params = filtering.draw(3, generator=generator())
    alone = [
        filtering.apply(wave[i : i + 1], FilteringParams(*(p[i : i + 1] for p in params))) for i in range(3)
    ]
    torch.testing.assert_close(filtering.apply(wave, params), torch.cat(alone))


def test_the_input_is_not_changed(wave):
    before = wave.clone()
    RandomFiltering()(wave, generator())
    assert torch.equal(wave, before)


def test_gains_and_choices_are_spread_as_asked():
    filtering = RandomFiltering(min_db=-12, max_db=-2, n_bands=6, probability=0.3)
    gains_db, chosen = filtering.draw(5000, generator=generator())
    assert gains_db.shape == (5000, 6)
    assert gains_db.min() == pytest.approx(-12, abs=0.01)
    assert gains_db.max() == pytest.approx(-2, abs=0.01)
    assert gains_db.mean() == pytest.approx(-7, abs=0.1)
    assert chosen.float().mean() == pytest.approx(0.3, abs=0.02)


def test_draws_repeat_with_a_seed_and_differ_without(wave):
    filtering, stream = RandomFiltering(), generator(1)
    first, second = filtering(wave, stream), filtering(wave, stream)
    assert not torch.equal(first, second)
    assert torch.equal(filtering(wave, generator(1)), first)
    assert not torch.equal(filtering(wave, generator(2)), first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_db": 1}, r"min_db is 1; legal: at most max_db \(0\)"),
        ({"n_bands": 1}, "n_bands is 1; legal: 2 or more"),
        ({"probability": 1.5}, "probability is 1.5; legal: 0 to 1"),
        ({"hop_length": 513}, r"hop_length is 513; legal: 1 to n_fft // 2 \(512\)"),
    ],
)
def test_an_illegal_setting_is_named(settings, message):
    with pytest.raises(ConfigError, match=f"RandomFiltering: {message}"):
        RandomFiltering(**settings)
