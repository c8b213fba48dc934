"""Clips of the surest detections, and the command that cuts them."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dawnchorus.audio import decode
from dawnchorus.batch.segments import (
    SegmentSettings,
    choose_detections,
    cut_segments,
    safe_name,
    to_int16,
)
from dawnchorus.cli.segments_command import segments
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.files import read_failures
from dawnchorus.formats import RecordingDetections, open_writers, read_detections
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.predict.window_tables import window_table

COLUMNS = ["filename", "start_s", "end_s", "label", "probability"]


def table(*rows: tuple[str, float, float, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def noise_16_bit(n_samples: int) -> np.ndarray:
    return np.random.default_rng(3).integers(-(1 << 15), 1 << 15, n_samples).astype(np.int16)


@pytest.mark.parametrize(("form", "container"), [("flac", "FLAC"), ("wav", "WAV")])
def test_a_clip_has_the_very_samples_of_a_16_bit_recording(
    data_factory: Any, tmp_path: Path, form: Any, container: str
) -> None:
    wave = noise_16_bit(10 * 22_050)
    data_factory.write("site/night.wav", wave, 22_050, subtype="PCM_16")
    rows = table(("site/night.wav", 2.5, 4.0, "robin", 0.98765), ("site/night.wav", 0.0, 1.5, "wren", 0.25))
    report = cut_segments(rows, data_factory.root, tmp_path / "out", SegmentSettings(format=form))
    assert (report.n_written, report.n_there_already, report.failures) == (2, 0, [])
    clip = tmp_path / "out" / "robin" / f"0.988_site__night_2.50-4.00.{form}"
    assert (tmp_path / "out" / "wren" / f"0.250_site__night_0.00-1.50.{form}").is_file()
    found, sample_rate = soundfile.read(clip, dtype="int16")
    np.testing.assert_array_equal(found, wave[round(2.5 * 22_050) : 4 * 22_050])
    assert sample_rate == 22_050
    info = soundfile.info(clip)
    assert (info.format, info.subtype, info.channels) == (container, "PCM_16", 1)


def test_the_index_lists_every_clip_by_label_and_falling_probability(
    data_factory: Any, tmp_path: Path
) -> None:
    data_factory.tone("a.wav", duration_s=3.0)
    rows = table(("a.wav", 0, 1, "wren", 0.5), ("a.wav", 1, 2, "robin", 0.6), ("a.wav", 2, 3, "robin", 0.7))
    report = cut_segments(rows, data_factory.root, tmp_path / "out", SegmentSettings())
    assert report.index == tmp_path / "out" / "segments.csv"
    index = pd.read_csv(report.index)
    assert index.columns.tolist() == ["file", *COLUMNS]
    assert index["label"].tolist() == ["robin", "robin", "wren"]
    assert index["probability"].tolist() == [0.7, 0.6, 0.5]
    assert index["start_s"].tolist() == [2, 1, 0]
    assert set(index["filename"]) == {"a.wav"}
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.flac")}
    assert set(index["file"]) == written


def test_padding_ends_where_the_recording_does(data_factory: Any, tmp_path: Path) -> None:
    wave = noise_16_bit(5 * 8000)
    data_factory.write("a.wav", wave, 8000, subtype="PCM_16")
    rows = table(
        ("a.wav", 0.5, 1, "first", 0.9), ("a.wav", 2, 3, "middle", 0.9), ("a.wav", 4, 5.5, "last", 0.9)
    )
    cut_segments(rows, data_factory.root, tmp_path, SegmentSettings(padding_s=0.75, format="wav"))
    for label, first, last in (("first", 0, 1.75), ("middle", 1.25, 3.75), ("last", 3.25, 5)):
        (clip,) = (tmp_path / label).iterdir()
        found, _ = soundfile.read(clip, dtype="int16")
        np.testing.assert_array_equal(found, wave[round(first * 8000) : round(last * 8000)])


def test_a_clip_at_another_rate_is_the_same_sound_in_mono(data_factory: Any, tmp_path: Path) -> None:
    def song(sample_rate: int, start_s: float, stop_s: float) -> np.ndarray:
        time_s = np.arange(round(start_s * sample_rate), round(stop_s * sample_rate)) / sample_rate
        return 0.5 * np.sin(2 * np.pi * 440.0 * time_s)

    left = song(44_100, 0, 4)
    data_factory.write("a.flac", np.stack([left, 0.5 * left], axis=1), 44_100)
    rows = table(("a.flac", 1.25, 3.0, "robin", 0.9))
    cut_segments(rows, data_factory.root, tmp_path, SegmentSettings(sample_rate=16_000))
    found, sample_rate = soundfile.read(tmp_path / "robin" / "0.900_a_1.25-3.00.flac")
    assert sample_rate == 16_000
    np.testing.assert_allclose(found, 0.75 * song(16_000, 1.25, 3.0), atol=2e-4)


def test_sound_beyond_full_scale_is_scaled_and_not_clipped(data_factory: Any, tmp_path: Path) -> None:
    wave = np.sin(np.arange(16_000) / 9)
    wave[8000:] *= 2.5
    data_factory.write("loud.wav", wave, 8000, subtype="FLOAT")
    rows = table(("loud.wav", 0, 1, "quiet", 0.9), ("loud.wav", 0, 2, "loud", 0.9))
    cut_segments(rows, data_factory.root, tmp_path, SegmentSettings())
    quiet, _ = soundfile.read(tmp_path / "quiet" / "0.900_loud_0.00-1.00.flac")
    loud, _ = soundfile.read(tmp_path / "loud" / "0.900_loud_0.00-2.00.flac")
    np.testing.assert_allclose(quiet, wave[:8000], atol=1 / (1 << 15))
    np.testing.assert_allclose(loud, wave / np.abs(wave).max(), atol=1 / (1 << 15))


@given(st.lists(st.integers(-(1 << 15), (1 << 15) - 1)), st.floats(1.0, 1e6))
def test_16_bit_numbers_survive_and_louder_sound_keeps_its_shape(numbers: list[int], gain: float) -> None:
    wave = np.array(numbers, np.float32) / np.float32(1 << 15)
    assert to_int16(wave).tolist() == numbers
    louder = to_int16(wave * np.float32(gain))
    assert louder.dtype == np.int16
    scale = max(1.0, gain * np.abs(wave).max(initial=0))
    np.testing.assert_allclose(louder / (1 << 15), gain * wave.astype(float) / scale, atol=1.1 / (1 << 15))


def test_the_surest_of_each_label_are_chosen() -> None:
    rows = table(*(("a.wav", k, k + 1, label, 0.01 * k) for k in range(40) for label in ("robin", "wren")))
    rows = pd.concat([rows, table(("b.wav", 0, 1, "owl", 0.05))])
    chosen = choose_detections(rows, SegmentSettings(per_species=3, min_probability=0.05))
    assert chosen["label"].tolist() == ["owl", *["robin"] * 3, *["wren"] * 3]
    assert chosen["start_s"].tolist() == [0, 39, 38, 37, 39, 38, 37]
    fewer = choose_detections(rows, SegmentSettings(min_probability=0.37))
    assert fewer["start_s"].tolist() == [39, 38, 37] * 2
    assert choose_detections(rows, SegmentSettings(min_probability=0.5)).empty


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.wav", "b.wav"]),
            st.integers(0, 3),
            st.sampled_from(["robin", "wren"]),
            st.sampled_from([0.25, 0.5]),
        ),
        max_size=12,
    ),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
)
def test_the_choice_does_not_depend_on_the_order_of_the_rows(
    drawn: list[tuple[str, int, str, float]], random: Any, per_species: int
) -> None:
    rows = [(name, start, start + 1, label, probability) for name, start, label, probability in drawn]
    expected = []
    for label in ("robin", "wren"):
        of_label = {row for row in rows if row[3] == label}
        expected += sorted(of_label, key=lambda row: (-row[4], row[0], row[1]))[:per_species]
    random.shuffle(rows)
    chosen = choose_detections(table(*rows), SegmentSettings(per_species=per_species))
    assert list(chosen.itertuples(index=False, name=None)) == expected


def test_the_most_doubtful_lie_around_one_half() -> None:
    rows = table(*(("a.wav", k, k + 1, "robin", k / 20) for k in range(21)))
    chosen = choose_detections(rows, SegmentSettings(per_species=3, order="doubtful"))
    assert chosen["probability"].tolist() == [0.55, 0.5, 0.45]


def test_random_detections_depend_on_the_seed_alone() -> None:
    rows = table(*(("a.wav", k, k + 1, "robin", k / 100) for k in range(100)))
    chosen = [
        choose_detections(rows_now, SegmentSettings(per_species=20, order="random", seed=seed))
        for rows_now, seed in ((rows, 1), (rows[::-1], 1), (rows, 2))
    ]
    pd.testing.assert_frame_equal(chosen[0], chosen[1])
    assert set(chosen[0]["start_s"]) != set(chosen[2]["start_s"])
    assert chosen[0]["probability"].is_monotonic_decreasing
    assert np.histogram(chosen[0]["probability"], 4, (0, 1))[0].min() >= 2
    # More detections leave the others in their order.
    more = choose_detections(
        pd.concat([rows, table(("b.wav", 0, 1, "robin", 0.5))]),
        SegmentSettings(per_species=20, order="random", seed=1),
    )
    assert len(set(more["start_s"]) & set(chosen[0]["start_s"])) >= 19


def test_strata_take_as_many_from_each_tenth_of_the_scale_as_there_are() -> None:
    common = [("a.wav", k, k + 1, "robin", 0.95 + k / 10_000) for k in range(100)]
    rare = [
        ("b.wav", k, k + 1, "robin", probability) for k, probability in enumerate((0.31, 0.33, 0.35, 1.0))
    ]
    chosen = choose_detections(table(*common, *rare), SegmentSettings(per_species=8, order="strata"))
    counts = np.histogram(chosen["probability"], 10, (0, 1))[0]
    assert counts.tolist() == [0, 0, 0, 3, 0, 0, 0, 0, 0, 5]
    again = choose_detections(table(*common, *rare)[::-1], SegmentSettings(per_species=8, order="strata"))
    pd.testing.assert_frame_equal(chosen, again)
    other = choose_detections(table(*common, *rare), SegmentSettings(per_species=8, order="strata", seed=3))
    assert set(other["start_s"]) != set(chosen["start_s"])


@pytest.mark.parametrize("has_windows", [True, False])
def test_a_long_detection_becomes_the_stretch_around_its_surest_window(
    data_factory: Any, tmp_path: Path, has_windows: bool
) -> None:
    wave = noise_16_bit(40 * 8000)
    data_factory.write("a.wav", wave, 8000, subtype="PCM_16")
    starts = np.arange(0, 40, 5) * 8000
    scores = np.full((len(starts), 2), 0.6, np.float32)
    scores[6, 1], scores[0, 0] = 0.9, 0.9
    with window_table(tmp_path / "windows.parquet", ["wren", "robin"]) as windows:
        windows.add("a.wav", WindowPredictions(starts, starts + 5 * 8000, scores, 8000))
    rows = table(("a.wav", 5, 40, "robin", 0.9), ("a.wav", 0, 40, "wren", 0.9), ("a.wav", 0, 7, "owl", 0.9))
    report = cut_segments(
        rows,
        data_factory.root,
        tmp_path / "out",
        SegmentSettings(longest_s=8.0, padding_s=0.5, format="wav"),
        windows=tmp_path / "windows.parquet" if has_windows else None,
    )
    index = pd.read_csv(report.index).set_index("label")
    stretches = {label: (row["start_s"], row["end_s"]) for label, row in index.iterrows()}
    middles = (
        {"robin": (28.5, 36.5), "wren": (0, 8)} if has_windows else {"robin": (18.5, 26.5), "wren": (16, 24)}
    )
    assert stretches == {**middles, "owl": (0, 7)}
    found, _ = soundfile.read(tmp_path / "out" / index.loc["robin", "file"], dtype="int16")
    begin, end = middles["robin"]
    np.testing.assert_array_equal(found, wave[round((begin - 0.5) * 8000) : round((end + 0.5) * 8000)])
    with pytest.raises(DataError, match="holds clips of another longest length; choose another --out"):
        cut_segments(rows, data_factory.root, tmp_path / "out", SegmentSettings(padding_s=0.5))


def test_a_clip_of_hours_takes_the_memory_of_a_few_blocks(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 8000, 1, subtype="FLOAT") as file:
        for level in (0.1, 0.1, 0.1, 2.0):
            file.write(np.full(1 << 21, level, np.float32))
    n_samples = 4 << 21
    tracemalloc.start()
    report = cut_segments(
        table(("long.wav", 0, n_samples / 8000, "robin", 0.9)), tmp_path, tmp_path / "out", SegmentSettings()
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.failures == []
    assert peak < n_samples  # bytes: a quarter of the samples in float32
    (clip,) = (tmp_path / "out" / "robin").iterdir()
    assert soundfile.info(clip).frames == n_samples
    assert soundfile.read(clip, frames=1, dtype="int16")[0] == round(0.05 * (1 << 15))
    assert soundfile.read(clip, start=n_samples - 1, dtype="int16")[0] == (1 << 15) - 1


def test_clips_of_channels_that_cancel_out_are_noted_and_a_channel_is_cut(
    data_factory: Any, tmp_path: Path, command: typer.Typer
) -> None:
    wave = noise_16_bit(2 * 8000) // 2
    data_factory.write("a.wav", np.stack([wave, -wave], axis=1), 8000, subtype="PCM_16")
    rows = table(("a.wav", 0, 1, "robin", 0.5), ("a.wav", 1, 2, "robin", 0.6))
    rows.to_csv(tmp_path / "detections.csv", index=False)
    arguments = [str(tmp_path), str(data_factory.root), "--format", "wav", "--out"]
    told = CliRunner().invoke(command, [*arguments, str(tmp_path / "mean")])
    assert told.exit_code == 0
    notes = tmp_path / "mean" / "notes.csv"
    assert f"1 recording sounds odd; what is odd is in {notes}" in told.stderr
    assert [note.path.name for note in read_failures(notes.parent, name=notes.name)] == ["a.wav"]
    result = CliRunner().invoke(command, [*arguments, str(tmp_path / "two"), "--channel", "2"])
    assert result.stderr.count("odd") == 0
    clip = tmp_path / "two" / "robin" / "0.600_a_1.00-2.00.wav"
    np.testing.assert_array_equal(soundfile.read(clip, dtype="int16")[0], -wave[8000:])
    refused = CliRunner().invoke(command, [*arguments, str(tmp_path / "two"), "--channel", "1"])
    assert "holds clips of another channel; choose another --out" in str(refused.exception)


def test_a_full_disk_is_an_error_and_leaves_no_clip(
    data_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_factory.write("a.wav", noise_16_bit(80_000), 8000, subtype="PCM_16")

    class FullDisk(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 50_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    real = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode="r", **more: FullDisk(path, "w") if mode == "wb" else real(path, mode, **more),
    )
    with pytest.raises(OSError, match="No space left"):
        cut_segments(
            table(("a.wav", 0, 10, "robin", 0.9)), data_factory.root, tmp_path / "out", SegmentSettings()
        )
    assert list((tmp_path / "out" / "robin").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
@pytest.mark.parametrize("form", ["csv", "raven", "audacity"])
def test_recordings_of_names_that_are_not_utf_8_are_cut(data_factory: Any, tmp_path: Path, form: str) -> None:
    name = os.fsdecode(b"site_\xe9/owl\xff.wav")
    data_factory.tone("a.wav", duration_s=20.0)
    (data_factory.root / name).parent.mkdir()
    (data_factory.root / "a.wav").rename(data_factory.root / name)
    rows = table(("", 0.0, 20.0, "robin", 0.9))
    writers = open_writers([form], tmp_path, labels=["robin"], high_hz=4000)
    with writers:
        writers.add(RecordingDetections(name, data_factory.root / name, 20.0, None, rows))
    windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9]]), 32_000)
    with window_table(tmp_path / "windows.parquet", ["robin"]) as written:
        written.add(name, windows)
    found = read_detections(writers.paths[form])
    assert found["filename"].tolist() == [r"site_\udce9/owl\udcff.wav"]
    report = cut_segments(
        found,
        data_factory.root,
        tmp_path / "out",
        SegmentSettings(longest_s=4.0),
        windows=tmp_path / "windows.parquet",
    )
    assert report.failures == []
    index = pd.read_csv(report.index)
    assert index["filename"].tolist() == [r"site_\udce9/owl\udcff.wav"]
    assert index["start_s"].tolist() == [0.5]
    assert (tmp_path / "out" / index["file"][0]).is_file()


def test_clips_that_are_there_are_left_and_a_broken_off_run_goes_on(
    data_factory: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    data_factory.tone("a.wav", duration_s=3.0)
    rows = table(("a.wav", 0, 1, "robin", 0.5), ("a.wav", 1, 2, "robin", 0.6))
    first = cut_segments(rows.iloc[:1], data_factory.root, out, SegmentSettings())
    assert (first.n_written, first.n_there_already) == (1, 0)
    clip = out / "robin" / "0.500_a_0.00-1.00.flac"
    clip.write_bytes(b"mine")
    second = cut_segments(rows, data_factory.root, out, SegmentSettings())
    assert (second.n_written, second.n_there_already) == (1, 1)
    assert clip.read_bytes() == b"mine"
    assert len(pd.read_csv(second.index)) == 2
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "0.500_a_0.00-1.00.flac",
        "0.600_a_1.00-2.00.flac",
        "segments.csv",
        "segments.json",
    ]
    with pytest.raises(DataError, match="holds clips of another padding or sample rate; choose another"):
        cut_segments(rows, data_factory.root, out, SegmentSettings(padding_s=1.0))


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000])
def test_damaged_settings_of_clips_are_told_and_written_anew(
    data_factory: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    data_factory.tone("a.wav", duration_s=3.0)
    rows, settings = table(("a.wav", 0, 1, "robin", 0.5)), tmp_path / "segments.json"
    settings.write_text(text)
    assert cut_segments(rows, data_factory.root, tmp_path, SegmentSettings()).n_written == 1
    assert "segments.json" in caplog.text
    assert "it is ignored" in caplog.text
    assert json.loads(settings.read_text())["padding_s"] == 0


def test_recordings_that_fail_are_listed_once_and_the_others_go_on(data_factory: Any, tmp_path: Path) -> None:
    data_factory.tone("good.wav", duration_s=3.0)
    damaged = data_factory.root / "damaged.flac"
    damaged.write_bytes(b"fLaC no sound at all")
    names = ("gone.wav", "damaged.flac", "good.wav")
    rows = table(*((name, start, start + 1, "robin", 0.5) for name in names for start in (0, 1)))
    rows = pd.concat([rows, table(("good.wav", 3, 4, "robin", 0.9))])
    report = cut_segments(rows, data_factory.root, tmp_path, SegmentSettings())
    reasons = {failure.path: failure.reason for failure in report.failures}
    assert sorted(reasons) == sorted(data_factory.root / name for name in names)
    assert "No such file" in reasons[data_factory.root / "gone.wav"]
    assert "cannot be decoded" in reasons[damaged]
    assert "no sound from 3 s on" in reasons[data_factory.root / "good.wav"]
    assert "it lasts 3 s" in reasons[data_factory.root / "good.wav"]
    assert len(report.failures) == 3
    assert report.n_written == 2
    assert pd.read_csv(report.index)["filename"].tolist() == ["good.wav"] * 2


def test_a_rate_that_flac_does_not_know_is_a_failure_that_names_wav(
    data_factory: Any, tmp_path: Path
) -> None:
    data_factory.tone("a.wav", duration_s=1.0)
    rows = table(("a.wav", 0, 0.5, "robin", 0.5))
    for sample_rate in (700_000, 96_001):
        settings = SegmentSettings(sample_rate=sample_rate)
        report = cut_segments(rows, data_factory.root, tmp_path / str(sample_rate), settings)
        assert [failure.reason for failure in report.failures] == [
            f"{data_factory.root / 'a.wav'}: cannot be written as flac at {sample_rate} Hz; choose wav, or "
            "another rate"
        ]
    settings = SegmentSettings(sample_rate=96_001, format="wav")
    assert cut_segments(rows, data_factory.root, tmp_path, settings).n_written == 1
    assert [path.name for path in (tmp_path / "robin").iterdir()] == ["0.500_a_0.00-0.50.wav"]


def test_only_the_clip_of_a_recording_of_gigabytes_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_bytes = (
        64 << 30
    )  # at 32 kHz more than 12 days, which a whole pass could not decode within the time limit
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        file.write(b"RF64" + struct.pack("<I", 2**32 - 1) + b"WAVE")
        file.write(b"ds64" + struct.pack("<IQQQI", 28, n_bytes + 72, n_bytes, n_bytes // 2, 0))
        file.write(b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 32_000, 64_000, 2, 16))
        file.write(b"data" + struct.pack("<I", 2**32 - 1))
        file.seek(n_bytes - 64_000, 1)  # a hole: the disk holds none of it
        file.write(np.arange(-16_000, 16_000, dtype="<i2").tobytes())
    n_decoded = []
    real = decode.mono_blocks
    monkeypatch.setattr(decode, "mono_blocks", lambda *of, **how: n_decoded.append(of[2]) or real(*of, **how))
    end_s = n_bytes / 64_000
    report = cut_segments(
        table(("long.wav", end_s - 1, end_s, "robin", 1.0)), tmp_path, tmp_path / "out", SegmentSettings()
    )
    assert report.failures == []
    assert n_decoded == [32_000]
    (clip,) = (tmp_path / "out" / "robin").iterdir()
    np.testing.assert_array_equal(soundfile.read(clip, dtype="int16")[0], np.arange(-16_000, 16_000))


def test_recordings_of_like_names_never_share_a_clip(data_factory: Any, tmp_path: Path) -> None:
    names = ["x/a.wav", "x/a.flac", "x__a.wav", "X/A.ogg", "x/b.wav"]
    frequencies_hz = [500, 1000, 1500, 2000, 2500]
    for name, frequency_hz in zip(names, frequencies_hz, strict=True):
        data_factory.tone(name, frequency_hz=frequency_hz)
    rows = table(*((name, 0, 1, "robin", 0.5) for name in names))
    report = cut_segments(rows, data_factory.root, tmp_path, SegmentSettings())
    assert report.n_written == 5
    index = pd.read_csv(report.index).set_index("filename")["file"]
    assert index["x/b.wav"] == "robin/0.500_x__b_0.00-1.00.flac"
    assert index.str.casefold().is_unique
    for name, frequency_hz in zip(names, frequencies_hz, strict=True):
        wave, sample_rate = soundfile.read(tmp_path / index[name])
        assert np.abs(np.fft.rfft(wave)).argmax() * sample_rate / len(wave) == frequency_hz


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Turdus merula", "Turdus merula"),
        ("blackbird/song", "blackbird_song"),
        ("..\\..\\etc", "___.._etc"),
        ("..", "__"),
        (".hidden", "_hidden"),
        ("robin?", "robin_"),
        ('<a>:"b"|*\n', "_a___b____"),
        ("robin. ", "robin__"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console", "console"),
        ("", "_"),
        ("Bläßhuhn", "Bläßhuhn"),
        ("a\u0308", "\u00e4"),
    ],
)
def test_labels_become_names_that_every_file_system_takes(label: str, name: str) -> None:
    assert safe_name(label) == name


@given(st.text(max_size=400))
def test_a_safe_name_is_one_part_of_a_path_and_stays_as_it_is(text: str) -> None:
    name = safe_name(text)
    assert Path("folder", name).parts == ("folder", name)
    assert name not in (".", "..")
    assert len(name.encode("utf-8", "surrogatepass")) <= 200
    assert not set(name) & set('<>:"/\\|?*\0\n')
    assert safe_name(name) == name


def test_long_names_are_cut_and_stay_apart(data_factory: Any, tmp_path: Path) -> None:
    folders = ["f" * 100 + "/" + "g" * 150 + f"/{k}.wav" for k in range(2)]
    for name in folders:
        data_factory.tone(name)
    rows = table(*((name, 0, 1, "ä" * 300, 0.5) for name in folders))
    report = cut_segments(rows, data_factory.root, tmp_path / "out", SegmentSettings())
    assert (report.n_written, report.failures) == (2, [])


def test_a_label_leads_nowhere_out_of_the_folder(data_factory: Any, tmp_path: Path) -> None:
    data_factory.tone("a.wav")
    out = tmp_path / "sub" / "out"
    cut_segments(
        table(("a.wav", 0, 1, "../../robin", 0.5)), data_factory.root, out, SegmentSettings(format="wav")
    )
    assert [path.relative_to(out).as_posix() for path in tmp_path.rglob("0.500*")] == [
        "___.._robin/0.500_a_0.00-1.00.wav"
    ]


def test_no_detections_make_an_empty_index(tmp_path: Path) -> None:
    report = cut_segments(table(), tmp_path, tmp_path / "out", SegmentSettings())
    assert report[:3] == (0, 0, [])
    assert pd.read_csv(report.index).columns.tolist() == ["file", *COLUMNS]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_species": 0}, "per_species=0 must be 1 or more"),
        ({"min_probability": 1.5}, r"min_probability=1.5 must lie in 0 … 1"),
        ({"min_probability": float("nan")}, r"min_probability=nan must lie in 0 … 1"),
        ({"padding_s": -1}, "padding_s=-1 must be 0 s or more"),
        ({"padding_s": float("inf")}, "padding_s=inf must be 0 s or more"),
        ({"format": "mp3"}, "format='mp3' is not known; choose one of flac, wav"),
        ({"sample_rate": 0}, "sample_rate=0 must be 1 Hz or more"),
        ({"order": "best"}, "order='best' is not known; choose one of surest, doubtful, random, strata"),
        ({"seed": -1}, "seed=-1 must be 0 or more"),
        ({"longest_s": 0}, "longest_s=0 must be above 0 s"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SegmentSettings(**settings)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a.wav", -1, 1, "robin", 0.5), "from -1 s to 1 s of probability 0.5 is none"),
        (("a.wav", 1, 1, "robin", 0.5), "it must begin at 0 s or later, end after that"),
        (("a.wav", 0, float("inf"), "robin", 0.5), "a.wav: a detection from 0"),
        (("a.wav", 0, 1, "robin", 1.5), "of probability 1.5"),
        (("a.wav", 0, 1, "robin", float("nan")), "of probability nan"),
        (("../a.wav", 0, 1, "robin", 0.5), r"name the recording '\.\./a\.wav'; write its path below"),
        (("/a.wav", 0, 1, "robin", 0.5), "name the recording '/a.wav'"),
        (("", 0, 1, "robin", 0.5), "name the recording ''"),
    ],
)
def test_rows_that_are_no_detections_are_refused(
    tmp_path: Path, row: tuple[str, float, float, str, float], message: str
) -> None:
    rows = table(("b.wav", 0, 1, "robin", 0.5), row)
    with pytest.raises(DataError, match=message):
        cut_segments(rows, tmp_path, tmp_path / "out", SegmentSettings())
    assert not (tmp_path / "out").exists()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the detections have no column end_s, label; filename, start_s"):
        cut_segments(table().drop(columns=["label", "end_s"]), tmp_path, tmp_path / "out", SegmentSettings())


def test_a_table_of_detections_keeps_labels_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "detections.csv"
    path.write_text(
        "filename,start_s,end_s,label,probability,more\n007.wav,0,5.0,NA,0.5,x\n", encoding="utf-8"
    )
    expected = table(("007.wav", 0.0, 5.0, "NA", 0.5))
    for source in (path, tmp_path):
        pd.testing.assert_frame_equal(read_detections(source), expected, check_dtype=False)
    path.write_text("filename,start_s,end_s,label,probability\na.wav,0,five,robin,0.5\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"detections\.csv: end_s is 'five' in a row; write a number"):
        read_detections(path)


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(segments)
    return app


def test_the_command_cuts_what_predict_has_written(
    data_factory: Any, tmp_path: Path, command: typer.Typer
) -> None:
    data_factory.tone("a.wav", duration_s=4.0)
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    rows = table(*(("a.wav", k, k + 1, "robin", 0.5 + k / 10) for k in range(4)))
    rows.to_csv(predictions / "detections.csv", index=False)
    out = tmp_path / "clips"
    options = ["--per-species", 3, "--min-probability", 0.65, "--padding", 0.5, "--format", "wav"]
    arguments = [predictions, data_factory.root, "--out", out, *options, "--sample-rate", 16_000]
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert f"2 clips written, 0 there already: {out / 'segments.csv'}" in result.stdout
    clips = sorted((out / "robin").iterdir())
    assert [clip.name for clip in clips] == ["0.700_a_2.00-3.00.wav", "0.800_a_3.00-4.00.wav"]
    assert [soundfile.info(clip).frames for clip in clips] == [32_000, 24_000]
    again = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert "0 clips written, 2 there already" in again.stdout


def test_the_command_takes_one_recording_and_its_table(
    data_factory: Any, tmp_path: Path, command: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = data_factory.tone("a.wav", duration_s=2.0)
    table(("a.wav", 0, 1, "robin", 0.5)).to_csv(tmp_path / "mine.csv", index=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["mine.csv", str(recording)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "predictions" / "segments" / "robin" / "0.500_a_0.00-1.00.flac").is_file()


def test_the_command_lists_what_failed_and_says_so_by_its_exit_code(
    data_factory: Any, tmp_path: Path, command: typer.Typer
) -> None:
    data_factory.tone("a.wav", duration_s=2.0)
    rows = table(("a.wav", 0, 1, "robin", 0.5), ("gone.wav", 0, 1, "robin", 0.5))
    rows.to_csv(tmp_path / "detections.csv", index=False)
    out = tmp_path / "clips"
    arguments = [str(tmp_path), str(data_factory.root), "--out", str(out)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "1 clips written" in result.stdout
    assert f"1 recording failed; the reasons are in {out / 'failures.csv'}" in result.stderr
    assert [failure.path for failure in read_failures(out)] == [data_factory.root / "gone.wav"]
    data_factory.tone("gone.wav", duration_s=2.0)
    assert CliRunner().invoke(command, arguments).exit_code == 0
    assert read_failures(out) == []


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path: Path, command: typer.Typer) -> None:
    table().to_csv(tmp_path / "detections.csv", index=False)
    result = CliRunner().invoke(command, [str(tmp_path), str(tmp_path / "gone")])
    assert isinstance(result.exception, DataError)
    assert "gone: no such folder; name the folder of the recordings" in str(result.exception)
    result = CliRunner().invoke(command, [str(tmp_path / "nothing.csv"), str(tmp_path)])
    assert "does not exist" in str(result.exception)
