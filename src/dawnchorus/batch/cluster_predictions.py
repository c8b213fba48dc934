"""Prediction of recordings by the workers of a cluster, each of which has an engine of its own.

A worker decodes and predicts the recordings that it is given, and writes their entries into the journal,
where one process would have written them. The job's own process holds the journal's lock, indexes the
entries, and makes the tables from them. A worker that was killed leaves whole entries, which the next one
finds.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dawnchorus.batch.journal import IndexedEntry, Journal, Version
from dawnchorus.batch.journaled import JournaledInference, JournalSettings
from dawnchorus.batch.remote_output import fetch_object
from dawnchorus.cluster.workers import Cluster, Killed, Work, spread
from dawnchorus.engines.engine_settings import frontend_threads
from dawnchorus.engines.ensembles import Ensemble
from dawnchorus.errors import RunError
from dawnchorus.files import Failure
from dawnchorus.files.storage import RemotePath, given_path
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.progress import track

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterPrediction:
    """Prediction by the workers of a cluster, for :func:`dawnchorus.batch.bulk.predict_bulk`.

    The machines must see the model, the recordings and the output by the same names, and have the same
    release of dawnchorus. The tables are those of one process, bit for bit, where the processors are of one
    kind.

    Parameters
    ----------
    ensemble
        The models, which each worker opens.
    cluster
        The cluster.
    out_dir
        Where tables and journal go, also in object storage.
    calibrated
        Whether the engine of the job was opened with its calibration.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.cluster.workers import Cluster
    >>> from dawnchorus.engines.ensembles import Ensemble, WeightedModel
    >>> ensemble = Ensemble([WeightedModel(Path("model"))])
    >>> ClusterPrediction(ensemble, Cluster("local"), Path("tables")).calibrated
    False
    """

    ensemble: Ensemble
    cluster: Cluster
    out_dir: Path
    calibrated: bool = False

    def __call__(
        self, work: JournaledInference, found: RecordingFiles, *, again: bool = False
    ) -> tuple[int, list[Failure]]:
        """Return the number of recordings that were not there before, and failures, in no order.

        Raises
        ------
        RunError
            There is no such cluster, or its workers do not see the model.
        DawnchorusError
            The output cannot be written.
        """
        remote = given_path(self.out_dir)
        opener = _Opener(
            _seen_from_anywhere(self._ensemble_of(work)),
            self.calibrated,
            replace(
                work.settings, n_workers=work.settings.n_workers or frontend_threads(self.cluster.n_cores)
            ),
            work.network,
            work.journal.folder.absolute(),
            remote / work.journal.folder.name if isinstance(remote, RemotePath) else None,
            again,
        )
        to_do, failures = _missing(work, found.recordings, again=again, is_remote=opener.remote is not None)
        n_new, failed = 0, set[Path]()

        def done() -> Iterator[RecordingFile]:
            nonlocal n_new
            for block, result in spread(self.cluster, opener, to_do, n_items=len(to_do)):
                if isinstance(result, Killed):
                    done_now = _Predicted(0, [Failure(block[0].path, f"{block[0].path}: {result.reason}")])
                else:
                    done_now = result
                n_new += done_now.n_new
                failures.extend(done_now.failures)
                failed.update(path for path, _ in done_now.failures)
                _take(work, done_now, opener.remote)
                yield from block

        for _ in track(done(), "Predicting recordings", total=len(to_do)):
            pass
        work.forget_salvaged(each for each in to_do if each.path in failed)
        return n_new, failures

    def _ensemble_of(self, work: JournaledInference) -> Ensemble:
        engine = work.inference.engine
        return replace(
            self.ensemble, n_threads=self.cluster.n_cores, clips_per_request=engine.clips_per_request
        )


def _seen_from_anywhere(ensemble: Ensemble) -> Ensemble:
    """Return an ensemble whose files are named from the root on; models by a name stay."""
    models = [
        model._replace(path=model.path.absolute()) if model.path.exists() else model
        for model in ensemble.models
    ]
    return replace(ensemble, models=models)


def _missing(
    work: JournaledInference, recordings: Sequence[RecordingFile], *, again: bool, is_remote: bool
) -> tuple[list[RecordingFile], list[Failure]]:
    """Return the recordings that the index does not know, which workers then look for in the journal.

    They cannot look into one in storage, which is here as a copy.
    """
    unknown = [each for each in recordings if again or not work.is_known(each)]
    if again or not is_remote:
        return unknown, []
    there = {each for each in unknown if work.journal.entry_path(each.name).exists()}
    missing, failures = work.missing(there)
    return sorted({*unknown} - there | {*missing}), failures


@dataclass(frozen=True)
class _Predicted:
    """What a worker has done of a block."""

    n_new: int
    failures: list[Failure]
    versions: Mapping[str, Version] = field(default_factory=dict)
    index: Mapping[str, IndexedEntry] = field(default_factory=dict)
    notes: Mapping[Path, Sequence[str]] = field(default_factory=dict)


def _take(work: JournaledInference, done: _Predicted, remote: RemotePath | None) -> None:
    """Index what a worker has done, and fetch its entries where they went to storage."""
    for name, indexed in done.index.items():
        path = work.journal.entry_path(name)
        if remote is not None:
            fetch_object(remote.joinpath(path.relative_to(work.journal.folder)), path)
        work.journal.take(name, indexed)
    work.versions.update(done.versions)
    work.notes.update(done.notes)
    for notes in done.notes.values():
        for note in notes:
            logger.warning(note)


@dataclass(frozen=True)
class _Opener:
    """What a worker needs to begin."""

    ensemble: Ensemble
    calibrated: bool
    settings: JournalSettings
    network: Mapping[str, Any]
    folder: Path
    remote: RemotePath | None
    again: bool

    def __call__(self) -> Work[RecordingFile, _Predicted]:
        """Open the engine, and return what predicts a block with it."""
        engine = self.ensemble.open(calibrated=self.calibrated)
        if engine.fingerprint != self.network["model"]:
            raise RunError(
                f"{self.ensemble.models[0].path} is another model here than where the job began; let all "
                "machines see the same files"
            )
        folder = self.folder if self.remote is None else Path(tempfile.mkdtemp(prefix="dawnchorus-"))
        work = JournaledInference(
            self.settings.inference(engine), Journal(folder), self.settings, self.network
        )

        def predict(block: Sequence[RecordingFile]) -> _Predicted:
            to_do, failures = work.missing(block, again=self.again)
            n_new, failed = work.predict_all(to_do)
            done = _Predicted(
                n_new, failures + failed, dict(work.versions), dict(work.journal.index), dict(work.notes)
            )
            if self.remote is not None:
                for name in done.index:
                    path = work.journal.entry_path(name)
                    self.remote.joinpath(path.relative_to(folder)).put(path)
                    path.unlink()
            for noted in (work.versions, work.journal.index, work.notes):
                noted.clear()
            return done

        return predict
