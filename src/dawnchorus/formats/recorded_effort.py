"""What was recorded when and where: a row a recording, those without a detection too."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.audio.headers import read_headers
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.audio.recorder_times import recorder_of, recorder_time
from dawnchorus.errors import DataError
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.wording import first_few

logger = logging.getLogger(__name__)

EFFORT_NAME = "effort.csv"
EFFORT_COLUMNS = ("filename", "start", "duration_s", "latitude", "longitude", "device")


def effort_of_audio(folder: Path, times: RecorderTimes | None = None) -> pd.DataFrame:
    """Return the recordings below a folder, by their headers, metadata and names.

    Columns: ``filename`` below the folder, ``path``, ``start`` (datetime or None), ``duration_s``,
    ``latitude``, ``longitude``, ``device``. Files that cannot be read are left out with a warning.

    Raises
    ------
    DataError
        There are no recordings.

    Examples
    --------
    >>> from pathlib import Path
    >>> effort_of_audio(Path("recordings"))[["filename", "duration_s"]].head(1).values.tolist()
    [['owl/XC1.wav', 1.0]]
    """
    times = times or RecorderTimes()
    paths = list_audio_files(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows, failed = [], []
    for path, name, header in zip(paths, names, read_headers(folder, names), strict=True):
        if isinstance(header, Exception):
            failed.append(name)
            continue
        known = recorder_time(path)
        device, latitude, longitude = recorder_of(path)
        start = times.start_of(path, None if known is None else known.start)
        rows.append((name, str(path), start, header.duration_s, latitude, longitude, device))
    if failed:
        logger.warning(
            f"{len(failed)} of the recordings cannot be read, and count for nothing: {first_few(failed)}"
        )
    columns = ["filename", "path", "start", "duration_s", "latitude", "longitude", "device"]
    return pd.DataFrame(rows, columns=columns).astype({"start": object})


def read_effort(table: Path) -> pd.DataFrame:
    """Return the recordings in ``effort.csv``, as ``dawnchorus predict --format effort`` writes it.

    Raises
    ------
    DataError
        The table lacks a column, or a length is no number.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("effort.csv").write_text("filename,start,duration_s\\nnight.wav,2024-05-04T22:00:00,60\\n")
    >>> read_effort(Path("effort.csv"))[["filename", "start", "duration_s"]].values.tolist()
    [['night.wav', '2024-05-04T22:00:00', 60.0]]
    """
    given = read_text_table(table, required=EFFORT_COLUMNS[:3], names=("filename", "site"))
    found = given.reindex(columns=list(EFFORT_COLUMNS), fill_value="").reset_index(drop=True)
    found["duration_s"] = pd.to_numeric(found["duration_s"], errors="coerce").astype(float)
    if found["duration_s"].isna().any():
        raise DataError(f"{table}: duration_s is no number in a row; write seconds")
    return found


def effort_of_windows(table: Path) -> pd.DataFrame:
    """Return the recordings in ``windows.parquet``: ``filename`` and ``duration_s``, the end of the last.

    Empty where the table is not there, or cannot be read; it holds every window of every recording.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> windows = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 5.0], "end_s": [5.0, 8.0]})
    >>> windows.to_parquet("windows.parquet")
    >>> effort_of_windows(Path("windows.parquet")).values.tolist()
    [['night.wav', 8.0]]
    """
    ends: dict[str, float] = {}
    try:
        with pq.ParquetFile(table) as file:
            for batch in file.iter_batches(columns=["filename", "end_s"]):
                last = pa.table(batch).group_by("filename").aggregate([("end_s", "max")])
                for name, end_s in zip(*(column.to_pylist() for column in last.columns), strict=True):
                    ends[name] = max(end_s, ends.get(name, 0.0))
    except (OSError, ValueError, KeyError, TypeError):  # pyarrow's own errors are kinds of these
        ends = {}
    return pd.DataFrame({"filename": list(ends), "duration_s": list(ends.values())})
