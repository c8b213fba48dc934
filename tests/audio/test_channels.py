"""Recordings of several channels: one of them, the loudest, each, or a mean that may be silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from dawnchorus.audio.channels import ChannelEnergies, checked_channel
from dawnchorus.audio.decode import load_audio, read_crop
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.audio.sound import Sound
from dawnchorus.audio.source import open_source
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.cli import app
from dawnchorus.errors import AudioError, ConfigError, StoreError
from dawnchorus.files import read_failures

RATE = 48_000


@pytest.fixture
def opposite(data_factory: Any) -> tuple[Path, np.ndarray]:
    """Three seconds of channels that cancel out, the second a little louder from the second second on."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE).astype(np.float32)
    louder = np.where(np.arange(3 * RATE) < RATE, 1.0, 1.05).astype(np.float32)
    frames = np.stack([wave, -wave * louder], axis=1)
    return data_factory.write("night.wav", frames, RATE, subtype="FLOAT"), frames


@pytest.mark.parametrize(("channel", "column"), [(1, 0), (2, 1), ("loudest", 1)])
def test_a_channel_is_read_from_files_arrays_and_streams_with_the_same_bits(
    opposite: tuple[Path, np.ndarray], channel: Any, column: int
) -> None:
    path, frames = opposite
    np.testing.assert_array_equal(load_audio(path, sample_rate=RATE, channel=channel), frames[:, column])
    np.testing.assert_array_equal(
        read_crop(path, 1000, 500, sample_rate=RATE, channel=channel), frames[1000:1500, column]
    )
    expected = load_audio(path, sample_rate=32_000, channel=channel)
    sounds = [Sound.of(path, channel=channel), Sound.of(frames.T, sample_rate=RATE, channel=channel)]
    if channel != "loudest":
        sounds.append(Sound.of(iter(np.array_split(frames, 7)), sample_rate=RATE, channel=channel))
    for sound in sounds:
        assert sound.channel == channel
        np.testing.assert_array_equal(sound.load(32_000), expected)
        assert sound.notes == []


def test_each_channel_is_a_sound_of_its_own(opposite: tuple[Path, np.ndarray]) -> None:
    path, frames = opposite
    for sound in (
        Sound.of(path, channel="each"),
        Sound.of(frames, sample_rate=RATE, channel="each"),
        Sound.of(iter(np.array_split(frames, 7)), sample_rate=RATE, channel="each", name="live"),
    ):
        first, second = sound.split()
        assert (first.channel, second.channel) == (1, 2)
        assert first.name == second.name == sound.name
        np.testing.assert_array_equal(first.load(RATE), frames[:, 0])
        np.testing.assert_array_equal(second.load(RATE), frames[:, 1])
    with pytest.raises(AudioError, match=r"each channel is read by itself"):
        Sound.of(frames, sample_rate=RATE, channel="each").load(RATE)
    assert [part.channel for part in Sound.of(frames[:, 0], sample_rate=RATE, channel="each").split()] == [1]


def test_a_mean_that_loses_the_sound_is_noted_once(opposite: tuple[Path, np.ndarray]) -> None:
    path, frames = opposite
    sounds = (
        Sound.of(path),
        Sound.of(frames, sample_rate=RATE, name=str(path)),
        Sound.of(iter(np.array_split(frames, 7)), sample_rate=RATE, name=str(path)),
    )
    for sound in sounds:
        sound.load(RATE)
        assert sound.notes == [
            f"{path}: the mean of its 2 channels keeps 0.0 % of the energy of channel 2; choose a channel"
        ]


@pytest.mark.parametrize(("second", "is_noted"), [(1.0, False), (0.0, False), (-0.3, False), (-0.5, True)])
def test_the_mean_may_keep_a_tenth_of_the_loudest_channels_energy(second: float, is_noted: bool) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    energies = ChannelEnergies()
    for part in np.array_split(np.stack([wave, second * wave], axis=1), 3):
        energies.add(part)
    assert (energies.fault is not None) == is_noted == ((1 + second) ** 2 / 4 < 0.1)


def test_what_is_no_channel_is_told(opposite: tuple[Path, np.ndarray]) -> None:
    path, frames = opposite
    for sound in (
        Sound.of(path, channel=3),
        Sound.of(iter([frames]), sample_rate=RATE, channel=3, name="night.wav"),
    ):
        with pytest.raises(AudioError, match=r"night\.wav: has no channel 3; it has 2"):
            sound.load(RATE)
    with pytest.raises(AudioError, match=r"array: has no channel 3; it has 2"):
        Sound.of(frames, sample_rate=RATE, channel=3)
    with pytest.raises(AudioError, match=r"its loudest channel is not known before its end"):
        Sound.of(iter([frames]), sample_rate=RATE, channel="loudest")
    for faulty in (0, -1, "left", True, 1.5, "each"):
        with pytest.raises(ConfigError, match=r"channel is .*; legal: a number from 1, or mean or loudest"):
            checked_channel(faulty, each=False)


def test_a_store_holds_one_channel_and_says_which(opposite: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, frames = opposite
    store = tmp_path / "features" / "night.wav.hdf5"

    def precompute(channel: Any) -> Any:
        settings = PrecomputeSettings(StoreSettings(RATE, lossless=True, channel=channel))
        return precompute_recordings(path.parent, store.parent, settings)

    (note,) = precompute("mean").notes
    assert "keeps 0.0 % of the energy of channel 2" in note.reason
    assert [note.path.name for note in read_failures(store.parent, name="notes.csv")] == ["night.wav"]
    assert b"channel" not in store.read_bytes()[:512]  # as earlier versions read it
    report = precompute(2)
    assert (report.n_replaced, report.notes) == (1, [])
    assert not (store.parent / "notes.csv").exists()
    source = open_source(path, stored=store, sample_rate=RATE, channel=2)
    np.testing.assert_array_equal(source.read(0, 3 * RATE), frames[:, 1])
    np.testing.assert_array_equal(Sound.of(store, channel=2).load(RATE), frames[:, 1])
    with pytest.raises(StoreError, match=r"holds channel 2 where mean is asked for; run `dawnchorus precomp"):
        open_source(path, stored=store, sample_rate=RATE, channel="mean")
    assert precompute("loudest").n_replaced == 1


def test_precompute_counts_odd_recordings(opposite: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, _ = opposite
    arguments = ["precompute", str(path.parent), str(tmp_path / "features"), "--channel"]
    told = CliRunner().invoke(app, [*arguments, "mean"])
    assert told.exit_code == 0
    assert f"1 recording sounds odd; what is odd is in {tmp_path / 'features' / 'notes.csv'}" in told.stderr
    assert "odd" not in CliRunner().invoke(app, [*arguments, "1"]).stderr
    refused = CliRunner().invoke(app, [*arguments, "each"])
    assert isinstance(refused.exception, ConfigError)


def test_a_loud_channel_of_a_compressed_file_is_found(data_factory: Any) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal((RATE, 2))
    path = data_factory.write("a.ogg", noise * [0.5, 1.0], RATE)
    np.testing.assert_array_equal(
        load_audio(path, sample_rate=RATE, channel="loudest"), soundfile.read(path, dtype="float32")[0][:, 1]
    )
