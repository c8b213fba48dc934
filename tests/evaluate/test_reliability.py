"""How often scores of about the same size are right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from dawnchorus.errors import DataError
from dawnchorus.evaluate.reliability import reliability, wilson_interval
from dawnchorus.recordings.labels import UNKNOWN


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and overconfident scores in tenths and between, shape (300, 4)."""
    rng = np.random.default_rng(seed)
    scores = rng.random((300, 4)) ** 3
    scores[:50] = scores[:50].round(1)
    return (rng.random(scores.shape) < scores**2).astype(np.float32), scores


@pytest.mark.parametrize("n_bins", [1, 5, 10, 15])
def test_the_bins_are_those_of_scikit_learn(n_bins: int) -> None:
    targets, scores = drawn(n_bins)
    share, mean_score = calibration_curve(targets.ravel(), scores.ravel(), n_bins=n_bins)
    found = reliability(targets, scores, n_bins=n_bins)
    filled = found.n_pairs > 0
    np.testing.assert_allclose(found.observed_fraction[filled], share)
    np.testing.assert_allclose(found.mean_score[filled], mean_score)
    assert found.n_pairs.sum() == 1200
    assert len(found.edges) == n_bins + 1
    expected = np.average(np.abs(share - mean_score), weights=found.n_pairs[filled])
    assert found.expected_calibration_error == pytest.approx(expected)


@pytest.mark.parametrize(("n_positive", "n_items"), [(0, 1), (1, 1), (0, 40), (3, 7), (40, 40), (123, 4000)])
def test_the_interval_is_that_of_wilson(n_positive: int, n_items: int) -> None:
    expected = binomtest(n_positive, n_items).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson_interval(n_positive, n_items)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low < high <= 1


def test_the_intervals_are_of_the_pairs_in_each_bin() -> None:
    found = reliability([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.95], n_bins=2)
    expected = binomtest(2, 3).proportion_ci(confidence_level=0.95, method="wilson")
    assert (found.low[1], found.high[1]) == pytest.approx((expected.low, expected.high))


def test_an_empty_bin_has_no_share_and_adds_no_error() -> None:
    found = reliability([0, 1], [0.05, 0.95])
    assert found.n_pairs.tolist() == [1, *[0] * 8, 1]
    for numbers in (found.mean_score, found.observed_fraction, found.low, found.high):
        assert np.isnan(numbers).tolist() == [False, *[True] * 8, False]
    assert found.expected_calibration_error == pytest.approx(0.05)


def test_the_ends_of_the_scale_are_in_the_first_and_the_last_bin() -> None:
    assert reliability([0, 1, 1], [0.0, 1.0, 0.5], n_bins=2).n_pairs.tolist() == [2, 1]


def test_unknown_pairs_are_left_out() -> None:
    targets, scores = drawn(0)
    unknown = np.random.default_rng(1).random(targets.shape) < 0.5
    found = reliability(np.where(unknown, UNKNOWN, targets), scores)
    for name, value in reliability(targets[~unknown], scores[~unknown])._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value)
    nothing = reliability([UNKNOWN], [0.5])
    assert nothing.expected_calibration_error == 0
    assert nothing.n_pairs.sum() == 0


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(DataError, match="n_bins is 0; legal: 1 or more"):
        reliability([0, 1], [0.5, 0.5], n_bins=0)
    with pytest.raises(DataError, match=r"needs probabilities in \[0, 1\]; scores go from -2 to 3"):
        reliability([0, 1], [-2.0, 3.0])
    with pytest.raises(DataError, match="must be alike and not empty"):
        reliability([], [])
    with pytest.raises(DataError, match="targets hold 2; legal"):
        reliability([2], [0.5])
