"""Folds that do not leak."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from dawnchorus.config import FoldSettings
from dawnchorus.errors import DataError
from dawnchorus.folds.assignment import (
    FoldAssignment,
    assign_folds,
    fold_counts,
    save_folds,
    training_rows,
    validation_rows,
)
from dawnchorus.folds.groups import group_of


def table(labels: Sequence[str], authors: Sequence[str], **columns: Any) -> pd.DataFrame:
    filenames = [f"{k:03d}.wav" for k in range(len(labels))]
    return pd.DataFrame({"filename": filenames, "primary_label": labels, "author": authors, **columns})


def many(seed: int = 0, n_recordings: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    authors = [f"recordist {k}" for k in rng.integers(0, 30, n_recordings)]
    return table([f"species {k}" for k in rng.integers(0, 6, n_recordings)], authors)


def folds_of(recordings: pd.DataFrame, *, seed: int = 0, **values: Any) -> FoldAssignment:
    return assign_folds(recordings, FoldSettings.model_validate(values), seed=seed)


def folds_or_refusal(recordings: pd.DataFrame, **values: Any) -> tuple[FoldAssignment | None, str]:
    try:
        return folds_of(recordings, **values), ""
    except DataError as error:
        return None, str(error)


def labels_in(recordings: pd.DataFrame, rows: np.ndarray) -> set[str]:
    return set(recordings["primary_label"][rows])


SPECIES = ("crow", "rook", "wren", "lark", "swift")


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    n_recordings = draw(st.integers(2, 40))
    n_species, n_authors = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    labels = st.sampled_from([*SPECIES[:n_species], *["nocall"] * draw(st.booleans())])
    authors = st.sampled_from(["", *(f"r{k}" for k in range(n_authors))])
    columns: dict[str, Any] = {}
    if draw(st.booleans()):
        sites = st.sampled_from(["", "", "", "hill", "lake", "wood"])
        columns["site"] = draw(st.lists(sites, min_size=n_recordings, max_size=n_recordings))
    if draw(st.booleans()):
        secondary = st.sampled_from([(), (), ("crow",), ("rook", "gull")])
        columns["secondary_labels"] = draw(st.lists(secondary, min_size=n_recordings, max_size=n_recordings))
    return table(
        draw(st.lists(labels, min_size=n_recordings, max_size=n_recordings)),
        draw(st.lists(authors, min_size=n_recordings, max_size=n_recordings)),
        **columns,
    )


constraints = st.fixed_dictionaries(
    {
        "n_folds": st.integers(2, 5),
        "fewer_if_needed": st.booleans(),
        "every_class_in_training": st.booleans(),
        "rare_up_to": st.integers(0, 4),
        "group_column": st.sampled_from([None, "author", "filename"]),
    }
)
REFUSALS = (
    "are all of",
    "recordings are one group by",
    "nothing is left to validate",
    "would be left to validate",
    "too few to keep some for validation",
    "fewer than the",
    "would have nothing to validate",
    "would validate .* only",
)


@settings(deadline=None, max_examples=400)
@given(tables(), constraints, st.integers(0, 3))
def test_what_the_folds_promise_holds(recordings: pd.DataFrame, values: dict[str, Any], seed: int) -> None:
    assignment, refusal = folds_or_refusal(recordings, seed=seed, **values)
    if assignment is None:
        assert re.search("|".join(REFUSALS), refusal)
        return
    folds, validated, labels = assignment.folds, assignment.validated, recordings["primary_label"]
    assert folds.dtype == np.int64
    assert set(folds) <= set(range(-1, assignment.n_folds))
    groups = group_of(recordings, assignment.group_columns)
    assert (pd.Series(folds).groupby(groups).nunique() == 1).all()
    species = set(labels) - {"nocall"}
    rare = {label for label in species if (labels == label).sum() <= values["rare_up_to"]}
    promised = species if values["every_class_in_training"] else rare
    tested = np.zeros(len(recordings), dtype=int)
    for fold in range(assignment.n_folds):
        train, val = assignment.training_rows(fold), assignment.validation_rows(fold)
        assert val.any()
        assert not (train & val).any()
        assert not set(groups[train]) & set(groups[val])
        assert promised <= labels_in(recordings, train)
        assert not rare & labels_in(recordings, val)
        tested += val
    np.testing.assert_array_equal(tested, validated)
    np.testing.assert_array_equal(validated, (folds >= 0) & ~labels.isin(rare).to_numpy())
    assert assignment.n_folds == values["n_folds"] or (values["fewer_if_needed"] and assignment.notes)
    for label in species:
        learnt = [label in labels_in(recordings, assignment.training_rows(k)) for k in set(folds) - {-1}]
        seen = sum(label in labels_in(recordings, assignment.validation_rows(k)) for k in set(folds) - {-1})
        named = any(re.search(rf"\b{label}\b", note) for note in assignment.notes)
        assert named or (all(learnt) and seen == assignment.n_folds)


@settings(deadline=None, max_examples=100)
@given(tables(), constraints, st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_other_columns_change_the_folds(
    recordings: pd.DataFrame, values: dict[str, Any], random: Any
) -> None:
    first, _ = folds_or_refusal(recordings, **values)
    assume(first is not None)
    assert first is not None
    again = folds_of(recordings, **values)
    order = random.sample(range(len(recordings)), len(recordings))
    shuffled = recordings.iloc[order].assign(url="https://example.org")
    other = folds_of(shuffled[sorted(shuffled)], **values)
    np.testing.assert_array_equal(first.folds, again.folds)
    np.testing.assert_array_equal(first.folds[order], other.folds)
    np.testing.assert_array_equal(first.validated[order], other.validated)
    assert first.notes == again.notes == other.notes


@pytest.mark.parametrize("seed", range(5))
def test_without_options_the_folds_are_those_of_scikit_learn(seed: int) -> None:
    recordings = many(seed)
    splitter = StratifiedGroupKFold(n_splits=5, shuffle=True, random_state=seed)
    # In the order in which we number them: scikit-learn shuffles groups by their number.
    authors = pd.factorize(recordings["author"])[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = list(splitter.split(recordings, recordings["primary_label"], authors))
    assignment = folds_of(recordings, seed=seed)
    for fold, (train, test) in enumerate(splits):
        assert np.flatnonzero(assignment.training_rows(fold)).tolist() == train.tolist()
        assert np.flatnonzero(assignment.validation_rows(fold)).tolist() == test.tolist()
    assert assignment.validated.all()
    assert assignment.notes == ()


def test_the_same_seed_repeats_and_another_differs() -> None:
    first, again, other = (folds_of(many(), seed=seed).folds for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_row_learns_and_is_tested_by_its_fold_and_its_mark() -> None:
    folds, validated = np.array([0, 1, -1, 0]), np.array([True, True, False, False])
    assert training_rows(folds, 0).tolist() == [False, True, True, False]
    assert validation_rows(folds, validated, 0).tolist() == [True, False, False, False]


def test_recordings_of_one_site_stay_together_by_default() -> None:
    sites = [f"site {k % 9}" for k in range(60)]
    recordings = table(["a", "b"] * 30, [f"recordist {k}" for k in range(60)], site=sites)
    assert (pd.Series(folds_of(recordings).folds).groupby(sites).nunique() == 1).all()
    by_author = folds_of(recordings, group_column="author").folds
    assert (pd.Series(by_author).groupby(sites).nunique() > 1).any()


def test_a_class_of_one_recordist_is_learnt_in_every_fold_where_it_shall_be() -> None:
    recordings = table(["a", "b"] * 10 + ["c"] * 3, [f"r{k}" for k in range(20)] + ["hermit"] * 3)
    without = folds_of(recordings, n_folds=3)
    fold = without.folds[-1]
    assert "c" not in labels_in(recordings, without.training_rows(fold))
    assignment = folds_of(recordings, n_folds=3, every_class_in_training=True)
    assert (assignment.folds[-3:] == -1).all()
    assert not assignment.validated[-3:].any()
    assert (assignment.folds[:-3] >= 0).all()


def test_of_a_class_in_one_fold_the_smallest_group_is_moved() -> None:
    recordings = table(
        ["a", "b"] * 4 + ["c"] * 5,
        ["", "", "", "", "", "", "", "", *"xxyyy"],
        fold=[*[0, 0, 1, 1] * 2, *[1] * 5],
    )
    assignment = folds_of(recordings, every_class_in_training=True)
    assert assignment.folds[-5:].tolist() == [-1, -1, 1, 1, 1]
    assert assignment.validated[-5:].tolist() == [False, False, True, True, True]


def test_a_rare_class_is_learnt_for_nothing_where_its_recordists_made_nothing_else() -> None:
    labels = ["a", "b"] * 10 + ["rare"] * 3
    recordings = table(labels, [f"r{k // 2}" for k in range(20)] + ["r0", "specialist", "specialist"])
    assignment = folds_of(recordings, n_folds=2, rare_up_to=3)
    assert assignment.folds[-2:].tolist() == [-1, -1]
    assert assignment.folds[-3] == assignment.folds[0] >= 0
    assert not assignment.validated[-3:].any()
    assert assignment.validated[:-3].all()


def test_the_only_recordist_of_a_rare_class_is_moved_whole() -> None:
    recordings = table(["a", "b"] * 10 + ["rare"], [f"r{k // 2}" for k in range(20)] + ["r0"])
    assignment = folds_of(recordings, n_folds=2, rare_up_to=3)
    assert np.flatnonzero(assignment.folds == -1).tolist() == [0, 1, 20]


def test_recordings_without_a_species_are_promised_nothing() -> None:
    recordings = table(["a", "b"] * 10 + ["nocall"], [""] * 21)
    assignment = folds_of(recordings, n_folds=2, rare_up_to=3, every_class_in_training=True)
    assert assignment.validated.all()
    assert not any("nocall" in note for note in assignment.notes)


@pytest.mark.parametrize(
    ("official", "expected"),
    [
        ([1, 1, 2, 2, 3, 3, 4, 4], [0, 0, 1, 1, 2, 2, 3, 3]),
        (["9", "9", "10.0", "10", "9", "9", "10", "10"], [0, 0, 1, 1, 0, 0, 1, 1]),
        (["fold_10", "fold_10", "fold_9", "fold_9"] * 2, [1, 1, 0, 0] * 2),
        (["train", "train", "dev", "dev"] * 2, [1, 1, 0, 0] * 2),
        ([0, 0, -1, -1, 2, 2, -1, -1], [0, 0, -1, -1, 1, 1, -1, -1]),
    ],
)
def test_official_folds_are_used_as_they_are(official: list[Any], expected: list[int]) -> None:
    recordings = table(["a", "b"] * 4, [f"{k}" for k in range(8)], fold=official)
    assignment = folds_of(recordings)
    assert assignment.folds.tolist() == expected
    assert assignment.n_folds == max(expected) + 1
    assert assignment.validated.tolist() == [fold >= 0 for fold in expected]
    renamed = folds_of(recordings.rename(columns={"fold": "part"}), fold_column="part")
    assert renamed.folds.tolist() == expected


def test_the_published_column_fold_id_is_taken_where_there_is_no_fold() -> None:
    recordings = table(["a", "b"] * 2, ["x", "x", "y", "y"], fold_id=[1, 1, 0, 0])
    assert folds_of(recordings).folds.tolist() == [1, 1, 0, 0]
    assert folds_of(recordings.assign(fold=[0, 0, 1, 1])).folds.tolist() == [0, 0, 1, 1]


def test_official_folds_may_be_disregarded() -> None:
    recordings = many().assign(fold=0)
    np.testing.assert_array_equal(folds_of(recordings, fold_column=None).folds, folds_of(many()).folds)


@pytest.mark.parametrize(
    ("official", "message"),
    [
        ([0, None, 1, " "], "the column fold is empty in 2 of 4 rows; every recording needs a fold"),
        ([0] * 4, "holds one fold only; at least 2 are needed"),
        ([0, -1, -1, 0], "holds one fold only"),
        (["x"] * 4, "holds one fold only"),
        (["0", "0", "1", "1.5"], r"mixes '1\.5' with whole numbers, in 1 row of 4"),
        (["0", "0", "1", "?"], r"mixes '\?' with whole numbers"),
        (
            [0, 1, 0, 1],
            "with the official folds of the column fold, fold 0 would validate recordings of a only",
        ),
        ([0, 0, 1, 0], "official folds of the column fold, fold 1 would validate recordings of a only"),
    ],
)
def test_unusable_official_folds_are_refused(official: list[Any], message: str) -> None:
    recordings = table(["a", "b"] * 2, ["", "", "", ""], fold=official)
    with pytest.raises(DataError, match=message):
        folds_of(recordings)


def test_recordists_of_rare_species_only_leave_the_official_folds_as_well() -> None:
    recordings = table([*"abababab", "rare", "rare"], [""] * 10, fold=[*[0, 0, 1, 1] * 2, 0, 1])
    assignment = folds_of(recordings, rare_up_to=2)
    assert assignment.folds.tolist() == [*[0, 0, 1, 1] * 2, -1, -1]


def test_two_folds_that_cannot_be_are_not_lowered_further() -> None:
    recordings = table(["a"] * 4 + ["b"] * 4, ["x"] * 4 + ["y"] * 4)
    with pytest.raises(
        DataError, match=r"with 2 folds, fold 0 would validate recordings of \w only, .*; add rec"
    ):
        folds_of(recordings, fewer_if_needed=True)


def test_an_official_fold_of_rare_species_has_nothing_to_validate() -> None:
    recordings = table(["a", "b", "a", "b", "c"], [""] * 5, fold=[0, 0, 1, 1, 2])
    with pytest.raises(DataError, match=r"fold 2 would have nothing to validate; .*lower rare_up_to from 1"):
        folds_of(recordings, rare_up_to=1)


def test_official_folds_that_split_a_recordist_are_refused() -> None:
    recordings = table(["a", "b"] * 2, ["x", "x", "x", "y"], fold=[0, 0, 1, 1])
    with pytest.raises(DataError, match="1 group by author would lie on both sides"):
        folds_of(recordings)


def test_official_folds_that_split_a_recordist_by_its_spelling_are_refused() -> None:
    recordings = table(
        ["a", "b"] * 3, ["Ada Byron", "x", "y", "z", "ADA  BYRON", "u"], fold=[0, 0, 0, 1, 1, 1]
    )
    with pytest.raises(DataError, match="1 group by author would lie on both sides of a fold"):
        folds_of(recordings)


def test_unknown_recordists_may_lie_in_any_of_the_official_folds() -> None:
    recordings = table(["a", "b"] * 2, ["unknown", "Unknown", "-", "anonymous"], fold=[0, 0, 1, 1])
    assert folds_of(recordings).folds.tolist() == [0, 0, 1, 1]


def test_a_fifth_of_the_recordists_in_capitals_changes_no_fold() -> None:
    plain = many()
    shouted = plain["author"].where(np.arange(len(plain)) % 5 > 0, plain["author"].str.upper() + " ")
    written = folds_of(plain.assign(author=shouted))
    np.testing.assert_array_equal(written.folds, folds_of(plain).folds)


def test_recordings_of_unknown_recordists_are_spread_over_the_folds() -> None:
    unknown = many().assign(author=["unknown"] * 225 + [f"recordist {k % 9}" for k in range(75)])
    folds = folds_of(unknown).folds[:225]
    assert np.bincount(folds).min() > 25


def test_a_fold_column_that_is_not_there_is_refused_unless_it_is_the_default() -> None:
    with pytest.raises(DataError, match="no column part of official folds; its columns are filename"):
        folds_of(many(), fold_column="part")
    assert folds_of(many()).n_folds == 5


def test_few_recordings_of_a_species_are_no_obstacle() -> None:
    recordings = table(["common", "other"] * 10 + ["rare"], [""] * 21)
    assert folds_of(recordings).n_folds == 5


def test_too_few_recordists_lower_the_number_of_folds_and_say_so() -> None:
    recordings = table(["a", "b"] * 12, [f"recordist {k // 2 % 3}" for k in range(24)])
    with pytest.raises(
        DataError, match="there are only 3 recordists, fewer than the 5 folds; set n_folds to 3, or"
    ):
        folds_of(recordings)
    assignment = folds_of(recordings, fewer_if_needed=True)
    assert assignment.n_folds == 3
    assert assignment.notes[0] == "3 folds instead of 5: there are only 3 recordists."


def test_most_species_having_few_recordists_lowers_the_number_of_folds_only_where_it_may() -> None:
    authors = [*(f"c{k}" for k in range(20)), *["x", "y"] * 9]
    recordings = table(["common", "usual"] * 10 + ["a", "a", "b", "b", "c", "c"] * 3, authors)
    assert folds_of(recordings, n_folds=3).n_folds == 3
    assignment = folds_of(recordings, n_folds=3, fewer_if_needed=True)
    assert assignment.n_folds == 2
    assert "more than half of the species have fewer than 3 recordists" in assignment.notes[0]


def test_more_folds_than_recordings_of_any_species_are_refused_in_a_sentence() -> None:
    recordings = table(["a", "b", "c"] * 3, [""] * 9)
    with pytest.raises(DataError, match="no species has more than 3 recordings, fewer than the 4 folds"):
        folds_of(recordings, n_folds=4)
    assert folds_of(recordings, n_folds=4, fewer_if_needed=True).n_folds <= 3


def test_one_recording_a_species_is_too_few() -> None:
    with pytest.raises(DataError, match="no species has more than 1 recording, too few"):
        folds_of(table(["a", "b", "c"], [""] * 3), fewer_if_needed=True)


def test_a_fold_that_would_validate_one_species_is_refused_or_given_up() -> None:
    authors = ["x"] * 4 + ["y"] * 4 + ["z"] * 4
    recordings = table(["a"] * 4 + ["a", "b"] * 4, authors)
    with pytest.raises(
        DataError, match=r"with 3 folds, fold \d would validate recordings of a only, .*; lower n_folds, or"
    ):
        folds_of(recordings, n_folds=3)
    assignment = folds_of(recordings, n_folds=3, fewer_if_needed=True)
    assert assignment.n_folds == 2
    assert assignment.notes[0].startswith("2 folds instead of 3: with 3, fold")


def test_a_second_species_in_the_background_is_enough_to_score_a_fold() -> None:
    recordings = table(["a"] * 4 + ["a", "b"] * 4, ["x"] * 4 + ["y"] * 4 + ["z"] * 4)
    heard = recordings.assign(secondary_labels=[("b",), (), (), (), *[()] * 8])
    assert folds_of(heard, n_folds=3).n_folds == 3


def test_one_recordist_for_everything_allows_no_split() -> None:
    with pytest.raises(
        DataError, match="all 12 recordings are one group by author; no leak-free split exists"
    ):
        folds_of(table(["a", "b"] * 6, ["x"] * 12), fewer_if_needed=True)


def test_rare_species_alone_leave_nothing_to_validate() -> None:
    recordings = table(["a"] * 4 + ["b"] * 3, [""] * 7)
    with pytest.raises(
        DataError, match=r"rare_up_to is 10, .* 4 recordings: nothing .*; set rare_up_to below 4"
    ):
        folds_of(recordings, rare_up_to=10)


def test_promises_that_leave_too_little_to_validate_name_what_to_give_up() -> None:
    recordings = table(["a", "a", "b", "b", "b"], ["x", "x", "y", "y", "y"])
    message = "0 of the 2 recordists would be left .*; set every_class_in_training to False"
    with pytest.raises(DataError, match=message):
        folds_of(recordings, n_folds=2, every_class_in_training=True)


@pytest.mark.parametrize("labels", [["a"] * 9, []])
def test_one_species_is_too_few(labels: list[str]) -> None:
    with pytest.raises(DataError, match=r"all of (a|no species); at least two species"):
        folds_of(table(labels, [""] * len(labels)))


def test_a_group_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(DataError, match="no column recordist to keep together"):
        folds_of(many(), group_column="recordist")


def test_counts_are_what_each_fold_learns_and_validates() -> None:
    recordings = table(["a", "b"] * 10 + ["c"] * 3, [f"r{k}" for k in range(20)] + ["hermit"] * 3)
    assignment = folds_of(recordings, n_folds=2, every_class_in_training=True)
    counts = fold_counts(recordings, assignment)
    assert counts.index.tolist() == ["a", "b", "c", "all"]
    assert counts.loc["c"].tolist() == [3, 1, 3, 0, 3, 0]
    assert counts.loc["all"].tolist() == [23, 21, 13, 10, 13, 10]


def test_folds_are_saved_as_a_readable_table(tmp_path: Path) -> None:
    recordings = table(
        ["a", "b"] * 2, ["x", "", "", "y"], site=["", "s, t", "", ""], rating=4.0, fold=[0, 0, 1, 1]
    )
    save_folds(tmp_path / "folds.csv", recordings, folds_of(recordings))
    assert (tmp_path / "folds.csv").read_text().splitlines() == [
        "filename,primary_label,author,site,fold,validated",
        "000.wav,a,x,,0,true",
        '001.wav,b,,"s, t",0,true',
        "002.wav,a,,,1,true",
        "003.wav,b,y,,1,true",
    ]


def real_table(folder: Path) -> pd.DataFrame:
    recordings = pd.read_csv(folder / "recordings.csv", dtype=str, keep_default_na=False)
    return recordings if "author" in recordings else recordings.assign(author="")


def test_real_recordings_with_few_recordists_get_their_five_folds_and_the_consequences(
    shared_data: Path,
) -> None:
    assignment = folds_of(real_table(shared_data / "phoebe"), seed=42)
    assert assignment.n_folds == 5
    assert assignment.n_groups == 12
    assert assignment.notes[0].startswith("Passer_domesticus has one recordist: no leak-free score")
    assert "Junco_hyemalis and Setophaga_coronata have 4 recordists each for 5 folds" in assignment.notes[-1]


def test_real_recordings_with_few_recordists_get_three_folds_where_they_may(shared_data: Path) -> None:
    recordings = real_table(shared_data / "phoebe")
    assignment = folds_of(recordings, seed=42, fewer_if_needed=True, every_class_in_training=True)
    assert assignment.n_folds == 3
    assert labels_in(recordings, assignment.folds == -1) == {"Passer_domesticus"}
    for fold in range(3):
        assert len(labels_in(recordings, assignment.training_rows(fold))) == 10
        train, val = assignment.training_rows(fold), assignment.validation_rows(fold)
        assert not set(recordings["author"][train]) & set(recordings["author"][val])


def test_real_official_folds_keep_clips_of_one_source_together(shared_data: Path) -> None:
    recordings = real_table(shared_data / "esc10")
    official = folds_of(recordings, group_column="source_clip")
    assert (official.folds == recordings["fold"].astype(int) - 1).all()
    assert official.n_groups == recordings["source_clip"].nunique()
    own = folds_of(recordings, group_column="source_clip", fold_column=None)
    assert (pd.Series(own.folds).groupby(recordings["source_clip"]).nunique() == 1).all()
    assert own.notes == ()


def test_a_species_that_only_boxes_name_is_kept_in_every_training_fold() -> None:
    recordings = table(["robin", "wren"] * 10, [f"r{k}" for k in range(20)])
    boxes: list[object] = [None] * 20
    boxes[3] = ((0.0, 1.0, "owl"), (2.0, 3.0, "wren"))
    recordings["boxes"] = pd.Series(boxes, dtype=object)
    plain = assign_folds(recordings, FoldSettings(), seed=0)
    assert any("owl has one" in note for note in plain.notes)
    kept = assign_folds(recordings, FoldSettings(every_class_in_training=True), seed=0)
    assert kept.folds[3] == -1
