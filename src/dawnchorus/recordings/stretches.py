"""Stretches of recordings that clips are drawn from, listed in a table by hand or by ``skip-speech``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.errors import DataError
from dawnchorus.formats.text_tables import read_text_table

COLUMNS = ("filename", "start_s", "end_s")


def read_stretches(path: Path, filenames: Sequence[str]) -> dict[int, npt.NDArray[np.float64]]:
    """Return the stretches of the recordings that a table lists, by their places in ``filenames``.

    Parameters
    ----------
    path
        CSV table with ``filename``, ``start_s`` and ``end_s``; several rows of a recording are united. A row
        whose ``start_s`` is its ``end_s`` holds nothing: no clip is drawn of a recording with these alone.
    filenames
        File names of the recordings, as in their table; rows of other recordings are passed over.

    Returns
    -------
    dict of int to array
        Start and end of each stretch, seconds, shape (n_stretches, 2), rising and apart from each other.

    Raises
    ------
    DataError
        The table cannot be read, lacks a column, or a row is no stretch of time.

    Examples
    --------
    >>> from pathlib import Path
    >>> rows = "owl.wav,0,2\\nowl.wav,1,3\\nowl.wav,5,6\\nwren.wav,0,0\\n"
    >>> _ = Path("stretches.csv").write_text("filename,start_s,end_s\\n" + rows)
    >>> found = read_stretches(Path("stretches.csv"), ["crow.wav", "owl.wav", "wren.wav"])
    >>> {place: stretches.tolist() for place, stretches in found.items()}
    {1: [[0.0, 3.0], [5.0, 6.0]], 2: []}
    """
    table = read_text_table(path, required=COLUMNS)
    bounds = table[["start_s", "end_s"]].apply(pd.to_numeric, errors="coerce")
    wrong = table.index[~((bounds["start_s"] >= 0) & (bounds["end_s"] >= bounds["start_s"]))]
    if len(wrong):
        raise DataError(
            f"{path}: start_s and end_s in line {wrong[0] + 2} are no stretch of time; they are seconds from "
            "the recording's start, the end not before the start"
        )
    place_of = {name: place for place, name in enumerate(filenames)}
    places = table["filename"].map(place_of)
    listed = bounds.to_numpy(np.float64)
    return {int(place): _united(listed[places == place]) for place in places.dropna().unique()}


def _united(stretches: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return stretches in order, those that touch or overlap as one, without empty ones."""
    united: list[list[float]] = []
    for start_s, end_s in sorted(stretches.tolist()):
        if united and start_s <= united[-1][1]:
            united[-1][1] = max(united[-1][1], end_s)
        elif end_s > start_s:
            united.append([start_s, end_s])
    return np.array(united, dtype=np.float64).reshape(-1, 2)
