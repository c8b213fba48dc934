"""Sounds: whatever comes in is the same samples, and what is no sound is told in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.sound import Sound
from dawnchorus.audio.source import open_source
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.errors import AudioError
from dawnchorus.files import FileVersion

RATE = 48_000


@pytest.fixture
def stereo(data_factory: Any) -> tuple[Path, np.ndarray]:
    """A file of two channels at 48 kHz, and its samples, shape (n_frames, 2)."""
    rng = np.random.default_rng(5)
    wave = rng.uniform(-0.5, 0.5, (3 * RATE + 17, 2)).astype(np.float32)
    path = data_factory.write("night.wav", wave, RATE, subtype="FLOAT")
    return path, wave


def test_a_file_its_samples_and_a_stream_of_them_are_one_sound(stereo: tuple[Path, np.ndarray]) -> None:
    path, wave = stereo
    expected = load_audio(path, sample_rate=32_000)
    cuts = [0, 100, 5000, 5000, 90_000]
    sources: dict[str, Any] = {
        "frames first": Sound.of(wave, sample_rate=RATE),
        "channels first": Sound.of(wave.T, sample_rate=RATE),
        "float64": Sound.of(wave.astype(np.float64), sample_rate=float(RATE)),
        "a tensor": Sound.of(torch.from_numpy(wave), sample_rate=np.int64(RATE)),
        "a stream": Sound.of(iter(np.split(wave, cuts)), sample_rate=RATE),
        "a file": Sound.of(path),
        "its name": Sound.of(str(path)),
        "a recording of a dataset": Sound.of(open_source(path)),
    }
    for kind, sound in sources.items():
        np.testing.assert_array_equal(sound.load(32_000), expected, err_msg=kind)


def test_a_stored_recording_is_read_by_its_path_and_by_its_handle(stereo: tuple[Path, np.ndarray]) -> None:
    path, _ = stereo
    stored = path.with_suffix(".wav.hdf5")
    expected = load_audio(path)
    write_store(stored, [expected], StoreSettings(), n_samples=len(expected), source=FileVersion.of(path))
    for sound in (Sound.of(stored), Sound.of(open_source(path, stored=stored))):
        np.testing.assert_allclose(sound.load(32_000), expected, atol=1e-4)
    assert len(Sound.of(open_source(path, stored=stored)).load(16_000)) == round(len(expected) / 2)


def test_samples_at_the_wanted_rate_stay_as_they_are() -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, 3_000_000).astype(np.float32)
    np.testing.assert_array_equal(Sound.of(wave, sample_rate=32_000).load(32_000), wave)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000, 384_000])
@pytest.mark.parametrize("n_samples", [1, 999, 44_101])
def test_an_array_has_the_length_that_a_file_of_it_has(tmp_path: Path, rate: int, n_samples: int) -> None:
    wave = np.random.default_rng(1).uniform(-1, 1, n_samples).astype(np.float32)
    found = Sound.of(wave, sample_rate=rate).load(32_000)
    assert len(found) == max(1, int(n_samples * 32_000 / rate + 0.5))
    if n_samples > 999:
        soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
        np.testing.assert_array_equal(found, load_audio(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("source", "rate", "sentence"),
    [
        (np.zeros(9, np.float32), None, "array: its sample rate is not known; give sample_rate in Hz"),
        (np.zeros(9, np.float32), 0, "sample_rate is 0; legal: a whole number of Hz from 100"),
        (np.zeros(9, np.float32), -48_000, "sample_rate is -48000; legal"),
        (np.zeros(9, np.float32), 44_100.5, "sample_rate is 44100.5; legal"),
        (np.zeros(9, np.float32), "48 kHz", "sample_rate is '48 kHz'; legal"),
        (np.zeros(9, np.float32), True, "sample_rate is True; legal"),
        (np.zeros(0, np.float32), 48_000, "array: holds no samples"),
        (np.zeros((0, 2), np.float32), 48_000, "array: holds no samples"),
        ([], 48_000, "array: holds no samples"),
        (np.zeros(9, np.int16), 48_000, r"holds whole numbers \(int16\).*divide by 32768"),
        (np.zeros(9, np.complex64), 48_000, "holds complex64; samples are floats"),
        (np.zeros(9, bool), 48_000, "holds bool; samples are floats"),
        (np.array(["a"]), 48_000, "samples are floats"),
        ([[1.0], [1.0, 2.0]], 48_000, "is no array of numbers"),
        (np.float32(0.5), 48_000, r"has the shape \(\); legal"),
        (np.zeros((2, 3, 4), np.float32), 48_000, r"has the shape \(2, 3, 4\); legal"),
        (np.zeros((5, 5), np.float32), 48_000, r"has the shape \(5, 5\), and time must be the longer axis"),
        (
            np.array([0, np.nan, np.inf], np.float32),
            48_000,
            "2 of 3 samples are NaN or infinite",
        ),
        (np.array([0.0, 1e39]), 48_000, "1 of 2 samples are NaN or infinite"),
        ("night.wav", 48_000, "night.wav: sample_rate is 48000, but a file knows its own"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else str(value)[:20],
)
def test_what_is_no_sound_is_told_in_one_sentence(source: Any, rate: Any, sentence: str) -> None:
    with pytest.raises(AudioError, match=sentence):
        Sound.of(source, sample_rate=rate)


def test_a_faulty_block_of_a_stream_is_told_with_its_number() -> None:
    blocks = [np.zeros(10, np.float32), np.full(10, np.nan, np.float32)]
    with pytest.raises(AudioError, match="microphone, block 1: 10 of 10 samples are NaN"):
        Sound.of(iter(blocks), sample_rate=48_000, name="microphone").load(48_000)


def test_a_stream_is_read_once() -> None:
    sound = Sound.of((np.zeros(10, np.float32) for _ in range(3)), sample_rate=48_000)
    assert len(sound.load(48_000)) == 30
    with pytest.raises(AudioError, match="stream: a stream can be read once; keep its blocks"):
        sound.load(48_000)


def test_a_stream_without_samples_is_no_sound() -> None:
    with pytest.raises(AudioError, match="stream: holds no samples"):
        Sound.of(iter([]), sample_rate=48_000).load(32_000)


def test_a_missing_file_is_told_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav"):
        Sound.of(tmp_path / "gone.wav").load(32_000)


def test_a_sound_says_what_it_is() -> None:
    wave = np.zeros(24_000, np.float32)
    assert repr(Sound.of(wave, sample_rate=48_000)) == "Sound(array: 0.50 s at 48000 Hz)"
    assert repr(Sound.of(iter([wave]), sample_rate=48_000)) == "Sound(stream: a stream at 48000 Hz)"
    assert repr(Sound.of("a.wav")) == "Sound(a.wav)"
    assert Sound.of(wave, sample_rate=48_000).duration_s == 0.5
