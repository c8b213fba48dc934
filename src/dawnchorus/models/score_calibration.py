"""Calibration of a model's scores: its raw scores → probabilities of presence, and the default threshold.

It lies beside a run or an export as ``score_calibration.json``, is fitted by
:mod:`dawnchorus.evaluate.score_fitting` after training, and is applied with NumPy alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from dawnchorus.config.json_files import Record, read_json
from dawnchorus.errors import ModelError
from dawnchorus.wording import counted

SCORE_CALIBRATION_NAME = "score_calibration.json"
"""The file beside a run or an export."""

RAW_THRESHOLD = 0.5
"""The threshold of scores that are not calibrated."""

REMEDY = "make it anew with dawnchorus calibrate RUN, or predict with --raw-scores (calibrated=False)"

_SMALLEST = 1e-12  # scores below it, and within it of 1, count as it

Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def log_odds(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return log(p / (1 - p)) of scores in [0, 1], finite, float64, of the same shape.

    Examples
    --------
    >>> log_odds([0.0, 0.5, 0.75, 1.0]).round(2)
    array([-27.63,   0.  ,   1.1 ,  27.63])
    """
    p = np.clip(np.asarray(scores, dtype=np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(p) - np.log1p(-p))


def probability_of(odds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the probability of log-odds, the inverse of :func:`log_odds`.

    Examples
    --------
    >>> probability_of([-1.0986, 0.0]).round(2)
    array([0.25, 0.5 ])
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(odds, dtype=np.float64))))


