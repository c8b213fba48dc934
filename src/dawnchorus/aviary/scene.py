"""Songs laid over a background at known levels, and the sum as a recordist's gear records it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dawnchorus.aviary.noise import FloatArray, filter_by, white, with_unit_power
from dawnchorus.aviary.songs import Song, Species, Voice, sing

# Half of a third of an octave: a song is compared with its background in a band that is never narrower.
HALF_BAND = 2 ** (1 / 6)


class PlacedSong(NamedTuple):
    """A song with its place in a scene: the species, the first sample and the level above the background.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.aviary.songs import Song
    >>> song = Song(np.ones(3200, np.float32), low_hz=2000.0, high_hz=4000.0)
    >>> PlacedSong("Trillator_rapidus", song, start=16_000, snr_db=12.0).snr_db
    12.0
    """

    label: str
    song: Song
    start: int
    snr_db: float


@dataclass(frozen=True)
class Gear:
    """The response of a microphone and a preamplifier.

    Attributes
    ----------
    tilt_db
        Gain per octave above 1 kHz (and loss per octave below it), decibels.
    low_cut_hz
        Frequency below which the bass is attenuated, hertz.
    hiss_db
        White noise of the preamplifier relative to everything else, decibels.
    peak
        Largest absolute sample of a recording, in (0, 1].

    Examples
    --------
    >>> Gear(tilt_db=-1.0, low_cut_hz=200.0, hiss_db=-50.0, peak=0.5).peak
    0.5
    """

    tilt_db: float
    low_cut_hz: float
    hiss_db: float
    peak: float


def draw_gear(rng: np.random.Generator) -> Gear:
    """Return the gear of a recordist.

    Examples
    --------
    >>> import numpy as np
    >>> gear = draw_gear(np.random.default_rng(0))
    >>> 0 < gear.peak <= 1
    True
    """
    return Gear(
        tilt_db=float(rng.normal(0, 1.8)),
        low_cut_hz=float(rng.uniform(50, 350)),
        hiss_db=float(rng.uniform(-55, -32)),
        peak=float(rng.uniform(0.25, 0.95)),
    )


class BandPower:
    """The power of a waveform in any band of frequencies.

    Parameters
    ----------
    waveform
        Shape (n_samples,).
    sample_rate
        Hertz.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(32_000) / 32_000).astype(np.float32)
    >>> band = BandPower(tone, 32_000)
    >>> round(float(band.between(900, 1100)), 3), round(float(band.between(2000, 4000)), 3)
    (0.5, 0.0)
    """

    def __init__(self, waveform: FloatArray, sample_rate: int) -> None:
        n_fft = fft.next_fast_len(len(waveform), real=True)
        spectrum = fft.rfft(waveform, n_fft)
        density = np.square(np.abs(spectrum)).astype(np.float64)
        self._cumulative = np.concatenate([[0.0], np.cumsum(density)]) * 2 / (n_fft * len(waveform))
        self._hz_per_bin = sample_rate / n_fft

    def between(self, low_hz: float, high_hz: float) -> float:
        """Return the mean square of the waveform's part from ``low_hz`` to ``high_hz``."""
        last = len(self._cumulative) - 1
        low, high = (min(last, round(hz / self._hz_per_bin)) for hz in (low_hz, high_hz))
        return float(self._cumulative[high] - self._cumulative[low])


