"""Predictions as tables: windows, detections, and the files that people open.

Window table: one row a window with ``filename``, ``start_s``, ``end_s`` and a column a class.
Detection table: one row a detection with ``filename``, ``start_s``, ``end_s``, ``label``, ``probability``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dawnchorus.files import replacing
from dawnchorus.inference.birds_inference import WindowPredictions

WINDOW_KEYS = ["filename", "start_s", "end_s"]
DETECTION_COLUMNS = [*WINDOW_KEYS, "label", "probability"]


def window_table(filename: str, predictions: WindowPredictions, labels: Sequence[str]) -> pd.DataFrame:
    """Return one recording's windows; times are whole samples divided by the sample rate."""
    keys = pd.DataFrame(
        {
            "filename": filename,
            "start_s": predictions.starts / predictions.sample_rate,
            "end_s": predictions.stops / predictions.sample_rate,
        }
    )
    return pd.concat([keys, pd.DataFrame(predictions.probabilities, columns=list(labels))], axis=1)


def detections_of(windows: pd.DataFrame, *, threshold: float) -> pd.DataFrame:
    """Return every window and class whose probability is at least ``threshold``.

    Sorted by file, time and falling probability.
    """
    long = windows.melt(id_vars=WINDOW_KEYS, var_name="label", value_name="probability")
    kept = long[long["probability"] >= threshold]
    order = ["filename", "start_s", "probability", "label"]
    return kept.sort_values(order, ascending=[True, True, False, True])[DETECTION_COLUMNS].reset_index(
        drop=True
    )


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV file; probabilities with four decimals, times with millisecond decimals or more."""
    rounded = table.assign(probability=table["probability"].round(4)) if "probability" in table else table
    with replacing(path) as temporary:
        rounded.to_csv(temporary, index=False)


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet file, with every digit."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def write_raven(folder: Path, detections: pd.DataFrame, filenames: Sequence[str], *, high_hz: float) -> None:
    """Write one Raven selection table a recording, tab-separated, as Raven Pro and Lite open them.

    Parameters
    ----------
    folder
        Where the tables go; sub-folders are kept.
    detections
        Detection table.
    filenames
        All recordings, so that a silent one gets an empty table instead of none.
    high_hz
        Upper edge of the boxes; a window has no frequency limits of its own.
    """
    by_file = dict(list(detections.groupby("filename")))
    for filename in filenames:
        rows = by_file.get(filename, detections.iloc[:0])
        table = pd.DataFrame(
            {
                "Selection": np.arange(1, len(rows) + 1),
                "View": "Spectrogram 1",
                "Channel": 1,
                "Begin Time (s)": rows["start_s"].to_numpy(),
                "End Time (s)": rows["end_s"].to_numpy(),
                "Low Freq (Hz)": 0.0,
                "High Freq (Hz)": high_hz,
                "Species": rows["label"].to_numpy(),
                "Confidence": rows["probability"].round(4).to_numpy(),
                "Begin File": Path(filename).name,
            }
        )
        with replacing(folder / f"{filename}.selections.txt") as temporary:
            table.to_csv(temporary, sep="\t", index=False)
