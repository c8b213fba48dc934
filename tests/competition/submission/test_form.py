"""What a sample submission says, and what is refused as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dawnchorus.competition.submission.form import Row, parse_row_id, read_sample_submission, rows_of
from dawnchorus.errors import DataError

SAMPLE = "row_id,wren,owl\nH1_20230501_050000_5,0.5,0.25\nH1_20230501_050000_10,0.5,0.75\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_and_classes_are_read_in_their_order(tmp_path: Path) -> None:
    form = read_sample_submission(write(tmp_path / "sample.csv", SAMPLE))
    assert form.labels == ("wren", "owl")
    assert form.row_ids == ("H1_20230501_050000_5", "H1_20230501_050000_10")
    np.testing.assert_array_equal(form.values, [[0.5, 0.25], [0.5, 0.75]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no CSV table"),
        ("id,wren\na_5,0\n", "its first line begins with 'id'; a submission has row_id and a column a class"),
        ("row_id\na_5\n", "a submission has row_id and a column a class"),
        ("row_id,wren,wren\na_5,0,0\n", "the class wren is there twice"),
        ("row_id,wren\na_5,0\na_5,0\n", "the row a_5 is there twice"),
        ("row_id,wren\na_5,high\n", "a_5, wren: 'high' is no number; give a probability"),
        ("row_id,wren\na_5,\n", "a_5, wren: '' is no number"),
        ("row_id,wren\na_5,0\na_05,0\n", "a_5 and a_05 are the same row; once is needed"),
        ("row_id,wren\na_7,0\n", "the row 'a_7' does not end with a multiple of 5 s"),
        ("row_id,wren\na,0\n", "the row 'a' does not end with a multiple of 5 s"),
    ],
)
def test_what_is_no_sample_submission_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_sample_submission(write(tmp_path / "sample.csv", text))


def test_a_missing_sample_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv: No such file"):
        read_sample_submission(tmp_path / "no.csv")


def test_a_row_is_named_by_its_soundscape_and_its_end() -> None:
    row = parse_row_id("H1_20230501_050000_15", where="here")
    assert row == Row("H1_20230501_050000", 15.0)
    assert row.row_id == "H1_20230501_050000_15"


@pytest.mark.parametrize(
    ("duration_s", "n_rows"),
    [(60.0, 12), (60.01, 12), (59.99, 12), (61.0, 13), (58.0, 12), (5.0, 1), (0.2, 1), (0.0, 1)],
)
def test_a_soundscape_has_a_row_for_each_5_s(duration_s: float, n_rows: int) -> None:
    rows = rows_of("H1", duration_s)
    assert [row.end_s for row in rows] == [5.0 * (number + 1) for number in range(n_rows)]
