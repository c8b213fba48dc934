"""Precision over the threshold from reviewed clips, with intervals; thresholds and calibration from it.

Clips are reviewed in strata, the tenths of the scale of scores, not in proportion to how many there are. The
precision at and above a threshold is therefore the mean of the strata's, weighted by the clips of each in the
whole pool (stratified estimate: Cochran, "Sampling Techniques", 1977, chapter 5). Clips that were reviewed
count as they are, and only the others are estimated, so that a pool that was reviewed to its end has no
interval left. The interval is Bayesian with Jeffreys' prior Beta(½, ½) in each stratum (Brown, Cai and
DasGupta, "Interval Estimation for a Binomial Proportion", 2001); the sum over strata is given the beta
distribution of its mean and variance. In one stratum and an endless pool it is Jeffreys' interval itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from dawnchorus.batch.segments import strata
from dawnchorus.evaluate.calibration import NEVER, OWN, POOLED, ReviewedThreshold
from dawnchorus.formats.detection_writer import PROBABILITY_DECIMALS
from dawnchorus.wording import counted

LEVEL = 0.95
MIN_ANSWERS = 10
"""Answers from which a species has a threshold of its own."""

_PRIOR = 0.5
_EPSILON = 1e-4  # scores of 0 and 1 have no logit
_ROUNDED = 0.5 * 10.0**-PROBABILITY_DECIMALS + 1e-6  # a score is less than that below what a table says


class PrecisionCurve(NamedTuple):
    """Precision of the clips at and above each threshold.

    Attributes
    ----------
    thresholds
        Scores of the reviewed clips, rising, shape (n,).
    precision
        Share of clips at or above it that hold their species, same shape.
    low, high
        Its interval.
    recall
        Right clips at or above it as a share of all right clips in the pool; those that never came into the
        pool are unknown.
    n_above
        Clips of the pool at or above it.
    n_reviewed
        Of those, reviewed ones.

    Examples
    --------
    >>> curve = precision_curve([0.9, 0.8, 0.3], [0.9, 0.3], [True, False])
    >>> curve.thresholds.tolist(), curve.n_above.tolist()
    ([0.3, 0.9], [3, 1])
    """

    thresholds: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    n_above: npt.NDArray[np.int64]
    n_reviewed: npt.NDArray[np.int64]

    def lowest_reaching(self, precision: float) -> int | None:
        """Return the place of the lowest threshold from which on the precision is reached, or None."""
        reaching = np.flatnonzero(self.precision >= precision - 1e-12)
        return int(reaching[0]) if len(reaching) else None

    def to_frame(self) -> pd.DataFrame:
        """Return a row a threshold."""
        return pd.DataFrame(self._asdict())


def precision_curve(
    pool_scores: npt.ArrayLike,
    scores: npt.ArrayLike,
    is_right: npt.ArrayLike,
    *,
    level: float = LEVEL,
    thresholds: npt.ArrayLike | None = None,
) -> PrecisionCurve:
    """Return precision and recall over the threshold, with intervals.

    Parameters
    ----------
    pool_scores
        Scores in [0, 1] of all clips, the reviewed ones included, shape (n_clips,).
    scores
        Those of the reviewed clips, shape (n_reviewed,).
    is_right
        Whether each holds its species, same shape.
    level
        Of the interval.
    thresholds
        Where to count; the scores of the reviewed clips if not given.

    Examples
    --------
    >>> curve = precision_curve([0.95] * 100, [0.95] * 10, [True] * 9 + [False])
    >>> curve.precision.round(2).tolist(), curve.low.round(2).tolist(), curve.high.round(2).tolist()
    ([0.9], [0.63], [0.99])
    """
    pool, score = (np.asarray(values, np.float64) for values in (pool_scores, scores))
    right = np.asarray(is_right, bool)
    at = np.unique(score) if thresholds is None else np.asarray(thresholds, np.float64)
    in_pool, in_reviewed = (strata(pd.Series(values)).to_numpy() for values in (pool, score))
    kinds = np.unique(in_pool)
    rights = np.zeros(len(at))  # expected number of right clips above each threshold
    means, variances = np.zeros(len(at)), np.zeros(len(at))
    n_above, n_reviewed = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
    total_right = 0.0
    for stratum in kinds:
        ours, theirs = np.sort(pool[in_pool == stratum]), score[in_reviewed == stratum]
        truth = right[in_reviewed == stratum]
        counts = len(ours) - np.searchsorted(ours, at)
        reviewed, n_right = _counts_above(theirs, truth, at)
        # Where nothing above the threshold was reviewed in the stratum, the rest of it speaks.
        basis = np.where(reviewed > 0, reviewed, len(theirs))
        basis_right = np.where(reviewed > 0, n_right, truth.sum())
        a, b = basis_right + _PRIOR, basis - basis_right + _PRIOR
        rest = np.maximum(counts - reviewed, 0)
        share = np.where(basis > 0, basis_right / np.maximum(basis, 1), 0.5)
        rights += n_right + rest * share
        means += n_right + rest * a / (a + b)
        # Of the right ones among those that nobody has heard: beta-binomial, for they are a finite number.
        variances += rest * a * b * (a + b + rest) / ((a + b) ** 2 * (a + b + 1))
        n_above += counts
        n_reviewed += reviewed
        whole = truth.mean() if len(truth) else 0.5
        total_right += truth.sum() + (len(ours) - len(theirs)) * whole
    n = np.maximum(n_above, 1)
    low, high = _interval(means / n, variances / n**2, level)
    precision = np.where(n_above > 0, rights / n, np.nan)
    recall = np.minimum(rights / total_right, 1.0) if total_right > 0 else np.full(len(at), np.nan)
    return PrecisionCurve(
        at, precision, np.minimum(low, precision), np.maximum(high, precision), recall, n_above, n_reviewed
    )


def _counts_above(
    scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], thresholds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    order = np.argsort(scores)
    first = np.searchsorted(scores[order], thresholds)
    summed = np.concatenate([[0], np.cumsum(right[order])])
    return len(scores) - first, summed[-1] - summed[first]


def _interval(
    mean: npt.NDArray[np.float64], variance: npt.NDArray[np.float64], level: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the quantiles of the beta distributions with these means and variances."""
    is_known = (variance <= 0) | (mean <= 0) | (mean >= 1)
    safe_mean = np.where(is_known, 0.5, mean)
    spread = safe_mean * (1 - safe_mean) / np.where(is_known, 0.05, variance) - 1
    a, b = safe_mean * spread, (1 - safe_mean) * spread
    edges = [stats.beta.ppf(q, a, b) for q in ((1 - level) / 2, (1 + level) / 2)]
    low, high = (np.where(is_known, mean, edge) for edge in edges)
    return low, high


