"""The files that people open, read back with readers that are not ours."""

from __future__ import annotations

import csv
import gc
import itertools
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from dawnchorus.audio.recorder_times import Recorder
from dawnchorus.errors import ConfigError, UnsafePathError, WriteError
from dawnchorus.formats import (
    FORMATS,
    DetectionWriters,
    ModelFacts,
    RecordingDetections,
    absolute_time,
    open_writers,
    parquet,
)
from dawnchorus.formats.annotations import read_annotations
from dawnchorus.formats.names import species_names

ROBIN, WREN = "Erithacus rubecula_European Robin", "Wren, winter"
LABELS = (ROBIN, WREN, "robin\tsong\n2", 'the "other"')
NIGHT = 'süd, "alt"/Nacht über Köln, "2".wav'
EVENING = datetime(2024, 4, 30, 23, 59, 54, tzinfo=timezone(timedelta(hours=2)))
ROWS = [(0.0, 5.0, ROBIN, 0.123456), (2.5004, 7.5, WREN, 0.9), (7.5, 12.03125, ROBIN, 1.0)]


def recording_of(
    filename: str,
    rows: Iterable[tuple[float, float, str, float]] = ROWS,
    start: datetime | None = None,
    root: Path = Path("/data/year 1"),
) -> RecordingDetections:
    table = pd.DataFrame(list(rows), columns=["start_s", "end_s", "label", "probability"])
    table = table.astype({"start_s": float, "end_s": float, "probability": np.float32})
    return RecordingDetections(filename, root / filename, 60.0, start, table)


def writers_of(out_dir: Path, *names: str) -> DetectionWriters:
    return open_writers(names or FORMATS, out_dir, labels=LABELS, high_hz=16_000, overlap_s=2.5)


def write(out_dir: Path, recordings: Iterable[RecordingDetections], *names: str) -> None:
    with writers_of(out_dir, *names) as writers:
        for recording in recordings:
            writers.add(recording)


