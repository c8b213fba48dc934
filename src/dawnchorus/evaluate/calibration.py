"""Thresholds at which detections have a chosen precision, from out-of-fold predictions.

All of it is per recording, not per window: an item is a recording, its score the maximum over its windows,
its target the labels of the whole recording. The precision of single windows at the threshold may be lower.

The precision is also an optimistic estimate. The items are the recordings of the run, each scored by the one
model that was not trained on it: in soundscapes species are rarer and farther away, and an ensemble averages
several models, whose scores have another spread. And the thresholds are chosen on the same recordings that
their precision is counted on, which favours classes with few of them.

Targets below 0 are unknown (:data:`dawnchorus.recordings.labels.UNKNOWN`); such pairs of item and class are
left out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dawnchorus.errors import DataError
from dawnchorus.evaluate.reliability import checked_pairs
from dawnchorus.files import replacing

OWN, POOLED, NEVER = "class", "pooled", "never"
"""Start of the field ``how``: the source of a class's threshold."""


class ClassThreshold(NamedTuple):
    """One line of the threshold table.

    Attributes
    ----------
    label
        The class.
    threshold
        A score at or above it is a detection; infinite where nothing reaches the precision.
    precision
        Fraction of the class's items at or above it that are positive; NaN where there are none, or where the
        class is not scored without a leak.
    recall
        Fraction of its positive items at or above it; NaN where it has none, or is not scored.
    n_positive
        Items in which the class is present.
    n_above
        Items at or above the threshold.
    how
        ``class``; ``pooled`` and the reason, such as ``pooled: 2 positives``; or ``never``.

    Examples
    --------
    >>> line = ClassThreshold("wren", 0.4, precision=0.9, recall=0.7, n_positive=20, n_above=16, how="class")
    >>> line.label, line.threshold
    ('wren', 0.4)
    """

    label: str
    threshold: float
    precision: float
    recall: float
    n_positive: int
    n_above: int
    how: str


class ReviewedThreshold(NamedTuple):
    """One line of the threshold table of a review, with what the threshold rests on.

    Attributes
    ----------
    label, threshold, precision, recall, n_positive, n_above, how
        As of :class:`ClassThreshold`, its items the clips.
    n_answers
        Answers that it was chosen by: the species' own, or those to all species where it is pooled.
    low, high
        Interval of the precision: of the species' clips, or of all where it is pooled; NaN where no
        threshold reaches the wanted one.

    Examples
    --------
    >>> ReviewedThreshold("owl", 0.4, 0.9, 0.7, 20, 16, "class: 22 answers", 22, 0.75, 0.97).n_answers
    22
    """

    label: str
    threshold: float
    precision: float
    recall: float
    n_positive: int
    n_above: int
    how: str
    n_answers: int
    low: float
    high: float


class PrecisionRecall(NamedTuple):
    """Precision and recall of the items at or above each score that occurs.

    Attributes
    ----------
    thresholds
        Rising, shape (n_thresholds,), float64.
    precision, recall
        In [0, 1], same shape; recall falls, and is NaN where no item is positive.

    Examples
    --------
    >>> curve = precision_recall([1, 0, 1], [0.9, 0.6, 0.4])
    >>> curve.lowest_reaching(0.9), curve.thresholds[curve.lowest_reaching(0.9)].item()
    (2, 0.9)
    """

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def lowest_reaching(self, precision: float) -> int | None:
        """Return the index of the lowest threshold with at least this precision, or None.

        Of all thresholds with that precision, it has the largest recall.
        """
        reaching = np.flatnonzero(self.precision >= precision)
        return int(reaching[0]) if len(reaching) else None


def check_precision(precision: float) -> None:
    """Raise a DataError where ``precision`` is not in (0, 1].

    Examples
    --------
    >>> check_precision(0.9)
    >>> check_precision(90)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: precision is 90; legal: above 0, at most 1, such as 0.9
    """
    if not 0 < precision <= 1:
        raise DataError(f"precision is {precision:g}; legal: above 0, at most 1, such as 0.9")


def precision_recall(targets: ArrayLike, scores: ArrayLike) -> PrecisionRecall:
    """Return precision and recall at every score that occurs, over all pairs that are not unknown.

    As scikit-learn's ``precision_recall_curve``, without its last point, which has no threshold.

    Parameters
    ----------
    targets
        0, 1, or below 0 where unknown; any shape.
    scores
        Finite, of the same shape.

    Raises
    ------
    DataError
        The arrays do not fit this description.

    Examples
    --------
    >>> curve = precision_recall([1, 0, 1], [0.9, 0.6, 0.4])
    >>> curve.thresholds.tolist(), curve.precision.round(2).tolist(), curve.recall.tolist()
    ([0.4, 0.6, 0.9], [0.67, 0.5, 1.0], [1.0, 0.5, 0.5])
    """
    truth, known, score = checked_pairs(targets, scores)
    score, truth = score[known], truth[known]
    order = np.argsort(-score, kind="stable")
    score, n_true = score[order], np.cumsum(truth[order], dtype=np.int64)
    last_of_equals = np.flatnonzero(np.append(score[1:] != score[:-1], True)[: len(score)])[::-1]
    n_true, n_above = n_true[last_of_equals], last_of_equals + 1
    n_positive = int(truth.sum())
    recall = n_true / n_positive if n_positive else np.full(len(n_true), np.nan)
    return PrecisionRecall(score[last_of_equals], n_true / n_above, recall)


