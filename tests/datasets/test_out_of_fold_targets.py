"""Out-of-fold predictions of labelled recordings as targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.datasets.out_of_fold_targets import OutOfFoldTargets, OutOfFoldTargetSettings
from dawnchorus.errors import DataError
from dawnchorus.recordings.labels import LabelMap

LABELS = LabelMap(("robin", "wren"))
RECORDINGS = pd.DataFrame({"filename": ["robin/XC1.ogg", "wren/XC2.ogg", "robin/call.ogg", "wren/call.ogg"]})


def targets(
    tmp_path: Path,
    rows: dict[str, tuple[float, float, int]],
    *,
    fold: int = 0,
    min_prob: float = 0.5,
    **settings: Any,
) -> OutOfFoldTargets:
    table = pd.DataFrame(list(rows.values()), columns=[*LABELS.labels, "fold"]).assign(row_id=list(rows))
    table.to_csv(tmp_path / "own.csv", index=False)
    made = OutOfFoldTargetSettings(table=tmp_path / "own.csv", min_prob=min_prob, **settings)
    return OutOfFoldTargets(made, RECORDINGS, LABELS, fold=fold)


ROWS = {"XC1_5": (1.0, 0.0, 1), "XC1_10": (0.5, 0.5, 1), "XC1_20": (0.0, 1.0, 1), "call_5": (0.9, 0.9, 1)}


@pytest.mark.parametrize(
    ("start_s", "expected"),
    [
        (0.0, [1.0, 0.0]),
        (2.0, [0.6 * 1.0 + 0.4 * 0.5, 0.4 * 0.5]),
        (9.0, [0.5, 0.5]),  # of its 5 s only the first has a row
        (12.5, [0.0, 1.0]),
        (25.0, None),
    ],
)
def test_rows_count_by_their_overlap_with_the_clip(
    tmp_path: Path, start_s: float, expected: list[float] | None
) -> None:
    found = targets(tmp_path, ROWS, min_prob=0.4).target(0, start_s, start_s + 5)
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_is_not_above_the_threshold_is_not_accepted(tmp_path: Path) -> None:
    own = targets(tmp_path, ROWS, min_prob=0.5)
    assert own.target(0, 5.0, 10.0) is None
    assert own.target(0, 4.9, 9.9) is not None


def test_recordings_without_rows_or_of_one_name_have_no_target(tmp_path: Path) -> None:
    own = targets(tmp_path, ROWS)
    assert [own.target(recording, 0.0, 5.0) for recording in (1, 2, 3)] == [None] * 3


def test_a_table_of_other_recordings_or_of_the_folds_own_model_is_told(tmp_path: Path) -> None:
    for rows, fold in (({"elsewhere_5": (0.9, 0.1, 1)}, 0), (ROWS, 1)):
        with pytest.raises(
            DataError, match=r"own\.csv has no row of the 4 recordings by another fold's model"
        ):
            targets(tmp_path, rows, fold=fold)


def test_sharpened_predictions_are_blended_with_the_labels(tmp_path: Path) -> None:
    rows = {"XC1_5": (0.6, 0.2, 1), "XC1_10": (0.1, 0.1, 1)}
    own = targets(tmp_path, rows, alpha=0.7, sharpened=True)
    found = own.target(0, 0.0, 5.0)
    assert found is not None
    np.testing.assert_allclose(found, [0.6 + 0.6**2, 0.2**2], rtol=1e-6)
    assert own.target(0, 5.0, 10.0) is not None, "every prediction is accepted"
    blended = own.blended(found, np.float32([1, 0]))
    np.testing.assert_allclose(blended, [0.7 * 0.96 + 0.3, 0.7 * 0.04], rtol=1e-6)
    np.testing.assert_allclose(own.blended(found, np.float32([1, -1]))[1], -1)
    whole = targets(tmp_path, rows)
    np.testing.assert_array_equal(whole.blended(found, np.float32([1, -1])), found)
