"""Raven selection tables, Audacity labels and CSV boxes."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest

from dawnchorus.errors import DataError
from dawnchorus.formats import RecordingDetections, open_writers
from dawnchorus.formats.annotations import BOX_COLUMNS, read_annotations, read_boxes_csv

RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
    "1\tWaveform 1\t1\t0.5\t2.0\t0\t16000\trobin\n"
    "1\tSpectrogram 1\t1\t0.5\t2.0\t2000\t8000\trobin\n"
    "2\tSpectrogram 1\t1\t3.25\t4.0\t2000\t8000\twren\n"
)


def boxes_of(
    path: Path, *filenames: str, label_column: str | None = None
) -> list[tuple[str, float, float, str]]:
    found = read_annotations(path, filenames, label_column=label_column)
    assert found.faults == []
    return list(found.boxes[BOX_COLUMNS].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    "name", ["XC1.Table.1.selections.txt", "XC1.selections.txt", "XC1.ogg.selections.txt", "XC1.txt"]
)
def test_a_raven_table_belongs_to_the_recording_it_is_named_after(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(RAVEN)
    found = boxes_of(tmp_path / name, "a/XC1.ogg", "a/XC10.ogg")
    assert found == [("a/XC1.ogg", 0.5, 2.0, "robin"), ("a/XC1.ogg", 3.25, 4.0, "wren")]


def test_a_folder_of_tables_keeps_two_recordings_of_one_name_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, label in (("a", "robin"), ("b", "wren")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "XC1.txt").write_text(f"0.5\t1.5\t{label}\n")
    (tmp_path / "LICENSE.txt").write_text("No table at all.\n")
    with caplog.at_level(logging.WARNING, logger="dawnchorus"):
        assert boxes_of(tmp_path, "a/XC1.ogg", "b/XC1.ogg") == [
            ("a/XC1.ogg", 0.5, 1.5, "robin"),
            ("b/XC1.ogg", 0.5, 1.5, "wren"),
        ]
    assert "LICENSE.txt named after no recording, or after several; not read" in caplog.text


def test_a_raven_table_over_several_files_counts_from_each_files_beginning(tmp_path: Path) -> None:
    header = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation\n"
    rows = "1\tSpectrogram 1\t1\t2\tone.wav\t1\trobin\n2\tSpectrogram 1\t61\t62.5\ttwo.wav\t1\twren\n"
    (tmp_path / "night.txt").write_text(header + rows)
    found = [("one.wav", 1, 2, "robin"), ("two.wav", 1, 2.5, "wren")]
    assert boxes_of(tmp_path / "night.txt", "one.wav", "two.wav") == found
    assert boxes_of(tmp_path, "one.wav", "two.wav") == found
    without = pd.read_csv(tmp_path / "night.txt", sep="\t").drop(columns="File Offset (s)")
    without.to_csv(tmp_path / "night.txt", sep="\t", index=False)
    faults = read_annotations(tmp_path / "night.txt", ["one.wav", "two.wav"]).faults
    assert [fault.line for fault in faults] == [2, 3]
    assert "need the column File Offset" in faults[0].what


@pytest.mark.parametrize("format", ["raven", "audacity", "csv"])
def test_our_own_tables_are_read_back(tmp_path: Path, format: str) -> None:
    detections = pd.DataFrame(
        {
            "filename": ["sub/a.wav"] * 2,
            "start_s": [0.0, 5.0],
            "end_s": [5.0, 10.0],
            "label": ["robin", "wren"],
            "probability": [0.9, 0.8],
        }
    )
    with open_writers(format, tmp_path, labels=["robin", "wren"], high_hz=16_000) as writers:
        for name in ("sub/a.wav", "b.wav"):
            rows = detections[detections["filename"] == name]
            writers.add(RecordingDetections(name, Path(name), 10.0, None, rows))
    found = read_annotations(writers.paths[format], ["sub/a.wav", "b.wav", "c.wav"])
    silent = ["b.wav"] if format != "csv" else []  # one table cannot tell of a silent recording
    assert found.filenames == [*silent, "sub/a.wav"]
    pd.testing.assert_frame_equal(found.boxes[BOX_COLUMNS], detections[BOX_COLUMNS], check_dtype=False)


def test_the_label_column_of_a_raven_table_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "XC1.txt"
    path.write_text(RAVEN.replace("Species", "Kind"))
    assert len(boxes_of(path, "XC1.ogg", label_column="kind")) == 2
    with pytest.raises(
        DataError, match=r"has no column Species or .* its columns are Selection, .*label_column"
    ):
        read_annotations(path, ["XC1.ogg"])


def test_audacity_labels_may_have_frequencies_and_points(tmp_path: Path) -> None:
    path = tmp_path / "XC1.txt"
    path.write_text("0.5\t1.5\tTurdus merula\n\\\t2000.0\t8000.0\n2.0\t2.0\tcall\n\n")
    found = [("XC1.ogg", 0.5, 1.5, "Turdus merula"), ("XC1.ogg", 2.0, 2.0, "call")]
    assert boxes_of(path, "XC1.ogg") == found


def test_an_empty_table_says_that_nothing_was_heard(tmp_path: Path) -> None:
    (tmp_path / "XC1.txt").write_text("")
    (tmp_path / "XC2.txt").write_text(RAVEN.splitlines()[0] + "\n")
    assert read_annotations(tmp_path, ["XC1.ogg", "XC2.ogg", "XC3.ogg"]).filenames == ["XC1.ogg", "XC2.ogg"]


def test_every_faulty_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text(
        "filename,start_s,end_s,label\na.wav,0,1,x\na.wav,0,1,x\na.wav,2,1,x\na.wav,,1,x\na.wav,0,2,\n"
        "b.wav,0,1,x\na.wav,-1,1,x\na.wav,0,inf,x\n"
    )
    (tmp_path / "a.txt").write_text("0\t1\nzero\tone\tx\n")
    found = read_annotations(tmp_path, ["a.wav"])
    assert len(found.boxes) == 1
    told = {(fault.table.name, fault.line) for fault in found.faults}
    assert told == {("annotations.csv", line) for line in (3, 4, 5, 6, 7, 8, 9)} | {
        ("a.txt", 1),
        ("a.txt", 2),
    }
    whats = " ".join(fault.what for fault in found.faults)
    for what in (
        "stands twice",
        "is no stretch of time",
        "label is empty",
        "there is no recording b.wav",
        "is no label",
    ):
        assert what in whats


def test_a_table_for_no_recording_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "XC9.txt").write_text("0\t1\tx\n")
    assert "named after no recording" in read_annotations(tmp_path / "XC9.txt", ["XC1.ogg"]).faults[0].what
    (tmp_path / "XC9.txt").write_text(RAVEN)
    assert "is no recording here" in read_annotations(tmp_path / "XC9.txt", ["XC1.ogg"]).faults[0].what
    with pytest.raises(DataError, match="holds no table named after a recording"):
        read_annotations(tmp_path, ["XC1.ogg"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read; No such file"), (b"\xff\xfe0\t1\tx", "is no text in UTF-8")],
)
def test_a_table_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "XC1.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path / "XC1.txt", ["XC1.ogg"])


def test_a_csv_of_boxes_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; give a CSV"):
        read_boxes_csv(tmp_path / "nowhere.csv")
    (tmp_path / "a.csv").write_text("filename,start_s\n")
    with pytest.raises(DataError, match="has no column end_s, label"):
        read_boxes_csv(tmp_path / "a.csv")
    for times in ('"1,5","2,5"', "2,1", "1,"):
        (tmp_path / "a.csv").write_text(f"filename,start_s,end_s,label\na.wav,{times},x\n")
        with pytest.raises(DataError, match=r"line 2: .* is no stretch of time"):
            read_boxes_csv(tmp_path / "a.csv")


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("filename,start_s,end_s,label\na.wav,0,1,1139490\n")
    assert read_boxes_csv(tmp_path / "a.csv")["label"].tolist() == ["1139490"]


def test_real_annotations_can_be_read(shared_data: Path) -> None:
    assert len(read_boxes_csv(shared_data / "birdeep" / "annotations.csv")) > 100


def test_a_name_with_folders_means_that_path_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(
        "filename,start_s,end_s,label\nsiteB/r0.wav,0,1,owl\nsiteA/r1.wav,0,1,owl\n"
    )
    found = read_annotations(tmp_path / "boxes.csv", ["r0.wav", "siteA/r1.wav"])
    assert found.filenames == ["siteA/r1.wav"]
    assert [fault.line for fault in found.faults] == [2]


def test_birdnets_one_table_for_many_files_names_them_by_their_whole_paths(tmp_path: Path) -> None:
    (tmp_path / "BirdNET_SelectionTable.txt").write_text(
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
        "Species Code\tConfidence\tBegin Path\tFile Offset (s)\n"
        "1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tRobin\teurrob1\t0.9\tE:\\rec\\siteA\\n1.wav\t3.0\n"
        "2\tSpectrogram 1\t1\t63.0\t66.0\t0\t15000\tRobin\teurrob1\t0.8\t/data/rec/siteB/n1.wav\t3.0\n"
    )
    found = boxes_of(tmp_path, "siteA/n1.wav", "siteB/n1.wav", label_column="Species Code")
    assert found == [("siteA/n1.wav", 3, 6, "eurrob1"), ("siteB/n1.wav", 3, 6, "eurrob1")]
