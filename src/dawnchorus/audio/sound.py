"""``Sound``: the input of a model, from a file, an array, a stored recording or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.container import mean_of_channels
from dawnchorus.audio.decode import resampled
from dawnchorus.audio.source import AudioSource, RawRecording, stream_recording
from dawnchorus.errors import AudioError

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
    ) -> None:
        self.name, self.path = name, path
        self.sample_rate, self.n_samples = sample_rate, n_samples
        self._blocks = blocks

    @classmethod
    def of(cls, source: Any, *, sample_rate: int | None = None, name: str | None = None) -> Sound:
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

        Raises
        ------
        AudioError
            The sample rate is missing or not valid, the array is empty, of another shape or type, or holds
            NaN or infinite samples. Errors in a file, or in a block of a stream, are raised when it is read.
        """
        if isinstance(source, Sound):
            return source if name is None else source.named(name)
        if isinstance(source, AudioSource):
            return _of_source(source, name or str(source.path))
        if isinstance(source, str | Path):
            path = Path(source)
            if sample_rate is not None:
                raise AudioError(
                    f"{path}: sample_rate is {sample_rate}, but a file knows its own; leave it out"
                )
            return cls(
                name or str(source), lambda rate: stream_recording(path, sample_rate=rate)[1], path=path
            )
        if _is_stream(source):
            name = name or "stream"
            return _of_stream(source, _checked_rate(sample_rate, name), name)
        name = name or "array"
        return _of_array(source, _checked_rate(sample_rate, name), name)

    def named(self, name: str) -> Sound:
        """Return the same sound under another name."""
        return Sound(
            name, self._blocks, path=self.path, sample_rate=self.sample_rate, n_samples=self.n_samples
        )

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


def _of_array(source: Any, sample_rate: int, name: str) -> Sound:
    numbers = _checked_numbers(source, name)
    if not numbers.size:
        raise AudioError(f"{name}: holds no samples")
    wave = _mono(numbers, name)

    def blocks(rate: int) -> Iterator[npt.NDArray[np.float32]]:
        pieces = (wave[start : start + _BLOCK] for start in range(0, len(wave), _BLOCK))
        return resampled(pieces, sample_rate, rate)

    return Sound(name, blocks, sample_rate=sample_rate, n_samples=len(wave))


def _of_stream(source: Iterable[Any], sample_rate: int, name: str) -> Sound:
    rest: list[Iterable[Any]] = [source]

    def checked(stream: Iterable[Any]) -> Iterator[npt.NDArray[np.float32]]:
        for number, block in enumerate(stream):
            numbers = _checked_numbers(block, f"{name}, block {number}")
            yield numbers if numbers.ndim == 1 else mean_of_channels(numbers)

    def blocks(rate: int) -> Iterator[npt.NDArray[np.float32]]:
        if not rest:
            raise AudioError(f"{name}: a stream can be read once; keep its blocks, or make an array of them")
        return resampled(checked(rest.pop()), sample_rate, rate)

    return Sound(name, blocks, sample_rate=sample_rate)


def _of_source(source: AudioSource, name: str) -> Sound:
    if isinstance(source, RawRecording):
        return Sound.of(source.path, name=name)

    def blocks(rate: int) -> Iterator[npt.NDArray[np.float32]]:
        starts = range(0, source.n_samples, _BLOCK)
        pieces = (source.read(start, min(_BLOCK, source.n_samples - start)) for start in starts)
        return resampled(pieces, source.sample_rate, rate)

    return Sound(name, blocks, path=source.path, sample_rate=source.sample_rate, n_samples=source.n_samples)


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


def _checked_numbers(source: Any, name: str) -> npt.NDArray[np.float32]:
    """Return samples as float32, shape (any number,) or with a second axis."""
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
        raise AudioError(
            f"{name}: {faulty.sum()} of {numbers.size} samples are NaN or infinite, the first at {at}"
        )
    return np.asarray(numbers, np.float32)


def _mono(numbers: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
    if numbers.ndim == 1:
        return numbers
    if numbers.shape[0] == numbers.shape[1]:
        raise AudioError(
            f"{name}: has the shape {numbers.shape}, and time must be the longer axis of the two"
        )
    return mean_of_channels(numbers if numbers.shape[0] > numbers.shape[1] else numbers.T)