def sing_along(
    species: Species,
    voice: Voice,
    rng: np.random.Generator,
    *,
    span: range,
    gap_s: tuple[float, float],
    snr_db: float,
    sample_rate: int,
) -> list[PlacedSong]:
    """Return the songs of one bird that starts to sing early in ``span`` and goes on until its end.

    Parameters
    ----------
    species, voice
        The singing bird.
    rng
        Determines the songs, the silences between them and levels within 3 dB of ``snr_db``.
    span
        The samples in which songs begin.
    gap_s
        Shortest and longest silence between two songs, seconds.
    snr_db
        Mean level above the background in the song's band, decibels.
    sample_rate
        Hertz.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.aviary.songs import Voice
    >>> from dawnchorus.aviary.aviary_settings import ALL_SPECIES
    >>> span, rng = range(0, 320_000), np.random.default_rng(0)
    >>> songs = sing_along(
    ...     ALL_SPECIES[0], Voice(), rng, span=span, gap_s=(0.5, 1.0), snr_db=12.0, sample_rate=32_000
    ... )
    >>> all(song.start in span for song in songs)
    True
    """
    songs = []
    start = span.start + round(rng.uniform(0, gap_s[1] / 2) * sample_rate)
    while start < span.stop:
        song = sing(species, voice, rng, sample_rate)
        songs.append(PlacedSong(species.name, song, start, snr_db + float(rng.uniform(-3, 3))))
        start += len(song.waveform) + round(rng.uniform(*gap_s) * sample_rate)
    return songs


def mix_scene(background: FloatArray, songs: Iterable[PlacedSong], sample_rate: int) -> FloatArray:
    """Return ``background`` with the songs added, shape (n_samples,), float32.

    A song's level is the mean square of its sounding samples over that of the background in the song's own
    band, at least a third of an octave wide; a song that outlasts the background is cut.

    Parameters
    ----------
    background
        Shape (n_samples,), any unit.
    songs
        The songs with their first samples and levels.
    sample_rate
        Hertz.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.aviary.songs import Song
    >>> background = 0.01 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    >>> tone = np.sin(2 * np.pi * 3000 * np.arange(3200) / 32_000).astype(np.float32)
    >>> song = PlacedSong("Sibilus_lentus", Song(tone, 2900.0, 3100.0), start=16_000, snr_db=20.0)
    >>> scene = mix_scene(background, [song], 32_000)
    >>> bool(abs(scene[16_000:19_200]).max() > abs(scene[:16_000]).max())
    True
    """
    power = BandPower(background, sample_rate)
    scene = background.copy()
    for _, song, start, snr_db in songs:
        waveform = song.waveform[: len(scene) - start]
        noise_power = power.between(song.low_hz / HALF_BAND, song.high_hz * HALF_BAND)
        gain = math.sqrt(noise_power / song.power * 10 ** (snr_db / 10))
        scene[start : start + len(waveform)] += np.float32(gain) * waveform
    return scene


def record(
    scene: FloatArray, sample_rate: int, gear: Gear, rng: np.random.Generator, *, n_channels: int = 1
) -> NDArray[np.float32]:
    """Return ``scene`` as ``gear`` records it: shape (n_samples, n_channels), float32 within ±``gear.peak``.

    The channels of a stereo recording hold the same scene at levels up to 6 dB apart, each with its own hiss.

    Examples
    --------
    >>> import numpy as np
    >>> scene = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    >>> gear = Gear(tilt_db=0.0, low_cut_hz=100.0, hiss_db=-60.0, peak=0.5)
    >>> recorded = record(scene, 32_000, gear, np.random.default_rng(1), n_channels=2)
    >>> recorded.shape, bool(abs(recorded).max() <= 0.5)
    ((32000, 2), True)
    """
    octaves = gear.tilt_db / (20 * np.log10(2.0))

    def response(hz: FloatArray) -> FloatArray:
        bass = hz / np.sqrt(np.square(hz) + np.float32(gear.low_cut_hz) ** 2)
        tilt = (np.maximum(hz, np.float32(100)) / 1000) ** np.float32(octaves)
        return np.asarray(bass * tilt, dtype=np.float32)

    coloured = with_unit_power(filter_by(scene, sample_rate, response))
    hiss = np.float32(10 ** (gear.hiss_db / 20))
    levels = [1.0] + [10 ** (rng.uniform(-6, 6) / 20) for _ in range(n_channels - 1)]
    channels = [np.float32(level) * coloured + hiss * white(rng, len(scene)) for level in levels]
    stacked = np.stack(channels, axis=1)
    return stacked * np.float32(gear.peak / np.max(np.abs(stacked)))
