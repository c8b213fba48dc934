"""``Predictions``, the outputs of a model for the windows of sounds, and ``Detections`` from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.audio.recorder_times import Recorder
from dawnchorus.config.settings import nearest
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.files import Failure, legible, refuse_existing
from dawnchorus.formats import Format, ModelFacts, RecordingDetections, absolute_time, open_writers
from dawnchorus.models.score_calibration import ScoreCalibration, Thresholds
from dawnchorus.predict.detections import DetectionSettings, detect, rounded_thresholds
from dawnchorus.predict.region import Region
from dawnchorus.predict.region_removals import JudgedRecording, applied
from dawnchorus.predict.thresholds import ALL_OTHERS, CALIBRATED, default_thresholds, thresholds_from
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.predict.window_tables import window_table
from dawnchorus.wording import counted

INDEX = ("file", "start_time", "end_time")
"""Index of a frame of windows: the sound's name, and seconds in it, as in the field's other tools."""

_SHOWN_ROWS = 10


class PredictedRecording(NamedTuple):
    """The windows of one sound.

    Attributes
    ----------
    name
        Its name in tables.
    path
        Its file, None for an array or a stream.
    start
        When it began, aware or naive; None where unknown.
    windows
        The model's outputs.
    recorder
        Its device and place, where known.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> (night,) = dc.load_model("model", n_threads=1).predict("night.wav").recordings
    >>> night.name, night.windows.probabilities.shape
    ('night.wav', (3, 3))
    """

    name: str
    path: Path | None
    start: datetime | None
    windows: WindowPredictions
    recorder: Recorder = Recorder()


@dataclass(frozen=True, repr=False)
class Predictions:
    """Outputs of a model for the windows of sounds.

    Attributes
    ----------
    labels
        The model's classes.
    recordings
        The sounds, in the order in which they were given.
    failures
        Sounds that could not be read, with the reasons.
    notes
        What is odd about the others, such as channels whose mean is silence.
    model
        Path of the model, beside which calibrated thresholds lie; None where it has none.
    overlap_s
        Seconds that a window shares with the next one.
    facts
        Name and taxonomy of the model.
    thresholds
        Default thresholds of calibrated scores; None where scores are raw.
    calibration
        By which they were calibrated; None for raw scores, and for several models.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(
    ...     np.array([0, 10]), np.array([10, 20]), np.array([[0.9, 0.1], [0.8, 0.6]], np.float32), 2
    ... )
    >>> scores = Predictions(("owl", "wren"), [PredictedRecording("night.wav", None, None, windows)])
    >>> scores
    Predictions(2 windows of 1 recording, 2 classes)
    >>> scores.to_frame().loc["night.wav"].round(1)
                         owl  wren
    start_time end_time
    0.0        5.0       0.9   0.1
    5.0        10.0      0.8   0.6
    >>> scores.detections(threshold=0.5, merge=True).to_frame()[["start_s", "end_s", "label"]]
       start_s  end_s label
    0      0.0   10.0   owl
    1      5.0   10.0  wren
    """

    labels: tuple[str, ...]
    recordings: Sequence[PredictedRecording]
    failures: Sequence[Failure] = ()
    model: Path | None = None
    overlap_s: float = 0.0
    notes: Sequence[Failure] = ()
    facts: ModelFacts = field(default_factory=ModelFacts)
    thresholds: Thresholds | None = None
    calibration: ScoreCalibration | None = None

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.recordings)

    @property
    def n_windows(self) -> int:
        """Windows of all recordings together."""
        return sum(len(recording.windows.starts) for recording in self.recordings)

    def __iter__(self) -> Iterator[PredictedRecording]:
        return iter(self.recordings)

    def __getitem__(self, name: str) -> WindowPredictions:
        """Return the windows of the sound with this name."""
        for recording in self.recordings:
            if recording.name == name:
                return recording.windows
        raise KeyError(name)

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Of all windows, shape (n_windows, n_classes), in [0, 1]."""
        parts = [recording.windows.probabilities for recording in self.recordings]
        return np.concatenate([np.zeros((0, len(self.labels)), np.float32), *parts])

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """Of all windows, shape (n_windows, n_features).

        Raises
        ------
        DataError
            They were not requested.
        """
        parts = [recording.windows.embeddings for recording in self.recordings]
        if not parts or any(part is None for part in parts):
            raise DataError("these predictions have no embeddings; predict with embeddings=True")
        return np.concatenate([part for part in parts if part is not None])

    def to_frame(self) -> pd.DataFrame:
        """Return a row a window and a column a class: index file, start_time, end_time (seconds).

        Where channels were read by their numbers, ``channel`` is an index too.
        """
        return pd.DataFrame(self.probabilities, index=self._index(), columns=list(self.labels))

    def embeddings_frame(self) -> pd.DataFrame:
        """Return a row a window and a column a feature, with the index of :meth:`to_frame`."""
        return pd.DataFrame(self.embeddings, index=self._index())

    def detections(
        self,
        threshold: float | str | Path | Mapping[str, float] | None = None,
        *,
        species: Iterable[str] | None = None,
        top_k: int | None = None,
        merge: bool = False,
        gap_s: float = 0.0,
        longest_s: float | None = None,
    ) -> Detections:
        """Return the windows in which a class reaches its threshold.

        Parameters
        ----------
        threshold
            Probability of a detection in [0, 1]; or one a label, with ``"*"`` for all others; or a CSV file
            of label and threshold; or ``"calibrated"``, for the thresholds that ``dawnchorus calibrate`` has
            put beside the model. If not given, that of the best F1 where the scores are calibrated, and 0.5
            where they are raw.
        species
            Labels of the only classes to detect.
        top_k
            At most so many classes a window, the most probable.
        merge
            Join adjacent and overlapping windows of a class.
        gap_s, longest_s
            With ``merge``, also join over pauses of so many seconds, and the longest detection.

        Raises
        ------
        ConfigError, DataError
            A threshold is out of its range, a label is not the model's, or a file cannot be read.
        """
        settings = DetectionSettings(
            self._thresholds(threshold),
            None if species is None else tuple(species),
            top_k,
            merge,
            gap_s,
            longest_s,
        )
        found = [
            RecordingDetections(
                recording.name,
                recording.path or Path(recording.name),
                float(recording.windows.stops.max()) / recording.windows.sample_rate,
                recording.start,
                detect(recording.windows, self.labels, settings),
                recording.recorder,
            )
            for recording in self.recordings
        ]
        rates = [recording.windows.sample_rate for recording in self.recordings]
        high_hz = max(rates, default=0) / 2
        arrays = frozenset(recording.name for recording in self.recordings if recording.path is None)
        facts = replace(self.facts, thresholds=rounded_thresholds(self.labels, settings.thresholds))
        return Detections(self.labels, found, high_hz, self.overlap_s, arrays, facts)

    def within(self, region: Region) -> Predictions:
        """Return the predictions with the scores that a region leaves, by each recording's day and place.

        Examples
        --------
        >>> from pathlib import Path
        >>> import dawnchorus as dc
        >>> from dawnchorus.predict.region import Region
        >>> _ = Path("birds.txt").write_text("owl\\nwren\\n")
        >>> scores = dc.load_model("model", n_threads=1).predict("night.wav")
        >>> plausible = scores.within(Region.of(["birds.txt"], scores.labels))
        >>> float(plausible.to_frame()["robin"].max())
        0.0
        """
        recordings = []
        for each in self.recordings:
            place = region.place_of(each.name, each.recorder.latitude, each.recorder.longitude)
            judged = JudgedRecording(each.name, each.windows, each.start, place)
            recordings.append(each._replace(windows=applied(region, judged)))
        return replace(self, recordings=recordings)

    def to_parquet(self, path: Path | str) -> Path:
        """Write ``filename``, ``start_s``, ``end_s`` and a column a class, as ``dawnchorus predict`` does."""
        with window_table(
            Path(path), self.labels, has_channels=self._has_channels, taxonomy=self.facts.taxonomy
        ) as table:
            for recording in self.recordings:
                table.add(recording.name, recording.windows)
        return Path(path)

    def _thresholds(
        self, threshold: float | str | Path | Mapping[str, float] | None
    ) -> npt.NDArray[np.float32]:
        if threshold is None:
            return default_thresholds(self.thresholds, len(self.labels))
        if isinstance(threshold, str | Path):
            if self.model is None and str(threshold) == CALIBRATED:
                raise ConfigError(
                    f"the threshold is {str(threshold)!r}, and these predictions do not know their model; "
                    "give a number, or one a label"
                )
            return thresholds_from(str(threshold), self.labels, self.model or Path(), self.calibration)
        if isinstance(threshold, Mapping | pd.Series):
            given = dict(threshold)
            strangers = [label for label in given if label not in (*self.labels, ALL_OTHERS)]
            if strangers:
                raise ConfigError(
                    f"threshold names {strangers[0]!r}, which is no class of this model"
                    f"{nearest(str(strangers[0]), self.labels, kind='classes')}"
                )
            missing = [label for label in self.labels if label not in given]
            if missing and ALL_OTHERS not in given:
                raise ConfigError(
                    f"threshold names {len(given)} labels and not {missing[0]!r}; name each of the "
                    f"{len(self.labels)}, or {ALL_OTHERS!r} for all the others"
                )
            values = [given.get(label, given.get(ALL_OTHERS)) for label in self.labels]
            return np.array(values, dtype=np.float32)
        return np.full(len(self.labels), threshold, dtype=np.float32)

    def _index(self) -> pd.MultiIndex:
        names = [legible(recording.name) for recording in self.recordings]
        counts = [len(recording.windows.starts) for recording in self.recordings]
        seconds = [
            np.concatenate(
                [np.zeros(0), *(getattr(r.windows, edge) / r.windows.sample_rate for r in self.recordings)]
            )
            for edge in ("starts", "stops")
        ]
        files = np.repeat(np.array(names, dtype=object), counts)
        if not self._has_channels:
            return pd.MultiIndex.from_arrays([files, *seconds], names=INDEX)
        channels = np.concatenate([r.windows.channels for r in self.recordings])
        return pd.MultiIndex.from_arrays([files, channels, *seconds], names=(INDEX[0], "channel", *INDEX[1:]))

    @property
    def _has_channels(self) -> bool:
        return bool(self.recordings) and all(r.windows.channels is not None for r in self.recordings)

    def __repr__(self) -> str:
        n, n_failed = len(self.recordings), len(self.failures)
        failed = f", {n_failed} failed" if n_failed else ""
        recordings, classes = counted(n, "recording"), counted(len(self.labels), "class", "classes")
        return f"Predictions({self.n_windows} windows of {recordings}, {classes}{failed})"

    def _repr_html_(self) -> str:
        from html import escape

        table = self.to_frame().to_html(max_rows=_SHOWN_ROWS, max_cols=_SHOWN_ROWS)
        return f"<p>{escape(repr(self))}</p>{table}"


