"""Sound that a header does not claim: all of it is read, or the file is listed."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dawnchorus.audio.decode import load_audio, read_crop, read_info
from dawnchorus.errors import AudioError

RATE = 16_000


@pytest.fixture
def sound() -> np.ndarray:
    """Six seconds that rise in pitch and loudness, shape (96_000,)."""
    time_s = np.arange(6 * RATE) / RATE
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(time_s))
    return (time_s / 8 * np.sin(2 * np.pi * (300 + 100 * time_s) * time_s) + noise).astype(np.float32)


def claim(file: Path, n_bytes: int, *, riff: int | None = None) -> None:
    """Let a WAV header say that it has so many bytes of sound, and RIFF as many as belong to them."""
    content = bytearray(file.read_bytes())
    data = content.index(b"data")
    struct.pack_into("<I", content, data + 4, n_bytes)
    struct.pack_into("<I", content, 4, data + n_bytes if riff is None else riff)
    file.write_bytes(content)


@pytest.mark.parametrize(
    "subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
@pytest.mark.parametrize(("kind", "n_channels"), [("WAV", 1), ("WAV", 2), ("WAVEX", 3)])
def test_all_is_read_of_a_wav_whose_header_is_of_an_earlier_flush(
    tmp_path: Path, sound: np.ndarray, subtype: str, kind: str, n_channels: int
) -> None:
    file = tmp_path / "night.wav"
    channels = np.stack([sound] + [0.5 * sound] * (n_channels - 1), axis=1)
    soundfile.write(file, channels, RATE, subtype=subtype, format=kind)
    expected = load_audio(file, sample_rate=RATE)
    whole = read_info(file)
    n_bytes = file.stat().st_size - file.read_bytes().index(b"data") - 8
    claim(file, n_bytes // 3)
    assert soundfile.info(file).frames < 0.4 * whole.n_frames, "the header hides it from libsndfile"
    assert read_info(file) == whole
    np.testing.assert_array_equal(load_audio(file, sample_rate=RATE), expected)
    np.testing.assert_array_equal(read_crop(file, 70_000, 9_000, sample_rate=RATE), expected[70_000:79_000])


def test_a_size_that_wrapped_at_4_gib_is_unwrapped(tmp_path: Path, sound: np.ndarray) -> None:
    file = tmp_path / "long.wav"
    soundfile.write(file, sound, RATE, subtype="PCM_16")
    with file.open("r+b") as opened:  # a file with a hole: nothing of it lies on the disk
        for position in (1 << 31, (1 << 32) + file.stat().st_size - 4096):
            opened.seek(position)
            opened.write(bytes(range(256)) * 16)
    n_bytes = file.stat().st_size - 44
    with file.open("r+b") as opened:
        opened.seek(4)
        opened.write(struct.pack("<I", (n_bytes + 36) % (1 << 32)))
        opened.seek(40)
        opened.write(struct.pack("<I", n_bytes % (1 << 32)))
    assert read_info(file).n_frames == n_bytes // 2
    assert len(read_crop(file, n_bytes // 2 - RATE, RATE, sample_rate=RATE)) == RATE


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 8_000) + b"INFO" + bytes(range(1, 251)) * 31 + bytes(246),
        b"guan" + struct.pack("<I", 5_001) + b"x" * 5_002,  # an odd size is filled up
        bytes(50_000),  # room that a recorder reserved
        b"TAG" + b"x" * 125,
    ],
)
def test_what_lies_behind_the_sound_is_no_sound(tmp_path: Path, sound: np.ndarray, behind: bytes) -> None:
    file = tmp_path / "tagged.wav"
    soundfile.write(file, sound, RATE, subtype="PCM_16")
    expected = load_audio(file, sample_rate=RATE)
    file.write_bytes(file.read_bytes() + behind)
    np.testing.assert_array_equal(load_audio(file, sample_rate=RATE), expected)


def test_bytes_that_nothing_explains_are_told(tmp_path: Path, sound: np.ndarray) -> None:
    file = tmp_path / "odd.wav"
    soundfile.write(file, sound, RATE, subtype="PCM_16")
    claim(file, 64_000, riff=file.stat().st_size - 8)
    message = r"odd.wav: its header claims 64000 bytes of sound, and 128000 bytes lie behind them that are"
    with pytest.raises(AudioError, match=message):
        read_info(file)


def test_a_bw64_file_is_read(tmp_path: Path, sound: np.ndarray) -> None:
    file = tmp_path / "broadcast.wav"
    soundfile.write(file, sound, RATE, subtype="PCM_16", format="RF64")
    expected = load_audio(file, sample_rate=RATE)
    file.write_bytes(b"BW64" + file.read_bytes()[4:])
    np.testing.assert_array_equal(load_audio(file, sample_rate=RATE), expected)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("n_links", [2, 3])
def test_all_streams_of_a_chained_ogg_file_are_read(
    tmp_path: Path, sound: np.ndarray, subtype: str, n_links: int
) -> None:
    links = []
    for k in range(n_links):
        soundfile.write(tmp_path / f"{k}.ogg", sound[k * RATE :], RATE, format="OGG", subtype=subtype)
        links.append(load_audio(tmp_path / f"{k}.ogg", sample_rate=RATE))
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(b"".join((tmp_path / f"{k}.ogg").read_bytes() for k in range(n_links)))
    expected = np.concatenate(links)
    assert read_info(chained).n_frames == len(expected)
    np.testing.assert_allclose(load_audio(chained, sample_rate=RATE), expected, atol=1e-6)
    crop = read_crop(chained, 5 * RATE, 3 * RATE, sample_rate=RATE)
    np.testing.assert_allclose(crop, expected[5 * RATE : 8 * RATE], atol=1e-6)


def test_streams_of_two_rates_are_told(tmp_path: Path, sound: np.ndarray) -> None:
    for rate in (16_000, 22_050):
        soundfile.write(tmp_path / f"{rate}.ogg", sound, rate)
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(b"".join((tmp_path / f"{rate}.ogg").read_bytes() for rate in (16_000, 22_050)))
    with pytest.raises(AudioError, match=r"chained.ogg: its streams one after the other differ in rate"):
        read_info(chained)


def write_mp3(file: Path, sound: np.ndarray, *, is_tagged: bool, **options: Any) -> None:
    soundfile.write(file, sound, RATE, format="MP3", **options)
    if not is_tagged:
        content = file.read_bytes()
        tag = max(content[:200].find(b"Xing"), content[:200].find(b"Info"))
        assert tag > 0
        file.write_bytes(content[content.index(b"\xff", tag) :])  # without its first frame, which is the tag


def by_ffmpeg(file: Path) -> np.ndarray:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    program = shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-v", "error", "-i", str(file), "-f", "f32le", "-ac", "1", "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)


def test_an_mp3_of_variable_rate_without_a_tag_is_read_to_its_end(tmp_path: Path, sound: np.ndarray) -> None:
    file = tmp_path / "untagged.mp3"
    loud_then_soft = np.concatenate([sound, 1e-4 * np.tile(sound, 6)])
    write_mp3(file, loud_then_soft, is_tagged=False, bitrate_mode="VARIABLE", compression_level=0.3)
    assert soundfile.info(file).frames < 0.7 * len(loud_then_soft), "libmpg123 guesses too little"
    found, expected = load_audio(file, sample_rate=RATE), by_ffmpeg(file)
    assert abs(len(found) - len(loud_then_soft)) < 3 * 1152
    # Decoders leave out different numbers of samples at the beginning.
    shifts = [np.abs(found[:RATE] - expected[shift:][:RATE]).max() for shift in range(3000)]
    assert min(shifts) < 1e-3
    shift = int(np.argmin(shifts))
    n_both = min(len(found), len(expected) - shift)
    np.testing.assert_allclose(found[:n_both], expected[shift:][:n_both], atol=1e-3)
    crop = read_crop(file, 20 * RATE, RATE, sample_rate=RATE)
    np.testing.assert_allclose(crop, found[20 * RATE : 21 * RATE], atol=1e-5)


@pytest.mark.parametrize("between", [b"", b"TAG" + b"x" * 125, b"ID3\x04\0\0\0\0\0\x0a" + b"y" * 10])
def test_mp3_files_put_together_are_read_as_both(tmp_path: Path, sound: np.ndarray, between: bytes) -> None:
    first, second = tmp_path / "1.mp3", tmp_path / "2.mp3"
    write_mp3(first, sound, is_tagged=True)
    write_mp3(second, sound[RATE:], is_tagged=True)
    both = tmp_path / "both.mp3"
    both.write_bytes(first.read_bytes() + between + second.read_bytes())
    found = load_audio(both, sample_rate=RATE)
    assert abs(len(found) - 11 * RATE) < 6 * 576
    # The second begins after the first and what its encoder added.
    tail = load_audio(second, sample_rate=RATE)[RATE : 2 * RATE]
    around = found[7 * RATE :]
    shifts = [np.abs(around[shift : shift + RATE] - tail).max() for shift in range(5 * 1152)]
    assert min(shifts) < 1e-3


def test_a_tag_that_counts_all_is_left_alone(tmp_path: Path, sound: np.ndarray) -> None:
    for mode in ("VARIABLE", "CONSTANT"):
        file = tmp_path / f"{mode}.mp3"
        write_mp3(file, sound, is_tagged=True, bitrate_mode=mode)
        assert read_info(file).n_frames == soundfile.info(file).frames


@pytest.mark.parametrize("rate", [1, 3, 100, 999])
def test_an_absurd_rate_is_told_before_anything_is_resampled(tmp_path: Path, rate: int) -> None:
    file = tmp_path / "slow.wav"
    soundfile.write(file, np.zeros(200_000), rate, subtype="PCM_16")
    with pytest.raises(AudioError, match=f"sample rate of {rate} Hz, and 1,000 Hz are the least"):
        load_audio(file)
