"""Whole tables of detections, written in any format and read back from our own formats."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.recorder_times import Recorder
from dawnchorus.errors import DataError
from dawnchorus.files import legible, walk
from dawnchorus.formats.annotations import Recordings, is_raven, names_recordings, read_raven
from dawnchorus.formats.detection_writer import ModelFacts
from dawnchorus.formats.folder_tables import AudacityWriter, RavenWriter
from dawnchorus.formats.recording import Detection, RecordingDetections
from dawnchorus.formats.result_tables import read_result_table
from dawnchorus.formats.text_tables import read_text_table, without_probability
from dawnchorus.formats.writer_lookup import Format, open_writers
from dawnchorus.wording import shown

DETECTIONS_NAME = "detections.csv"
DETECTION_COLUMNS = ["filename", "start_s", "end_s", "label", "probability"]
_ROW_COLUMNS = DETECTION_COLUMNS[1:]
NUMBER_COLUMNS = ["start_s", "end_s", "probability"]
_NOCALL = "nocall"
"""BirdNET-Analyzer's label in the table of a recording in which it has found nothing."""

_HIGH_HZ = 16_000.0  # half of 32 kHz, the sample rate of the models here


def write_detections(
    table: pd.DataFrame,
    formats: Format | Iterable[Format],
    out_dir: Path | str,
    *,
    filenames: Sequence[str] | None = None,
    recordings: pd.DataFrame | None = None,
    labels: Sequence[str] | None = None,
    high_hz: float = _HIGH_HZ,
    overlap_s: float = 0.0,
    model: ModelFacts | None = None,
) -> dict[str, Path]:
    """Write a table of detections in any formats, and return the paths written, by format.

    Parameters
    ----------
    table
        A row a detection: ``filename``, ``start_s``, ``end_s``, ``label``, ``probability`` (NaN where no
        model has said one). Optional columns:
        ``channel``, a number from 1; ``path`` of the audio file, ``start`` when the recording began, or
        ``time`` when the detection did (datetimes, or text in ISO 8601), ``duration_s`` of the recording, its
        ``latitude``, ``longitude`` and ``device``; ``verdict``, ``heard`` and ``reviewers`` of those that
        people have listened to, the latter two tuples of text.
    formats
        Such as ``"raven"``, ``"raven,csv"``, ``["raven", "my_package.formats:Tally"]``, or a class.
    out_dir
        Where they go; made if missing. Existing output of these formats is replaced.
    filenames
        All recordings that were predicted, in their order; those without a detection are then written too. If
        not given, those of the table, in order of first appearance.
    recordings
        Facts of the recordings, a row each: ``filename``, and of ``path``, ``start``, ``duration_s``,
        ``site``, ``latitude``, ``longitude`` and ``device`` those that are known. They go before what the
        table of detections says, and those without a detection are written too.
    labels
        Every class of the model; those of the table if not given.
    high_hz
        Upper edge of Raven's boxes.
    overlap_s
        By how much consecutive windows overlap, seconds.
    model
        Name, taxonomy and thresholds of the model.

    Raises
    ------
    ConfigError
        A format is not known.
    DataError
        A column is missing, a number or time is invalid, or a file name leads out of its folder.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> table = pd.DataFrame(
    ...     [("a.wav", 0.0, 5.0, "wren", 0.9)],
    ...     columns=["filename", "start_s", "end_s", "label", "probability"],
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = write_detections(table, "csv,raven", folder)
    ...     sorted(paths), len(read_detections(paths["raven"]))
    (['csv', 'raven'], 1)
    """
    missing = [column for column in DETECTION_COLUMNS if column not in table]
    if missing:
        raise DataError(
            f"the table of detections has no column {', '.join(missing)}; its columns are "
            f"{', '.join(map(str, table.columns))}"
        )
    table = _with_numbers(table, "the table of detections")
    if table["label"].isna().any():
        raise DataError("the table of detections: label is empty in a row; name the class, or drop the row")
    table["label"] = table["label"].astype(str)
    strangers = [] if labels is None else sorted(set(table["label"]) - set(labels))
    if strangers:
        raise DataError(f"the table of detections has the label {strangers[0]!r}, which is none of labels")
    rows_of = {str(name): rows for name, rows in table.groupby(table["filename"].astype(str), sort=False)}
    facts = {} if recordings is None else {str(row["filename"]): row for row in _records(recordings)}
    names = list(dict.fromkeys([*map(str, filenames or ()), *facts, *rows_of]))
    paths_of = _paths_of(names)
    known = labels if labels is not None else sorted(set(table["label"]))
    writers = open_writers(
        formats,
        Path(out_dir),
        labels=known,
        high_hz=high_hz,
        overlap_s=overlap_s,
        has_channels="channel" in table,
        has_verdicts="verdict" in table,
        model=model,
    )
    with writers:
        for name in names:
            rows = rows_of.get(name, table[:0])
            writers.add(_recording(name, *paths_of[name], rows, facts.get(name, {})))
    return writers.paths


