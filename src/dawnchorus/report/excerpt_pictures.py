"""Sounds and spectrograms of excerpts for pages: Ogg Vorbis, and JPEG made in NumPy, without PyTorch."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from dawnchorus.audio.excerpts import Excerpt
from dawnchorus.errors import AudioError
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel
from dawnchorus.features.mel_axis import show_spectrogram

PICTURE_INCHES = (3.6, 1.8)
_PICTURE_DPI = 120
_JPEG_QUALITY = 82  # a spectrogram is noise, which PNG would keep in full at five times the size
_LOUDEST = 0.9  # of full scale; a faint bird is heard without turning the page up


def sound_of(excerpt: Excerpt) -> bytes:
    """Return the sound as Ogg Vorbis, its peak at 0.9 of full scale.

    Raises
    ------
    AudioError
        libsndfile cannot write it at this sample rate.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.excerpts import read_excerpt
    >>> sound_of(read_excerpt(Path("night.wav"), 0.0, 5.0))[:4]
    b'OggS'
    """
    file = io.BytesIO()
    peak = float(np.abs(excerpt.wave).max(initial=0.0))
    scaled = excerpt.wave * (_LOUDEST / peak if peak > 0 else 1.0)
    try:
        soundfile.write(file, scaled, excerpt.sample_rate, "VORBIS", format="OGG")
    except (soundfile.LibsndfileError, ValueError) as error:
        raise AudioError(
            f"a sound of {excerpt.sample_rate} Hz cannot be written as Ogg Vorbis: {error}"
        ) from None
    return file.getvalue()


def spectrogram_of(excerpt: Excerpt, frontend: FrontendSettings | None = None) -> bytes:
    """Return the spectrogram as a JPEG, with the frequencies written into it and the detection marked above.

    Parameters
    ----------
    excerpt
        The sound.
    frontend
        Front-end whose spectrogram is shown, at the sample rate of the excerpt; the usual one if not given.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.excerpts import read_excerpt
    >>> spectrogram_of(read_excerpt(Path("night.wav"), 0.0, 5.0))[:3] == bytes([0xFF, 0xD8, 0xFF])
    True
    """
    settings = _at_rate(frontend or FrontendSettings(), excerpt.sample_rate)
    logmel = NumpyLogMel(settings)(excerpt.wave[None])[0, 0]
    figure = Figure(figsize=PICTURE_INCHES)
    axes = figure.add_axes((0, 0, 1, 1))
    duration_s = len(excerpt.wave) / excerpt.sample_rate
    darkest = float(np.quantile(logmel, 0.3))
    show_spectrogram(
        axes, logmel, frontend=settings, duration_s=duration_s, darkest=darkest, start_s=excerpt.start_s
    )
    write_frequencies_into(axes, highest=0.95 * settings.n_mels)
    begin_s, end_s = (min(max(edge, excerpt.start_s), excerpt.end_s) for edge in excerpt.detected_s)
    if end_s - begin_s < duration_s:
        axes.plot(
            [begin_s, end_s], [0.985 * settings.n_mels] * 2, color="white", linewidth=3, solid_capstyle="butt"
        )
    axes.set_xlim(excerpt.start_s, excerpt.start_s + duration_s)
    return jpeg_of(figure)


def jpeg_of(figure: Figure) -> bytes:
    """Return a figure that is all spectrogram as a JPEG.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> jpeg_of(Figure(figsize=(1, 1)))[:3] == bytes([0xFF, 0xD8, 0xFF])
    True
    """
    file = io.BytesIO()
    figure.savefig(
        file, format="jpeg", dpi=_PICTURE_DPI, pil_kwargs={"quality": _JPEG_QUALITY, "optimize": True}
    )
    return file.getvalue()


def write_frequencies_into(axes: Axes, *, highest: float) -> None:
    """Put the labels of the y axis into the picture, up to a height at which they are not cut off.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> axes.set_yticks([0, 10], ["0", "10"])
    [...]
    >>> write_frequencies_into(axes, highest=5)
    >>> [label.get_text() for label in axes.get_yticklabels()]
    ['0']
    """
    texts = [label.get_text() for label in axes.get_yticklabels()]
    shown = [tick for tick in zip(axes.get_yticks(), texts, strict=True) if tick[0] <= highest]
    axes.set_yticks([tick for tick, _ in shown], [text for _, text in shown])
    axes.tick_params(axis="y", direction="in", pad=-7, length=3, colors="white", labelsize=7)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
        label.set_path_effects([withStroke(linewidth=1.5, foreground="black")])


def _at_rate(frontend: FrontendSettings, sample_rate: int) -> FrontendSettings:
    """Return a front-end for a sample rate, with frames of about the same length in seconds."""
    if frontend.sample_rate == sample_rate:
        return frontend
    scale = sample_rate / frontend.sample_rate
    n_fft = max(64, round(frontend.n_fft * scale / 4) * 4)
    highest_hz = min(frontend.f_max_hz, sample_rate / 2)
    return replace(
        frontend,
        sample_rate=sample_rate,
        n_fft=n_fft,
        hop_length=max(1, round(frontend.hop_length * scale)),
        f_max_hz=highest_hz,
        f_min_hz=min(frontend.f_min_hz, highest_hz / 2),
        win_length=None,
    )
