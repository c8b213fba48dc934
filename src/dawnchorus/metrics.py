"""Metrics of how well predictions rank the recordings in which a species sings.

All functions are pure and take ``y_true`` and ``y_score`` of shape (n_items, n_classes); an item is a
recording or a window. Only ranks within a class matter, so scores may be probabilities or logits.

A :class:`Metric` is all that validation, logs, checkpoints and the report use. A metric of your own is named
in a config as ``"metrics": ("macro_roc_auc", "my_package.metrics:F1")``, by a function or by an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from dawnchorus.config.import_paths import made_part
from dawnchorus.config.registry import FROM_FILE, METRICS
from dawnchorus.errors import ConfigError, DataError

LOG_PREFIX = "val_"
"""Prefix of a metric's name in logs, checkpoints and ``main_metric``."""

LOSS = "loss"
"""Name of the validation loss, which ``main_metric`` may be though it is no metric of predictions."""

_NAME = re.compile(r"(?!val_)[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Metric:
    """A validation metric: larger is better.

    Parameters
    ----------
    name
        Letters, digits and underscores; it is logged with the prefix ``val_``.
    function
        From ``y_true``, 0 or 1, and ``y_score``, probabilities, both float of shape (n_recordings,
        n_classes), to a number. A DataError, a ValueError or NaN means that it is not defined for them.
    heading
        Its heading in tables of the report.
    format
        Format of a number, as in an f-string.

    Raises
    ------
    ConfigError
        The name or the format is not legal.

    Examples
    --------
    >>> import numpy as np
    >>> def hit_rate(y_true, y_score):
    ...     return y_true[range(len(y_true)), y_score.argmax(1)].mean()
    >>> metric = Metric("hit_rate", hit_rate, "hit rate", ".1%")
    >>> metric(np.array([[1, 0], [0, 1]]), np.array([[0.9, 0.2], [0.8, 0.1]])), metric.log_name
    (0.5, 'val_hit_rate')
    """

    name: str
    function: Callable[[NDArray[Any], NDArray[Any]], float]
    heading: str
    format: str = ".4f"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == LOSS:
            raise ConfigError(
                f"a metric is called {self.name!r}; legal are letters, digits and underscores, without val_ "
                "at the beginning and not loss: give it as dawnchorus.metrics.Metric(name, function, heading)"
            )
        try:
            format(0.5, self.format)
        except ValueError as error:
            raise ConfigError(f"the metric {self.name} has the format {self.format!r}: {error}") from error

    @property
    def log_name(self) -> str:
        """Name in the logs."""
        return LOG_PREFIX + self.name

    def __call__(self, y_true: NDArray[Any], y_score: NDArray[Any]) -> float:
        """Return the metric as a float.

        Raises
        ------
        DataError
            It is not defined for these arrays: the function raises, or returns NaN.
        ConfigError
            The function returns no number.
        """
        try:
            value = self.function(y_true, y_score)
        except ValueError as error:  # as scikit-learn's metrics do
            raise DataError(f"{self.heading} is not defined: {error}") from error
        try:
            number = float(value)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise ConfigError(f"the metric {self.name} gives {kind}, and it must give a number") from None
        if np.isnan(number):
            raise DataError(f"{self.heading} is not defined: it is NaN")
        return number


def chosen_metrics(given: Sequence[Any], main: str, *, where: str | None = None) -> tuple[Metric, ...]:
    """Return the metrics of a config, the main one among them.

    Parameters
    ----------
    given
        Registered names, import paths, functions, classes, or objects such as a :class:`Metric`.
    main
        Name of the main one, with or without ``val_``; a registered one need not be among ``given``. The
        validation loss, ``loss``, is none of the metrics.
    where
        Start of a message: the config.

    Raises
    ------
    ConfigError
        A metric is not known or cannot be called, two have the same name, or the main one is missing.

    Examples
    --------
    >>> [metric.heading for metric in chosen_metrics(["cmap"], "val_macro_roc_auc")]
    ['cmAP', 'macro ROC-AUC']
    """
    prefix = f"{where}: " if where else ""
    metrics = [as_metric(each, where=f"{prefix}metrics.{index}") for index, each in enumerate(given)]
    names = [metric.name for metric in metrics]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{prefix}metrics has two of the name {twice[0]}; leave one out, or rename it")
    wanted = main.removeprefix(LOG_PREFIX)
    if wanted == LOSS:
        return tuple(metrics) or (MACRO_ROC_AUC,)
    if wanted not in names and wanted in METRICS:
        metrics.append(as_metric(wanted, where=f"{prefix}main_metric"))
    elif wanted not in names:
        legal = ", ".join(dict.fromkeys([*names, *METRICS]))
        raise ConfigError(
            f"{prefix}main_metric is {main!r}; legal are {legal}, and the names of others that metrics "
            f"lists; or {LOSS}"
        )
    return tuple(metrics)


def known_metrics(given: Sequence[Any]) -> tuple[Metric, ...]:
    """Return the metrics of a config, without the import paths that come from a data file.

    Examples
    --------
    >>> [metric.name for metric in known_metrics(["cmap", "from a saved config: my_package.metrics:F1"])]
    ['cmap']
    """
    at_hand = (each for each in given if not isinstance(each, str) or each in METRICS or _is_trusted(each))
    return tuple(as_metric(each, where="metrics") for each in at_hand)


def _is_trusted(path: str) -> bool:
    return ":" in path and not path.startswith(FROM_FILE)


def as_metric(given: Any, *, where: str = "metrics") -> Metric:
    """Return the metric of a name, an import path, a function or an object.

    A function has its own name and the format ``.4f``; its attributes ``name``, ``heading`` and ``format``
    override these.

    Raises
    ------
    ConfigError
        It is not known, or cannot be called.

    Examples
    --------
    >>> as_metric("macro_roc_auc").heading
    'macro ROC-AUC'
    >>> def hit_rate(y_true, y_score): ...
    >>> as_metric(hit_rate).heading
    'hit rate'
    """
    part = made_part(METRICS.find(given, where=where), {}, where=where)
    registered = given if isinstance(given, str) and given in METRICS else None
    if isinstance(part, Metric):
        return part if registered is None else replace(part, name=registered)
    name = registered or str(getattr(part, "name", getattr(part, "__name__", type(part).__name__)))
    heading = getattr(part, "heading", name.replace("_", " "))
    return Metric(name, part, heading, getattr(part, "format", ".4f"))


class ClassScore(NamedTuple):
    """One line of the per-class table.

    Attributes
    ----------
    label
        The class.
    n_positive
        Items in which it is present.
    roc_auc
        Area under the ROC curve; NaN where the class is in no item or in all.
    average_precision
        Mean precision at the rank of each positive; NaN where the class is in no item.

    Examples
    --------
    >>> score = ClassScore("wren", n_positive=12, roc_auc=0.97, average_precision=0.88)
    >>> score.label, score.roc_auc
    ('wren', 0.97)
    """

    label: str
    n_positive: int
    roc_auc: float
    average_precision: float


def macro_roc_auc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the mean ROC-AUC over the classes that have both a positive and a negative item.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Finite scores of the same shape, higher for a likelier class.

    Raises
    ------
    DataError
        If the arrays do not fit this description, or no class has both a positive and a negative.

    Examples
    --------
    >>> y_true = [[1, 0], [0, 1], [0, 0]]
    >>> y_score = [[0.9, 0.2], [0.1, 0.4], [0.3, 0.6]]
    >>> macro_roc_auc(y_true, y_score)  # 1 for the first class, 1/2 for the second
    0.75
    """
    areas = per_class_roc_auc(y_true, y_score)
    if np.isnan(areas).all():
        raise DataError(
            f"ROC-AUC is not defined: none of the {len(areas)} classes has both a positive and a negative "
            "among the items; validate on more recordings"
        )
    return float(np.nanmean(areas))


def per_class_roc_auc(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Return the ROC-AUC of each class, shape (n_classes,); NaN where all items are positive or none is.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Finite scores of the same shape.

    Raises
    ------
    DataError
        If the arrays do not fit this description.

    Examples
    --------
    >>> y_true = [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    >>> y_score = [[0.9, 0.2, 0.1], [0.1, 0.4, 0.1], [0.3, 0.6, 0.1]]
    >>> per_class_roc_auc(y_true, y_score)
    array([1. , 0.5, nan])
    """
    truth, scores = _checked(y_true, y_score)
    areas = np.full(truth.shape[1], np.nan)
    for index in np.flatnonzero(truth.any(0) & ~truth.all(0)):
        areas[index] = roc_auc_score(truth[:, index], scores[:, index])
    return areas


def padded_cmap(y_true: ArrayLike, y_score: ArrayLike, padding: int = 5) -> float:
    """Return the padded class-wise mean average precision of BirdCLEF 2023.

    Each class first gains ``padding`` items that are positive and scored 1, which steadies the classes
    with few positives and defines those with none. Scores must therefore be probabilities.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Probabilities in [0, 1] of the same shape.
    padding
        Items to add, at least 1.

    Raises
    ------
    DataError
        If the arrays do not fit this description.

    Examples
    --------
    >>> padded_cmap([[1], [0]], [[0.8], [0.3]])
    1.0
    >>> round(padded_cmap([[1], [0]], [[0.3], [0.8]]), 4)  # (5 + 6 / 7) / 6
    0.9762
    """
    truth, scores = _checked(y_true, y_score)
    if padding < 1:
        raise DataError(f"padding is {padding}; legal: 1 or more")
    if scores.min() < 0 or scores.max() > 1:
        raise DataError(
            f"padded cmAP needs probabilities; y_score goes from {scores.min():g} to {scores.max():g}"
        )
    pad = np.ones((padding, truth.shape[1]))
    padded_truth, padded_scores = np.vstack([truth, pad.astype(bool)]), np.vstack([scores, pad])
    columns = zip(padded_truth.T, padded_scores.T, strict=True)
    return float(np.mean([average_precision_score(*column) for column in columns]))


MACRO_ROC_AUC = Metric("macro_roc_auc", macro_roc_auc, "macro ROC-AUC")
CMAP = Metric("cmap", padded_cmap, "cmAP")


def per_class_table(y_true: ArrayLike, y_score: ArrayLike, labels: Sequence[str]) -> list[ClassScore]:
    """Return the scores of each class, in the order of ``labels``.

    Parameters
    ----------
    y_true
        0 or 1, shape (n_items, n_classes).
    y_score
        Finite scores of the same shape.
    labels
        Names of the classes.

    Raises
    ------
    DataError
        If the arrays do not fit this description, or the number of labels differs.

    Examples
    --------
    >>> table = per_class_table([[1, 0], [0, 1]], [[0.9, 0.7], [0.1, 0.4]], ["wren", "owl"])
    >>> [(score.label, score.n_positive, score.roc_auc) for score in table]
    [('wren', 1, 1.0), ('owl', 1, 0.0)]
    """
    truth, scores = _checked(y_true, y_score)
    if len(labels) != truth.shape[1]:
        raise DataError(f"there are {len(labels)} labels for {truth.shape[1]} classes")
    areas = per_class_roc_auc(truth, scores)
    return [
        ClassScore(
            label=label,
            n_positive=int(present.sum()),
            roc_auc=float(area),
            average_precision=float(average_precision_score(present, score)) if present.any() else np.nan,
        )
        for label, present, score, area in zip(labels, truth.T, scores.T, areas, strict=True)
    ]


def _checked(y_true: ArrayLike, y_score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return the truth as booleans and the scores as float64, or raise DataError."""
    truth, scores = np.asarray(y_true), np.asarray(y_score, dtype=np.float64)
    if truth.ndim != 2 or truth.shape != scores.shape or truth.size == 0:
        raise DataError(
            f"y_true has shape {truth.shape} and y_score {scores.shape}; "
            "both must be (n_items, n_classes) and not empty"
        )
    soft = truth[~np.isin(truth, (0, 1))]
    if soft.size:
        raise DataError(
            f"y_true holds {soft[0]}; legal: 0 and 1. Compare soft targets with a threshold first"
        )
    if not np.isfinite(scores).all():
        raise DataError(f"{(~np.isfinite(scores)).sum()} of {scores.size} values of y_score are not finite")
    return truth.astype(bool), scores
