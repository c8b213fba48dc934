"""Prediction of many recordings in shards.

All shards write into the journal of one output folder, so that the join has no sound to read and no model to
open: :func:`dawnchorus.batch.shard_join.join_predictions` makes the tables of that journal, as
:func:`dawnchorus.batch.bulk.predict_bulk` would.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawnchorus.batch.bulk_output import BulkOutput
from dawnchorus.batch.bulk_settings import BulkSettings, table_settings
from dawnchorus.batch.journal import JOURNAL_NAME
from dawnchorus.batch.journaled import open_journal
from dawnchorus.batch.remote_output import local_output
from dawnchorus.batch.shard_records import (
    calibration_in_json,
    content_of,
    root_facts,
)
from dawnchorus.config.import_paths import import_path
from dawnchorus.engines.engine import Engine
from dawnchorus.files import Failure, size_of
from dawnchorus.files.shards import Shard, ShardRecords, listing_digest
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles


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
    repeated. :func:`dawnchorus.batch.shard_join.join_predictions` then writes the tables.

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
    >>> from dawnchorus.batch.bulk_settings import BulkSettings
    >>> from dawnchorus.batch.shard_join import join_predictions
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
        settings.journaled,
        force=force,
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
