"""Prediction of many recordings in shards, and the join of what they predicted into one set of tables.

All shards write into the journal of one output folder, so that the join has no sound to read and no model to
open: it makes the tables of that journal, as :func:`dawnchorus.batch.bulk.predict_bulk` would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.batch.bulk import BulkOutput, BulkPredictions, BulkSettings, table_settings
from dawnchorus.batch.journal import JOURNAL_NAME, IndexedEntry
from dawnchorus.batch.journaled import JournaledInference, open_journal
from dawnchorus.batch.remote_output import local_output
from dawnchorus.config import Record
from dawnchorus.config.import_paths import import_path
from dawnchorus.engines.engine import Engine, Inputs, KeyT, Outputs
from dawnchorus.errors import ConfigError, RunError
from dawnchorus.files import Failure, from_legible, legible, size_of
from dawnchorus.files.shards import Shard, ShardRecords, listing_digest
from dawnchorus.files.storage import absolute_text, stored_path
from dawnchorus.formats import Format
from dawnchorus.models.card import ModelCard
from dawnchorus.models.score_calibration import ScoreCalibration
from dawnchorus.predict.detections import DetectionSettings, is_threshold
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.wording import counted, first_few, in_line


class ShardPredictions(NamedTuple):
    """Counts of a shard.

    Attributes
    ----------
    shard
        The shard.
    n_recordings, n_new
        Recordings that it has, and those that this call predicted.
    failures
        Recordings that could not be decoded, which the join lists in ``failures.csv``.

    Examples
    --------
    >>> from dawnchorus.files.shards import Shard
    >>> ShardPredictions(Shard(3, 40), n_recordings=25, n_new=25, failures=[]).n_new
    25
    """

    shard: Shard
    n_recordings: int
    n_new: int
    failures: list[Failure]


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


class _PredictJob(SharedJob):
    """What the shards of ``dawnchorus predict`` have in common."""

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


def predict_shard(
    engine: Engine,
    found: RecordingFiles,
    out_dir: Path,
    settings: BulkSettings,
    shard: Shard,
    *,
    force: bool = False,
    again: bool = False,
) -> ShardPredictions:
    """Predict one shard of recordings into the journal of a folder, and return counts.

    Every shard is given all recordings, the same settings and the same folder; shards may be predicted at the
    same time, by any number of processes and machines that see the folder. A call that was killed can be
    repeated. :func:`join_predictions` then writes the tables.

    Parameters
    ----------
    engine, found, out_dir, settings, force, again
        As for :func:`dawnchorus.batch.bulk.predict_bulk`.
    shard
        The shard.

    Raises
    ------
    ConfigError, RunError
        As there; or this shard is being predicted by another process.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.batch.bulk import BulkSettings
    >>> from dawnchorus.files.shards import Shard
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> settings = BulkSettings(DetectionSettings(np.zeros(3, np.float32)), formats=("csv",))
    >>> engine, found = open_engine("model", n_threads=1), find_recordings(["recordings"])
    >>> for number in (1, 2):
    ...     predict_shard(engine, found, Path("tables"), settings, Shard(number, 2)).n_recordings
    4
    4
    >>> join_predictions(Path("tables")).n_recordings
    8
    """
    with local_output(out_dir) as folder:
        return _predict_into(engine, found, folder, settings, shard, force=force, again=again)


def _predict_into(
    engine: Engine,
    found: RecordingFiles,
    out_dir: Path,
    settings: BulkSettings,
    shard: Shard,
    *,
    force: bool,
    again: bool,
) -> ShardPredictions:
    settings = BulkOutput.of(out_dir, found.root, settings, engine, force=force).settings
    sizes = sizes_of(found)
    ours = set(shard.of(sizes))
    part = [recording for recording in found.recordings if recording.name in ours]
    with open_journal(
        engine,
        out_dir,
        settings.postprocess,
        overlap_s=settings.overlap_s,
        with_embeddings=settings.with_embeddings,
        n_workers=settings.n_workers,
        force=force,
        channel=settings.channel,
        salvage=settings.salvage,
        shard=shard,
    ) as work:
        records = ShardRecords(out_dir / JOURNAL_NAME)
        records.begin(shard)
        n_new, failures = work.predict(RecordingFiles(found.root, part), again=again)
        records.write(
            shard,
            content_of(work, part, failures),
            listing=listing_digest(sizes),
            job=_job(engine, found.root, settings),
        )
    return ShardPredictions(shard, len(part), n_new, failures)


def sizes_of(found: RecordingFiles) -> dict[str, int]:
    """Return the bytes of each recording by its name, 0 for one that cannot be found.

    Examples
    --------
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> list(sizes_of(find_recordings(["night.wav"])))
    ['night.wav']
    """
    return {recording.name: _size_of(recording) for recording in found.recordings}


def _size_of(recording: RecordingFile) -> int:
    try:
        return size_of(recording.path)
    except (OSError, ValueError):  # it will be among the failures
        return 0


def content_of(
    work: JournaledInference, part: Sequence[RecordingFile], failures: Iterable[Failure]
) -> dict[str, Any]:
    """Return what a shard has predicted, in JSON's types, as :class:`ShardContent` reads it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.batch.journaled import open_journal
    >>> from dawnchorus.predict.postprocess import PostprocessSettings
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> engine, found = open_engine("model", n_threads=1), find_recordings(["night.wav"])
    >>> with open_journal(engine, Path("tables"), PostprocessSettings()) as work:
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


