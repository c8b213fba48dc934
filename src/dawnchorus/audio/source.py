"""One handle for a recording, whether its sound is read from the store or from the audio file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.decode import SAMPLE_RATE, count_samples, read_crop, stream_audio
from dawnchorus.audio.published_store import PublishedRecording, open_published_store
from dawnchorus.audio.store import StoredRecording, open_store, store_path
from dawnchorus.errors import StoreError
from dawnchorus.files import is_file
from dawnchorus.files.storage import as_path

STORE_SUFFIXES = (".hdf5", ".h5")
_BLOCK = 1 << 20  # samples read at a time from a store


@dataclass(frozen=True)
class RawRecording:
    """An audio file, of which every crop is decoded when it is read.

    Attributes
    ----------
    path
        The audio file.
    n_samples
        Length in samples.
    sample_rate
        Rate that it is resampled to, in Hz.
    has_outdated_store
        Whether there is a store, but of another version of this file.
    channel
        Channel that is read, as for :func:`dawnchorus.audio.decode.stream_audio`.

    Examples
    --------
    >>> recording = open_source("night.wav")
    >>> recording.kind, recording.n_samples, recording.read(0, 160_000).shape
    ('raw', 384000, (160000,))
    """

    kind: ClassVar[Literal["raw"]] = "raw"

    path: Path
    n_samples: int
    sample_rate: int
    has_outdated_store: bool = False
    channel: Channel = "mean"

    def read(self, start: int, n_samples: int) -> np.ndarray:
        """Return a crop as :func:`dawnchorus.audio.decode.read_crop` does, with its errors."""
        return read_crop(self.path, start, n_samples, sample_rate=self.sample_rate, channel=self.channel)


AudioSource = StoredRecording | PublishedRecording | RawRecording
"""A recording that can be read crop by crop: ``path``, ``kind`` (``"hdf5"`` or ``"raw"``), ``n_samples``,
``sample_rate`` and ``read(start, n_samples)``. It holds no open file and can be pickled."""


def open_source(
    audio_path: Path,
    *,
    stored: Path | None = None,
    sample_rate: int = SAMPLE_RATE,
    channel: Channel | None = None,
) -> AudioSource:
    """Return the handle of a recording: its store where one is named and up to date, else the audio file.

    Parameters
    ----------
    audio_path
        The recording. It may be absent from this machine where ``stored`` is given.
    stored
        Its HDF5 file, as returned by :func:`find_stored`.
    sample_rate
        In Hz: an audio file is resampled to it, and a store must have it.
    channel
        As for :func:`dawnchorus.audio.decode.stream_audio`; a store must have been made with it. None takes
        any store, and the mean of an audio file.

    Raises
    ------
    AudioError
        The audio file is needed and cannot be read.
    StoreError
        The store is missing or damaged, or holds another sample rate or channel.

    Examples
    --------
    >>> open_source("night.wav", sample_rate=16_000).n_samples  # 12 s
    192000
    """
    audio_path = as_path(audio_path)
    recording = None if stored is None else open_stored(stored)
    if recording is not None:
        _check_sample_rate(recording, sample_rate)
        _check_channel(recording, channel)
    if recording is not None and not (audio_path.exists() and not recording.is_made_from(audio_path)):
        return recording
    n_samples = count_samples(audio_path, sample_rate=sample_rate)
    return RawRecording(audio_path, n_samples, sample_rate, recording is not None, channel or "mean")


def open_stored(path: Path) -> StoredRecording | PublishedRecording:
    """Return the recording of an HDF5 file in our layout or the published one.

    Raises
    ------
    StoreError
        The file is missing, damaged, or of neither layout.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.precompute import precompute_recordings
    >>> _ = precompute_recordings(Path("recordings"), Path("features"))
    >>> open_stored(Path("features/owl/XC1.wav.hdf5")).n_samples
    32000
    """
    return open_store(path) or open_published_store(path)


def _check_sample_rate(recording: StoredRecording | PublishedRecording, sample_rate: int) -> None:
    if recording.sample_rate != sample_rate:
        raise StoreError(
            f"{recording.path}: holds sound at {recording.sample_rate} Hz where {sample_rate} Hz is asked "
            f"for; run `dawnchorus precompute --sr {sample_rate}` again, "
            f"or set sample_rate to {recording.sample_rate}"
        )


def _check_channel(recording: StoredRecording | PublishedRecording, channel: Channel | None) -> None:
    if channel not in (None, recording.channel):
        raise StoreError(
            f"{recording.path}: holds channel {recording.channel} where {channel} is asked for; run "
            f"`dawnchorus precompute --channel {channel}` again, or set channel to {recording.channel}"
        )


def find_stored(features_dir: Path | None, relative_audio_path: Path) -> Path | None:
    """Return the store of a recording, ours before the published layout's (``XC1.hdf5``), or None.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.precompute import precompute_recordings
    >>> _ = precompute_recordings(Path("recordings"), Path("features"))
    >>> find_stored(Path("features"), Path("owl/XC1.wav")).as_posix()
    'features/owl/XC1.wav.hdf5'
    >>> find_stored(Path("features"), Path("owl/XC99.wav")) is None
    True
    """
    if features_dir is None:
        return None
    ours = store_path(features_dir, relative_audio_path)
    published = Path(features_dir) / Path(relative_audio_path).with_suffix(".hdf5")
    return next((path for path in (ours, published) if is_file(path)), None)


def stream_recording(
    path: Path,
    *,
    sample_rate: int = SAMPLE_RATE,
    channel: Channel = "mean",
    notes: list[str] | None = None,
    salvage: bool = False,
) -> tuple[int, Iterator[np.ndarray]]:
    """Return the length of a recording in samples, and its sound in blocks of shape (any number,), float32.

    Parameters
    ----------
    path
        An audio file, or an HDF5 file of the store.
    sample_rate
        In Hz: an audio file is resampled to it, and a store must have it.
    channel, notes, salvage
        As for :func:`dawnchorus.audio.decode.stream_audio`; a store must have been made with the channel.

    Raises
    ------
    AudioError, StoreError
        As for :func:`open_source`, now or while the blocks are read.

    Examples
    --------
    >>> from pathlib import Path
    >>> n_samples, blocks = stream_recording(Path("night.wav"), sample_rate=16_000)
    >>> n_samples == sum(len(block) for block in blocks)
    True
    """
    if Path(path).suffix.lower() not in STORE_SUFFIXES:
        blocks = stream_audio(path, sample_rate=sample_rate, channel=channel, notes=notes, salvage=salvage)
        return count_samples(path, sample_rate=sample_rate, salvage=salvage), blocks
    source = open_stored(as_path(path))
    _check_sample_rate(source, sample_rate)
    _check_channel(source, channel)
    starts = range(0, source.n_samples, _BLOCK)
    return source.n_samples, (source.read(start, min(_BLOCK, source.n_samples - start)) for start in starts)
