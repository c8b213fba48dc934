"""The only decoder: an audio file becomes mono float32 at a given sample rate.

A recording of ``n_frames`` at ``f`` Hz has ``floor(n_frames · sample_rate / f + 1/2)`` samples, which is what
soxr (quality HQ) gives for all common rates, but at least 1. Every function here keeps that rule, so that
a length read from a header is the length of the decoded sound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.container import AUDIO_SUFFIXES, AudioInfo, open_recording, read_info
from dawnchorus.audio.downmix import mono_blocks
from dawnchorus.audio.seeking import seek_rule, skip_to
from dawnchorus.audio.windows import check_crop
from dawnchorus.errors import MissingExtraError
from dawnchorus.files.storage import as_path

__all__ = [
    "AUDIO_SUFFIXES",
    "SAMPLE_RATE",
    "AudioInfo",
    "count_samples",
    "load_audio",
    "read_crop",
    "read_info",
    "resampled",
    "resampled_length",
    "stream_audio",
    "stream_crop",
]

SAMPLE_RATE = 32_000  # Hz
_MARGIN = 256  # samples of the slower rate beyond which soxr HQ has no memory (measured: 128 leave 1e-4)


def count_samples(path: Path, *, sample_rate: int = SAMPLE_RATE, salvage: bool = False) -> int:
    """Return the length of :func:`load_audio` in samples without decoding (see :func:`read_info`).

    Raises
    ------
    AudioError
        As for :func:`read_info`.

    Examples
    --------
    >>> from pathlib import Path
    >>> count_samples(Path("night.wav"), sample_rate=16_000)  # 12 s
    192000
    """
    info = read_info(path, salvage=salvage)
    return resampled_length(info.n_frames, info.sample_rate, sample_rate)


def stream_audio(
    path: Path,
    *,
    sample_rate: int = SAMPLE_RATE,
    channel: Channel = "mean",
    notes: list[str] | None = None,
    salvage: bool = False,
) -> Iterator[np.ndarray]:
    """Yield a recording in blocks, in memory that does not grow with its length.

    Parameters
    ----------
    path
        An audio file of any length.
    sample_rate
        The sample rate wanted, in Hz.
    channel
        A number from 1, ``mean``, or ``loudest``, for which the recording is decoded twice.
    notes
        Gets a sentence at the end where the mean has lost most of the energy, or what was salvaged.
    salvage
        Whether a recording that is cut off, whose data size is 0, or that holds NaN or infinite samples, is
        read as far as it goes, with 0 for such samples.

    Yields
    ------
    numpy.ndarray
        The next samples, shape (any number,), float32, full scale ±1.

    Raises
    ------
    AudioError
        The file cannot be decoded to its end, holds NaN or infinite samples, or has no such channel.

    Examples
    --------
    >>> from pathlib import Path
    >>> sum(len(block) for block in stream_audio(Path("night.wav"), sample_rate=16_000))
    192000
    """
    path = as_path(path)
    info = read_info(path, salvage=salvage, notes=notes)
    with open_recording(path, salvage=salvage) as file:
        blocks = mono_blocks(path, file, info.n_frames, channel, notes, salvage=salvage)
        yield from resampled(blocks, info.sample_rate, sample_rate)


def resampled(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Yield a sound at another sample rate, of the length that this module's rule gives.

    Parameters
    ----------
    blocks
        Consecutive pieces, each of shape (any number,), float32; together of any length.
    from_rate, to_rate
        In Hz.

    Yields
    ------
    numpy.ndarray
        The next samples, shape (any number,), float32.

    Examples
    --------
    >>> import numpy as np
    >>> sum(len(block) for block in resampled([np.zeros(44_100, np.float32)], 44_100, 32_000))
    32000
    """
    n_frames = n_made = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal n_frames
        for block in blocks:
            n_frames += len(block)
            yield block

    for block in _resample(counted(), from_rate, to_rate):
        n_made += len(block)
        yield block
    n_missing = resampled_length(n_frames, from_rate, to_rate) - n_made if n_frames else 0
    if n_missing > 0:
        yield np.zeros(n_missing, np.float32)


def load_audio(path: Path, *, sample_rate: int = SAMPLE_RATE, channel: Channel = "mean") -> np.ndarray:
    """Return a whole recording, shape (n_samples,), float32, full scale ±1: all blocks of a stream.

    Raises
    ------
    AudioError
        As for :func:`stream_audio`.

    Examples
    --------
    >>> from pathlib import Path
    >>> wave = load_audio(Path("night.wav"), sample_rate=48_000)
    >>> wave.shape, wave.dtype
    ((576000,), dtype('float32'))
    """
    return np.concatenate(list(stream_audio(path, sample_rate=sample_rate, channel=channel)))


