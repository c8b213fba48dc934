"""Weights of an ensemble from out-of-fold predictions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gmean, pmean
from sklearn.metrics import roc_auc_score

from dawnchorus.errors import DataError
from dawnchorus.evaluate.ensemble_weights import ensemble_weights


def made(seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return targets and the predictions of a good, a fair and a useless member."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((200, 3)) < 0.3).astype(np.float32)
    logits = [2 * weight * targets + noise * rng.normal(size=targets.shape) for weight in (1.0, 0.7, 0.0)]
    return targets, [1 / (1 + np.exp(-each)) for each in logits]


def test_weights_are_no_worse_than_equal_ones_or_the_best_member() -> None:
    targets, members = made()
    found = ensemble_weights(targets, members)
    assert found.score >= max(found.equal_score, *found.member_scores)
    assert found.weights[0] >= found.weights[1] > found.weights[2]
    assert found.member_scores[0] == pytest.approx(roc_auc_score(targets, members[0], average="macro"))
    mixed = sum(w * m for w, m in zip(found.weights, members, strict=True)) / sum(found.weights)
    assert found.score == pytest.approx(roc_auc_score(targets, mixed, average="macro"))
    assert (found.n_recordings, found.n_classes) == (200, 3)


def test_a_member_that_is_perfect_stands_alone() -> None:
    targets, members = made()
    found = ensemble_weights(targets, [members[2], targets * 0.8 + 0.1])
    assert (found.weights, found.score) == ((0, 1), 1.0)


def test_ranks_do_not_see_another_scale_and_means_do() -> None:
    targets, (good, fair, _) = made()
    squeezed = good**8  # the same order
    by_rank = [ensemble_weights(targets, [one, fair], combination="rank") for one in (good, squeezed)]
    assert by_rank[0] == by_rank[1]
    by_mean = [ensemble_weights(targets, [one, fair]) for one in (good, squeezed)]
    assert by_mean[0].equal_score != by_mean[1].equal_score


def test_members_of_another_shape_and_none_are_refused() -> None:
    targets, members = made()
    with pytest.raises(DataError, match=r"members with predictions of the targets' shape, \(200, 3\)"):
        ensemble_weights(targets, [members[0][:10]])
    with pytest.raises(DataError, match="needs members"):
        ensemble_weights(targets, [])


@pytest.mark.parametrize(
    ("combination", "averaged"),
    [("geometric", gmean), ("power", lambda members, weights: pmean(members, 3.0, weights=weights))],
)
def test_geometric_and_power_means_score_as_those_of_scipy(combination: str, averaged: object) -> None:
    targets, members = made()
    found = ensemble_weights(targets, members, combination=combination, exponent=3.0)  # type: ignore[arg-type]
    mixed = averaged(np.stack(members), weights=np.array(found.weights)[:, None, None])  # type: ignore[operator]
    assert found.score == pytest.approx(roc_auc_score(targets, mixed, average="macro"))
    assert found.score >= found.equal_score


def test_a_probability_of_0_has_a_geometric_mean_and_an_exponent_of_0_is_refused() -> None:
    targets, members = made()
    found = ensemble_weights(targets, [np.zeros_like(members[0]), members[1]], combination="geometric")
    assert found.score == pytest.approx(found.member_scores[1])
    with pytest.raises(DataError, match="exponent of a power mean is 0; legal: above 0"):
        ensemble_weights(targets, members, combination="power", exponent=0.0)


def test_the_simplex_goes_on_from_forward_selection_towards_the_best_of_a_grid() -> None:
    targets, members = made(seed=3)
    found = ensemble_weights(targets, members[:2], search="simplex")
    of_grid = [
        roc_auc_score(targets, (share * members[0] + (100 - share) * members[1]) / 100, average="macro")
        for share in range(101)
    ]
    assert found.score >= ensemble_weights(targets, members[:2]).score
    assert found.score == pytest.approx(max(of_grid), abs=5e-4)


def test_the_held_out_score_is_of_weights_that_were_found_on_the_other_folds() -> None:
    targets, members = made()
    folds = np.arange(len(targets)) % 4
    found = ensemble_weights(targets, members, folds=folds)
    scores = []
    for fold in range(4):
        tested = folds == fold
        elsewhere = ensemble_weights(targets[~tested], [each[~tested] for each in members])
        mixed = np.average([each[tested] for each in members], axis=0, weights=elsewhere.weights)
        scores.append(roc_auc_score(targets[tested], mixed, average="macro"))
    assert found.held_out_score == pytest.approx(np.mean(scores))
    equal = [
        roc_auc_score(targets[folds == fold], np.mean(members, axis=0)[folds == fold], average="macro")
        for fold in range(4)
    ]
    assert found.held_out_equal_score == pytest.approx(np.mean(equal))
    assert ensemble_weights(targets, members).held_out_score is None
    assert ensemble_weights(targets, members, folds=np.zeros(len(targets), int)).held_out_score is None
