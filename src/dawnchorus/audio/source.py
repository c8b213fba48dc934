"""One handle for a recording, whether its sound comes from the store or from the audio file itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dawnchorus.audio.decode import SAMPLE_RATE, count_samples, read_crop
from dawnchorus.audio.store import read_stored_crop, stored_n_samples, stored_sample_rate
from dawnchorus.errors import StoreError


@dataclass(frozen=True)
class AudioSource:
    """A recording that can be read crop by crop; it holds no open file and travels to other processes.

    Attributes
    ----------
    path
        The file that is read: the store or the recording.
    kind
        ``"hdf5"`` for a store, ``"raw"`` for an audio file.
    n_samples
        Length in samples.
    sample_rate
        In Hz.
    """

    path: Path
    kind: Literal["hdf5", "raw"]
    n_samples: int
    sample_rate: int

    def read(self, start: int, n_samples: int) -> np.ndarray:
        """Return samples ``start … start + n_samples``, fewer at the end, shape (n,), float32.

        Raises
        ------
        AudioError, StoreError
            The file cannot be read.
        ValueError
            ``start`` or ``n_samples`` is negative.
        """
        if self.kind == "hdf5":
            return read_stored_crop(self.path, start, n_samples)
        return read_crop(self.path, start, n_samples, sample_rate=self.sample_rate)


def open_source(
    audio_path: Path, *, stored: Path | None = None, sample_rate: int = SAMPLE_RATE
) -> AudioSource:
    """Return the handle of a recording: its store where one is named, else the audio file.

    Parameters
    ----------
    audio_path
        The recording. It may be absent from this machine where ``stored`` is given.
    stored
        Its HDF5 file, such as :func:`dawnchorus.audio.store.find_stored` finds it.
    sample_rate
        In Hz: what an audio file is resampled to, and what a store must hold.

    Raises
    ------
    AudioError
        No store is named and the audio file cannot be read.
    StoreError
        The store is missing or damaged, or holds another sample rate.
    """
    if stored is None:
        n_samples = count_samples(audio_path, sample_rate=sample_rate)
        return AudioSource(Path(audio_path), "raw", n_samples, sample_rate)
    found = stored_sample_rate(stored)
    if found != sample_rate:
        raise StoreError(
            f"{stored}: holds sound at {found} Hz where {sample_rate} Hz is asked for; "
            f"run `dawnchorus precompute --sr {sample_rate}` again, or set sample_rate to {found}"
        )
    return AudioSource(Path(stored), "hdf5", stored_n_samples(stored), sample_rate)
