"""Which species are taken for which, and which recordings are most wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dawnchorus.evaluate.confusions import confusions, most_wrong

LABELS = ["owl", "wren", "rail"]


def table_of(rows: list[tuple[str, list[float]]]) -> pd.DataFrame:
    table = pd.DataFrame(
        {"filename": [f"{k}.ogg" for k in range(len(rows))], "primary_label": [one for one, _ in rows]}
    )
    table["fold"] = 0
    table[LABELS] = [scores for _, scores in rows]
    return table


def test_pairs_are_counted_as_by_hand_and_the_most_frequent_come_first() -> None:
    rows = [
        ("owl", [0.1, 0.9, 0.0]),  # taken for a wren
        ("owl", [0.2, 0.8, 0.0]),  # again
        ("owl", [0.9, 0.1, 0.0]),  # right
        ("wren", [0.1, 0.2, 0.7]),  # taken for a rail
        ("rail", [0.9, 0.0, 0.1]),  # an owl sings there too
        ("rail", [0.9, 0.0, 0.1]),  # an owl may sing there
        ("nocall", [0.9, 0.0, 0.1]),  # no species at all
    ]
    targets = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1], [-1, 0, 1], [0, 0, 0]])
    found = confusions(table_of(rows), targets, LABELS)
    assert found.to_numpy().tolist() == [["owl", "wren", 2, 3, 2 / 3], ["wren", "rail", 1, 1, 1.0]]


def test_without_mistakes_the_tables_have_their_columns_and_no_rows() -> None:
    rows = [("owl", [0.9, 0.1, 0.0]), ("wren", [0.1, 0.9, 0.0])]
    targets = np.array([[1, 0, 0], [0, 1, 0]])
    for made in (confusions, most_wrong):
        found = made(table_of(rows), targets, LABELS)
        assert len(found) == 0
        assert "taken_for" in found.columns


def test_the_most_wrong_recording_has_the_widest_gap_between_an_absent_and_a_present_class() -> None:
    rows = [
        ("owl", [0.5, 0.6, 0.0]),  # 0.1 apart
        ("owl", [0.1, 0.2, 0.9]),  # 0.8 apart
        ("owl", [0.1, 0.9, 0.3]),  # unknown, so 0.2 apart
        ("nocall", [0.9, 0.0, 0.0]),  # nothing is present
        ("wren", [0.0, 0.9, 0.8]),  # right
    ]
    targets = np.array([[1, 0, 0], [1, 0, 0], [1, -1, 0], [0, 0, 0], [0, 1, 0]])
    found = most_wrong(table_of(rows), targets, LABELS)
    assert found["filename"].tolist() == ["1.ogg", "2.ogg", "0.ogg"]
    assert found["taken_for"].tolist() == ["rail", "rail", "wren"]
    assert found["probability"].tolist() == [0.1, 0.1, 0.5]
    assert most_wrong(table_of(rows), targets, LABELS, n=1)["filename"].tolist() == ["1.ogg"]
