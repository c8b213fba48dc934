"""Many recordings → tables: against a plain computation, killed at any moment, and begun again."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
from guano import GuanoFile

from dawnchorus.audio.decode import load_audio
from dawnchorus.batch import bulk as batch_bulk
from dawnchorus.batch import journaled
from dawnchorus.batch.bulk import BulkPredictions, BulkSettings, predict_bulk
from dawnchorus.batch.earlier_tables import EarlierTables
from dawnchorus.batch.journal import Journal
from dawnchorus.batch.journal import version_of as journal_version_of
from dawnchorus.batch.segments import SegmentSettings, cut_segments
from dawnchorus.cli import main
from dawnchorus.cli.prediction import print_predictions
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.files import read_failures
from dawnchorus.files.checked_json import write_checked
from dawnchorus.formats import FORMATS, FolderWriter, TableWriter, read_detections
from dawnchorus.formats.parquet import ParquetWriter
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFile, find_recordings

RATE = 16_000
LABELS = ["wren", "robin", "owl"]
LENGTHS_S = {
    "a_20240501_033000.wav": 7.3,
    "deep/er/b.flac": 4.0,
    "deep/c.ogg": 0.5,
    "d.wav": 12.2,
    "e.flac": 2.0,
    "f.wav": 5.1,
}


def settings_of(threshold: float = 0.5, **changes: Any) -> BulkSettings:
    formats = changes.pop("formats", tuple(FORMATS))
    overlap_s = changes.pop("overlap_s", 0.0)
    postprocess = changes.pop("postprocess", PostprocessSettings())
    with_embeddings = changes.pop("with_embeddings", False)
    with_windows = changes.pop("with_windows", True)
    detection = DetectionSettings(np.full(3, threshold, np.float32), **changes)
    return BulkSettings(
        detection,
        overlap_s=overlap_s,
        postprocess=postprocess,
        formats=formats,
        with_windows=with_windows,
        with_embeddings=with_embeddings,
    )


@pytest.fixture
def folder(data_factory: Any) -> Path:
    """Six recordings."""
    for number, (name, length_s) in enumerate(LENGTHS_S.items()):
        data_factory.tone(name, length_s, 700 + 90 * number, sample_rate=RATE)
    return Path(data_factory.root)


class Bulk:
    """Predicts a folder with a fresh stub each time."""

    def __init__(self, folder: Path, make_engine: Any) -> None:
        self.folder, self.make_engine = folder, make_engine
        self.n_clips = 0

    def __call__(
        self, out: Path, settings: BulkSettings | None = None, *, name: str = "stub", **options: bool
    ) -> BulkPredictions:
        engine = self.make_engine(name)
        found = find_recordings([str(self.folder)])
        try:
            return predict_bulk(engine, found, out, settings or settings_of(), **options)
        finally:
            self.n_clips = engine.n_clips


@pytest.fixture
def bulk(folder: Path, card: Any, stub: Any) -> Bulk:
    return Bulk(folder, lambda name: stub(card(), 4, name))


def test_tables_tell_device_place_and_site(bulk: Bulk, tmp_path: Path) -> None:
    path = bulk.folder / "deep" / "night.wav"
    soundfile.write(path, np.zeros(RATE), RATE)
    guano = GuanoFile(str(path))
    guano["Make"], guano["Loc Position"] = "Titley", (1.5, 2.5)
    guano.write(make_backup=False)
    bulk(tmp_path / "out", settings_of(0.0, formats=("csv",)))
    table = pd.read_csv(tmp_path / "out" / "detections.csv").set_index("filename")
    row = table.loc["deep/night.wav"].iloc[0]
    assert row[["site", "latitude", "longitude", "device"]].tolist() == ["deep", 1.5, 2.5, "Titley"]
    assert row["threshold"] == 0.0
    assert table.loc["d.wav", ["site", "latitude", "device"]].isna().all(axis=None)


def tables_in(out: Path) -> dict[str, str]:
    """Return a digest of every file below a folder but the journal's."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] != "journal"
    }


