"""Fit of a score calibration to out-of-fold predictions: Platt's line for each class, shrunk to that of all.

An item is a recording, its score the maximum over its windows. For the raw score s of a class,

    log-odds of presence = slope * (x - centre) + offset,    x = log(s / (1 - s)),

with the centre at the mean x of all positives. The line of all classes together is Platt's, with his smoothed
targets (Platt 1999, "Probabilistic Outputs for Support Vector Machines"). A class with
:data:`MIN_POSITIVES` or more has its own, the most probable one under a normal prior around it
(:data:`SHRINKAGE`), so that few positives move it little and many leave the prior behind. Others have the
line of all. From :data:`ISOTONIC_POSITIVES` on, where Niculescu-Mizil and Caruana (2005), "Predicting Good
Probabilities with Supervised Learning", find it the better one, a class has isotonic regression instead,
drawn through the centres of its steps (Oron and Flournoy 2017, "Centered Isotonic Regression"), so that it
rises.

Targets below 0 are unknown, and such pairs of item and class are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from dawnchorus.errors import DataError
from dawnchorus.evaluate.reliability import checked_pairs
from dawnchorus.models.score_calibration import LabelCalibration, log_odds, probability_of

MIN_POSITIVES = 5
"""Positives from which a class has a line of its own, shrunk towards that of all classes."""

ISOTONIC_POSITIVES = 1000
"""Positives, and negatives, from which a class has isotonic regression."""

SHRINKAGE = (0.5, 1.0)
"""Standard deviations of a class's log slope and offset around those of all classes."""

_WEAK = (2.0, 100.0)  # of those of all classes, around a slope of 1: it keeps the slope above 0 and finite
_OWN, _POOLED = "class", "pooled"


class Line(NamedTuple):
    """A rising line ``exp(log_slope) * (x - centre) + offset``.

    Examples
    --------
    >>> Line(0.0, 1.0, centre=-2.0).intercept
    3.0
    """

    log_slope: float
    offset: float
    centre: float

    @property
    def slope(self) -> float:
        """Above 0."""
        return float(np.exp(self.log_slope))

    @property
    def intercept(self) -> float:
        """Where it crosses x = 0."""
        return self.offset - self.slope * self.centre


def fit_line(x: ArrayLike, targets: ArrayLike, prior: Line, spread: tuple[float, float]) -> Line:
    """Return the most probable line of log-odds of presence, under a normal prior of log slope and offset.

    Parameters
    ----------
    x
        Log-odds of raw scores, shape (n_items,).
    targets
        In [0, 1], same shape.
    prior
        Mean of the prior; the line has its centre.
    spread
        Standard deviations of the log slope and the offset.

    Examples
    --------
    >>> weak = (2.0, 100.0)
    >>> line = fit_line([-4.0, -3.0, -2.0, -1.0], [0, 1, 0, 1], Line(0.0, 0.0, centre=-2.5), weak)
    >>> line.slope > 0, abs(round(line.offset, 3))
    (True, 0.0)
    """
    at, target = np.asarray(x, np.float64) - prior.centre, np.asarray(targets, np.float64)
    mean, scale = np.array(prior[:2]), np.array(spread)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        rise = np.exp(parameters[0]) * at
        y = rise + parameters[1]
        away = (parameters - mean) / scale
        residual = probability_of(y) - target
        gradient = np.array([residual @ rise, residual.sum()]) + away / scale
        return float((np.logaddexp(0, y) - target * y).sum() + away @ away / 2), gradient

    bounds = [(prior.log_slope - 8 * spread[0], prior.log_slope + 8 * spread[0]), (None, None)]
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}
    found = minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return Line(float(found[0]), float(found[1]), prior.centre)


def fit_scores(
    targets: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[str],
    *,
    scored_labels: Collection[str] | None = None,
) -> tuple[LabelCalibration, ...]:
    """Return the calibration of each class.

    Parameters
    ----------
    targets
        0, 1, or below 0 where unknown; shape (n_items, n_classes).
    scores
        In [0, 1], same shape.
    labels
        Names of the classes.
    scored_labels
        Classes that are scored without a leak; the others have the line of these. None takes all.

    Raises
    ------
    DataError
        The arrays do not fit this description, or of the scored classes no pair is positive or none negative.

    Examples
    --------
    >>> targets = [[1], [1], [0], [0], [0]]
    >>> scores = [[0.2], [0.1], [0.1], [0.05], [0.02]]
    >>> (wren,) = fit_scores(targets, scores, ["wren"])
    >>> wren.how, wren.slope > 0
    ('pooled: 2 positives', True)
    """
    truth, known, score = checked_pairs(targets, scores)
    x = log_odds(score)
    scored = np.array([scored_labels is None or label in scored_labels for label in labels])
    used = known & scored
    positive, negative = x[used & truth], x[used & ~truth]
    if not (len(positive) and len(negative)):
        raise DataError(
            f"{len(positive)} pairs of recording and species are positive and {len(negative)} negative; a "
            "calibration needs both"
        )
    smoothed = (len(positive) + 1) / (len(positive) + 2), 1 / (len(negative) + 2)
    start = Line(0.0, 0.0, centre=float(positive.mean()))
    of_all = fit_line(
        np.concatenate([positive, negative]),
        np.repeat(smoothed, [len(positive), len(negative)]),
        start,
        _WEAK,
    )
    found = []
    for column, label in enumerate(labels):
        here = known[:, column]
        own_x, own_truth = x[here, column], truth[here, column]
        n_positive = int(own_truth.sum())
        reason = _why_pooled(n_positive, is_scored=bool(scored[column]))
        line = of_all if reason else fit_line(own_x, own_truth, of_all, SHRINKAGE)
        has_steps = not reason and min(n_positive, len(own_x) - n_positive) >= ISOTONIC_POSITIVES
        found.append(
            LabelCalibration(
                label=label,
                how=f"{_POOLED}: {reason}" if reason else _OWN,
                n_positive=n_positive,
                slope=line.slope,
                offset=line.intercept,
                knots=_isotonic(own_x, own_truth) if has_steps else (),
            )
        )
    return tuple(found)


