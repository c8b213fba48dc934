"""What a report is made from: detections a batch at a time, all recordings with their times, and settings.

A source is a folder that ``dawnchorus predict`` wrote, a table of detections, or :class:`Detections` of the
library. Batches are DataFrames with ``filename``, ``start_s``, ``end_s``, ``label``, ``probability``,
``time`` (local, naive; NaT where unknown), and ``channel``, ``scientific_name``, ``common_name`` and
``threshold`` where the table has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset

from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.audio.recorder_times import Recorder, recorder_of, recorder_time
from dawnchorus.batch.predicted_with import MODEL_NAME, PredictedWith, check_predicted
from dawnchorus.errors import DataError
from dawnchorus.files import NOTES_NAME, Failure, from_legible, legible, read_failures
from dawnchorus.formats.detection_tables import DETECTION_COLUMNS, DETECTIONS_NAME, read_detections
from dawnchorus.formats.parquet import ParquetWriter
from dawnchorus.formats.recorded_effort import EFFORT_NAME, effort_of_windows, read_effort
from dawnchorus.predict.predictions import Detections
from dawnchorus.predict.window_tables import WINDOWS_NAME
from dawnchorus.wording import shown

_BLOCK_BYTES = 16 << 20
_TEXTS = ("filename", "label", "time", "scientific_name", "common_name", "device")
_NUMBERS = ("start_s", "end_s", "probability", "threshold", "latitude", "longitude", "channel")
_OPTIONAL = (
    "time",
    "scientific_name",
    "common_name",
    "threshold",
    "channel",
    "latitude",
    "longitude",
    "device",
)
_SECOND = len("2024-05-04T22:00:00")


@dataclass
class Recorded:
    """A recording: when it began, how long it is, and where it was made.

    Attributes
    ----------
    filename
        Its name in the tables.
    start
        Local time at which it began, aware where the offset from UTC is known; None where unknown.
    duration_s
        Seconds; of a recording that only the detections name, until the last of them ends.
    recorder
        Device and place.

    Examples
    --------
    >>> Recorded("night.wav", None, 12.0).duration_s
    12.0
    """

    filename: str
    start: datetime | None
    duration_s: float
    recorder: Recorder = field(default_factory=Recorder)


@dataclass
class PredictionSource:
    """Detections, recordings and settings.

    Attributes
    ----------
    title
        Name of the folder, the table, or the model.
    batches
        Yields the detections, anew each time it is called.
    recordings
        All recordings that were predicted; None where only those with a detection are known, which
        :class:`RecordingList` adds.
    settings
        What ``predictions.json`` says of the model, thresholds and calibration.
    times
        Where times come from that neither tables nor metadata have.
    failures, notes
        Recordings that were left out, and what is odd about others.
    paths
        Files of recordings that lie outside of a folder, by their names.
    audio_dir
        Folder of the recordings; None where it is not known.
    windows
        The table of windows, None where there is none.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> found = dc.load_model("model", n_threads=1).predict("night.wav").detections(threshold=0.0)
    >>> source = open_source_of(found)
    >>> sum(len(batch) for batch in source.batches()), [each.duration_s for each in source.recordings]
    (9, [12.0])
    """

    title: str
    batches: Callable[[], Iterator[pd.DataFrame]]
    recordings: list[Recorded] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    times: RecorderTimes = field(default_factory=RecorderTimes)
    failures: Sequence[Failure] = ()
    notes: Sequence[Failure] = ()
    paths: Mapping[str, Path] = field(default_factory=dict)
    audio_dir: Path | None = None
    windows: Path | None = None

    @property
    def score_name(self) -> str:
        """``score`` where nothing has made probabilities of presence of the scores, else ``probability``."""
        settings = self.settings
        return "score" if "calibration" in settings and settings["calibration"] is None else "probability"

    def path_of(self, filename: str) -> Path | None:
        """Return the file of a recording, None where it is not there."""
        path = self.paths.get(filename)
        if path is None and self.audio_dir is not None:
            path = self.audio_dir / from_legible(filename)
        try:
            return path if path is not None and path.is_file() else None
        except (OSError, ValueError):  # a name that no file can have
            return None


def open_source_of(predictions: Path | Detections, *, audio_dir: Path | None = None) -> PredictionSource:
    """Return the source of a report.

    Parameters
    ----------
    predictions
        A folder that ``dawnchorus predict`` wrote, any table that
        :func:`~dawnchorus.formats.detection_tables.read_detections` reads, or detections.
    audio_dir
        Folder of the recordings, where it is not the one that was predicted.

    Raises
    ------
    DataError
        There are no detections, or the table of them cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("tables").mkdir()
    >>> _ = Path("tables/detections.csv").write_text("filename,start_s,end_s,label,probability\\n")
    >>> open_source_of(Path("tables")).title
    'tables'
    """
    if isinstance(predictions, Detections):
        return _source_of_detections(predictions)
    check_predicted(predictions)
    folder = predictions if predictions.is_dir() else predictions.parent
    made = PredictedWith.of(predictions)
    audio_dir = audio_dir or made.audio_dir
    windows = folder / WINDOWS_NAME
    source = PredictionSource(
        title=predictions.resolve().name,
        batches=_batches_of(predictions, audio_dir),
        settings=made.settings,
        times=made.times,
        failures=read_failures(folder),
        notes=read_failures(folder, name=NOTES_NAME),
        audio_dir=audio_dir if audio_dir is not None and audio_dir.is_dir() else None,
        windows=windows if windows.is_file() else None,
    )
    source.recordings = _recordings_in(folder, source)
    return source


class RecordingList:
    """The recordings of a source, with what their detections tell of them.

    Parameters
    ----------
    source
        The source, whose list of recordings may lack some, or their times and places.

    Examples
    --------
    >>> recordings = RecordingList(PredictionSource("night", lambda: iter(())))
    >>> recordings.see("20240504_220000.wav").start
    datetime.datetime(2024, 5, 4, 22, 0)
    """

    def __init__(self, source: PredictionSource) -> None:
        self.source, self._times = source, source.times
        self._found = {each.filename: each for each in source.recordings or ()}
        self._seen: set[str] = set()

    def see(
        self,
        filename: str,
        start: datetime | None = None,
        recorder: Recorder = Recorder(),  # noqa: B008  nothing changes it
    ) -> Recorded:
        """Return a recording, with what is known of its start and place, from a table or from its name."""
        each = self._found.setdefault(filename, Recorded(filename, None, 0.0))
        if filename not in self._seen:
            self._seen.add(filename)
            each.start = each.start or start
            if each.recorder == Recorder():
                each.recorder = recorder
            if each.start is None:
                path = self.source.path_of(filename) or Path(from_legible(filename))
                known = recorder_time(path)
                each.start = self._times.start_of(path, None if known is None else known.start)
                if each.recorder == Recorder():
                    each.recorder = recorder_of(path)
        return each

    def all(self) -> list[Recorded]:
        """Return all recordings, sorted by name."""
        return [self.see(name) for name in sorted(self._found)]


def _recordings_in(folder: Path, source: PredictionSource) -> list[Recorded] | None:
    """Return the recordings of a folder of predictions, from its table of effort or of windows."""
    effort = folder / EFFORT_NAME
    if effort.is_file():
        return _read_effort(effort)
    if source.windows is None:
        return None
    found = effort_of_windows(source.windows)
    return [Recorded(row.filename, None, row.duration_s) for row in found.itertuples()] or None


def _read_effort(path: Path) -> list[Recorded]:
    """Return the recordings that ``effort.csv`` lists."""
    try:
        return [
            Recorded(
                row.filename,
                datetime.fromisoformat(row.start) if row.start else None,
                row.duration_s,
                Recorder(
                    row.device or None,
                    float(row.latitude) if row.latitude else None,
                    float(row.longitude) if row.longitude else None,
                ),
            )
            for row in read_effort(path).itertuples()
        ]
    except ValueError as error:
        raise DataError(f"{path}: {error}; predict again, which writes it anew") from None


def _batches_of(predictions: Path, audio_dir: Path | None) -> Callable[[], Iterator[pd.DataFrame]]:
    own = predictions / DETECTIONS_NAME if predictions.is_dir() else predictions
    parquet = predictions / ParquetWriter.goal
    if own.is_file() and own.suffix.lower() == ".csv" and _is_ours(own):
        return lambda: _csv_batches(own)
    if predictions.is_dir() and parquet.is_dir():
        return lambda: _parquet_batches(parquet)
    table = read_detections(predictions, audio_dir)
    return lambda: iter([_with_types(table)])


def _is_ours(path: Path) -> bool:
    """Return whether a CSV file has commas and the columns of a table of detections."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        header = [name.strip().strip('"') for name in file.readline().split(",")]
    return set(DETECTION_COLUMNS) <= set(header)


