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
    read_frames,
    read_info,
)
from dawnchorus.audio.salvage import SALVAGE_REMEDY, finite, salvage_note
from dawnchorus.errors import AudioError

_SLACK = 4_096  # frames by which a compressed file's header may exceed its content; they are read as silence


def mono_blocks(
    path: Path,
    file: SequentialFile,
    n_frames: int,
    channel: Channel = "mean",
    notes: list[str] | None = None,
    *,
    salvage: bool = False,
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
        Gets a sentence at the end where the mean has lost most of the energy of these frames, and where
        they were salvaged.
    salvage
        Whether they end where they cannot be decoded, and NaN and infinite samples become 0, instead of an
        error.

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
        channel = loudest_channel(path, salvage=salvage)
    if channel == "each":
        raise AudioError(f"{path}: each channel is read by itself; name one by its number")
    if channel != "mean" and channel > file.channels:
        raise AudioError(f"{path}: has no channel {channel}; it has {file.channels}")
    energies, notes = ChannelEnergies(), [] if notes is None else notes
    n_missing, n_faulty = n_frames, 0
    while n_missing and len(block := read_frames(file, n_missing, salvage=salvage)):
        mono = mean_of_channels(block) if channel == "mean" else np.ascontiguousarray(block[:, channel - 1])
        if not (is_finite := np.isfinite(mono)).all():
            if not salvage:
                raise AudioError(f"{path}: holds NaN or infinite samples{SALVAGE_REMEDY}")
            n_faulty += int((~is_finite).sum())
            block, mono = finite(block), finite(mono)
        if channel == "mean" and file.channels > 1:
            energies.add(block)
        n_missing -= len(mono)
        yield mono
    if energies.fault is not None:
        notes.append(f"{path}: {energies.fault}")
    if n_faulty:
        reason = f"{n_faulty} of {n_frames - n_missing} samples are NaN or infinite, and read as 0"
        notes.append(salvage_note(path, reason))
    if n_missing > (_SLACK if file.format in COMPRESSED else 0):
        reason = f"truncated; its header promises {n_missing} frames more than there are"
        if not salvage:
            raise AudioError(f"{path}: {reason}{SALVAGE_REMEDY}")
        notes.append(salvage_note(path, reason))
    elif n_missing:
        yield np.zeros(n_missing, np.float32)


def loudest_channel(path: Path, *, salvage: bool = False) -> int:
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
    if read_info(path, salvage=salvage).n_channels == 1:
        return 1
    return _cached_loudest_channel(*file_identity(path), salvage=salvage)


@lru_cache(maxsize=1 << 16)
def _cached_loudest_channel(path: Path, size: int, mtime_ns: int, *, salvage: bool) -> int:
    energies = ChannelEnergies()
    with open_recording(path, salvage=salvage) as file:
        while len(block := read_frames(file, BLOCK, salvage=salvage)):
            energies.add(finite(block) if salvage else block)
    return energies.loudest
