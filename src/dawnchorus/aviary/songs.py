"""Songs from a grammar: a species is a list of parts, a part is a run of like notes, a note is a contour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import tukey

FloatArray = NDArray[np.float32]

# Partials above this fraction of the sample rate are left out: they would alias.
HIGHEST_PARTIAL = 0.45
# Rise and fall together take this fraction of a note, so that notes neither click nor blur.
FADED_FRACTION = 0.3


@dataclass(frozen=True)
class SongPart:
    """A run of like notes: a whistle is one long note, a trill many short ones.

    Attributes
    ----------
    contour
        Pitch at equally spaced moments of a note, as ratios to the voice's pitch.
    note_s, gap_s
        Length of a note and of the silence after it, seconds.
    repeats
        Fewest and most notes in the run.
    vibrato_hz, vibrato_depth
        Rate of the frequency modulation and its size as a ratio (0.1 is ±10 %). Fast and deep is a buzz.
    partials
        Amplitudes of the fundamental and the harmonics above it.

    Examples
    --------
    >>> trill = SongPart(contour=(1.2, 0.9, 1.2), note_s=0.05, gap_s=0.03, repeats=(9, 16))
    >>> trill.repeats
    (9, 16)
    """

    contour: tuple[float, ...]
    note_s: float
    gap_s: float = 0.0
    repeats: tuple[int, int] = (1, 1)
    vibrato_hz: float = 0.0
    vibrato_depth: float = 0.0
    partials: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Species:
    """An invented bird: its folder name, the pitch of an average voice in hertz and the parts of its song.

    Examples
    --------
    >>> Species("Sibilus_lentus", 2600.0, (SongPart((1.0, 1.0), note_s=1.1),)).pitch_hz
    2600.0
    """

    name: str
    pitch_hz: float
    parts: tuple[SongPart, ...]


@dataclass(frozen=True)
class Voice:
    """The differences of one bird from the average of its species, as factors.

    Examples
    --------
    >>> Voice(pitch=1.05).tempo
    1.0
    """

    pitch: float = 1.0
    tempo: float = 1.0
    depth: float = 1.0

    def __mul__(self, other: Voice) -> Voice:
        """Return the voice of an individual (``self``) that sings in a dialect (``other``)."""
        return Voice(self.pitch * other.pitch, self.tempo * other.tempo, self.depth * other.depth)


@dataclass(frozen=True)
class Song:
    """One rendered song.

    Attributes
    ----------
    waveform
        Shape (n_samples,), float32 in [-1, 1]; it begins and ends with sound.
    low_hz, high_hz
        The band that the song moves through, hertz.

    Examples
    --------
    >>> import numpy as np
    >>> song = Song(np.float32([0.5, -0.5, 0.0, 0.0]), low_hz=2000.0, high_hz=3000.0)
    >>> round(float(song.power), 3)  # silence does not count
    0.25
    """

    waveform: FloatArray
    low_hz: float
    high_hz: float

    @property
    def power(self) -> float:
        """Mean square of the sounding samples; the silences between notes do not count."""
        return float(np.mean(np.square(self.waveform[self.waveform != 0])))


def draw_voice(rng: np.random.Generator, *, pitch_spread: float, tempo_spread: float) -> Voice:
    """Return a voice whose factors lie within ``1 ± spread``, as likely above the average as below.

    Examples
    --------
    >>> import numpy as np
    >>> voice = draw_voice(np.random.default_rng(0), pitch_spread=0.2, tempo_spread=0.1)
    >>> 0.8 <= voice.pitch <= 1.2, 0.9 <= voice.tempo <= 1.1
    (True, True)
    """
    spreads = np.array([pitch_spread, tempo_spread, tempo_spread])
    pitch, tempo, depth = (1 + spreads) ** rng.uniform(-1, 1, size=3)
    return Voice(float(pitch), float(tempo), float(depth))


def sing(species: Species, voice: Voice, rng: np.random.Generator, sample_rate: int) -> Song:
    """Return one song of ``species`` by a bird with this ``voice``; no two songs are quite alike.

    Parameters
    ----------
    species
        The species, whose grammar is used.
    voice
        Factors on pitch, tempo and depth of modulation.
    rng
        Determines the number of notes and the small differences between them.
    sample_rate
        Of the returned waveform, hertz.

    Examples
    --------
    >>> import numpy as np
    >>> whistle = Species("Sibilus_lentus", 2600.0, (SongPart((1.0, 1.0), note_s=1.0),))
    >>> song = sing(whistle, Voice(), np.random.default_rng(0), 32_000)
    >>> 0.95 <= len(song.waveform) / 32_000 <= 1.05, 2500 < song.low_hz < 2700
    (True, True)
    """
    pieces: list[FloatArray] = []
    bands: list[tuple[float, float]] = []
    silence = np.zeros(0, dtype=np.float32)
    for part in species.parts:
        for _ in range(rng.integers(part.repeats[0], part.repeats[1], endpoint=True)):
            pitch_hz = species.pitch_hz * voice.pitch * rng.uniform(0.985, 1.015)
            duration_s = part.note_s / voice.tempo * rng.uniform(0.95, 1.05)
            frequency_hz = note_frequency(
                part, pitch_hz, voice.depth, round(duration_s * sample_rate), sample_rate
            )
            n_partials = count_partials(part, float(frequency_hz.max()), sample_rate)
            pieces += [silence, render_note(frequency_hz, part.partials[:n_partials], sample_rate)]
            bands.append((float(frequency_hz.min()), n_partials * float(frequency_hz.max())))
            silence = np.zeros(round(part.gap_s / voice.tempo * sample_rate), dtype=np.float32)
    return Song(np.concatenate(pieces), min(low for low, _ in bands), max(high for _, high in bands))


def note_frequency(
    part: SongPart, pitch_hz: float, depth: float, n_samples: int, sample_rate: int
) -> NDArray[np.float64]:
    """Return the fundamental of a note at every sample, shape (n_samples,), hertz.

    The contour is interpolated in log-frequency, as pitch is perceived; ``depth`` scales both it and the
    vibrato.

    Examples
    --------
    >>> sweep = SongPart(contour=(1.0, 2.0), note_s=0.5)
    >>> note_frequency(sweep, 1000.0, depth=1.0, n_samples=3, sample_rate=32_000).round(1)  # an octave
    array([1000. , 1414.2, 2000. ])
    """
    moments = np.linspace(0, len(part.contour) - 1, n_samples)
    octaves = depth * np.interp(moments, np.arange(len(part.contour)), np.log2(part.contour))
    if part.vibrato_depth:
        time_s = np.arange(n_samples) / sample_rate
        swing = depth * np.log2(1 + part.vibrato_depth)
        octaves = octaves + swing * np.sin(2 * np.pi * part.vibrato_hz * time_s)
    return pitch_hz * np.exp2(octaves)


def count_partials(part: SongPart, highest_hz: float, sample_rate: int) -> int:
    """Return how many partials of a note that rises to ``highest_hz`` fit below the Nyquist frequency.

    Examples
    --------
    >>> call = SongPart((1.0, 1.0), note_s=0.2, partials=(1.0, 0.7, 0.45))
    >>> count_partials(call, highest_hz=6000.0, sample_rate=32_000)  # a third would be at 18 kHz
    2
    """
    return max(1, min(len(part.partials), int(HIGHEST_PARTIAL * sample_rate / highest_hz)))


def render_note(
    frequency_hz: NDArray[np.float64], partials: tuple[float, ...], sample_rate: int
) -> FloatArray:
    """Return a note with this course of pitch: shape (n_samples,), float32 in [-1, 1].

    Parameters
    ----------
    frequency_hz
        The fundamental at every sample, shape (n_samples,).
    partials
        Amplitudes of the fundamental and its harmonics.
    sample_rate
        Hertz.

    Examples
    --------
    >>> import numpy as np
    >>> note = render_note(np.full(3200, 2000.0), (1.0, 0.5), 32_000)
    >>> note.shape, note.dtype, bool(abs(note).max() <= 1)
    ((3200,), dtype('float32'), True)
    """
    phase = 2 * np.pi * np.cumsum(frequency_hz) / sample_rate
    tone = sum(amplitude * np.sin(order * phase) for order, amplitude in enumerate(partials, start=1))
    envelope = tukey(len(phase), FADED_FRACTION)
    return np.asarray(tone * envelope / sum(partials), dtype=np.float32)