def entries_in(out: Path) -> dict[str, int]:
    """Return when each entry of the journal was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("journal/??/[!.]*.npz")}


def plain_windows(path: Path) -> list[tuple[float, float, list[float]]]:
    """Return start, end and what the stub says of each window of 2 s, in float32."""
    wave = load_audio(path, sample_rate=RATE)
    found = []
    for start in range(0, max(len(wave) - 1, 1), 2 * RATE):
        clip = wave[start : start + 2 * RATE]
        stop = start + len(clip)
        clip = np.pad(clip, (2 * RATE - len(clip), 0))
        clip = clip / np.abs(clip).max()
        said = [np.abs(clip).mean(), abs(clip[0]), abs(clip[RATE])]
        found.append((start / RATE, stop / RATE, [float(value) for value in said]))
    return found


# Tables -------------------------------------------------------------------------------------------


def test_tables_are_those_of_a_plain_computation(bulk: Bulk, tmp_path: Path) -> None:
    result = bulk(tmp_path / "out", settings_of(0.5))
    windows, detections = [], []
    for name in sorted(LENGTHS_S):
        for start_s, end_s, said in plain_windows(bulk.folder / name):
            windows.append((name, start_s, end_s, *said))
            ranked = sorted(zip(said, LABELS, strict=True), key=lambda pair: -pair[0])
            detections += [(name, start_s, end_s, label, p) for p, label in ranked if p >= 0.5]
    table = pd.read_parquet(result.paths["windows"])
    assert list(table.columns) == ["filename", "start_s", "end_s", *LABELS]
    expected = pd.DataFrame(windows, columns=table.columns)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, atol=1e-6)
    csv = pd.read_csv(result.paths["csv"])
    expected = pd.DataFrame(detections, columns=["filename", "start_s", "end_s", "label", "probability"])
    pd.testing.assert_frame_equal(csv[list(expected.columns)], expected, check_dtype=False, atol=1e-4)
    assert (len(csv), result.n_recordings, result.n_new) == (result.n_detections, 6, 6)
    assert len(csv) > 10
    assert result.duration_s == pytest.approx(sum(LENGTHS_S.values()))
    assert result.failures == []
    times = csv.loc[csv["filename"] == "a_20240501_033000.wav", "time"]
    assert times.iloc[0] == "2024-05-01T03:30:00.000"
    assert csv.loc[csv["filename"] == "d.wav", "time"].isna().all()


def test_each_channel_is_in_the_tables_and_cut_from_its_own_sound(
    data_factory: Any, card: Any, stub: Any, tmp_path: Path
) -> None:
    wave = np.random.default_rng(0).integers(-9000, 9000, 5 * RATE).astype(np.int16)
    data_factory.write("stereo.wav", np.stack([wave, -wave], axis=1), RATE, subtype="PCM_16")
    data_factory.tone("mono.wav", 2.0, sample_rate=RATE)
    bulk, out = Bulk(data_factory.root, lambda name: stub(card(), 4, name)), tmp_path / "out"
    result = bulk(out, replace(settings_of(0.0), channel="each"))
    assert (result.n_recordings, result.n_new, result.notes) == (2, 2, [])
    assert result.duration_s == 7.0
    found = pd.read_csv(out / "detections.csv")
    assert found.groupby(["filename", "channel"]).size().to_dict() == {
        ("mono.wav", 1): 3,
        ("stereo.wav", 1): 9,
        ("stereo.wav", 2): 9,
    }
    windows = pd.read_parquet(out / "windows.parquet")
    assert windows.columns[:4].tolist() == ["filename", "start_s", "end_s", "channel"]
    assert windows["channel"].tolist() == [1, 1, 1, 1, 2, 2, 2]
    dataset = pd.read_parquet(out / "detections")
    assert dataset["channel"].value_counts().to_dict() == {1: 12, 2: 9}
    raven = pd.read_csv(out / "raven" / "stereo.wav.selections.txt", sep="\t")
    assert raven["Channel"].value_counts().to_dict() == {1: 9, 2: 9}
    before = tables_in(out)
    assert bulk(out, replace(settings_of(0.0), channel="each")).n_new == 0
    assert tables_in(out) == before
    with pytest.raises(RunError, match="channel"):
        bulk(out, replace(settings_of(0.0), channel=1))
    clips = cut_segments(
        read_detections(out),
        data_factory.root,
        tmp_path / "clips",
        SegmentSettings(format="wav", longest_s=2.0),
        windows=out / "windows.parquet",
    )
    index = pd.read_csv(clips.index)
    assert set(index["channel"]) == {1, 2}
    assert (clips.failures, clips.notes) == ([], [])
    row = index[(index["channel"] == 2) & (index["start_s"] == 2)].iloc[0]
    assert row["file"].endswith("_ch2.wav")
    cut, _ = soundfile.read(tmp_path / "clips" / row["file"], dtype="int16")
    np.testing.assert_array_equal(cut, -wave[2 * RATE : 4 * RATE])


def test_odd_recordings_are_noted_and_stay_so_until_they_are_predicted_otherwise(
    data_factory: Any, card: Any, stub: Any, tmp_path: Path
) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE)
    data_factory.write("odd.wav", np.stack([wave, -wave], axis=1), RATE)
    data_factory.tone("mono.wav", 2.0, sample_rate=RATE)
    bulk, out = Bulk(data_factory.root, lambda name: stub(card(), 4, name)), tmp_path / "out"
    for n_new in (2, 0):
        result = bulk(out)
        assert result.n_new == n_new
        assert [note.path.name for note in result.notes] == ["odd.wav"]
        assert read_failures(out, name="notes.csv") == result.notes
    assert bulk(out, replace(settings_of(), channel=2), force=True).notes == []
    assert not (out / "notes.csv").exists()


def test_every_format_is_written_and_no_other(bulk: Bulk, tmp_path: Path) -> None:
    result = bulk(tmp_path / "all")
    assert set(result.paths) == {*FORMATS, "windows"}
    assert all(path.exists() for path in result.paths.values())
    assert len(list(result.paths["raven"].rglob("*.txt"))) == 6
    few = bulk(tmp_path / "few", settings_of(formats=("audacity",), with_windows=False))
    assert set(few.paths) == {"audacity"}
    names = {path.name for path in (tmp_path / "few").iterdir()}
    assert names == {few.paths["audacity"].name, "journal", "predictions.json"}


def test_embeddings_are_those_of_the_windows(bulk: Bulk, tmp_path: Path) -> None:
    result = bulk(tmp_path / "out", settings_of(with_embeddings=True))
    table = pq.read_table(result.paths["embeddings"]).to_pandas()
    windows = pd.read_parquet(result.paths["windows"])
    keys = ["filename", "start_s", "end_s"]
    pd.testing.assert_frame_equal(table[keys], windows[keys])
    first = load_audio(bulk.folder / "e.flac", sample_rate=RATE)
    middle = RATE - 1
    expected = (first / np.abs(first).max())[::middle]
    found = table.loc[table["filename"] == "e.flac", "embedding"].iloc[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_post_processing_is_done_to_what_the_journal_keeps(bulk: Bulk, tmp_path: Path) -> None:
    plain = bulk(tmp_path / "out")
    before = pd.read_parquet(plain.paths["windows"])
    scaled = bulk(
        tmp_path / "out", settings_of(postprocess=PostprocessSettings(scale_exponent=1.0)), force=True
    )
    assert bulk.n_clips == 0
    after = pd.read_parquet(scaled.paths["windows"])
    peaks = before.groupby("filename")[LABELS].transform("max")
    np.testing.assert_allclose(after[LABELS], before[LABELS] * peaks, atol=1e-6)


def test_shifted_windows_leave_the_wanted_ones(bulk: Bulk, tmp_path: Path) -> None:
    result = bulk(tmp_path / "out", settings_of(postprocess=PostprocessSettings(shift_s=0.5)))
    windows = pd.read_parquet(result.paths["windows"])
    assert windows.loc[windows["filename"] == "a_20240501_033000.wav", "start_s"].tolist() == [0, 2, 4, 6]


def test_names_of_two_places_are_in_every_format(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bulk.folder / "deep")
    found = find_recordings(["c.ogg", "../e.flac", str(bulk.folder / "d.wav")])
    result = predict_bulk(stub(card()), found, tmp_path / "out", settings_of(0.0))
    names = pd.read_csv(result.paths["csv"])["filename"].unique()
    assert names.tolist() == ["d.wav", "deep/c.ogg", "e.flac"]


# Killed and begun again ---------------------------------------------------------------------------

KILLED = """
import os, runpy, signal, sys
from pathlib import Path
import numpy as np
shared = runpy.run_path(sys.argv[1])
folder, outs = sys.argv[2], Path(sys.argv[3])
from dawnchorus.predict import window_tables
from dawnchorus.batch.bulk import BulkSettings, predict_bulk
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.formats import FORMATS, read_detections
from dawnchorus.batch.journal import Journal
from dawnchorus.batch.journal import version_of as journal_version_of
from dawnchorus.predict.recording_files import RecordingFile, find_recordings

def dying(function, n_calls, begin=lambda *args: None):
    count = iter(range(n_calls))
    def counted(*args, **kwargs):
        if next(count, None) is None:
            begin(*args)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return counted

def half(path, *arrays):
    Path(path).write_bytes(b"PK half of an entry")

def patch(moment):
    kind, number = moment.split("_")
    if kind == "entry":
        Journal.write = dying(Journal.write, int(number))
    elif kind == "half":
        np.savez = dying(np.savez, int(number), half)
    elif kind == "clips":
        shared["StubEngine"].prepare = dying(shared["StubEngine"].prepare, int(number))
    elif kind == "table":
        window_tables.WindowTable.add = dying(window_tables.WindowTable.add, int(number))
    elif kind == "replace":
        Path.replace = dying(Path.replace, int(number))

for moment in sys.argv[4:]:
    child = os.fork()
    if child == 0:
        patch(moment)
        engine = shared["StubEngine"](shared["_card"](), 4)
        settings = BulkSettings(DetectionSettings(np.full(3, 0.5, np.float32)), formats=tuple(FORMATS))
        predict_bulk(engine, find_recordings([folder]), outs / moment, settings)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, moment
