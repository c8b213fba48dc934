"""Calibration by the answers of reviewers, over the scores that a model gave before."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dawnchorus.config.json_files import Record, read_json
from dawnchorus.errors import ModelError
from dawnchorus.models.score_calibration import RAW_THRESHOLD, LabelCalibration, Number, ScoreCalibration
from dawnchorus.wording import counted, first_few

logger = logging.getLogger(__name__)

REVIEWED_CALIBRATION_NAME = "reviewed_calibration.json"
"""The file that a review writes."""

_REMEDY = (
    "write it anew with dawnchorus review PREDICTIONS --write, which leaves it out and says so until a "
    "species has ten answers with right and wrong ones among them"
)


class ReviewedCurve(Record):
    """The line of a class from log-odds of its score to log-odds of being right.

    Attributes
    ----------
    label
        The class.
    slope, offset
        Of ``slope * x + offset``; the slope is above 0.
    n_answers
        Answers that it was fitted to.

    Examples
    --------
    >>> ReviewedCurve(label="wren", slope=1.0, offset=-2.0, n_answers=20).offset
    -2.0
    """

    label: str
    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    offset: Number
    n_answers: Annotated[int, Field(ge=0)]


class ReviewedCalibration(Record):
    """What reviewers' answers make of a model's scores; classes without enough answers keep theirs.

    Attributes
    ----------
    classes
        The lines.
    scale
        Digest of the calibration of the scores that were reviewed; None for raw scores.

    Examples
    --------
    >>> wren = ReviewedCurve(label="wren", slope=1.0, offset=-2.0, n_answers=20)
    >>> found = ReviewedCalibration(classes=(wren,), scale=None).over(None, ["owl", "wren"])
    >>> found.apply([[0.5, 0.5]]).round(2)
    array([[0.5 , 0.12]], dtype=float32)
    """

    classes: Annotated[tuple[ReviewedCurve, ...], Field(min_length=1)]
    scale: str | None

    def over(self, base: ScoreCalibration | None, labels: Sequence[str]) -> ScoreCalibration:
        """Return the calibration from a model's raw scores.

        Parameters
        ----------
        base
            The model's own; None where its scores are raw.
        labels
            Its classes.

        Raises
        ------
        ModelError
            The answers are about scores of another calibration, or about none of the classes.
        """
        scale = None if base is None else base.digest
        if self.scale != scale:
            said, ours = (_named(each) for each in (self.scale, scale))
            raise ModelError(
                f"the reviewers' answers are about {said}, and the model gives {ours}; give the model that "
                "the review is of, with or without --raw-scores as then, or review what this one predicts"
            )
        curves = {curve.label: curve for curve in self.classes}
        strangers = [label for label in curves if label not in labels]
        if len(strangers) == len(curves):
            raise ModelError(f"the model has none of the classes that were reviewed: {first_few(strangers)}")
        if strangers:
            logger.warning(f"reviewed, but no class of this model, and left out: {first_few(strangers)}")
        own = _identity(labels) if base is None else base.classes
        classes = tuple(_composed(each, curves.get(each.label)) for each in own)
        if base is not None:
            return base.model_copy(update={"classes": classes, "held_out": None})
        return ScoreCalibration(
            classes=classes, threshold=RAW_THRESHOLD, aim="half", folds_together=False, weights={}
        )

    @classmethod
    def read(cls, path: Path) -> ReviewedCalibration:
        """Return the calibration in a file.

        Raises
        ------
        ModelError
            The file holds none.
        """
        return read_json(path, cls, error=ModelError, remedy=_REMEDY)

    def __repr__(self) -> str:
        return f"ReviewedCalibration({counted(len(self.classes), 'class', 'classes')})"


def _identity(labels: Sequence[str]) -> tuple[LabelCalibration, ...]:
    return tuple(
        LabelCalibration(label=label, how="raw", n_positive=0, slope=1.0, offset=0.0) for label in labels
    )


def _composed(first: LabelCalibration, then: ReviewedCurve | None) -> LabelCalibration:
    """Return one function for a calibration and the line that follows it."""
    if then is None:
        return first
    return first.model_copy(
        update={
            "how": f"{counted(then.n_answers, 'answer')} over {first.how}",
            "slope": then.slope * first.slope,
            "offset": then.slope * first.offset + then.offset,
            "knots": tuple((x, then.slope * y + then.offset) for x, y in first.knots),
        }
    )


def _named(scale: str | None) -> str:
    return "raw scores" if scale is None else f"scores of the calibration {scale}"
