"""The table of folds that a run keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dawnchorus.config import FoldSettings
from dawnchorus.errors import RunError, UnsafePathError
from dawnchorus.folds.assignment import assign_folds, save_folds
from dawnchorus.predict.thresholds import thresholds_from
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
        ("filename,validated\na.wav,true\n", "has no column fold; its columns are filename, validated"),
        (
            "filename,fold,validated\na.wav,0,maybe\n",
            "validated is 'maybe' in line 2; it must be true or false",
        ),
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


@pytest.fixture
def partly_trained(tmp_path: Path) -> Run:
    """A run of three folds of which folds 0 and 2 are finished."""
    rows = "".join(f"{k}.wav,x,{k % 3},true\n" for k in range(6))
    (tmp_path / "folds.csv").write_text(f"filename,primary_label,fold,validated\n{rows}late.wav,x,-1,false\n")
    for fold in (0, 2):
        checkpoint = tmp_path / f"fold_{fold}" / "checkpoints" / "001-0.9.safetensors"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.touch()
        finished = checkpoint.parents[1] / "finished.json"
        finished.write_text(json.dumps({"best_checkpoint": checkpoint.name}))
    return Run(tmp_path)


def test_folds_that_are_not_finished_are_told(partly_trained: Run, caplog: pytest.LogCaptureFixture) -> None:
    assert partly_trained.chosen_folds(None) == (0, 2)
    assert caplog.messages == [f"{partly_trained.path}: of 3 folds, fold 1 is not finished and left out"]
    caplog.clear()
    assert partly_trained.chosen_folds([2]) == (2,)
    assert caplog.messages == []


def test_thresholds_of_earlier_weights_are_told(
    partly_trained: Run, caplog: pytest.LogCaptureFixture
) -> None:
    (partly_trained.path / "model_card.json").write_text("{}")
    thresholds = partly_trained.path / "thresholds.csv"
    thresholds.write_text("label,threshold\nx,0.5\n")
    newest_ns = partly_trained.newest_weights_ns([0, 2])
    os.utime(thresholds, ns=(newest_ns + 10**9, newest_ns + 10**9))
    assert thresholds_from("calibrated", ["x"], partly_trained.path).tolist() == [0.5]
    assert caplog.messages == []
    os.utime(thresholds, ns=(newest_ns - 10**9, newest_ns - 10**9))
    assert thresholds_from("calibrated", ["x"], partly_trained.path).tolist() == [0.5]
    assert caplog.messages == [f"{thresholds} is of earlier weights; run dawnchorus calibrate again."]
