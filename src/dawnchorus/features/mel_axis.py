"""Axes and colours of all plots of spectrograms: mel bands with their kHz."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from dawnchorus.features.logmel import FrontendSettings, mel_of_hz

COLOUR_MAP = "magma"
LEVEL_LABEL = "level (quietest 0, loudest 1)"
_TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000)


def show_spectrogram(
    axes: Axes,
    logmel: np.ndarray,
    *,
    frontend: FrontendSettings,
    duration_s: float,
    darkest: float = 0.0,
    start_s: float = 0.0,
) -> AxesImage:
    """Draw a log-mel spectrogram over its seconds and kHz, and return the image for a colour bar.

    Parameters
    ----------
    axes
        Axes to draw on.
    logmel
        Shape (n_mels, n_frames), in [0, 1].
    frontend
        Front-end that made it, for the frequencies of its mel bands.
    duration_s
        Its length in seconds.
    darkest
        Level at and below which all is black; 1 is the brightest.
    start_s
        First second of the axis.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from dawnchorus.features.logmel import FrontendSettings
    >>> figure, axes = plt.subplots()
    >>> image = show_spectrogram(axes, np.zeros((128, 313)), frontend=FrontendSettings(), duration_s=5.0)
    >>> image.get_array().shape, [float(edge) for edge in axes.get_xlim()]
    ((128, 313), [0.0, 5.0])
    >>> plt.close(figure)
    """
    extent = (start_s, start_s + duration_s, 0, frontend.n_mels)
    image = axes.imshow(
        logmel, origin="lower", aspect="auto", extent=extent, cmap=COLOUR_MAP, vmin=darkest, vmax=1
    )
    ticks_hz = [hz for hz in _TICKS_HZ if frontend.f_min_hz <= hz <= frontend.f_max_hz]
    axes.set_yticks([mel_row(hz, frontend) for hz in ticks_hz], [f"{hz / 1000:g}" for hz in ticks_hz])
    return image


def mel_row(hz: float, frontend: FrontendSettings) -> float:
    """Return the position of a frequency on the plot's axis of mel bands.

    Examples
    --------
    >>> from dawnchorus.features.logmel import FrontendSettings
    >>> round(mel_row(1000.0, FrontendSettings()), 1)
    35.0
    """
    edges_hz = (frontend.f_min_hz, frontend.f_max_hz)
    low, high, value = (mel_of_hz(each, frontend.mel_scale) for each in (*edges_hz, hz))
    return (value - low) / (high - low) * frontend.n_mels
