"""The log-mel spectrogram: its definition, and its computation in NumPy for engines without PyTorch.

For each clip:

1. the power of each Hann-windowed frame, centred with reflect padding, the window scaled to unit energy;
2. triangular bands on the HTK mel scale (O'Shaughnessy 1987), peak 1, no area normalisation; or on Slaney's
   scale (Auditory Toolbox, 1998), or with his area normalisation;
3. decibels, cut off ``top_db`` below the clip's loudest cell;
4. the range stretched to [0, 1]. The published system standardises first; stretching undoes any
   shift and scale, so only its epsilons would remain, below 1e-6.

With the defaults a clip of 5 s at 32 kHz (160,000 samples) gives 128 mels by 313 frames. With several window
lengths it gives a channel for each, of the same bands and frames.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import ConfigError, ModelError

try:
    from scipy.fft import rfft  # the same transform as NumPy's in half the time, where SciPy is installed
except ModuleNotFoundError:
    from numpy.fft import rfft

MIN_POWER = 1e-10  # -100 dB: the level of digital silence
_LARGEST_SINGLE_PRODUCT = 1 << 18
"""Multiplications up to which OpenBLAS uses one thread; more would busy-wait for the engine's cores."""

_BANDS_AT_ONCE = 16  # neighbouring bands share bins, far ones do not: a quarter of the whole product
MIN_RANGE_DB = 1e-6  # keeps a clip of a single level, such as silence, at exactly 0
_SLANEY_STEP = math.log(6.4) / 27  # above 1000 Hz a mel multiplies the frequency by 6.4 ** (1 / 27)


@dataclass(frozen=True)
class FrontendSettings:
    """Settings of the log-mel spectrogram; ``dataclasses.asdict`` gives plain JSON types.

    Parameters
    ----------
    sample_rate
        Hz.
    n_fft
        Samples in a frame, a multiple of 4. 2048 are 64 ms at 32 kHz.
    hop_length
        Samples from one frame to the next, at most ``n_fft``. 512 are 16 ms at 32 kHz.
    n_mels
        Mel bands.
    f_min_hz, f_max_hz
        Lower edge of the lowest band and upper edge of the highest, Hz; the latter at most
        ``sample_rate / 2``.
    top_db
        Dynamic range kept below the loudest cell of a clip, dB.
    win_length
        Samples of the window, 2 to ``n_fft``, padded with zeros at both sides; None is ``n_fft``. A list of
        lengths gives a channel for each, such as ``[512, 2048]`` for short notes and for pure tones. All have
        the frames and bands of the others, so that nothing is resampled.
    mel_scale
        ``htk``, or ``slaney``, which is linear up to 1000 Hz.
    mel_norm
        None for bands with peak 1, or ``slaney`` for bands of equal area.

    Raises
    ------
    ConfigError
        If a value is out of its range.

    Examples
    --------
    >>> settings = FrontendSettings(n_mels=64)
    >>> settings.n_mels, settings.n_frames(160_000)
    (64, 313)
    >>> FrontendSettings.from_mapping({"n_mel": 64})
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: frontend: n_mel is not known; did you mean n_mels?
    """

    sample_rate: int = 32_000
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    f_min_hz: float = 20.0
    f_max_hz: float = 16_000.0
    top_db: float = 80.0
    win_length: int | tuple[int, ...] | None = None
    mel_scale: Literal["htk", "slaney"] = "htk"
    mel_norm: Literal["slaney"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.win_length, list):
            object.__setattr__(self, "win_length", tuple(self.win_length))
        for field in (field for field in fields(self) if isinstance(field.default, int | float)):
            value, kinds = (
                getattr(self, field.name),
                (int,) if isinstance(field.default, int) else (int, float),
            )
            if not isinstance(value, kinds) or isinstance(value, bool):
                kind = "a whole number" if kinds == (int,) else "a number"
                raise ConfigError(f"frontend: {field.name} is {value!r}; legal: {kind}")
        nyquist_hz = self.sample_rate / 2
        rules = (
            ("sample_rate", self.sample_rate >= 1, "a whole number of Hz, 1 or more"),
            ("n_fft", self.n_fft >= 4 and self.n_fft % 4 == 0, "a multiple of 4"),
            ("hop_length", 1 <= self.hop_length <= self.n_fft, f"1 to n_fft ({self.n_fft})"),
            ("n_mels", self.n_mels >= 1, "1 or more"),
            ("f_max_hz", 0 < self.f_max_hz <= nyquist_hz, f"above 0, up to sample_rate / 2 ({nyquist_hz:g})"),
            ("f_min_hz", 0 <= self.f_min_hz < self.f_max_hz, f"0 to below f_max_hz ({self.f_max_hz:g})"),
            ("top_db", self.top_db > 0, "above 0"),
            (
                "win_length",
                bool(self.win_lengths) and all(self._is_win_length(n) for n in self.win_lengths),
                f"None, a whole number from 2 to n_fft ({self.n_fft}), or a list of such",
            ),
            ("mel_scale", self.mel_scale in ("htk", "slaney"), "'htk', 'slaney'"),
            ("mel_norm", self.mel_norm in (None, "slaney"), "None, 'slaney'"),
        )
        for name, holds, legal in rules:
            if not holds:
                raise ConfigError(f"frontend: {name} is {getattr(self, name)}; legal: {legal}")

    def _is_win_length(self, length: Any) -> bool:
        return isinstance(length, int) and not isinstance(length, bool) and 2 <= length <= self.n_fft

    @property
    def win_lengths(self) -> tuple[int, ...]:
        """Samples of the window of each channel."""
        if isinstance(self.win_length, tuple):
            return self.win_length
        return (self.n_fft if self.win_length is None else self.win_length,)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FrontendSettings:
        """Return the settings of a config's dict; keys that it lacks keep their defaults.

        Raises
        ------
        ConfigError
            If a key is not known or a value is out of its range.
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"legal: {', '.join(known)}"
                raise ConfigError(f"frontend: {key} is not known; {hint}")
        return cls(**values)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of a clip: 313 for 160,000 samples with the defaults."""
        return 1 + n_samples // self.hop_length

    def mel_centres_hz(self) -> npt.NDArray[np.float64]:
        """Return the frequency at which each mel band has its peak, shape (n_mels,), Hz."""
        return _mel_corners_hz(self)[1:-1]


