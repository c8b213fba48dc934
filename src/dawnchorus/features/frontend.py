"""Waveform → log-mel spectrogram, twice in PyTorch: by FFT, and by matrix products for engines without one.

The spectrogram is defined, and computed in NumPy, in :mod:`dawnchorus.features.logmel`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dawnchorus.features.logmel import (
    MIN_POWER,
    MIN_RANGE_DB,
    FrontendSettings,
    check_waves,
    mel_filters,
    unit_energy_windows,
)


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
        Log-mel spectrogram, shape (batch, 1, n_mels, n_frames), float32; all 0 where a clip is silent.

    Examples
    --------
    >>> import torch
    >>> mel_power = torch.tensor([[[1.0, 1e-2], [1e-4, 0.0]]])  # 0 and -20 dB, then -40 and -100 dB
    >>> log_scale(mel_power, top_db=80).shape
    torch.Size([1, 1, 2, 2])
    >>> [round(level, 2) for level in log_scale(mel_power, top_db=80).flatten().tolist()]
    [1.0, 0.5, 0.75, 0.0]
    """
    level_db = 10 * mel_power.clamp_min(MIN_POWER).log10()
    loudest_db = level_db.amax((1, 2), keepdim=True)
    level_db = torch.maximum(level_db, loudest_db - top_db)
    quietest_db = level_db.amin((1, 2), keepdim=True)
    spectrogram = (level_db - quietest_db) / (loudest_db - quietest_db + MIN_RANGE_DB)
    # Contiguous, because PyTorch treats other strides of a one-channel spectrogram as channels-last, in which
    # the CPU trains depthwise convolutions eight times slower.
    return spectrogram.transpose(1, 2).unsqueeze(1).contiguous()


