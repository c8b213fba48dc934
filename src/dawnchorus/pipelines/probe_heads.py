"""Fits of small heads to frozen embeddings: logistic regression, prototypes, attention over windows.

Embeddings are standardised, and for the first two scaled to length 1. Where each example has exactly one
class, the classes exclude each other (softmax); otherwise each is a question by itself (sigmoid).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit, log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.models.probe_head import Activation, HeadKind, ProbeHead

Array = npt.NDArray[np.float64]

STRENGTHS = (4.0, 16.0, 64.0, 256.0, 1024.0)
"""Inverse penalties of a logistic regression on embeddings of length 1, of which one is chosen."""

_USUAL_STRENGTH = 64.0

TEMPERATURE = 0.1
"""Of prototypes: what cosines are divided by."""

N_INNER_FOLDS = 4
"""Parts of the training examples, on each of which a head of the others is tested to choose the penalty."""

_HIDDEN, _STEPS, _RATE, _DECAY, _DROPOUT = 64, 200, 2e-3, 1e-2, 0.3  # of the attention head
_ABSENT = 12.0  # minus the logit of a class without examples


class Examples(NamedTuple):
    """Embeddings with labels.

    Attributes
    ----------
    features
        Shape (n_examples, n_features), float32.
    targets
        Shape (n_examples, n_classes), in {0, 1}; below 0 where unknown.
    recordings
        Number of the recording of each, shape (n_examples,).
    bags
        Number of what the target of each is of, shape (n_examples,): of its recording, or of itself.
    groups
        Group of each that no part may split, such as its recordist, shape (n_examples,).
    weights
        Weight of each, above 0, shape (n_examples,).
    drawn_from
        Activation of those that they are a part of; None of a whole.

    Examples
    --------
    >>> import numpy as np
    >>> four = np.arange(4)
    >>> examples = Examples(np.eye(4), np.eye(4), four, four, four, np.ones(4))
    >>> examples.of(np.array([True, False, False, True])).recordings
    array([0, 3])
    """

    features: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    recordings: npt.NDArray[np.int64]
    bags: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    weights: Array
    drawn_from: Activation | None = None

    @property
    def activation(self) -> Activation:
        """What turns logits into scores, the same for every part, so that heads of parts compare."""
        return self.drawn_from or excludes(self.targets)

    def of(self, rows: npt.NDArray[np.bool_]) -> Examples:
        """Return those in ``rows``, a mask of shape (n_examples,)."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return self._replace(**columns, drawn_from=self.activation)


_COLUMNS = tuple(name for name in Examples._fields if name != "drawn_from")


def joined(recordings: Iterable[Examples]) -> Examples:
    """Return the examples of several recordings together, each with a number, which is its group too.

    Examples
    --------
    >>> import numpy as np
    >>> none = np.zeros(2, np.int64)
    >>> one = Examples(np.eye(2), np.eye(2), none, np.arange(2), none, np.ones(2))
    >>> joined([one, one]).bags
    array([0, 1, 2, 3])
    """
    parts, n_bags = [], 0
    for number, part in enumerate(recordings):
        numbers = np.full(len(part.bags), number, np.int64)
        parts.append(part._replace(recordings=numbers, bags=part.bags + n_bags, groups=numbers))
        n_bags += int(part.bags.max()) + 1
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS
    }
    return Examples(**columns)


class FittedHead(NamedTuple):
    """A head, and what was chosen for it inside the training examples.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(8, 4)).astype(np.float32)
    >>> targets = np.eye(2, dtype=np.float32)[[0, 1] * 4]
    >>> features[:, 0] += 4 * targets[:, 0]
    >>> number = np.arange(8)
    >>> examples = Examples(features, targets, number, number, number, np.ones(8))
    >>> fitted = fit_head("linear", examples)
    >>> fitted.head.activation, fitted.settings
    ('softmax', {'strength': ...})
    """

    head: ProbeHead
    settings: dict[str, float]


def fit_head(kind: HeadKind, examples: Examples, *, seed: int = 0) -> FittedHead:
    """Return a head that was fitted to examples.

    Parameters
    ----------
    kind
        ``linear``, logistic regression with classes of equal weight, whose penalty is chosen by log loss on
        held-out groups of the examples; ``prototype``, the cosine to the mean of each class; or
        ``attention``, a layer of 64 hidden units and attention over the windows of a recording, which needs
        PyTorch.
    examples
        Two or more, of two or more classes.
    seed
        Of the attention head.

    Raises
    ------
    ConfigError
        There is no such head.
    DataError
        No example has a class.

    Examples
    --------
    >>> import numpy as np
    >>> features = np.float32([[4, 0], [5, 1], [0, 4], [1, 5]])
    >>> targets = np.float32([[1, 0], [1, 0], [0, 1], [0, 1]])
    >>> number = np.arange(4)
    >>> examples = Examples(features, targets, number, number, number, np.ones(4))
    >>> fit_head("prototype", examples).head.scores([[6, 1]]).round(1)
    array([[1., 0.]], dtype=float32)
    """
    if kind not in ("linear", "prototype", "attention"):
        raise ConfigError(f"head is {kind!r}; legal: linear, prototype, attention")
    if not (examples.targets > 0.5).any():
        raise DataError("no recording has a label that is a class, so that no head can be fitted")
    if kind == "attention":
        return _attention(examples, seed)
    if kind == "prototype":
        standard = _standardised(examples)
        return standard.head(*_prototypes(standard.examples), {})
    examples = balanced(examples)
    standard = _standardised(examples)
    strength = _best_strength(examples)
    return standard.head(*_logistic(standard.examples, strength), {"strength": strength})