@dataclass(frozen=True, repr=False)
class Detections:
    """Detections in sounds, ready for the tables that other tools open.

    Attributes
    ----------
    labels
        The model's classes.
    recordings
        The sounds, including those without a detection.
    high_hz
        Upper edge of boxes in tables that have frequencies, Hz.
    overlap_s
        Seconds that a window shares with the next one.
    without_file
        Names of sounds that are arrays or streams.
    facts
        Name, taxonomy and thresholds of the model.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> scores = dc.load_model("model", n_threads=1).predict("night.wav")
    >>> found = scores.detections(threshold=0.0, merge=True)
    >>> len(found), found.to_frame()["label"].nunique()
    (3, 3)
    """

    labels: tuple[str, ...]
    recordings: Sequence[RecordingDetections]
    high_hz: float
    overlap_s: float = 0.0
    without_file: frozenset[str] = frozenset()
    facts: ModelFacts = field(default_factory=ModelFacts)
    _frame: list[pd.DataFrame] = field(default_factory=list, init=False, repr=False, compare=False)

    def to_frame(self) -> pd.DataFrame:
        """Return filename, start_s, end_s, label, probability, channel if known, and time, a row a detection.

        ``time`` is the local time of the detection, None where the recording's is unknown.
        """
        if not self._frame:
            self._frame.append(_frame_of(self.recordings))
        return self._frame[0].copy()

    def __len__(self) -> int:
        return sum(len(recording.detections) for recording in self.recordings)

    def write(
        self, formats: Format | Iterable[Format], folder: Path | str, *, overwrite: bool = False
    ) -> dict[str, Path]:
        """Write tables into a folder, made if missing, and return the file or folder of each format.

        Parameters
        ----------
        formats
            One or several of ``csv``, ``raven``, ``raven_combined``, ``audacity``, ``birdnet``,
            ``kaleidoscope``, ``parquet``, those that were registered, import paths
            (``my_package.formats:Tally``), and writers' classes.
        folder
            Where they go.
        overwrite
            Whether existing tables are replaced.

        Raises
        ------
        ConfigError
            A format is not known.
        RunError
            A table is there already, and ``overwrite`` is not set.
        """
        folder = Path(folder)
        writers = open_writers(
            formats,
            folder,
            labels=self.labels,
            high_hz=self.high_hz,
            overlap_s=self.overlap_s,
            has_channels=any("channel" in recording.detections for recording in self.recordings),
            model=self.facts,
        )
        refuse_existing(*writers.paths.values(), force=overwrite, remedy="set overwrite=True")
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; name a folder for the tables")
        folder.mkdir(parents=True, exist_ok=True)
        with writers:
            for recording in _with_table_names(self.recordings, self.without_file):
                writers.add(recording)
        return dict(writers.paths)

    def __repr__(self) -> str:
        n_labels = self.to_frame()["label"].nunique()
        return (
            f"Detections({len(self)} of {n_labels} species in {counted(len(self.recordings), 'recording')})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(repr(self))}</p>{self.to_frame().to_html(max_rows=_SHOWN_ROWS)}"


def _frame_of(recordings: Sequence[RecordingDetections]) -> pd.DataFrame:
    columns = ["start_s", "end_s", "label", "probability"]
    parts = []
    for recording in recordings:
        part = recording.detections.copy()
        part.insert(0, "filename", legible(recording.filename))
        part["time"] = [absolute_time(recording.start, second) for second in part["start_s"]]
        parts.append(part.astype({"time": object}))
    if not parts:
        return pd.DataFrame(columns=["filename", *columns, "time"])
    return pd.concat(parts, ignore_index=True)


def _with_table_names(
    recordings: Sequence[RecordingDetections], without_file: frozenset[str]
) -> Iterator[RecordingDetections]:
    """Yield the recordings under names for tables: paths below the folder that the files share."""
    # Without "..", so that no table lies outside its folder.
    paths = [
        None if recording.filename in without_file else Path(os.path.abspath(recording.path))  # noqa: PTH100
        for recording in recordings
    ]
    root = _common_folder([path for path in paths if path is not None])
    for recording, path in zip(recordings, paths, strict=True):
        if path is None:
            parts = [part for part in PurePath(recording.filename).parts if part not in ("..", "/")]
            yield recording._replace(filename="/".join(parts) or "array")
        else:
            yield recording._replace(filename=_below(path, root), path=path)


def _common_folder(paths: Sequence[Path]) -> Path | None:
    """Return the folder that all files lie in; None where they have none, as on different drives."""
    try:
        return Path(os.path.commonpath([path.parent for path in paths])) if paths else None
    except ValueError:
        return None


def _below(path: Path, root: Path | None) -> str:
    return path.name if root is None else path.relative_to(root).as_posix()
