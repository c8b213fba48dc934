"""The pool of clips that can be reviewed: detections, or all windows above a score, each of one species."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from dawnchorus.batch.segments import shorten_detections
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.files import legible
from dawnchorus.formats.detection_tables import DETECTION_COLUMNS, read_detections
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.predict.window_tables import WINDOWS_NAME

KEY_COLUMNS = ["filename", "start_s", "end_s", "label", "channel"]
POOL_COLUMNS = [*KEY_COLUMNS, "probability"]
LONGEST_S = 15.0
"""Of a longer detection, the stretch around its surest window is reviewed."""

_WINDOW_KEYS = ("filename", "start_s", "end_s", "channel")
_NAMES = {"recording": "filename", "start": "start_s", "end": "end_s", "species": "label"}
"""Other names of columns in a table of clips."""


def read_pool(
    predictions: Path,
    audio_dir: Path | None = None,
    *,
    min_probability: float | None = None,
    longest_s: float = LONGEST_S,
) -> pd.DataFrame:
    """Return the clips of a folder of predictions, or of a table of detections.

    Parameters
    ----------
    predictions
        Folder that ``dawnchorus predict`` wrote, or a table that :func:`read_detections` reads.
    audio_dir
        Folder of the recordings.
    min_probability
        Take every window and class with at least this score, in [0, 1], instead of the detections; the
        folder must hold ``windows.parquet``.
    longest_s
        Seconds of a clip at most, without context.

    Returns
    -------
    pandas.DataFrame
        ``filename``, ``start_s``, ``end_s``, ``label``, ``channel`` (0 for none in particular),
        ``probability``; times in whole milliseconds, each clip once.

    Raises
    ------
    DataError
        There are no detections or windows there.
    ConfigError
        ``min_probability`` is no probability.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability\\nnight.wav,0.0,5.0,wren,0.9\\n"
    ... )
    >>> read_pool(Path("detections.csv")).values.tolist()
    [['night.wav', 0.0, 5.0, 'wren', 0, 0.9]]
    """
    windows = (predictions if predictions.is_dir() else predictions.parent) / WINDOWS_NAME
    if min_probability is None:
        found = read_detections(predictions, audio_dir, missing=np.nan)
        found = shorten_detections(found, longest_s, windows if windows.is_file() else None)
    else:
        if not 0 <= min_probability <= 1:
            raise ConfigError(f"min_probability is {min_probability:g}; legal: 0 to 1")
        found = _windows_above(windows, min_probability)
    if found.empty:
        remedy = "review all windows from a score on, with --min-probability 0.1, or predict with a lower"
        raise DataError(f"{predictions} holds no detections to review; {remedy} --threshold")
    return _checked(found, str(predictions))


def read_clip_table(path: Path) -> pd.DataFrame:
    """Return the clips of a CSV or Parquet table in its order, such as the result of a search.

    Columns: ``filename`` (or ``recording``), ``start_s``, ``end_s``, ``label`` (or ``species``), and
    ``channel`` where there is one. ``probability`` is unknown (NaN), so that no precision is counted on them.

    Raises
    ------
    DataError
        It cannot be read, lacks a column, or has a time that is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("found.csv").write_text("recording,start_s,end_s,species\\nnight.wav,7.0,9.0,owl\\n")
    >>> read_clip_table(Path("found.csv"))[["filename", "start_s", "label"]].values.tolist()
    [['night.wav', 7.0, 'owl']]
    """
    if path.suffix.lower() == ".parquet":
        try:
            table = pq.read_table(path).to_pandas()
        except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
            raise DataError(f"{path} cannot be read as Parquet; {error}") from None
    else:
        table = read_text_table(path, required=(), names=("filename", "recording"))
    table = table.rename(columns={old: new for old, new in _NAMES.items() if new not in table})
    missing = [column for column in DETECTION_COLUMNS[:-1] if column not in table]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; a queue is a table of filename, start_s, end_s and "
            "label, in the order of review"
        )
    return _checked(table.assign(probability=np.nan), str(path))


def labels_of_windows(path: Path) -> tuple[str, ...]:
    """Return the classes of a table of windows.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> table = pd.DataFrame({"filename": ["a.wav"], "start_s": [0.0], "end_s": [5.0], "owl": [0.5]})
    >>> table.to_parquet("windows.parquet")
    >>> labels_of_windows(Path("windows.parquet"))
    ('owl',)
    """
    return tuple(name for name in pq.read_schema(path).names if name not in _WINDOW_KEYS)


def _windows_above(path: Path, min_probability: float) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is not there, and --min-probability needs it; predict with --windows")
    labels = np.array(labels_of_windows(path), dtype=object)
    parts = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            table = batch.to_pandas()
            scores = table[list(labels)].to_numpy(np.float32)
            rows, classes = np.nonzero(scores >= min_probability)
            keys = table[[name for name in _WINDOW_KEYS if name in table]].iloc[rows]
            parts.append(keys.assign(label=labels[classes], probability=scores[rows, classes]))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=POOL_COLUMNS)


def _checked(found: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the clips with their columns in one form, each once, after checking the times."""
    pool = found.copy()
    if "channel" not in pool:
        pool["channel"] = 0
    for column in ("start_s", "end_s", "probability", "channel"):
        numbers = pd.to_numeric(pool[column].replace("", 0), errors="coerce").astype(float)
        if column != "probability" and not np.isfinite(numbers).all():
            wrong = pool[column][~np.isfinite(numbers)].iloc[0]
            raise DataError(f"{where}: {column} is {wrong!r} in a row; write a number")
        pool[column] = numbers.round(3) if column.endswith("_s") else numbers
    in_order = (pool["start_s"] >= 0) & (pool["end_s"] > pool["start_s"])
    if not in_order.all():
        row = pool[~in_order].iloc[0]
        raise DataError(
            f"{where}: {legible(str(row['filename']))} has a row from {row['start_s']:g} s to "
            f"{row['end_s']:g} s; it must begin at 0 s or later, and end after that"
        )
    pool["channel"] = pool["channel"].astype(int)
    for column in ("filename", "label"):
        pool[column] = [legible(str(text)) for text in pool[column]]
    return pool[POOL_COLUMNS].drop_duplicates(KEY_COLUMNS).reset_index(drop=True)
