"""Answers of reviewers as the calibration of a model's scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special

from dawnchorus.errors import ModelError
from dawnchorus.models.reviewed_calibration import ReviewedCalibration, ReviewedCurve
from dawnchorus.models.score_calibration import LabelCalibration, ScoreCalibration

OWL = ReviewedCurve(label="owl", slope=1.7, offset=-0.8, n_answers=40)
SCORES = np.array([0.02, 0.3, 0.5, 0.77, 0.98])


def base(**changes: Any) -> ScoreCalibration:
    owl = LabelCalibration(label="owl", how="class", n_positive=9, slope=0.6, offset=1.1, **changes)
    wren = LabelCalibration(label="wren", how="class", n_positive=9, slope=2.0, offset=-1.0)
    return ScoreCalibration(
        classes=(owl, wren), threshold=0.4, aim="best F1", folds_together=False, weights={}
    )


@pytest.mark.parametrize("knots", [(), ((-2.0, -1.0), (0.0, 0.5), (3.0, 2.0))])
def test_answers_follow_the_models_calibration(knots: Any) -> None:
    own = base(knots=knots)
    found = ReviewedCalibration(classes=(OWL,), scale=own.digest).over(own, ["owl", "wren"])
    scores = np.stack([SCORES, SCORES], axis=1)
    before, after = own.apply(scores).astype(np.float64), found.apply(scores)
    np.testing.assert_allclose(after[:, 0], special.expit(1.7 * special.logit(before[:, 0]) - 0.8), atol=1e-6)
    np.testing.assert_array_equal(after[:, 1], before[:, 1].astype(np.float32))
    assert (found.threshold, found.digest != own.digest) == (0.4, True)


def test_answers_about_raw_scores_leave_other_classes_raw() -> None:
    found = ReviewedCalibration(classes=(OWL,), scale=None).over(None, ["wren", "owl"])
    after = found.apply(np.stack([SCORES, SCORES], axis=1))
    np.testing.assert_allclose(after[:, 0], SCORES, atol=1e-6)
    np.testing.assert_allclose(after[:, 1], special.expit(1.7 * special.logit(SCORES) - 0.8), atol=1e-6)


def test_answers_about_other_scores_or_other_classes_are_refused() -> None:
    given = ReviewedCalibration(classes=(OWL,), scale=None)
    with pytest.raises(
        ModelError, match="answers are about raw scores, and the model gives scores of the cal"
    ):
        given.over(base(), ["owl", "wren"])
    with pytest.raises(
        ModelError, match="answers are about scores of the calibration 0123, and the model gives"
    ):
        ReviewedCalibration(classes=(OWL,), scale="0123").over(None, ["owl"])
    with pytest.raises(ModelError, match="the model has none of the classes that were reviewed: owl"):
        given.over(None, ["wren"])
