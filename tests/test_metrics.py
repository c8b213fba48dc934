"""Metrics, against scikit-learn, the published score, and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score

from dawnchorus.errors import DataError
from dawnchorus.metrics import macro_roc_auc, padded_cmap, per_class_roc_auc, per_class_table

RNG = np.random.default_rng(0)
TRUTH = (RNG.random((60, 6)) < 0.25).astype(np.float32)
TRUTH[:, 1], TRUTH[:, 4] = 0, 1  # one class without positives, one without negatives
SCORES = np.round(RNG.random((60, 6)) * 0.7 + TRUTH * 0.2, 2)  # rounded: there are ties


def test_the_published_score_is_reproduced(golden):
    expected = np.load(golden / "macro_roc_auc.npz")
    assert macro_roc_auc(expected["y_true"], expected["y_score"]) == pytest.approx(
        expected["score"], abs=1e-9
    )


def test_macro_roc_auc_is_scikit_learns_over_the_classes_with_both_answers():
    kept = [0, 2, 3, 5]
    assert macro_roc_auc(TRUTH, SCORES) == pytest.approx(
        roc_auc_score(TRUTH[:, kept], SCORES[:, kept]), abs=1e-12
    )


def test_roc_auc_is_the_chance_that_a_positive_outranks_a_negative():
    areas = per_class_roc_auc(TRUTH, SCORES)
    for index in (0, 2, 3, 5):
        present = TRUTH[:, index] == 1
        wins = mannwhitneyu(SCORES[present, index], SCORES[~present, index]).statistic
        assert areas[index] == pytest.approx(wins / (present.sum() * (~present).sum()))


def test_a_class_that_is_everywhere_or_nowhere_has_no_roc_auc():
    np.testing.assert_array_equal(np.isnan(per_class_roc_auc(TRUTH, SCORES)), [0, 1, 0, 0, 1, 0])


def test_only_ranks_matter():
    assert macro_roc_auc(TRUTH, np.exp(5 * SCORES)) == macro_roc_auc(TRUTH, SCORES)
    assert macro_roc_auc(TRUTH, -SCORES) == pytest.approx(1 - macro_roc_auc(TRUTH, SCORES))


@pytest.mark.parametrize("padding", [1, 5])
def test_padded_cmap_is_scikit_learns_macro_average_after_padding(padding):
    ones = np.ones((padding, 6))
    expected = average_precision_score(np.vstack([TRUTH, ones]), np.vstack([SCORES, ones]), average="macro")
    assert padded_cmap(TRUTH, SCORES, padding) == pytest.approx(expected, abs=1e-12)


def test_padded_cmap_of_one_positive_is_known_by_hand():
    # Two padded positives at the top have precision 1; the real one is fourth, third of the positives.
    assert padded_cmap([[0], [1], [0]], [[0.9], [0.5], [0.1]], padding=2) == pytest.approx(
        (1 + 1 + 3 / 4) / 3
    )


def test_padded_cmap_is_one_for_a_class_without_positives():
    assert padded_cmap([[0], [0]], [[0.9], [0.1]]) == 1


def test_the_table_has_a_line_for_every_class():
    rows = per_class_table(TRUTH, SCORES, ["a", "b", "c", "d", "e", "f"])
    assert [row.label for row in rows] == ["a", "b", "c", "d", "e", "f"]
    assert [row.n_positive for row in rows] == TRUTH.sum(0).astype(int).tolist()
    np.testing.assert_array_equal([row.roc_auc for row in rows], per_class_roc_auc(TRUTH, SCORES))
    assert rows[2].average_precision == average_precision_score(TRUTH[:, 2], SCORES[:, 2])
    assert np.isnan(rows[1].average_precision)
    assert rows[4].average_precision == 1


@pytest.mark.parametrize("metric", [macro_roc_auc, per_class_roc_auc, padded_cmap])
@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        ([[0, 1]], [[0.1]], r"y_true has shape \(1, 2\) and y_score \(1, 1\)"),
        ([0, 1], [0.1, 0.2], r"both must be \(n_items, n_classes\)"),
        (np.empty((0, 3)), np.empty((0, 3)), "not empty"),
        ([[0.4], [1]], [[0.1], [0.2]], "y_true holds 0.4; legal: 0 and 1"),
        ([[0], [1]], [[0.1], [np.nan]], "1 of 2 values of y_score are not finite"),
    ],
)
def test_arrays_that_cannot_be_scored_are_refused(metric, truth, scores, message):
    with pytest.raises(DataError, match=message):
        metric(truth, scores)


def test_a_score_that_is_not_defined_says_why():
    with pytest.raises(DataError, match="none of the 2 classes has both a positive and a negative"):
        macro_roc_auc([[0, 1], [0, 1]], [[0.1, 0.2], [0.3, 0.4]])


def test_padded_cmap_refuses_what_is_no_probability():
    with pytest.raises(DataError, match="needs probabilities; y_score goes from -1 to 2"):
        padded_cmap([[0], [1]], [[-1], [2]])
    with pytest.raises(DataError, match="padding is 0; legal: 1 or more"):
        padded_cmap([[0], [1]], [[0], [1]], padding=0)


def test_a_table_needs_a_label_for_every_class():
    with pytest.raises(DataError, match="there are 2 labels for 6 classes"):
        per_class_table(TRUTH, SCORES, ["a", "b"])
