"""Folds in NumPy files: one a row, or the rows of each fold as the published system saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import KFold

from dawnchorus.errors import DataError
from dawnchorus.recordings.fold_arrays import read_folds

TABLE = Path("main.csv")
SPLIT = list(KFold(3, shuffle=True, random_state=0).split(np.arange(7)))


def read(tmp_path: Path, array: Any) -> list[str]:
    np.save(tmp_path / "folds.npy", array, allow_pickle=True)
    return read_folds(tmp_path / "folds.npy", 7, TABLE)


def objects(items: list[Any]) -> np.ndarray:
    """Return an array of one dimension, which NumPy alone would make two of."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


@pytest.mark.parametrize(
    "saved",
    [
        pytest.param(np.array(SPLIT, dtype=object), id="an array of pairs of arrays"),
        pytest.param(objects(SPLIT), id="an array of tuples"),
        pytest.param(np.array([[a.tolist(), b.tolist()] for a, b in SPLIT], dtype=object), id="of lists"),
        pytest.param(
            np.array([[list(a), list(b)] for a, b in SPLIT], dtype=object), id="of numbers of NumPy"
        ),
        pytest.param(objects([(a.astype(">i4"), b.astype("u1")) for a, b in SPLIT]), id="of other types"),
    ],
)
def test_the_rows_of_each_fold_become_the_fold_of_each_row(tmp_path: Path, saved: np.ndarray) -> None:
    expected = np.empty(7, int)
    for number, (_, validation) in enumerate(SPLIT):
        expected[validation] = number
    assert read(tmp_path, saved) == list(map(str, expected))


def test_rows_that_no_fold_validates_are_always_in_training(tmp_path: Path) -> None:
    pair = (np.arange(6), np.array([6]))
    assert read(tmp_path, objects([pair])) == ["-1"] * 6 + ["0"]
    half = np.arange(8).reshape(1, 2, 4)  # as many for training as for validation: an array of numbers
    np.save(tmp_path / "half.npy", half)
    assert read_folds(tmp_path / "half.npy", 8, TABLE) == ["-1"] * 4 + ["0"] * 4


def test_a_fold_for_each_row_may_be_saved_as_objects(tmp_path: Path) -> None:
    assert read(tmp_path, np.array([0, 1, 0, 1, 2, 2, -1], dtype=object))[4:] == ["2", "2", "-1"]
    assert read(tmp_path, np.array(list("abcabca"), dtype=object))[:3] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros(7),
            r"holds float64 of shape \(7,\); legal is .* a pair of the rows for training and valid",
        ),
        (np.array(3), r"holds int64 of shape \(\)"),
        (objects([]), "holds 0 folds, and main.csv has 7 rows"),
        (objects([[[0, 1], ["2"]]]), r"holds object of shape \(1,\)"),
        (
            objects([([0, 1], [2])]),
            "fold 0 has 2 rows for training and 1 for validation, which are not the 7",
        ),
        (objects([([0, 1, 2, 3, 4, 5], [7])]), "which are not the 7 rows of main.csv, each once"),
        (objects([([0, 1, 2, 3, 4, 5], [6])] * 2), "fold 1 validates rows of an earlier one"),
        (
            np.zeros((8, 0), int),
            r"int64 of shape \(8, 0\); legal is .* for each fold, of which there are no m",
        ),
        (np.zeros((7, 0), int), r"int64 of shape \(7, 0\)"),
        (objects([SPLIT[0]] * 8 + [[]]), r"object of shape \(9,\)"),
        (np.array([0, 1]), r"holds 2 folds, and main\.csv has 7 rows"),
    ],
)
def test_what_is_no_split_of_the_rows_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, array)
