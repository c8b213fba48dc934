"""Inference with a journal: recordings that are in it are not predicted again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.headers import read_headers
from dawnchorus.audio.salvage import is_salvage_note
from dawnchorus.audio.sound import Sound
from dawnchorus.audio.source import STORE_SUFFIXES, open_stored
from dawnchorus.batch.journal import JOURNAL_NAME, Entry, Journal, Version, version_of
from dawnchorus.engines.engine import Engine
from dawnchorus.errors import ConfigError, RunError, StoreError
from dawnchorus.files import Failure, mend
from dawnchorus.files.shards import Shard
from dawnchorus.files.storage import is_remote
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.predict.postprocess import PostprocessSettings, postprocess
from dawnchorus.predict.recording_files import RecordingFile, RecordingFiles
from dawnchorus.progress import audio_progress
from dawnchorus.wording import counted, first_few

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JournalSettings:
    """Settings of an inference with a journal.

    Attributes
    ----------
    postprocess
        Postprocessing of probabilities that are read from the journal.
    overlap_s, with_embeddings, n_workers, channel
        As for :class:`dawnchorus.predict.birds_inference.BirdsInference`.
    salvage
        Whether damaged recordings are read as far as they go; otherwise entries of such do not count.

    Examples
    --------
    >>> JournalSettings(overlap_s=2.5).salvage
    False
    """

    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    overlap_s: float = 0.0
    with_embeddings: bool = False
    n_workers: int | None = None
    channel: Channel | None = None
    salvage: bool = False

    def inference(self, engine: Engine) -> BirdsInference:
        """Return the inference of an engine.

        Raises
        ------
        ConfigError
            Overlap or shift are out of range, or windows are to be averaged that do not overlap.
        """
        inference = BirdsInference(
            engine,
            overlap_s=self.overlap_s,
            shift_s=self.postprocess.shift_s,
            with_embeddings=self.with_embeddings,
            n_workers=self.n_workers,
            channel=self.channel,
        )
        if self.postprocess.overlap_average and 2 * inference.plan.step > inference.card.n_segment:
            raise ConfigError(
                f"with an overlap of {self.overlap_s:g} s no stretch of a step lies in two windows, so that "
                f"nothing can be averaged; overlap by {inference.card.segment_len / 2:g} s or more, or leave "
                "it out"
            )
        return inference


@contextmanager
def open_journal(
    engine: Engine,
    out_dir: Path,
    settings: JournalSettings,
    *,
    force: bool = False,
    keep: bool = True,
    shard: Shard | None = None,
) -> Iterator[JournaledInference]:
    """Yield an inference that stores its outputs in ``out_dir/journal``, locked meanwhile.

    A job that fails or is killed keeps its entries in any case, so that the next one goes on.

    Parameters
    ----------
    engine
        The ensemble.
    out_dir
        Where the journal lies.
    settings
        What is predicted and how.
    force
        Whether entries that were made with another network are dropped.
    keep
        Whether the entries stay when the block has ended well; otherwise those of this job are removed then,
        and the journal too where it has no others.
    shard
        The part of a job that this is; others may write their entries at the same time.

    Raises
    ------
    ConfigError
        Overlap or shift are out of range, or windows are to be averaged that do not overlap.
    RunError
        The journal is in use, or of another network and ``force`` is not set.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> engine, found = open_engine("model", n_threads=1), find_recordings(["night.wav"])
    >>> with open_journal(engine, Path("tables"), JournalSettings()) as job:
    ...     job.predict(found), job.predict(found)  # the second time, nothing is new
    ((1, []), (0, []))
    """
    inference = settings.inference(engine)
    network = {
        "model": engine.fingerprint,
        "overlap or shift": [inference.plan.step, inference.plan.shift],
        "embeddings": settings.with_embeddings,
        "channel": None if inference.channel == "mean" else inference.channel,
    }
    journal = Journal(out_dir / JOURNAL_NAME, shard)
    with journal.opened(network, anew=force):
        mend(out_dir)
        work = JournaledInference(inference, journal, settings, network)
        try:
            yield work
        except BaseException:
            journal.forget(())  # an empty journal would only bind the folder to this network
            raise
        if not keep:
            journal.forget(work.versions)


@dataclass(frozen=True)
class JournaledInference:
    """An inference and the journal of its outputs.

    Attributes
    ----------
    inference, journal
        The inference, and the journal of its outputs.
    settings
        What is predicted and how.
    network
        What predictions depend on, in JSON's types.
    versions
        The version of each recording of this job, by its name.
    notes
        What is odd about the sound of each recording that this job predicted, by its path.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> engine, found = open_engine("model", n_threads=1), find_recordings(["night.wav"])
    >>> with open_journal(engine, Path("tables"), JournalSettings()) as job:
    ...     n_new, failures = job.predict(found)
    ...     job.read(found.recordings[0]).predictions.probabilities.shape
    (3, 3)
    """

    inference: BirdsInference
    journal: Journal
    settings: JournalSettings
    network: Mapping[str, Any]
    versions: dict[str, Version] = field(default_factory=dict)
    notes: dict[Path, Sequence[str]] = field(default_factory=dict)

    def predict(self, found: RecordingFiles, *, again: bool = False) -> tuple[int, list[Failure]]:
        """Predict the recordings that are not in the journal; return their number, and failures.

        With ``again``, all of them are predicted, whatever the journal has.
        """
        to_do, failures = self.missing(found.recordings, again=again)
        if not to_do:
            return 0, failures
        with audio_progress("Predicting", total_s=sum(durations_of(found.root, to_do))) as advance:
            n_new, failed = self.predict_all(to_do, on_progress=advance)
        return n_new, failures + failed

    def missing(
        self, recordings: Iterable[RecordingFile], *, again: bool = False
    ) -> tuple[list[RecordingFile], list[Failure]]:
        """Return the recordings that are not in the journal, and those that cannot be read."""
        failures, to_do, damaged = [], [], []
        for recording in recordings:
            if not again and self.is_known(recording):
                continue
            reason = self._note_version(recording)
            if reason is not None:
                failures.append(Failure(recording.path, reason))
            elif again or not self._has_entry(recording):
                to_do.append(recording)
                if self.journal.is_damaged(recording.name):
                    damaged.append(recording.name)
        if damaged:
            logger.warning(
                f"{counted(len(damaged), 'entry', 'entries')} of {self.journal.folder} "
                f"{'is' if len(damaged) == 1 else 'are'} damaged, and predicted anew: {first_few(damaged)}"
            )
        return to_do, failures

    def predict_all(
        self,
        recordings: Sequence[RecordingFile],
        *,
        on_progress: Callable[[float], object] = lambda seconds: None,
    ) -> tuple[int, list[Failure]]:
        """Predict recordings, whatever the journal has; return the number of those predicted, and failures.

        ``on_progress`` is called with the seconds of audio that were predicted since the last call.
        """
        to_do = {recording.path: recording for recording in recordings}
        n_new, failures = 0, list[Failure]()

        def begun() -> Iterator[Sound]:
            for path, recording in to_do.items():
                self._note_version(recording)  # again, because hours may have passed
                yield Sound.of(path, channel=self.inference.channel, salvage=self.settings.salvage)

        for sound, outcome in self.inference.predict_sounds(begun(), on_progress=on_progress):
            assert sound.path is not None
            path, recording = sound.path, to_do[sound.path]
            if isinstance(outcome, Failure):
                failures.append(outcome)
            elif self._has_changed(recording):
                reason = f"{path}: changed while it was predicted; run the command again"
                failures.append(Failure(path, reason))
            else:
                is_salvaged = any(map(is_salvage_note, sound.notes))
                version = self.versions[recording.name]
                self.journal.write(recording, outcome, version, is_salvaged=is_salvaged)
                self.notes[path] = sound.notes
                n_new += 1
        self.forget_salvaged(to_do[failure.path] for failure in failures)
        return n_new, failures

    def forget_salvaged(self, failed: Iterable[RecordingFile]) -> None:
        """Remove the entries of recordings that failed now, where they were read as far as they go before."""
        indexed = {recording.name: self.journal.index.get(recording.name) for recording in failed}
        outdated = [name for name, entry in indexed.items() if entry is not None and entry.is_salvaged]
        if outdated and not self.settings.salvage:
            self.journal.forget(outdated)

    def read(self, recording: RecordingFile) -> Entry:
        """Return the entry of a recording that was predicted, its windows calibrated and postprocessed.

        Raises
        ------
        RunError
            The journal was damaged while the job ran.
        """
        entry = self.journal.read(recording.name)
        if entry is None or entry.version != self.versions.get(recording.name, entry.version):
            raise RunError(f"{self.journal.folder} has lost {recording.name}; run the command again")
        window, step = self.inference.card.n_segment, self.inference.plan.step
        # The journal has raw scores, so that another calibration needs no new prediction.
        calibrated = entry.predictions.calibrated(self.inference.engine.calibration)
        windows = postprocess(calibrated, self.settings.postprocess, window=window, step=step)
        return entry._replace(predictions=windows)

    def is_known(self, recording: RecordingFile) -> bool:
        """Return whether the index has this version, by which it is then noted; nothing is opened."""
        try:
            indexed = self.journal.known(recording)
        except (OSError, ValueError):
            return False
        if indexed is None or (indexed.is_salvaged and not self.settings.salvage):
            return False
        self.versions[recording.name] = indexed.version
        return True

    def _has_entry(self, recording: RecordingFile) -> bool:
        """Return whether the journal has this version with all its whole windows."""
        entry = self.journal.find(recording, self.versions[recording.name])
        if entry is None or (entry.is_salvaged and not self.settings.salvage):
            return False
        window, step = self.inference.card.n_segment, self.inference.plan.step
        whole = np.arange(0, int(entry.predictions.stops.max()) - window + 1, step)
        is_whole = bool(np.isin(whole, entry.predictions.starts).all())
        return is_whole and entry.predictions.probabilities.shape[1] == len(self.inference.card.labels)

    def _note_version(self, recording: RecordingFile) -> str | None:
        """Store the present version of a recording; return the reason where it has none, else None."""
        try:
            self.versions[recording.name] = version_of(recording)
        except OSError as error:
            return f"{recording.path}: cannot be read; {error.strerror or error}"
        except ValueError as error:  # a name that no file can have
            return f"{str(recording.path)!r}: cannot be read; {error}"
        return None

    def _has_changed(self, recording: RecordingFile) -> bool:
        before = self.versions[recording.name]
        return self._note_version(recording) is not None or self.versions[recording.name] != before


class Prediction(Protocol):
    """What brings the entries of recordings into a journal, as :meth:`JournaledInference.predict` does.

    Examples
    --------
    >>> prediction: Prediction = JournaledInference.predict
    """

    def __call__(
        self, work: JournaledInference, /, found: RecordingFiles, *, again: bool = False
    ) -> tuple[int, list[Failure]]:
        """Return the number of recordings that were not there before, and failures."""


def durations_of(root: Path, recordings: Sequence[RecordingFile]) -> Iterator[float]:
    """Yield the seconds of each recording, 0 or nothing for those that cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import find_recordings
    >>> found = find_recordings(["recordings/owl"])
    >>> sum(durations_of(found.root, found.recordings))
    4.0
    """
    recordings = [each for each in recordings if not is_remote(each.path)]  # a header is a request
    audio = [recording.name for recording in recordings if not _is_stored(recording)]
    for header in read_headers(root, audio):
        yield getattr(header, "duration_s", 0.0)
    for recording in recordings:
        if _is_stored(recording):
            try:
                stored = open_stored(recording.path)
            except StoreError:
                continue
            yield stored.n_samples / stored.sample_rate


def _is_stored(recording: RecordingFile) -> bool:
    return recording.path.suffix.lower() in STORE_SUFFIXES
