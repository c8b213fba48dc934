"""Damaged recordings that are read as far as they go, where that is asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from dawnchorus.audio.decode import load_audio, stream_audio, stream_crop
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.audio.sound import Sound
from dawnchorus.audio.store import open_store
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.cli import app
from dawnchorus.errors import AudioError, ConfigError
from dawnchorus.files import read_failures

RATE = 32_000
CUT_OFF = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".w64", ".rf64")


def cut_off(data_factory: Any, suffix: str) -> tuple[Path, np.ndarray]:
    """Return a recording that ends in its middle, and the samples that it had."""
    path = data_factory.tone(f"card/night{suffix}", duration_s=8, noise=0.1)
    whole = load_audio(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path, whole


def without_size(data_factory: Any, name: str = "card/night.wav", **options: str) -> tuple[Path, np.ndarray]:
    """Return a recording whose header claims that it has no sound, and the samples that it has."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * RATE, 1))
    path = data_factory.write(name, wave, RATE, subtype="PCM_16", **options)
    whole, content = load_audio(path), bytearray(path.read_bytes())
    if options.get("format") == "RF64":
        at = content.index(b"ds64") + 16
        content[at : at + 8] = bytes(8)
    else:
        at = content.index(b"data") + 4
        content[at : at + 4] = bytes(4)
    path.write_bytes(content)
    return path, whole


