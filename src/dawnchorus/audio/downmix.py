"""One channel of an opened recording, or the mean of all, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from dawnchorus.audio.channels import Channel, ChannelEnergies, mean_of_channels
from dawnchorus.audio.container import (
    BLOCK,
    COMPRESSED,
    SequentialFile,
    file_identity,
    open_recording,
    read_info,
)
from dawnchorus.errors import AudioError

_SLACK = 4_096  # frames by which a compressed file's header may exceed its content; they are read as silence


def mono_blocks(
    path: Path,
    file: SequentialFile,
    n_frames: int,
    channel: Channel = "mean",
    notes: list[str] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the next ``n_frames`` frames of one channel, shape (any number,), float32.

    Parameters
    ----------
    path, file
        A recording, and it opened.
    n_frames
        Frames to read.
    channel
        A number from 1; or the mean of all channels, or the loudest one of the whole recording.
    notes
        Gets a sentence at the end where the mean has lost most of the energy of these frames.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.container import open_recording
    >>> path = Path("night.wav")
    >>> with open_recording(path) as file:
    ...     sum(len(block) for block in mono_blocks(path, file, file.frames))
    384000
    """
    if channel == "loudest":
        channel = loudest_channel(path)
    if channel == "each":
        raise AudioError(f"{path}: each channel is read by itself; name one by its number")
    if channel != "mean" and channel > file.channels:
        raise AudioError(f"{path}: has no channel {channel}; it has {file.channels}")
    energies = ChannelEnergies()
    n_missing = n_frames
    while n_missing and len(block := file.read(min(BLOCK, n_missing), dtype="float32", always_2d=True)):
        mono = mean_of_channels(block) if channel == "mean" else np.ascontiguousarray(block[:, channel - 1])
        if not np.isfinite(mono).all():
            raise AudioError(f"{path}: holds NaN or infinite samples")
        if channel == "mean" and file.channels > 1 and notes is not None:
            energies.add(block)
        n_missing -= len(mono)
        yield mono
    if notes is not None and energies.fault is not None:
        notes.append(f"{path}: {energies.fault}")
    if n_missing > (_SLACK if file.format in COMPRESSED else 0):
        raise AudioError(f"{path}: truncated; its header promises {n_missing} frames more than there are")
    if n_missing:
        yield np.zeros(n_missing, np.float32)


def loudest_channel(path: Path) -> int:
    """Return the number of the channel with the most energy, from 1; this decodes the whole recording.

    Raises
    ------
    AudioError
        It cannot be decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> loudest_channel(Path("night.wav"))
    1
    """
    return 1 if read_info(path).n_channels == 1 else _cached_loudest_channel(*file_identity(path))


@lru_cache(maxsize=1 << 16)
def _cached_loudest_channel(path: Path, size: int, mtime_ns: int) -> int:
    energies = ChannelEnergies()
    with open_recording(path) as file:
        while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
            energies.add(block)
    return energies.loudest
