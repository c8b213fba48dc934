"""The recordings table: one row a labelled recording.

================ ======================================================================
column           meaning
================ ======================================================================
filename         path relative to the audio folder, with forward slashes; unique
primary_label    the species the recording was made for
secondary_labels tuple of other species heard in it
author           recordist, empty where unknown
rating           quality from 0 to 5, NaN where unknown
fold             official fold, only where the source has one
================ ======================================================================
"""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

import pandas as pd

from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.source import find_stored, open_source
from dawnchorus.config import DataSettings
from dawnchorus.data.labels import LabelMap
from dawnchorus.errors import AudioError, DataError, StoreError
from dawnchorus.files import FAILURES_NAME, Failure, read_failures
from dawnchorus.progress import track

TABLE_NAME = "recordings.csv"
RESERVED_LABELS = frozenset({"filename", "start_s", "end_s", "label", "probability", "primary_label", "fold"})
_EXAMPLES_SHOWN = 5


def load_recordings(data: DataSettings) -> pd.DataFrame:
    """Return the checked recordings table of an audio folder.

    Raises
    ------
    DataError
        The folder or the table is missing or empty, a column is missing, or rows are wrong; all
        wrong rows of a kind are counted and the first few named.
    """
    if not data.audio_dir.is_dir():
        raise DataError(f"the audio folder {data.audio_dir} does not exist; give a folder of recordings")
    table = data.recordings or data.audio_dir / TABLE_NAME
    if data.recordings is not None or table.is_file():
        recordings = read_recordings_table(table)
        _check_files_exist(recordings, data, table)
        return recordings
    return recordings_from_folders(data.audio_dir)


def leave_out_unreadable(
    recordings: pd.DataFrame, data: DataSettings, *, sample_rate: int
) -> tuple[pd.DataFrame, list[Failure]]:
    """Return the recordings that can be read, and the others with the reason.

    A recording is left out where ``dawnchorus precompute`` could not convert it, or where neither
    its HDF5 file nor its own header can be read.

    Raises
    ------
    DataError
        None can be read.
    """
    known = {} if data.features_dir is None else dict(read_failures(data.features_dir))
    known_since = (data.features_dir / FAILURES_NAME).stat().st_mtime if known and data.features_dir else 0.0
    failures = []
    for name in track(recordings["filename"], "Checking recordings", total=len(recordings)):
        stored = find_stored(data.features_dir, Path(name)) if data.features_dir is not None else None
        if stored is None and Path(name) in known and not _is_newer(data.audio_dir / name, known_since):
            failures.append(Failure(Path(name), known[Path(name)]))
            continue
        try:
            open_source(data.audio_dir / name, stored=stored, sample_rate=sample_rate)
        except (AudioError, StoreError) as error:
            failures.append(Failure(Path(name), str(error)))
    if len(failures) == len(recordings):
        raise DataError(f"none of the {len(recordings)} recordings can be read: {failures[0].reason}")
    bad = {failure.path.as_posix() for failure in failures}
    return recordings[~recordings["filename"].isin(bad)].reset_index(drop=True), failures


def _is_newer(path: Path, time_s: float) -> bool:
    return path.exists() and path.stat().st_mtime > time_s


def recordings_from_folders(audio_dir: Path) -> pd.DataFrame:
    """Return the table of a folder per species; recordists are unknown.

    Raises
    ------
    DataError
        There is no audio, or audio lies outside a species folder.
    """
    relative = [path.relative_to(audio_dir) for path in list_audio_files(audio_dir)]
    loose = [path.name for path in relative if len(path.parts) < 2]
    if loose:
        raise DataError(
            f"{audio_dir}: {_some(loose)} in no species folder; put each recording into a folder named after "
            f"its species, or add a {TABLE_NAME} with the columns filename and primary_label"
        )
    return pd.DataFrame(
        {
            "filename": [path.as_posix() for path in relative],
            "primary_label": [path.parts[0] for path in relative],
            "secondary_labels": [()] * len(relative),
            "author": "",
            "rating": float("nan"),
        }
    )