def reviewed_thresholds(
    pool: pd.DataFrame,
    reviewed: pd.DataFrame,
    precision: float,
    *,
    min_answers: int = MIN_ANSWERS,
    species: str | None = None,
) -> list[ReviewedThreshold]:
    """Return the lowest threshold of each species with the wanted precision, by the reviewers' answers.

    A species with few answers takes the pooled threshold, of all reviewed species together. A threshold lies
    half a unit of a table's last decimal below the score of the clip that sets it, whose own score may have
    been rounded up: with it, the clip is detected again.

    Parameters
    ----------
    pool
        All clips: ``label`` and ``probability``.
    reviewed
        Those with an answer: ``label``, ``probability``, and ``is_right``.
    precision
        Wanted, in (0, 1].
    min_answers
        Answers from which a species has a threshold of its own.
    species
        The only one that is wanted; all if not given.

    Examples
    --------
    >>> import pandas as pd
    >>> pool = pd.DataFrame({"label": "owl", "probability": [0.9, 0.8, 0.6, 0.5]})
    >>> reviewed = pool.assign(is_right=[True, True, False, False])
    >>> (owl,) = reviewed_thresholds(pool, reviewed, 0.9, min_answers=4)
    >>> owl.threshold, owl.precision, owl.recall, owl.how
    (0.799949, 1.0, 1.0, 'class: 4 answers')
    """
    pool = pool[pool["probability"].notna()]
    reviewed = reviewed[reviewed["probability"].notna()]
    of_reviewed = pool[pool["label"].isin(reviewed["label"].unique())]
    everything = precision_curve(of_reviewed["probability"], reviewed["probability"], reviewed["is_right"])
    pooled = _chosen(everything, precision, len(reviewed))
    if not math.isinf(pooled.threshold):  # for all clips: it is taken for species that nobody has reviewed
        answers = (reviewed["probability"], reviewed["is_right"])
        at = precision_curve(pool["probability"], *answers, thresholds=[pooled.threshold])
        pooled = pooled._replace(low=float(at.low[0]), high=float(at.high[0]))
    wanted = pool if species is None else pool[pool["label"] == species]
    by_label = dict(list(reviewed.groupby("label")))
    return [
        _class_threshold(str(label), clips, by_label.get(label, reviewed[:0]), precision, pooled, min_answers)
        for label, clips in wanted.groupby("label")
    ]