class LogMelFrontend(nn.Module):
    """Log-mel spectrogram by a real FFT; ``benchmarks/bench_frontend.py`` times it.

    It has no weights: its constants follow ``.to(device)`` but stay out of the state dict. Under
    autocast it still computes in float32, for a power spectrum overflows float16.

    Examples
    --------
    >>> import torch
    >>> frontend = LogMelFrontend()
    >>> frontend(torch.zeros(2, 160_000)).shape  # two clips of 5 s at 32 kHz
    torch.Size([2, 1, 128, 313])
    """

    windows: Tensor
    filters: Tensor

    def __init__(self, settings: FrontendSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or FrontendSettings()
        windows = torch.from_numpy(unit_energy_windows(settings)).float()
        self.register_buffer("windows", windows, persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(settings)), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """Return the log-mel spectrogram of each clip.

        Parameters
        ----------
        wave
            Waveform, shape (batch, n_samples), float32 in [-1, 1].

        Returns
        -------
        Tensor
            Shape (batch, n_channels, n_mels, n_frames), float32 in [0, 1]; a channel for each window length.

        Raises
        ------
        ModelError
            If ``wave`` has another shape, or is too short to be centred (``n_fft // 2`` samples or fewer).
        """
        # A clip for each core: the spectra of more exceed a CPU's caches, and 64 at once take twice as long.
        at_once = torch.get_num_threads()
        if wave.device.type == "cpu" and wave.ndim == 2 and len(wave) > at_once:
            return torch.cat([self._spectrogram(part) for part in wave.split(at_once)])
        return self._spectrogram(wave)

    def _spectrogram(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            padded = _pad_for_centring(wave.float(), self.settings.n_fft)
            frames = padded.unfold(1, self.settings.n_fft, self.settings.hop_length)
            return _channels(self._of_window(frames, window) for window in self.windows)

    def _of_window(self, frames: Tensor, window: Tensor) -> Tensor:
        """Return the spectrogram of frames, shape (batch, n_frames, n_fft), through one window."""
        spectrum = torch.view_as_real(torch.fft.rfft(frames * window))
        power = spectrum[..., 0].square() + spectrum[..., 1].square()
        return log_scale(power @ self.filters, self.settings.top_db)


class MatrixLogMelFrontend(nn.Module):
    r"""The same spectrogram without an FFT, for ONNX Runtime and OpenVINO: a quarter of a dense DFT.

    Power does not change when all samples are shifted in time, so the DFT may count them from half a
    sample before the first: sample ``n`` has the angle ``2πk(n + ½)/N``. The mirror images ``n`` and
    ``N-1-n`` then share a cosine and have opposite sines; and within the first half ``n`` and
    ``N/2-1-n`` share them up to a sign that only depends on whether bin ``k`` is even. Adding and
    subtracting the four quarters of a frame (the second and fourth reversed) leaves four products of
    N/4 samples by N/4 bins, instead of two of N by N/2. Even and odd bins are not interleaved
    again: each has its own rows of the mel filters.

    Examples
    --------
    >>> import torch
    >>> clips = torch.sin(torch.arange(32_000) * 0.3)[None]
    >>> difference = MatrixLogMelFrontend()(clips) - LogMelFrontend()(clips)
    >>> bool(difference.abs().max() < 1e-3)
    True
    """

    windows: Tensor
    even_cos: Tensor
    even_sin: Tensor
    even_filters: Tensor
    odd_cos: Tensor
    odd_sin: Tensor
    odd_filters: Tensor

    def __init__(self, settings: FrontendSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or FrontendSettings()
        n_fft, quarter = settings.n_fft, settings.n_fft // 4
        filters = torch.from_numpy(mel_filters(settings))
        time = torch.arange(quarter, dtype=torch.float64)[:, None] + 0.5
        for parity, name in enumerate(("even", "odd")):
            bins = torch.arange(parity, n_fft // 2 + 1, 2, dtype=torch.float64)
            angle = 2 * math.pi / n_fft * time * bins
            self.register_buffer(f"{name}_cos", angle.cos().float(), persistent=False)
            self.register_buffer(f"{name}_sin", angle.sin().float(), persistent=False)
            self.register_buffer(f"{name}_filters", filters[parity::2].contiguous(), persistent=False)
        windows = torch.from_numpy(unit_energy_windows(settings)).float().view(-1, 4, quarter)
        self.register_buffer("windows", windows, persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """Return the log-mel spectrogram of each clip; see `LogMelFrontend.forward`.

        Parameters
        ----------
        wave
            Waveform, shape (batch, n_samples), float32 in [-1, 1].

        Returns
        -------
        Tensor
            Shape (batch, n_channels, n_mels, n_frames), float32 in [0, 1]; a channel for each window length.

        Raises
        ------
        ModelError
            If ``wave`` has another shape, or is too short to be centred (``n_fft // 2`` samples or fewer).
        """
        with torch.autocast(wave.device.type, enabled=False):
            padded = _pad_for_centring(wave.float(), self.settings.n_fft)
            n_frames = self.settings.n_frames(wave.shape[1])
            quarters = [self._quarter(padded, index, n_frames) for index in range(4)]
            return _channels(
                log_scale(self._mel_power(quarters, window), self.settings.top_db) for window in self.windows
            )

    def _mel_power(self, quarters: Sequence[Tensor], window: Tensor) -> Tensor:
        """Return the power in each mel band through one window, shape (batch, n_frames, n_mels)."""
        first, second, third, fourth = (part * of for part, of in zip(quarters, window, strict=True))
        second, fourth = second.flip(-1), fourth.flip(-1)
        outer, inner = first + fourth, second + third  # even about the frame's middle: cosines
        outer_odd, inner_odd = first - fourth, second - third  # odd about it: sines
        even = ((outer + inner) @ self.even_cos).square() + ((outer_odd - inner_odd) @ self.even_sin).square()
        odd = ((outer - inner) @ self.odd_cos).square() + ((outer_odd + inner_odd) @ self.odd_sin).square()
        return even @ self.even_filters + odd @ self.odd_filters

    def _quarter(self, padded: Tensor, index: int, n_frames: int) -> Tensor:
        """Return a quarter of every frame, shape (batch, n_frames, n_fft // 4)."""
        hop_length, length = self.settings.hop_length, self.settings.n_fft // 4
        start = index * length
        span = padded[:, start : start + (n_frames - 1) * hop_length + length]
        if hop_length == length:  # the quarters lie side by side: a reshape, where unfold is a slow gather
            return span.reshape(-1, n_frames, length)
        return span.unfold(1, length, hop_length)


def _channels(spectrograms: Iterable[Tensor]) -> Tensor:
    """Return spectrograms of one channel each as one of them all; a single one stays as it is."""
    first, *others = spectrograms
    return torch.cat([first, *others], dim=1) if others else first


def _pad_for_centring(wave: Tensor, n_fft: int) -> Tensor:
    """Return the waveform reflected by half a frame at both ends, shape (batch, n_samples + n_fft)."""
    check_waves(wave.shape, n_fft)
    return functional.pad(wave, (n_fft // 2, n_fft // 2), mode="reflect")