def cells(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def dataset_of(out_dir: Path) -> pd.DataFrame:
    return pyarrow.dataset.dataset(out_dir / "detections", partitioning="hive").to_table().to_pandas()


@pytest.fixture(scope="module")
def crowsetta() -> Any:
    return pytest.importorskip("crowsetta")


def test_the_csv_file_has_one_header_and_the_time_where_it_is_known(tmp_path: Path) -> None:
    write(tmp_path, [recording_of(NIGHT, start=EVENING), recording_of("a.wav", ROWS[:1])], "csv")
    header, *rows = cells(tmp_path / "detections.csv")
    assert header == [
        *("filename", "start_s", "end_s", "label", "probability", "time"),
        *("scientific_name", "common_name", "date", "hour", "site"),
        *("latitude", "longitude", "device", "model", "threshold"),
    ]
    assert [row[:6] for row in rows] == [
        [NIGHT, "0.0", "5.0", ROBIN, "0.1235", "2024-04-30T23:59:54.000+02:00"],
        [NIGHT, "2.5004", "7.5", WREN, "0.9", "2024-04-30T23:59:56.500+02:00"],
        [NIGHT, "7.5", "12.03125", ROBIN, "1.0", "2024-05-01T00:00:01.500+02:00"],
        ["a.wav", "0.0", "5.0", ROBIN, "0.1235", ""],
    ]
    robin = ["Erithacus rubecula", "European Robin"]
    assert rows[0][6:] == [*robin, "2024-04-30", "23", 'süd, "alt"', "", "", "", "", ""]
    assert rows[2][8:10] == ["2024-05-01", "0"]
    assert rows[3][6:] == [*robin, *[""] * 8]


FACTS = ModelFacts(
    "owls_b2", {WREN: {"scientific_name": "Troglodytes hiemalis", "species_code": "winwre3"}}, {WREN: 0.35}
)
PLACED = Recorder("AudioMoth 243B1F055B0F36FE", -27.4, 152.9)


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_tables_tell_names_place_device_model_and_threshold_where_known(tmp_path: Path, name: str) -> None:
    known = recording_of("pond/3/a.wav", [ROWS[1]], EVENING)._replace(recorder=PLACED)
    unknown = recording_of("b.wav", [ROWS[0]])
    with open_writers(name, tmp_path, labels=LABELS, high_hz=16_000, model=FACTS) as writers:
        writers.add(known)
        writers.add(unknown)
    table = pd.read_csv(tmp_path / "detections.csv") if name == "csv" else dataset_of(tmp_path)
    table = table.astype(object).where(table.notna(), None).set_index("filename")
    row = table.loc["pond/3/a.wav"]
    assert (row["scientific_name"], row["common_name"]) == ("Troglodytes hiemalis", WREN)
    assert (str(row["date"]), row["hour"], row["site"]) == ("2024-04-30", 23, "pond")
    assert (row["latitude"], row["longitude"], row["device"]) == (-27.4, 152.9, PLACED.device)
    assert (row["model"], row["threshold"]) == ("owls_b2", pytest.approx(0.35))
    other = table.loc["b.wav"]
    assert (other["scientific_name"], other["common_name"]) == ("Erithacus rubecula", "European Robin")
    assert other[["date", "hour", "latitude", "longitude", "device", "threshold"]].tolist() == [None] * 6
    assert other["model"] == "owls_b2"
    assert not other["site"]


def test_a_naive_time_stays_naive_and_is_rounded_to_the_millisecond(tmp_path: Path) -> None:
    start = datetime(2023, 12, 31, 23, 59, 59)
    write(tmp_path, [recording_of("a.wav", [(0.9996, 5.9996, WREN, 0.5)], start)], "csv", "raven")
    assert cells(tmp_path / "detections.csv")[1][5] == "2024-01-01T00:00:00.000"
    raven = cells(tmp_path / "raven" / "a.wav.selections.txt", "\t")
    assert raven[1][-1] == "2024/01/01 00:00:00.000"


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.rename")  # crowsetta 5.1 on pandas 3.1
def test_crowsetta_reads_the_raven_tables(crowsetta: Any, tmp_path: Path) -> None:
    write(tmp_path, [recording_of(NIGHT, start=EVENING)], "raven")
    path = tmp_path / "raven" / f"{NIGHT}.selections.txt"
    raven = crowsetta.formats.by_name("raven").from_file(path, annot_col="Species")
    found = [(box.onset, box.offset, box.low_freq, box.high_freq, box.label) for box in raven.to_bbox()]
    assert found == [(start_s, end_s, 0.0, 16_000, label) for start_s, end_s, label, _ in ROWS]


def test_raven_tables_keep_their_columns_and_have_the_time_where_it_is_known(tmp_path: Path) -> None:
    write(tmp_path, [recording_of("sub/a.wav"), recording_of("b.wav", [ROWS[2]], EVENING)], "raven")
    columns = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)"]
    columns += ["High Freq (Hz)", "Species", "Confidence", "Begin File"]
    without = cells(tmp_path / "raven" / "sub" / "a.wav.selections.txt", "\t")
    assert without[0] == columns
    assert without[3] == [
        "3",
        "Spectrogram 1",
        "1",
        "7.5",
        "12.03125",
        "0.0",
        "16000.0",
        ROBIN,
        "1.0",
        "a.wav",
    ]
    known = cells(tmp_path / "raven" / "b.wav.selections.txt", "\t")
    assert known[0] == [*columns, "Begin Date Time"]
    assert known[1][-2:] == ["b.wav", "2024/05/01 00:00:01.500"]


def test_crowsetta_reads_the_audacity_labels(crowsetta: Any, tmp_path: Path) -> None:
    write(tmp_path, [recording_of(NIGHT)], "audacity")
    track = crowsetta.formats.by_name("aud-seq").from_file(tmp_path / "audacity" / f"{NIGHT}.txt")
    assert track.start_times.tolist() == [0.0, 2.5004, 7.5]
    assert track.end_times.tolist() == [5.0, 7.5, 12.03125]
    assert track.labels.tolist() == [f"{ROBIN} 0.1235", f"{WREN} 0.9000", f"{ROBIN} 1.0000"]


def test_no_label_breaks_a_line_where_tabs_part_the_cells(tmp_path: Path) -> None:
    rows = [(0.0, 5.0, LABELS[2], 0.5), (0.0, 5.0, LABELS[3], 0.25)]
    write(tmp_path, [recording_of("a.wav", rows)])
    assert (tmp_path / "audacity" / "a.wav.txt").read_text() == (
        '0.000000\t5.000000\trobin song 2 0.5000\n0.000000\t5.000000\tthe "other" 0.2500\n'
    )
    raven = (tmp_path / "raven" / "a.wav.selections.txt").read_text().splitlines()
    assert [line.count("\t") for line in raven] == [9, 9, 9]
    assert [row[3] for row in cells(tmp_path / "detections.csv")[1:]] == list(LABELS[2:])


