"""Speech, made of pulses and formants, is found, and the rest is listed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.signal import lfilter
from typer.testing import CliRunner

from dawnchorus.cli import app
from dawnchorus.errors import MissingExtraError
from dawnchorus.recordings import speech
from dawnchorus.recordings.speech import RATE, find_speech, stretches_beside

VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (530, 1840, 2480), (300, 870, 2240))
BANDWIDTHS_HZ = (80, 100, 140)
SYLLABLE_S = 0.22


def voice(duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Return syllables at 16 kHz: pulses of a gliding pitch through the formants of random vowels."""
    time_s = np.arange(round(duration_s * RATE)) / RATE
    pitch_hz = 120 + 25 * np.sin(2 * np.pi * 0.7 * time_s)
    pulses = np.diff(np.floor(np.cumsum(pitch_hz / RATE)), prepend=0)
    syllables = []
    for syllable in np.split(pulses, np.arange(0, len(pulses), round(SYLLABLE_S * RATE))[1:]):
        for resonance_hz, bandwidth_hz in zip(VOWELS_HZ[rng.integers(4)], BANDWIDTHS_HZ, strict=True):
            radius = np.exp(-np.pi * bandwidth_hz / RATE)
            turn = 2 * radius * np.cos(2 * np.pi * resonance_hz / RATE)
            syllable = lfilter([1 - radius], [1, -turn, radius**2], syllable)
        syllables.append(syllable * np.sqrt(np.hanning(len(syllable))))
    spoken = np.concatenate(syllables)
    return 0.5 * spoken / np.abs(spoken).max()


def song(duration_s: float) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    return 0.5 * np.sin(2 * np.pi * (4000 * time_s + 40 * np.sin(2 * np.pi * 8 * time_s)))


def test_speech_is_found_and_listed_apart_from_what_is_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("silero_vad", reason="the extra speech is not installed")
    rng = np.random.default_rng(0)
    faint = 0.002 * rng.standard_normal(10 * RATE)
    spoken = faint.copy()
    spoken[3 * RATE : 6 * RATE] += voice(3.0, rng)
    assert find_speech(spoken.astype(np.float32)) == pytest.approx(np.array([[3.0, 6.1]]), abs=0.2)

    folder = tmp_path / "recordings"
    folder.mkdir()
    sounds = {"told": spoken, "sung": song(5.0), "only": voice(2.0, rng)}
    for name, wave in sounds.items():
        soundfile.write(folder / f"{name}.wav", wave, RATE)
    (folder / "torn.wav").write_bytes(b"RIFF")
    output = tmp_path / "stretches.csv"
    result = CliRunner().invoke(app, ["skip-speech", str(folder), str(output)])
    assert result.exit_code == 2, result.output
    assert "2 of 3 recordings have speech, of which 1 have nothing else" in result.stdout
    rows = pd.read_csv(output)
    assert rows["filename"].tolist() == ["only.wav", "told.wav", "told.wav"]
    expected = [[0, 0], [0, 2.5], [6.6, 10]]
    np.testing.assert_allclose(rows[["start_s", "end_s"]], expected, atol=0.2)
    failures = pd.read_csv(tmp_path / "stretches_failures.csv")
    assert failures["path"].tolist() == ["torn.wav"]
    again = CliRunner().invoke(app, ["skip-speech", str(folder), str(output)])
    assert "exists; choose another name, or overwrite it with --force" in str(again.exception)


def test_stretches_keep_their_distance_from_speech_and_are_not_too_short() -> None:
    told = np.array([[0.2, 1.0], [3.0, 4.0], [5.5, 9.8]])
    assert stretches_beside(told, 10.0, margin_s=0.25, shortest_s=1.0) == [(1.25, 2.75), (4.25, 5.25)]
    assert stretches_beside(told, 10.0, margin_s=0.25, shortest_s=1.2) == [(1.25, 2.75)]
    assert stretches_beside(np.zeros((0, 2)), 10.0, margin_s=1.0, shortest_s=1.0) == [(0.0, 10.0)]


def test_a_missing_detector_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    speech._detector.cache_clear()
    with pytest.raises(MissingExtraError, match=r"silero-vad.* install it with: pip install .*\[speech\]"):
        speech.write_speechless_stretches(tmp_path, tmp_path / "stretches.csv")