def best_f1_threshold(targets: ArrayLike, scores: ArrayLike) -> float:
    """Return the score from which on detections have the largest F1, over all pairs that are not unknown.

    F1 is the harmonic mean of precision and recall; of several such scores, the lowest.

    Parameters
    ----------
    targets, scores
        As for :func:`precision_recall`, with its errors; one target at least is positive.

    Examples
    --------
    >>> best_f1_threshold([1, 0, 1, 0, 0], [0.9, 0.6, 0.4, 0.2, 0.1])
    0.4
    """
    curve = precision_recall(targets, scores)
    total = curve.precision + curve.recall
    f1 = 2 * curve.precision * curve.recall / np.where(total > 0, total, 1)
    return float(curve.thresholds[int(f1.argmax())])


def thresholds_at_precision(
    targets: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[str],
    precision: float,
    *,
    min_positives: int = 5,
    scored_labels: Collection[str] | None = None,
) -> list[ClassThreshold]:
    """Return the lowest threshold of each class with at least the wanted precision.

    The lowest is the one with the largest recall. A class with few positives, one that cannot be scored
    without a leak, and one that never reaches the precision take the pooled threshold, at which all pairs
    of item and scored class together reach it; the precision of a single class may then be lower or higher.
    The precision is that of recordings, not of windows, and an estimate from the training recordings: see
    the head of this module.

    Parameters
    ----------
    targets
        0, 1, or below 0 where unknown; shape (n_items, n_classes).
    scores
        Finite, of the same shape.
    labels
        Names of the classes.
    precision
        Wanted, in (0, 1].
    min_positives
        Number of positives from which a class has a threshold of its own.
    scored_labels
        Classes that are scored without a leak (:class:`dawnchorus.evaluate.out_of_fold.OutOfFold`);
        None takes all.

    Returns
    -------
    list of ClassThreshold
        In the order of ``labels``.

    Raises
    ------
    DataError
        The arrays or the precision do not fit this description, or the number of labels differs.

    Examples
    --------
    >>> targets = [[1], [1], [0], [0]]
    >>> scores = [[0.9], [0.7], [0.5], [0.1]]
    >>> (wren,) = thresholds_at_precision(targets, scores, ["wren"], 0.9, min_positives=1)
    >>> wren.threshold, wren.recall, wren.how
    (0.7, 1.0, 'class')
    """
    check_precision(precision)
    truth, known, score = checked_pairs(targets, scores)
    if truth.ndim != 2 or truth.shape[1] != len(labels):
        raise DataError(f"there are {len(labels)} labels for targets of shape {truth.shape}")
    scored = [scored_labels is None or label in scored_labels for label in labels]
    target = np.where(known, truth, -1)
    pooled = _threshold_of(precision_recall(target[:, scored], score[:, scored]), precision)
    found = []
    for column, label in enumerate(labels):
        own_target, own_score = target[:, column], score[:, column]
        own = _threshold_of(precision_recall(own_target, own_score), precision)
        reason = _why_pooled(own, int((own_target > 0).sum()), min_positives, precision, scored[column])
        threshold = own if reason is None else pooled
        how = NEVER if math.isinf(threshold) else OWN if reason is None else f"{POOLED}: {reason}"
        found.append(_line(label, threshold, how, own_target, own_score, is_scored=scored[column]))
    return found


def write_thresholds(path: Path, thresholds: Sequence[ClassThreshold | ReviewedThreshold]) -> None:
    """Write a CSV file with the fields of the lines, all of one kind, as columns.

    A threshold keeps every digit, so that the score that it was taken from still reaches it; an infinite one
    is ``inf``. Precision, recall and interval have four decimals, and are empty where they are NaN.

    Examples
    --------
    >>> from pathlib import Path
    >>> line = ClassThreshold("wren", 0.4, precision=0.9, recall=0.7, n_positive=20, n_above=16, how="class")
    >>> write_thresholds(Path("thresholds.csv"), [line])
    >>> print(Path("thresholds.csv").read_text())
    label,threshold,precision,recall,n_positive,n_above,how
    wren,0.4,0.9000,0.7000,20,16,class
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(thresholds[0]._fields if thresholds else ClassThreshold._fields)
        for row in thresholds:
            others = [_decimals(cell) if isinstance(cell, float) else cell for cell in row[2:]]
            writer.writerow((row.label, row.threshold, *others))


def _decimals(fraction: float) -> str:
    return "" if math.isnan(fraction) else f"{fraction:.4f}"


def _threshold_of(curve: PrecisionRecall, precision: float) -> float:
    first = curve.lowest_reaching(precision)
    return math.inf if first is None else float(curve.thresholds[first])


def _why_pooled(
    own: float, n_positive: int, min_positives: int, precision: float, is_scored: bool
) -> str | None:
    """Return the reason why a class takes the pooled threshold, or None where it has its own."""
    if n_positive < min_positives:
        return f"{n_positive} positive{'s' * (n_positive != 1)}"
    if not is_scored:
        return "not scored without a leak"
    return f"never reaches {precision:g}" if math.isinf(own) else None


def _line(
    label: str,
    threshold: float,
    how: str,
    target: NDArray[np.int64],
    score: NDArray[np.float64],
    *,
    is_scored: bool,
) -> ClassThreshold:
    above = (score >= threshold) & (target >= 0)
    n_positive, n_above = int((target > 0).sum()), int(above.sum())
    n_true = int((target[above] > 0).sum())
    precision = n_true / n_above if n_above and is_scored else math.nan
    recall = n_true / n_positive if n_positive and is_scored else math.nan
    return ClassThreshold(label, threshold, precision, recall, n_positive, n_above, how)