def mel_filters(settings: FrontendSettings) -> npt.NDArray[np.float32]:
    """Return triangular filters from FFT bins to mel bands, shape (n_fft // 2 + 1, n_mels), in [0, 1].

    Written out, although librosa has them, because importing librosa's filters compiles and loads
    numba: 1.5 s at best, before any prediction.

    Examples
    --------
    >>> filters = mel_filters(FrontendSettings())
    >>> filters.shape, float(filters.max()) <= 1
    ((1025, 128), True)
    """
    corners_hz = _mel_corners_hz(settings)
    bins_hz = np.linspace(0, settings.sample_rate / 2, settings.n_fft // 2 + 1)
    widths_hz = np.diff(corners_hz)
    rising = (bins_hz[:, None] - corners_hz[:-2]) / widths_hz[:-1]
    falling = (corners_hz[2:] - bins_hz[:, None]) / widths_hz[1:]
    filters = np.minimum(rising, falling).clip(min=0)
    if settings.mel_norm == "slaney":
        filters *= 2 / (corners_hz[2:] - corners_hz[:-2])
    return filters.astype(np.float32)


def _mel_corners_hz(settings: FrontendSettings) -> npt.NDArray[np.float64]:
    """Return the corners of the triangles, where neighbouring bands are 0, shape (n_mels + 2,), Hz."""
    low, high = (mel_of_hz(hz, settings.mel_scale) for hz in (settings.f_min_hz, settings.f_max_hz))
    mels = np.linspace(low, high, settings.n_mels + 2)
    if settings.mel_scale == "slaney":
        logarithmic_hz = 1000 * np.exp(_SLANEY_STEP * np.maximum(mels - 15, 0))
        return np.where(mels < 15, mels * 200 / 3, logarithmic_hz)
    return np.asarray(700 * (10 ** (mels / 2595) - 1), np.float64)


def mel_of_hz(hz: float, scale: Literal["htk", "slaney"] = "htk") -> float:
    """Return the mel number of a frequency.

    Examples
    --------
    >>> round(mel_of_hz(1000.0)), mel_of_hz(1000.0, "slaney")
    (1000, 15.0)
    """
    if scale == "slaney":
        return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) / _SLANEY_STEP
    return 2595 * math.log10(1 + hz / 700)


def unit_energy_windows(settings: FrontendSettings) -> npt.NDArray[np.float64]:
    """Return the window of each channel, padded to a frame, shape (n_channels, n_fft).

    Examples
    --------
    >>> windows = unit_energy_windows(FrontendSettings(win_length=(512, 2048)))
    >>> windows.shape, int((windows[0] > 0).sum())  # the periodic window begins with a zero
    ((2, 2048), 511)
    """
    windows = np.zeros((len(settings.win_lengths), settings.n_fft))
    for window, length in zip(windows, settings.win_lengths, strict=True):
        first = (settings.n_fft - length) // 2
        window[first : first + length] = unit_energy_window(length)
    return windows


