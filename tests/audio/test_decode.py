"""Decoding: lengths, samples and crops against independent decoders, and one sentence for every bad file."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import imageio_ffmpeg
import librosa
import numpy as np
import pytest
import soxr

from dawnchorus.audio.decode import (
    count_samples,
    load_audio,
    read_crop,
    read_info,
    stream_audio,
)
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.errors import AudioError

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
    wave = np.tile(np.float32([0.0, 3.5, -2.0]), 200)
    np.testing.assert_array_equal(load_audio(data_factory.write("a.wav", wave, subtype="FLOAT")), wave)


def test_opus_samples_do_not_depend_on_how_they_are_read(data_factory):
    rng = np.random.default_rng(0)
    wave = 0.2 * rng.standard_normal((48_000 * 12, 2))
    path = data_factory.write("a.opus", wave, 48_000, format="OGG", subtype="OPUS")
    blocks = list(stream_audio(path))
    assert len(blocks) > 2
    assert sum(map(len, blocks)) == count_samples(path)
    assert_crops_match(path)


def test_ten_milliseconds_are_the_shortest_recording(data_factory):
    path = data_factory.write("a.wav", np.full(1_920, 0.5), 192_000)
    assert count_samples(path) == len(load_audio(path)) == len(read_crop(path, 0, 999)) == 320
    for n_samples in (1, 1_919):
        path = data_factory.write("a.wav", np.full(n_samples, 0.5), 192_000)
        with pytest.raises(AudioError, match=f"too short to hold a sound; it has {n_samples} samples"):
            count_samples(path)


def test_a_length_that_no_file_of_that_size_can_hold_is_refused(data_factory):
    path = data_factory.tone("a.flac", duration_s=0.1)
    content = bytearray(path.read_bytes())
    content[21:26] = [content[21] & 0xF0 | 0x0F, 255, 255, 255, 255]  # STREAMINFO: 2³⁶ − 1 samples
    path.write_bytes(content)
    with pytest.raises(AudioError, match="damaged; its header promises 68719476735 samples in"):
        count_samples(path)


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
    holes = np.tile([0.0, np.nan, 0.1], 200)
    cases["nan"] = (data_factory.write("nan.wav", holes, subtype="FLOAT"), "holds NaN or infinite samples")
    infinite = np.tile([[0.0, 1.0], [np.inf, -np.inf]], (300, 1))
    cases["inf"] = (data_factory.write("inf.wav", infinite, subtype="FLOAT"), "holds NaN or infinite samples")
    cases["none"] = (data_factory.write("none.wav", np.zeros(0)), "holds no samples")
    cases["missing"] = (root / "missing.wav", "cannot be read; No such file or directory")
    cases["suffix"] = (root / "notes.txt", r"not a recording by its name; \.3gp, \.aac, \.aif")
    (root / "notes.txt").write_text("hello")
    return cases


def test_every_bad_file_is_one_sentence_that_begins_with_its_path(data_factory):
    for path, reason in bad_files(data_factory).values():
        with pytest.raises(AudioError, match=reason) as caught:
            load_audio(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".aiff", {}),
        (".wav", {"format": "RF64"}),
        (".wav", {"format": "W64"}),
        (".wav", {"format": "WAVEX", "subtype": "PCM_24"}),
        (".flac", {}),
        (".opus", {"format": "OGG", "subtype": "OPUS"}),
    ],
)
def test_a_recording_that_was_cut_off_is_refused(data_factory, suffix, options):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000)
    path = data_factory.write(f"a{suffix}", wave, 48_000, **options)
    assert count_samples(path) == 133_333
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"truncated|cannot be decoded"):
        load_audio(path)


def test_a_wav_of_two_gigabytes_that_was_cut_off_is_refused_and_a_streamed_one_read(data_factory):
    path = data_factory.tone("a.wav", duration_s=2)
    whole = bytearray(path.read_bytes())
    for claimed in (0xFFFF_FFFF, 0x7FFF_F000):
        whole[40:44] = claimed.to_bytes(4, "little")
        path.write_bytes(whole)
        assert count_samples(path) == 64_000
    for claimed, reason in ((3_000_000_000, "truncated; 128000 of 3000000000"), (0, "repair the header")):
        whole[40:44] = claimed.to_bytes(4, "little")
        path.write_bytes(whole)
        with pytest.raises(AudioError, match=reason):
            count_samples(path)


def test_a_crop_of_a_cut_off_mp3_is_refused_where_sound_is_missing(data_factory):
    whole = data_factory.tone("a.mp3", duration_s=8, noise=0.1).read_bytes()
    path = data_factory.root / "cut.mp3"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match="truncated; its header promises"):
        read_crop(path, 7 * 32_000, 16_000)


def test_without_ffmpeg_an_m4a_says_what_is_missing(data_factory, monkeypatch):
    path = data_factory.tone("a.wav").rename(data_factory.root / "a.m4a")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AudioError, match=r"a\.m4a: \.m4a needs ffmpeg, which is not installed"):
        load_audio(path)


def ffmpeg(*arguments: str | Path) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def decoded_by_ffmpeg(path: Path) -> np.ndarray:
    """Return the mean of the channels as ffmpeg's own decoders have it, at the rate of the file."""
    n_channels = read_info(path).n_channels
    samples = np.frombuffer(ffmpeg("-i", path, "-map", "0:a:0", "-f", "f32le", "-"), "<f4")
    mono = samples.reshape(-1, n_channels).mean(axis=1)
    is_opus = b"OpusHead" in path.read_bytes()[:64]  # which ffmpeg decodes at 48 kHz, whatever was encoded
    return soxr.resample(mono, 48_000, read_info(path).sample_rate, "VHQ") if is_opus else mono


