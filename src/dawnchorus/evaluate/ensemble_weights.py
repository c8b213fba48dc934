"""Weights of an ensemble of runs, from their out-of-fold predictions.

Every prediction is of a recording that the network was not trained on, so no test data are touched. But the
weights are chosen on the same predictions that they are scored on, which favours the chosen score slightly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from dawnchorus.errors import DataError, RunError
from dawnchorus.evaluate.out_of_fold import saved_out_of_fold
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.runs import Run

Combination = Literal["mean", "rank"]

_MAX_STEPS = 30  # sum of the whole weights; more only rounds them more finely
_LEAST_GAIN = 1e-6


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


def ensemble_weights(
    targets: npt.NDArray[np.float32],
    predictions: Sequence[npt.NDArray[np.float32]],
    *,
    combination: Combination = "mean",
) -> EnsembleWeights:
    """Return weights by forward selection with replacement.

    Beginning with nothing, the member that helps the macro ROC-AUC of the weighted mean most is added, and
    may be added again, until none helps (Caruana et al. 2004, "Ensemble Selection from Libraries of Models").

    Parameters
    ----------
    targets
        0, 1, or below 0 where unknown; shape (n_recordings, n_classes).
    predictions
        Of each member, probabilities in [0, 1] of the same shape.
    combination
        Mean of the probabilities, or of their ranks among the recordings of a class.

    Raises
    ------
    DataError
        There is no member, shapes differ, or no class can be scored.

    Examples
    --------
    >>> import numpy as np
    >>> targets = np.array([[1.0], [0.0], [1.0], [0.0]])
    >>> good, poor = np.array([[0.9], [0.6], [0.5], [0.1]]), np.array([[0.1], [0.2], [0.9], [0.3]])
    >>> found = ensemble_weights(targets, [good, poor])
    >>> found.weights, found.member_scores, found.score
    ((1, 1), (0.75, 0.5), 1.0)
    """
    if not predictions or any(one.shape != targets.shape for one in predictions):
        raise DataError(f"an ensemble needs members with predictions of the targets' shape, {targets.shape}")
    members = np.stack(predictions).astype(np.float64)
    if combination == "rank":
        members = rankdata(members, axis=1) / members.shape[1]
    alone = [macro_roc_auc(targets, member) for member in members]
    equal = macro_roc_auc(targets, members.mean(axis=0))
    counts, total, best = np.zeros(len(members), int), np.zeros(targets.shape), -np.inf
    for step in range(1, _MAX_STEPS + 1):
        scores = [macro_roc_auc(targets, (total + member) / step) for member in members]
        chosen = int(np.argmax(scores))
        if scores[chosen] <= best + _LEAST_GAIN:
            break
        counts[chosen] += 1
        total, best = total + members[chosen], scores[chosen]
    if equal > best:  # one step at a time does not find every mixture
        counts, best = np.ones(len(members), int), equal
    return EnsembleWeights(tuple(map(int, counts)), tuple(alone), equal, best, *targets.shape)


def weigh_runs(runs: Sequence[Run], *, combination: Combination = "mean") -> EnsembleWeights:
    """Return the weights of runs, over the recordings and scored classes that all of them have.

    Parameters
    ----------
    runs
        Evaluated runs; their folds may differ.
    combination
        Mean of the probabilities, which predictions of an ensemble are, or of their ranks.

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
    return ensemble_weights(targets, predictions, combination=combination)
