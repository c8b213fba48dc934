"""``WaveAllFileDataset``: every window of every recording, for validation and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch.utils.data import Dataset

from dawnchorus.audio.windows import normalize_peak, shortest_window, window_starts
from dawnchorus.config import Settings
from dawnchorus.datasets.clip_settings import as_settings
from dawnchorus.datasets.labelled_audio import LabelledAudio, LabelledAudioSettings, loaded_table
from dawnchorus.recordings.labels import LabelMap


class WaveAllFileDatasetSettings(LabelledAudioSettings):
    """Settings of a :class:`WaveAllFileDataset`.

    Attributes
    ----------
    step_s
        Seconds from one window to the next, at most ``segment_len``; None for windows without overlap.

    Examples
    --------
    >>> WaveAllFileDatasetSettings(segment_len=5.0, step_s=2.5).step_s
    2.5
    """

    step_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _no_gaps(self) -> WaveAllFileDatasetSettings:
        if self.step_s is not None and not 1 <= round(self.step_s * self.sample_rate) <= self.n_segment:
            raise ValueError(
                f"step_s is {self.step_s:g}; legal: above 0, at most segment_len ({self.segment_len:g}), or "
                "samples would be missed"
            )
        return self


class Window(NamedTuple):
    """One window: ``wave``, shape (n_samples,), float32, the row of its recording, and its start in samples.

    Examples
    --------
    >>> import torch
    >>> window = Window(torch.zeros(160_000), recording=3, start=320_000)
    >>> window.wave.shape, window.start
    (torch.Size([160000]), 320000)
    """

    wave: torch.Tensor
    recording: int
    start: int


class WaveAllFileDataset(Dataset[Window]):
    """All windows of recordings; the last one of each may be partial, and is dropped below 10 ms.

    Parameters
    ----------
    recordings
        A DataFrame with ``filename`` and ``primary_label``, or the table of
        :func:`~dawnchorus.recordings.recordings_table.load_recordings`.
    labels
        Classes of the model, or their names; all labels of the recordings if not given.
    settings
        Settings object, or their keys as in a config.
    audio_dir
        Folder that the file names of a plain DataFrame are relative to; the working directory if not given.

    Raises
    ------
    DataError
        Rows are faulty, or a primary label is none of the classes.

    Attributes
    ----------
    recordings
        The checked table, one row a recording.
    labels
        The classes.
    targets
        Shape (n_recordings, n_classes), float32 in {0, 1}: all labels of a recording.
    windows
        The recording and the first sample of each window.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import tempfile, soundfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> soundfile.write(f"{folder.name}/night.wav", np.zeros(12 * 32_000), 32_000)
    >>> table = pd.DataFrame({"filename": ["night.wav"], "primary_label": ["wren"]})
    >>> dataset = WaveAllFileDataset(table, audio_dir=folder.name)
    >>> len(dataset), dataset[2].wave.shape, dataset[2].start, dataset.targets.tolist()
    (3, torch.Size([160000]), 320000, [[1.0]])
    >>> folder.cleanup()
    """

    settings_class: type[Settings] = WaveAllFileDatasetSettings

    def __init__(
        self,
        recordings: pd.DataFrame,
        labels: LabelMap | Sequence[str] | None = None,
        settings: WaveAllFileDatasetSettings | Mapping[str, Any] | None = None,
        *,
        audio_dir: str | Path | None = None,
    ) -> None:
        self.settings = as_settings(settings, WaveAllFileDatasetSettings, "WaveAllFileDataset")
        self.recordings, self.labels = loaded_table(recordings, labels, audio_dir=audio_dir)
        self.audio = LabelledAudio(self.recordings, self.labels, self.settings)
        self.targets = self.audio.targets()
        n_step = round((self.settings.step_s or self.settings.segment_len) * self.settings.sample_rate)
        shortest = shortest_window(self.settings.sample_rate)
        self.windows = [
            (recording, int(start))
            for recording in range(len(self.audio))
            for start in window_starts(
                self.audio.n_used(recording), self.settings.n_segment, n_step, shortest=shortest
            )
        ]

    def __repr__(self) -> str:
        n_recordings, n_labels = len(self.recordings), len(self.labels)
        return f"WaveAllFileDataset({len(self)} windows of {n_recordings} recordings, {n_labels} labels)"

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Window:
        recording, start = self.windows[index]
        wave = self.audio.clip(recording, start)
        clip = normalize_peak(wave) if self.settings.late_normalize else wave
        return Window(torch.from_numpy(clip), recording, start)

    def window_targets(self) -> npt.NDArray[np.float32]:
        """Return the target of each window, shape (n_windows, n_classes), float32 in {0, 1}.

        Of a recording with labels in time, those that the window overlaps; of others, all labels.
        """
        recordings, starts = (np.array(column, dtype=np.int64) for column in zip(*self.windows, strict=True))
        return self.targets_at(recordings, starts)

    def targets_at(
        self, recordings: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Return the targets of segments, shape (n, n_classes), float32 in {0, 1}.

        Parameters
        ----------
        recordings
            Row of each segment's recording, shape (n,).
        starts
            Its first sample, shape (n,).
        """
        targets = np.empty((len(recordings), self.targets.shape[1]), dtype=np.float32)
        for recording in np.unique(recordings):
            of_it = recordings == recording
            targets[of_it] = self.audio.segment_targets(int(recording), starts[of_it])
        return targets
