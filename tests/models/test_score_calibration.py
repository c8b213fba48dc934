"""The file of a score calibration: checked on reading, and applied with NumPy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from dawnchorus.errors import ConfigError, ModelError
from dawnchorus.models.score_calibration import HeldOut, LabelCalibration, ScoreCalibration

COUNTS: dict[str, Any] = {
    "by": "fold", "n_recordings": 9, "n_parts": 3, "ece": 0.02, "raw_ece": 0.1,
    "n_positive": 9, "n_above": 8, "n_right": 6,
}  # fmt: skip


def calibration(**changes: Any) -> ScoreCalibration:
    wren = LabelCalibration(label="wren", how="class", n_positive=9, slope=2.0, offset=1.0)
    steps = ((-4.0, -3.0), (-1.0, 0.0), (1.0, 0.5))
    owl = LabelCalibration(label="owl", how="class", n_positive=9, slope=0.5, offset=0.0, knots=steps)
    values: dict[str, Any] = {
        "classes": (wren, owl), "threshold": 0.4, "aim": "the best F1", "folds_together": True,
        "weights": {"0": "0a" * 32}, "held_out": HeldOut(**COUNTS),
    }  # fmt: skip
    return ScoreCalibration(**{**values, **changes})


def test_the_file_holds_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "score_calibration.json"
    path.write_text(calibration().to_json())
    found = ScoreCalibration.read(path)
    assert found == calibration()
    assert found.digest == calibration().digest != calibration(threshold=0.3).digest


def test_scores_go_along_the_line_or_between_the_knots() -> None:
    scores = np.float32([[0.1, 0.1], [0.5, 0.9], [0.9, 0.001]])
    x = logit(scores.astype(np.float64))
    expected = np.stack(
        [expit(2 * x[:, 0] + 1), expit(np.interp(x[:, 1], [-4, -1, 1], [-3, 0, 0.5]))], axis=1
    )
    expected[1, 1] = expit(0.5 + 0.5 * (x[1, 1] - 1))  # above the last knot
    expected[2, 1] = expit(-3 + 0.5 * (x[2, 1] + 4))  # below the first
    found = calibration().apply(scores)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_order_within_a_class_stays_and_the_ends_are_legal() -> None:
    scores = np.sort(np.random.default_rng(0).random((500, 2)).astype(np.float32), axis=0)
    assert (np.diff(calibration().apply(scores), axis=0) >= 0).all()
    ends = calibration().apply(np.float32([[0, 0], [1, 1]]))
    assert ((ends >= 0) & (ends <= 1)).all()
    assert calibration().apply(np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_the_same_scores_give_the_same_bits_alone_and_together() -> None:
    scores = np.random.default_rng(1).random((64, 2)).astype(np.float32)
    together = calibration().apply(scores)
    alone = np.concatenate([calibration().apply(row[None]) for row in scores])
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 2}, "threshold is 2"),
        ({"weights": {"0": "../fold"}}, "weights.0 is '../fold'"),
        ({"classes": []}, "classes is"),
        ({"more": 1}, "more is not known"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "score_calibration.json"
    path.write_text(json.dumps({**json.loads(calibration().to_json()), **change}))
    with pytest.raises(ModelError, match=message) as refused:
        ScoreCalibration.read(path)
    assert "dawnchorus calibrate RUN, or predict with --raw-scores" in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [{"slope": 0.0}, {"slope": float("nan")}, {"offset": float("inf")}, {"knots": [[0, 0], [1, 0]]}],
)
def test_a_class_that_does_not_rise_is_refused(tmp_path: Path, change: Any) -> None:
    values = json.loads(calibration().to_json())
    values["classes"][0] |= change
    path = tmp_path / "score_calibration.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"slope is|offset is|knots do not rise"):
        ScoreCalibration.read(path)


def test_labels_of_another_model_and_double_ones_are_refused() -> None:
    with pytest.raises(ModelError, match="is of 2 classes, wren first, and the model beside it has 1, owl"):
        calibration().check_labels(["owl"], where=Path("run/score_calibration.json"))
    with pytest.raises(ConfigError, match="a label stands twice"):
        calibration(classes=calibration().classes[:1] * 2)


def test_it_is_of_the_weights_that_it_was_fitted_with() -> None:
    assert calibration().is_of({"0": "0a" * 32})
    assert not calibration().is_of({"0": "0b" * 32})
    assert not calibration().is_of({"0": "0a" * 32, "1": "0a" * 32})
    assert not calibration().is_of({})