"""
# "replace 8" and later: the entries are there, and tables are written and take their places one by one.
MOMENTS = [
    *("clips_0", "clips_2", "entry_0", "entry_3", "half_4", "table_0", "table_4"),
    *(f"replace_{number}" for number in (0, 1, 5, 8, 9, 11, 14, 15, 16, 17, 20, 30, 38, 39, 40, 41)),
]


class Killed(NamedTuple):
    """Output folders of processes that were killed, and what an undisturbed one makes."""

    folder: Path
    outs: Path
    undisturbed: dict[str, str]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any, card: Any, stub: Any) -> Killed:
    root = tmp_path_factory.mktemp("killed")
    factory = data_factory_in(root / "recordings")
    for number, (name, length_s) in enumerate(LENGTHS_S.items()):
        factory.tone(name, length_s, 700 + 90 * number, sample_rate=RATE)
    conftest = Path(__file__).parents[1] / "conftest.py"
    command = [sys.executable, "-c", KILLED, conftest, factory.root, root / "outs", *MOMENTS]
    subprocess.run([str(part) for part in command], check=True)
    Bulk(factory.root, lambda name: stub(card(), 4, name))(root / "undisturbed")
    return Killed(factory.root, root / "outs", tables_in(root / "undisturbed"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    killed: Killed, card: Any, stub: Any, moment: str
) -> None:
    out = killed.outs / moment
    before = entries_in(out)
    bulk = Bulk(killed.folder, lambda name: stub(card(), 4, name))
    result = bulk(out)
    assert tables_in(out) == killed.undisturbed
    assert not list(out.rglob(".*")), "what the killed process left is gone"
    assert {name: entries_in(out)[name] for name in before} == before, "nothing is predicted twice"
    assert result.n_new == 6 - len(before)
    if moment.startswith("table") or moment in [f"replace_{number}" for number in range(8, 42)]:
        assert bulk.n_clips == 0
    if moment.startswith("entry"):
        assert len(before) == int(moment[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is not there")
def test_the_command_goes_on_after_kill_9(
    exported: Any, folder: Path, tmp_path: Path, data_factory: Any
) -> None:
    for number in range(40):
        data_factory.tone(f"more/{number:02d}.flac", 20, 400 + 40 * number, sample_rate=RATE)
    options = ["--batch-size", "2", "--threads", "1", "--threshold", "0.4", "--embeddings"]
    command = [
        sys.executable,
        "-m",
        "dawnchorus",
        "predict",
        str(exported.onnx),
        str(folder),
        *options,
        "--out",
    ]
    out = tmp_path / "out"
    with subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 60
        while job.poll() is None and len(entries_in(out)) < 8 and time.monotonic() < deadline:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
    assert job.returncode == -signal.SIGKILL
    before = entries_in(out)
    assert 8 <= len(before) < 46
    arguments = command[3:]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, str(tmp_path / "undisturbed")])
    assert not ended.value.code
    with pytest.raises(SystemExit) as ended:
        main([*arguments, str(out)])
    assert not ended.value.code
    assert {name: entries_in(out)[name] for name in before} == before
    assert tables_in(out) == tables_in(tmp_path / "undisturbed")


# The journal of a single recording ------------------------------------------------------------------


def alone(
    path: Path, out: Path, engine: Any, *, journal: bool | None = None, force: bool = False
) -> BulkPredictions:
    settings = replace(settings_of(), journal=journal)
    return predict_bulk(engine, find_recordings([str(path)]), out, settings, force=force)


def test_a_single_short_recording_leaves_tables_and_no_journal(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path
) -> None:
    path = bulk.folder / "d.wav"
    for name, journal in (("default", None), ("with", True), ("without", False)):
        alone(path, tmp_path / name, stub(card()), journal=journal)
        assert (tmp_path / name / "journal").exists() == (name == "with")
    assert tables_in(tmp_path / "default") == tables_in(tmp_path / "with") == tables_in(tmp_path / "without")
    assert len(tables_in(tmp_path / "default")) > len(tuple(FORMATS))


def test_a_later_call_with_more_recordings_goes_on_where_a_single_one_was(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    alone(bulk.folder / "d.wav", out, stub(card()))
    assert bulk(out).n_new == 6
    bulk(tmp_path / "fresh")
    assert tables_in(out) == tables_in(tmp_path / "fresh")
    # A journal that is there has work of others and stays.
    assert alone(bulk.folder / "d.wav", out, stub(card())).n_new == 0
    assert len(entries_in(out)) == 6
    alone(bulk.folder / "d.wav", out, stub(card()), journal=False)
    assert len(entries_in(out)) == 5


def test_a_long_recording_and_several_keep_their_journal(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_bulk, "SHORT_S", 10.0)
    alone(bulk.folder / "d.wav", tmp_path / "long", stub(card()))  # 12.2 s
    alone(bulk.folder / "f.wav", tmp_path / "short", stub(card()))  # 5.1 s
    alone(bulk.folder, tmp_path / "asked", stub(card()), journal=False)
    assert [(tmp_path / name / "journal").exists() for name in ("long", "short", "asked")] == [
        *(True, False, False)
    ]
    assert not list(tmp_path.glob("*/.*"))


def test_tables_of_another_model_are_refused_without_a_journal_too(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    alone(bulk.folder / "d.wav", out, stub(card(), 4, "first"))
    before = tables_in(out)
    for path in (bulk.folder / "d.wav", bulk.folder):
        for _ in range(2):
            with pytest.raises(RunError, match=r"made with another model; .*make them anew with --force$"):
                alone(path, out, stub(card(), 4, "second"))
    assert tables_in(out) == before
    assert not (out / "journal").exists()
    alone(bulk.folder / "d.wav", out, stub(card(), 4, "second"), force=True)


def test_a_single_recording_that_fails_leaves_no_journal(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path
) -> None:
    (bulk.folder / "d.wav").write_bytes(b"not audio")
    with pytest.raises(DataError, match="none of the 1 recordings could be decoded"):
        alone(bulk.folder / "d.wav", tmp_path / "out", stub(card()))
    assert not (tmp_path / "out" / "journal").exists()


def test_the_command_says_whether_the_journal_stays(exported: Any, folder: Path, tmp_path: Path) -> None:
    for options, is_kept in (([], False), (["--journal"], True), (["--no-journal"], False)):
        out = tmp_path / f"out{len(options)}{is_kept}"
        with pytest.raises(SystemExit) as ended:
            main(["predict", str(exported.onnx), str(folder / "d.wav"), "--out", str(out), *options])
        assert not ended.value.code
        assert (out / "journal").exists() == is_kept


# Begun again with other recordings or settings -----------------------------------------------------


def test_a_second_call_predicts_nothing_and_changes_nothing(bulk: Bulk, tmp_path: Path) -> None:
    bulk(tmp_path / "out")
    tables, entries = tables_in(tmp_path / "out"), entries_in(tmp_path / "out")
    result = bulk(tmp_path / "out")
    assert (bulk.n_clips, result.n_new, result.n_recordings) == (0, 0, 6)
    assert tables_in(tmp_path / "out") == tables
    assert entries_in(tmp_path / "out") == entries


def test_what_changed_is_done_again_what_is_new_is_added_and_what_is_gone_leaves_when_pruned(
    bulk: Bulk, data_factory: Any, tmp_path: Path
) -> None:
    bulk(tmp_path / "out")
    before = entries_in(tmp_path / "out")
    data_factory.tone("d.wav", 3.0, 2500, sample_rate=RATE)
    data_factory.tone("new.wav", 2.5, 1000, sample_rate=RATE)
    (bulk.folder / "e.flac").unlink()
    result = bulk(tmp_path / "out", prune=True)
    assert (result.n_new, result.n_recordings) == (2, 6)
    after = entries_in(tmp_path / "out")
    assert sum(after.get(name) == before[name] for name in before) == 4
    assert len(after) == 6
    windows = pd.read_parquet(result.paths["windows"])
    assert windows.groupby("filename").size().to_dict() == {
        "a_20240501_033000.wav": 4,
        "deep/er/b.flac": 2,
        "deep/c.ogg": 1,
        "d.wav": 2,
        "f.wav": 3,
        "new.wav": 2,
    }
    assert not (tmp_path / "out" / "raven" / "e.flac.selections.txt").exists()
    fresh = bulk(tmp_path / "fresh")
    assert fresh.n_new == 6
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")


def test_a_recording_that_cannot_be_read_is_listed_and_tried_again(
    bulk: Bulk, data_factory: Any, tmp_path: Path
) -> None:
    good = (bulk.folder / "d.wav").read_bytes()
    (bulk.folder / "d.wav").write_bytes(b"not audio")
    out = tmp_path / "out"
    for n_new in (5, 0):
        result = bulk(out)
        assert (result.n_recordings, result.n_new) == (5, n_new)
        assert [failure.path.name for failure in result.failures] == ["d.wav"]
        assert read_failures(out) == result.failures
        assert "d.wav" not in set(pd.read_parquet(result.paths["windows"])["filename"])
    (bulk.folder / "d.wav").write_bytes(good)
    result = bulk(out)
    assert (result.n_recordings, result.n_new, result.failures) == (6, 1, [])
    assert not (out / "failures.csv").exists()
    bulk(tmp_path / "fresh")
    assert tables_in(out) == tables_in(tmp_path / "fresh")


def test_a_job_without_any_readable_recording_says_so(bulk: Bulk, tmp_path: Path) -> None:
    for name in LENGTHS_S:
        (bulk.folder / name).write_bytes(b"not audio")
    message = r"none of the 6 recordings could be decoded; the first: .*a_20240501_033000\.wav"
    with pytest.raises(DataError, match=message):
        bulk(tmp_path / "out")
    assert len(read_failures(tmp_path / "out")) == 6
    assert not (tmp_path / "out" / "predictions.json").exists(), "there are no tables that it would be of"


def test_recordings_that_a_format_will_leave_out_are_told_before_the_work(
    bulk: Bulk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in LENGTHS_S:
        (bulk.folder / name).write_bytes(b"not audio")
    with pytest.raises(DataError):
        bulk(tmp_path / "out", settings_of(formats=("camtrap_dp",)))
    assert (
        "camtrap_dp leaves out recordings whose coordinates are not known, which are 6 of the 6"
        in caplog.text
    )
    assert "give --time-zone; camtrap_dp leaves out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"threshold": 0.25}, "threshold"),
        ({"species": ("owl",)}, "species"),
        ({"top_k": 1}, "top-k"),
        ({"merge": True}, "merge"),
        ({"postprocess": PostprocessSettings(smoothing=(0.25, 0.5, 0.25))}, "smooth"),
        ({"postprocess": PostprocessSettings(scale_exponent=0.5)}, "scale-by-maximum"),
    ],
)
def test_tables_of_other_settings_are_refused_or_made_anew_without_predicting(
    bulk: Bulk, tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    out = tmp_path / "out"
    bulk(out)
    tables = tables_in(out)
    message = (
        f"out holds tables made with another {name}; choose another --out, or make them anew with --force"
    )
    with pytest.raises(RunError, match=message):
        bulk(out, settings_of(**changes))
    assert tables_in(out) == tables
    result = bulk(out, settings_of(**changes), force=True)
    assert (bulk.n_clips, result.n_new) == (0, 0)
    bulk(tmp_path / "fresh", settings_of(**changes))
    assert tables_in(out) == tables_in(tmp_path / "fresh")
    assert tables_in(out) != tables


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("other", {}, r"made otherwise \(model\)"),
        ("stub", {"overlap_s": 1.0}, r"made otherwise \(overlap or shift\)"),
        ("stub", {"postprocess": PostprocessSettings(shift_s=0.5)}, r"made otherwise \(overlap or shift\)"),
        ("stub", {"with_embeddings": True}, r"made otherwise \(embeddings\)"),
    ],
)
def test_predictions_of_another_kind_are_refused_or_made_anew(
    bulk: Bulk, tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out"
    bulk(out)
    tables, entries = tables_in(out), entries_in(out)
    with pytest.raises(RunError, match=message):
        bulk(out, settings_of(**changes), name=name)
    assert (tables_in(out), entries_in(out)) == (tables, entries)
    result = bulk(out, settings_of(**changes), name=name, force=True)
    assert result.n_new == 6
    bulk(tmp_path / "fresh", settings_of(**changes), name=name)
    assert tables_in(out) == tables_in(tmp_path / "fresh")


def test_a_refused_call_leaves_the_note_of_the_tables_as_it_was(bulk: Bulk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bulk(out)
    with pytest.raises(RunError, match="made otherwise"):
        bulk(out, name="other")
    assert bulk(out).n_new == 0


def test_tables_of_somebody_else_are_not_overwritten(bulk: Bulk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "detections.csv").write_text("mine")
    with pytest.raises(
        RunError, match=r"detections\.csv exists; choose another name, or overwrite it with --force"
    ):
        bulk(out)
    assert (out / "detections.csv").read_text() == "mine"
    assert bulk(out, force=True).n_recordings == 6


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", "[" * 100_000, "9" * 5000, '{"goals": {}}', '{"made": [], "goals": {}}']
    + [f'{{"made": {{}}, "goals": {{}}, {more}}}' for more in ('"guests": {"x": 3}', '"tables": {"x": [3]}')],
    ids=range(11),
)
def test_a_damaged_note_of_the_tables_stops_nothing(
    bulk: Bulk, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    bulk(out)
    tables = tables_in(out)
    (out / "predictions.json").write_text(text)
    (out / "mine.txt").write_text("years")
    assert bulk(out).n_new == 0
    assert f"{out / 'predictions.json'}" in caplog.text
    assert "it is ignored" in caplog.text
    assert (out / "mine.txt").read_text() == "years"
    (out / "mine.txt").unlink()
    assert tables_in(out) == tables


def test_a_note_of_the_tables_may_hold_more_than_this_release_knows(
    bulk: Bulk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    bulk(out)
    note = json.loads((out / "predictions.json").read_text())
    (out / "predictions.json").write_text(json.dumps({**note, "of a later release": 1}))
    assert EarlierTables.of(out).is_known
    assert EarlierTables.of(out).made == note["made"]
    assert caplog.text.count("predictions.json") == 0


@pytest.mark.parametrize("state", [3, {}, {"key": "ab", "recordings": 3}, {"key": 3, "recordings": {}}])
def test_tables_are_written_anew_where_their_state_has_another_form(
    bulk: Bulk, tmp_path: Path, state: object
) -> None:
    out = tmp_path / "out"
    bulk(out)
    tables = tables_in(out)
    write_checked(out / "journal" / "tables.json", state)
    assert bulk(out).n_new == 0
    assert tables_in(out) == tables


def test_a_damaged_entry_is_predicted_again(bulk: Bulk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bulk(out)
    tables = tables_in(out)
    cut_off, flipped, *_ = sorted((out / "journal").rglob("*.npz"))
    cut_off.write_bytes(cut_off.read_bytes()[:-40])
    with np.load(flipped) as arrays:
        said = arrays["probabilities"].tobytes()
    content = flipped.read_bytes()
    flipped.write_bytes(content.replace(said, bytes([said[0] ^ 1]) + said[1:]))
    assert bulk(out).n_new == 2
    assert tables_in(out) == tables


def test_a_recording_that_changes_while_the_job_runs_is_told(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path
) -> None:
    class Slow(stub):  # type: ignore[misc]
        def stream(self, requests: Any) -> Any:
            for answer in super().stream(requests):
                os.utime(bulk.folder / "d.wav", ns=(0, time.time_ns()))
                yield answer

    found = find_recordings([str(bulk.folder)])
    result = predict_bulk(Slow(card()), found, tmp_path / "out", settings_of())
    (failure,) = result.failures
    assert failure.path == bulk.folder / "d.wav"
    assert "changed while it was predicted; run the command again" in failure.reason
    assert result.n_recordings == len(found.recordings) - 1, "the others have their tables"
    assert bulk(tmp_path / "out").n_new == 1


def test_files_of_one_name_size_and_time_at_two_sites_are_told_apart(bulk: Bulk, tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 64_000))
    for site, sound in zip(("a", "b"), wave, strict=True):
        path = tmp_path / site / "20240501_033000.wav"
        path.parent.mkdir()
        soundfile.write(path, sound, 32_000)
        os.utime(path, ns=(0, 10**18))
    bulk.folder = tmp_path / "a"
    bulk(tmp_path / "out")
    bulk.folder = tmp_path / "b"
    with pytest.raises(RunError, match="made with another folder of recordings; choose another --out"):
        bulk(tmp_path / "out")
    assert bulk(tmp_path / "out", force=True).n_new == 1
    bulk(tmp_path / "fresh")
    assert (tmp_path / "out" / "windows.parquet").read_bytes() == (
        tmp_path / "fresh" / "windows.parquet"
    ).read_bytes()


def test_what_somebody_else_put_there_is_not_replaced(bulk: Bulk, tmp_path: Path) -> None:
    (tmp_path / "out" / "raven").mkdir(parents=True)
    (tmp_path / "out" / "raven" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match=r"raven exists; choose another name, or overwrite it with --force"):
        bulk(tmp_path / "out", settings_of(formats=("raven",)))
    assert (tmp_path / "out" / "raven" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_earlier_formats_are_written_again_unless_they_were_deleted(
    bulk: Bulk, tmp_path: Path, force: bool
) -> None:
    out = tmp_path / "out"
    bulk(out, settings_of(formats=("raven",), with_embeddings=True))
    changed = settings_of(0.2 if force else 0.5, formats=("audacity",), with_windows=False)
    result = bulk(out, changed, force=force)
    assert set(result.paths) == {"raven", "audacity", "windows", "embeddings"}
    bulk(
        tmp_path / "fresh",
        replace(changed, formats=("raven", "audacity"), with_windows=True, with_embeddings=True),
    )
    assert tables_in(out) == tables_in(tmp_path / "fresh")
    shutil.rmtree(out / "raven")
    assert set(bulk(out, changed, force=force).paths) == {"audacity", "windows", "embeddings"}
    assert not (out / "raven").exists()


def test_an_average_of_windows_that_do_not_overlap_is_refused(bulk: Bulk, tmp_path: Path) -> None:
    settings = settings_of(postprocess=PostprocessSettings(overlap_average=True), overlap_s=0.5)
    with pytest.raises(ConfigError, match="so that nothing can be averaged; overlap by 1 s or more"):
        bulk(tmp_path / "out", settings)


def test_what_killed_processes_left_is_removed_and_nothing_else(bulk: Bulk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bulk(out)
    (out / ".dawnchorus-0123abcd.tmp").mkdir()
    (out / ".dawnchorus-0123abcd.tmp" / "part.txt").touch()
    (out / "journal" / ".dawnchorus-89abcdef.tmp.npz").touch()
    (out / ".hidden.tmp").touch()
    (out / "mine.txt").touch()
    bulk(out)
    assert sorted(path.name for path in out.rglob(".*")) == [".hidden.tmp"]
    assert (out / "mine.txt").exists()


def test_a_folder_that_was_copied_elsewhere_still_counts(bulk: Bulk, tmp_path: Path) -> None:
    bulk(tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert bulk(tmp_path / "copy").n_new == 0


# The command --------------------------------------------------------------------------------------


def predict(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["predict", *(str(argument) for argument in arguments)])
    return int(ended.value.code or 0)


def test_the_command_says_what_it_did(
    exported: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        predict(exported.run, folder, "--out", out, "--threshold", 0.2, "--format", "csv", "--threads", 1)
        == 0
    )
    printed = capsys.readouterr()
    n_detections = len(pd.read_csv(out / "detections.csv"))
    assert printed.out.splitlines() == [
        f"{n_detections} detections in 6 recordings, 0.01 h of audio; thresholds 0.2",
        *(
            f"{n:>9}  {label}"
            for label, n in pd.read_csv(out / "detections.csv")["label"].value_counts().items()
        ),
        f"csv: {out / 'detections.csv'}",
        f"windows: {out / 'windows.parquet'}",
    ]
    (folder / "bad.wav").write_bytes(b"not audio")
    assert (
        predict(exported.run, folder, "--out", out, "--threshold", 0.2, "--format", "csv", "--threads", 1)
        == 2
    )
    printed = capsys.readouterr()
    assert "6 of them were predicted before" in printed.err
    assert f"1 recording failed; the reasons are in {out / 'failures.csv'}" in printed.err
    assert pd.read_csv(out / "failures.csv")["path"].str.endswith("bad.wav").all()
    (folder / "bad.wav").unlink()
    assert (
        predict(exported.run, folder, "--out", out, "--threshold", 0.3, "--format", "csv", "--threads", 1)
        == 1
    )
    assert "holds tables made with another threshold" in capsys.readouterr().err
    assert predict(exported.onnx, folder, "--out", out, "--threshold", 0.2, "--format", "csv") == 1
    assert "holds predictions made otherwise (model)" in capsys.readouterr().err


def test_the_command_takes_thresholds_and_species_from_files(
    exported: Any, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "thresholds.csv").write_text("label,threshold\n*,0\nwren,inf\n")
    (tmp_path / "species.txt").write_text("wren\nowl\n")
    options = [
        "--threshold",
        tmp_path / "thresholds.csv",
        "--species",
        tmp_path / "species.txt",
        "--threads",
        1,
    ]
    assert predict(exported.onnx, folder, "--out", tmp_path / "out", *options, "--no-windows") == 0
    assert set(pd.read_csv(tmp_path / "out" / "detections.csv")["label"]) == {"owl"}
    assert not (tmp_path / "out" / "windows.parquet").exists()


def test_the_command_joins_models_with_weights(
    exported: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--threads", 1, "--batch-size", 4, "--out"]
    for name, arguments in (
        ("one", [exported.onnx]),
        ("two", [exported.fp16]),
        ("both", [exported.onnx, "--add", f"{exported.fp16}=3", "--weight", 1]),
    ):
        assert predict(*arguments[:1], folder, *arguments[1:], *options, tmp_path / name) == 0
    one, two, both = (
        pd.read_parquet(tmp_path / name / "windows.parquet")[LABELS].to_numpy()
        for name in ("one", "two", "both")
    )
    np.testing.assert_allclose(both, (one + 3 * two) / 4, atol=1e-6)
    capsys.readouterr()
    assert predict(exported.onnx, folder, "--add", f"{exported.fp16}=much", "--out", tmp_path / "x") == 1
    assert "'much' is no weight; write MODEL=WEIGHT" in capsys.readouterr().err


def test_the_command_reads_names_from_standard_input(exported: Any, folder: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copy(folder / "e.flac", folder / os.fsdecode(b"bird\xe9.flac")))
    lines = b"\n".join(
        [os.fsencode(odd), os.fsencode(folder / "d.wav"), os.fsencode(folder / "gone.wav"), b""]
    )
    command = [sys.executable, "-m", "dawnchorus", "predict", str(exported.onnx), "-", "--threshold", "0"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}  # as in a locale such as en_GB.UTF-8
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], input=lines, capture_output=True, env=environment
    )
    assert done.returncode == 2, done.stderr.decode()
    text = (tmp_path / "out" / "detections.csv").read_bytes()
    assert b"bird\xe9.flac" in text
    assert b"d.wav" in text
    assert b"gone.wav" in (tmp_path / "out" / "failures.csv").read_bytes()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("goal", ["../victim", "{absolute}", "raven/../../victim", "mine", "raven", ""])
def test_a_note_that_names_what_predict_does_not_write_removes_nothing(
    bulk: Bulk, tmp_path: Path, goal: str, force: bool
) -> None:
    out = tmp_path / "out"
    for folder in (tmp_path / "victim", out / "mine"):
        folder.mkdir(parents=True)
        (folder / "thesis.txt").write_text("years")
    note = {"made": {}, "goals": {"x": goal.format(absolute=tmp_path / "victim")}}
    (out / "predictions.json").write_text(json.dumps(note))
    with pytest.raises(RunError, match=r"predictions\.json names .*does not write.*choose another --out"):
        bulk(out, force=force)
    assert (tmp_path / "victim" / "thesis.txt").read_text() == "years"
    assert (out / "mine" / "thesis.txt").read_text() == "years"


def test_a_note_whose_names_are_no_names_is_refused(bulk: Bulk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.json").write_text('{"made": {}, "goals": {"x": ["raven"]}}')
    with pytest.raises(RunError, match=r"names \['raven'\] as a table"):
        bulk(out)


# Again and again ----------------------------------------------------------------------------------


def everything(**changes: Any) -> BulkSettings:
    """Return settings of all tables but those whose rows count through all recordings."""
    joinable = tuple(
        name for name, kind in FORMATS.items() if issubclass(kind, FolderWriter | TableWriter | ParquetWriter)
    )
    return settings_of(0.3, **{"with_embeddings": True, "formats": joinable, **changes})


def files_in(out: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of change of every file below a folder, but of the lock."""
    return {
        path.relative_to(out).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("lock", "network.json")
    }