def test_birdnet_tables_have_its_columns_and_both_names(tmp_path: Path) -> None:
    recording = recording_of(NIGHT)
    write(tmp_path, [recording], "birdnet")
    path = tmp_path / "birdnet" / f"{NIGHT.removesuffix('.wav')}.BirdNET.results.csv"
    assert cells(path) == [
        ["Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File"],
        ["0.0", "5.0", "Erithacus rubecula", "European Robin", "0.1235", str(recording.path)],
        ["2.5004", "7.5", WREN, WREN, "0.9000", str(recording.path)],
        ["7.5", "12.03125", "Erithacus rubecula", "European Robin", "1.0000", str(recording.path)],
    ]


@pytest.mark.parametrize(
    "names", list(itertools.permutations(["d/a.flac", "d/a.wav", "d/a.flac.wav"])), ids=", ".join
)
def test_recordings_that_differ_in_their_suffix_get_a_birdnet_table_each(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    write(tmp_path, [recording_of(name, ROWS[:1]) for name in names], "birdnet")
    files = [cells(path)[1][-1] for path in (tmp_path / "birdnet").rglob("*.BirdNET.results.csv")]
    assert sorted(files) == sorted(str(Path("/data/year 1") / name) for name in names)


@pytest.mark.parametrize(
    ("label", "scientific", "common"),
    [
        ("Turdus merula_Amsel", "Turdus merula", "Amsel"),
        ("Engine_Engine", "Engine", "Engine"),
        ("Turdus_merula", "Turdus_merula", "Turdus_merula"),
        ("robin song_short", "robin song_short", "robin song_short"),
        ("Turdus merula_", "Turdus merula_", "Turdus merula_"),
        ("Turdus merula", "Turdus merula", "Turdus merula"),
    ],
)
def test_only_labels_of_birdnets_form_hold_two_names(label: str, scientific: str, common: str) -> None:
    assert species_names(label) == (scientific, common)


def test_the_kaleidoscope_table_has_birdnets_columns_and_those_that_kaleidoscope_shows(
    tmp_path: Path,
) -> None:
    write(tmp_path, [recording_of(NIGHT), recording_of("a.wav", [(0.1, 0.3, WREN, 0.5)])], "kaleidoscope")
    header, *rows = cells(tmp_path / "kaleidoscope.csv")
    assert ",".join(header) == (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,"
        "lat,lon,week,overlap,sensitivity,CHANNEL,DATE,TIME,HOUR,TOP1MATCH,TOP1DIST,MANUAL ID"
    )
    root, folder, name = str(Path("/data/year 1")), *NIGHT.split("/")
    names = ["Erithacus rubecula", "European Robin"]
    birdnet = [row[:13] for row in rows]
    assert birdnet[0] == [root, folder, name, "0.0", "5.0", *names, "0.1235", "", "", "", "2.5", ""]
    assert birdnet[3] == [root, "", "a.wav", "0.1", "0.2", WREN, WREN, "0.5000", "", "", "", "2.5", ""]
    assert rows[0][13:] == ["0", "", "", "", "European Robin", "0.8765", ""]
    assert rows[3][13:] == ["0", "", "", "", WREN, "0.5000", ""]
    assert len(rows) == 4


def test_the_kaleidoscope_table_has_the_whole_path_the_time_and_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    near = recording_of("3/a.wav", ROWS[:1], EVENING, root=Path("card"))._replace(recorder=PLACED)
    write(tmp_path / "out", [near], "kaleidoscope")
    row = pd.read_csv(tmp_path / "out" / "kaleidoscope.csv", dtype=str).loc[0]
    assert row[["INDIR", "FOLDER", "IN FILE"]].tolist() == [str(tmp_path / "card"), "3", "a.wav"]
    assert row[["DATE", "TIME", "HOUR"]].tolist() == ["2024-04-30", "23:59:54", "23"]
    assert row[["lat", "lon"]].tolist() == ["-27.4", "152.9"]


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.rename")  # crowsetta 5.1 on pandas 3.1
def test_one_raven_table_counts_through_all_recordings(
    crowsetta: Any, tmp_path: Path, data_factory: Any
) -> None:
    first = data_factory.tone("a b.wav", 12.5, 1000, sample_rate=24_000)
    names = [first.name, "gone/b.wav", "c.wav"]
    recordings = [recording_of(name, root=first.parent) for name in names]
    recordings[2] = recording_of("c.wav", [], root=first.parent)
    write(tmp_path, [*recordings, recording_of("d.wav", ROWS[:1], root=first.parent)], "raven_combined")
    folder = tmp_path / "raven_combined"
    path = folder / "detections.selections.txt"
    boxes = crowsetta.formats.by_name("raven").from_file(path, annot_col="Species").to_bbox()
    begins = [0.0] * 3 + [12.5] * 3 + [132.5]  # a recording that is not at hand counts with its windows
    rows = [*ROWS, *ROWS, ROWS[0]]
    onsets = [begin + row[0] for begin, row in zip(begins, rows, strict=True)]
    assert [box.onset for box in boxes] == pytest.approx(onsets, abs=1e-9)
    assert [box.high_freq for box in boxes] == [12_000] * 3 + [16_000] * 4
    table = pd.read_csv(path, sep="\t")
    assert table["Selection"].tolist() == list(range(1, 8))
    assert table["File Offset (s)"].tolist() == [row[0] for row in rows]
    listed = (folder / "recordings.list.txt").read_text(encoding="utf-8").splitlines()
    assert listed == [str(first.parent / name) for name in (*names, "d.wav")]
    assert table["Begin Path"].tolist() == [listed[0]] * 3 + [listed[1]] * 3 + [listed[3]]


def test_one_raven_table_is_read_back_as_boxes_of_its_recordings(tmp_path: Path) -> None:
    recordings = [recording_of(name, [ROWS[0]], root=tmp_path) for name in ("a.wav", "sub/b.wav")]
    write(tmp_path, recordings, "raven_combined")
    found = read_annotations(tmp_path / "raven_combined", ["a.wav", "sub/b.wav"])
    assert found.boxes[["filename", "start_s", "end_s", "label"]].values.tolist() == [
        ["a.wav", 0.0, 5.0, ROBIN],
        ["sub/b.wav", 0.0, 5.0, ROBIN],
    ]


def test_a_recording_over_midnight_falls_into_two_days_of_the_dataset(tmp_path: Path) -> None:
    write(tmp_path, [recording_of(NIGHT, start=EVENING)], "parquet")
    assert sorted(contents(tmp_path / "detections")) == [
        "day=2024-04-30/part-0.parquet",
        "day=2024-05-01/part-0.parquet",
    ]
    found = dataset_of(tmp_path)
    assert found["day"].tolist() == ["2024-04-30", "2024-04-30", "2024-05-01"]
    assert list(zip(found["start_s"], found["end_s"], found["label"], strict=True)) == [r[:3] for r in ROWS]
    assert found["probability"].tolist() == [float(np.float32(row[3])) for row in ROWS]
    assert set(found["filename"]) == {NIGHT}
    assert [str(time) for time in found["time"]] == [
        "2024-04-30 23:59:54",
        "2024-04-30 23:59:56.500400",
        "2024-05-01 00:00:01.500000",
    ]
    assert set(found["utc_offset_minutes"]) == {120}


def test_unknown_and_naive_times_are_null_where_nothing_is_known(tmp_path: Path) -> None:
    naive = recording_of("b.wav", start=datetime(2024, 5, 1, 4))
    write(tmp_path, [recording_of("a.wav"), naive], "parquet")
    found = pd.read_parquet(tmp_path / "detections").set_index("filename")
    assert set(found.loc["a.wav", "day"]) == {"unknown"}
    assert found.loc["a.wav", "time"].isna().all()
    assert found.loc["b.wav", "time"].iloc[0] == pd.Timestamp("2024-05-01 04:00")
    assert found["utc_offset_minutes"].isna().all()


def test_every_file_of_the_dataset_has_the_same_columns_and_none_for_the_day(tmp_path: Path) -> None:
    write(tmp_path, [recording_of("a.wav"), recording_of("b.wav", start=EVENING)], "parquet")
    schemas = [
        pyarrow.parquet.ParquetFile(path).schema_arrow
        for path in (tmp_path / "detections").rglob("*.parquet")
    ]
    assert len(schemas) == 3
    assert all(schema == schemas[0] for schema in schemas)
    assert schemas[0].names == [
        *("filename", "start_s", "end_s", "label", "probability", "time", "utc_offset_minutes"),
        *("scientific_name", "common_name", "date", "hour", "site"),
        *("latitude", "longitude", "device", "model", "threshold"),
    ]
    assert schemas[0].field("time").type == pa.timestamp("us")
    assert schemas[0].field("probability").type == pa.float32()


def two_sites(n_recordings: int) -> Iterator[RecordingDetections]:
    """Return recordings at noon of each day, first of one site and then, from the first day, of the next."""
    for site in "ab":
        for day in range(n_recordings // 2):
            start = datetime(2024, 1, 1, 12, tzinfo=UTC) + timedelta(days=day % 40)
            yield recording_of(f"{site}/{day:04}.wav", ROWS if day % 3 else [], start)


def test_a_day_that_comes_back_is_one_file_with_its_rows_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_HELD_RECORDINGS", 7)
    for out_dir in (tmp_path / "once", tmp_path / "again"):
        write(out_dir, two_sites(160), "parquet")
    written = contents(tmp_path / "once")
    assert len(written) == 40
    assert all(name.endswith("/part-0.parquet") for name in written)
    assert written == contents(tmp_path / "again")
    days = dataset_of(tmp_path / "once").groupby("day")
    expected = {
        str(day.date()): [name for name in group.filename for _ in ROWS]
        for day, group in pd.DataFrame(
            [(r.start.replace(hour=0), r.filename) for r in two_sites(160) if r.start and len(r.detections)],
            columns=["day", "filename"],
        ).groupby("day")
    }
    assert {day: group["filename"].tolist() for day, group in days} == expected


@pytest.mark.stress
def test_memory_does_not_grow_with_the_number_of_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_HELD_RECORDINGS", 5)
    write(tmp_path / "first", two_sites(300))  # what Python and pyarrow keep for good

    def peak_bytes(n_recordings: int) -> int:
        arrow_bytes = 0
        gc.collect()
        tracemalloc.start()
        with writers_of(tmp_path / str(n_recordings)) as writers:
            for recording in two_sites(n_recordings):
                writers.add(recording)
                arrow_bytes = max(arrow_bytes, pa.total_allocated_bytes())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak + arrow_bytes

    few, many = peak_bytes(100), peak_bytes(500)
    assert many - few < 400 * 500  # three rows alone take more


def test_without_detections_every_output_is_valid_and_empty(tmp_path: Path) -> None:
    write(tmp_path, [recording_of("a.wav", []), recording_of("sub/b.wav", [], EVENING)])
    assert len(cells(tmp_path / "detections.csv")) == len(cells(tmp_path / "kaleidoscope.csv")) == 1
    for table in (tmp_path / "raven").rglob("*.txt"):
        assert len(pd.read_csv(table, sep="\t")) == 0
    assert sorted(contents(tmp_path / "raven")) == ["a.wav.selections.txt", "sub/b.wav.selections.txt"]
    assert contents(tmp_path / "audacity") == {"a.wav.txt": b"", "sub/b.wav.txt": b""}
    assert len(cells(tmp_path / "birdnet" / "sub" / "b.BirdNET.results.csv")) == 1
    found = pd.read_parquet(tmp_path / "detections")
    assert found.empty
    assert {"filename", "time", "label", "day"} <= set(found)


def test_without_recordings_every_output_is_there(tmp_path: Path) -> None:
    with writers_of(tmp_path) as writers:
        assert [path for path in writers.paths.values() if path.exists()] == []
    assert list(writers.paths) == list(FORMATS)
    assert set(tmp_path.iterdir()) == set(writers.paths.values())


def test_a_crash_leaves_the_earlier_outputs_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, [recording_of(NIGHT, start=EVENING)])
    before = contents(tmp_path)

    def broken() -> Iterator[RecordingDetections]:
        yield recording_of("new.wav")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, broken())
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(tuple(FORMATS))


