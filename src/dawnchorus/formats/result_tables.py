"""Tables of detections that other programs write, as rows of recording, times, names and probability."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.formats.taxonomy import name_key
from dawnchorus.formats.text_tables import clean_label, read_text_table

RESULT_COLUMNS = ("file", "start_s", "end_s", "label", "probability")
PARAMETERS_NAME = "BirdNET_analysis_params.csv"
"""BirdNET-Analyzer's settings, which it writes beside its tables."""

REVIEWED = "MANUAL ID"
"""Kaleidoscope's column for the species that a person has named, which goes before the program's."""


class _Layout(NamedTuple):
    """A program's columns: needed to recognize the table, for the recording and times, names, probability."""

    file: Callable[[pd.DataFrame], pd.Series]
    start: str
    end: str | None
    names: tuple[str, ...]
    probability: str
    needed: frozenset[str]


def _joined(table: pd.DataFrame) -> pd.Series:
    return table["INDIR"].str.rstrip("/\\") + "/" + table["FOLDER"] + "/" + table["IN FILE"]


_LAYOUTS = (
    _Layout(
        lambda table: table["File"],
        *("Start (s)", "End (s)", ("Scientific name", "Common name"), "Confidence"),
        frozenset({"Start (s)", "End (s)", "File"}),
    ),
    _Layout(
        lambda table: table["filepath"],
        *("start", "end", ("scientific_name", "common_name"), "confidence"),
        frozenset({"filepath", "start", "end"}),
    ),
    _Layout(
        _joined,
        *("OFFSET", None),
        ("scientific_name", "common_name", "TOP1MATCH", "TOP1MATCH*", "AUTO ID*"),
        "confidence",
        frozenset({"INDIR", "FOLDER", "IN FILE", "OFFSET", "DURATION"}),
    ),
)
"""BirdNET-Analyzer's CSV table, its table for R, and Kaleidoscope's."""
_OF_FILES = ("File", "filepath", "INDIR", "FOLDER", "IN FILE", "filename", "site")
"""Columns of file names and folders, those of our own table too."""


def read_result_table(
    path: Path, *, labels: Collection[str] = (), label_column: str | None = None
) -> pd.DataFrame | None:
    """Return the rows of a CSV table of BirdNET-Analyzer or Kaleidoscope; None where it is another's.

    Columns: ``file`` as the table names it, ``start_s`` and ``end_s`` as text, ``label``, and ``probability``
    as text, empty where there is none. The index is that of :func:`read_text_table`.

    Parameters
    ----------
    path
        The table.
    labels
        Classes, whose spelling a name is given: scientific, common, or both with an underscore between.
        Other names are scientific ones where the table has them.
    label_column
        Column that holds the label.

    Raises
    ------
    DataError
        It is no table.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("night.csv").write_text(
    ...     "Start (s),End (s),Scientific name,Common name,Confidence,File\\n"
    ...     "0.0,3.0,Strix aluco,Tawny Owl,0.8,/card/night.wav\\n"
    ... )
    >>> read_result_table(Path("night.csv"), labels=["Strix_aluco"]).values.tolist()
    [['/card/night.wav', '0.0', '3.0', 'Strix_aluco', '0.8']]
    """
    table = read_text_table(path, required=(), names=_OF_FILES)
    layout = next((each for each in _LAYOUTS if each.needed <= set(table)), None)
    if layout is None:
        return None
    end = table[layout.end] if layout.end is not None else _sum(table[layout.start], table["DURATION"])
    wanted = layout.names if label_column is None or label_column not in table else (label_column,)
    names = [name for name in wanted if name in table]
    rows = {
        "file": layout.file(table),
        "start_s": table[layout.start],
        "end_s": end,
        "label": labels_of(table, names, labels),
        "probability": table.get(layout.probability, ""),
    }
    found = pd.DataFrame(rows, index=table.index, dtype=str)
    if REVIEWED in table and label_column is None:
        reviewed = labels_of(table, [REVIEWED], labels)
        found["label"] = reviewed.where(reviewed != "", found["label"])
    return found


def labels_of(table: pd.DataFrame, columns: list[str], labels: Collection[str]) -> pd.Series:
    """Return the label of each row: a class that one of its names spells, else the first name there is.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"Species Code": ["eurrob1"], "Common Name": ["European Robin"]})
    >>> labels_of(table, ["Species Code", "Common Name"], ["European_Robin"]).tolist()
    ['European_Robin']
    """
    known = {name_key(label): label for label in labels}

    def label_of(names: list[str]) -> str:
        names = [clean_label(name) for name in names]
        keys = map(name_key, [*names, "_".join(names[:2])])
        return next((known[key] for key in keys if key in known), next(filter(None, names), ""))

    return pd.Series([label_of(names) for names in table[columns].values.tolist()], table.index, dtype=str)


def _sum(start: pd.Series, duration: pd.Series) -> pd.Series:
    end = pd.to_numeric(start, errors="coerce") + pd.to_numeric(duration, errors="coerce")
    return end.round(6).astype(str)
