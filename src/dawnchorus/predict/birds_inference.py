"""``BirdsInference``: an ensemble over sounds of any length, window by window."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.clips import make_clip
from dawnchorus.audio.sound import Sound
from dawnchorus.audio.windows import shortest_window
from dawnchorus.engines.engine import Engine, Inputs, Outputs, filled_up
from dawnchorus.engines.engine_settings import frontend_threads
from dawnchorus.errors import AudioError, ConfigError, ModelError
from dawnchorus.files import Failure
from dawnchorus.predict.clip_requests import (
    ClipPosition,
    ClipRequest,
    WindowPlan,
    channels_of,
    clip_requests,
    window_stream,
)
from dawnchorus.predict.prefetch import in_background, map_prefetched
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.progress import track
from dawnchorus.wording import counted

if TYPE_CHECKING:
    from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset

logger = logging.getLogger(__name__)

_N_PREFETCHED = 4  # requests that are decoded ahead of the spectrograms, which are ahead of the engine


class Predicted(NamedTuple):
    """One recording, and its windows or the reason why there are none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.files import Failure
    >>> predicted = Predicted(Path("night.wav"), Failure(Path("night.wav"), "truncated"))
    >>> isinstance(predicted.outcome, Failure), predicted.path.name
    (True, 'night.wav')
    """

    path: Path
    outcome: WindowPredictions | Failure


class PredictedSound(NamedTuple):
    """One sound, and its windows or the reason why there are none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.sound import Sound
    >>> from dawnchorus.files import Failure
    >>> predicted = PredictedSound(Sound.of("night.wav"), Failure(Path("night.wav"), "truncated"))
    >>> predicted.sound, predicted.outcome.reason
    (Sound(night.wav), 'truncated')
    """

    sound: Sound
    outcome: WindowPredictions | Failure


class BirdsInference:
    """Prediction of recordings with an ensemble in any engine.

    Recordings are decoded in a stream, so that only the outputs of a long one are held in memory, and ahead
    of the engine, so that it does not wait for them. The result does not depend on threads, on the
    size of requests (beyond rounding), or on which recordings are predicted together.

    Parameters
    ----------
    engine
        The ensemble (:func:`dawnchorus.engines.open_engine`).
    overlap_s
        Seconds that a window shares with the next one, from 0 to below the segment's length.
    shift_s
        Distance in seconds of the two neighbours that are also predicted beside each window, for
        :func:`dawnchorus.predict.postprocess.shift_average`; above 0, below the segment's length.
    with_embeddings
        Whether to keep the embedding of each window.
    n_workers
        Threads that make spectrograms; one for two cores if not given.
    channel
        Channel of files, as for :meth:`dawnchorus.Sound.of`; the one that the model was trained with if not
        given.

    Raises
    ------
    ConfigError
        The overlap or the shift is out of its range.

    Examples
    --------
    >>> from dawnchorus import BirdsInference, open_engine
    >>> inference = BirdsInference(open_engine("model", n_threads=1))
    >>> windows = inference.predict_recording("night.wav")
    >>> windows.starts / windows.sample_rate, windows.probabilities.shape  # three classes
    (array([ 0.,  5., 10.]), (3, 3))
    """

    def __init__(
        self,
        engine: Engine,
        *,
        overlap_s: float = 0.0,
        shift_s: float | None = None,
        with_embeddings: bool = False,
        n_workers: int | None = None,
        channel: Channel | None = None,
    ) -> None:
        if with_embeddings and not engine.has_embeddings:
            raise ModelError(
                f"{engine.card.exp_name} was exported without embeddings; leave them out, or take a model "
                "that dawnchorus has exported"
            )
        if not engine.card.labels and not with_embeddings:
            raise ModelError(
                f"{engine.card.exp_name} gives embeddings and names no species; ask for its embeddings"
            )
        self.engine = engine
        self.card = engine.card
        self.plan = _checked_plan(engine, overlap_s, shift_s)
        self.with_embeddings = with_embeddings
        self.n_workers = n_workers or frontend_threads()
        self.channel: Channel = self.card.channel if channel is None else channel

    @property
    def has_channels(self) -> bool:
        """Whether the windows of files have the number of a channel."""
        return self.channel == "each" or isinstance(self.channel, int)

    def predict_recording(self, path: Path) -> WindowPredictions:
        """Return the windows of one recording, an audio file or an HDF5 file of the store.

        Raises
        ------
        AudioError
            It cannot be decoded.
        """
        (predicted,) = self.predict_recordings([path])
        if isinstance(predicted.outcome, Failure):
            raise AudioError(predicted.outcome.reason)
        return predicted.outcome

    def predict_recordings(
        self, paths: Iterable[Path], *, on_progress: Callable[[float], object] = lambda seconds: None
    ) -> Iterator[Predicted]:
        """Yield each recording with its windows, or with the reason why it cannot be decoded.

        Parameters
        ----------
        paths
            Audio files, or HDF5 files of the store; taken one by one as they are decoded.
        on_progress
            Called with the seconds of audio that were predicted since the last call.
        """
        sounds = (Sound.of(Path(path), channel=self.channel) for path in paths)
        for sound, outcome in self.predict_sounds(sounds, on_progress=on_progress):
            assert sound.path is not None
            yield Predicted(sound.path, outcome)

    def predict_sounds(
        self, sounds: Iterable[Sound], *, on_progress: Callable[[float], object] = lambda seconds: None
    ) -> Iterator[PredictedSound]:
        """Yield each sound with its windows, or with the reason why it cannot be read.

        Parameters
        ----------
        sounds
            Taken one by one as they are read.
        on_progress
            Called with the seconds of audio that were predicted since the last call.
        """
        taken: dict[int, Sound] = {}
        collected = _Collected()
        for request, outputs in self.engine.stream(self._prepared(_noting(sounds, taken))):
            collected.add(request, outputs, with_embeddings=self.with_embeddings)
            on_progress(self._seconds(request, taken))
            for number, failure in request.ended:
                windows = collected.pop(number, self.card.sample_rate)
                sound = taken.pop(number)
                for note in sound.notes:
                    logger.warning(note)
                failed = None if failure is None else Failure(sound.path or Path(sound.name), failure)
                yield PredictedSound(sound, failed or windows)

    def stream_windows(self, sound: Sound) -> Iterator[WindowPredictions]:
        """Yield each window of a sound as soon as its last sample is there: for microphones and pipes.

        The numbers are those of :meth:`predict_sounds`, because requests are padded in the same way. Windows
        that one block of the sound completes are computed together.

        Raises
        ------
        AudioError, StoreError
            The sound cannot be read to its end, or has none.
        """
        channels = [self._windows_of(part, number) for part, number in channels_of(sound)]
        for together in zip_longest(*channels):
            yield from (windows for windows in together if windows is not None)
        for note in sound.notes:
            logger.warning(note)

    def _windows_of(self, sound: Sound, channel: int) -> Iterator[WindowPredictions]:
        windows = window_stream(self.card, self.plan)
        for block in sound.blocks(self.card.sample_rate):
            yield from self._each_of(windows.add(block), channel)
        if not windows.n_samples:
            raise AudioError(f"{sound.name}: holds no samples")
        yield from self._each_of(windows.end(), channel)

    def _each_of(
        self, windows: Iterator[tuple[int, int, np.ndarray]], channel: int
    ) -> Iterator[WindowPredictions]:
        channels = np.array([channel], np.int64) if channel else None
        while some := list(islice(windows, self.engine.clips_per_request)):
            outputs = self.engine.outputs(np.stack([make_clip(wave, self.card) for _, _, wave in some]))
            bounds = np.array([(start, stop) for start, stop, _ in some], dtype=np.int64)
            for row in range(len(some)):
                here = slice(row, row + 1)
                embeddings = outputs.embeddings[here] if self.with_embeddings else None
                yield WindowPredictions(
                    bounds[here, 0], bounds[here, 1], outputs.probabilities[here],
                    self.card.sample_rate, embeddings, channels,
                )  # fmt: skip

    def _prepared(self, sounds: Iterable[Sound]) -> Iterator[tuple[ClipRequest, Inputs]]:
        """Yield requests without their waves, and the engine's inputs for them, both made in threads."""
        size = self.engine.clips_per_request
        requests = clip_requests(sounds, self.card, self.plan, sample_rate=self.card.sample_rate, size=size)

        def prepare(request: ClipRequest) -> tuple[ClipRequest, Inputs]:
            inputs = self.engine.prepare(filled_up(request.waves, size))
            return request._replace(waves=request.waves[:0]), inputs

        return map_prefetched(
            prepare, in_background(requests, n_prefetched=_N_PREFETCHED), n_threads=self.n_workers
        )

    def _seconds(self, request: ClipRequest, sounds: Mapping[int, Sound]) -> float:
        """Return the seconds of new audio in a request; overlaps, shifts and channels count once."""
        step = self.plan.step
        wanted = [
            position
            for position in request.positions
            if position.start % step == 0
            and (position.channel <= 1 or sounds[position.recording].channel != "each")
        ]
        return sum(min(position.stop - position.start, step) for position in wanted) / self.card.sample_rate

    def predict_dataset(
        self, dataset: WaveAllFileDataset, *, num_workers: int = 0, description: str = "Predicting"
    ) -> npt.NDArray[np.float32]:
        """Return the maximum over each recording's windows, shape (n_recordings, n_classes)."""
        best = np.zeros((len(dataset.targets), len(self.card.labels)), dtype=np.float32)
        for recordings, probabilities in self._of_batches(dataset, num_workers, description):
            np.maximum.at(best, recordings, probabilities)
        return best

    def predict_dataset_windows(
        self, dataset: WaveAllFileDataset, *, num_workers: int = 0, description: str = "Predicting"
    ) -> npt.NDArray[np.float32]:
        """Return the probabilities of each of its windows, in their order, shape (n_windows, n_classes)."""
        batches = self._of_batches(dataset, num_workers, description)
        return np.concatenate([probabilities for _, probabilities in batches])

    def _of_batches(
        self, dataset: WaveAllFileDataset, num_workers: int, description: str
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Yield the rows of the recordings and the probabilities of the windows, batch by batch."""
        from dawnchorus.config import LoaderSettings
        from dawnchorus.datasets.loaders import ClipLoader

        settings = LoaderSettings(batch_size=self.engine.clips_per_request, num_workers=num_workers)
        with closing(ClipLoader(dataset, settings)) as loader:
            for waves, recordings, _ in track(loader, description, total=len(loader)):
                yield recordings.numpy(), self.engine.predict(waves.numpy())

    def __repr__(self) -> str:
        card = self.card
        overlap_s = (card.n_segment - self.plan.step) / card.sample_rate
        windows = f"windows of {card.segment_len:g} s" + (
            f" that overlap by {overlap_s:g} s" if overlap_s else ""
        )
        return f"BirdsInference({card.exp_name}: {counted(len(card.labels), 'class', 'classes')}, {windows})"


class _Collected:
    """Outputs of windows, held until their recording is complete."""

    def __init__(self) -> None:
        self.parts: dict[int, list[tuple[npt.NDArray[np.int64], Outputs]]] = {}

    def add(self, request: ClipRequest, outputs: Outputs, *, with_embeddings: bool) -> None:
        """Store the outputs of a request, each under its recording."""
        positions = np.array(request.positions, dtype=np.int64).reshape(-1, len(ClipPosition._fields))
        for number in np.unique(positions[:, 0]).tolist():
            rows = np.flatnonzero(positions[:, 0] == number)
            embeddings = outputs.embeddings[rows if with_embeddings else rows[:0]]
            part = positions[rows, 1:], Outputs(outputs.probabilities[rows], embeddings)
            self.parts.setdefault(number, []).append(part)

    def pop(self, number: int, sample_rate: int) -> WindowPredictions:
        """Remove and return the windows of a recording; none where it failed before its first."""
        parts = self.parts.pop(number, [])
        if not parts:
            nothing = np.zeros(0, np.int64)
            return WindowPredictions(nothing, nothing, np.zeros((0, 0), np.float32), sample_rate)
        bounds = np.concatenate([bounds for bounds, _ in parts])
        probabilities, embeddings = (
            np.concatenate(column) for column in zip(*(outputs[:2] for _, outputs in parts), strict=True)
        )
        kept = embeddings if len(embeddings) else None
        channels = bounds[:, 2] if bounds[:, 2].any() else None
        return WindowPredictions(bounds[:, 0], bounds[:, 1], probabilities, sample_rate, kept, channels)


def _noting(sounds: Iterable[Sound], taken: dict[int, Sound]) -> Iterator[Sound]:
    """Yield sounds, each stored in ``taken`` under its number first."""
    for number, sound in enumerate(sounds):
        taken[number] = sound
        yield sound


def _checked_plan(engine: Engine, overlap_s: float, shift_s: float | None) -> WindowPlan:
    card = engine.card
    windows = f"the model's windows of {card.segment_len:g} s"
    step = card.n_segment - round(overlap_s * card.sample_rate) if 0 <= overlap_s < card.segment_len else 0
    if step < 1:
        raise ConfigError(f"an overlap of {overlap_s:g} s is not possible; legal: from 0 to below {windows}")
    shortest = shortest_window(card.sample_rate)
    if shift_s is None:
        return WindowPlan(step, shortest=shortest)
    shift = round(shift_s * card.sample_rate) if 0 < shift_s < card.segment_len else 0
    if not 1 <= shift < card.n_segment:
        raise ConfigError(f"a shift of {shift_s:g} s is not possible; legal: above 0 and below {windows}")
    return WindowPlan(step, shift, shortest)
