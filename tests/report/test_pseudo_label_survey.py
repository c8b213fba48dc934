"""A table of pseudo-labels is counted as training would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dawnchorus.report.pseudo_label_survey import N_BINS, N_DOUBTFUL, THRESHOLDS, survey_table

LABELS = [f"s{number}" for number in range(5)]
NEVER = "s4"


@pytest.fixture
def rows() -> pd.DataFrame:
    """3,000 rows of 30 soundscapes, in which one class is never the most probable."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(0, 1, (3000, 5)).astype(np.float32), columns=LABELS)
    frame[NEVER] = np.float32(0)
    frame.insert(0, "row_id", [f"H_{row // 100}_{5 * (row % 100) + 5}" for row in range(3000)])
    frame["primary_label"] = frame[LABELS].idxmax(axis=1)
    frame["primary_label_prob"] = frame[LABELS].max(axis=1)
    return frame


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_counts_are_those_of_the_whole_table(rows: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"pseudo{suffix}"
    if suffix == ".csv":
        rows.assign(fold=0).to_csv(table, index=False)
    else:  # in many row groups, so that batches must add up
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), table, row_group_size=70)
    survey = survey_table(table)
    assert survey.labels == tuple(LABELS)
    assert survey.n_rows == 3000
    for label, counts in zip(LABELS, survey.n_above.tolist(), strict=True):
        of_class = rows["primary_label_prob"][rows["primary_label"] == label]
        assert counts == [int((of_class > np.float32(threshold)).sum()) for threshold in THRESHOLDS]
    assert survey.n_labels_kept == 4
    binned = np.floor(rows["primary_label_prob"].to_numpy(np.float64) * N_BINS).astype(int)
    np.testing.assert_array_equal(survey.histogram, np.bincount(binned, minlength=N_BINS))


def test_the_surest_window_of_each_class_and_the_most_doubtful_are_found(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    pq.write_table(
        pa.Table.from_pandas(rows, preserve_index=False), tmp_path / "a.parquet", row_group_size=70
    )
    survey = survey_table(tmp_path / "a.parquet")

    def names(frame: pd.DataFrame) -> list[str]:
        return frame["row_id"].tolist()

    best = rows.loc[rows.groupby("primary_label")["primary_label_prob"].idxmax()]
    best = best.sort_values("primary_label_prob", ascending=False)
    assert [f"{window.soundscape}_{window.end_s:g}" for window in survey.surest] == names(best)
    assert [window.label for window in survey.surest] == best["primary_label"].tolist()
    distance = (rows["primary_label_prob"].astype(float) - 0.5).abs()
    nearest = rows.loc[distance.sort_values(kind="stable").index[:N_DOUBTFUL]]
    assert [f"{window.soundscape}_{window.end_s:g}" for window in survey.doubtful] == names(nearest)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_without_rows_has_classes(rows: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"pseudo{suffix}"
    nothing = rows[:0].astype({"row_id": str, "primary_label": str})
    _ = nothing.to_csv(table, index=False) if suffix == ".csv" else nothing.to_parquet(table)
    survey = survey_table(table)
    assert (survey.n_rows, survey.n_labels_kept, survey.surest, survey.doubtful) == (0, 0, [], [])
    assert survey.labels == tuple(LABELS)
