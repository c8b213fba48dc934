"""Weights of an ensemble from out-of-fold predictions."""

from __future__ import annotations

import numpy as np
import pytest
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
