"""Waveform → log-mel picture, twice: by FFT for PyTorch, by matrix products for engines without an FFT.

Both compute, for every clip on its own:

1. the power of each Hann-windowed frame, centred with reflect padding, the window scaled to unit energy;
2. triangular bands on the HTK mel scale (O'Shaughnessy 1987), peak 1, no area normalisation;
3. decibels, cut off ``top_db`` below the clip's loudest cell;
4. the range stretched to [0, 1]. The published system standardises first; stretching undoes any
   shift and scale, so only its epsilons would remain, below 1e-6.

With the defaults a clip of 5 s at 32 kHz (160,000 samples) gives 128 mels by 313 frames.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dawnchorus.errors import ConfigError, ModelError

MIN_POWER = 1e-10  # -100 dB: what digital silence is taken for
MIN_RANGE_DB = 1e-6  # keeps a clip of one single level, such as silence, at exactly 0


@dataclass(frozen=True)
class FrontendSettings:
    """How a waveform becomes a log-mel picture; ``dataclasses.asdict`` gives plain JSON types.

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
        Where the lowest band begins and the highest ends, Hz; the latter at most ``sample_rate / 2``.
    top_db
        Dynamic range kept below the loudest cell of a clip, dB.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    sample_rate: int = 32_000
    n_fft: int = 2048
    hop_length: int = 512
    n_mels: int = 128
    f_min_hz: float = 20.0
    f_max_hz: float = 16_000.0
    top_db: float = 80.0

    def __post_init__(self) -> None:
        for field in fields(self):
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
        )
        for name, holds, legal in rules:
            if not holds:
                raise ConfigError(f"frontend: {name} is {getattr(self, name)}; legal: {legal}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FrontendSettings:
        """Return the settings of a config's dict; what it does not name keeps its default.

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


def mel_filters(settings: FrontendSettings) -> Tensor:
    """Return triangular filters from FFT bins to mel bands.

    Written out, although librosa has them, because importing librosa's filters compiles and loads
    numba: 1.5 s at best, before a field laptop can predict anything.

    Returns
    -------
    Tensor
        Weights in [0, 1], shape (n_fft // 2 + 1, n_mels), float32.
    """
    low, high = (2595 * math.log10(1 + f / 700) for f in (settings.f_min_hz, settings.f_max_hz))
    mels = torch.linspace(low, high, settings.n_mels + 2, dtype=torch.float64)
    corners_hz = 700 * (10 ** (mels / 2595) - 1)
    bins_hz = torch.linspace(0, settings.sample_rate / 2, settings.n_fft // 2 + 1, dtype=torch.float64)
    widths_hz = corners_hz.diff()
    rising = (bins_hz[:, None] - corners_hz[:-2]) / widths_hz[:-1]
    falling = (corners_hz[2:] - bins_hz[:, None]) / widths_hz[1:]
    return torch.minimum(rising, falling).clamp_min(0).float()


def unit_energy_window(n_fft: int) -> Tensor:
    """Return the periodic Hann window divided by the root of its energy, shape (n_fft,), float64."""
    window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64)
    return window / window.square().sum().sqrt()


def log_scale(mel_power: Tensor, top_db: float) -> Tensor:
    """Return decibels of each clip, cut off at ``top_db`` below its maximum and stretched to [0, 1].

    Parameters
    ----------
    mel_power
        Power, shape (batch, n_frames, n_mels), float32, at least 0.
    top_db
        Dynamic range, dB.

    Returns
    -------
    Tensor
        Log-mel picture, shape (batch, 1, n_mels, n_frames), float32; all 0 where a clip is silent.
    """
    level_db = 10 * mel_power.clamp_min(MIN_POWER).log10()
    loudest_db = level_db.amax((1, 2), keepdim=True)
    level_db = torch.maximum(level_db, loudest_db - top_db)
    quietest_db = level_db.amin((1, 2), keepdim=True)
    picture = (level_db - quietest_db) / (loudest_db - quietest_db + MIN_RANGE_DB)
    # Contiguous, because PyTorch takes other strides of a one-channel picture for channels-last, in which
    # the CPU trains depthwise convolutions eight times slower.
    return picture.transpose(1, 2).unsqueeze(1).contiguous()


class LogMelFrontend(nn.Module):
    """Log-mel picture by a real FFT; ``benchmarks/bench_frontend.py`` times it.

    It has no weights: its constants follow ``.to(device)`` but stay out of the state dict. Under
    autocast it still computes in float32, for a power spectrum overflows float16.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, settings: FrontendSettings = FrontendSettings()) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("window", unit_energy_window(settings.n_fft).float(), persistent=False)
        self.register_buffer("filters", mel_filters(settings), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """Return the log-mel picture of each clip.

        Parameters
        ----------
        wave
            Waveform, shape (batch, n_samples), float32 in [-1, 1].

        Returns
        -------
        Tensor
            Shape (batch, 1, n_mels, n_frames), float32 in [0, 1].

        Raises
        ------
        ModelError
            If ``wave`` has another shape, or is too short to be centred (``n_fft // 2`` samples or fewer).
        """
        # A clip for each core: the spectra of more leave a CPU's caches, and 64 at once take twice as long.
        at_once = torch.get_num_threads()
        if wave.device.type == "cpu" and wave.ndim == 2 and len(wave) > at_once:
            return torch.cat([self._picture(part) for part in wave.split(at_once)])
        return self._picture(wave)

    def _picture(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            padded = _pad_for_centring(wave.float(), self.settings.n_fft)
            frames = padded.unfold(1, self.settings.n_fft, self.settings.hop_length)
            spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))
            power = spectrum[..., 0].square() + spectrum[..., 1].square()
            return log_scale(power @ self.filters, self.settings.top_db)


class MatrixLogMelFrontend(nn.Module):
    r"""The same picture without an FFT, for ONNX Runtime and OpenVINO: a quarter of a dense DFT.

    Power does not change when all samples are shifted in time, so the DFT may count them from half a
    sample before the first: sample ``n`` has the angle ``2πk(n + ½)/N``. The mirror images ``n`` and
    ``N-1-n`` then share a cosine and have opposite sines; and within the first half ``n`` and
    ``N/2-1-n`` share them up to a sign that only depends on whether bin ``k`` is even. Adding and
    subtracting the four quarters of a frame (the second and fourth reversed) leaves four products of
    N/4 samples by N/4 bins, instead of two of N by N/2. Even and odd bins are never interleaved
    again: each has its own rows of the mel filters.
    """

    window: Tensor
    even_cos: Tensor
    even_sin: Tensor
    even_filters: Tensor
    odd_cos: Tensor
    odd_sin: Tensor
    odd_filters: Tensor

    def __init__(self, settings: FrontendSettings = FrontendSettings()) -> None:
        super().__init__()
        self.settings = settings
        n_fft, quarter = settings.n_fft, settings.n_fft // 4
        filters = mel_filters(settings)
        time = torch.arange(quarter, dtype=torch.float64)[:, None] + 0.5
        for parity, name in enumerate(("even", "odd")):
            bins = torch.arange(parity, n_fft // 2 + 1, 2, dtype=torch.float64)
            angle = 2 * math.pi / n_fft * time * bins
            self.register_buffer(f"{name}_cos", angle.cos().float(), persistent=False)
            self.register_buffer(f"{name}_sin", angle.sin().float(), persistent=False)
            self.register_buffer(f"{name}_filters", filters[parity::2].contiguous(), persistent=False)
        window = unit_energy_window(n_fft).float().view(4, quarter)
        self.register_buffer("window", window, persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """Return the log-mel picture of each clip; see `LogMelFrontend.forward`.

        Parameters
        ----------
        wave
            Waveform, shape (batch, n_samples), float32 in [-1, 1].

        Returns
        -------
        Tensor
            Shape (batch, 1, n_mels, n_frames), float32 in [0, 1].

        Raises
        ------
        ModelError
            If ``wave`` has another shape, or is too short to be centred (``n_fft // 2`` samples or fewer).
        """
        with torch.autocast(wave.device.type, enabled=False):
            padded = _pad_for_centring(wave.float(), self.settings.n_fft)
            mel_power = self._mel_power(padded, self.settings.n_frames(wave.shape[1]))
            return log_scale(mel_power, self.settings.top_db)

    def _mel_power(self, padded: Tensor, n_frames: int) -> Tensor:
        """Return the power in each mel band, shape (batch, n_frames, n_mels)."""
        first, second, third, fourth = (self._quarter(padded, i, n_frames) for i in range(4))
        second, fourth = second.flip(-1), fourth.flip(-1)
        outer, inner = first + fourth, second + third  # even about the frame's middle: cosines
        outer_odd, inner_odd = first - fourth, second - third  # odd about it: sines
        even = ((outer + inner) @ self.even_cos).square() + ((outer_odd - inner_odd) @ self.even_sin).square()
        odd = ((outer - inner) @ self.odd_cos).square() + ((outer_odd + inner_odd) @ self.odd_sin).square()
        return even @ self.even_filters + odd @ self.odd_filters

    def _quarter(self, padded: Tensor, index: int, n_frames: int) -> Tensor:
        """Return a windowed quarter of every frame, shape (batch, n_frames, n_fft // 4)."""
        hop_length, length = self.settings.hop_length, self.settings.n_fft // 4
        start = index * length
        span = padded[:, start : start + (n_frames - 1) * hop_length + length]
        if hop_length == length:  # the quarters lie side by side: a reshape, where unfold is a slow gather
            return span.reshape(-1, n_frames, length) * self.window[index]
        return span.unfold(1, length, hop_length) * self.window[index]


def _pad_for_centring(wave: Tensor, n_fft: int) -> Tensor:
    """Return the waveform reflected by half a frame at both ends, shape (batch, n_samples + n_fft)."""
    if wave.ndim != 2:
        raise ModelError(f"the waveform has shape {tuple(wave.shape)}; it must be (batch, n_samples)")
    if wave.shape[1] <= n_fft // 2:
        raise ModelError(
            f"the waveform has {wave.shape[1]} samples; with n_fft {n_fft} it needs more than {n_fft // 2}"
        )
    return functional.pad(wave, (n_fft // 2, n_fft // 2), mode="reflect")
