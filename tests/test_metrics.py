"""Metrics, against scikit-learn, the published score, and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score

from dawnchorus.config.registry import FROM_FILE, METRICS
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.metrics import (
    Metric,
    chosen_metrics,
    known_metrics,
    macro_roc_auc,
    padded_cmap,
    per_class_roc_auc,
    per_class_table,
)

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


def hit_rate(y_true, y_score):
    return y_true[range(len(y_true)), y_score.argmax(1)].mean()


class Constant:
    name, heading, format = "always", "always the same", ".1%"

    def __call__(self, y_true, y_score):
        return 0.25


def test_our_metrics_are_rows_of_the_list_and_the_functions_to_the_bit():
    rng = np.random.default_rng(5)
    truth, scores = rng.random((40, 6)) < 0.3, rng.random((40, 6))
    assert list(METRICS) == ["macro_roc_auc", "cmap"]
    area, cmap = METRICS.values()
    assert area(truth, scores) == macro_roc_auc(truth, scores)
    assert cmap(truth, scores) == padded_cmap(truth, scores)
    assert (area.log_name, area.heading, cmap.heading) == ("val_macro_roc_auc", "macro ROC-AUC", "cmAP")


def test_a_metric_is_a_name_a_function_a_class_or_an_object():
    shouted = Metric("shouted", hit_rate, "HIT RATE", ".2f")
    metrics = chosen_metrics(["cmap", hit_rate, Constant, shouted], "val_always")
    assert [(m.name, m.heading, m.format) for m in metrics] == [
        ("cmap", "cmAP", ".4f"),
        ("hit_rate", "hit rate", ".4f"),
        ("always", "always the same", ".1%"),
        ("shouted", "HIT RATE", ".2f"),
    ]
    assert metrics[2](np.eye(2), np.eye(2)) == 0.25
    assert known_metrics(["cmap", f"{FROM_FILE}elsewhere:hit_rate", hit_rate]) == (metrics[0], metrics[1])


@pytest.mark.parametrize("main", ["val_macro_roc_auc", "macro_roc_auc"])
def test_the_main_metric_is_computed_even_where_the_list_lacks_it(main):
    assert [metric.name for metric in chosen_metrics([hit_rate], main)] == ["hit_rate", "macro_roc_auc"]
    assert len(chosen_metrics(["cmap", "macro_roc_auc"], main)) == 2


@pytest.mark.parametrize(
    ("given", "main", "message"),
    [
        (["cmpa"], "cmap", r"^mine: metrics.0 is 'cmpa', which is not known; did you mean cmap\?"),
        (["nowhere:f"], "cmap", "^mine: metrics.0 is 'nowhere:f', which cannot be imported"),
        (["cmap", "cmap"], "cmap", "^mine: metrics has two of the name cmap"),
        (
            ["cmap"],
            "hit_rate",
            "^mine: main_metric is 'hit_rate'; legal are cmap, macro_roc_auc, and the names",
        ),
        ([lambda y_true, y_score: 0], "cmap", "a metric is called '<lambda>'; legal are letters"),
        ([(1, 2)], "cmap", r"^mine: metrics.0: \(1, 2\) cannot be called"),
    ],
)
def test_a_list_of_metrics_that_cannot_be_is_told_in_a_sentence(given, main, message):
    with pytest.raises(ConfigError, match=message):
        chosen_metrics(given, main, where="mine")


@pytest.mark.parametrize("name", ["loss", "val_f1", "", "f 1", "1f"])
def test_a_metric_needs_a_name_that_logs_and_file_names_can_have(name):
    with pytest.raises(ConfigError, match="a metric is called"):
        Metric(name, hit_rate, "hits")


def test_a_metric_needs_a_format_for_numbers():
    with pytest.raises(ConfigError, match="the metric f1 has the format 'wide'"):
        Metric("f1", hit_rate, "F1", "wide")


def _refuse(y_true, y_score):
    raise ValueError("one class only")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda y_true, y_score: float("nan"), DataError, "^hits is not defined: it is NaN"),
        (_refuse, DataError, "^hits is not defined: one class only"),
        (
            lambda y_true, y_score: y_score,
            ConfigError,
            "the metric hits gives ndarray, and it must give a number",
        ),
        (lambda y_true, y_score: None, ConfigError, "the metric hits gives NoneType"),
    ],
)
def test_a_metric_without_a_number_says_so(function, error, message):
    with pytest.raises(error, match=message):
        Metric("hits", function, "hits")(np.eye(2), np.eye(2))
