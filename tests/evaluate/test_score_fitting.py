"""Calibration of scores: Platt's line against scikit-learn, shrinkage, isotonic steps, and no leak."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from dawnchorus.errors import DataError
from dawnchorus.evaluate import score_fitting
from dawnchorus.evaluate.calibration import best_f1_threshold
from dawnchorus.evaluate.reliability import reliability
from dawnchorus.evaluate.score_fitting import (
    calibrated,
    cross_fitted,
    fit_scores,
    folds_together,
    log_loss,
)
from dawnchorus.models.score_calibration import log_odds, probability_of


def drawn(
    n_items: int, n_classes: int, *, slope: float = 2.0, offset: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and raw scores, shape (n_items, n_classes): log-odds of presence are a line of x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-2.0, 1.0, (n_items, n_classes))
    targets = (rng.random(x.shape) < probability_of(slope * x + offset)).astype(int)
    return targets, probability_of(x)


def test_the_line_of_all_classes_is_platts() -> None:
    targets, scores = drawn(400, 4)
    targets[:, 0] = -1  # unknown, and so without positives of its own
    (pooled, *_) = fit_scores(targets, scores, list("abcd"))
    oracle = _SigmoidCalibration().fit(log_odds(scores[:, 1:]).ravel(), targets[:, 1:].ravel())
    assert pooled.how == "pooled: 0 positives"
    assert pooled.slope == pytest.approx(-oracle.a_, rel=1e-2)
    assert pooled.offset == pytest.approx(-oracle.b_, rel=1e-2)


def test_few_positives_move_a_class_little_and_many_leave_the_others_behind() -> None:
    others = drawn(2000, 4, offset=0.0)
    own_targets, own_scores = drawn(2000, 1, offset=3.0, seed=1)
    wanted = []
    for n_items in (30, 2000):
        targets, scores = (x.copy() for x in others)
        targets = np.hstack([targets, np.full((2000, 1), -1)])
        targets[:n_items, -1] = own_targets[:n_items, 0]
        found = fit_scores(targets, np.hstack([scores, own_scores]), list("abcde"))[-1]
        assert found.how == "class"
        wanted.append(found.offset)
    assert 0.1 < wanted[0] < wanted[1]
    assert wanted[1] == pytest.approx(3.0, abs=0.35)


def test_a_class_is_at_the_optimum_of_its_posterior() -> None:
    targets, scores = drawn(60, 3)
    x, prior = log_odds(scores[:, 0]), score_fitting.Line(0.2, -1.0, centre=-1.5)
    line = score_fitting.fit_line(x, targets[:, 0], prior, (0.5, 1.0))

    def posterior(parameters: np.ndarray) -> float:
        y = np.exp(parameters[0]) * (x + 1.5) + parameters[1]
        p = probability_of(y)
        likelihood = np.where(targets[:, 0] == 1, np.log(p), np.log(1 - p)).sum()
        return -likelihood + ((parameters[0] - 0.2) / 0.5) ** 2 / 2 + (parameters[1] + 1.0) ** 2 / 2

    found = minimize(posterior, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    np.testing.assert_allclose(line[:2], found.x, atol=1e-5)
    assert check_grad(posterior, lambda p: np.zeros(2), np.array(line[:2])) < 1e-4


def test_a_network_worse_than_chance_still_gets_a_rising_line() -> None:
    targets, scores = drawn(300, 2)
    for each in fit_scores(1 - targets, scores, ["a", "b"]):
        assert 0 < each.slope < 0.1
    for each in fit_scores(targets, np.full(scores.shape, 0.3), ["a", "b"]):
        assert each.slope > 0


def test_scores_that_separate_the_classes_keep_the_slope_finite() -> None:
    targets = np.repeat([[1], [0]], 10, axis=0)
    (found,) = fit_scores(targets, np.where(targets, 0.9, 0.1), ["a"])
    assert np.isfinite([found.slope, found.offset]).all()
    at_best = calibrated([[0.9]], [found])[0, 0]
    assert 0.8 < at_best < 1


def test_many_positives_have_isotonic_steps_that_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_fitting, "ISOTONIC_POSITIVES", 100)
    rng = np.random.default_rng(3)
    x = rng.normal(-2, 1.5, (4000, 1))
    truth = np.where(x < -2, 0.02, 0.6)  # no line
    targets, scores = (rng.random(x.shape) < truth).astype(int), probability_of(x)
    (found,) = fit_scores(targets, scores, ["a"])
    assert found.knots
    oracle = IsotonicRegression().fit_transform(x[:, 0], targets[:, 0])
    p = calibrated(scores, [found])
    assert np.abs(p[:, 0] - oracle).mean() < 0.03
    assert np.abs(p - truth).mean() < 0.06
    assert roc_auc_score(targets[:, 0], p[:, 0]) == pytest.approx(roc_auc_score(targets[:, 0], x[:, 0]))
    assert np.isfinite(log_odds(calibrated([[0.0], [1.0]], [found]))).all()


def test_calibrated_scores_mean_what_they_say_on_items_held_out() -> None:
    targets, scores = drawn(3000, 5, slope=0.6, offset=1.5)
    held = cross_fitted(targets, scores, np.arange(3000) % 3, list("abcde"))
    assert reliability(targets, held).expected_calibration_error < 0.02
    assert reliability(targets, scores).expected_calibration_error > 0.1


def test_a_part_is_calibrated_without_its_own_targets() -> None:
    targets, scores = drawn(90, 3)
    parts = np.arange(90) % 3
    before = cross_fitted(targets, scores, parts, list("abc"))
    other = targets.copy()
    other[parts == 1] = 1 - other[parts == 1]
    after = cross_fitted(other, scores, parts, list("abc"))
    np.testing.assert_array_equal(after[parts == 1], before[parts == 1])
    assert (after[parts != 1] != before[parts != 1]).all()


def test_folds_of_other_scales_come_together_without_labels() -> None:
    targets, scores = drawn(300, 4, slope=3.0, offset=4.0)
    folds = np.arange(300) % 3
    scales = np.array([0.5, 1.0, 2.0])[folds][:, None], np.array([-3.0, 0.0, 2.0])[folds][:, None]
    moved = probability_of(log_odds(scores) * scales[0] + scales[1])
    together = folds_together(moved, folds)

    def area(values: np.ndarray) -> float:
        return float(roc_auc_score(targets, values, average="macro"))

    assert area(moved) < area(together) - 0.05
    assert area(together) == pytest.approx(area(scores), abs=0.01)
    for fold in range(3):
        here = folds == fold
        assert (np.argsort(moved[here], axis=0) == np.argsort(together[here], axis=0)).all()
    np.testing.assert_allclose(folds_together(scores, np.zeros(300, int)), scores, rtol=1e-9)


def test_the_log_loss_is_scikit_learns() -> None:
    targets, scores = drawn(50, 2)
    assert log_loss(targets, scores) == pytest.approx(sklearn_log_loss(targets.ravel(), scores.ravel()))


def test_no_threshold_has_a_larger_f1() -> None:
    targets, scores = drawn(80, 3)
    best = best_f1_threshold(targets, scores)
    of_each = [f1_score(targets.ravel(), scores.ravel() >= each) for each in np.unique(scores)]
    assert f1_score(targets.ravel(), scores.ravel() >= best) == pytest.approx(max(of_each))


def test_what_cannot_be_calibrated_is_refused() -> None:
    scores = np.full((4, 1), 0.5)
    with pytest.raises(DataError, match="0 pairs of recording and species are positive and 4 negative"):
        fit_scores(np.zeros((4, 1)), scores, ["a"])
    with pytest.raises(DataError, match="there is one part"):
        cross_fitted([[1], [0], [1], [0]], scores, np.zeros(4, int), ["a"])


def test_classes_that_are_not_scored_neither_count_nor_have_a_line_of_their_own() -> None:
    targets, scores = drawn(200, 3)
    without = fit_scores(targets[:, :2], scores[:, :2], ["a", "b"])
    found = fit_scores(targets, scores, ["a", "b", "c"], scored_labels=["a", "b"])
    assert found[:2] == without
    assert found[2].how == "pooled: not scored without a leak"
