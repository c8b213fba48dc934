"""What a shard of a prediction keeps for the join, and how that is read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from dawnchorus.audio.channels import Channel
from dawnchorus.batch.journal import IndexedEntry
from dawnchorus.batch.journaled import JournaledInference
from dawnchorus.config import Record
from dawnchorus.engines.engine import Engine
from dawnchorus.errors import ConfigError
from dawnchorus.files import Failure, from_legible, legible
from dawnchorus.files.storage import absolute_text, stored_path
from dawnchorus.models.score_calibration import ScoreCalibration
from dawnchorus.predict.detections import DetectionSettings, is_threshold
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFile


class ShardContent(Record):
    """What a shard has predicted, as its record has it; names and paths are legible.

    Attributes
    ----------
    recordings
        Path of each recording, by its name.
    index
        What the journal's index holds of each.
    failures
        Paths and reasons.
    notes
        What is odd about the sound of recordings, by their paths.

    Examples
    --------
    >>> ShardContent(recordings={"a.wav": "a.wav"}, index={}, failures=[("a.wav", "cut")], notes={}).index
    {}
    """

    recordings: dict[str, str]
    index: dict[str, IndexedEntry]
    failures: list[tuple[str, str]]
    notes: dict[str, list[str]]


Finite = Annotated[float, Field(allow_inf_nan=False)]


class SharedJob(Record, extra="ignore"):
    """What the shards of any prediction have in common, as their records have it.

    Attributes
    ----------
    recordings, folder
        As of :func:`root_facts`.
    shift, smooth, scale_by_maximum, overlap_average
        Of the postprocessing.

    Examples
    --------
    >>> options = {"shift": 2.5, "smooth": None, "scale-by-maximum": None}
    >>> job = SharedJob(recordings="night", folder="/night", **options)
    >>> job.postprocess.shift_s
    2.5
    """

    recordings: str
    folder: str
    shift: Finite | None
    smooth: tuple[Finite, ...] | None
    scale_by_maximum: Finite | None = Field(alias="scale-by-maximum")
    overlap_average: bool = Field(alias="overlap-average", default=False)

    @property
    def root(self) -> Path:
        """The folder of the recordings."""
        return common_root({"recordings": self.recordings, "folder": self.folder})

    @property
    def postprocess(self) -> PostprocessSettings:
        """The steps after the network."""
        return PostprocessSettings(self.shift, self.overlap_average, self.smooth, self.scale_by_maximum)

    @model_validator(mode="after")
    def _is_legal(self) -> SharedJob:
        try:
            self.check()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def check(self) -> None:
        """Raise ConfigError where the settings do not fit together."""
        _ = self.postprocess


class PredictJob(SharedJob):
    """What the shards of ``dawnchorus predict`` have in common.

    Examples
    --------
    >>> PredictJob.model_fields["top_k"].alias
    'top-k'
    """

    command: Literal["predict"]
    model: str
    card: str
    calibration: ScoreCalibration | None
    threshold: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    species: tuple[str, ...] | None
    top_k: int | None = Field(alias="top-k")
    merge: bool
    gap: Finite
    longest: Finite | None
    overlap: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    channel: Channel | None
    salvage: bool
    formats: tuple[Annotated[str, Field(max_length=300)], ...]
    windows: bool
    embeddings: bool
    journal: bool
    recorder_name: str | None = Field(alias="recorder name")
    time_zone: str | None = Field(alias="time zone")
    escape_formulas: bool = Field(alias="escape-formulas")
    region: str | None

    @field_validator("threshold")
    @classmethod
    def _small(cls, thresholds: tuple[float, ...]) -> tuple[float, ...]:
        faulty = [value for value in thresholds if not is_threshold(value)]
        if faulty:
            raise ValueError(f"a threshold is {faulty[0]:g}")
        return thresholds

    @property
    def detection(self) -> DetectionSettings:
        """The rules for what counts as a detection."""
        return DetectionSettings(
            np.array(self.threshold, np.float32),
            species=self.species,
            top_k=self.top_k,
            merge=self.merge,
            gap_s=self.gap,
            longest_s=self.longest,
        )

    def check(self) -> None:
        super().check()
        _ = self.detection


def content_of(
    work: JournaledInference, part: Sequence[RecordingFile], failures: Iterable[Failure]
) -> dict[str, Any]:
    """Return what a shard has predicted, in JSON's types, as :class:`ShardContent` reads it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.batch.journaled import JournalSettings, open_journal
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> engine, found = open_engine("model", n_threads=1), find_recordings(["night.wav"])
    >>> with open_journal(engine, Path("tables"), JournalSettings()) as work:
    ...     content_of(work, found.recordings, work.predict(found)[1])["recordings"]
    {'night.wav': 'night.wav'}
    """
    index = work.journal.index
    return {
        "recordings": {legible(recording.name): legible(str(recording.path)) for recording in part},
        # An entry whose name is no valid text is read when all are joined.
        "index": {r.name: index[r.name] for r in part if r.name in index and legible(r.name) == r.name},
        "failures": [(legible(str(path)), legible(reason)) for path, reason in failures],
        "notes": {legible(str(path)): list(notes) for path, notes in work.notes.items()},
    }


def calibration_in_json(engine: Engine) -> dict[str, Any] | None:
    """Return the calibration of a model's scores in JSON's types, None where it has none.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> calibration_in_json(open_engine("model", n_threads=1)) is None
    True
    """
    return None if engine.calibration is None else engine.calibration.model_dump(mode="json")


def root_facts(root: Path) -> dict[str, str]:
    """Return what a job keeps of the folder of its recordings, for :func:`common_root`.

    Examples
    --------
    >>> from pathlib import Path
    >>> common_root(root_facts(Path("recordings"))).name
    'recordings'
    """
    return {"recordings": legible(str(root)), "folder": legible(absolute_text(root))}


def common_root(job: Mapping[str, str]) -> Path:
    """Return the folder of a job's recordings, as it was given where that still means the same.

    Examples
    --------
    >>> from pathlib import Path
    >>> common_root({"recordings": "night", "folder": "/elsewhere/night"}).as_posix()
    '/elsewhere/night'
    """
    root = stored_path(from_legible(job["recordings"]))
    folder = from_legible(job["folder"])
    return root if absolute_text(root) == folder else stored_path(folder)