def _job(engine: Engine, root: Path, settings: BulkSettings) -> dict[str, Any]:
    """Return what all shards must have in common, and the join needs, in JSON's types."""
    given = settings.formats
    return {
        "command": "predict",
        "model": engine.fingerprint,
        "card": engine.card.to_json(),
        "calibration": calibration_in_json(engine),
        **root_facts(root),
        **table_settings(settings),
        "threshold": [str(value) for value in np.asarray(settings.detection.thresholds).tolist()],
        "overlap": settings.overlap_s,
        "shift": settings.postprocess.shift_s,
        "channel": settings.channel,
        "salvage": settings.salvage,
        "formats": [each if isinstance(each, str) else import_path(each) for each in given],
        "windows": settings.with_windows,
        "embeddings": settings.with_embeddings,
        "journal": settings.journal is not False,
    }


def join_predictions(
    out_dir: Path, *, formats: Sequence[Format] = (), recorder_name: str | None = None, force: bool = False
) -> BulkPredictions:
    """Write the tables of all shards that were predicted into a folder, and return counts and paths.

    They are, bit for bit, those of one job. Neither the model nor the recordings need be there.

    Parameters
    ----------
    out_dir
        The folder.
    formats, recorder_name
        Own writers, and an own function for times in names, with which the shards were predicted: code is run
        only where it is named here too.
    force
        Whether tables made with other settings are replaced.

    Raises
    ------
    RunError
        Shards are missing, or not of one job; or the folder holds tables made with other settings, and
        ``force`` is not set.
    ConfigError
        The shards use code that is not named.
    DataError
        None of the recordings could be decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("tables").mkdir()
    >>> join_predictions(Path("tables"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: tables holds no shards that have ended; name the output of a command with
    --shard
    """
    with local_output(out_dir) as folder:
        joined = _join_in(folder, formats, recorder_name, force=force)
        return joined.placed_in(out_dir, folder)


def _join_in(
    out_dir: Path, formats: Sequence[Format], recorder_name: str | None, *, force: bool
) -> BulkPredictions:
    records = ShardRecords(out_dir / JOURNAL_NAME)
    if not records.exist:
        records = ShardRecords(out_dir)  # for the message
    job, contents = records.read(_PredictJob, ShardContent)
    own_parts = _own_parts(job, formats, recorder_name)
    found, failures = recordings_of(job.root, contents, where=out_dir)
    card = ModelCard.from_json(job.card, where=str(out_dir))
    try:
        settings = _settings_of(job, own_parts)
        _check_classes(job, card)
        engine = PredictedBefore(card, job.model, job.calibration)
        output = BulkOutput.of(out_dir, found.root, settings, engine, force=force)
        with open_journal(
            engine,
            out_dir,
            settings.postprocess,
            overlap_s=settings.overlap_s,
            with_embeddings=output.settings.with_embeddings,
            channel=settings.channel,
            salvage=settings.salvage,
            keep=settings.journal is not False,
        ) as work:
            gather(work, found, failures, contents)
            output = output.begin(work, force=True)
            return output.write(work, found, len(work.versions), failures)
    except ConfigError as error:
        raise RunError(
            f"{out_dir} holds shards of settings that are not legal: {error}; compute all shards again"
        ) from None


def _check_classes(job: _PredictJob, card: ModelCard) -> None:
    """Raise ConfigError where thresholds, species or calibration are not those of a model's classes."""
    if len(job.threshold) != len(card.labels):
        raise ConfigError(
            f"{len(job.threshold)} thresholds for {counted(len(card.labels), 'class', 'classes')}"
        )
    if job.calibration is not None and job.calibration.labels != tuple(card.labels):
        raise ConfigError("the calibration is of other classes than the model card")
    unknown = set(job.species or ()) - set(card.labels)
    if unknown:
        raise ConfigError(f"the model does not know the species {first_few(sorted(unknown))}")


def calibration_in_json(engine: Engine) -> dict[str, Any] | None:
    """Return the calibration of a model's scores in JSON's types, None where it has none.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> calibration_in_json(open_engine("model", n_threads=1)) is None
    True
    """
    return None if engine.calibration is None else engine.calibration.model_dump(mode="json")