def _csv_batches(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the rows of our CSV table; file names in it need not be UTF-8."""
    with path.open("rb") as file:
        names = pa_csv.open_csv(
            file, convert_options=pa_csv.ConvertOptions(check_utf8=False), parse_options=_PARSE
        ).schema.names
    columns = [name for name in (*DETECTION_COLUMNS, *_OPTIONAL) if name in names]
    options = pa_csv.ConvertOptions(
        include_columns=columns,
        column_types={name: pa.binary() if name in _TEXTS else pa.float64() for name in columns},
        null_values=[""],
        check_utf8=False,
    )
    try:
        with pa_csv.open_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
            convert_options=options,
            parse_options=_PARSE,
        ) as reader:
            for batch in reader:
                yield _frame_of(batch)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a table of detections: {error}") from None


_PARSE = pa_csv.ParseOptions(newlines_in_values=True)


def _frame_of(batch: pa.RecordBatch) -> pd.DataFrame:
    """Return a batch with texts as categories and times as naive local ones."""
    columns: dict[str, Any] = {}
    for name in batch.schema.names:
        column = batch.column(name)
        if name in _TEXTS:
            columns[name] = _categories(column)
        else:
            columns[name] = column.to_pandas()
    frame = pd.DataFrame(columns)
    if "time" in frame:
        frame["time_text"] = frame["time"]
        texts = frame["time"].cat.categories.astype(str)
        # The offset behind the second is cut off: the hour of a day is that of the recorder.
        moments = pd.to_datetime(texts.str.slice(0, _SECOND), errors="coerce")
        frame["time"] = pd.Series(
            moments.take(frame["time"].cat.codes.clip(lower=0)), index=frame.index
        ).where(frame["time_text"].notna())
    return _with_types(frame)


def _categories(column: pa.Array) -> pd.Categorical:
    encoded = column.dictionary_encode()
    texts = [legible(text.decode("utf-8", "surrogateescape")) for text in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if len(set(texts)) < len(texts):
        return pd.Categorical([texts[code] if code >= 0 else None for code in codes])
    return pd.Categorical.from_codes(codes, categories=pd.Index(texts, dtype=str))


def _parquet_batches(folder: Path) -> Iterator[pd.DataFrame]:
    try:
        dataset = pa_dataset.dataset(folder, format="parquet")
        names = [*DETECTION_COLUMNS, *_OPTIONAL, "utc_offset_minutes"]
        columns = [name for name in names if name in dataset.schema.names]
        for batch in dataset.to_batches(columns=columns):
            if batch.num_rows:
                frame = batch.to_pandas()
                for name in ("filename", "label", "scientific_name", "common_name", "device"):
                    if name in frame:
                        frame[name] = frame[name].astype(str).astype("category")
                if {"time", "utc_offset_minutes"} <= set(frame):
                    frame["time_text"] = _iso_times(frame["time"], frame.pop("utc_offset_minutes"))
                yield _with_types(frame)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} cannot be read as a dataset of detections; {error}") from None


def _iso_times(times: pd.Series, offsets: pd.Series) -> pd.Series:
    """Return times in ISO 8601 with their offsets from UTC, None where there is no time."""
    text = times.dt.strftime("%Y-%m-%dT%H:%M:%S.%f").astype(object).where(times.notna(), None)
    known = offsets.notna() & times.notna()
    minutes = offsets[known].astype(int)
    signs = minutes.map(lambda each: f"{'-' if each < 0 else '+'}{abs(each) // 60:02}:{abs(each) % 60:02}")
    text[known] = text[known] + signs.astype(object)
    return text


def _with_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a batch that has ``time``, and whose numbers are such."""
    if "time" not in frame:
        frame = frame.assign(time=pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us]"))
    for name in ("filename", "label"):
        frame[name] = frame[name].astype("category")
    wrong = frame[["start_s", "end_s", "probability"]].isna().any(axis=1) | frame["label"].isna()
    if wrong.any():
        row = frame[wrong].iloc[0]
        raise DataError(
            f"the detections have a row without a number or a label, in {shown(str(row['filename']))}; "
            "write start_s, end_s, label and probability into each"
        )
    return frame


def _source_of_detections(found: Detections) -> PredictionSource:
    frame = found.to_frame()
    frame["time_text"] = [None if time is None else time.isoformat() for time in frame["time"]]
    frame["time"] = pd.to_datetime(
        [None if time is None else time.replace(tzinfo=None) for time in frame["time"]]
    )
    recordings = [
        Recorded(legible(each.filename), each.start, each.duration_s, each.recorder)
        for each in found.recordings
    ]
    paths = {
        legible(each.filename): each.path
        for each in found.recordings
        if each.filename not in found.without_file
    }
    thresholds = dict(found.facts.thresholds)
    if thresholds:
        frame["threshold"] = frame["label"].map(thresholds)
    for name, place in (("scientific_name", 0), ("common_name", 1)):
        names = {label: each[place] for label, each in _names(found).items()}
        frame[name] = frame["label"].map(names)
    levels = sorted(set(thresholds.values()))
    settings: dict[str, Any] = {MODEL_NAME: found.facts.name} if found.facts.name else {}
    if levels:
        settings["threshold"] = levels[0] if len(levels) == 1 else [f"{level:g}" for level in levels]
    typed = _with_types(frame)
    return PredictionSource(
        title=found.facts.name or "detections",
        batches=lambda: iter([typed]),
        recordings=recordings,
        settings=settings,
        paths=paths,
    )


def _names(found: Detections) -> Mapping[str, Any]:
    from dawnchorus.formats.taxonomy import names_of

    return names_of(found.labels, found.facts.taxonomy)


def began(time_text: object, start_s: float) -> datetime | None:
    """Return when a recording began, from the time of a detection in it; None where that is unknown.

    Examples
    --------
    >>> began("2024-05-04T22:00:07.500+02:00", 7.5).isoformat()
    '2024-05-04T22:00:00+02:00'
    """
    if not isinstance(time_text, str) or not time_text:
        return None
    try:
        return datetime.fromisoformat(time_text) - timedelta(seconds=float(start_s))
    except ValueError:
        return None
