"""Changes of scores for a competition, each against its formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import rankdata

from dawnchorus.competition.submission.rescoring import (
    RESCORINGS,
    Rescoring,
    RescoringTables,
    add_priors,
    delta_smooth,
    rank_blend,
    rescored,
    scale_by_power,
    scale_by_top_two,
    shrunk_priors,
    site_and_hour,
    smooth_within,
)
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.predict.postprocess import scale_by_maximum

SCORES = np.random.default_rng(0).random((6, 3))


def submission(*soundscapes: str, seed: int = 0) -> pd.DataFrame:
    rows = [f"{soundscape}_{end_s}" for soundscape in soundscapes for end_s in (5, 10, 15)]
    values = np.random.default_rng(seed).random((len(rows), 3))
    return pd.DataFrame(values, pd.Index(rows, name="row_id"), ["owl", "wren", "toad"])


def test_the_two_largest_of_a_class_scale_it() -> None:
    for column in range(3):
        largest = sorted(SCORES[:, column])[-2:]
        expected = SCORES[:, column] * sum(largest) / 2
        np.testing.assert_allclose(scale_by_top_two(SCORES)[:, column], expected)
    np.testing.assert_allclose(scale_by_top_two(SCORES[:1]), SCORES[:1] ** 2)


def test_the_power_of_the_maximum_is_that_of_predict() -> None:
    same = scale_by_maximum(SCORES.astype(np.float32), 0.4)
    np.testing.assert_allclose(scale_by_power(SCORES, 0.4), same, rtol=1e-5)


def test_unsure_rows_take_more_of_their_neighbours() -> None:
    smoothed = delta_smooth(SCORES, 0.3)
    for row in range(6):
        beside = [SCORES[other] for other in (row - 1, row + 1) if 0 <= other < 6]
        share = 0.3 * (1 - SCORES[row].max())
        np.testing.assert_allclose(smoothed[row], (1 - share) * SCORES[row] + share * np.mean(beside, axis=0))
    np.testing.assert_array_equal(delta_smooth(SCORES[:1], 0.3), SCORES[:1])


def test_classes_of_a_group_lean_to_its_mean_and_others_stay() -> None:
    smoothed = smooth_within(SCORES, ["a", "a", ""], 0.2)
    mean = SCORES[:, :2].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(smoothed[:, :2], 0.8 * SCORES[:, :2] + 0.2 * mean)
    np.testing.assert_array_equal(smoothed[:, 2], SCORES[:, 2])


def test_priors_are_shrunk_by_n_over_n_plus_8() -> None:
    truth = np.array([[1.0, 0.0]] * 8 + [[0.0, 0.0]] * 24)
    priors = shrunk_priors(truth, ["a"] * 8 + ["b"] * 24)
    overall = truth.mean(axis=0)
    np.testing.assert_allclose(priors["a"], 0.5 * np.array([1, 0]) + 0.5 * overall)
    np.testing.assert_allclose(priors["b"], 24 / 32 * np.array([0, 0]) + 8 / 32 * overall)


def test_priors_move_log_odds_and_nothing_where_there_is_none() -> None:
    prior, overall = np.array([0.6, 0.2, 0.3]), np.array([0.3, 0.3, 0.3])
    moved = add_priors(SCORES[:2], ["a", "b"], {"a": prior}, overall, 0.4)
    expected = expit(logit(SCORES[0]) + 0.4 * (logit(prior) - logit(overall)))
    np.testing.assert_allclose(moved[0], expected)
    np.testing.assert_allclose(moved[1], SCORES[1])


def test_ranks_are_blended_class_by_class_and_a_missing_class_has_no_say() -> None:
    first, second = submission("H1"), submission("H1", seed=1)[["wren", "owl"]]
    blended = rank_blend([first, second.iloc[::-1]], [0.8, 0.2])
    for label in ("owl", "wren"):
        ranks = [rankdata(table[label]) / 3 for table in (first, second)]
        np.testing.assert_allclose(blended[label], 0.8 * ranks[0] + 0.2 * ranks[1])
    np.testing.assert_allclose(blended["toad"], rankdata(first["toad"]) / 3)
    with pytest.raises(DataError, match="has other rows than the first, 3 and 3; blend submissions for"):
        rank_blend([first, submission("H2")], [0.5, 0.5])


def test_soundscapes_are_changed_by_themselves_whatever_the_order_of_rows() -> None:
    table = submission("H1", "H2")
    mixed = table.sample(frac=1, random_state=3)
    for name, function in (("top-two", scale_by_top_two), ("power", scale_by_power), ("delta", delta_smooth)):
        changed = rescored(mixed, [Rescoring(name)])
        assert changed.index.tolist() == mixed.index.tolist()
        for soundscape in ("H1", "H2"):
            rows = [f"{soundscape}_{end_s}" for end_s in (5, 10, 15)]
            np.testing.assert_allclose(changed.loc[rows], function(table.loc[rows].to_numpy()))


def test_genus_and_class_come_from_a_taxonomy(tmp_path: Path) -> None:
    taxonomy = tmp_path / "taxonomy.csv"
    rows = [
        ("owl", "Strix aluco", "Aves"),
        ("wren", "Troglodytes troglodytes", "Aves"),
        ("toad", "Bufo bufo", ""),
    ]
    names = ["primary_label", "scientific_name", "class_name"]
    pd.DataFrame(rows, columns=names).to_csv(taxonomy, index=False)
    table, tables = submission("H1"), RescoringTables(taxonomy=taxonomy)
    np.testing.assert_allclose(rescored(table, [Rescoring("genus", 0.5)], tables), table)
    by_class = rescored(table, [Rescoring("class", 0.5)], tables)
    expected = smooth_within(table.to_numpy(), ["Aves", "Aves", ""], 0.5)
    np.testing.assert_allclose(by_class, expected)
    with pytest.raises(ConfigError, match="genus needs a table of the species; give it with --taxonomy"):
        rescored(table, [Rescoring("genus")])


def test_priors_are_of_sites_and_hours_of_other_soundscapes(tmp_path: Path) -> None:
    table = submission("S1_20250101_030000", "S2_20250101_040000")
    known = submission("S1_20250102_030000", "S2_20250102_050000")
    known.iloc[:, :] = 0
    known.iloc[:3, 0] = 1
    known.drop(columns="toad").to_csv(tmp_path / "known.csv")
    tables = RescoringTables(priors=tmp_path / "known.csv")
    moved = rescored(table, [Rescoring("site-prior")], tables)
    assert (moved["owl"].iloc[:3] > table["owl"].iloc[:3]).all()
    assert (moved["owl"].iloc[3:] < table["owl"].iloc[3:]).all()
    np.testing.assert_allclose(moved["toad"], table["toad"])
    by_hour = rescored(table, [Rescoring("hour-prior", 0.5)], tables)
    np.testing.assert_allclose(by_hour.iloc[3:], table.iloc[3:])
    with pytest.raises(DataError, match=r"has rows of S1_.*a prior of what is scored would be a leak"):
        rescored(known, [Rescoring("site-prior")], tables)
    with pytest.raises(ConfigError, match="site-prior needs labelled rows; give them with --priors"):
        rescored(table, [Rescoring("site-prior")])
    assert site_and_hour("2021-05-01_dawn") == ("", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delta=much", r"the value of delta is 'much'; give a number from 0 to 1"),
        ("genus=1.5", r"the value of genus is '1.5'; give a number from 0 to 1"),
        ("power=inf", r"the value of power is 'inf'; give a number of 0 or more"),
        ("power=-1", r"the value of power is '-1'; give a number"),
        ("top-two=1", r"the value of top-two is '1'; it takes none"),
        ("top", r"top is no rescoring"),
    ],
)
def test_a_wrong_name_or_value_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rescoring.parse(text)
    assert all(Rescoring.parse(name).name == name for name in RESCORINGS)
