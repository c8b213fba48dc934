"""Background noise: pink noise, wind, rain and insects, each with a mean square of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

FloatArray = NDArray[np.float32]
Gain = Callable[[FloatArray], NDArray[np.floating]]
Background = Callable[[np.random.Generator, int, int], FloatArray]

# Below this, pink noise is flat: its power would grow without bound.
LOWEST_HZ = np.float32(40)
# 60 dB below the loudest frequency of a noise; softer ones are left out.
INAUDIBLE = 1e-3


def filter_by(waveform: FloatArray, sample_rate: int, gain: Gain) -> FloatArray:
    """Return ``waveform`` with each frequency scaled by ``gain(frequency_hz)``, shape (n_samples,), float32.

    The filter has zero phase and is applied to the whole waveform at once.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(32_000) / 32_000).astype(np.float32)
    >>> halved = filter_by(tone, 32_000, lambda hz: np.full_like(hz, 0.5))
    >>> round(float(halved.max() / tone.max()), 3)
    0.5
    """
    n_fft = fft.next_fast_len(len(waveform), real=True)
    spectrum = fft.rfft(waveform, n_fft) * gain(bin_frequencies(n_fft, sample_rate))
    return np.asarray(fft.irfft(spectrum, n_fft)[: len(waveform)], dtype=np.float32)


def shaped_noise(rng: np.random.Generator, n_samples: int, sample_rate: int, gain: Gain) -> FloatArray:
    """Return Gaussian noise with amplitude ``gain(frequency_hz)``: shape (n_samples,), float32, unit power.

    The spectrum of white noise is white noise too, so it is drawn there, and only at audible frequencies.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> noise = shaped_noise(rng, 32_000, 32_000, lambda hz: (hz < 1000).astype(np.float32))
    >>> noise.shape, round(float(np.mean(noise**2)), 3)
    ((32000,), 1.0)
    """
    n_fft = fft.next_fast_len(n_samples, real=True)
    gains = gain(bin_frequencies(n_fft, sample_rate))
    audible = np.flatnonzero(gains > INAUDIBLE * gains.max())
    spectrum = np.zeros(len(gains), dtype=np.complex64)
    spectrum[audible] = gains[audible] * white(rng, 2 * len(audible)).view(np.complex64)
    return with_unit_power(np.asarray(fft.irfft(spectrum, n_fft)[:n_samples], dtype=np.float32))


def bin_frequencies(n_fft: int, sample_rate: int) -> FloatArray:
    """Return the frequencies of a real spectrum, shape (n_fft // 2 + 1,), float32, hertz.

    Examples
    --------
    >>> bin_frequencies(4, 32_000)
    array([    0.,  8000., 16000.], dtype=float32)
    """
    return fft.rfftfreq(n_fft, 1 / sample_rate).astype(np.float32)


def with_unit_power(waveform: FloatArray) -> FloatArray:
    """Return ``waveform`` scaled to a mean square of one; silence stays silence.

    Examples
    --------
    >>> import numpy as np
    >>> with_unit_power(np.float32([2, -2, 2, -2]))
    array([ 1., -1.,  1., -1.], dtype=float32)
    """
    power = float(np.mean(np.square(waveform)))
    return waveform / np.float32(np.sqrt(power)) if power > 0 else waveform


def white(rng: np.random.Generator, n_samples: int) -> FloatArray:
    """Return Gaussian white noise, shape (n_samples,), float32, mean square about one.

    Examples
    --------
    >>> import numpy as np
    >>> noise = white(np.random.default_rng(0), 32_000)
    >>> noise.shape, round(float(np.mean(noise**2)), 1)
    ((32000,), 1.0)
    """
    return rng.standard_normal(n_samples, dtype=np.float32)


def slow_course(rng: np.random.Generator, n_samples: int, sample_rate: int, rate_hz: float) -> FloatArray:
    """Return a random course in [0, 1] that may turn ``rate_hz`` times a second, shape (n_samples,).

    Examples
    --------
    >>> import numpy as np
    >>> course = slow_course(np.random.default_rng(0), 32_000, 32_000, rate_hz=2.0)
    >>> course.shape, bool(course.min() >= 0), bool(course.max() <= 1)
    ((32000,), True, True)
    """
    n_knots = max(2, round(n_samples / sample_rate * rate_hz) + 2)
    knots = rng.uniform(0, 1, n_knots)
    return np.interp(np.linspace(0, n_knots - 1, n_samples), np.arange(n_knots), knots).astype(np.float32)


def pink(rng: np.random.Generator, n_samples: int, sample_rate: int) -> FloatArray:
    """Return noise with equal power in every octave, shape (n_samples,), float32.

    Examples
    --------
    >>> import numpy as np
    >>> pink(np.random.default_rng(0), 32_000, 32_000).shape
    (32000,)
    """
    return shaped_noise(rng, n_samples, sample_rate, lambda hz: 1 / np.sqrt(np.maximum(hz, LOWEST_HZ)))


def wind(rng: np.random.Generator, n_samples: int, sample_rate: int) -> FloatArray:
    """Return gusts of low rumble, shape (n_samples,), float32.

    Examples
    --------
    >>> import numpy as np
    >>> wind(np.random.default_rng(0), 32_000, 32_000).shape
    (32000,)
    """
    corner_hz = np.float32(rng.uniform(80, 300))
    rumble = shaped_noise(rng, n_samples, sample_rate, lambda hz: 1 / (1 + np.square(hz / corner_hz)))
    return with_unit_power(rumble * np.square(slow_course(rng, n_samples, sample_rate, 0.7)))


def rain(rng: np.random.Generator, n_samples: int, sample_rate: int) -> FloatArray:
    """Return a broad hiss that swells with every drop on a leaf near by, shape (n_samples,), float32.

    Examples
    --------
    >>> import numpy as np
    >>> rain(np.random.default_rng(0), 32_000, 32_000).shape
    (32000,)
    """
    centre_hz, octaves = np.float32(rng.uniform(2500, 6000)), np.float32(1.2)
    hiss = shaped_noise(
        rng,
        n_samples,
        sample_rate,
        lambda hz: np.exp2(-np.square(np.log2(np.maximum(hz, LOWEST_HZ) / centre_hz) / octaves)),
    )
    hits = np.zeros(n_samples, dtype=np.float32)
    n_drops = rng.poisson(n_samples / sample_rate * rng.uniform(3, 20))
    hits[rng.integers(0, n_samples, n_drops)] = rng.exponential(8, n_drops)
    ringing = np.exp(-np.arange(round(0.01 * sample_rate)) / (0.002 * sample_rate)).astype(np.float32)
    return with_unit_power(hiss * (1 + signal.oaconvolve(hits, ringing)[:n_samples]))


def insects(rng: np.random.Generator, n_samples: int, sample_rate: int) -> FloatArray:
    """Return one to three insects, each pulsing in a narrow band, shape (n_samples,), float32.

    Examples
    --------
    >>> import numpy as np
    >>> insects(np.random.default_rng(0), 32_000, 32_000).shape
    (32000,)
    """
    time_s = np.arange(n_samples, dtype=np.float32) / np.float32(sample_rate)
    chorus = np.zeros(n_samples, dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        centre_hz = np.float32(rng.uniform(3000, 9500))
        width_hz = centre_hz * np.float32(rng.uniform(0.01, 0.04))
        narrow = partial(bell, centre_hz=centre_hz, width_hz=width_hz)
        pulses = 1 + np.sin(np.float32(2 * np.pi * rng.uniform(18, 40)) * time_s)
        level = np.float32(rng.uniform(0.4, 1))
        chorus += level * with_unit_power(pulses * shaped_noise(rng, n_samples, sample_rate, narrow))
    return with_unit_power(chorus)


def bell(hz: FloatArray, *, centre_hz: np.float32, width_hz: np.float32) -> FloatArray:
    """Return a Gaussian bell over frequency, the shape of ``hz``, at most 1.

    Examples
    --------
    >>> import numpy as np
    >>> peak, far = bell(np.float32([2000, 9000]), centre_hz=np.float32(2000), width_hz=np.float32(100))
    >>> float(peak), float(far) < 1e-6
    (1.0, True)
    """
    return np.exp(-np.square((hz - centre_hz) / width_hz) / 2)


def draw_background(rng: np.random.Generator, n_samples: int, sample_rate: int) -> FloatArray:
    """Return pink noise with some of wind, rain and insects over it, shape (n_samples,), float32.

    Wind is in six scenes of ten, insects in four, rain in three, each at its own level beside the pink noise.

    Examples
    --------
    >>> import numpy as np
    >>> draw_background(np.random.default_rng(0), 32_000, 32_000).shape
    (32000,)
    """
    total = pink(rng, n_samples, sample_rate)
    weather: tuple[tuple[Background, float, float, float], ...] = (
        (wind, 0.6, -6, 10),
        (rain, 0.3, -15, 3),
        (insects, 0.4, -20, -4),
    )
    for background, probability, least_db, most_db in weather:
        if rng.uniform() < probability:
            level_db = rng.uniform(least_db, most_db)
            total += np.float32(10 ** (level_db / 20)) * background(rng, n_samples, sample_rate)
    return total
