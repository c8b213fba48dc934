"""The join of what shards predicted into one set of tables, without the model or any sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.batch.bulk_output import BulkOutput, BulkPredictions
from dawnchorus.batch.bulk_settings import BulkSettings
from dawnchorus.batch.journal import JOURNAL_NAME
from dawnchorus.batch.journaled import JournaledInference, open_journal
from dawnchorus.batch.remote_output import local_output
from dawnchorus.batch.shard_records import (
    PredictJob,
    ShardContent,
)
from dawnchorus.config.import_paths import import_path
from dawnchorus.engines.engine import Engine, Inputs, KeyT, Outputs
from dawnchorus.errors import ConfigError, RunError
from dawnchorus.files import Failure, from_legible, legible
from dawnchorus.files.shards import ShardRecords
from dawnchorus.files.storage import stored_path
from dawnchorus.formats import Format
from dawnchorus.models.card import ModelCard
from dawnchorus.models.score_calibration import ScoreCalibration
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.wording import counted, first_few, in_line


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
    job, contents = records.read(PredictJob, ShardContent)
    own_parts = _own_parts(job, formats, recorder_name)
    found, failures = recordings_of(job.root, contents, where=out_dir)
    card = ModelCard.from_json(job.card, where=str(out_dir))
    try:
        settings = _settings_of(job, own_parts)
        _check_classes(job, card)
        engine = PredictedBefore(card, job.model, job.calibration)
        output = BulkOutput.of(out_dir, found.root, settings, engine, force=force)
        with open_journal(
            engine, out_dir, output.settings.journaled, keep=settings.journal is not False
        ) as work:
            gather(work, found, failures, contents)
            output = output.begin(work, force=True)
            return output.write(work, found, len(work.versions), failures)
    except ConfigError as error:
        raise RunError(
            f"{out_dir} holds shards of settings that are not legal: {error}; compute all shards again"
        ) from None


def _check_classes(job: PredictJob, card: ModelCard) -> None:
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
    >>> from dawnchorus.batch.shard_records import ShardContent
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
    >>> from dawnchorus.batch.journaled import JournalSettings, open_journal
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> found = find_recordings(["night.wav"])
    >>> with open_journal(open_engine("model", n_threads=1), Path("tables"), JournalSettings()) as work:
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


def _own_parts(job: PredictJob, formats: Sequence[Format], recorder_name: str | None) -> dict[str, Format]:
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


def _settings_of(job: PredictJob, own_parts: Mapping[str, Format]) -> BulkSettings:
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
