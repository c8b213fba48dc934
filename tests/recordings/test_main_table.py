"""One table over several dataset roots, and folds in a NumPy file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.config import DataSettings, FoldSettings
from dawnchorus.errors import DataError
from dawnchorus.folds.assignment import assign_folds
from dawnchorus.recordings.recordings_table import load_recordings

ROWS = [  # filename, primary label, author, root
    ("owl/XC1.ogg", "owl", "Ada", "train_audio"),
    ("wren/XC2.ogg", "wren", "Ada", "train_audio"),
    ("owl/XC5.ogg", "owl", "Bea", "train_audio"),
    ("owl/XC3.ogg", "owl", "ADA", "added"),
    ("wren/XC4.ogg", "wren", "Bea", "added"),
    ("owl/XC1.ogg", "owl", "Dora", "elsewhere"),  # listed twice, of another root
    ("", "", "", "elsewhere"),  # and one without a name
]


@pytest.fixture
def main_table(data_factory_in: Any, tmp_path: Path) -> Path:
    """A table over two roots that are there and one that is not; the second root has WAV files."""
    for root in ("train_audio", "added"):
        factory = data_factory_in(tmp_path / root)
        for name, _, _, where in ROWS:
            if where == root:
                factory.tone(name.replace(".ogg", ".wav") if root == "added" else name, duration_s=0.1)
    path = tmp_path / "main.csv"
    table = pd.DataFrame(ROWS, columns=["filename", "primary_label", "author", "data_root_id"])
    table.assign(secondary_labels="[]").to_csv(path, index=False)
    return path


def roots(main_table: Path, **more: Any) -> list[DataSettings]:
    return [
        DataSettings(
            audio_dir=main_table.parent / name, recordings=main_table, root_column="data_root_id", **more
        )
        for name in ("train_audio", "added")
    ]


def test_a_table_over_several_roots_gives_each_its_rows_and_recordists(main_table: Path) -> None:
    table, faults = load_recordings(roots(main_table))
    assert faults == []
    assert table[["filename", "author"]].to_numpy().tolist() == [
        ["train_audio/owl/XC1.ogg", "Ada"],
        ["train_audio/wren/XC2.ogg", "Ada"],
        ["train_audio/owl/XC5.ogg", "Bea"],
        ["added/owl/XC3.wav", "ADA"],
        ["added/wren/XC4.wav", "Bea"],
    ]


def test_a_recordist_in_two_roots_is_in_one_fold(main_table: Path) -> None:
    table = load_recordings(roots(main_table)).table
    folds = assign_folds(table, FoldSettings(n_folds=2), seed=42).folds
    assert folds.tolist() in ([0, 0, 1, 0, 1], [1, 1, 0, 1, 0])


def test_a_root_may_bear_the_name_that_the_column_has(main_table: Path) -> None:
    moved = main_table.parent / "added"
    moved.rename(main_table.parent / "moved")
    root = DataSettings(
        audio_dir=main_table.parent / "moved", recordings=main_table, root_column="data_root_id", name="added"
    )
    assert len(load_recordings(root).table) == 2


def test_a_root_without_rows_is_refused_with_the_names_of_the_column(main_table: Path) -> None:
    (main_table.parent / "new").mkdir()
    root = DataSettings(
        audio_dir=main_table.parent / "new", recordings=main_table, root_column="data_root_id"
    )
    with pytest.raises(DataError, match="no row of new in its column data_root_id, only of added, elsewhere"):
        load_recordings(root)
    with pytest.raises(DataError, match="has no column root of dataset roots; its columns are filename"):
        load_recordings(root.model_copy(update={"root_column": "root"}))
    with pytest.raises(DataError, match=r"root_column is for a table, and .*new has none"):
        load_recordings(root.model_copy(update={"recordings": None}))


def test_folds_of_an_array_are_those_of_the_rows_of_the_whole_table(main_table: Path) -> None:
    array = main_table.with_name("folds.npy")
    np.save(array, np.array([1, 1, 0, 1, 0, 7, 7]))
    table = load_recordings(roots(main_table, folds_array=array)).table
    assert assign_folds(table, FoldSettings(), seed=0).folds.tolist() == [1, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([0, 1]), r"holds 2 folds, and .*main\.csv has 7 rows"),
        (np.zeros((7, 2), int), r"holds int64 of shape \(7, 2\); legal is .* shape \(7,\)"),
        (np.zeros(7), r"holds float64 of shape \(7,\)"),
        (
            np.array([{"train": [0, 1]}], dtype=object),
            r"without running code in it: it has the step EMPTY_DICT",
        ),
        (np.array([[[0, 1], [2]], [[2], [0, 1]]], dtype=object), r"fold 0 has 2 rows .* the 7 rows"),
    ],
)
def test_an_array_that_is_not_a_fold_a_row_is_refused(main_table: Path, array: Any, message: str) -> None:
    path = main_table.with_name("folds.npy")
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        load_recordings(roots(main_table, folds_array=path))


def test_a_damaged_array_of_folds_is_named(main_table: Path) -> None:
    path = main_table.with_name("folds.npy")
    path.write_bytes(b"no array")
    with pytest.raises(DataError, match=r"folds\.npy is damaged, or no array of NumPy"):
        load_recordings(roots(main_table, folds_array=path))