def _why_pooled(n_positive: int, *, is_scored: bool) -> str | None:
    if not is_scored:
        return "not scored without a leak"
    if n_positive < MIN_POSITIVES:
        return f"{n_positive} positive{'s' * (n_positive != 1)}"
    return None


def _isotonic(x: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Return the centres of the steps of isotonic regression, as log-odds, both rising."""
    order = np.argsort(x, kind="stable")
    fitted = IsotonicRegression().fit_transform(x[order], truth[order].astype(np.float64))
    first = np.flatnonzero(np.diff(fitted, prepend=-1) > 0)
    sizes = np.diff(np.append(first, len(fitted)))
    at = np.add.reduceat(x[order], first) / sizes
    # Neither 0 nor 1 can be told from so many items.
    least = 1 / (len(x) + 2)
    y = log_odds(np.clip(fitted[first], least, 1 - least))
    rises = np.diff(y, prepend=-np.inf) > 0
    return tuple(zip(at[rises].tolist(), y[rises].tolist(), strict=True))


def calibrated(scores: ArrayLike, classes: Sequence[LabelCalibration]) -> NDArray[np.float64]:
    """Return probabilities of presence, shape (n_items, n_classes), float64.

    Examples
    --------
    >>> from dawnchorus.models.score_calibration import LabelCalibration
    >>> wren = LabelCalibration(label="wren", how="class", n_positive=9, slope=1.0, offset=2.0)
    >>> calibrated([[0.1], [0.5]], [wren]).round(2)
    array([[0.45],
           [0.88]])
    """
    x = log_odds(scores)
    return probability_of(np.stack([each.apply(x[:, c]) for c, each in enumerate(classes)], axis=1))


def cross_fitted(
    targets: ArrayLike,
    scores: ArrayLike,
    parts: NDArray[np.int64],
    labels: Sequence[str],
    *,
    scored_labels: Collection[str] | None = None,
) -> NDArray[np.float64]:
    """Return calibrated scores, each part's by the calibration of the others; shape (n_items, n_classes).

    Parameters
    ----------
    targets, scores, labels, scored_labels
        As for :func:`fit_scores`, with its errors.
    parts
        Part of each item, such as its fold, shape (n_items,); two or more.

    Raises
    ------
    DataError
        There is one part, or the others of a part hold no positive or no negative pair.

    Examples
    --------
    >>> import numpy as np
    >>> targets = [[1], [0], [1], [0]]
    >>> scores = [[0.2], [0.05], [0.1], [0.02]]
    >>> cross_fitted(targets, scores, np.array([0, 0, 1, 1]), ["wren"]).shape
    (4, 1)
    """
    target, score = np.asarray(targets), np.asarray(scores, np.float64)
    numbers = np.unique(parts)
    if len(numbers) < 2:
        raise DataError("a calibration is tested on a part that it was not fitted to, and there is one part")
    found = np.empty(score.shape)
    for number in numbers:
        here = parts == number
        classes = fit_scores(target[~here], score[~here], labels, scored_labels=scored_labels)
        found[here] = calibrated(score[here], classes)
    return found


def folds_together(scores: ArrayLike, folds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the scores of several networks on one scale, each those of its fold; same shape, in (0, 1).

    The log-odds of each fold are shifted and stretched to the mean and the standard deviation of all folds.
    It takes no labels, so that nothing leaks; the order within a fold stays.

    Parameters
    ----------
    scores
        In [0, 1], shape (n_items, n_classes).
    folds
        Fold of each item, shape (n_items,).

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[0.5, 0.1], [0.05, 0.01]])  # the second network's are lower throughout
    >>> folds_together(scores, np.array([0, 1])).round(2)
    array([[0.19, 0.03],
           [0.19, 0.03]])
    """
    x = log_odds(scores)
    numbers = np.unique(folds)
    means = {number: float(x[folds == number].mean()) for number in numbers}
    deviations = {number: float(x[folds == number].std()) for number in numbers}
    mean, deviation = np.mean(list(means.values())), np.mean(list(deviations.values()))
    together = np.empty(x.shape)
    for number in numbers:
        here = folds == number
        stretch = deviation / deviations[number] if deviations[number] > 0 else 1.0
        together[here] = mean + (x[here] - means[number]) * stretch
    return probability_of(together)


def log_loss(targets: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean negative logarithm of the probability of each known target, in nats.

    Examples
    --------
    >>> round(log_loss([[1, 0, -1]], [[0.8, 0.2, 0.5]]), 4)
    0.2231
    """
    truth, known, p = checked_pairs(targets, probabilities)
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return float(-np.where(truth, np.log(p), np.log1p(-p))[known].mean())
