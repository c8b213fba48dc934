"""Targets of the windows of an annotated soundscape, and the score of predictions against them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dawnchorus.metrics import macro_roc_auc
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.time_labels import Boxes, time_targets


def window_truth(windows: pd.DataFrame, boxes: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    """Return 1 where a box of the label overlaps the window enough, shape (n_windows, n_labels), float32.

    :mod:`dawnchorus.recordings.time_labels` defines the overlap that is enough.

    Examples
    --------
    >>> import pandas as pd
    >>> windows = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 5.0], "end_s": [5.0, 10.0]})
    >>> boxes = pd.DataFrame({"filename": ["night.wav"], "start_s": [7.0], "end_s": [9.0], "label": ["owl"]})
    >>> window_truth(windows, boxes, ["owl", "wren"])
    array([[0., 0.],
           [1., 0.]], dtype=float32)
    """
    truth = np.zeros((len(windows), len(labels)), dtype=np.float32)
    filenames, classes = windows["filename"].to_numpy(), LabelMap(tuple(labels))
    for filename, rows in boxes.groupby("filename"):
        there = filenames == filename
        within = windows[there]
        of_file = Boxes.of(list(rows[["start_s", "end_s", "label"]].itertuples(index=False)), classes)
        truth[there] = time_targets(within["start_s"], within["end_s"], of_file, len(labels))
    return truth


def soundscape_macro_roc_auc(windows: pd.DataFrame, boxes: pd.DataFrame) -> float | None:
    """Return macro ROC-AUC over windows, or None where no annotated species of the model can be scored.

    Examples
    --------
    >>> import pandas as pd
    >>> windows = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 5.0], "end_s": [5.0, 10.0]})
    >>> windows["owl"] = [0.1, 0.8]
    >>> boxes = pd.DataFrame({"filename": ["night.wav"], "start_s": [7.0], "end_s": [9.0], "label": ["owl"]})
    >>> soundscape_macro_roc_auc(windows, boxes)
    1.0
    """
    labels = [label for label in windows.columns[3:] if label in set(boxes["label"])]
    truth = window_truth(windows, boxes, labels)
    if not labels or not ((truth.max(axis=0) > 0) & (truth.min(axis=0) < 1)).any():
        return None
    return macro_roc_auc(truth, windows[labels].to_numpy())