def read_detections(path: Path | str, audio_dir: Path | None = None, *, missing: float = 1.0) -> pd.DataFrame:
    """Return detections as a table: ``filename``, ``start_s``, ``end_s``, ``label``, ``probability``.

    ``channel`` is a column too where the table has it.

    Parameters
    ----------
    path
        A CSV file with these columns, as ``dawnchorus predict`` writes it, or without ``probability``, as
        ``dawnchorus search`` does; a folder that holds one as ``detections.csv``; a Raven or Audacity table
        of our own, also one that was corrected in Raven; a table of BirdNET-Analyzer or Kaleidoscope; or a
        folder of such tables. Rows of ``nocall`` are left out.
    audio_dir
        Folder of the recordings, in which tables of other programs and the paths in them find theirs;
        without it, a table belongs to the recording after which it is named.
    missing
        Probability of a row that has none, such as a selection that a person has drawn; NaN leaves it open.

    Raises
    ------
    DataError
        There is no such table, it lacks a column, or a time or a probability is not a number.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "night.wav.txt"
    ...     _ = path.write_text("0.000000\\t5.000000\\twren 0.9000\\n")
    ...     print(read_detections(path).to_string(index=False))
     filename  start_s  end_s label  probability
    night.wav      0.0    5.0  wren          0.9
    """
    path, names = Path(path), cache(lambda: _recordings_in(audio_dir))
    own = path / DETECTIONS_NAME
    if path.is_dir() and not own.exists():
        below = (
            _read_table(table, legible(table.relative_to(path).as_posix()), names)
            for table in _tables_in(path)
        )
        read = [rows for rows in below if rows is not None]
        if not read:
            raise DataError(
                f"{path} holds no detections: neither {DETECTIONS_NAME} nor tables of detections in another "
                "format; give a folder that dawnchorus predict wrote, or a table of detections"
            )
    else:
        table = own if path.is_dir() else path
        read = [_read_table(table, legible(table.name), names)]
    if not read or read[0] is None:
        table = own if path.is_dir() else path
        given = read_text_table(table, required=tuple(DETECTION_COLUMNS[:-1]), names=("filename", "site"))
        given = given.assign(probability=given.get("probability", ""))
        has_channels = "channel" in given and (given["channel"] != "").any()
        columns = [*DETECTION_COLUMNS, *(["channel"] if has_channels else [])]
        read = [_with_numbers(given[columns], str(table))]
    found = pd.concat(read, ignore_index=True)
    found["probability"] = found["probability"].fillna(missing)
    return found[found["label"] != _NOCALL].reset_index(drop=True)


def _recordings_in(audio_dir: Path | None) -> Recordings:
    """Return the names of the recordings below a folder, none where it holds none."""
    try:
        files = [] if audio_dir is None else list_audio_files(audio_dir)
    except DataError:
        files = []
    return Recordings(path.relative_to(audio_dir or "").as_posix() for path in files)


def _tables_in(folder: Path) -> list[Path]:
    """Return the files in a folder that may be tables; a list of recordings beside one is none."""
    return [
        path
        for path in sorted(walk(folder))
        if path.suffix in (".txt", ".csv") and not path.name.endswith(".list.txt")
    ]


def _read_table(path: Path, name: str, names: Callable[[], Recordings]) -> pd.DataFrame | None:
    """Return the rows of one table, None for a CSV file that is no other program's.

    ``name`` is its own below the folder of tables, which is that of its recording with an ending.
    """
    if path.suffix == ".csv":
        table = read_result_table(path)
        if table is None:
            return None
        table["filename"] = names().all_named(table["file"])
    elif path.suffix != ".txt":
        return None
    elif not is_raven(path):
        filename = names().of_table(path) or name.removesuffix(AudacityWriter.ending)
        table = _read_audacity(path).assign(filename=filename)
    else:
        named = None if names_recordings(path) else name.removesuffix(RavenWriter.ending)
        table = read_raven(path, names(), names().of_table(path) or named)
    return _with_numbers(table[DETECTION_COLUMNS], str(path))


