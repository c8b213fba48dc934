"""Names that look alike, and tables as spreadsheets and other systems leave them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.formats.faults import FaultyTableError
from dawnchorus.formats.text_tables import clean_label, variant_spellings
from dawnchorus.recordings.labels import read_labels
from dawnchorus.recordings.recordings_table import load_recordings

LARK = "Häussperling"


@pytest.fixture
def root(data_factory: Any) -> Path:
    for name in ("a", "b", "c", "d"):
        data_factory.tone(f"{name}.wav", 1.0)
    return Path(data_factory.root)


def table(root: Path, *rows: str, header: str = "filename,primary_label,secondary_labels") -> Path:
    (root / "recordings.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    "spelled",
    [unicodedata.normalize("NFD", LARK), f"{LARK}\u200b", f"\u00a0{LARK}\u00a0", f"\ufeff{LARK}", f"{LARK} "],
)
def test_spellings_that_nobody_can_tell_apart_are_one_species(root: Path, spelled: str) -> None:
    found = load_recordings(table(root, f"a.wav,{LARK},", f"b.wav,{spelled},", f"c.wav,owl,{spelled}"))
    assert found.table["primary_label"].tolist() == [LARK, LARK, "owl"]
    assert found.table["secondary_labels"].tolist() == [(), (), (LARK,)]
    file = root / "labels.txt"
    file.write_text(f"{spelled}\nowl\n", encoding="utf-8")
    assert read_labels(file).labels == (LARK, "owl")


def test_spaces_within_a_name_count_as_one() -> None:
    assert clean_label("Junco\u00a0 \u2009hyemalis") == "Junco hyemalis"


@pytest.mark.parametrize("other", ["junco hyemalis", "Junco_hyemalis", "JUNCO HYEMALIS"])
def test_another_case_is_a_fault_that_names_both(root: Path, other: str) -> None:
    rows = ("a.wav,Junco hyemalis,", "b.wav,Junco hyemalis,", f"c.wav,{other},", "d.wav,owl,Junco hyemalis")
    message = rf"recordings.csv, line 4: the label '{other}' looks like 'Junco hyemalis', which is more"
    with pytest.raises(FaultyTableError, match=message) as refused:
        load_recordings(table(root, *rows))
    assert [fault.line for fault in refused.value.faults] == [4]
    left = load_recordings(root, faulty="leave_out")
    assert left.table["filename"].tolist() == ["a.wav", "b.wav", "d.wav"]


def test_of_variant_spellings_the_frequent_one_is_meant_and_others_stand() -> None:
    assert variant_spellings(["b", "B", "B", "a_a", "a a", "c"]) == {"b": "B", "a_a": "a a"}


@pytest.mark.skipif(os.name != "posix", reason="names are compared as the system does")
@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_file_is_found_however_its_accents_are_written(
    data_factory: Any, on_disk: str, in_table: str
) -> None:
    data_factory.tone(unicodedata.normalize(on_disk, f"{LARK}/é.wav"), 1.0)
    name = unicodedata.normalize(in_table, f"{LARK}/é.wav")
    found = load_recordings(table(data_factory.root, f"{name},{LARK},"))
    assert len(found.table) == 1
    (data_factory.root / "labels").mkdir()
    annotation = data_factory.root / "labels" / unicodedata.normalize(in_table, "é.txt")
    annotation.write_text("0.1\t0.4\towl\n")
    place = {"audio_dir": data_factory.root, "annotations": data_factory.root / "labels"}
    assert load_recordings(place).table["boxes"].tolist() == [((0.1, 0.4, "owl"),)]


def test_empty_lines_of_a_spreadsheet_are_no_recordings(root: Path) -> None:
    found = load_recordings(table(root, "a.wav,owl,", ",,", "", "b.wav,wren,", ",,", ",,"))
    assert found.table["filename"].tolist() == ["a.wav", "b.wav"]


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_a_line_that_names_the_separator_is_understood(root: Path, separator: str) -> None:
    lines = ["filename,primary_label", "a.wav,owl", "b.wav,", "c.wav,owl"]
    text = "\n".join([f"sep={separator}", *(line.replace(",", separator) for line in lines)])
    (root / "recordings.csv").write_text(text)
    with pytest.raises(FaultyTableError, match=r"recordings.csv, line 4: primary_label is empty"):
        load_recordings(root)
    assert load_recordings(root, faulty="leave_out").table["filename"].tolist() == ["a.wav", "c.wav"]


@pytest.mark.parametrize("other", ["latin-1", "utf-16"])
def test_one_table_in_another_encoding_costs_its_recording_alone(root: Path, other: str) -> None:
    folder = root / "selections"
    folder.mkdir()
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies\tNotes\n"
    for name in ("a", "b", "c"):
        row = f"1\tSpectrogram 1\t1\t0.1\t0.5\towl\t{'avión' if name != 'c' else ''}\n"
        encoding = other if name != "c" else "utf-8"
        (folder / f"{name}.Table.1.selections.txt").write_text(header + row, encoding=encoding)
    place = {"audio_dir": root, "annotations": folder}
    with pytest.raises(FaultyTableError, match=r"UTF-8; save it as UTF-8") as refused:
        load_recordings(place)
    assert [fault.filename for fault in refused.value.faults] == ["a.wav", "b.wav"]
    assert load_recordings(place, faulty="leave_out").table["filename"].tolist() == ["c.wav"]
