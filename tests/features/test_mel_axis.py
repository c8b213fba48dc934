"""The kHz beside a spectrogram stand where a tone of that frequency lights up."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.features.mel_axis import mel_row, show_spectrogram

FRONTENDS = [
    FrontendSettings(),
    FrontendSettings(sample_rate=22_050, n_mels=64, f_min_hz=200.0, f_max_hz=9000.0),
    FrontendSettings(mel_scale="slaney"),
]


@pytest.mark.parametrize("frontend", FRONTENDS, ids=["default", "narrow", "slaney"])
def test_a_row_is_librosas_mel(frontend: FrontendSettings) -> None:
    corners = librosa.mel_frequencies(
        frontend.n_mels + 1,
        fmin=frontend.f_min_hz,
        fmax=frontend.f_max_hz,
        htk=frontend.mel_scale == "htk",
    )
    rows = [mel_row(hz, frontend) for hz in corners]
    np.testing.assert_allclose(rows, np.arange(frontend.n_mels + 1), atol=1e-6)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=["default", "narrow", "slaney"])
@pytest.mark.parametrize("hz", [1000, 2000, 4000, 8000])
def test_a_tone_is_brightest_at_its_tick(frontend: FrontendSettings, hz: int) -> None:
    time_s = torch.arange(frontend.sample_rate) / frontend.sample_rate
    logmel = LogMelFrontend(frontend)(torch.sin(2 * torch.pi * hz * time_s)[None])[0, 0].numpy()
    axes = Figure().subplots()
    show_spectrogram(axes, logmel, frontend=frontend, duration_s=1.0)
    ticks = dict(zip((t.get_text() for t in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    brightest = logmel.mean(1).argmax() + 0.5
    assert ticks[f"{hz / 1000:g}"] == pytest.approx(brightest, abs=1.0)


def test_there_is_no_tick_above_the_highest_band() -> None:
    axes = Figure().subplots()
    show_spectrogram(axes, np.zeros((64, 5)), frontend=FRONTENDS[1], duration_s=1.0)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0.5", "1", "2", "4", "8"]


def test_a_tick_below_the_lowest_band_does_not_stretch_the_picture() -> None:
    high = FrontendSettings(f_min_hz=1500.0)
    axes = Figure().subplots()
    show_spectrogram(axes, np.zeros((128, 5)), frontend=high, duration_s=1.0)
    assert axes.get_ylim() == (0, 128)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["2", "4", "8", "16"]
