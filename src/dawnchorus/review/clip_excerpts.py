"""Excerpts of recordings around a clip: sound as WAV, and a spectrogram as levels of one byte."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import ShortTimeFFT

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.decode import read_crop, read_info
from dawnchorus.batch.segments import to_int16
from dawnchorus.errors import AudioError
from dawnchorus.files import from_legible, inside

CONTEXT_S = 3.0
"""Seconds before and after a clip."""

_FFT_S = 0.024  # as long as the songs of most birds change little
_FRAMES_PER_S, _MAX_FRAMES, _N_BINS = 200, 3000, 512
_QUIETEST, _LOUDEST = 0.35, 0.9995  # quantiles of the level that are drawn as 0 and as 255
_LEAST_RANGE_DB = 25.0


class ClipExcerpt(NamedTuple):
    """A clip with its context.

    Attributes
    ----------
    start_s, end_s
        Its place in the recording, seconds.
    sample_rate
        Of the recording, Hz.
    wave
        Shape (n_samples,), float32.
    high_hz
        Frequency at the upper edge of the spectrogram.
    levels
        Shape (n_bins, n_frames), uint8: the lowest frequency first, 0 the quietest.

    Examples
    --------
    >>> from pathlib import Path
    >>> excerpt = read_clip_excerpt(Path("."), "night.wav", 2.0, 4.0)
    >>> excerpt.start_s, excerpt.end_s, excerpt.high_hz, excerpt.levels.dtype
    (0.0, 7.0, 16000.0, dtype('uint8'))
    """

    start_s: float
    end_s: float
    sample_rate: int
    wave: npt.NDArray[np.float32]
    high_hz: float
    levels: npt.NDArray[np.uint8]

    def wav(self) -> bytes:
        """Return the sound as a WAV file of 16 bits."""
        file = io.BytesIO()
        soundfile.write(file, to_int16(self.wave), self.sample_rate, format="WAV", subtype="PCM_16")
        return file.getvalue()


def read_clip_excerpt(
    audio_dir: Path,
    filename: str,
    start_s: float,
    end_s: float,
    *,
    context_s: float = CONTEXT_S,
    channel: Channel = "mean",
) -> ClipExcerpt:
    """Return a clip of a recording with its context, at the recording's own sample rate.

    Raises
    ------
    AudioError
        The recording cannot be decoded, or ends before the clip.
    UnsafePathError
        The name leads out of the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> len(read_clip_excerpt(Path("."), "night.wav", 2.0, 4.0, context_s=0.5).wave)
    96000
    """
    path = inside(audio_dir, from_legible(filename), named_in="the table of detections")
    info = read_info(path)
    first = max(0, round((start_s - context_s) * info.sample_rate))
    stop = round((end_s + context_s) * info.sample_rate)
    wave = read_crop(path, first, stop - first, sample_rate=info.sample_rate, channel=channel)
    if first + len(wave) <= round(start_s * info.sample_rate):
        raise AudioError(
            f"{path}: has no sound from {start_s:g} s on, where the clip begins; it lasts "
            f"{info.duration_s:g} s"
        )
    levels, high_hz = spectrogram_levels(wave, info.sample_rate)
    begins_s = first / info.sample_rate
    return ClipExcerpt(
        begins_s, begins_s + len(wave) / info.sample_rate, info.sample_rate, wave, high_hz, levels
    )


def spectrogram_levels(
    wave: npt.NDArray[np.float32], sample_rate: int
) -> tuple[npt.NDArray[np.uint8], float]:
    """Return levels in dB, scaled to 0 … 255, shape (n_bins, n_frames), and the highest frequency in Hz.

    The frequency axis is linear; bins are joined by their loudest where there are more than 512.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 4000 * np.arange(32_000) / 32_000).astype(np.float32)
    >>> levels, high_hz = spectrogram_levels(tone, 32_000)
    >>> round((levels.mean(axis=1).argmax() + 0.5) * high_hz / len(levels))
    4016
    """
    n_fft = 2 ** max(6, round(np.log2(sample_rate * _FFT_S)))
    hop = max(1, round(max(sample_rate / _FRAMES_PER_S, len(wave) / _MAX_FRAMES)))
    padded = np.pad(wave, (0, max(0, n_fft - len(wave))))
    window = np.hanning(n_fft + 1)[:-1]
    n_frames = max(1, -(-len(wave) // hop))
    power = np.abs(ShortTimeFFT(window, hop, sample_rate).stft(padded, p0=0, p1=n_frames)) ** 2
    n_joined = max(1, (n_fft // 2) // _N_BINS)
    rows = power[: n_fft // 2].reshape(-1, n_joined, power.shape[1]).max(axis=1)
    level_db = 10 * np.log10(rows + 1e-12)
    quietest, loudest = np.quantile(level_db, [_QUIETEST, _LOUDEST])
    scaled = (level_db - quietest) / max(loudest - quietest, _LEAST_RANGE_DB)
    return np.ascontiguousarray(np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8)), sample_rate / 2
