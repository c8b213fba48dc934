"""``BirdsInference``: an ensemble over recordings of any length, window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.decode import stream_audio
from dawnchorus.audio.windows import stream_windows
from dawnchorus.config import LoaderSettings
from dawnchorus.data.clips import ClipSettings, make_clip
from dawnchorus.data.loading import ClipLoader
from dawnchorus.data.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.errors import AudioError
from dawnchorus.files import Failure
from dawnchorus.inference.runtimes import Runtime
from dawnchorus.progress import track


class WindowPredictions(NamedTuple):
    """The windows of one recording.

    Attributes
    ----------
    starts, stops
        Shape (n_windows,), int64, in samples at ``sample_rate``; the last stop is the recording's end.
    probabilities
        Shape (n_windows, n_classes), float32 in [0, 1].
    sample_rate
        In Hz.
    """

    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    sample_rate: int


class BirdsInference:
    """Predicts recordings with an ensemble in any engine.

    Parameters
    ----------
    runtime
        The ensemble (:func:`dawnchorus.inference.runtimes.open_runtime`).
    batch_size
        Clips per forward pass. It changes the speed, not the result.
    """

    def __init__(self, runtime: Runtime, *, batch_size: int = 16) -> None:
        card = runtime.card
        self.runtime = runtime
        self.batch_size = batch_size
        self.clip = ClipSettings(**{key: getattr(card, key) for key in ClipSettings.model_fields})

    def predict_recording(self, path: Path) -> WindowPredictions:
        """Return the windows of one audio file, decoded in a stream: memory does not grow with its length.

        Raises
        ------
        AudioError
            The file cannot be decoded.
        """
        starts, stops, outputs = [], [], []
        segments = self._segments(stream_audio(path, sample_rate=self.clip.sample_rate))
        while batch := list(islice(segments, self.batch_size)):
            starts += [start for start, _, _ in batch]
            stops += [stop for _, stop, _ in batch]
            outputs.append(self.runtime.predict(np.stack([clip for _, _, clip in batch])))
        return WindowPredictions(
            np.array(starts, dtype=np.int64),
            np.array(stops, dtype=np.int64),
            np.concatenate(outputs),
            self.clip.sample_rate,
        )

    def _segments(
        self, blocks: Iterable[npt.NDArray[np.float32]]
    ) -> Iterator[tuple[int, int, npt.NDArray[np.float32]]]:
        """Yield the first and last sample of each segment of a recording, and its clip."""
        n_around = self.clip.n_samples - self.clip.n_segment
        silence = np.zeros(n_around, np.float32)
        before, after = silence[: self.clip.n_look_back], silence[self.clip.n_look_back :]
        # With the silence before it, a recording begins where the first clip does.
        padded = chain([before], blocks, [after]) if n_around else blocks
        for start, stop, wave in stream_windows(padded, self.clip.n_samples, self.clip.n_segment):
            yield start, stop - n_around, make_clip(wave, self.clip)

    def predict_recordings(
        self, paths: Sequence[Path], failures: list[Failure]
    ) -> Iterator[tuple[Path, WindowPredictions]]:
        """Yield each recording with its windows, with a progress bar.

        One that cannot be decoded is added to ``failures``; the others go on.
        """
        for path in track(paths, "Predicting", total=len(paths)):
            try:
                predictions = self.predict_recording(path)
            except AudioError as error:
                failures.append(Failure(path, str(error)))
                continue
            yield path, predictions

    def predict_dataset(
        self, dataset: WaveAllFileDataset, *, num_workers: int = 0, description: str = "Predicting"
    ) -> npt.NDArray[np.float32]:
        """Return the maximum over each recording's windows, shape (n_recordings, n_classes)."""
        settings = LoaderSettings(batch_size=self.batch_size, num_workers=num_workers)
        best = np.zeros((len(dataset.targets), len(self.runtime.card.labels)), dtype=np.float32)
        with closing(ClipLoader(dataset, settings)) as loader:
            for waves, recordings, _ in track(loader, description, total=len(loader)):
                np.maximum.at(best, recordings.numpy(), self.runtime.predict(waves.numpy()))
        return best
