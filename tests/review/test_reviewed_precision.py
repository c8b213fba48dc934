"""Precision over the threshold, against closed forms and simulations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import precision_recall_curve

from dawnchorus.evaluate.calibration import write_thresholds
from dawnchorus.predict.thresholds import read_thresholds
from dawnchorus.review.reviewed_precision import calibrate_scores, precision_curve, reviewed_thresholds


def drawn(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return scores, and whether each is right, with a probability that rises with the score."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.7, 1.5, n)
    return scores, rng.random(n) < scores**1.5


def stratified(scores: np.ndarray, per_stratum: int, rng: np.random.Generator) -> np.ndarray:
    strata = np.minimum((scores * 10).astype(int), 9)
    return np.concatenate(
        [rng.permutation(np.flatnonzero(strata == s))[:per_stratum] for s in np.unique(strata)]
    )


def test_a_pool_that_was_reviewed_to_its_end_has_scikit_learns_precision_and_no_interval() -> None:
    scores, right = drawn(0, n=500)
    curve = precision_curve(scores, scores, right)
    precision, recall, thresholds = precision_recall_curve(right, scores)
    assert np.allclose(curve.thresholds, thresholds)
    assert np.allclose(curve.precision, precision[:-1])
    assert np.allclose(curve.recall, recall[:-1])
    assert np.allclose(curve.low, curve.high)


@pytest.mark.parametrize(("n_right", "n"), [(9, 10), (0, 10), (30, 60), (60, 60)])
def test_in_one_stratum_of_an_endless_pool_the_interval_is_jeffreys(n_right: int, n: int) -> None:
    right = np.arange(n) < n_right
    curve = precision_curve(np.full(10_000_000, 0.95), np.full(n, 0.95), right)
    low, high = stats.beta.ppf([0.025, 0.975], n_right + 0.5, n - n_right + 0.5)
    assert curve.precision[0] == pytest.approx(n_right / n)
    assert curve.low[0] == pytest.approx(min(low, n_right / n), abs=1e-4)
    assert curve.high[0] == pytest.approx(max(high, n_right / n), abs=1e-4)


def test_strata_are_weighted_by_their_clips_in_the_pool() -> None:
    pool = np.repeat([0.15, 0.95], [900, 100])
    curve = precision_curve(pool, np.repeat([0.15, 0.95], 10), [True] * 2 + [False] * 8 + [True] * 10)
    assert curve.precision.round(6).tolist() == [0.28, 1.0]
    assert curve.n_above.tolist() == [1000, 100]


def test_the_interval_of_several_strata_agrees_with_drawing_from_each() -> None:
    pool, counts = np.repeat([0.15, 0.55, 0.95], [5000, 3000, 2000]), [(20, 4), (20, 11), (20, 18)]
    scores = np.repeat([0.15, 0.55, 0.95], 20)
    right = np.concatenate([np.arange(n) < k for n, k in counts])
    curve = precision_curve(pool, scores, right, thresholds=[0.0])
    rng = np.random.default_rng(0)
    shares = [rng.beta(k + 0.5, n - k + 0.5, 200_000) for n, k in counts]
    sizes = np.array([5000, 3000, 2000])
    total = sum((size - 20) * share + k for size, share, (_, k) in zip(sizes, shares, counts, strict=True))
    low, high = np.quantile(total / sizes.sum(), [0.025, 0.975])
    assert curve.low[0] == pytest.approx(low, abs=0.008)
    assert curve.high[0] == pytest.approx(high, abs=0.008)


@pytest.mark.parametrize(("n", "n_reviewed", "n_right"), [(5, 4, 3), (4, 3, 2), (40, 12, 9)])
def test_the_interval_of_a_small_pool_agrees_with_the_beta_binomial(
    n: int, n_reviewed: int, n_right: int
) -> None:
    curve = precision_curve(np.full(n, 0.95), np.full(n_reviewed, 0.95), np.arange(n_reviewed) < n_right)
    rest = stats.betabinom(n - n_reviewed, n_right + 0.5, n_reviewed - n_right + 0.5)
    low, high = (n_right + rest.ppf([0.025, 0.975])) / n
    assert curve.low[0] <= low + 0.5 / n
    assert curve.high[0] >= high - 0.5 / n


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = []
    for seed in range(120):
        scores, right = drawn(seed)
        chosen = stratified(scores, 10, np.random.default_rng(1000 + seed))
        curve = precision_curve(scores, scores[chosen], right[chosen], thresholds=[0.0, 0.35, 0.62])
        truth = [right[scores >= at].mean() for at in (0.0, 0.35, 0.62)]
        held.append((curve.low <= truth) & (truth <= curve.high))
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


def test_an_estimate_is_unbiased_where_a_plain_share_of_the_answers_is_not() -> None:
    scores, right = drawn(3)
    estimates, plain = [], []
    for seed in range(100):
        chosen = stratified(scores, 10, np.random.default_rng(seed))
        curve = precision_curve(scores, scores[chosen], right[chosen], thresholds=[0.0])
        estimates.append(curve.precision[0])
        plain.append(right[chosen].mean())
    assert np.mean(estimates) == pytest.approx(right.mean(), abs=0.02)
    assert abs(np.mean(plain) - right.mean()) > 0.1


def test_a_threshold_reaches_the_wanted_precision_in_truth(tmp_path: Path) -> None:
    scores, right = drawn(5, n=20_000)
    pool = pd.DataFrame({"label": "owl", "probability": scores})
    chosen = stratified(scores, 60, np.random.default_rng(0))
    reviewed = pool.iloc[chosen].assign(is_right=right[chosen])
    (owl,) = reviewed_thresholds(pool, reviewed, 0.7)
    assert right[scores >= owl.threshold].mean() == pytest.approx(0.7, abs=0.05)
    assert owl.how == f"class: {len(chosen)} answers"
    write_thresholds(tmp_path / "thresholds.csv", [owl])
    assert read_thresholds(tmp_path / "thresholds.csv", ["owl"])[0] == pytest.approx(owl.threshold)


def test_species_with_few_answers_take_the_pooled_threshold_or_none() -> None:
    pool = pd.DataFrame(
        {"label": ["owl"] * 20 + ["wren"] * 2, "probability": [*np.linspace(0.5, 1, 20), 0.6, 0.9]}
    )
    reviewed = pool[pool["label"] == "owl"].assign(is_right=[False] * 10 + [True] * 10)
    owl, wren = reviewed_thresholds(pool, reviewed, 0.9)
    assert wren.threshold == owl.threshold
    assert (wren.how, math.isnan(wren.precision)) == ("pooled: 0 answers", True)
    (never, _) = reviewed_thresholds(pool, reviewed.assign(is_right=False), 0.9)
    assert (never.threshold, never.how) == (math.inf, "never: 20 answers")


def test_the_calibration_finds_the_curve_that_made_the_answers() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.02, 0.98, 20_000)
    logit = np.log(scores / (1 - scores))
    right = rng.random(len(scores)) < 1 / (1 + np.exp(-(1.7 * logit - 0.8)))
    pool = pd.DataFrame({"label": "owl", "probability": scores})
    chosen = stratified(scores, 400, rng)
    (owl,) = calibrate_scores(pool, pool.iloc[chosen].assign(is_right=right[chosen]))
    assert owl.slope == pytest.approx(1.7, abs=0.2)
    assert owl.intercept == pytest.approx(-0.8, abs=0.2)