def read_crop(
    path: Path, start: int, n_samples: int, *, sample_rate: int = SAMPLE_RATE, channel: Channel = "mean"
) -> np.ndarray:
    """Return ``load_audio(path)[start : start + n_samples]`` by decoding and resampling little more than it.

    Parameters
    ----------
    path
        An audio file.
    start
        First sample, counted at ``sample_rate``.
    n_samples
        Number of samples; fewer are returned where the recording ends.
    sample_rate
        The sample rate wanted, in Hz.
    channel
        As for :func:`stream_audio`; the loudest one is that of the whole recording.

    Returns
    -------
    numpy.ndarray
        Shape (at most n_samples,), float32, within 1e-5 of the whole recording's samples.

    Raises
    ------
    AudioError
        As for :func:`stream_audio`, for the part that is read.
    ValueError
        ``start`` or ``n_samples`` is negative.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_crop(Path("night.wav"), 0, 160_000).shape
    (160000,)
    >>> read_crop(Path("night.wav"), 320_000, 160_000).shape  # fewer where the recording ends
    (64000,)
    """
    blocks = stream_crop(path, start, n_samples, sample_rate=sample_rate, channel=channel)
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def stream_crop(
    path: Path,
    start: int,
    n_samples: int,
    *,
    sample_rate: int = SAMPLE_RATE,
    channel: Channel = "mean",
    notes: list[str] | None = None,
    salvage: bool = False,
) -> Iterator[np.ndarray]:
    """Yield :func:`read_crop` in blocks of shape (any number,), float32, in memory of a few blocks.

    Raises
    ------
    AudioError, ValueError
        As for :func:`read_crop`, when the first block is taken or later.

    Examples
    --------
    >>> from pathlib import Path
    >>> sum(len(block) for block in stream_crop(Path("night.wav"), 320_000, 160_000))
    64000
    """
    check_crop(start, n_samples)
    path = as_path(path)
    info = read_info(path, salvage=salvage, notes=notes)
    n_samples = min(n_samples, resampled_length(info.n_frames, info.sample_rate, sample_rate) - start)
    if n_samples <= 0:
        return
    first_sample, frames = _frames_of_crop(start, n_samples, info, sample_rate)
    n_before = start - first_sample
    rule = seek_rule(path, salvage=salvage)
    with open_recording(path, salvage=salvage) as file:
        skip_to(file, frames.start, rule)
        blocks = mono_blocks(path, file, len(frames), channel, notes, salvage=salvage)
        for block in _resample(blocks, info.sample_rate, sample_rate):
            piece = block[n_before:][:n_samples]
            n_before = max(0, n_before - len(block))
            n_samples -= len(piece)
            if len(piece):
                yield piece
    if n_samples:  # only where the length rule added the one sample
        yield np.zeros(n_samples, np.float32)


def _frames_of_crop(start: int, n_samples: int, info: AudioInfo, sample_rate: int) -> tuple[int, range]:
    """Return the first output sample to compute, and the source frames that the crop depends on.

    Output sample k·q lies exactly on source frame k·p where p/q is the ratio of the rates in lowest
    terms, so a resampler started there is in phase with one started at frame 0.
    """
    common = math.gcd(info.sample_rate, sample_rate)
    p, q = info.sample_rate // common, sample_rate // common
    if p == q:
        return start, range(start, start + n_samples)
    margin = _MARGIN * max(1, math.ceil(q / p))
    step = max(0, start - margin) // q
    stop = -(-(start + n_samples + margin) * p // q)
    return step * q, range(step * p, min(stop, info.n_frames))


def resampled_length(n_frames: int, from_rate: int, to_rate: int) -> int:
    """Return the number of samples that frames have at another sample rate, by this module's rule.

    Examples
    --------
    >>> resampled_length(44_100, 44_100, 32_000)
    32000
    """
    return max(1, (2 * n_frames * to_rate + from_rate) // (2 * from_rate))


def _resample(blocks: Iterator[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    if from_rate == to_rate:
        yield from blocks
        return
    stream = _soxr(from_rate, to_rate).ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _soxr(from_rate: int, to_rate: int) -> ModuleType:
    """Return soxr. Recordings at a model's own sample rate are decoded without it."""
    try:
        import soxr
    except ModuleNotFoundError:
        raise MissingExtraError(
            f"the recording has {from_rate} Hz and {to_rate} Hz are wanted, for which soxr is needed: "
            "pip install soxr"
        ) from None
    return soxr
