"""Known songs in a soundscape → the truth of every window, and the score against it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dawnchorus.errors import DataError
from dawnchorus.metrics import macro_roc_auc

ANNOTATIONS_NAME = "annotations.csv"
MIN_OVERLAP_S = 0.25
"""A song counts for a window from this much of it on: less is not heard."""


def read_annotations(path: Path) -> pd.DataFrame:
    """Return boxes: ``filename``, ``start_s``, ``end_s``, ``label``, one row a song.

    Raises
    ------
    DataError
        The file cannot be read as such a table.
    """
    columns = ["filename", "start_s", "end_s", "label"]
    try:
        boxes = pd.read_csv(path, dtype={"filename": str, "label": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of annotations: {error}") from None
    missing = [column for column in columns if column not in boxes]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it needs {', '.join(columns)}")
    for column in ("start_s", "end_s"):
        boxes[column] = pd.to_numeric(boxes[column], errors="coerce")
    wrong = boxes.index[~(boxes["end_s"] > boxes["start_s"])]
    if len(wrong):
        raise DataError(
            f"{path}: start_s and end_s in line {wrong[0] + 2} are no stretch of time; "
            "they are seconds with a decimal point, and the end comes after the start"
        )
    return boxes


def window_truth(windows: pd.DataFrame, boxes: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """Return 1 where a box of the label overlaps the window by at least 0.25 s or its whole length.

    Shape (n_windows, n_labels), float32.
    """
    truth = np.zeros((len(windows), len(labels)), dtype=np.float32)
    starts, ends = windows["start_s"].to_numpy(), windows["end_s"].to_numpy()
    filenames = windows["filename"].to_numpy()
    column_of = {label: column for column, label in enumerate(labels)}
    for box in boxes.itertuples():
        if box.label not in column_of:
            continue
        overlap = np.minimum(ends, box.end_s) - np.maximum(starts, box.start_s)
        needed = min(MIN_OVERLAP_S, float(box.end_s) - float(box.start_s))
        truth[(filenames == box.filename) & (overlap >= needed), column_of[str(box.label)]] = 1
    return truth


def soundscape_macro_roc_auc(windows: pd.DataFrame, boxes: pd.DataFrame) -> float | None:
    """Return macro ROC-AUC over windows, or None where no annotated species is one of the model's."""
    labels = [label for label in windows.columns[3:] if label in set(boxes["label"])]
    truth = window_truth(windows, boxes, labels)
    if not labels or not ((truth.max(axis=0) > 0) & (truth.min(axis=0) < 1)).any():
        return None
    return macro_roc_auc(truth, windows[labels].to_numpy())