def with_nan(data_factory: Any) -> tuple[Path, np.ndarray]:
    """Return a recording with three samples that are no numbers, and it with 0 for them."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32)
    expected = wave.copy()
    wave[[5, 700, 40_000]] = np.nan, np.inf, -np.inf
    expected[[5, 700, 40_000]] = 0
    return data_factory.write("card/night.wav", wave, RATE, subtype="FLOAT"), expected


@pytest.mark.parametrize("suffix", CUT_OFF)
def test_a_recording_that_was_cut_off_is_read_as_far_as_it_goes(data_factory: Any, suffix: str) -> None:
    path, whole = cut_off(data_factory, suffix)
    with pytest.raises(AudioError, match=r"; --salvage, or salvage=True, reads it as far as it goes$"):
        load_audio(path)
    sound = Sound.of(path, salvage=True)
    found = sound.load(RATE)
    assert 0.3 * len(whole) < len(found) < 0.7 * len(whole)
    np.testing.assert_allclose(found[:-4096], whole[: len(found) - 4096], atol=1e-4)
    (note,) = sound.notes
    assert note.startswith(f"{path}: salvaged; ")
    assert "--salvage" not in note


@pytest.mark.parametrize("suffix", CUT_OFF)
def test_a_crop_of_a_recording_that_was_cut_off_is_that_of_the_whole(data_factory: Any, suffix: str) -> None:
    path, whole = cut_off(data_factory, suffix)
    notes: list[str] = []
    crop = np.concatenate(list(stream_crop(path, 2 * RATE, RATE // 2, notes=notes, salvage=True)))
    np.testing.assert_allclose(crop, whole[2 * RATE : 2 * RATE + RATE // 2], atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"format": "WAVEX"}, {"format": "RF64"}])
def test_a_recording_whose_data_size_is_0_is_read_to_its_end(data_factory: Any, options: Any) -> None:
    path, whole = without_size(data_factory, **options)
    with pytest.raises(AudioError, match=r"header.*; --salvage") as refused:
        load_audio(path)
    sound = Sound.of(path, salvage=True)
    np.testing.assert_array_equal(sound.load(RATE), whole)
    reason = str(refused.value).removeprefix(f"{path}: ").partition("; --salvage")[0]
    assert sound.notes == [f"{path}: salvaged; {reason}"]


def test_samples_that_are_no_numbers_become_0(data_factory: Any) -> None:
    path, expected = with_nan(data_factory)
    with pytest.raises(AudioError, match=r"holds NaN or infinite samples; --salvage"):
        load_audio(path)
    wave = soundfile.read(path, dtype="float32")[0]
    sounds = (
        Sound.of(path, salvage=True),
        Sound.of(wave, sample_rate=RATE, salvage=True),
        Sound.of(iter([wave]), sample_rate=RATE, salvage=True),
    )
    for sound in sounds:
        np.testing.assert_array_equal(sound.load(RATE), expected)
        (note,) = sound.notes
        assert f"salvaged; 3 of {len(wave)} samples are NaN or infinite" in note
    with pytest.raises(AudioError, match=r"3 of 64000 samples are NaN .*; salvage=True makes them 0"):
        Sound.of(wave, sample_rate=RATE)


def test_each_channel_is_salvaged_and_the_loudest_is_found(data_factory: Any) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32) * np.float32([1, 0.1])
    wave[7, 1] = np.nan
    path = data_factory.write("night.wav", wave, RATE, subtype="FLOAT")
    sound = Sound.of(path, channel="each", salvage=True)
    first, second = (part.load(RATE) for part in sound.split())
    np.testing.assert_array_equal(first, wave[:, 0])
    np.testing.assert_array_equal(second, np.nan_to_num(wave[:, 1]))
    assert sound.notes == [f"{path}: salvaged; 1 of {RATE} samples are NaN or infinite, and read as 0"]
    loudest = np.concatenate(list(stream_audio(path, channel="loudest", salvage=True)))
    np.testing.assert_array_equal(loudest, wave[:, 0])


def test_whole_recordings_are_the_same_with_salvage(data_factory: Any) -> None:
    for suffix in (".wav", ".flac", ".ogg", ".mp3"):
        path = data_factory.tone(f"night{suffix}", duration_s=3, sample_rate=44_100, n_channels=2)
        sound = Sound.of(path, salvage=True)
        np.testing.assert_array_equal(sound.load(RATE), load_audio(path))
        assert sound.notes == []


def test_what_holds_no_sound_cannot_be_salvaged(data_factory: Any) -> None:
    content = data_factory.tone("whole.flac").read_bytes()
    (data_factory.root / "header.flac").write_bytes(content[:44])
    (data_factory.root / "text.wav").write_text("this is not a recording\n" * 40)
    (data_factory.root / "empty.wav").touch()
    data_factory.write("none.wav", np.zeros(0))
    for name in ("header.flac", "text.wav", "empty.wav", "none.wav", "missing.wav"):
        with pytest.raises(AudioError, match=name) as caught:
            Sound.of(data_factory.root / name, salvage=True).load(RATE)
        assert "--salvage" not in str(caught.value)


def test_precompute_salvages_on_request_and_its_stores_say_so(data_factory: Any, tmp_path: Path) -> None:
    _, short = without_size(data_factory)
    flac, _ = cut_off(data_factory, ".flac")
    whole = data_factory.tone("card/whole.wav")
    features = tmp_path / "features"
    command = ["precompute", str(whole.parent), str(features), "--lossless"]
    refused = CliRunner().invoke(app, command)
    assert (refused.exit_code, "1 converted" in refused.stdout) == (2, True)
    assert all("--salvage" in failure.reason for failure in read_failures(features))

    told = CliRunner().invoke(app, [*command, "--salvage"])
    assert told.exit_code == 0, told.output
    assert "2 converted" in told.stdout
    assert "1 already there, 0 left out, 0 failed" in told.stdout
    assert f"2 recordings salvaged; what is missing is in {features / 'notes.csv'}" in told.stderr
    assert [note.path.name for note in read_failures(features, name="notes.csv")] == [
        "night.flac", "night.wav",
    ]  # fmt: skip
    stores = {path.name: open_store(features / f"{path.name}.hdf5") for path in whole.parent.iterdir()}
    assert {name: store.header.settings.salvage for name, store in stores.items() if store} == {
        "night.wav": True, "night.flac": True, "whole.wav": False,
    }  # fmt: skip
    stored = stores["night.wav"]
    assert stored is not None
    np.testing.assert_array_equal(stored.read(0, stored.n_samples), short)
    salvaged = np.concatenate(list(stream_audio(flac, salvage=True)))
    np.testing.assert_array_equal(Sound.of(features / "night.flac.hdf5").load(RATE), salvaged)
    assert b"salvage" not in (features / "whole.wav.hdf5").read_bytes()[:512]  # as earlier versions read it

    again = precompute_recordings(
        whole.parent, features, PrecomputeSettings(StoreSettings(lossless=True, salvage=True))
    )
    assert (again.n_done, again.n_skipped) == (0, 3)
    without = precompute_recordings(whole.parent, features, PrecomputeSettings(StoreSettings(lossless=True)))
    assert (without.n_skipped, len(without.failures)) == (1, 2)
    for failure in without.failures:
        store = features / f"{failure.path}.hdf5"
        assert failure.reason.endswith(f"; {store}, which was made before, stays as it is")
        assert store.is_file()
    with pytest.raises(ConfigError, match=r"torchaudio cannot salvage; leave salvage out"):
        StoreSettings(decoder="torchaudio", salvage=True)


def test_what_ffmpeg_unpacks_is_salvaged(data_factory: Any) -> None:
    whole = data_factory.tone("a.wav", duration_s=8, noise=0.1)
    path = whole.with_suffix(".webm")
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", whole, "-c:a", "libopus", path], check=True
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = Sound.of(path, salvage=True).load(RATE)
    assert 2 * RATE < len(found) < 6 * RATE
