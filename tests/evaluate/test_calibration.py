"""Thresholds at a wanted precision."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

from dawnchorus.errors import DataError
from dawnchorus.evaluate.calibration import (
    ClassThreshold,
    PrecisionRecall,
    precision_recall,
    thresholds_at_precision,
    write_thresholds,
)
from dawnchorus.recordings.labels import UNKNOWN

LABELS = ("robin", "wren", "owl")


def drawn(seed: int, n_items: int = 200, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and scores with ties that tell something of each other, shape (n_items, n_classes)."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n_items, n_classes)) < 0.2).astype(np.float32)
    scores = np.clip(0.3 * targets + 0.25 + 0.2 * rng.standard_normal(targets.shape), 0, 1)
    return targets, scores.round(2).astype(np.float32)


def lowest_threshold(targets: np.ndarray, scores: np.ndarray, precision: float) -> float:
    """Return the lowest score that reaches a precision, by trying one after the other."""
    reaching = [t for t in np.unique(scores) if targets[scores >= t].mean() >= precision]
    return float(min(reaching)) if reaching else math.inf


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_that_of_scikit_learn_at_every_score(seed: int) -> None:
    targets, scores = drawn(seed)
    precision, recall, thresholds = precision_recall_curve(targets.ravel(), scores.ravel())
    curve = precision_recall(targets, scores)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.precision, precision[:-1], rtol=1e-12)
    np.testing.assert_allclose(curve.recall, recall[:-1], rtol=1e-12)


def test_a_curve_without_positives_has_no_recall() -> None:
    curve = precision_recall([0, 0], [0.2, 0.7])
    assert curve.precision.tolist() == [0, 0]
    assert np.isnan(curve.recall).all()
    assert curve.lowest_reaching(0.5) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("precision", [0.3, 0.5, 0.8])
def test_each_class_has_the_lowest_threshold_that_reaches_the_precision(seed: int, precision: float) -> None:
    targets, scores = drawn(seed)
    for column, row in enumerate(thresholds_at_precision(targets, scores, LABELS, precision)):
        target, score = targets[:, column], scores[:, column]
        assert (row.label, row.how) == (LABELS[column], "class")
        assert row.threshold == lowest_threshold(target, score, precision)
        assert row.precision >= precision
        above = score >= row.threshold
        assert row.precision == pytest.approx(precision_score(target, above))
        assert row.recall == pytest.approx(recall_score(target, above))
        assert (row.n_positive, row.n_above) == (target.sum(), above.sum())


def test_the_lowest_threshold_has_the_largest_recall_even_after_a_dip() -> None:
    # Right, wrong, then eight right: 1 of 1, 1 of 2, ..., 9 of 10. Only the first and the last reach 0.9.
    targets = [1, 0, *[1] * 8, 0]
    scores = np.linspace(0.99, 0.1, 11)
    (row,) = thresholds_at_precision(np.array([targets]).T, scores[:, None], ["robin"], 0.9)
    assert row == ClassThreshold("robin", scores[9], 0.9, 1.0, 9, 10, "class")


def test_a_class_with_few_positives_takes_the_pooled_threshold_and_its_own_counts() -> None:
    targets, scores = drawn(1)
    targets[:, 1] = 0
    targets[3:5, 1] = 1
    row = thresholds_at_precision(targets, scores, LABELS, 0.5)[1]
    assert row.threshold == lowest_threshold(targets, scores, 0.5)
    assert row.how == "pooled: 2 positives"
    above = scores[:, 1] >= row.threshold
    assert (row.n_positive, row.n_above) == (2, above.sum())
    assert row.precision == pytest.approx(targets[above, 1].mean())
    targets[4, 1] = 0
    assert thresholds_at_precision(targets, scores, LABELS, 0.5)[1].how == "pooled: 1 positive"
    assert thresholds_at_precision(targets, scores, LABELS, 0.001, min_positives=1)[1].how == "class"


def test_a_class_that_never_reaches_it_takes_the_pooled_threshold() -> None:
    targets, scores = drawn(2)
    scores[:, 2] = np.where(targets[:, 2] > 0, 0.1, scores[:, 2] + 0.11)
    row = thresholds_at_precision(targets, scores, LABELS, 0.9)[2]
    assert row.how == "pooled: never reaches 0.9"
    assert row.threshold == lowest_threshold(targets, scores, 0.9)


def test_a_class_with_a_leak_is_neither_scored_nor_pooled() -> None:
    targets, scores = drawn(3)
    scores[:, 0] = 1 - scores[:, 0]
    rows = thresholds_at_precision(targets, scores, LABELS, 0.5, scored_labels=("wren", "owl"))
    assert rows[0].how == "pooled: not scored without a leak"
    assert rows[0].threshold == lowest_threshold(targets[:, 1:], scores[:, 1:], 0.5)
    assert rows[0].threshold != lowest_threshold(targets, scores, 0.5)
    assert math.isnan(rows[0].precision)
    assert math.isnan(rows[0].recall)
    assert [row.how for row in rows[1:]] == ["class", "class"]


def test_where_nothing_reaches_it_the_threshold_is_infinite() -> None:
    targets = np.zeros((20, 2))
    targets[:6] = 1
    scores = np.linspace(0, 1, 20)[:, None] + [[0, 0.001]]
    for row in thresholds_at_precision(targets, scores, ("robin", "wren"), 0.9):
        assert (row.threshold, row.how, row.n_above, row.recall) == (math.inf, "never", 0, 0)
        assert math.isnan(row.precision)


def test_what_is_unknown_counts_nowhere() -> None:
    targets, scores = drawn(4)
    unknown = np.random.default_rng(0).random(targets.shape) < 0.3
    known = ~unknown
    masked = np.where(unknown, UNKNOWN, targets)
    for column, row in enumerate(thresholds_at_precision(masked, scores, LABELS, 0.6)):
        target, score = targets[known[:, column], column], scores[known[:, column], column]
        assert row.threshold == lowest_threshold(target, score, 0.6)
        above = score >= row.threshold
        assert (row.n_positive, row.n_above) == (target.sum(), above.sum())
        assert row.precision == pytest.approx(target[above].mean())
    (pooled, *_) = thresholds_at_precision(masked, scores, LABELS, 0.6, min_positives=1000)
    assert pooled.threshold == lowest_threshold(targets[known], scores[known], 0.6)
    never_known = np.where(np.arange(3) == 1, UNKNOWN, targets)
    assert thresholds_at_precision(never_known, scores, LABELS, 0.6)[1].how == "pooled: 0 positives"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": 0.0}, "precision is 0; legal: above 0, at most 1"),
        ({"precision": 1.5}, r"precision is 1\.5; legal"),
        ({"precision": math.nan}, "precision is nan; legal"),
        ({"labels": ("robin",)}, r"there are 1 labels for targets of shape \(200, 3\)"),
        ({"targets": np.zeros((2, 3))}, r"shape \(2, 3\) and scores \(200, 3\)"),
        ({"targets": np.full((200, 3), 0.4)}, "targets hold 0.4; legal: 0, 1, and below 0"),
        ({"scores": np.full((200, 3), np.nan)}, "600 of 600 scores are not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    targets, scores = drawn(0)
    given = {"targets": targets, "scores": scores, "labels": LABELS, "precision": 0.9, **changes}
    with pytest.raises(DataError, match=message):
        thresholds_at_precision(**given)


def test_the_table_is_read_back_with_every_digit_of_a_threshold(tmp_path: Path) -> None:
    threshold = float(np.float32(0.9))
    rows = [
        ClassThreshold("NA", threshold, 11 / 12, 1 / 3, 5, 12, "class"),
        ClassThreshold("a, b", math.inf, math.nan, 0.0, 5, 0, "never"),
        ClassThreshold("Amsel Männchen", 0.5, math.nan, math.nan, 2, 7, "pooled: 2 positives"),
    ]
    path = tmp_path / "thresholds.csv"
    write_thresholds(path, rows)
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    assert list(table) == ["label", "threshold", "precision", "recall", "n_positive", "n_above", "how"]
    assert table["label"].tolist() == ["NA", "a, b", "Amsel Männchen"]
    assert [float(cell) for cell in table["threshold"]] == [threshold, math.inf, 0.5]
    assert np.float32(0.9) >= float(table["threshold"][0])
    assert table["threshold"][1] == "inf"
    assert table["precision"].tolist() == ["0.9167", "", ""]
    assert table["recall"].tolist() == ["0.3333", "0.0000", ""]
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["n_above"] for row in csv.DictReader(file)] == ["12", "0", "7"]
    assert [file.name for file in tmp_path.iterdir()] == ["thresholds.csv"]


def test_of_equal_precision_the_lower_threshold_is_chosen() -> None:
    curve = PrecisionRecall(np.array([0.2, 0.4, 0.6]), np.array([0.5, 0.8, 0.8]), np.array([1, 0.9, 0.5]))
    assert curve.lowest_reaching(0.8) == 1
    assert curve.lowest_reaching(0.81) is None
