"""How well scores rank the recordings in which a species sings.

All functions are pure and take ``y_true`` and ``y_score`` of shape (n_items, n_classes); an item is a
recording or a window. Only ranks within a class matter, so scores may be probabilities or logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from dawnchorus.errors import DataError


class ClassScore(NamedTuple):
    """One line of the per-class table.

    Attributes
    ----------
    label
        The class.
    n_positive
        Items in which it is present.
    roc_auc
        Area under the ROC curve; NaN where the class is in no item or in all.
    average_precision
        Mean precision at the rank of each positive; NaN where the class is in no item.
    """

    label: str
    n_positive: int
    roc_auc: float
    average_precision: float


def macro_roc_auc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the mean ROC-AUC over the classes that have both a positive and a negative item.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Finite scores of the same shape, higher for a likelier class.

    Raises
    ------
    DataError
        If the arrays do not fit this description, or no class has both a positive and a negative.
    """
    areas = per_class_roc_auc(y_true, y_score)
    if np.isnan(areas).all():
        raise DataError(
            f"ROC-AUC is not defined: none of the {len(areas)} classes has both a positive and a negative "
            "among the items; validate on more recordings"
        )
    return float(np.nanmean(areas))


def per_class_roc_auc(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Return the ROC-AUC of each class, shape (n_classes,); NaN where all items are positive or none is.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Finite scores of the same shape.

    Raises
    ------
    DataError
        If the arrays do not fit this description.
    """
    truth, scores = _checked(y_true, y_score)
    areas = np.full(truth.shape[1], np.nan)
    for index in np.flatnonzero(truth.any(0) & ~truth.all(0)):
        areas[index] = roc_auc_score(truth[:, index], scores[:, index])
    return areas


def padded_cmap(y_true: ArrayLike, y_score: ArrayLike, padding: int = 5) -> float:
    """Return the padded class-wise mean average precision of BirdCLEF 2023.

    Each class first gains ``padding`` items that are positive and scored 1, which steadies the classes
    with few positives and defines those with none. Scores must therefore be probabilities.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Probabilities in [0, 1] of the same shape.
    padding
        Items to add, at least 1.

    Raises
    ------
    DataError
        If the arrays do not fit this description.
    """
    truth, scores = _checked(y_true, y_score)
    if padding < 1:
        raise DataError(f"padding is {padding}; legal: 1 or more")
    if scores.min() < 0 or scores.max() > 1:
        raise DataError(
            f"padded cmAP needs probabilities; y_score goes from {scores.min():g} to {scores.max():g}"
        )
    pad = np.ones((padding, truth.shape[1]))
    padded_truth, padded_scores = np.vstack([truth, pad.astype(bool)]), np.vstack([scores, pad])
    columns = zip(padded_truth.T, padded_scores.T, strict=True)
    return float(np.mean([average_precision_score(*column) for column in columns]))


def per_class_table(y_true: ArrayLike, y_score: ArrayLike, labels: Sequence[str]) -> list[ClassScore]:
    """Return one line a class, in the order of ``labels``.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Finite scores of the same shape.
    labels
        Names of the classes.

    Raises
    ------
    DataError
        If the arrays do not fit this description, or the number of labels is another.
    """
    truth, scores = _checked(y_true, y_score)
    if len(labels) != truth.shape[1]:
        raise DataError(f"there are {len(labels)} labels for {truth.shape[1]} classes")
    areas = per_class_roc_auc(truth, scores)
    return [
        ClassScore(
            label=label,
            n_positive=int(present.sum()),
            roc_auc=float(area),
            average_precision=float(average_precision_score(present, score)) if present.any() else np.nan,
        )
        for label, present, score, area in zip(labels, truth.T, scores.T, areas, strict=True)
    ]


def _checked(y_true: ArrayLike, y_score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return the truth as booleans and the scores as float64, or raise DataError."""
    truth, scores = np.asarray(y_true), np.asarray(y_score, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != scores.shape or truth.size == 0:
        raise DataError(
            f"y_true has shape {truth.shape} and y_score {scores.shape}; "
            "both must be (n_items, n_classes) and not empty"
        )
    soft = truth[~np.isin(truth, (0, 1))]
    if soft.size:
        raise DataError(
            f"y_true holds {soft[0]}; legal: 0 and 1. Compare soft targets with a threshold first"
        )
    if not np.isfinite(scores).all():
        raise DataError(f"{(~np.isfinite(scores)).sum()} of {scores.size} values of y_score are not finite")
    return truth.astype(bool), scores