def test_where_one_output_cannot_take_its_place_none_does(tmp_path: Path) -> None:
    (tmp_path / "detections").write_text("not ours")
    with pytest.raises(WriteError, match="detections: cannot be written: Not a directory"):
        write(tmp_path, [recording_of("a.wav")])
    assert contents(tmp_path) == {"detections": b"not ours"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_smaller_run_leaves_no_tables_of_an_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "both", [recording_of("sub/a.wav", start=EVENING), recording_of("b.wav")])
    for out_dir in (tmp_path / "both", tmp_path / "fresh"):
        write(out_dir, [recording_of("b.wav")])
    assert contents(tmp_path / "both") == contents(tmp_path / "fresh")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_that_is_no_utf_8_keeps_its_bytes_or_is_escaped(tmp_path: Path) -> None:
    name = b"K\xf6ln.wav".decode("utf-8", "surrogateescape")
    write(tmp_path, [recording_of(name)])
    assert b"\nK\xf6ln.wav,0.0," in (tmp_path / "detections.csv").read_bytes()
    assert b",K\xf6ln.wav,0.0," in (tmp_path / "kaleidoscope.csv").read_bytes()
    assert set(dataset_of(tmp_path)["filename"]) == {"K\\udcf6ln.wav"}


def test_an_unknown_format_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the format is 'parqet', which is not known; did you mean parquet\?"
    ):
        writers_of(tmp_path / "out", "csv", "parqet")
    with pytest.raises(
        ConfigError, match="'xlsx', which is not known; legal names are audacity, birdnet, camtrap_dp"
    ):
        writers_of(tmp_path / "out", "xlsx")
    assert not (tmp_path / "out").exists()