class LabelCalibration(Record):
    """The rising function of a class from log-odds of its raw score to log-odds of presence.

    Attributes
    ----------
    label
        The class.
    how
        ``class``, fitted to its own positives and shrunk towards all classes; or ``pooled`` and the reason.
    n_positive
        Recordings in which the class is present, of those that it was fitted to.
    slope, offset
        Of Platt's line ``slope * x + offset``; the slope is above 0.
    knots
        Points (x, y) between which it is interpolated instead, both rising; outside them it has the slope of
        the line. None for the line alone.

    Examples
    --------
    >>> LabelCalibration(label="wren", how="class", n_positive=9, slope=1.0, offset=2.0)
    LabelCalibration(label='wren', how='class', n_positive=9, slope=1.0, offset=2.0, knots=())
    """

    label: str
    how: str
    n_positive: Annotated[int, Field(ge=0)]
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    offset: Number
    knots: tuple[tuple[Number, Number], ...] = ()

    @field_validator("knots")
    @classmethod
    def _rise(cls, knots: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if len(knots) and not (np.diff(knots, axis=0) > 0).all():
            raise ValueError("knots do not rise; both numbers of each must be above those before it")
        return knots

    def apply(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return log-odds of presence for log-odds of raw scores, of the same shape."""
        if not self.knots:
            return self.slope * x + self.offset
        at, y = np.array(self.knots).T
        inside = np.interp(x, at, y)
        return np.asarray(inside + self.slope * (np.minimum(x - at[0], 0) + np.maximum(x - at[-1], 0)))


class HeldOut(Record):
    """Counts on recordings that the calibration was not fitted to, which is fitted to the others for it.

    Attributes
    ----------
    by
        What was left out each time: ``fold``, or ``group`` where there is one fold.
    n_recordings, n_parts
        Recordings that were counted, and parts of them that were left out one after the other.
    ece, raw_ece
        Expected calibration error of the calibrated and of the raw scores.
    n_positive, n_above, n_right
        Pairs of recording and species that are present; those at or above the default threshold; and the
        positive ones among these.

    Examples
    --------
    >>> counts = {"n_recordings": 70, "n_parts": 3, "n_positive": 70, "n_above": 40, "n_right": 30}
    >>> found = HeldOut(by="fold", ece=0.02, raw_ece=0.1, **counts)
    >>> found.precision, round(found.recall, 2)
    (0.75, 0.43)
    """

    by: str
    n_recordings: Annotated[int, Field(ge=0)]
    n_parts: Annotated[int, Field(ge=1)]
    ece: Fraction
    raw_ece: Fraction
    n_positive: Annotated[int, Field(ge=0)]
    n_above: Annotated[int, Field(ge=0)]
    n_right: Annotated[int, Field(ge=0)]

    @property
    def precision(self) -> float:
        """Fraction of the pairs at or above the threshold that are positive; 0 where there are none."""
        return self.n_right / max(self.n_above, 1)

    @property
    def recall(self) -> float:
        """Fraction of the positive pairs that are at or above the threshold; 0 where there are none."""
        return self.n_right / max(self.n_positive, 1)


class ScoreCalibration(Record):
    """The calibration of all classes of a model.

    Attributes
    ----------
    classes
        In the order of the model's outputs.
    threshold
        Default threshold of calibrated scores, for all classes: they mean the same in each.
    aim
        What the threshold aims at, in words.
    folds_together
        Whether the scores of the folds were brought to one scale before it was fitted.
    weights
        SHA-256 of the checkpoint of each fold that it was fitted to, in hexadecimal digits.
    held_out
        How good it is on recordings that it was not fitted to; None where that was not counted.

    Examples
    --------
    >>> import numpy as np
    >>> wren = LabelCalibration(label="wren", how="class", n_positive=9, slope=1.0, offset=2.0)
    >>> counts = {"n_recordings": 9, "n_parts": 3, "n_positive": 9, "n_above": 9, "n_right": 9}
    >>> calibration = ScoreCalibration(
    ...     classes=(wren,),
    ...     threshold=0.4,
    ...     aim="best F1",
    ...     folds_together=False,
    ...     weights={},
    ...     held_out=HeldOut(by="fold", ece=0.02, raw_ece=0.1, **counts),
    ... )
    >>> calibration.apply(np.float32([[0.1], [0.5]])).round(2)
    array([[0.45],
           [0.88]], dtype=float32)
    """

    classes: Annotated[tuple[LabelCalibration, ...], Field(min_length=1)]
    threshold: Fraction
    aim: str
    folds_together: bool
    weights: dict[str, Digest]
    held_out: HeldOut | None = None

    @model_validator(mode="after")
    def _different(self) -> ScoreCalibration:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("a label stands twice in classes")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, in the order of the model's outputs."""
        return tuple(each.label for each in self.classes)

    @property
    def digest(self) -> str:
        """Digest of all that changes scores or the default threshold, 16 hexadecimal digits."""
        what = self.model_dump(include={"classes", "threshold"})
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def apply(self, scores: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return probabilities of presence for raw scores, shape (..., n_classes), float32 in [0, 1].

        The order of the scores of a class stays as it is, but for ties beyond the precision of float32.
        """
        x = log_odds(scores)
        if not x.size:
            return np.zeros(x.shape, np.float32)
        slopes, offsets = np.array([(each.slope, each.offset) for each in self.classes]).T
        y = slopes * x + offsets
        for column, each in enumerate(self.classes):
            if each.knots:
                y[..., column] = each.apply(x[..., column])
        return probability_of(y).astype(np.float32)

    def thresholds(self) -> npt.NDArray[np.float32]:
        """Return the default threshold of each class, shape (n_classes,)."""
        return np.full(len(self.classes), self.threshold, dtype=np.float32)

    def check_labels(self, labels: Sequence[str], *, where: Path) -> None:
        """Raise a ModelError where these are not the labels of the calibration, in its order."""
        if self.labels != tuple(labels):
            raise ModelError(
                f"{where} is of {counted(len(self.labels), 'class', 'classes')}, {self.labels[0]} first, and "
                f"the model beside it has {len(labels)}, {labels[0]} first; {REMEDY}"
            )

    def is_of(self, weights: Mapping[str, str]) -> bool:
        """Return whether it was fitted with each of these folds' checkpoints, by their digests."""
        return bool(weights) and all(self.weights.get(fold) == digest for fold, digest in weights.items())

    @classmethod
    def read(cls, path: Path) -> ScoreCalibration:
        """Return the calibration in a file.

        Raises
        ------
        ModelError
            The file holds none.
        """
        return read_json(path, cls, error=ModelError, remedy=REMEDY)

    def to_json(self) -> str:
        """Return the calibration as JSON text."""
        return json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"

    def __repr__(self) -> str:
        classes = counted(len(self.classes), "class", "classes")
        return f"ScoreCalibration({classes}, threshold {self.threshold:.2f} for {self.aim})"


class Thresholds(NamedTuple):
    """Default thresholds of an ensemble, and what they aim at.

    Attributes
    ----------
    values
        Shape (n_classes,), float32.
    aim
        In words.

    Examples
    --------
    >>> import numpy as np
    >>> Thresholds(np.float32([0.4, 0.4]), "best F1").aim
    'best F1'
    """

    values: npt.NDArray[np.float32]
    aim: str