def _class_threshold(
    label: str, clips: pd.DataFrame, own: pd.DataFrame, precision: float, pooled: _Chosen, min_answers: int
) -> ReviewedThreshold:
    scores, n = (clips["probability"], own["probability"], own["is_right"]), len(own)
    chosen, source = pooled, POOLED
    if n >= min_answers:
        chosen, source = _chosen(precision_curve(*scores), precision, n), OWN
    threshold = chosen.threshold
    how = f"{NEVER if math.isinf(threshold) else source}: {counted(n, 'answer')}"
    at = precision_curve(*scores, thresholds=[min(threshold, 2.0)])
    is_known = n > 0 and not math.isinf(threshold)
    return ReviewedThreshold(
        label,
        threshold,
        float(at.precision[0]) if is_known else math.nan,
        float(at.recall[0]) if is_known else math.nan,
        int(own["is_right"].sum()),
        int(at.n_above[0]),
        how,
        *chosen[1:],
    )


class _Chosen(NamedTuple):
    """A threshold, the answers that it was chosen by, and the interval of the precision."""

    threshold: float
    n_answers: int
    low: float
    high: float


def _chosen(curve: PrecisionCurve, precision: float, n_answers: int) -> _Chosen:
    place = curve.lowest_reaching(precision)
    if place is None:
        return _Chosen(math.inf, n_answers, math.nan, math.nan)
    threshold = max(0.0, round(float(curve.thresholds[place]) - _ROUNDED, 6))
    return _Chosen(threshold, n_answers, float(curve.low[place]), float(curve.high[place]))


class AnswerCalibration(NamedTuple):
    """A species' probability of being right: ``expit(slope · logit(score) + intercept)``.

    Examples
    --------
    >>> AnswerCalibration("owl", slope=1.0, intercept=0.0, n_answers=20).probability(0.9)
    0.9
    """

    label: str
    slope: float
    intercept: float
    n_answers: int

    def probability(self, score: float) -> float:
        """Return the probability that a clip with this score holds the species."""
        return round(float(special.expit(self.slope * _logit(score) + self.intercept)), 6)


def calibrate_scores(
    pool: pd.DataFrame, reviewed: pd.DataFrame, *, min_answers: int = MIN_ANSWERS
) -> list[AnswerCalibration]:
    """Return the logistic curve of each species that has enough answers of both kinds.

    The regression of right and wrong on the logit of the score (Platt, 1999; for bird detectors: Wood and
    Kahl, 2024), each answer weighted by the clips of its stratum in the pool. ``pool`` and ``reviewed`` are
    those of :func:`reviewed_thresholds`. The penalty is weak: the slope of classes that the score separates
    would be infinite.

    Examples
    --------
    >>> import pandas as pd
    >>> scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    >>> pool = pd.DataFrame({"label": "owl", "probability": scores})
    >>> (owl,) = calibrate_scores(pool, pool.assign(is_right=[False, False, True, False, *[True] * 6]))
    >>> owl.slope > 0, owl.probability(0.95) > owl.probability(0.2)
    (True, True)
    """
    from sklearn.linear_model import LogisticRegression

    pool = pool[pool["probability"].notna()]
    reviewed = reviewed[reviewed["probability"].notna()]
    found = []
    for label, own in reviewed.groupby("label"):
        if len(own) < min_answers or own["is_right"].nunique() < 2:
            continue
        in_pool = strata(pool["probability"][pool["label"] == label]).value_counts()
        stratum = strata(own["probability"])
        weights = stratum.map(in_pool) / stratum.map(stratum.value_counts())
        inputs = _logit(own["probability"].to_numpy())[:, None]
        model = LogisticRegression(C=100.0).fit(inputs, own["is_right"], weights / weights.mean())
        slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
        found.append(AnswerCalibration(str(label), slope, intercept, len(own)))
    return found


def _logit(score: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return special.logit(np.clip(np.asarray(score, np.float64), _EPSILON, 1 - _EPSILON))
