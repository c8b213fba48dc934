"""Tables of BirdNET-Analyzer and Kaleidoscope, as boxes to train on and as detections to cut out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dawnchorus.cli.segments_command import segments
from dawnchorus.errors import DataError
from dawnchorus.formats import RecordingDetections, open_writers, read_detections
from dawnchorus.formats.annotations import read_annotations
from dawnchorus.recordings.recordings_table import load_recordings

NAMES = ["site_a/n1.wav", "site_b/n1.wav"]
A, B = r"E:\rec\site_a\n1.wav", "/data/rec/site_b/n1.wav"
TABLES = {
    # As BirdNET-Analyzer 1.5 to 2.4 writes them, combined or one a recording.
    "BirdNET_CombinedTable.csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        f"0.0,3.0,Turdus merula,Eurasian Blackbird,0.8123,{A}\n"
        f"3.0,6.0,Parus major,Great Tit,0.4411,{B}\n"
    ),
    "n1.BirdNET.results.r.csv": (
        "filepath,start,end,scientific_name,common_name,confidence,lat,lon,week,overlap,sensitivity,min_conf,"
        "species_list,model\n"
        f"{A},0.0,3.0,Turdus merula,Eurasian Blackbird,0.8123,-1,-1,-1,0,1,0.1,,BirdNET\n"
        f"{B},3.0,6.0,Parus major,Great Tit,0.4411,-1,-1,-1,0,1,0.1,,BirdNET\n"
    ),
    "BirdNET_Kaleidoscope.csv": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat,lon,week,overlap,"
        "sensitivity\n"
        r"E:\rec,site_a,n1.wav,0.0,3.0,Turdus merula,Eurasian Blackbird,0.8123,-1,-1,-1,0,1" + "\n"
        "/data/rec,site_b,n1.wav,3.0,3.0,Parus major,Great Tit,0.4411,-1,-1,-1,0,1\n"
    ),
    "BirdNET_SelectionTable.txt": (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
        "Species Code\tConfidence\tBegin Path\tFile Offset (s)\n"
        f"1\tSpectrogram 1\t1\t0.0\t3.0\t0\t15000\tEurasian Blackbird\teurbla\t0.8123\t{A}\t0.0\n"
        f"2\tSpectrogram 1\t1\t63.0\t66.0\t0\t15000\tGreat Tit\tgretit1\t0.4411\t{B}\t3.0\n"
        f"3\tSpectrogram 1\t1\t63.0\t66.0\t0\t15000\tnocall\tnocall\t1.0\t{B}\t3.0\n"
    ),
}
LABELS = {
    name: ["eurbla", "gretit1"] if name.endswith(".txt") else ["Turdus merula", "Parus major"]
    for name in TABLES
}


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "audio" / name).parent.mkdir(parents=True)
        (tmp_path / "audio" / name).touch()
    return tmp_path / "audio"


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("as_folder", [False, True])
def test_tables_of_birdnet_are_boxes_of_the_recordings_that_they_name(
    tmp_path: Path, name: str, as_folder: bool
) -> None:
    path = tmp_path / name
    path.write_text(TABLES[name], encoding="utf-8")
    (tmp_path / "BirdNET_analysis_params.csv").write_text("Segment length,Sample rate\n3.0,48000\n")
    found = read_annotations(tmp_path if as_folder else path, NAMES)
    boxes = found.boxes[found.boxes["label"] != "nocall"]
    assert boxes[["filename", "start_s", "end_s"]].values.tolist() == [[NAMES[0], 0, 3], [NAMES[1], 3, 6]]
    assert boxes["label"].tolist() == LABELS[name]
    assert not found.faults


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("given", [["Eurasian_Blackbird", "GREAT TIT"], ["Eurasian Blackbird", "great_tit"]])
def test_names_take_the_spelling_of_the_classes(tmp_path: Path, name: str, given: list[str]) -> None:
    (tmp_path / name).write_text(TABLES[name], encoding="utf-8")
    boxes = read_annotations(tmp_path / name, NAMES, labels=given).boxes
    assert boxes["label"].tolist()[:2] == given


def test_classes_of_birdnets_form_are_found(tmp_path: Path) -> None:
    name = "BirdNET_CombinedTable.csv"
    (tmp_path / name).write_text(TABLES[name], encoding="utf-8")
    labels = ["Turdus merula_Eurasian Blackbird", "Parus major_Great Tit"]
    assert read_annotations(tmp_path / name, NAMES, labels=labels).boxes["label"].tolist() == labels
    column = read_annotations(tmp_path / name, NAMES, label_column="Common name").boxes["label"]
    assert column.tolist() == ["Eurasian Blackbird", "Great Tit"]


def test_a_row_for_a_recording_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    name = "BirdNET_CombinedTable.csv"
    (tmp_path / name).write_text(TABLES[name].replace("site_b", "site_c"), encoding="utf-8")
    (fault,) = read_annotations(tmp_path / name, NAMES).faults
    assert (fault.line, fault.what) == (3, "there is no recording /data/rec/site_c/n1.wav")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("as_folder", [False, True])
def test_tables_of_birdnet_are_detections(tmp_path: Path, audio: Path, name: str, as_folder: bool) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / name).write_text(TABLES[name], encoding="utf-8")
    (folder / "BirdNET_analysis_params.csv").write_text("Segment length,Sample rate\n3.0,48000\n")
    (folder / "BirdNET_SelectionTable.list.txt").write_text(f"{A}\n{B}\n")
    found = read_detections(folder if as_folder else folder / name, audio)
    assert found["filename"].tolist() == NAMES
    assert found[["start_s", "end_s", "probability"]].values.tolist() == [[0, 3, 0.8123], [3, 6, 0.4411]]
    assert found["label"].tolist() == LABELS[name]


def test_segments_cuts_clips_of_what_birdnet_has_found(tmp_path: Path, data_factory: Any) -> None:
    for name in NAMES:
        data_factory.tone(name, 7.0, 1000)
    (tmp_path / "birdnet.csv").write_text(TABLES["BirdNET_CombinedTable.csv"], encoding="utf-8")
    segments(tmp_path / "birdnet.csv", data_factory.root, out=tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.glob("out/*/*")) == [
        "Parus major/0.441_site_b__n1_3.00-6.00.flac",
        "Turdus merula/0.812_site_a__n1_0.00-3.00.flac",
    ]


def test_what_a_reviewer_names_in_kaleidoscope_counts(tmp_path: Path, audio: Path) -> None:
    (tmp_path / "id.csv").write_text(
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH*,TOP1DIST,MANUAL ID\n"
        "/card,site_a,n1.wav,1.5,0.25,Parus major,0.3,\n"
        "/card,site_b,n1.wav,2,1,Parus major,0.4,Turdus merula\n"
    )
    boxes = read_annotations(tmp_path / "id.csv", NAMES).boxes
    assert boxes[["filename", "start_s", "end_s", "label"]].values.tolist() == [
        ["site_a/n1.wav", 1.5, 1.75, "Parus major"],
        ["site_b/n1.wav", 2.0, 3.0, "Turdus merula"],
    ]
    assert read_detections(tmp_path / "id.csv", audio)["probability"].tolist() == [1, 1]


def test_a_table_of_ours_that_was_corrected_in_raven_is_read(tmp_path: Path, audio: Path) -> None:
    rows = pd.DataFrame(
        {"start_s": [0.0, 5.0], "end_s": [5.0, 10.0], "label": ["owl", "wren"], "probability": [0.9, 0.8]}
    )
    with open_writers("raven", tmp_path, labels=["owl", "wren"], high_hz=16_000) as writers:
        writers.add(RecordingDetections(NAMES[0], audio / NAMES[0], 10.0, None, rows))
    ours = tmp_path / "raven" / "site_a" / "n1.wav.selections.txt"
    header, first, second = ours.read_text().splitlines()
    drawn = "3\tSpectrogram 1\t1\t7.25\t8.5\t900\t4000\trobin\t\tn1.wav"
    views = [first, first.replace("Spectrogram 1", "Waveform 1")]
    corrected = [header, *views, second.replace("wren", "robin"), drawn]
    table = tmp_path / "corrected" / "site_a" / "n1.Table.1.selections.txt"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(corrected) + "\n")
    expected = [(0.0, 5.0, "owl"), (5.0, 10.0, "robin"), (7.25, 8.5, "robin")]
    found = read_detections(tmp_path / "corrected", audio)
    assert set(found["filename"]) == {NAMES[0]}
    assert [tuple(row) for row in found[["start_s", "end_s", "label"]].values] == expected
    assert found["probability"].tolist() == [0.9, 0.8, 1.0]
    boxes = read_annotations(tmp_path / "corrected", NAMES).boxes
    assert [tuple(row) for row in boxes[["start_s", "end_s", "label"]].values] == expected


def test_a_table_of_another_program_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("recording,second\na.wav,1\n")
    with pytest.raises(DataError, match=r"other\.csv has no column filename, start_s, end_s, label"):
        read_detections(tmp_path / "other.csv")


def test_results_of_birdnet_are_annotations_of_a_dataset_root(data_factory: Any, tmp_path: Path) -> None:
    for name in NAMES:
        data_factory.tone(name, 7.0, 1000)
    (tmp_path / "birdnet.csv").write_text(TABLES["BirdNET_CombinedTable.csv"], encoding="utf-8")
    place = {"audio_dir": data_factory.root, "annotations": tmp_path / "birdnet.csv"}
    table = load_recordings(place).table.set_index("filename")
    assert table.loc[NAMES[0], "boxes"] == ((0.0, 3.0, "Turdus merula"),)
    assert table["primary_label"].tolist() == ["Turdus merula", "Parus major"]
