"""``Sound``: the input of a model, from a file, an array, a stored recording or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from itertools import chain, tee
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.channels import Channel, ChannelEnergies, checked_channel, mean_of_channels
from dawnchorus.audio.container import read_info
from dawnchorus.audio.decode import resampled
from dawnchorus.audio.salvage import finite, salvage_note
from dawnchorus.audio.source import STORE_SUFFIXES, AudioSource, RawRecording, stream_recording
from dawnchorus.errors import AudioError
from dawnchorus.files.storage import as_path

LOWEST_RATE, HIGHEST_RATE = 100, 10_000_000
"""Sample rates that an array or a stream may have, Hz."""

_BLOCK = 1 << 20  # samples of an array or a stored recording that are handed on at a time


class Sound:
    """A sound of any sample rate and channel count, which a model reads as mono float32 at its own rate.

    Made by :meth:`of`. A file or an array can be read as often as one likes, a stream once.

    Attributes
    ----------
    name
        Name in tables: the path as it was given, or the name of an array or stream.
    path
        The file, None where there is none.
    sample_rate
        Of an array or stream, in Hz; None for a file, whose header has it.
    n_samples
        Length at ``sample_rate``; None for files, and for streams, whose end is not known.
    channel
        What is read of several channels.
    notes
        Sentences on what is odd about the sound, from when all of it was read.

    Examples
    --------
    >>> import numpy as np
    >>> sound = Sound.of(np.zeros((48_000, 2), np.float32), sample_rate=48_000, name="silence")
    >>> sound
    Sound(silence: 1.00 s at 48000 Hz)
    >>> sound.load(32_000).shape
    (32000,)
    """

    def __init__(
        self,
        name: str,
        blocks: Callable[[int], Iterator[npt.NDArray[np.float32]]],
        *,
        path: Path | None = None,
        sample_rate: int | None = None,
        n_samples: int | None = None,
        channel: Channel = "mean",
        notes: list[str] | None = None,
        split: Callable[[], list[Sound]] | None = None,
    ) -> None:
        self.name, self.path = name, path
        self.sample_rate, self.n_samples = sample_rate, n_samples
        self.channel: Channel = channel
        self.notes = [] if notes is None else notes
        self._blocks, self._split = blocks, split

    @classmethod
    def of(
        cls,
        source: Any,
        *,
        sample_rate: int | None = None,
        name: str | None = None,
        channel: Channel = "mean",
        salvage: bool = False,
    ) -> Sound:
        """Return a sound.

        Parameters
        ----------
        source
            A file (audio, or HDF5 of the store); a recording of a dataset; an array of numbers, full scale
            ±1, of shape (n_samples,), (n_samples, n_channels) or (n_channels, n_samples), the longer axis
            being time; or a stream: a generator of blocks of shape (any number,) or
            (any number, n_channels). PyTorch tensors and lists of numbers are taken for arrays.
        sample_rate
            Of an array or a stream, in Hz. A file's is in its header.
        name
            Name in tables; by default the path, ``array`` or ``stream``.
        channel
            What to read of several channels: a number from 1, their ``mean``, the ``loudest`` by energy (a
            file is then decoded twice), or ``each``, which :meth:`split` takes apart.
        salvage
            Whether a file that is damaged is read as far as it goes, and NaN and infinite samples become 0;
            ``notes`` then say so.

        Raises
        ------
        ConfigError
            The channel is none of these.
        AudioError
            The sample rate is missing or not valid, the array is empty, of another shape or type, or holds
            NaN or infinite samples. Errors in a file, or in a block of a stream, are raised when it is read.
        """
        channel = checked_channel(channel)
        if isinstance(source, Sound):
            return source if name is None else source.named(name)
        if isinstance(source, AudioSource):
            return _of_source(source, name or str(source.path))
        if isinstance(source, str | Path):
            if sample_rate is not None:
                raise AudioError(
                    f"{source}: sample_rate is {sample_rate}, but a file knows its own; leave it out"
                )
            return _of_file(as_path(source), name or str(source), channel, salvage=salvage)
        if _is_stream(source):
            name = name or "stream"
            notes: list[str] = []
            blocks = _checked_blocks(source, name, notes if salvage else None)
            return _of_stream(blocks, _checked_rate(sample_rate, name), name, channel, notes)
        name = name or "array"
        return _of_array(source, _checked_rate(sample_rate, name), name, channel, salvage=salvage)

    def named(self, name: str) -> Sound:
        """Return the same sound under another name."""
        sound = copy(self)
        sound.name = name
        return sound

    def split(self) -> list[Sound]:
        """Return a sound for each channel where ``channel`` is ``each``; else the sound itself.

        Those of a stream are read side by side: what one has read, the others keep in memory until they do.

        Raises
        ------
        AudioError
            It cannot be read.
        """
        return [self] if self._split is None else [part.named(self.name) for part in self._split()]

    @property
    def duration_s(self) -> float | None:
        """Length in seconds; None where it is not known before the sound is read."""
        if self.n_samples is None or self.sample_rate is None:
            return None
        return self.n_samples / self.sample_rate

    def blocks(self, sample_rate: int) -> Iterator[npt.NDArray[np.float32]]:
        """Return the sound in blocks of shape (any number,), mono float32, at a sample rate in Hz.

        Raises
        ------
        AudioError, StoreError
            It cannot be read to its end, now or while the blocks are taken; or a stream is read again.
        """
        return self._blocks(sample_rate)

    def load(self, sample_rate: int) -> npt.NDArray[np.float32]:
        """Return the whole sound, shape (n_samples,), mono float32, at a sample rate in Hz.

        Raises
        ------
        AudioError, StoreError
            As for :meth:`blocks`, or a stream yielded nothing.
        """
        wave = np.concatenate([np.zeros(0, np.float32), *self.blocks(sample_rate)])
        if not len(wave):
            raise AudioError(f"{self.name}: holds no samples")
        return wave

    def __repr__(self) -> str:
        if self.sample_rate is None:
            return f"Sound({self.name})"
        length = "a stream" if self.duration_s is None else f"{self.duration_s:.2f} s"
        return f"Sound({self.name}: {length} at {self.sample_rate} Hz)"


def _of_file(
    path: Path, name: str, channel: Channel, *, salvage: bool = False, notes: list[str] | None = None
) -> Sound:
    notes = [] if notes is None else notes

    def blocks(rate: int) -> Iterator[npt.NDArray[np.float32]]:
        return stream_recording(path, sample_rate=rate, channel=channel, notes=notes, salvage=salvage)[1]

    def split() -> list[Sound]:
        is_stored = path.suffix.lower() in STORE_SUFFIXES
        n_channels = 1 if is_stored else read_info(path, salvage=salvage).n_channels
        numbers = range(1, n_channels + 1)
        return [_of_file(path, name, number, salvage=salvage, notes=notes) for number in numbers]

    return Sound(
        name, blocks, path=path, channel=channel, notes=notes, split=split if channel == "each" else None
    )


def _of_array(source: Any, sample_rate: int, name: str, channel: Channel, *, salvage: bool) -> Sound:
    notes: list[str] = []
    numbers = _by_frames(_checked_numbers(source, name, notes if salvage else None), name)
    if not numbers.size:
        raise AudioError(f"{name}: holds no samples")
    sound = _of_frames(numbers, sample_rate, name, channel)
    sound.notes += notes
    return sound


def _of_frames(frames: npt.NDArray[np.float32], sample_rate: int, name: str, channel: Channel) -> Sound:
    """Return the sound of samples, shape (n_samples, n_channels)."""
    n_samples, n_channels = frames.shape
    energies = ChannelEnergies()
    if n_channels > 1 and channel in ("mean", "loudest"):
        energies.add(frames)
    number = energies.loudest if channel == "loudest" else channel
    wave = frames[:, 0] if number == "each" else _one_channel(frames, number, name)
    fault = energies.fault if channel == "mean" else None

    def blocks(rate: int) -> Iterator[npt.NDArray[np.float32]]:
        if channel == "each":
            raise AudioError(f"{name}: each channel is read by itself; take them by split()")
        pieces = (wave[start : start + _BLOCK] for start in range(0, n_samples, _BLOCK))
        return resampled(pieces, sample_rate, rate)

    def split() -> list[Sound]:
        return [_of_frames(frames, sample_rate, name, number) for number in range(1, n_channels + 1)]

    return Sound(
        name,
        blocks,
        sample_rate=sample_rate,
        n_samples=n_samples,
        channel=channel,
        notes=[] if fault is None else [f"{name}: {fault}"],
        split=split if channel == "each" else None,
    )


def _checked_blocks(
    source: Iterable[Any], name: str, salvage_notes: list[str] | None
) -> Iterator[npt.NDArray[np.float32]]:
    for number, block in enumerate(source):
        yield _checked_numbers(block, f"{name}, block {number}", salvage_notes)


def _of_stream(
    source: Iterable[npt.NDArray[np.float32]],
    sample_rate: int,
    name: str,
    channel: Channel,
    notes: list[str],
) -> Sound:
    if channel == "loudest":
        raise AudioError(f"{name}: its loudest channel is not known before its end; name one by its number")
    rest = [source]

    def taken() -> Iterator[npt.NDArray[np.float32]]:
        if not rest:
            raise AudioError(f"{name}: a stream can be read once; keep its blocks, or make an array of them")
        for numbers in rest.pop():
            yield numbers if numbers.ndim == 2 else numbers[:, None]

    def mono() -> Iterator[npt.NDArray[np.float32]]:
        energies = ChannelEnergies()
        for frames in taken():
            if channel == "mean" and frames.shape[1] > 1:
                energies.add(frames)
            yield _one_channel(frames, channel, name)
        if energies.fault is not None:
            notes.append(f"{name}: {energies.fault}")

    def blocks(rate: int) -> Iterator[npt.NDArray[np.float32]]:
        if channel == "each":
            raise AudioError(f"{name}: each channel is read by itself; take them by split()")
        if not rest:
            raise AudioError(f"{name}: a stream can be read once; keep its blocks, or make an array of them")
        return resampled(mono(), sample_rate, rate)

    def split() -> list[Sound]:
        frames = taken()
        first = next(frames, np.zeros((0, 1), np.float32))
        copies = tee(chain([first], frames), first.shape[1])
        return [
            _of_stream(each, sample_rate, name, number, notes) for number, each in enumerate(copies, start=1)
        ]

    return Sound(
        name,
        blocks,
        sample_rate=sample_rate,
        channel=channel,
        notes=notes,
        split=split if channel == "each" else None,
    )


def _one_channel(frames: npt.NDArray[np.float32], channel: Channel, name: str) -> npt.NDArray[np.float32]:
    """Return a channel of frames, shape (n_frames, n_channels), or their mean."""
    if not isinstance(channel, int):
        return mean_of_channels(frames)
    if channel > frames.shape[1]:
        raise AudioError(f"{name}: has no channel {channel}; it has {frames.shape[1]}")
    return np.ascontiguousarray(frames[:, channel - 1])


def _of_source(source: AudioSource, name: str) -> Sound:
    if isinstance(source, RawRecording):
        return _of_file(source.path, name, source.channel)

    def blocks(rate: int) -> Iterator[npt.NDArray[np.float32]]:
        starts = range(0, source.n_samples, _BLOCK)
        pieces = (source.read(start, min(_BLOCK, source.n_samples - start)) for start in starts)
        return resampled(pieces, source.sample_rate, rate)

    return Sound(
        name,
        blocks,
        path=source.path,
        sample_rate=source.sample_rate,
        n_samples=source.n_samples,
        channel=source.channel,
    )


def _is_stream(source: Any) -> bool:
    """Return whether a source yields blocks one by one, as a generator does, and is no array of numbers."""
    is_whole = hasattr(source, "__array__") or isinstance(source, list | tuple)
    return isinstance(source, Iterable) and not is_whole


def _checked_rate(sample_rate: int | None, name: str) -> int:
    if sample_rate is None:
        raise AudioError(f"{name}: its sample rate is not known; give sample_rate in Hz, such as 48_000")
    is_number = isinstance(sample_rate, int | np.integer) or (
        isinstance(sample_rate, float | np.floating) and float(sample_rate).is_integer()
    )
    if isinstance(sample_rate, bool) or not is_number or not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name}: sample_rate is {sample_rate!r}; legal: a whole number of Hz from {LOWEST_RATE} to "
            f"{HIGHEST_RATE}"
        )
    return int(sample_rate)


def _checked_numbers(
    source: Any, name: str, salvage_notes: list[str] | None = None
) -> npt.NDArray[np.float32]:
    """Return samples as float32, shape (any number,) or with a second axis.

    Where there is a list for notes, NaN and infinite samples become 0.
    """
    try:
        numbers = np.asarray(source.detach().cpu() if hasattr(source, "detach") else source)
    except (ValueError, TypeError) as error:
        raise AudioError(f"{name}: is no array of numbers ({error})") from None
    if numbers.dtype.kind in "iu" and numbers.size:
        largest = np.iinfo(numbers.dtype).max
        raise AudioError(
            f"{name}: holds whole numbers ({numbers.dtype}); samples are floats, full scale ±1: divide by "
            f"{largest + 1}"
        )
    if numbers.dtype.kind != "f" and numbers.size:
        raise AudioError(f"{name}: holds {numbers.dtype}; samples are floats, full scale ±1")
    if numbers.ndim not in (1, 2):
        raise AudioError(
            f"{name}: has the shape {numbers.shape}; legal: (n_samples,), or two axes, time and channels"
        )
    with np.errstate(over="ignore"):
        numbers = numbers.astype(np.float32, copy=False)
    faulty = ~np.isfinite(numbers)
    if faulty.any():
        at = int(np.argwhere(faulty)[0].max())
        reason = f"{faulty.sum()} of {numbers.size} samples are NaN or infinite, the first at {at}"
        if salvage_notes is None:
            raise AudioError(f"{name}: {reason}; salvage=True makes them 0")
        salvage_notes.append(salvage_note(name, f"{reason}, and read as 0"))
        numbers = finite(numbers)
    return np.asarray(numbers, np.float32)


def _by_frames(numbers: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
    """Return samples in the shape (n_samples, n_channels)."""
    if numbers.ndim == 1:
        return numbers[:, None]
    if numbers.shape[0] == numbers.shape[1] and numbers.size:
        raise AudioError(
            f"{name}: has the shape {numbers.shape}, and time must be the longer axis of the two"
        )
    return numbers if numbers.shape[0] > numbers.shape[1] else numbers.T