class PredictedBefore(Engine):
    """A model of which only the card is here: for what needs no more than its outputs in a journal.

    Parameters
    ----------
    card, fingerprint
        Those of the model.
    calibration
        That of its scores.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> PredictedBefore(open_engine("model", n_threads=1).card, "onnx 3f9a").card.labels
    ('wren', 'robin', 'owl')
    """

    def __init__(
        self, card: ModelCard, fingerprint: str, calibration: ScoreCalibration | None = None
    ) -> None:
        self.card, self.fingerprint, self.clips_per_request = card, fingerprint, 1
        if calibration is not None:
            self.calibration = calibration

    def prepare(self, waves: np.ndarray) -> Inputs:
        """Raise RunError: there is no network."""
        raise RunError(f"{self.card.exp_name}: only what it has predicted is here, not the model itself")

    def stream(self, requests: Iterable[tuple[KeyT, Inputs]]) -> Iterator[tuple[KeyT, Outputs]]:
        """Raise RunError as soon as there is a request."""
        for _, inputs in requests:
            self.prepare(inputs)
        yield from ()


def recordings_of(
    root: Path, contents: Sequence[ShardContent], *, where: Path
) -> tuple[RecordingFiles, list[Failure]]:
    """Return all recordings of shards, by name, and those that failed, in the same order.

    ``where`` names the folder of the shards in messages.

    Raises
    ------
    RunError
        There are none, or two of one name.

    Examples
    --------
    >>> from pathlib import Path
    >>> shard = ShardContent(recordings={"a.wav": "audio/a.wav"}, index={}, failures=[], notes={})
    >>> recordings_of(Path("audio"), [shard], where=Path("tables"))[0].recordings[0].name
    'a.wav'
    """
    recordings = sorted(
        RecordingFile(stored_path(from_legible(path)), from_legible(name))
        for content in contents
        for name, path in content.recordings.items()
    )
    recordings.sort(key=lambda recording: recording.name)
    names = [recording.name for recording in recordings]
    if not names or len(set(names)) < len(names):
        which = "two of one name" if names else "none"
        raise RunError(f"the shards of {where} list {which} as recordings; compute all of them again")
    failures = {
        stored_path(from_legible(path)): from_legible(reason)
        for content in contents
        for path, reason in content.failures
    }
    failed = [Failure(each.path, failures[each.path]) for each in recordings if each.path in failures]
    return RecordingFiles(root, recordings), failed


def gather(
    work: JournaledInference,
    found: RecordingFiles,
    failures: Sequence[Failure],
    contents: Sequence[ShardContent],
) -> None:
    """Take the entries that shards have written as those of this job.

    Raises
    ------
    RunError
        Some are no longer there.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.batch.journaled import open_journal
    >>> from dawnchorus.predict.postprocess import PostprocessSettings
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> found = find_recordings(["night.wav"])
    >>> with open_journal(open_engine("model", n_threads=1), Path("tables"), PostprocessSettings()) as work:
    ...     gather(work, found, [], [])
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: tables/journal has lost 1 recording: night.wav; compute its shard again
    """
    failed = {failure.path for failure in failures}
    names = [recording.name for recording in found.recordings if recording.path not in failed]
    indexed = {name: entry for content in contents for name, entry in content.index.items()}
    lost = work.journal.gather(indexed, names)
    if lost:
        shards = sorted(
            number
            for number, content in enumerate(contents, start=1)
            if content.recordings.keys() & set(map(legible, lost))
        )
        which = f"shard {', '.join(map(str, shards))}" if shards else "its shard"
        raise RunError(
            f"{work.journal.folder} has lost {counted(len(lost), 'recording')}: {first_few(lost)}; compute "
            f"{which} again"
        )
    work.versions.update({name: work.journal.index[name].version for name in names})
    for content in contents:
        for path, notes in content.notes.items():
            work.notes[stored_path(from_legible(path))] = [from_legible(note) for note in notes]


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


def _own_parts(job: _PredictJob, formats: Sequence[Format], recorder_name: str | None) -> dict[str, Format]:
    """Return the own writers that are named now, by their import paths.

    Raises
    ------
    RunError
        The job needs a region.
    ConfigError
        The job uses code that is not named.
    """
    if job.region is not None:
        raise RunError(
            "the shards were predicted with a region, which is no part of what they keep; run the command "
            "without --shard in place of join, which predicts nothing again"
        )
    given = {each if isinstance(each, str) else import_path(each): each for each in formats}
    for name, option, named in (
        *((name, "--format", given.keys()) for name in job.formats),
        (job.recorder_name or "", "--recorder-name", {recorder_name}),
    ):
        if ":" in name and name not in named:
            raise ConfigError(
                f"the shards were predicted with {in_line(name)}, code of your own, which is run only where "
                f"it is named; join with {option} {in_line(name)}"
            )
    return given


def _settings_of(job: _PredictJob, own_parts: Mapping[str, Format]) -> BulkSettings:
    """Return the settings of a job."""
    return BulkSettings(
        job.detection,
        overlap_s=job.overlap,
        postprocess=job.postprocess,
        formats=tuple(own_parts.get(name, name) for name in job.formats),
        with_windows=job.windows,
        with_embeddings=job.embeddings,
        times=RecorderTimes(job.recorder_name, job.time_zone),
        journal=None if job.journal else False,
        escape_formulas=job.escape_formulas,
        channel=job.channel,
        salvage=job.salvage,
    )
