"""Folds that do not leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dawnchorus.config import DataSettings, FoldSettings
from dawnchorus.data.folds import assign_folds, check_no_leak, group_of, save_folds
from dawnchorus.data.recordings import load_recordings
from dawnchorus.errors import DataError


def table(labels: list[str], authors: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"filename": [f"{k}.wav" for k in range(len(labels))], "primary_label": labels, "author": authors}
    )


def many(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    authors = [f"recordist {k}" for k in rng.integers(0, 30, 300)]
    return table([f"species {k}" for k in rng.integers(0, 6, 300)], authors)


def test_no_recordist_is_on_both_sides_of_a_fold() -> None:
    recordings = many()
    assignment = assign_folds(recordings, FoldSettings(), seed=42)
    assert set(assignment.folds) == set(range(5))
    assert (recordings.assign(fold=assignment.folds).groupby("author")["fold"].nunique() == 1).all()


def test_the_same_seed_repeats_and_another_differs() -> None:
    first, again, other = (assign_folds(many(), FoldSettings(), seed=seed).folds for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_unknown_recordist_is_a_group_of_its_own() -> None:
    groups = group_of(table(["a"] * 4, ["", "x", "", "x"]), "author")
    assert groups[1] == groups[3]
    assert len(set(groups)) == 3


def test_official_folds_are_used_as_they_are() -> None:
    recordings = table(["a", "b"] * 4, [f"{k}" for k in range(8)]).assign(fold=[1, 1, 2, 2, 3, 3, 4, 4])
    assignment = assign_folds(recordings, FoldSettings(), seed=0)
    np.testing.assert_array_equal(assignment.folds, [0, 0, 1, 1, 2, 2, 3, 3])
    assert assignment.n_folds == 4
    assert "official folds" in assignment.notes[0]


def test_official_folds_that_split_a_recordist_are_refused() -> None:
    recordings = table(["a", "b"] * 2, ["x", "x", "x", "y"]).assign(fold=[0, 0, 1, 1])
    with pytest.raises(DataError, match="1 groups of the column author would lie on both sides"):
        assign_folds(recordings, FoldSettings(), seed=0)


@pytest.mark.parametrize(
    ("folds", "message"), [([0, None, 1, 1], "no whole number in 1 rows"), ([0] * 4, "one fold only")]
)
def test_unusable_official_folds_are_refused(folds: list[int | None], message: str) -> None:
    recordings = table(["a", "b"] * 2, ["", "", "", ""]).assign(fold=folds)
    with pytest.raises(DataError, match=message):
        assign_folds(recordings, FoldSettings(), seed=0)


def test_a_species_with_fewer_recordings_than_folds_is_refused_by_name() -> None:
    recordings = table(["common"] * 20 + ["rare"] * 3, [""] * 23)
    with pytest.raises(DataError, match="rare has 3 recordings, fewer than the 5 folds"):
        assign_folds(recordings, FoldSettings(), seed=0)


def test_a_single_recording_is_refused_even_where_fewer_folds_will_do() -> None:
    recordings = table(["common"] * 20 + ["rare"], [""] * 21)
    with pytest.raises(DataError, match="rare has 1 recording, fewer than the 2 folds"):
        assign_folds(recordings, FoldSettings(fewer_if_needed=True), seed=0)


def test_too_few_recordists_lower_the_number_of_folds_and_say_so() -> None:
    recordings = table(["a", "b"] * 12, [f"recordist {k // 2 % 3}" for k in range(24)])
    with pytest.raises(DataError, match="set n_folds to 3, or fewer_if_needed"):
        assign_folds(recordings, FoldSettings(), seed=0)
    assignment = assign_folds(recordings, FoldSettings(fewer_if_needed=True), seed=0)
    assert assignment.n_folds == 3
    assert "3 folds instead of 5" in assignment.notes[0]


def test_one_recordist_for_everything_allows_no_split() -> None:
    with pytest.raises(DataError, match="all recordings share one value of author"):
        assign_folds(table(["a", "b"] * 6, ["x"] * 12), FoldSettings(fewer_if_needed=True), seed=0)


def test_a_species_in_one_fold_only_is_said_to_have_no_score() -> None:
    recordings = table(["a"] * 10 + ["b"] * 10, [f"r{k}" for k in range(10)] + ["hermit"] * 10)
    notes = assign_folds(recordings, FoldSettings(n_folds=2), seed=0).notes
    assert any("No leak-free score for b" in note for note in notes)


def test_a_group_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="no column recordist to keep together"):
        assign_folds(table(["a", "b"] * 9, [""] * 18), FoldSettings(group_column="recordist"), seed=0)


def test_one_species_is_too_few() -> None:
    with pytest.raises(DataError, match="all of a; at least two species"):
        assign_folds(table(["a"] * 9, [""] * 9), FoldSettings(), seed=0)


def test_a_crossing_group_is_found() -> None:
    with pytest.raises(DataError, match="1 groups"):
        check_no_leak(np.array([0, 1, 1]), np.array([7, 7, 8]), "author")


def test_folds_are_saved_as_a_readable_table(tmp_path: Path) -> None:
    save_folds(tmp_path / "folds.csv", table(["a", "b"], ["x", ""]), np.array([0, 1]))
    assert (tmp_path / "folds.csv").read_text().splitlines() == [
        "filename,primary_label,author,fold",
        "0.wav,a,x,0",
        "1.wav,b,,1",
    ]


def test_real_recordings_with_few_recordists_get_three_folds(shared_data: Path) -> None:
    recordings = load_recordings(DataSettings(audio_dir=shared_data / "phoebe"))
    assignment = assign_folds(recordings, FoldSettings(fewer_if_needed=True), seed=42)
    assert assignment.n_folds == 3
    assert (recordings.assign(fold=assignment.folds).groupby("author")["fold"].nunique() == 1).all()