def balanced(examples: Examples) -> Examples:
    """Return examples whose classes weigh the same together, where each has exactly one class.

    A strong penalty otherwise makes every clip one of the frequent classes.

    Examples
    --------
    >>> import numpy as np
    >>> number = np.arange(3)
    >>> targets = np.float32([[1, 0], [1, 0], [0, 1]])
    >>> balanced(Examples(np.eye(3), targets, number, number, number, np.ones(3))).weights
    array([0.75, 0.75, 1.5 ])
    """
    if examples.activation == "sigmoid":
        return examples
    classes = examples.targets.argmax(1)
    totals = np.bincount(classes, weights=examples.weights)
    there = np.count_nonzero(totals)
    weights = examples.weights * examples.weights.sum() / (there * totals[classes])
    return examples._replace(weights=weights)


def excludes(targets: npt.NDArray[np.float32]) -> Activation:
    """Return ``softmax`` where each example has exactly one class, else ``sigmoid``.

    Examples
    --------
    >>> import numpy as np
    >>> excludes(np.float32([[1, 0], [0, 1]])), excludes(np.float32([[1, 1], [0, 0]]))
    ('softmax', 'sigmoid')
    """
    positive = targets > 0.5
    return "softmax" if (positive.sum(1) == 1).all() and (targets >= 0).all() else "sigmoid"


class _Standard(NamedTuple):
    """Standardised examples of length 1, and how they were made."""

    examples: Examples
    shift: Array
    scale: Array

    def head(self, weight: Array, bias: Array, settings: dict[str, float]) -> FittedHead:
        return FittedHead(
            ProbeHead(
                self.shift.astype(np.float32),
                self.scale.astype(np.float32),
                weight.astype(np.float32),
                bias.astype(np.float32),
                unit_length=True,
                activation=self.examples.activation,
            ),
            settings,
        )


def _standardised(examples: Examples) -> _Standard:
    given = examples.features.astype(np.float64)
    shift = np.average(given, axis=0, weights=examples.weights)
    scale = np.sqrt(np.average((given - shift) ** 2, axis=0, weights=examples.weights))
    scale[scale < 1e-6 * max(float(scale.max()), 1e-6)] = 1
    made = (given - shift) / scale
    made /= np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
    return _Standard(examples._replace(features=made), shift, scale)  # type: ignore[arg-type]


def _prototypes(examples: Examples) -> tuple[Array, Array]:
    """Return weight and bias of cosines to the means of classes, whose length is 1."""
    positive = (examples.targets > 0.5) * examples.weights[:, None]
    means = positive.T @ examples.features
    length = np.linalg.norm(means, axis=1, keepdims=True)
    bias = np.where(positive.any(0), 0.0, -_ABSENT)
    return (means / np.maximum(length, 1e-12)).T / TEMPERATURE, bias


def _best_strength(examples: Examples) -> float:
    """Return the strength with the smallest log loss on held-out groups; the usual one without such."""
    n_splits = min(N_INNER_FOLDS, len(np.unique(examples.groups)))
    if n_splits < 2:
        return _USUAL_STRENGTH
    losses = np.zeros(len(STRENGTHS))
    activation = examples.activation
    for learnt, held in _parts(examples, n_splits):
        standard = _standardised(learnt)
        for number, strength in enumerate(STRENGTHS):
            head = standard.head(*_logistic(standard.examples, strength), {}).head
            losses[number] += _loss(head.logits(held.features), held, activation)
    return STRENGTHS[int(losses.argmin())]


def _parts(examples: Examples, n_splits: int) -> Iterator[tuple[Examples, Examples]]:
    for _, tested in GroupKFold(n_splits).split(examples.features, groups=examples.groups):
        held = np.zeros(len(examples.features), bool)
        held[tested] = True
        if (examples.targets[~held] > 0.5).any():
            yield examples.of(~held), examples.of(held)


