"""The table of folds that a run keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dawnchorus.config import FoldSettings
from dawnchorus.errors import RunError, UnsafePathError
from dawnchorus.folds.assignment import assign_folds, save_folds
from dawnchorus.runs import Run


def test_folds_are_read_as_they_were_saved(tmp_path: Path) -> None:
    recordings = pd.DataFrame(
        {
            "filename": [f"{k:03d}.wav" for k in range(22)],
            "primary_label": ["NA", "b"] * 10 + ["rare"] * 2,
            "author": ["007", "", *(f"r{k}" for k in range(18)), "007", "x"],
            "site": "0",
        }
    )
    assignment = assign_folds(recordings, FoldSettings(group_column=("author",), rare_up_to=2), seed=0)
    run = Run(tmp_path)
    save_folds(run.folds_file, recordings, assignment)
    table = run.folds()
    assert table[["filename", "primary_label", "author"]].equals(
        recordings[["filename", "primary_label", "author"]]
    )
    np.testing.assert_array_equal(table["fold"], assignment.folds)
    np.testing.assert_array_equal(table["validated"], assignment.validated)
    assert table["fold"].dtype == np.int64
    assert table["validated"].dtype == bool
    assert set(assignment.folds) == {-1, 0, 1, 2, 3, 4}
    assert not assignment.validated.all()


def test_a_table_from_before_validated_validates_everything(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("filename,primary_label,author,fold\na.wav,x,,0\nb.wav,y,,1\n")
    table = Run(tmp_path).folds()
    assert table["fold"].tolist() == [0, 1]
    assert table["validated"].tolist() == [True, True]


def test_what_a_spreadsheet_makes_of_true_is_still_true(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text(
        "filename,primary_label,fold,validated\na.wav,x,0,TRUE\nb.wav,y,1,FALSE\n"
    )
    assert Run(tmp_path).folds()["validated"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,fold,validated\na.wav,first,true\n", "fold must be a whole number in every row"),
        ("filename,validated\na.wav,true\n", "fold must be a whole number in every row"),
        ("filename,fold,validated\na.wav,0,maybe\n", "validated is 'maybe'; it must be true or false"),
    ],
)
def test_a_damaged_table_is_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(RunError, match=message):
        Run(tmp_path).folds()


@pytest.mark.parametrize("name", ["../../../victim.safetensors", "/etc/passwd"])
def test_a_best_checkpoint_outside_the_run_is_refused(tmp_path: Path, name: str) -> None:
    run = Run(tmp_path)
    run.fold_dir(0).mkdir()
    run.finished_file(0).write_text(json.dumps({"best_checkpoint": name}))
    with pytest.raises(UnsafePathError, match=r"finished\.json names"):
        run.best_checkpoint(0)
