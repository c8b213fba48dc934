"""Spectrograms of any sound, as numbers and as a plot."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pytest

from dawnchorus.errors import AudioError
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel
from dawnchorus.features.spectrogram import Spectrogram

matplotlib.use("Agg")


def test_a_spectrogram_is_what_the_front_end_computes(data_factory: Any) -> None:
    path = data_factory.tone("a.wav", 2.0, 3000)
    found = Spectrogram.of(path)
    import soundfile

    wave = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_array_equal(found.values, NumpyLogMel(FrontendSettings())(wave[None])[0, 0])
    assert found.values.shape == (128, 126)
    loudest_hz = found.centres_hz[found.values.mean(axis=1).argmax()]
    assert abs(loudest_hz - 3000) < 60
    assert found.times_s[[0, -1]].tolist() == [0.0, 2.0]


def test_an_array_is_resampled_to_the_settings(data_factory: Any) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    settings = FrontendSettings(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=64, f_max_hz=8000.0)
    found = Spectrogram.of(tone, sample_rate=48_000, settings=settings)
    assert found.values.shape == (64, 63)
    assert repr(found) == "Spectrogram(array: 1.00 s, 64 mel bands × 63 frames)"


def test_a_plot_shows_seconds_and_kilohertz() -> None:
    found = Spectrogram.of(np.random.default_rng(0).normal(size=64_000), sample_rate=32_000)
    axes = found.plot()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("s", "kHz")
    assert axes.get_xlim() == (0.0, 2.0)
    assert found._repr_png_().startswith(b"\x89PNG")
    matplotlib.pyplot.close("all")


def test_a_sound_too_short_or_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudioError, match="array: has 1024 samples at 32000 Hz; a spectrogram with n_fft"):
        Spectrogram.of(np.zeros(1024), sample_rate=32_000)
    monkeypatch.setattr("dawnchorus.features.spectrogram.LONGEST_S", 1.0)
    with pytest.raises(AudioError, match="is longer than 1 s"):
        Spectrogram.of(np.zeros(32_001), sample_rate=32_000)