ENCODINGS = [
    *[(".wav", {"subtype": s}) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW")],
    *[(".flac", {"subtype": s}) for s in ("PCM_S8", "PCM_16", "PCM_24")],
    *[(".aiff", {"subtype": s}) for s in ("PCM_16", "PCM_24")],
    (".ogg", {"subtype": "VORBIS"}),
    (".ogg", {"subtype": "OPUS"}),
    (".opus", {"format": "OGG", "subtype": "OPUS"}),
    (".mp3", {}),
]


def is_possible(suffix: str, subtype: str, sample_rate: int, n_channels: int) -> bool:
    """Tell whether the codec, or its encoder here, takes this rate and these channels."""
    if suffix == ".mp3" or subtype in ("VORBIS", "OPUS"):
        return n_channels <= 2 and sample_rate in (
            (8_000, 48_000) if subtype == "OPUS" else (8_000, 44_100, 48_000)
        )
    return True


CASES = [
    (suffix, options, sample_rate, n_channels)
    for suffix, options in ENCODINGS
    for sample_rate in (8_000, 44_100, 48_000, 192_000, 384_000)
    for n_channels in (1, 2, 5, 8)
    if is_possible(suffix, options.get("subtype", ""), sample_rate, n_channels)
]


@pytest.mark.parametrize(("suffix", "options", "sample_rate", "n_channels"), CASES)
def test_samples_agree_with_ffmpeg(data_factory, suffix, options, sample_rate, n_channels):
    is_lossy = suffix == ".mp3" or options["subtype"] in ("VORBIS", "OPUS")
    time_s = np.arange(sample_rate)[:, None] / sample_rate
    pitches = 300 + 100 * np.arange(n_channels)
    path = data_factory.write(
        f"a{suffix}", 0.5 * np.sin(2 * np.pi * pitches * time_s), sample_rate, **options
    )
    rate = read_info(path).sample_rate
    ours, theirs = load_audio(path, sample_rate=rate), decoded_by_ffmpeg(path)
    assert abs(len(ours) - len(theirs)) <= (1_200 if is_lossy else 0)
    n = min(len(ours), len(theirs))
    inner = slice(50, n - 50) if "OPUS" in options.values() else slice(n)
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-3)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("aac", ".m4a"), ("alac", ".m4a"), ("aac", ".aac"), ("wmav2", ".wma")]
)
def test_what_libsndfile_does_not_know_is_decoded_by_ffmpeg_and_a_broken_file_named(
    data_factory, codec, suffix
):
    wave = data_factory.tone("a.wav", duration_s=3, frequency_hz=1000, noise=0.0)
    path = wave.with_suffix(suffix)
    ffmpeg("-i", wave, "-c:a", codec, path)
    assert count_samples(path) == len(load_audio(path))
    np.testing.assert_allclose(load_audio(path), decoded_by_ffmpeg(path)[:999_999], atol=1e-3)
    assert np.abs(np.fft.rfft(load_audio(path)[32_000:64_000])).argmax() == 1000
    assert_crops_match(path, n_crops=1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match="cannot be decoded as audio; ffmpeg says"):
        load_audio(path)
    path.write_text("this is not a recording")
    with pytest.raises(AudioError, match="cannot be decoded as audio; ffmpeg says"):
        load_audio(path)


KINDS = {
    ".wav": {"subtype": "PCM_24"},
    ".flac": {},
    ".aiff": {},
    ".mp3": {},
    ".opus": {"format": "OGG", "subtype": "OPUS"},
    ".ogg": {},
}


@pytest.mark.parametrize("suffix", KINDS)
def test_a_mutated_recording_is_sound_or_one_sentence(data_factory, request, mutated, suffix):
    if suffix == ".ogg":
        shared = request.getfixturevalue("shared_data")
        originals = [path.read_bytes() for path in sorted(shared.glob("*/*/*.ogg"))[::50]]
        data_factory.root.mkdir(exist_ok=True)
    else:
        rate = 48_000 if suffix == ".opus" else 44_100
        wave = np.cumsum(np.random.default_rng(0).standard_normal((20_000, 2)), axis=0)
        originals = [data_factory.write(f"o{suffix}", wave / 1_000, rate, **KINDS[suffix]).read_bytes()]
    path = data_factory.root / f"mutated{suffix}"
    rng = np.random.default_rng(0)
    refusals = []
    for k in range(1_000):
        path.write_bytes(mutated(originals[k % len(originals)], rng))
        try:
            n_samples = count_samples(path)
            wave = load_audio(path)
            crop = read_crop(path, n_samples // 2, 1_000)
        except AudioError as error:
            refusals.append(str(error))
        else:
            assert len(wave) == n_samples
            assert np.isfinite(wave).all()
            assert np.isfinite(crop).all()
    assert all(refusal.startswith(f"{path}: ") and "\n" not in refusal for refusal in refusals)
    assert refusals