def read_recordings_table(path: Path) -> pd.DataFrame:
    """Return a CSV file with at least ``filename`` and ``primary_label`` as a recordings table.

    Raises
    ------
    DataError
        The file is missing, is no table, or lacks a column; cells are empty; a file stands twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"the recordings table {path} does not exist; give a CSV file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a CSV table: {error}") from None
    table.columns = table.columns.str.strip()
    table = table.apply(lambda column: column.str.strip())
    for column in ("filename", "primary_label"):
        if column not in table:
            raise DataError(
                f"{path} has no column {column}; its columns are {', '.join(map(str, table.columns))}"
            )
        empty = [str(row + 2) for row in table.index[table[column] == ""]]
        if empty:
            raise DataError(f"{path}: {column} is empty in line {_some(empty)}; fill it or drop the line")
    twice = table["filename"][table["filename"].duplicated()].tolist()
    if twice:
        raise DataError(f"{path}: {_some(twice)} listed more than once; keep one line a recording")
    if table.empty:
        raise DataError(f"{path} lists no recordings; add a line for each")
    return _with_all_columns(table, path)


def _with_all_columns(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    defaults = {"secondary_labels": "", "author": "", "rating": ""}
    table = table.assign(**{name: value for name, value in defaults.items() if name not in table})
    known = set(table["primary_label"])
    table["secondary_labels"] = [
        tuple(label for label in parse_label_list(cell, known=known) if label != primary)
        for cell, primary in zip(table["secondary_labels"], table["primary_label"], strict=True)
    ]
    table["rating"] = _numbers(table["rating"], "rating", path)
    if not table["rating"].dropna().between(0, 5).all():
        raise DataError(f"{path}: rating goes beyond 0 to 5; leave a rating that is unknown empty")
    return table


def _numbers(column: pd.Series, name: str, path: Path) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = [f"{column[row]!r} in line {row + 2}" for row in column.index[numbers.isna() & (column != "")]]
    if wrong:
        raise DataError(f"{path}: {name} is {_some(wrong)}; it must be a number such as 3.5, or empty")
    return numbers.astype(float)


def parse_label_list(cell: object, *, known: Container[str] = ()) -> tuple[str, ...]:
    """Return the labels in a cell such as ``a;b``, ``a b`` or ``['a', 'b']``; nothing is evaluated.

    A cell with brackets, quotes or separators ``; ,`` is split at those, so that names may hold
    spaces. A bare cell is split at white space only where that gives labels that are ``known``:
    ``Turdus merula`` is one species.
    """
    if not isinstance(cell, str):
        return ()
    if re.search(r"[\[\];,'\"]", cell):
        labels = [part.strip(" \t'\"[]") for part in re.split(r"[;,]", cell)]
    else:
        parts = cell.split()
        labels = parts if all(part in known for part in parts) else [cell.strip()]
    return tuple(dict.fromkeys(label for label in labels if label))


def label_map_of(recordings: pd.DataFrame) -> LabelMap:
    """Return the classes to train: every primary label. ``nocall`` is no class but all zeros.

    Raises
    ------
    DataError
        A label is the name of a column in the tables that are written later.
    """
    labels = LabelMap.of(label for label in recordings["primary_label"] if label != "nocall")
    taken = RESERVED_LABELS.intersection(labels.labels)
    if taken:
        raise DataError(f"a species cannot be named {_some(sorted(taken))}: tables have such a column")
    return labels


def _check_files_exist(recordings: pd.DataFrame, data: DataSettings, table: Path) -> None:
    missing = [
        name
        for name in recordings["filename"]
        if not (data.audio_dir / name).is_file()
        and (data.features_dir is None or find_stored(data.features_dir, name) is None)
    ]
    if missing:
        raise DataError(
            f"{table} lists {_some(missing)} not found in {data.audio_dir}; "
            "restore the files or drop the lines"
        )


def _some(names: list[str]) -> str:
    """Return a count and the first few names, as the subject or object of a message."""
    shown = ", ".join(names[:_EXAMPLES_SHOWN])
    rest = len(names) - _EXAMPLES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
