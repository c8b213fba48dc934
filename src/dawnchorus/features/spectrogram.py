"""``Spectrogram``: the log-mel spectrogram of a sound, as numbers and as a plot."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.sound import Sound
from dawnchorus.errors import AudioError
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_S = 600.0
"""Longest sound of one spectrogram, seconds; a plot shows no more, and it takes 2 GB."""

_INCHES = (10.0, 3.2)


@dataclass(frozen=True, repr=False)
class Spectrogram:
    """A log-mel spectrogram.

    Attributes
    ----------
    values
        Shape (n_mels, n_frames), float32 in [0, 1]: decibels, scaled so that 0 is the lower end of the
        dynamic range and 1 the loudest cell.
    settings
        Settings that it was computed with.
    duration_s
        Its length in seconds.
    name
        Name of the sound.
    start_s
        Its beginning in the sound, seconds.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 2000 * np.arange(160_000) / 32_000)
    >>> spectrogram = Spectrogram.of(tone, sample_rate=32_000)
    >>> spectrogram.values.shape
    (128, 313)
    >>> loudest = spectrogram.values.mean(axis=1).argmax()
    >>> round(float(spectrogram.centres_hz[loudest]), -2)
    2000.0
    """

    values: npt.NDArray[np.float32]
    settings: FrontendSettings
    duration_s: float
    name: str = ""
    start_s: float = 0.0

    @classmethod
    def of(
        cls, sound: Any, *, sample_rate: int | None = None, settings: FrontendSettings | None = None
    ) -> Spectrogram:
        """Return the spectrogram of a whole sound.

        Parameters
        ----------
        sound
            Input of :meth:`dawnchorus.audio.sound.Sound.of`, at most ten minutes long.
        sample_rate
            Of an array or a stream, in Hz.
        settings
            Sample rate that it is resampled to, frames, mel bands; those of the recipe if not given.

        Raises
        ------
        AudioError
            The sound cannot be read, or is too short for one frame or too long.
        """
        settings = settings or FrontendSettings()
        sound = Sound.of(sound, sample_rate=sample_rate)
        blocks, n_samples = [], 0
        for block in sound.blocks(settings.sample_rate):
            blocks.append(block)
            n_samples += len(block)
            if n_samples > LONGEST_S * settings.sample_rate:
                raise AudioError(
                    f"{sound.name}: is longer than {LONGEST_S:g} s, too long for one spectrogram; take a part"
                )
        return cls.of_wave(np.concatenate([np.zeros(0, np.float32), *blocks]), settings, name=sound.name)

    @classmethod
    def of_wave(
        cls,
        wave: npt.NDArray[np.float32],
        settings: FrontendSettings,
        *,
        name: str = "",
        start_s: float = 0.0,
    ) -> Spectrogram:
        """Return the spectrogram of samples at the settings' rate, shape (n_samples,), float32.

        Raises
        ------
        AudioError
            There are too few samples for one frame.
        """
        if len(wave) <= settings.n_fft // 2:
            raise AudioError(
                f"{name or 'the sound'}: has {len(wave)} samples at {settings.sample_rate} Hz; a spectrogram "
                f"with n_fft {settings.n_fft} needs more than {settings.n_fft // 2}"
            )
        values = NumpyLogMel(settings)(wave[None])[0, 0]
        return cls(values, settings, len(wave) / settings.sample_rate, name, start_s)

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Middle of each frame in the sound, shape (n_frames,), seconds."""
        step_s = self.settings.hop_length / self.settings.sample_rate
        return self.start_s + step_s * np.arange(self.values.shape[1], dtype=np.float64)

    @property
    def centres_hz(self) -> npt.NDArray[np.float64]:
        """Middle of each mel band, shape (n_mels,), Hz."""
        return self.settings.mel_centres_hz()

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw it over seconds and kHz with matplotlib; return the axes, new ones if none are given."""
        from dawnchorus.features.mel_axis import show_spectrogram

        if axes is None:
            import matplotlib.pyplot as plt

            _, axes = plt.subplots(figsize=_INCHES, layout="constrained")
        show_spectrogram(
            axes,
            self.values,
            frontend=self.settings,
            duration_s=self.duration_s,
            start_s=self.start_s,
        )
        axes.set(xlabel="s", ylabel="kHz", title=self.name)
        return axes

    def _repr_png_(self) -> bytes:
        from matplotlib.figure import Figure

        figure = Figure(figsize=_INCHES, layout="constrained")
        self.plot(figure.add_subplot())
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=100)
        return content.getvalue()

    def __repr__(self) -> str:
        n_mels, n_frames = self.values.shape
        named = f"{self.name}: " if self.name else ""
        return f"Spectrogram({named}{self.duration_s:.2f} s, {n_mels} mel bands × {n_frames} frames)"
