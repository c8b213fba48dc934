"""Pseudo-labels in shards, and the join of what they predicted into one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from dawnchorus.batch.journaled import JournaledInference, open_journal
from dawnchorus.batch.shard_join import PredictedBefore, gather, recordings_of
from dawnchorus.batch.shard_predictions import ShardPredictions, sizes_of
from dawnchorus.batch.shard_records import (
    ShardContent,
    SharedJob,
    calibration_in_json,
    content_of,
    root_facts,
)
from dawnchorus.config import Record
from dawnchorus.errors import RunError
from dawnchorus.files import Failure, inside
from dawnchorus.files.shards import SHARDS_NAME, Shard, ShardRecords, alone_in, listing_digest
from dawnchorus.models.card import ModelCard
from dawnchorus.models.score_calibration import ScoreCalibration
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings, made_with
from dawnchorus.pseudo_labels.pseudo_labelling import LabelledPart, PseudoLabels, label_parts
from dawnchorus.pseudo_labels.soundscape_files import soundscapes_by_name
from dawnchorus.wording import shown


class ShardPart(Record):
    """What a shard has predicted with one ensemble, as its record has it.

    Attributes
    ----------
    folder, fold
        As of :class:`~dawnchorus.pseudo_labels.pseudo_labelling.LabelledPart`; no other folder is legal than
        that of the fold, since the join writes there.
    card, model, calibration
        The model card as JSON, the fingerprint of the ensemble, and the calibration of its scores.
    content
        The recordings.

    Examples
    --------
    >>> content = {"recordings": {}, "index": {}, "failures": [], "notes": {}}
    >>> facts = {"card": "", "model": "torch 3f9a", "calibration": None}
    >>> ShardPart(folder="fold_1", fold=1, **facts, content=content).fold
    1
    """

    folder: str
    fold: Annotated[int, Field(ge=0, lt=10**6)] | None
    card: str
    model: str
    calibration: ScoreCalibration | None
    content: ShardContent

    @model_validator(mode="after")
    def _lies_inside(self) -> ShardPart:
        own = "all_folds" if self.fold is None else f"fold_{self.fold}"
        if self.folder != own:
            raise ValueError(f"the folder of a journal is {shown(self.folder)}, and not {own}")
        return self


class _Facts(Record, extra="ignore"):
    """What the page on a table needs to know."""

    models: str = ""
    out_of_fold: bool = False
    is_labelled: bool = False


class _LabelJob(SharedJob):
    """What the shards of ``dawnchorus pseudo-label`` have in common."""

    command: Literal["pseudo-label"]
    min_prob: Annotated[float, Field(ge=0, le=1)] = Field(alias="min-prob")
    models: Annotated[list[tuple[str, str]], Field(min_length=1)]
    facts: _Facts


class JoinedLabels(NamedTuple):
    """The table of all shards, the soundscapes, the model card, and the settings and facts of the job.

    Examples
    --------
    >>> JoinedLabels._fields
    ('made', 'found', 'card', 'settings', 'facts')
    """

    made: PseudoLabels
    found: RecordingFiles
    card: ModelCard
    settings: LabellingSettings
    facts: Mapping[str, Any]


def label_shard(
    parts: Sequence[LabelledPart],
    found: RecordingFiles,
    out_dir: Path,
    settings: LabellingSettings,
    shard: Shard,
    *,
    facts: Mapping[str, Any] | None = None,
    force: bool = False,
) -> ShardPredictions:
    """Predict one shard of soundscapes into the journals of a folder, and return counts.

    Every shard is given all soundscapes and the same settings and folder. :func:`join_labels` then writes the
    table.

    Parameters
    ----------
    parts
        The parts of all soundscapes.
    found, out_dir, settings, force
        As for :func:`dawnchorus.pseudo_labels.pseudo_labelling.make_pseudo_labels`, with its errors.
    shard
        The shard.
    facts
        What the page on the table names: ``models`` as text, ``out_of_fold`` and ``is_labelled``.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.files.shards import Shard
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
    >>> from dawnchorus.pseudo_labels.pseudo_labelling import whole_part
    >>> found, settings = find_recordings(["recordings/owl"]), LabellingSettings(Path("round_1.csv"))
    >>> parts = [whole_part(open_engine("model", n_threads=1), found)]
    >>> for number in (1, 2):
    ...     label_shard(parts, found, Path("out"), settings, Shard(number, 2)).n_new
    2
    2
    >>> join_labels(Path("out"), Path("round_1.csv")).made.n_rows
    4
    """
    soundscapes_by_name(found.recordings)  # which refuses two of one name, before the work
    sizes = sizes_of(found)
    ours = set(shard.of(sizes))
    folds = [part.fold for part in parts if part.fold is not None]
    done, n_new, failures = [], 0, list[Failure]()
    out_dir.mkdir(parents=True, exist_ok=True)
    records = ShardRecords(out_dir)
    with alone_in(out_dir, lock=out_dir / "lock", shard=shard):
        records.begin(shard)
        for part in parts:
            engine = part.open_ensemble()
            recordings = [recording for recording in part.recordings if recording.name in ours]
            folder = out_dir / part.folder
            journal = open_journal(engine, folder, settings.journaled, force=force, shard=shard)
            with journal as work:
                n_here, failed = work.predict(RecordingFiles(found.root, recordings))
                content = content_of(work, recordings, failed)
            n_new, failures = n_new + n_here, failures + failed
            done.append(
                {
                    "folder": part.folder,
                    "fold": part.fold,
                    "card": engine.card.to_json(),
                    "model": engine.fingerprint,
                    "calibration": calibration_in_json(engine),
                    "content": content,
                }
            )
        job = {
            "command": "pseudo-label",
            **root_facts(found.root),
            **made_with(settings, folds),
            "shift": settings.postprocess.shift_s,
            "models": [[each["folder"], each["model"]] for each in done],
            "facts": dict(facts or {}),
        }
        records.write(shard, done, listing=listing_digest(sizes), job=job)
    return ShardPredictions(shard, len(ours), n_new, failures)


def join_labels(out_dir: Path, table: Path, *, force: bool = False) -> JoinedLabels:
    """Write the table of all shards that were predicted into a folder.

    Parameters
    ----------
    out_dir
        The folder.
    table
        The table to write.
    force
        Whether a table made with other settings is replaced.

    Raises
    ------
    RunError
        Shards are missing, or not of one job; or the table was made with other settings, and ``force`` is not
        set.
    DataError
        None of the soundscapes could be decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("out").mkdir()
    >>> join_labels(Path("out"), Path("round_1.csv"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: out holds no shards that have ended; name the output of a command with --shard
    """
    job, shards = ShardRecords(out_dir).read(_LabelJob, list[ShardPart])
    _check_parts(job, shards, out_dir)
    settings = LabellingSettings(table, job.min_prob, job.postprocess)
    parts, taken, recordings = [], {}, list[RecordingFile]()
    for same in zip(*shards, strict=True):
        contents = [each.content for each in same]
        found, failures = recordings_of(job.root, contents, where=out_dir)
        card = ModelCard.from_json(same[0].card, where=str(out_dir))
        engine = PredictedBefore(card, same[0].model, same[0].calibration)
        folder = inside(out_dir, same[0].folder, named_in=out_dir / SHARDS_NAME).name
        parts.append(LabelledPart(folder, same[0].fold, partial(_same, engine), found.recordings))
        taken[folder] = (found, failures, contents)
        recordings += found.recordings

    def gathered(work: JournaledInference, part: LabelledPart) -> tuple[int, list[Failure]]:
        found, failures, contents = taken[part.folder]
        gather(work, found, failures, contents)
        return len(work.versions), failures

    everything = RecordingFiles(job.root, sorted(recordings, key=lambda recording: recording.name))
    made = label_parts(parts, everything, out_dir, settings, prediction=gathered, force=force)
    return JoinedLabels(made, everything, card, settings, job.facts.model_dump())


def _check_parts(job: _LabelJob, shards: Sequence[Sequence[ShardPart]], out_dir: Path) -> None:
    """Raise RunError where a shard has other parts than its job."""
    n_folders = len({folder for folder, _ in job.models})
    for number, parts in enumerate(shards, start=1):
        if [(part.folder, part.model) for part in parts] != job.models or n_folders < len(job.models):
            raise RunError(
                f"{out_dir / SHARDS_NAME}: shard {number} has other models than its job; compute it again"
            )


def _same(engine: PredictedBefore) -> PredictedBefore:
    return engine
