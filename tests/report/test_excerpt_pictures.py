"""Excerpts around detections: the right seconds, playable sound, a spectrogram of the right pitch."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.excerpts import read_excerpt
from dawnchorus.errors import AudioError
from dawnchorus.report.excerpt_pictures import sound_of, spectrogram_of

RATE = 32_000


def test_an_excerpt_is_the_recording_from_before_to_after_the_detection(data_factory: Any) -> None:
    path = data_factory.tone("night.wav", 12.0)
    excerpt = read_excerpt(path, 4.0, 6.0, padding_s=1.0)
    assert (excerpt.start_s, excerpt.end_s, excerpt.sample_rate) == (3.0, 7.0, RATE)
    whole = load_audio(path, sample_rate=RATE)
    np.testing.assert_allclose(excerpt.wave, whole[3 * RATE : 7 * RATE], atol=1e-4)
    assert read_excerpt(path, 0.0, 2.0).start_s == 0
    assert read_excerpt(path, 10.0, 12.0).end_s == 12.0


def test_the_sound_plays_and_a_faint_one_is_made_louder(data_factory: Any) -> None:
    time_s = np.arange(4 * RATE) / RATE
    path = data_factory.write("faint.wav", 0.01 * np.sin(2 * np.pi * 1500 * time_s))
    wave, rate = soundfile.read(io.BytesIO(sound_of(read_excerpt(path, 1.0, 3.0))))
    assert (rate, len(wave)) == (RATE, 4 * RATE)
    assert 0.8 < np.abs(wave).max() <= 1
    spectrum = np.abs(np.fft.rfft(wave))
    assert abs(spectrum.argmax() * rate / len(wave) - 1500) < 5


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000])
def test_the_spectrogram_shows_a_tone_at_its_pitch_and_where_the_detection_is(
    data_factory: Any, rate: int
) -> None:
    low, high = (data_factory.tone(f"{hz}.wav", 4.0, hz, sample_rate=rate, noise=0.0) for hz in (700, 3000))
    heights = []
    for path in (low, high):
        picture = np.asarray(
            Image.open(io.BytesIO(spectrogram_of(read_excerpt(path, 1.0, 2.0)))).convert("L"), float
        )
        heights.append(picture[20:, picture.shape[1] // 2 :].mean(axis=1).argmax())
        bar = picture[:6] > 150
        left, right = np.flatnonzero(bar.any(axis=0))[[0, -1]] / picture.shape[1]
        assert abs(left - 1 / 3) < 0.05
        assert abs(right - 2 / 3) < 0.05
    assert heights[1] < heights[0]  # higher in the picture


def test_a_detection_behind_the_end_says_how_long_the_recording_is(data_factory: Any) -> None:
    path = data_factory.tone("short.wav", 2.0)
    with pytest.raises(
        AudioError, match=r"short.wav: has no sound from 30 s on, where a detection begins; it lasts 2"
    ):
        read_excerpt(path, 30.0, 35.0)
