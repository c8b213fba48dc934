"""Backgrounds, measured with Welch's method from scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from dawnchorus.aviary.noise import (
    Background,
    draw_background,
    filter_by,
    insects,
    pink,
    rain,
    wind,
    with_unit_power,
)

SAMPLE_RATE = 32000


def band_power(waveform: np.ndarray, low_hz: float, high_hz: float) -> float:
    frequency_hz, density = signal.welch(waveform, SAMPLE_RATE, nperseg=8192)
    inside = (frequency_hz >= low_hz) & (frequency_hz < high_hz)
    return float(density[inside].sum() * (frequency_hz[1] - frequency_hz[0]))


@pytest.mark.parametrize("background", [pink, wind, rain, insects])
@pytest.mark.parametrize("n_samples", [22051, 160000])
def test_every_background_has_the_length_asked_for_and_unit_power(
    background: Background, n_samples: int
) -> None:
    waveform = background(np.random.default_rng(0), n_samples, SAMPLE_RATE)
    assert waveform.shape == (n_samples,)
    assert waveform.dtype == np.float32
    assert np.mean(np.square(waveform)) == pytest.approx(1, rel=1e-3)


def test_pink_noise_has_equal_power_in_every_octave() -> None:
    waveform = pink(np.random.default_rng(0), 30 * SAMPLE_RATE, SAMPLE_RATE)
    octaves = [band_power(waveform, low_hz, 2 * low_hz) for low_hz in (500, 1000, 2000, 4000)]
    assert octaves == pytest.approx([np.mean(octaves)] * 4, rel=0.1)


@pytest.mark.parametrize(
    ("background", "low_hz", "high_hz"), [(wind, 0, 1500), (rain, 800, 15000), (insects, 2500, 11000)]
)
def test_weather_and_insects_keep_to_their_bands(
    background: Background, low_hz: float, high_hz: float
) -> None:
    waveform = background(np.random.default_rng(1), 10 * SAMPLE_RATE, SAMPLE_RATE)
    assert band_power(waveform, low_hz, high_hz) > 0.9 * band_power(waveform, 0, SAMPLE_RATE)


def test_wind_comes_in_gusts() -> None:
    waveform = wind(np.random.default_rng(2), 20 * SAMPLE_RATE, SAMPLE_RATE)
    levels = np.sqrt(np.mean(np.square(waveform.reshape(40, -1)), axis=1))
    assert levels.max() > 3 * np.median(levels) or levels.min() < np.median(levels) / 3


def test_backgrounds_differ_from_scene_to_scene() -> None:
    tilts = []
    for seed in range(12):
        waveform = draw_background(np.random.default_rng(seed), SAMPLE_RATE, SAMPLE_RATE)
        tilts.append(10 * np.log10(band_power(waveform, 0, 500) / band_power(waveform, 2000, 8000)))
    assert np.std(tilts) > 2


def test_a_filter_leaves_what_it_passes_untouched() -> None:
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low, high = (np.sin(2 * np.pi * hz * time_s).astype(np.float32) for hz in (400, 6000))
    passed = filter_by(low + high, SAMPLE_RATE, lambda hz: (hz < 1000).astype(np.float32))
    assert passed == pytest.approx(low, abs=1e-4)


def test_silence_stays_silent_when_scaled_to_unit_power() -> None:
    assert not with_unit_power(np.zeros(8, dtype=np.float32)).any()
