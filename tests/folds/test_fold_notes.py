"""What is said of the folds, and of whom."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from dawnchorus.config import FoldSettings
from dawnchorus.folds.assignment import assign_folds, name_some


def notes_on(recordings: list[tuple[str, str]], **values: Any) -> list[str]:
    """Return the notes on (primary_label, author) pairs beside two species that every fold has."""
    rows = [*recordings, *((label, f"{label} {k}") for label in ("common", "usual") for k in range(20))]
    table = pd.DataFrame(rows, columns=["primary_label", "author"])
    table["filename"] = [f"{k:03d}.wav" for k in range(len(table))]
    return list(assign_folds(table, FoldSettings.model_validate(values), seed=0).notes)


def test_nothing_is_said_of_species_that_all_folds_learn_and_validate() -> None:
    assert notes_on([("wren", f"r{k}") for k in range(10)]) == []


def test_one_recordist_means_no_score() -> None:
    assert notes_on([("wren", "x"), ("wren", "x")]) == [
        "wren has one recordist: no leak-free score, because the model tested on it has never heard it; set "
        "every_class_in_training to learn it in every fold."
    ]


def test_one_recordist_who_is_always_in_training_is_never_validated() -> None:
    assert notes_on([("wren", "x"), ("wren", "x"), ("crow", "y")], every_class_in_training=True) == [
        "Always in training (fold -1), so that every fold learns crow and wren: 3 recordings of 2 "
        "recordists.",
        "crow and wren have one recordist each, always in training: no fold validates them.",
    ]


def test_fewer_recordists_than_folds_leave_folds_without_the_species() -> None:
    assert notes_on([("wren", f"r{k}") for k in range(3)] * 2) == [
        "wren has 3 recordists for 5 folds: 2 of the folds validate without it, and its score rests on the "
        "other 3."
    ]


def test_species_of_one_fate_share_a_sentence() -> None:
    rows = [(label, f"{label}{k}") for label in ("crow", "rook", "wren") for k in range(4)] * 2
    assert notes_on(rows) == [
        "crow, rook and wren have 4 recordists each for 5 folds: one of the folds validates without them, "
        "and their scores rest on the other 4."
    ]


def test_rare_species_are_named() -> None:
    notes = notes_on([("wren", "x"), ("wren", "y"), ("crow", "common 0")], rare_up_to=2)
    assert notes[0] == "Rare, with at most 2 recordings, and never validated: crow and wren."
    assert notes[1] == (
        "Always in training (fold -1), so that every fold learns crow: 2 recordings of one recordist."
    )
    assert len(notes) == 2


def test_recordings_are_counted_where_no_two_belong_together() -> None:
    assert notes_on([("wren", "x")], every_class_in_training=True, group_column="filename") == [
        "Always in training (fold -1), so that every fold learns wren: one recording.",
        "wren has one recording, always in training: no fold validates it.",
    ]


@pytest.mark.parametrize(("n_known", "some"), [(0, "all 50"), (20, "30 of the 50")])
def test_unknown_recordists_are_no_proof_of_different_ones(n_known: int, some: str) -> None:
    table = pd.DataFrame({"primary_label": ["a", "b"] * 25, "author": ""})
    table["filename"] = [f"{k:03d}.wav" for k in range(50)]
    table.loc[: n_known - 1, "author"] = [f"r{k}" for k in range(n_known)]
    (note,) = assign_folds(table, FoldSettings(), seed=0).notes
    assert note.startswith(f"The author of {some} recordings is unknown: where several are by one person")


def test_one_group_of_most_recordings_is_pointed_out() -> None:
    notes = notes_on([(label, "busy") for label in ("common", "usual") for _ in range(40)])
    assert (
        notes[0]
        == "One recordist holds 67% of the recordings: the model tested on it learns from the other 33%."
    )


def test_a_class_whose_recordists_share_a_fold_is_told() -> None:
    table = pd.DataFrame({"primary_label": ["a", "b"] * 4 + ["c"] * 2, "author": [""] * 8 + ["x", "y"]})
    table = table.assign(filename=[f"{k}.wav" for k in range(10)], fold=[*[0, 0, 1, 1] * 2, 1, 1])
    notes = assign_folds(table, FoldSettings(), seed=0).notes
    assert notes[0] == "The official folds of the column fold are used."
    assert notes[1].startswith("c has 2 recordings, all in one fold: no leak-free score")


def test_official_folds_of_other_names_are_told_apart() -> None:
    table = pd.DataFrame({"primary_label": ["a", "b"] * 24, "author": [f"r{k}" for k in range(48)]})
    table = table.assign(filename=[f"{k:02d}.wav" for k in range(48)], fold=[f"f{k // 4}" for k in range(48)])
    note = assign_folds(table, FoldSettings(), seed=0).notes[0]
    assert note.startswith("The official folds of the column fold are used: f0 is fold 0, f1 is fold 1, ")
    assert note.endswith("f9 is fold 9 and 2 more.")


@pytest.mark.parametrize(
    ("n_names", "sentence"),
    [
        (1, "n0"),
        (2, "n0 and n1"),
        (3, "n0, n1 and n2"),
        (12, "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more"),
    ],
)
def test_long_lists_end_in_a_number(n_names: int, sentence: str) -> None:
    assert name_some([f"n{k}" for k in range(n_names)]) == sentence
