"""Reliability of scores: the fraction of positives among recordings scored about 0.8, and so on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dawnchorus.errors import DataError
from dawnchorus.wording import counted

_BIN_COLUMNS = ("n_pairs", "mean_score", "observed_fraction", "low", "high")
_Z_95 = 1.959963984540054  # quantile of the standard normal distribution at 0.975


class Reliability(NamedTuple):
    """Mean score and fraction of positives in bins of scores.

    Attributes
    ----------
    edges
        Of the bins, shape (n_bins + 1,), from 0 to 1; a score at an edge belongs to the bin below.
    n_pairs
        Pairs of item and class in each bin, shape (n_bins,), int64.
    mean_score, observed_fraction
        Mean score and fraction of positives in each bin, shape (n_bins,); NaN in an empty one.
    low, high
        Wilson's 95 % interval of the fraction, shape (n_bins,), NaN in an empty bin. It assumes independent
        pairs, which those of one item are not quite.
    expected_calibration_error
        Mean distance of ``mean_score`` from ``observed_fraction``, weighted by ``n_pairs``.

    Examples
    --------
    >>> found = reliability([1, 0, 1, 1], [0.8, 0.2, 0.9, 0.7], n_bins=2)
    >>> found.n_pairs, found.observed_fraction
    (array([1, 3]), array([0., 1.]))
    """

    edges: NDArray[np.float64]
    n_pairs: NDArray[np.int64]
    mean_score: NDArray[np.float64]
    observed_fraction: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    expected_calibration_error: float

    def __repr__(self) -> str:
        error = f"expected calibration error {self.expected_calibration_error:.4f}"
        return f"Reliability({counted(len(self.n_pairs), 'bin')}, {error})"


def reliability(targets: ArrayLike, scores: ArrayLike, *, n_bins: int = 10) -> Reliability:
    """Return the fraction of positives among scores of about the same size, over all pairs.

    The bins are equally wide, as those of scikit-learn's ``calibration_curve``; the error is that of
    Naeini et al. (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning", of each class
    against its absence.

    Parameters
    ----------
    targets
        0, 1, or below 0 where unknown; any shape.
    scores
        Probabilities in [0, 1] of the same shape.
    n_bins
        At least 1.

    Raises
    ------
    DataError
        The arrays do not fit this description, or there is no bin.

    Examples
    --------
    >>> found = reliability([1, 0, 1, 1], [0.8, 0.2, 0.9, 0.7], n_bins=2)
    >>> round(found.expected_calibration_error, 3)
    0.2
    """
    truth, known, score = checked_pairs(targets, scores)
    if n_bins < 1:
        raise DataError(f"n_bins is {n_bins}; legal: 1 or more")
    if score.min() < 0 or score.max() > 1:
        raise DataError(
            f"reliability needs probabilities in [0, 1]; scores go from {score.min():g} to {score.max():g}"
        )
    truth, score = truth[known], score[known]
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], score)
    n_pairs = np.bincount(bins, minlength=n_bins)
    n_positive = np.bincount(bins[truth], minlength=n_bins)
    nan_if_empty = np.where(n_pairs > 0, n_pairs, np.nan)
    mean_score = np.bincount(bins, weights=score, minlength=n_bins) / nan_if_empty
    fraction = n_positive / nan_if_empty
    error = np.nansum(n_pairs * np.abs(mean_score - fraction)) / max(len(score), 1)
    low, high = wilson_interval(n_positive, n_pairs)
    return Reliability(edges, n_pairs, mean_score, fraction, low, high, float(error))


def reliability_table(found: Reliability) -> pd.DataFrame:
    """Return a row a bin: from_score, to_score, n_pairs, mean_score, observed_fraction, low, high.

    Examples
    --------
    >>> table = reliability_table(reliability([1, 0, 1, 1], [0.8, 0.2, 0.9, 0.7], n_bins=2))
    >>> table[["from_score", "n_pairs", "observed_fraction"]].to_numpy().tolist()
    [[0.0, 1.0, 0.0], [0.5, 3.0, 1.0]]
    """
    return pd.DataFrame(
        {
            "from_score": found.edges[:-1],
            "to_score": found.edges[1:],
            **{name: getattr(found, name) for name in _BIN_COLUMNS},
        }
    )


def reliability_of(table: pd.DataFrame) -> Reliability:
    """Return the reliability of which :func:`reliability_table` made a table.

    Raises
    ------
    KeyError
        A column is missing.

    Examples
    --------
    >>> found = reliability([1, 0, 1, 1], [0.8, 0.2, 0.9, 0.7], n_bins=2)
    >>> reliability_of(reliability_table(found))
    Reliability(2 bins, expected calibration error 0.2000)
    """
    n_pairs, mean_score, fraction, low, high = (table[name].to_numpy() for name in _BIN_COLUMNS)
    edges = np.append(table["from_score"], table["to_score"].iloc[-1:])
    error = np.nansum(n_pairs * np.abs(mean_score - fraction)) / max(n_pairs.sum(), 1)
    return Reliability(edges, n_pairs.astype(np.int64), mean_score, fraction, low, high, float(error))


def wilson_interval(
    n_positive: ArrayLike, n_items: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of Wilson's 95 % interval of the fraction ``n_positive / n_items``, in [0, 1].

    Both have the shape of the arguments; NaN where ``n_items`` is 0. Wilson (1927), "Probable inference, the
    law of succession, and statistical inference", without a correction for continuity.

    Examples
    --------
    >>> low, high = wilson_interval(8, 10)
    >>> round(float(low), 3), round(float(high), 3)
    (0.49, 0.943)
    """
    n = np.asarray(n_items, dtype=np.float64)
    n = np.where(n > 0, n, np.nan)
    fraction = np.asarray(n_positive, dtype=np.float64) / n
    centre = fraction + _Z_95**2 / (2 * n)
    half_width = _Z_95 * np.sqrt(fraction * (1 - fraction) / n + (_Z_95 / (2 * n)) ** 2)
    scale = 1 + _Z_95**2 / n
    return np.clip((centre - half_width) / scale, 0, 1), np.clip((centre + half_width) / scale, 0, 1)


def checked_pairs(
    targets: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Return masks of the positive pairs and of the known pairs (bool), and all scores (float64).

    Parameters
    ----------
    targets
        0, 1, or below 0 where unknown (:data:`dawnchorus.recordings.labels.UNKNOWN`); any shape.
    scores
        Finite, of the same shape.

    Raises
    ------
    DataError
        The arrays do not fit this description.

    Examples
    --------
    >>> positive, known, scores = checked_pairs([1, 0, -1], [0.9, 0.2, 0.5])
    >>> positive, known
    (array([ True, False, False]), array([ True,  True, False]))
    """
    target, score = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    if target.shape != score.shape or target.size == 0:
        raise DataError(
            f"targets have shape {target.shape} and scores {score.shape}; they must be alike and not empty"
        )
    soft = target[~((target < 0) | (target == 0) | (target == 1))]
    if soft.size:
        raise DataError(f"targets hold {soft[0]}; legal: 0, 1, and below 0 for unknown")
    if not np.isfinite(score).all():
        raise DataError(f"{(~np.isfinite(score)).sum()} of {score.size} scores are not finite")
    return target == 1, target >= 0, score