def test_seconds_pass_evenly_across_a_change_of_the_clocks() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    spring = absolute_time(datetime(2024, 3, 31, 1, 59, 59, tzinfo=berlin), 2.0)
    assert spring is not None
    assert spring.isoformat() == "2024-03-31T03:00:01+02:00"
    autumn = absolute_time(datetime(2024, 10, 27, 2, 30, tzinfo=berlin), 3600.0)
    assert autumn is not None
    assert autumn.isoformat() == "2024-10-27T02:30:00+01:00"
    assert absolute_time(datetime(2024, 3, 31, 1, 59, 59), 2.0) == datetime(2024, 3, 31, 2, 0, 1)
    assert absolute_time(None, 2.0) is None


@pytest.mark.parametrize(
    ("sample_rate", "high_hz"), [(16_000, "8000.0"), (24_000, "12000.0"), (48_000, "16000.0")]
)
def test_a_raven_box_ends_where_the_recording_does(
    tmp_path: Path, data_factory: Any, sample_rate: int, high_hz: str
) -> None:
    path = data_factory.tone("a.wav", 1.0, sample_rate=sample_rate)
    write(tmp_path, [recording_of("a.wav")._replace(path=path)], "raven")
    rows = cells(tmp_path / "raven" / "a.wav.selections.txt", "\t")
    assert {row[6] for row in rows[1:]} == {high_hz}


@pytest.mark.parametrize("name", ["raven", "audacity", "birdnet"])
def test_a_recording_named_outside_the_folder_gets_no_table_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePathError, match="does not lie below"):
        write(tmp_path / "out", [recording_of("../../victim.wav")], name)
    assert list(tmp_path.rglob("*victim*")) == []


@pytest.mark.parametrize("name", ["csv", "kaleidoscope", "birdnet", "raven"])
def test_names_are_no_formulas_where_that_is_asked_for(tmp_path: Path, name: str) -> None:
    label, filename = "@SUM(A1)", "=HYPERLINK(1).wav"
    found = recording_of(filename, [(0.0, 5.0, label, 0.9)], root=Path("+data"))
    for escape in (False, True):
        out = tmp_path / str(escape)
        writers = open_writers(name, out, labels=[label], high_hz=16_000, escape_formulas=escape)
        with writers:
            writers.add(found)
        (path,) = (file for file in out.rglob("*") if file.is_file())
        texts = [cell for row in cells(path, "\t" if name == "raven" else ",")[1:] for cell in row]
        assert any(text.startswith(("=", "+", "-", "@")) for text in texts) == (not escape)
        assert ("'" + label in texts) == escape
        assert "0.9000" in texts or "0.9" in texts
