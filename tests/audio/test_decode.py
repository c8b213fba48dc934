"""Decoding: lengths, samples and crops against independent decoders, and one sentence for every bad file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import librosa
import numpy as np
import pytest

from dawnchorus.audio.decode import (
    AUDIO_SUFFIXES,
    count_samples,
    list_audio_files,
    load_audio,
    read_crop,
    read_info,
    stream_audio,
)
from dawnchorus.errors import AudioError, DataError

RATES = (22_050, 32_000, 44_100, 48_000)
FORMATS = (".wav", ".flac", ".ogg", ".mp3")


def assert_crops_match(path: Path, *, n_crops: int = 6, sample_rate: int = 32_000) -> None:
    whole = load_audio(path, sample_rate=sample_rate)
    rng = np.random.default_rng(0)
    for start in [0, 1, len(whole) - 1, len(whole) - 500, *rng.integers(0, len(whole), n_crops)]:
        crop = read_crop(path, int(start), 8_001, sample_rate=sample_rate)
        expected = whole[start : start + 8_001]
        assert crop.shape == expected.shape
        assert crop.dtype == np.float32
        np.testing.assert_allclose(crop, expected, atol=1e-5)


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("suffix", FORMATS)
def test_the_header_gives_the_length_and_crops_are_parts_of_the_whole(data_factory, suffix, sample_rate):
    path = data_factory.tone(f"a{suffix}", duration_s=5.003, sample_rate=sample_rate, n_channels=2, noise=0.1)
    assert (
        count_samples(path) == len(load_audio(path)) == round(read_info(path).n_frames * 32_000 / sample_rate)
    )
    assert_crops_match(path)


@pytest.mark.filterwarnings(
    "ignore:.*slated for removal in Python 3.13:DeprecationWarning"
)  # librosa's audioread
@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("suffix", FORMATS)
def test_samples_agree_with_librosa(data_factory, suffix, sample_rate):
    path = data_factory.tone(f"a{suffix}", duration_s=2.0, sample_rate=sample_rate, n_channels=2)
    expected, _ = librosa.load(path, sr=32_000, mono=True, res_type="soxr_hq")
    wave = load_audio(path)
    assert abs(len(wave) - len(expected)) <= 1
    n = min(len(wave), len(expected))
    np.testing.assert_allclose(wave[:n], expected[:n], atol=1e-3)


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 96_000, 384_000, 44_101])
def test_unusual_rates_keep_length_and_phase(data_factory, sample_rate):
    path = data_factory.tone("a.wav", duration_s=2.01, sample_rate=sample_rate, noise=0.1)
    assert count_samples(path) == len(load_audio(path))
    assert_crops_match(path)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_kind_of_wav_gives_the_mean_of_its_channels(data_factory, subtype):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (2_000, 5))
    path = data_factory.write("a.wav", wave, subtype=subtype)
    np.testing.assert_allclose(load_audio(path), wave.mean(axis=1), atol=1 / 128)
    if subtype != "PCM_U8":
        np.testing.assert_allclose(load_audio(path), wave.mean(axis=1), atol=1 / 32_768)


def test_float_sound_beyond_full_scale_is_kept(data_factory):
    path = data_factory.write("a.wav", np.array([0.0, 3.5, -2.0]), subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(path), np.float32([0.0, 3.5, -2.0]))


def test_opus_samples_do_not_depend_on_how_they_are_read(data_factory):
    rng = np.random.default_rng(0)
    wave = 0.2 * rng.standard_normal((48_000 * 12, 2))
    path = data_factory.write("a.opus", wave, 48_000, format="OGG", subtype="OPUS")
    blocks = list(stream_audio(path))
    assert len(blocks) > 2
    assert sum(map(len, blocks)) == count_samples(path)
    assert_crops_match(path)


def test_one_sample_stays_one_sample(data_factory):
    path = data_factory.write("a.wav", np.array([0.5]), 192_000)
    assert count_samples(path) == len(load_audio(path)) == len(read_crop(path, 0, 10)) == 1


def test_a_crop_beyond_the_end_is_empty(data_factory):
    path = data_factory.tone("a.flac")
    assert read_crop(path, 32_000, 10).shape == (0,)
    assert read_crop(path, 99_000, 10).shape == (0,)


def test_a_negative_crop_is_refused(data_factory):
    with pytest.raises(ValueError, match="start=-1 and n_samples=5 must not be negative"):
        read_crop(data_factory.tone("a.wav"), -1, 5)


def test_an_mp3_without_a_length_tag_is_counted_by_decoding(data_factory):
    path = data_factory.tone("a.mp3", duration_s=5, sample_rate=44_100, noise=0.1)
    tagged = path.read_bytes()
    first_frame = tagged.index(b"\xff\xfb")
    second_frame = tagged.index(b"\xff\xfb", tagged.index(b"LAME"))
    bare = path.with_name("bare.mp3")
    bare.write_bytes(tagged[:first_frame] + tagged[second_frame:])
    assert count_samples(bare) == len(load_audio(bare))
    assert_crops_match(bare)


def test_a_flac_that_was_streamed_is_counted_by_decoding(data_factory):
    path = data_factory.tone("a.flac", duration_s=2)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of total samples, 0 where the encoder did not know
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert count_samples(path) == len(load_audio(path)) == 64_000


def test_real_recordings_give_the_crops_of_the_whole(shared_data):
    recordings = list_audio_files(shared_data)
    assert len(recordings) == 481
    for path in recordings[::16]:
        assert count_samples(path) == len(load_audio(path))
        assert_crops_match(path, n_crops=2)


@pytest.mark.parametrize(
    "name",
    [
        "esc10/Baby_cry/2-107351-A.ogg",  # libsndfile seeks 325 frames too far
        "esc10/Baby_cry/2-66637-B.ogg",  # 325 frames too short
        "esc10/Chainsaw/4-157611-A.ogg",  # 32 frames fewer than its header says
        "birdeep/AM1_20230510_080000.ogg",  # wrong in the last page only
    ],
)
def test_ogg_files_that_libsndfile_seeks_wrongly_in_are_read_exactly(shared_data, name):
    path = shared_data / name
    assert count_samples(path) == len(load_audio(path))
    assert_crops_match(path)


def bad_files(data_factory) -> dict[str, tuple[Path, str]]:
    root = data_factory.root
    cases = {}
    for suffix in FORMATS:
        content = data_factory.tone(f"whole{suffix}", duration_s=4, noise=0.1).read_bytes()
        (root / f"cut{suffix}").write_bytes(content[: len(content) // 2])
        (root / f"header{suffix}").write_bytes(content[:44])
        (root / f"empty{suffix}").touch()
        (root / f"text{suffix}").write_text("this is not a recording\n" * 40)
        damage = "flac decoder lost sync|truncated"
        cases[f"cut{suffix}"] = (root / f"cut{suffix}", damage)
        cases[f"header{suffix}"] = (root / f"header{suffix}", "truncated|cannot be decoded as audio")
        cases[f"empty{suffix}"] = (root / f"empty{suffix}", r"empty \(0 bytes\)")
        cases[f"text{suffix}"] = (root / f"text{suffix}", "cannot be decoded as audio; libsndfile says: ")
    holes = np.array([0.0, np.nan, 0.1])
    cases["nan"] = (data_factory.write("nan.wav", holes, subtype="FLOAT"), "holds NaN or infinite samples")
    infinite = np.array([[0.0, 1.0], [np.inf, -np.inf]])
    cases["inf"] = (data_factory.write("inf.wav", infinite, subtype="FLOAT"), "holds NaN or infinite samples")
    cases["none"] = (data_factory.write("none.wav", np.zeros(0)), "holds no samples")
    cases["missing"] = (root / "missing.wav", "cannot be read; No such file or directory")
    cases["suffix"] = (root / "notes.txt", r"not a recording by its name; \.aac, \.aif")
    (root / "notes.txt").write_text("hello")
    return cases


def test_every_bad_file_is_one_sentence_that_begins_with_its_path(data_factory):
    for path, reason in bad_files(data_factory).values():
        with pytest.raises(AudioError, match=reason) as caught:
            load_audio(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_crop_of_a_cut_off_mp3_is_refused_where_sound_is_missing(data_factory):
    whole = data_factory.tone("a.mp3", duration_s=8, noise=0.1).read_bytes()
    path = data_factory.root / "cut.mp3"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match="truncated; its header promises"):
        read_crop(path, 7 * 32_000, 16_000)


def test_without_ffmpeg_an_m4a_says_what_is_missing(data_factory, monkeypatch):
    path = data_factory.tone("a.wav").rename(data_factory.root / "a.m4a")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AudioError, match=r"a\.m4a: \.m4a needs ffmpeg, which is not installed"):
        load_audio(path)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed here")
def test_with_ffmpeg_an_m4a_is_decoded_and_a_broken_one_named(data_factory):
    wave = data_factory.tone("a.wav", duration_s=3, frequency_hz=1000, noise=0.0)
    path = wave.with_suffix(".m4a")
    subprocess.run(["ffmpeg", "-v", "error", "-i", wave, path], check=True)
    assert count_samples(path) == len(load_audio(path))
    second = slice(32_000, 64_000)
    assert np.corrcoef(load_audio(path)[second], load_audio(wave)[second])[0, 1] > 0.99
    assert_crops_match(path, n_crops=1)
    path.write_text("this is not a recording")
    with pytest.raises(AudioError, match="cannot be decoded as audio; ffmpeg says"):
        load_audio(path)


def test_recordings_are_listed_at_any_depth_sorted_and_without_hidden_ones(data_factory):
    root = data_factory.root
    for name in ("b/Ä bird 🐦.WAV", "a.flac", "b/c/d.ogg", ".hidden/x.wav", "b/._d.wav"):
        path = data_factory.tone("x.wav", duration_s=0.1)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(root / name)
    (root / "notes.txt").touch()
    assert [path.relative_to(root).as_posix() for path in list_audio_files(root)] == [
        "a.flac",
        "b/c/d.ogg",
        "b/Ä bird 🐦.WAV",
    ]


def test_a_folder_without_recordings_names_itself_and_the_suffixes(tmp_path):
    with pytest.raises(DataError, match=r"no recordings here or below; .*\.flac.* are read"):
        list_audio_files(tmp_path)
    with pytest.raises(DataError, match="absent: no such folder"):
        list_audio_files(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is a file, not a folder"):
        list_audio_files(tmp_path / "file")
    assert {".wav", ".flac", ".ogg", ".mp3", ".m4a"} <= AUDIO_SUFFIXES