def _read_audacity(path: Path) -> pd.DataFrame:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"the table {path} cannot be read; {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8; save it as UTF-8") from None
    rows = []
    for line in lines:
        start_s, end_s, text = [*line.split("\t", 2), "", ""][:3]
        label = without_probability(text)
        rows.append((start_s, end_s, label, text[len(label) + 1 :].partition(" ")[0]))
    return pd.DataFrame(rows, columns=_ROW_COLUMNS)


def _with_numbers(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return a table whose times and probabilities are float64; a probability may be missing, as NaN."""
    table = table.copy()
    table["probability"] = table["probability"].replace("", math.nan)
    for column in (*NUMBER_COLUMNS, *(["channel"] if "channel" in table else [])):
        numbers = pd.to_numeric(table[column], errors="coerce")
        is_none = numbers.isna() & (table[column].notna() if column == "probability" else True)
        if is_none.any():
            wrong = table.loc[is_none, column].iloc[0]
            raise DataError(f"{where}: {column} is {shown(wrong)} in a row; write a number")
        table[column] = numbers.astype(int if column == "channel" else float)
    return table


def _paths_of(names: Sequence[str]) -> dict[str, tuple[str, Path]]:
    """Return each recording's name in the tables, below a common folder, and its path."""
    absolute = {name for name in names if Path(name).is_absolute()}
    root = os.path.commonpath([os.path.dirname(name) for name in absolute]) if absolute else ""  # noqa: PTH120
    paths = {}
    for name in names:
        relative = Path(os.path.relpath(name, root)).as_posix() if name in absolute else name
        if ".." in PurePosixPath(relative.replace("\\", "/")).parts:
            raise DataError(
                f"the file name {name!r} leads out of its folder; name recordings below one folder"
            )
        paths[name] = (relative, Path(name))
    return paths


def _records(recordings: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dict a row, of what is known."""
    rows = recordings.astype(object).to_dict("records")
    return [{str(k): v for k, v in row.items() if not (v is None or v == "" or pd.isna(v))} for row in rows]


def _recording(
    name: str, relative: str, path: Path, rows: pd.DataFrame, facts: Mapping[str, Any]
) -> RecordingDetections:
    def first(column: str) -> Any:
        if column in facts:
            return facts[column]
        return rows[column].iloc[0] if column in rows and len(rows) else None

    start = moment_of(first("start"), name)
    if start is None and (time := moment_of(first("time"), name)) is not None:
        start = time - timedelta(seconds=float(rows["start_s"].iloc[0]))
    given_s = first("duration_s")
    duration_s = float(rows["end_s"].max()) if given_s is None and len(rows) else float(given_s or 0.0)
    path = path if first("path") is None else Path(str(first("path")))
    found = rows[[column for column in Detection._fields if column in rows]]
    latitude, longitude = (
        None if pd.isna(number := pd.to_numeric(first(name), errors="coerce")) else float(number)
        for name in ("latitude", "longitude")
    )
    device = first("device")
    recorder = Recorder(None if pd.isna(device) or device == "" else str(device), latitude, longitude)
    site = str(facts.get("site", ""))
    return RecordingDetections(relative, path, duration_s, start, found, recorder, named_site=site)


def moment_of(given: Any, name: str) -> datetime | None:
    """Return a datetime from one, or from its text; None from an empty cell.

    Raises
    ------
    DataError
        It is none; ``name`` is the recording that has it.

    Examples
    --------
    >>> moment_of("2024-05-01T04:00:00", "night.wav"), moment_of("", "night.wav")
    (datetime.datetime(2024, 5, 1, 4, 0), None)
    """
    if given is None or given == "" or given is pd.NaT or pd.isna(given):
        return None
    try:
        moment = pd.Timestamp(given).to_pydatetime(warn=False)
    except (TypeError, ValueError):
        raise DataError(f"{name}: the time {given!r} is none; write it as 2024-05-01T04:00:00") from None
    return moment
