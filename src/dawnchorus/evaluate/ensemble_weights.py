"""Weights of an ensemble of runs, from their out-of-fold predictions.

Every prediction is of a recording that the network was not trained on, so no test data are touched. But the
weights are chosen on the same predictions that they are scored on, which favours the chosen score slightly.
The held-out score is free of that: each fold is scored with weights that were found on the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import rankdata

from dawnchorus.engines.combined import raised
from dawnchorus.errors import DataError, RunError
from dawnchorus.evaluate.out_of_fold import saved_out_of_fold
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.runs import Run

Combination = Literal["mean", "rank", "geometric", "power"]
"""What is averaged, see :func:`ensemble_weights`."""

Search = Literal["forward", "simplex"]
"""How weights are searched for, see :func:`ensemble_weights`."""

_MAX_STEPS = 30  # sum of the whole weights; more only rounds them more finely
_LEAST_GAIN = 1e-6
_SIMPLEX_PARTS = 100  # sum of the whole weights that the simplex search rounds to


class EnsembleWeights(NamedTuple):
    """Weights of the members of an ensemble, and the scores that they were chosen by.

    Attributes
    ----------
    weights
        A whole number a member, 0 for one that is not taken.
    member_scores
        Macro ROC-AUC of each member alone.
    equal_score
        Macro ROC-AUC of all members with equal weights.
    score
        Macro ROC-AUC with ``weights``.
    n_recordings, n_classes
        Number of recordings and classes scored.
    held_out_score, held_out_equal_score
        Mean over the folds of the macro ROC-AUC of a fold, with weights found on the other folds, and with
        equal weights; None without folds. Their difference is what weighing gains on other recordings.

    Examples
    --------
    >>> EnsembleWeights((2, 1), (0.8, 0.7), equal_score=0.81, score=0.82, n_recordings=9, n_classes=3).weights
    (2, 1)
    """

    weights: tuple[int, ...]
    member_scores: tuple[float, ...]
    equal_score: float
    score: float
    n_recordings: int
    n_classes: int
    held_out_score: float | None = None
    held_out_equal_score: float | None = None


def ensemble_weights(
    targets: npt.NDArray[np.float32],
    predictions: Sequence[npt.NDArray[np.float32]],
    *,
    combination: Combination = "mean",
    exponent: float = 2.0,
    search: Search = "forward",
    folds: npt.NDArray[np.int64] | None = None,
) -> EnsembleWeights:
    """Return the weights of members that give the largest macro ROC-AUC.

    Parameters
    ----------
    targets
        0, 1, or below 0 where unknown; shape (n_recordings, n_classes).
    predictions
        Of each member, probabilities in [0, 1] of the same shape.
    combination
        ``mean`` is ``Σ w·p / Σ w``; ``geometric`` is ``exp(Σ w·log p / Σ w)``; ``power`` is
        ``(Σ w·pᵉ / Σ w)^(1/e)`` with the exponent e; ``rank`` is the mean of the ranks among the recordings
        of a class.
    exponent
        Of ``power``, above 0.
    search
        ``forward``: beginning with nothing, the member that helps most is added, and may be added again,
        until none helps (Caruana et al. 2004, "Ensemble Selection from Libraries of Models"). ``simplex``:
        goes on from there by the method of Nelder and Mead (1965, "A simplex method for function
        minimization").
    folds
        Fold of each recording, shape (n_recordings,), for the held-out score. Folds in which no class has
        both outcomes, or whose rest has none, are left out of it.

    Raises
    ------
    DataError
        There is no member, shapes differ, the exponent is not above 0, or no class can be scored.

    Examples
    --------
    >>> import numpy as np
    >>> targets = np.array([[1.0], [0.0], [1.0], [0.0]])
    >>> good, poor = np.array([[0.9], [0.6], [0.5], [0.1]]), np.array([[0.1], [0.2], [0.9], [0.3]])
    >>> found = ensemble_weights(targets, [good, poor], folds=np.array([0, 0, 1, 1]))
    >>> found.weights, found.member_scores, found.score
    ((1, 1), (0.75, 0.5), 1.0)
    >>> found.held_out_score, found.held_out_equal_score
    (1.0, 1.0)
    """
    if not predictions or any(one.shape != targets.shape for one in predictions):
        raise DataError(f"an ensemble needs members with predictions of the targets' shape, {targets.shape}")
    members = _averaged(np.stack(predictions).astype(np.float64), combination, exponent)
    alone = [macro_roc_auc(targets, member) for member in members]
    equal = macro_roc_auc(targets, members.mean(axis=0))
    weights, score = _found(targets, members, search)
    found = EnsembleWeights(weights, tuple(alone), equal, score, *targets.shape)
    if folds is None:
        return found
    held_out, held_out_equal = _held_out(targets, members, search, folds)
    return found._replace(held_out_score=held_out, held_out_equal_score=held_out_equal)


def _averaged(
    members: npt.NDArray[np.float64], combination: Combination, exponent: float
) -> npt.NDArray[np.float64]:
    """Return what is averaged; undoing it after the average would not change the order, nor ROC-AUC."""
    if combination == "rank":
        return rankdata(members, axis=1) / members.shape[1]
    if combination == "geometric":
        return raised(members, 0)
    if combination == "power":
        if not exponent > 0:
            raise DataError(f"the exponent of a power mean is {exponent:g}; legal: above 0")
        return raised(members, exponent)
    return members


def _found(
    targets: npt.NDArray[np.float32], members: npt.NDArray[np.float64], search: Search
) -> tuple[tuple[int, ...], float]:
    """Return whole weights and their score, which is never below that of equal weights."""
    counts, total, best = np.zeros(len(members), int), np.zeros(targets.shape), -np.inf
    for step in range(1, _MAX_STEPS + 1):
        scores = [macro_roc_auc(targets, (total + member) / step) for member in members]
        chosen = int(np.argmax(scores))
        if scores[chosen] <= best + _LEAST_GAIN:
            break
        counts[chosen] += 1
        total, best = total + members[chosen], scores[chosen]
    equal = macro_roc_auc(targets, members.mean(axis=0))
    if equal > best:  # one step at a time does not find every mixture
        counts, best = np.ones(len(members), int), equal
    if search == "simplex" and len(members) > 1:
        tried = _by_simplex(targets, members, counts / counts.sum())
        score = macro_roc_auc(targets, _mean(members, tried)) if tried.any() else -np.inf
        if score > best + _LEAST_GAIN:
            counts, best = tried, score
    return tuple(map(int, counts)), best


def _by_simplex(
    targets: npt.NDArray[np.float32], members: npt.NDArray[np.float64], start: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return whole weights of about the sum of ``_SIMPLEX_PARTS``."""

    def cost(weights: npt.NDArray[np.float64]) -> float:
        weights = np.abs(weights)  # keeps them legal without a border
        return -macro_roc_auc(targets, _mean(members, weights)) if weights.any() else 0.0

    n_members = len(start)
    corners = start + 0.25 * np.vstack([np.zeros(n_members), np.eye(n_members)])  # ROC-AUC is a staircase
    options = {"initial_simplex": corners, "xatol": 1 / _SIMPLEX_PARTS, "fatol": _LEAST_GAIN}
    weights = np.abs(minimize(cost, start, method="Nelder-Mead", options=options).x)
    return np.rint(weights / (weights.sum() or 1) * _SIMPLEX_PARTS).astype(int)


def _mean(members: npt.NDArray[np.float64], weights: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.average(members, axis=0, weights=weights)


def _held_out(
    targets: npt.NDArray[np.float32],
    members: npt.NDArray[np.float64],
    search: Search,
    folds: npt.NDArray[np.int64],
) -> tuple[float | None, float | None]:
    """Return the mean score of the folds with weights of the other folds, and with equal ones."""
    scores = []
    for fold in np.unique(folds):
        tested = folds == fold
        try:
            weights, _ = _found(targets[~tested], members[:, ~tested], search)
            combined = _mean(members[:, tested], np.array(weights)), members[:, tested].mean(axis=0)
            scores.append([macro_roc_auc(targets[tested], each) for each in combined])
        except DataError:  # no class has both outcomes
            continue
    if not scores:
        return None, None
    weighed, equal = np.mean(scores, axis=0).tolist()
    return weighed, equal


def weigh_runs(
    runs: Sequence[Run],
    *,
    combination: Combination = "mean",
    exponent: float = 2.0,
    search: Search = "forward",
) -> EnsembleWeights:
    """Return the weights of runs, over the recordings and scored classes that all of them have.

    Parameters
    ----------
    runs
        Evaluated runs; their folds may differ. The held-out score goes by the folds of the first.
    combination, exponent, search
        As in :func:`ensemble_weights`. An ensemble predicts by any of them but ``rank``, which needs all
        recordings at once.

    Raises
    ------
    RunError
        A run has no out-of-fold predictions of its present folds, or the runs have no recordings in common.
    DataError
        They have no scored class in common.

    Examples
    --------
    >>> from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> _ = predict_out_of_fold(run, run.config())
    >>> weigh_runs([run]).weights
    (1,)
    """
    found = []
    for run in runs:
        result = saved_out_of_fold(run, run.config())
        if result is None:
            raise RunError(
                f"{run.path} has no out-of-fold predictions of its present folds; run `dawnchorus evaluate "
                f"{run.path}` first"
            )
        found.append(result)
    first = found[0]
    labels = [name for name in first.scored_labels if all(name in one.scored_labels for one in found)]
    rows = [dict(zip(one.predictions["filename"], range(len(one.predictions)), strict=True)) for one in found]
    names = [name for name in first.predictions["filename"] if all(name in each for each in rows)]
    if not names:
        raise RunError(f"{' and '.join(str(run.path) for run in runs)} have no recordings in common")
    if not labels:
        raise DataError("the runs have no class in common that can be scored without a leak")
    columns = [runs[0].card().labels.index(label) for label in labels]
    targets = first.targets[np.ix_([rows[0][name] for name in names], columns)]
    predictions = [
        one.predictions[labels].to_numpy()[[each[name] for name in names]]
        for one, each in zip(found, rows, strict=True)
    ]
    folds = first.predictions["fold"].to_numpy()[[rows[0][name] for name in names]]
    return ensemble_weights(
        targets, predictions, combination=combination, exponent=exponent, search=search, folds=folds
    )