def test_a_call_with_nothing_new_opens_no_entry_and_writes_nothing(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bulk(tmp_path / "out", everything())
    before = files_in(tmp_path / "out")
    monkeypatch.setattr(Journal, "read", None)
    second = bulk(tmp_path / "out", everything())
    assert files_in(tmp_path / "out") == before
    assert second == first._replace(n_new=0)


@pytest.mark.parametrize("place", ["0.wav", "deep/d.wav", "z_20240501_235958.wav"])
def test_a_call_with_one_new_recording_reads_that_alone_and_the_tables_are_those_of_one_call(
    bulk: Bulk, data_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    bulk(tmp_path / "out", everything())
    data_factory.tone(place, 5.0, 1700, sample_rate=RATE)
    opened = []
    read = Journal.read
    monkeypatch.setattr(Journal, "read", lambda journal, name: opened.append(name) or read(journal, name))
    same_day = {"a_20240501_033000.wav"} if "2024" in place else set(LENGTHS_S) - {"a_20240501_033000.wav"}
    assert bulk(tmp_path / "out", everything(formats=("csv", "raven", "birdnet"))).n_new == 1
    assert set(opened) <= {place} | same_day, "of others, the days of the dataset are written again"
    bulk(tmp_path / "fresh", everything())
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")
    opened.clear()
    (bulk.folder / place).unlink()
    bulk(tmp_path / "out", everything(), prune=True)
    assert set(opened) <= same_day
    shutil.rmtree(tmp_path / "fresh")
    bulk(tmp_path / "fresh", everything())
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")


def test_tables_of_one_name_are_numbered_as_in_one_call(
    bulk: Bulk, data_factory: Any, tmp_path: Path
) -> None:
    bulk(tmp_path / "out", everything())
    data_factory.tone("d.flac", 3.0, 1700, sample_rate=RATE)  # BirdNET's tables have no suffix
    bulk(tmp_path / "out", everything())
    bulk(tmp_path / "fresh", everything())
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")


def test_a_dataset_that_gets_its_first_rows_or_loses_its_last_is_that_of_one_call(
    bulk: Bulk, tmp_path: Path
) -> None:
    loud = (bulk.folder / "d.wav").read_bytes()
    for name in LENGTHS_S:
        (bulk.folder / name).unlink()
    soundfile.write(bulk.folder / "quiet.wav", np.zeros(RATE), RATE)
    for content in (None, loud, None):
        (bulk.folder / "d.wav").unlink(missing_ok=True)
        if content:
            (bulk.folder / "d.wav").write_bytes(content)
        bulk(tmp_path / "out", everything(), prune=True)
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        bulk(tmp_path / "fresh", everything())
        assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")


def test_large_tables_are_joined_to_the_bytes_of_one_call(card: Any, stub: Any, tmp_path: Path) -> None:
    """Row groups are written each 4096 windows, and their borders move."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name, length_s in (("b.wav", 45), ("d.wav", 45), ("f.wav", 45)):
        soundfile.write(folder / name, rng.uniform(-0.5, 0.5, length_s * RATE), RATE)
    settings = settings_of(0.6, formats=("csv",), overlap_s=1.99, with_embeddings=True)
    bulk = Bulk(folder, lambda name: stub(card(), 64, name))
    bulk(tmp_path / "out", settings)
    soundfile.write(folder / "c.wav", rng.uniform(-0.5, 0.5, 42 * RATE), RATE)
    (folder / "f.wav").unlink()
    bulk(tmp_path / "out", settings, prune=True)
    bulk(tmp_path / "fresh", settings)
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")
    assert pq.ParquetFile(tmp_path / "out" / "windows.parquet").num_row_groups == 2


REPEATED = KILLED.replace(
    "settings = BulkSettings(DetectionSettings(np.full(3, 0.5, np.float32)), formats=tuple(FORMATS))",
    "settings = shared_settings()",
).replace(
    "for moment in sys.argv[4:]:",
    """
import shutil
def shared_settings():
    return BulkSettings(DetectionSettings(np.full(3, 0.5, np.float32)), formats=tuple(FORMATS))
for moment in sys.argv[4:]:
    shutil.copytree(outs / "before", outs / moment)""",
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_repeated_call_that_is_killed_at_any_moment_ends_with_the_same_bytes(
    bulk: Bulk, data_factory: Any, tmp_path: Path
) -> None:
    outs = tmp_path / "outs"
    bulk(outs / "before")
    data_factory.tone("dawn.wav", 5.0, 1700, sample_rate=RATE)
    moments = ["entry_0", *(f"replace_{number}" for number in (3, 9, 12, 15))]
    conftest = Path(__file__).parents[1] / "conftest.py"
    command = [sys.executable, "-c", REPEATED, conftest, bulk.folder, outs, *moments]
    subprocess.run([str(part) for part in command], check=True)
    bulk(tmp_path / "undisturbed")
    for moment in moments:
        bulk(outs / moment)
        assert tables_in(outs / moment) == tables_in(tmp_path / "undisturbed"), moment
        assert not list((outs / moment).rglob(".*")), moment


# Recordings that are gone, mended, or damaged in the journal ------------------------------------------


@pytest.mark.parametrize("threshold", [0.3, 0.2])
def test_what_was_predicted_stays_where_recordings_were_moved_away(
    bulk: Bulk, data_factory: Any, tmp_path: Path, threshold: float
) -> None:
    data_factory.tone("low.wav", 3.0, 500, sample_rate=8000)
    formats = tuple(name for name in FORMATS if name != "soundevent")  # its rate is read from the sound file
    bulk(tmp_path / "fresh", settings_of(threshold, formats=formats))
    bulk(tmp_path / "out", settings_of(0.3, formats=formats))
    (bulk.folder / "low.wav").unlink()
    shutil.move(bulk.folder / "deep", tmp_path / "elsewhere")
    result = bulk(tmp_path / "out", settings_of(threshold, formats=formats), force=threshold != 0.3)
    assert result.gone == ["deep/c.ogg", "deep/er/b.flac", "low.wav"]
    assert (result.n_new, result.n_recordings, result.root) == (0, 7, bulk.folder)
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")
    result = bulk(tmp_path / "out", settings_of(threshold), prune=True)
    assert (result.gone, result.n_recordings, len(entries_in(tmp_path / "out"))) == ([], 4, 4)
    shutil.rmtree(tmp_path / "fresh")
    bulk(tmp_path / "fresh", settings_of(threshold))
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")


def test_a_recording_that_cannot_be_reached_is_not_pruned(
    bulk: Bulk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk(tmp_path / "out")
    tables = tables_in(tmp_path / "out")
    (tmp_path / "out" / "journal" / "index.json").unlink()

    def version_of(recording: RecordingFile) -> Any:
        if recording.name == "d.wav":
            raise OSError(errno.EIO, "Input/output error", str(recording.path))
        return journal_version_of(recording)

    monkeypatch.setattr(journaled, "version_of", version_of)
    result = bulk(tmp_path / "out", prune=True)
    assert [failure.path.name for failure in result.failures] == ["d.wav"]
    monkeypatch.undo()
    assert bulk(tmp_path / "out").n_new == 0
    assert tables_in(tmp_path / "out") == tables


def test_of_two_recordings_of_one_stem_the_other_keeps_its_table(
    bulk: Bulk, data_factory: Any, tmp_path: Path
) -> None:
    for name in ("night.flac", "night.wav"):
        data_factory.tone(name, 3.0, 700, sample_rate=RATE)
    bulk(tmp_path / "out", everything())
    (bulk.folder / "night.wav").unlink()
    bulk(tmp_path / "out", everything(), prune=True)
    bulk(tmp_path / "fresh", everything())
    assert tables_in(tmp_path / "out") == tables_in(tmp_path / "fresh")


def test_a_recording_that_a_later_call_does_not_name_stays_and_is_not_gone(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path
) -> None:
    bulk(tmp_path / "out")
    tables = tables_in(tmp_path / "out")
    result = alone(bulk.folder / "d.wav", tmp_path / "out", stub(card()))
    assert (result.n_recordings, result.gone) == (6, [])
    assert tables_in(tmp_path / "out") == tables


def test_what_is_gone_is_found_without_the_index_too(bulk: Bulk, tmp_path: Path) -> None:
    bulk(tmp_path / "out")
    tables = tables_in(tmp_path / "out")
    (bulk.folder / "d.wav").unlink()
    for damage in (b"", b"{}", None):
        for name in ("index.json", "tables.json"):
            path = tmp_path / "out" / "journal" / name
            path.write_bytes(damage) if damage is not None else path.unlink()
        assert bulk(tmp_path / "out").gone == ["d.wav"]
        assert tables_in(tmp_path / "out") == tables


def test_a_recording_that_fails_now_has_no_rows_and_one_that_cannot_be_reached_keeps_them(
    bulk: Bulk, card: Any, stub: Any, tmp_path: Path
) -> None:
    bulk(tmp_path / "out")
    (bulk.folder / "d.wav").write_bytes(b"not audio")
    (bulk.folder / "e.flac").unlink()
    names = [str(bulk.folder / name) for name in LENGTHS_S]
    result = predict_bulk(stub(card()), find_recordings(["-"], names=names), tmp_path / "out", settings_of())
    assert sorted(failure.path.name for failure in result.failures) == ["d.wav", "e.flac"]
    assert result.gone == ["e.flac"]
    names_in_table = set(pd.read_parquet(result.paths["windows"])["filename"])
    assert names_in_table == set(LENGTHS_S) - {"d.wav"}


def mend(path: Path, place: int) -> None:
    """Change a byte, and set the time back as ``cp -p`` and ``rsync -t`` do."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_recording_mended_in_place_with_its_time_set_back_is_predicted_anew(
    bulk: Bulk, tmp_path: Path
) -> None:
    soundfile.write(bulk.folder / "d.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 12 * RATE), RATE)
    assert (bulk.folder / "d.wav").stat().st_size > 3 << 16
    bulk(tmp_path / "out")
    for _ in range(2):
        mend(bulk.folder / "d.wav", -1)
        assert bulk(tmp_path / "out").n_new == 1
        assert bulk(tmp_path / "out").n_new == 0


def test_again_predicts_what_the_journal_has(bulk: Bulk, tmp_path: Path) -> None:
    bulk(tmp_path / "out")
    tables = tables_in(tmp_path / "out")
    assert bulk(tmp_path / "out", force=True).n_new == 0
    assert bulk(tmp_path / "out", again=True).n_new == 6
    assert tables_in(tmp_path / "out") == tables


def rewrite(path: Path, **changes: Any) -> None:
    """Write an entry as an earlier release did, which kept neither digests nor the folder."""
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays if name not in ("digest", "root", "source_rate")}
    with path.open("wb") as file:
        np.savez(file, **{**kept, **changes})


def test_a_journal_of_an_earlier_release_is_valid_and_renewed(bulk: Bulk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bulk(out)
    tables = tables_in(out)
    for name in LENGTHS_S:
        path = Journal(out / "journal").entry_path(name)
        status = (bulk.folder / name).stat()
        head = hashlib.sha256((bulk.folder / name).read_bytes()[: 1 << 16]).hexdigest()
        version = {"name": name, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "head": head}
        rewrite(path, made_of=np.array(json.dumps(version)))
    for name in ("index.json", "tables.json"):
        (out / "journal" / name).unlink()
    note = json.loads((out / "predictions.json").read_text())
    del note["tables"]
    (out / "predictions.json").write_text(json.dumps(note))
    (bulk.folder / "e.flac").unlink()
    mend(bulk.folder / "f.wav", 1000)
    result = bulk(out)
    assert (result.n_new, result.gone) == (1, ["e.flac"])
    mend(bulk.folder / "f.wav", 1000)
    assert bulk(out).n_new == 1
    assert tables_in(out) == tables
    for name in set(LENGTHS_S) - {"e.flac"}:
        assert "digest" in Journal(out / "journal").read(name).version


def test_an_old_entry_that_lacks_a_window_and_one_with_other_arrays_are_predicted_anew(
    bulk: Bulk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    bulk(out)
    tables = tables_in(out)
    journal = Journal(out / "journal")
    with np.load(journal.entry_path("d.wav")) as arrays:
        some = {name: arrays[name][[0, 1, 3]] for name in ("starts", "stops", "probabilities")}
    rewrite(journal.entry_path("d.wav"), **some)
    rewrite(journal.entry_path("f.wav"), probabilities=some["probabilities"][:2])
    assert bulk(out).n_new == 2
    assert "1 entry of" in caplog.text
    assert "is damaged, and predicted anew: f.wav" in caplog.text
    assert tables_in(out) == tables


# Tables that a person has changed ---------------------------------------------------------------------


def test_a_table_that_a_person_has_corrected_is_never_overwritten(
    bulk: Bulk, data_factory: Any, tmp_path: Path
) -> None:
    out, table = tmp_path / "out", tmp_path / "out" / "raven" / "d.wav.selections.txt"
    bulk(out, settings_of(0.5))
    table.write_text(table.read_text().replace("wren", "dipper"))
    corrected = table.read_bytes()
    (out / "raven" / "notes.txt").write_text("mine")
    result = bulk(out, settings_of(0.3), force=True)
    assert result.changed == [table]
    assert table.read_bytes() == corrected
    bulk(tmp_path / "fresh", settings_of(0.3))
    ours, fresh = tables_in(out), tables_in(tmp_path / "fresh")
    different = {name for name in ours.keys() | fresh.keys() if ours.get(name) != fresh.get(name)}
    assert different == {"raven/d.wav.selections.txt", "raven/notes.txt", "predictions.json"}
    data_factory.tone("d.wav", 3.0, 2500, sample_rate=RATE)
    assert bulk(out, settings_of(0.3)).changed == [table]
    (bulk.folder / "d.wav").unlink()
    assert bulk(out, settings_of(0.3), prune=True).changed == [table]
    assert table.read_bytes() == corrected
    table.unlink()
    (out / "raven" / "notes.txt").unlink()
    bulk(out, settings_of(0.3))
    shutil.rmtree(tmp_path / "fresh")
    bulk(tmp_path / "fresh", settings_of(0.3))
    assert tables_in(out) == tables_in(tmp_path / "fresh")


@pytest.mark.parametrize(
    "goal", ["detections.csv", "kaleidoscope.csv", "windows.parquet", "embeddings.parquet"]
)
def test_no_single_table_that_was_changed_is_overwritten(
    bulk: Bulk, data_factory: Any, tmp_path: Path, goal: str
) -> None:
    out = tmp_path / "out"
    bulk(out, everything())
    computed = (out / goal).read_bytes()
    (out / goal).write_bytes(b"mine")
    data_factory.tone("dawn.wav", 3.0, 2500, sample_rate=RATE)
    assert bulk(out, everything()).changed == [out / goal]
    assert bulk(out, everything(merge=True), force=True).changed == [out / goal]
    assert (out / goal).read_bytes() == b"mine"
    (out / goal).write_bytes(computed)  # it is no longer what would be written now
    (bulk.folder / "f.wav").unlink()
    assert bulk(out, everything(merge=True), prune=True).changed == [out / goal]
    (out / goal).unlink()
    bulk(out, everything(merge=True))
    bulk(tmp_path / "fresh", everything(merge=True))
    assert tables_in(out) == tables_in(tmp_path / "fresh")


def test_changed_tables_stay_where_the_note_is_damaged(bulk: Bulk, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bulk(out)
    (out / "detections.csv").write_text("mine")
    (out / "predictions.json").write_text("{")
    assert bulk(out).changed == [out / "detections.csv"]
    assert (out / "detections.csv").read_text() == "mine"


# What the command says --------------------------------------------------------------------------------


def test_the_command_says_what_is_gone_and_what_was_changed(
    exported: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [exported.onnx, folder, "--out", tmp_path / "out", "--threads", 1, "--threshold"]
    assert predict(*arguments, 0.2) == 0
    (folder / "d.wav").unlink()
    (tmp_path / "out" / "raven" / "e.flac.selections.txt").write_text("mine")
    capsys.readouterr()
    assert predict(*arguments, 0.1, "--force") == 0
    printed = capsys.readouterr().err
    assert (
        f"1 recording of them is no longer in {folder} (d.wav); what was predicted stays in the tables, and "
        "--prune drops it" in printed
    )
    assert "1 table is not as predict wrote it, and left as it is: " in printed
    assert "e.flac.selections.txt; to get it anew, move it away" in printed
    assert predict(*arguments, 0.1, "--prune", "--again") == 0
    assert "no longer" not in (printed := capsys.readouterr().err)
    assert "predicted before" not in printed


def test_the_command_used_wrongly_has_another_exit_code_than_failed_recordings(
    exported: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (["--top-k", 0], ["--no-such-option"], ["--format", "excel"]):
        assert predict(exported.onnx, folder, "--out", tmp_path / "out", *wrong) == 64
    assert predict() == 64
    assert "Usage:" in capsys.readouterr().err


def test_the_summary_counts_the_most_frequent_species_and_the_others_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {f"species {number}": 100 - number for number in range(20)}
    result = BulkPredictions(
        3, 3, sum(counts.values()), 7200.0, [], {}, counts=counts, thresholds="0.2 to 0.5"
    )
    print_predictions(result, tmp_path)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "1,810 detections in 3 recordings, 2.00 h of audio; thresholds 0.2 to 0.5"
    assert lines[0] == "      100  species 0"
    assert lines[15:] == ["      415  of 5 more species"]
