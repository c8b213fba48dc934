"""Which recordings may not be torn apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.errors import DataError
from dawnchorus.folds.groups import check_no_leak, group_columns, group_of, group_recordings


def table(**columns: list[object]) -> pd.DataFrame:
    n_recordings = len(next(iter(columns.values())))
    return pd.DataFrame({"filename": [f"{k:03d}.wav" for k in range(n_recordings)], **columns})


def partition(groups: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == group).tolist()) for group in np.unique(groups)}


def linked_by_hand(rows: list[tuple[str, ...]]) -> set[frozenset[int]]:
    """Merge sets of rows until no two share a known value in one column: the slow and plain way."""
    parts = [({k}, {(c, value) for c, value in enumerate(row) if value}) for k, row in enumerate(rows)]
    merged = True
    while merged:
        merged = False
        for first in range(len(parts)):
            for second in range(first + 1, len(parts)):
                if parts[first][1] & parts[second][1]:
                    rows_of_second, values_of_second = parts.pop(second)
                    parts[first][0].update(rows_of_second)
                    parts[first][1].update(values_of_second)
                    merged = True
                    break
            if merged:
                break
    return {frozenset(members) for members, _ in parts}


values = st.sampled_from(["", "", "x", "y", "z", "u"])


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(values, values, values), min_size=1, max_size=14))
def test_recordings_are_linked_through_any_column_and_through_each_other(rows: list[tuple[str, ...]]) -> None:
    recordings = table(**{name: [row[k] for row in rows] for k, name in enumerate("abc")})
    assert partition(group_of(recordings, ("a", "b", "c"))) == linked_by_hand(rows)


def test_a_value_links_only_within_its_own_column() -> None:
    recordings = table(author=["x", ""], site=["", "x"])
    assert len(partition(group_of(recordings, ("author", "site")))) == 2


def test_an_unknown_recordist_is_a_group_of_its_own() -> None:
    groups = group_of(table(author=["", "x", None, "x", " "]), ["author"])
    assert partition(groups) == {frozenset({0}), frozenset({1, 3}), frozenset({2}), frozenset({4})}


@pytest.mark.parametrize("unknown", ["unknown", "Unknown", "UNKNOWN ", "nan", "NaN", "Anonymous", "-", "n/a"])
def test_a_word_for_an_unknown_recordist_links_no_recordings(unknown: str) -> None:
    recordings = table(primary_label=["a"] * 5, author=[unknown, "x", unknown, "x", unknown])
    assert group_of(recordings, ["author"]).tolist() == [0, 1, 2, 1, 3]
    assert group_recordings(recordings, ("author",)).n_unknown == 3


def test_recordists_are_one_in_any_case_spacing_and_form_of_unicode() -> None:
    spelled = ["José  Luna", "JOSÉ LUNA", " jose\u0301 luna", "José\u00a0Luna", "JoséLuna", "Josef Luna"]
    assert group_of(table(author=spelled), ["author"]).tolist() == [0, 0, 0, 0, 0, 1]


def test_numbers_link_as_well_as_names() -> None:
    assert group_of(table(source_clip=[187, 187.0, np.nan, np.nan]), ["source_clip"]).tolist() == [0, 0, 1, 2]


def test_every_recording_may_be_its_own_group() -> None:
    assert group_of(table(author=["x", "x"]), ["filename"]).tolist() == [0, 1]


def test_groups_are_numbered_by_their_first_filename_whatever_the_order_of_the_rows() -> None:
    recordings = table(author=["b", "a", "b", "", "a"])
    shuffled = recordings.iloc[[4, 0, 3, 2, 1]]
    assert group_of(recordings, ["author"]).tolist() == [0, 1, 0, 2, 1]
    assert group_of(shuffled, ["author"]).tolist() == [1, 0, 2, 0, 1]


def test_recordist_and_site_link_by_default() -> None:
    assert group_columns(table(author=["x"]), None) == ("author",)
    assert group_columns(table(site=["x"], author=["x"]), None) == ("author", "site")
    assert group_columns(table(author=["x"], source=["x"]), ["source", "author", "source"]) == (
        "source",
        "author",
    )


@pytest.mark.parametrize("chosen", [None, ["recordist"]])
def test_a_group_column_that_is_not_there_is_refused(chosen: list[str] | None) -> None:
    with pytest.raises(
        DataError, match=r"no column \w+ to keep together in a fold; its columns are filename, a"
    ):
        group_columns(table(a=["x"]), chosen)


def test_counts_are_a_table_of_groups_and_classes() -> None:
    recordings = table(primary_label=["b", "a", "b", "b"], author=["x", "x", "", "x"])
    grouped = group_recordings(recordings, ("author",))
    assert grouped.names.tolist() == ["a", "b"]
    assert grouped.counts.tolist() == [[1, 2], [0, 1]]
    assert grouped.groups_of_class.tolist() == [1, 2]
    assert (grouped.n_groups, grouped.n_unknown, grouped.noun) == (2, 1, "recordist")


@pytest.mark.parametrize("folds", [[0, 1, 1], [-1, 0, 0], [0, -1, 1]])
def test_a_crossing_group_is_found(folds: list[int]) -> None:
    groups = np.array([7, 7, 8])
    message = (
        rf"1 group by author and site would lie on both .* the folds {min(folds[:2])}, {max(folds[:2])}\)"
    )
    with pytest.raises(DataError, match=message):
        check_no_leak(np.array(folds), groups, columns=("author", "site"))


def test_whole_groups_do_not_leak() -> None:
    check_no_leak(np.array([0, -1, 0, 1, -1]), np.array([3, 4, 3, 5, 4]))
