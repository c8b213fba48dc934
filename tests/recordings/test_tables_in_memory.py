"""A DataFrame where the path of a table may stand: the same recordings, the same faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.config import DataSettings, TableInMemory
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.faults import FaultyTableError, write_faults
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import (
    dataset_root,
    label_map_of,
    load_recordings,
    write_recordings,
)


@pytest.fixture
def root(data_factory: Any) -> Path:
    """Six recordings of two species; the table lies beside the folder, so that nothing finds it by itself."""
    root = data_factory.recordings(n_species=2, n_per_species=3)
    (root / "recordings.csv").rename(root.parent / "table.csv")
    return root


@pytest.fixture
def full(root: Path) -> pd.DataFrame:
    """A table with all columns that mean something, of the types that people have there."""
    table = pd.read_csv(root.parent / "table.csv")
    return table.assign(
        secondary_labels=[["species_1", "Turdus merula"], [], None, ("species_0",), np.array(["a b"]), "a;b"],
        rating=[4.5, np.nan, 0, 5, 1, 2],
        fold=[0, 1, 0, 1, 0, 1],
        site=["pond", None, "wood", "wood", "pond", "pond"],
        latitude=52.1,
    )


def same(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    return True


def test_a_dataframe_and_its_csv_file_are_the_same_recordings(root: Path, full: pd.DataFrame) -> None:
    lists = full["secondary_labels"].map(lambda cell: cell.tolist() if isinstance(cell, np.ndarray) else cell)
    full.assign(secondary_labels=lists).to_csv(root.parent / "full.csv", index=False)
    of_file = load_recordings({"audio_dir": root, "recordings": root.parent / "full.csv"}).table
    assert same(load_recordings(full, audio_dir=root).table, of_file)
    assert same(load_recordings(root.parent / "full.csv", audio_dir=root).table, of_file)
    assert of_file["secondary_labels"].tolist() == [
        ("species_1", "Turdus merula"),
        (),
        (),
        ("species_0",),
        ("a b",),
        ("a", "b"),
    ]
    assert of_file["site"].tolist()[1] == ""


def test_names_are_relative_to_the_working_directory_or_whole(
    root: Path, full: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    here = load_recordings(full).table
    assert here["filename"].tolist() == full["filename"].tolist()
    monkeypatch.chdir(root.parent)
    whole = full.assign(filename=[root / name for name in full["filename"]])
    assert load_recordings(whole.set_index("filename")).table["audio_path"].map(Path).tolist() == list(
        whole["filename"]
    )
    with pytest.raises(FaultyTableError, match=r"row 0: species_0/\S+ not found in the working .* audio_dir"):
        load_recordings(full)


def test_a_table_that_was_loaded_before_is_found_again(
    root: Path, full: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    loaded = load_recordings(full, audio_dir=Path("recordings")).table
    again = load_recordings(loaded[loaded["primary_label"] == "species_1"]).table
    assert again["filename"].tolist() == loaded["filename"].tolist()[3:]
    assert again["secondary_labels"].tolist() == loaded["secondary_labels"].tolist()[3:]


def test_rows_are_told_by_their_number(root: Path, full: pd.DataFrame, tmp_path: Path) -> None:
    wrong = full.copy()
    wrong.loc[1, "primary_label"] = None
    wrong.loc[2, "filename"] = "species_0/gone.wav"
    wrong["rating"] = wrong["rating"].astype(object)
    wrong.loc[3, "rating"] = "good"
    wrong.loc[4, "filename"] = wrong.loc[0, "filename"]
    with pytest.raises(
        FaultyTableError, match=r"(?s)^4 faults.*the DataFrame, row 1: primary_label"
    ) as caught:
        load_recordings(wrong, audio_dir=root)
    assert sorted((fault.line, fault.unit) for fault in caught.value.faults) == [
        (row, "row") for row in (1, 2, 3, 4)
    ]
    assert 'faulty="leave_out"' in str(caught.value)
    table, faults = load_recordings(wrong, audio_dir=root, faulty="leave_out")
    assert (len(table), len(faults)) == (2, 4)
    write_faults(tmp_path / "faults.csv", faults)
    assert (tmp_path / "faults.csv").read_text().startswith("table,line,filename,what\nthe DataFrame,")
    with pytest.raises(FaultyTableError, match=r"row 3: species_1 is none of the classes"):
        load_recordings(full, audio_dir=root, labels=LabelMap(("species_0",)))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            pd.DataFrame({"file": ["a.wav"]}),
            "the DataFrame has no column filename, primary_label; its col",
        ),
        (pd.DataFrame({"filename": [], "primary_label": []}), "lists no recordings; add a row for each"),
        (pd.DataFrame(), "has no columns; it needs filename and primary_label"),
    ],
)
def test_what_is_no_table_of_recordings_is_told(table: pd.DataFrame, message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        load_recordings(table)


def test_boxes_stand_in_the_table_as_in_a_file_beside_it(root: Path, full: pd.DataFrame) -> None:
    boxes = [[(0.5, 1.0, "owl"), (1.5, 2.0, "owl")], None, None, None, None, 3]
    given = full.assign(boxes=pd.Series(boxes, dtype=object), primary_label=["species_0"] * 5 + ["nocall"])
    table = load_recordings(given, audio_dir=root).table
    assert table["boxes"].tolist() == [((0.5, 1.0, "owl"), (1.5, 2.0, "owl")), *[None] * 5]
    assert table["primary_label"].tolist() == ["owl", *["species_0"] * 4, "nocall"]
    assert label_map_of(table).labels == label_map_of(given).labels == ("owl", "species_0")
    lines = [f"{full['filename'][0]},0.5,1.0,owl\n", f"{full['filename'][0]},1.5,2.0,owl\n"]
    (root / "annotations.csv").write_text("filename,start_s,end_s,label\n" + "".join(lines))
    without = given.drop(columns="boxes")
    of_file = load_recordings(without, audio_dir=root).table
    assert of_file["boxes"].tolist() == table["boxes"].tolist()


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((2.0, 1.0, "owl"), "row 0: the box owl from 2 to 1 is no stretch of time"),
        ((0.0, float("nan"), "owl"), "row 0: the box owl from 0 to nan is no stretch of time"),
        ((0.0, 1.0, " "), "row 0: the box from 0 to 1 has no label"),
        ((0.0, 1.0), "row 0: boxes is .*a list of .start_s, end_s, label."),
        ((0.0, 1e6, "owl"), "row 0: owl ends at 1e.06 s, past the end"),
    ],
)
def test_a_box_that_is_wrong_is_told(root: Path, full: pd.DataFrame, box: Any, message: str) -> None:
    boxes = pd.Series([[box], None, None, None, None, None], dtype=object)
    with pytest.raises(FaultyTableError, match=message):
        load_recordings(full.assign(boxes=boxes), audio_dir=root)


def test_what_is_written_of_loaded_recordings_is_loaded_again(root: Path, full: pd.DataFrame) -> None:
    loaded = load_recordings(full, audio_dir=root).table
    write_recordings(root.parent / "checked.csv", loaded)
    again = load_recordings(root.parent / "checked.csv").table
    assert again["primary_label"].tolist() == loaded["primary_label"].tolist()


def test_a_copy_does_not_change_with_its_dataframe(full: pd.DataFrame) -> None:
    place = DataSettings(audio_dir=Path(), recordings=full)
    before = place.recordings
    full.loc[0, "primary_label"] = "owl"
    assert place.recordings == before != TableInMemory.of(full)
    assert repr(before) == "TableInMemory(n_rows=6)"
    with pytest.raises(ConfigError, match="recordings is 5; give the path of a table, or a DataFrame"):
        DataSettings(audio_dir=Path(), recordings=5)


def test_a_folder_needs_no_audio_dir(root: Path) -> None:
    with pytest.raises(ConfigError, match="audio_dir is for the names in a table"):
        load_recordings(root, audio_dir=root)
    assert dataset_root({"audio_dir": "a"}, audio_dir="b") == dataset_root(dataset_root("a"), audio_dir="b")


def test_labels_of_any_table_are_found_or_missed() -> None:
    assert label_map_of(pd.DataFrame({"primary_label": [7, "owl"]})).labels == ("7", "owl")
    with pytest.raises(DataError, match="primary_label is empty in row 1 of the table"):
        label_map_of(pd.DataFrame({"primary_label": ["owl", None]}))
    with pytest.raises(DataError, match="with the column primary_label; its columns are species"):
        label_map_of(pd.DataFrame({"species": ["owl"]}))
    with pytest.raises(DataError, match="from a table with the column primary_label"):
        label_map_of("folder")  # type: ignore[arg-type]
