"""What the page shows of a clip: its sound as WAV, and its spectrogram as levels of one byte."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import ShortTimeFFT

from dawnchorus.audio.excerpts import Excerpt
from dawnchorus.batch.segments import to_int16

CONTEXT_S = 3.0
"""Seconds before and after a clip."""

_FFT_S = 0.024  # as long as the songs of most birds change little
_FRAMES_PER_S, _MAX_FRAMES, _N_BINS = 200, 3000, 512
_QUIETEST, _LOUDEST = 0.35, 0.9995  # quantiles of the level that are drawn as 0 and as 255
_LEAST_RANGE_DB = 25.0


class ClipSpectrogram(NamedTuple):
    """The spectrogram of a clip with its context.

    Attributes
    ----------
    levels
        Shape (n_bins, n_frames), uint8: the lowest frequency first, 0 the quietest.
    high_hz
        Frequency at its upper edge.

    Examples
    --------
    >>> import numpy as np
    >>> ClipSpectrogram(np.zeros((512, 200), np.uint8), 16_000.0).high_hz
    16000.0
    """

    levels: npt.NDArray[np.uint8]
    high_hz: float


def wav_of(excerpt: Excerpt) -> bytes:
    """Return the sound of an excerpt as a WAV file of 16 bits.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.excerpts import read_excerpt
    >>> wav_of(read_excerpt(Path("night.wav"), 2.0, 4.0))[:4]
    b'RIFF'
    """
    file = io.BytesIO()
    soundfile.write(file, to_int16(excerpt.wave), excerpt.sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def clip_spectrogram(wave: npt.NDArray[np.float32], sample_rate: int) -> ClipSpectrogram:
    """Return the levels of a sound in dB, scaled to 0 … 255.

    The frequency axis is linear; bins are joined by their loudest where there are more than 512.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 4000 * np.arange(32_000) / 32_000).astype(np.float32)
    >>> levels, high_hz = clip_spectrogram(tone, 32_000)
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
    levels = np.ascontiguousarray(np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8))
    return ClipSpectrogram(levels, sample_rate / 2)