def unit_energy_window(n_fft: int) -> npt.NDArray[np.float64]:
    """Return the periodic Hann window divided by the root of its energy, shape (n_fft,).

    Examples
    --------
    >>> import numpy as np
    >>> window = unit_energy_window(2048)
    >>> window.shape, round(float(np.square(window).sum()), 6)
    ((2048,), 1.0)
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi / n_fft * np.arange(n_fft))
    return window / np.sqrt(np.square(window).sum())


class NumpyLogMel:
    """The spectrogram in NumPy, clip by clip; the transforms release the GIL, so threads may share the clips.

    Parameters
    ----------
    settings
        The front-end of the model.

    Examples
    --------
    >>> import numpy as np
    >>> logmel = NumpyLogMel(FrontendSettings())
    >>> logmel(np.zeros((2, 160_000), np.float32)).shape  # two clips of 5 s at 32 kHz
    (2, 1, 128, 313)
    """

    def __init__(self, settings: FrontendSettings) -> None:
        self.settings = settings
        self.windows = unit_energy_windows(settings).astype(np.float32)
        self.blocks = list(_filter_blocks(mel_filters(settings)))

    def __call__(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the log-mel spectrograms of clips.

        Parameters
        ----------
        waves
            Shape (batch, n_samples), float32 in [-1, 1].

        Returns
        -------
        numpy.ndarray
            Shape (batch, n_channels, n_mels, n_frames), float32 in [0, 1]; a channel for each window length.

        Raises
        ------
        ModelError
            ``waves`` has another shape, or is too short to be centred (``n_fft // 2`` samples or fewer).
        """
        check_waves(waves.shape, self.settings.n_fft)
        n_frames = self.settings.n_frames(waves.shape[1])
        shape = (len(waves), len(self.windows), self.settings.n_mels, n_frames)
        spectrograms = np.empty(shape, np.float32)
        for wave, channels in zip(waves, spectrograms, strict=True):
            for window, spectrogram in zip(self.windows, channels, strict=True):
                spectrogram[:] = self._spectrogram(wave, window)
        return spectrograms

    def _spectrogram(
        self, wave: npt.NDArray[np.float32], window: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return the spectrogram of one clip through one window, shape (n_mels, n_frames)."""
        settings = self.settings
        padded = np.pad(wave, settings.n_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, settings.n_fft)[:: settings.hop_length]
        spectrum = rfft(frames * window)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel_power = np.empty((len(power), settings.n_mels), np.float32)
        for bands, bins, filters in self.blocks:
            n_at_once = max(1, _LARGEST_SINGLE_PRODUCT // filters.size)
            for first in range(0, len(power), n_at_once):
                some = slice(first, first + n_at_once)
                np.matmul(power[some, bins], filters, out=mel_power[some, bands])
        level_db = 10 * np.log10(np.maximum(mel_power, MIN_POWER))
        loudest_db = level_db.max()
        np.maximum(level_db, loudest_db - np.float32(settings.top_db), out=level_db)
        quietest_db = level_db.min()
        return ((level_db - quietest_db) / (loudest_db - quietest_db + MIN_RANGE_DB)).T


def _filter_blocks(
    filters: npt.NDArray[np.float32],
) -> Iterator[tuple[slice, slice, npt.NDArray[np.float32]]]:
    """Yield a few neighbouring bands, the bins that they reach, and the filters between the two."""
    for first in range(0, filters.shape[1], _BANDS_AT_ONCE):
        bands = filters[:, first : first + _BANDS_AT_ONCE]
        heard = np.flatnonzero(bands.any(axis=1))
        bins = slice(int(heard[0]), int(heard[-1]) + 1) if len(heard) else slice(0, 1)
        yield slice(first, first + bands.shape[1]), bins, np.ascontiguousarray(bands[bins])


def check_waves(shape: tuple[int, ...], n_fft: int) -> None:
    """Raise a ModelError unless clips of this shape can be turned into spectrograms.

    Examples
    --------
    >>> check_waves((4, 160_000), n_fft=2048)
    >>> check_waves((4, 1024), n_fft=2048)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: the waveform has 1024 samples; with n_fft 2048 it needs more than 1024
    """
    if len(shape) != 2:
        raise ModelError(f"the waveform has shape {tuple(shape)}; it must be (batch, n_samples)")
    if shape[1] <= n_fft // 2:
        raise ModelError(
            f"the waveform has {shape[1]} samples; with n_fft {n_fft} it needs more than {n_fft // 2}"
        )