def _loss(logits: Array, held: Examples, activation: Activation) -> float:
    """Return the weighted sum of negative log probabilities of known targets, both answers alike."""
    truth = held.targets > 0.5
    if activation == "softmax":
        return float(held.weights @ -np.where(truth, log_softmax(logits, axis=1), 0).sum(1))
    losses = 0.0
    for column, here in enumerate(truth.T):
        known = held.targets[:, column] >= 0
        weights = held.weights[known] * _equal(here[known], held.weights[known])
        signed = np.where(here[known], logits[known, column], -logits[known, column])
        losses -= float(weights @ log_expit(signed))
    return losses


def _equal(truth: npt.NDArray[np.bool_], weights: Array) -> Array:
    """Return factors that give both answers half of the weight, shape (n,); 1 where there is one answer."""
    positive, total = float(weights[truth].sum()), float(weights.sum())
    if positive in (0.0, total):
        return np.ones(len(truth))
    return np.where(truth, total / (2 * positive), total / (2 * (total - positive)))


def _logistic(examples: Examples, strength: float) -> tuple[Array, Array]:
    """Return weight and bias of a logistic regression with classes of equal weight, in the examples' span.

    The penalty does not change under rotations, so that with fewer examples than features nothing is lost.
    """
    basis = None
    given = np.asarray(examples.features, np.float64)
    if len(given) < given.shape[1]:
        left, values, basis = np.linalg.svd(given, full_matrices=False)
        given = left * values
    n_classes = examples.targets.shape[1]
    weight, bias = np.zeros((given.shape[1], n_classes)), np.full(n_classes, -_ABSENT)

    def fit(rows: Array, classes: npt.NDArray[np.int64], weights: Array) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=strength, max_iter=300).fit(rows, classes, sample_weight=weights)

    positive = examples.targets > 0.5
    if examples.activation == "softmax":
        classes = positive.argmax(1)
        if len(np.unique(classes)) == 1:
            bias[classes[0]] = _ABSENT
        else:
            found = fit(given, classes, examples.weights)
            signs = (-0.5, 0.5) if len(found.classes_) == 2 else (1.0,)
            weight[:, found.classes_] = np.concatenate([sign * found.coef_ for sign in signs]).T
            bias[found.classes_] = np.concatenate([sign * found.intercept_ for sign in signs])
    else:
        for column in range(n_classes):
            known = examples.targets[:, column] >= 0
            here = positive[known, column]
            if here.any() and not here.all():
                weights = examples.weights[known]
                found = fit(given[known], here.astype(np.int64), weights * _equal(here, weights))
                weight[:, column], bias[column] = found.coef_[0], found.intercept_[0]
            elif here.any():
                bias[column] = _ABSENT
    return (weight if basis is None else basis.T @ weight), bias


def _attention(examples: Examples, seed: int) -> FittedHead:
    """Return a head of two layers, trained on the attention-weighted mean logits of a recording's windows.

    The attention (after Ilse et al., ICML 2018) finds the windows of a recording that hold its classes;
    single windows are scored without it.
    """
    import torch
    from torch import nn

    standard = _standardised(examples)
    given = (examples.features.astype(np.float64) - standard.shift) / standard.scale
    numbers, bag = np.unique(examples.bags, return_inverse=True)
    first = np.array([np.flatnonzero(bag == number)[0] for number in range(len(numbers))])
    activation = examples.activation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        n_classes = examples.targets.shape[1]
        hidden = nn.Linear(given.shape[1], _HIDDEN)
        classes, attention = nn.Linear(_HIDDEN, n_classes), nn.Linear(_HIDDEN, n_classes)
        features = torch.from_numpy(given.astype(np.float32))
        targets = torch.from_numpy(examples.targets[first])
        bags = torch.from_numpy(bag)[:, None].expand(-1, n_classes)
        parameters = [weight for layer in (hidden, classes, attention) for weight in layer.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=_DECAY)
        for _ in range(_STEPS):
            inside = nn.functional.dropout(
                torch.relu(hidden(nn.functional.dropout(features, _DROPOUT))), _DROPOUT
            )
            share = attention(inside).tanh().exp()
            empty = torch.zeros(len(numbers), n_classes)
            logits = empty.scatter_add(0, bags, share * classes(inside)) / empty.scatter_add(0, bags, share)
            if activation == "softmax":
                loss = nn.functional.cross_entropy(logits, targets.argmax(1))
            else:
                each = nn.functional.binary_cross_entropy_with_logits(
                    logits, targets.clamp_min(0), reduction="none"
                )
                loss = (each * (targets >= 0)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    head = ProbeHead(
        standard.shift.astype(np.float32),
        standard.scale.astype(np.float32),
        weight=np.ascontiguousarray(classes.weight.detach().numpy().T),
        bias=classes.bias.detach().numpy(),
        hidden_weight=np.ascontiguousarray(hidden.weight.detach().numpy().T),
        hidden_bias=hidden.bias.detach().numpy(),
        activation=activation,
    )
    return FittedHead(head, {"steps": _STEPS, "hidden": _HIDDEN})
