"""Prediction of many recordings into tables on disk, which are made from a journal of outputs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from dawnchorus.batch.bulk_output import BulkOutput, BulkPredictions
from dawnchorus.batch.bulk_settings import BulkSettings
from dawnchorus.batch.journaled import JournaledInference, Prediction, durations_of, open_journal
from dawnchorus.batch.remote_output import local_output
from dawnchorus.engines.engine import Engine
from dawnchorus.errors import DawnchorusError
from dawnchorus.files import Failure
from dawnchorus.formats import formats_of
from dawnchorus.formats.survey_days import left_out_ahead
from dawnchorus.formats.whole_tables import TABLE_ERRORS
from dawnchorus.predict.recording_files import RecordingFiles
from dawnchorus.predict.window_tables import WINDOWS_NAME

logger = logging.getLogger(__name__)

SHORT_S = 600.0
"""A single recording of at most this length, seconds, leaves no journal unless one is requested."""


def predict_bulk(
    engine: Engine,
    found: RecordingFiles,
    out_dir: Path,
    settings: BulkSettings,
    *,
    force: bool = False,
    again: bool = False,
    prune: bool = False,
    prediction: Prediction = JournaledInference.predict,
) -> BulkPredictions:
    """Predict recordings, write the tables, and return counts and paths.

    A call that was killed can be repeated: recordings in the journal are not predicted a second time unless
    their files have changed, and the tables are those of an undisturbed call, bit for bit. What earlier calls
    predicted below the same folder stays in the tables, also where the recordings are gone. A table that a
    person has changed stays as it is; ``predictions.json`` has digests of all.

    Parameters
    ----------
    engine
        The ensemble.
    found
        The recordings.
    out_dir
        Where tables and journal go, also in object storage; made if missing. Tables that earlier calls wrote
        there are written again, so that all in it are of the same recordings and settings.
    settings
        Thresholds, postprocessing, formats and times.
    force
        Whether tables made with other settings, or predictions of another model, are replaced.
    again
        Whether recordings are predicted that the journal has already.
    prune
        Whether recordings that ``found`` does not have leave the journal and the tables.
    prediction
        What predicts what the journal lacks: this process, or the workers of a cluster
        (:class:`dawnchorus.batch.cluster_predictions.ClusterPrediction`).

    Raises
    ------
    ConfigError
        A format is not known, or would write where the journal or another table is.
    RunError
        The folder holds tables or predictions made with other settings, or foreign files, and ``force`` is
        not set.
    DataError
        None of the recordings could be decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.batch.bulk_settings import BulkSettings
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> settings = BulkSettings(DetectionSettings(np.zeros(3, np.float32)), formats=("csv",))
    >>> found = find_recordings(["night.wav"])
    >>> made = predict_bulk(open_engine("model", n_threads=1), found, Path("tables"), settings)
    >>> made.n_recordings, made.n_detections  # three windows of 5 s, and each of three classes
    (1, 9)
    """
    with local_output(out_dir) as folder:
        made = _predict_into(
            engine, found, folder, settings, partial(prediction, again=again), force=force, prune=prune
        )
        return made.placed_in(out_dir, folder)


def _predict_into(
    engine: Engine,
    found: RecordingFiles,
    out_dir: Path,
    settings: BulkSettings,
    prediction: Callable[[JournaledInference, RecordingFiles], tuple[int, list[Failure]]],
    *,
    force: bool,
    prune: bool,
) -> BulkPredictions:
    output = BulkOutput.of(out_dir, found.root, settings, engine, force=force)
    paths = [recording.path for recording in found.recordings]
    if (sentence := left_out_ahead(formats_of(settings.formats), paths, settings.times)) is not None:
        logger.warning(sentence)
    if unheard := [name for name, writer in formats_of(settings.formats).items() if writer.needs_verdicts]:
        logger.warning(
            f"{' and '.join(unheard)} takes species that people have heard alone: listen before anything of "
            "it is submitted, then write it with dawnchorus convert --verified"
        )
    settings, had_journal = output.settings, output.had_journal
    alone = [] if had_journal else _names_in(out_dir / WINDOWS_NAME)
    keep = had_journal or not _is_short(found) if settings.journal is None else settings.journal
    with open_journal(engine, out_dir, settings.journaled, force=force, keep=keep) as work:
        output = output.begin(work, force=force or had_journal)  # a journal has refused another network
        try:
            n_new, failures = prediction(work, found)
            made = output.write(work, found, n_new, failures, prune=prune)
        except DawnchorusError:
            output.tables.withdraw()
            raise
        names = work.journal.index.keys() & set(alone)
    return made._replace(dropped=[name for name in alone if name not in names]) if alone else made


def _names_in(windows: Path) -> list[str]:
    """Return the names of the recordings in a table of windows, none where it cannot be read."""
    try:
        return pq.read_table(windows, columns=["filename"])["filename"].unique().to_pylist()
    except TABLE_ERRORS:
        return []


def _is_short(found: RecordingFiles) -> bool:
    """Return whether a job is a single short recording, which is quick to predict again."""
    if len(found.recordings) != 1:
        return False
    durations = list(durations_of(found.root, found.recordings))
    return bool(durations) and durations[0] <= SHORT_S
