"""Detection thresholds of classes: one number, a table, or those that calibration found."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from dawnchorus.config import Record, read_json_if_sound
from dawnchorus.engines.graphs import named_model
from dawnchorus.engines.opening import is_run
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.text_tables import read_text_table, some
from dawnchorus.models.score_calibration import RAW_THRESHOLD, ScoreCalibration, Thresholds
from dawnchorus.predict.detections import is_threshold
from dawnchorus.runs import Run

logger = logging.getLogger(__name__)

CALIBRATED = "calibrated"
THRESHOLDS_NAME, CALIBRATION_NAME = "thresholds.csv", "calibration.json"
"""The files that ``dawnchorus calibrate`` puts beside a model: the table, and a summary in JSON."""

ALL_OTHERS = "*"
"""The label of a threshold file that stands for every class without a line of its own."""


class _Summary(Record):
    """The content of ``calibration.json`` that is read again."""

    model_config = ConfigDict(extra="ignore")

    calibration: str | None = None


def thresholds_from(
    text: str, labels: Sequence[str], model: Path, calibration: ScoreCalibration | None = None
) -> npt.NDArray[np.float32]:
    """Return the threshold of each class, shape (n_classes,), float32 in [0, 1] or infinity.

    Parameters
    ----------
    text
        A number for all classes, the path of a table, or ``calibrated`` for the table that
        ``dawnchorus calibrate`` has put beside the model.
    labels
        The model's classes.
    model
        A run directory, a bundle or a model file.
    calibration
        Of the scores that they are for; None for raw scores.

    Raises
    ------
    ConfigError
        The number is out of its range, or the text is none of these.
    DataError
        The table cannot be read, or there is none; or it is of calibrated scores, and those here are raw.

    Examples
    --------
    >>> from pathlib import Path
    >>> thresholds_from("0.5", ["owl", "wren"], Path("model"))
    array([0.5, 0.5], dtype=float32)
    """
    if text == CALIBRATED:
        if named_model(model) is not None and not model.exists():
            raise ConfigError(
                f"{model} has no calibrated thresholds, for they come from the folds of a run; give "
                "--threshold a number, or a CSV file with label and threshold"
            )
        folder = model if model.is_dir() else model.parent
        if not (folder / THRESHOLDS_NAME).is_file():
            raise DataError(
                f"{folder} has no {THRESHOLDS_NAME}; make it with: dawnchorus calibrate RUN, or give "
                "--threshold a number"
            )
        _warn_of_earlier_weights(folder)
        return _on_scale(read_thresholds(folder / THRESHOLDS_NAME, labels), folder, calibration)
    try:
        value = float(text)
    except ValueError:
        if not Path(text).is_file():
            raise ConfigError(
                f"the threshold is {text!r}, which is no file; legal: a number from 0 to 1, a CSV file with "
                f"label and threshold, or {CALIBRATED}"
            ) from None
        return read_thresholds(Path(text), labels)
    if not 0 <= value <= 1:
        raise ConfigError(f"the threshold is {text}; legal: a number from 0 to 1")
    return np.full(len(labels), value, dtype=np.float32)


def _on_scale(
    thresholds: npt.NDArray[np.float32], folder: Path, calibration: ScoreCalibration | None
) -> npt.NDArray[np.float32]:
    """Return thresholds for calibrated scores; those of older tables are of raw ones."""
    summary = read_json_if_sound(folder / CALIBRATION_NAME, _Summary) or _Summary()
    if calibration is None and summary.calibration is not None:
        raise DataError(
            f"{folder / THRESHOLDS_NAME} is of calibrated scores, and these are raw; leave --raw-scores out, "
            "or give --threshold a number"
        )
    if calibration is None or summary.calibration is not None:
        return thresholds
    never = np.isinf(thresholds)
    return np.where(never, thresholds, calibration.apply(np.where(never, 0, thresholds)))


def _warn_of_earlier_weights(folder: Path) -> None:
    """Log where a run was trained on after its thresholds were made; an export has thresholds of its own."""
    file = folder / THRESHOLDS_NAME
    if is_run(folder):
        run = Run(folder)
        if file.stat().st_mtime_ns <= run.newest_weights_ns(run.finished_folds()):
            logger.warning("%s is of earlier weights; run dawnchorus calibrate again.", file)


def default_thresholds(given: Thresholds | None, n_classes: int) -> npt.NDArray[np.float32]:
    """Return the default thresholds of calibrated scores, or 0.5 of raw ones; shape (n_classes,), float32.

    Examples
    --------
    >>> default_thresholds(None, 2)
    array([0.5, 0.5], dtype=float32)
    """
    return np.full(n_classes, RAW_THRESHOLD, np.float32) if given is None else given.values


def read_thresholds(path: Path, labels: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the threshold of each class, shape (n_classes,), float32 in [0, 1] or infinity.

    Parameters
    ----------
    path
        CSV file with the columns ``label`` and ``threshold``. An empty threshold or ``inf`` means that the
        class is never detected. A line with the label ``*`` is for the classes that have none. Labels of
        other models are left out, with a warning.
    labels
        The model's classes.

    Raises
    ------
    DataError
        The file cannot be read, a threshold is out of range, a label stands twice, or classes have none.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("thresholds.csv").write_text("label,threshold\\nowl,0.4\\n*,0.6\\n")
    >>> read_thresholds(Path("thresholds.csv"), ["owl", "wren"])
    array([0.4, 0.6], dtype=float32)
    """
    table = read_text_table(path, required=("label", "threshold"))
    ours = table["label"].isin([*labels, ALL_OTHERS])
    if not ours.all():
        names = [label or "(empty)" for label in table["label"][~ours].unique()]
        logger.warning("%s: no label of this model, and left out: %s", path, some(names))
    by_label: dict[str, float] = {}
    for label, text in table.loc[ours, ["label", "threshold"]].itertuples(index=False):
        if label in by_label:
            raise DataError(f"{path}: the label {label} stands twice; keep one line for each")
        by_label[label] = _threshold(text, f"{path}: the threshold of {label}")
    missing = [label for label in labels if label not in by_label]
    if missing and ALL_OTHERS not in by_label:
        raise DataError(
            f"{path} has no threshold for {len(missing)} of the model's {len(labels)} labels, {some(missing)}"
            f"; add a line for each, or one with the label {ALL_OTHERS} for all the others"
        )
    default = by_label.get(ALL_OTHERS, math.inf)
    return np.array([by_label.get(label, default) for label in labels], dtype=np.float32)


def _threshold(text: str, what: str) -> float:
    try:
        value = float(text) if text else math.inf
    except ValueError:
        value = math.nan
    if not is_threshold(value):
        raise DataError(
            f"{what} is {text!r}; write a number from 0 to 1 with a decimal point, or inf or nothing for a "
            "class that is never detected"
        )
    return value
