"""A picture of a soundscape: its spectrogram, its detections, and the truth where it is known."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dawnchorus.audio.decode import read_crop
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.features.mel_axis import LEVEL_LABEL, show_spectrogram
from dawnchorus.files import replacing

MAX_DURATION_S = 120
_BAR_HEIGHT = 0.7


def draw_soundscape(
    path: Path,
    picture: Path,
    detections: pd.DataFrame,
    truth: pd.DataFrame | None,
    *,
    frontend: FrontendSettings,
    title: str,
) -> None:
    """Write a PNG: the spectrogram above, below it a row a species with detections and truth.

    Parameters
    ----------
    path
        The recording; at most its first two minutes are drawn.
    picture
        PNG to write.
    detections
        Rows of the detection table that are of this recording.
    truth
        Annotations of this recording (``start_s``, ``end_s``, ``label``), or None where unknown.
    frontend
        Front-end of the model, whose spectrogram is shown.
    title
        Line above the picture.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.features.logmel import FrontendSettings
    >>> found = pd.DataFrame({"start_s": [7.0], "end_s": [12.0], "label": ["owl"], "probability": [0.9]})
    >>> night, picture = Path("night.wav"), Path("night.png")
    >>> draw_soundscape(night, picture, found, None, frontend=FrontendSettings(), title="A night")
    >>> picture.is_file()
    True
    """
    wave = read_crop(path, 0, MAX_DURATION_S * frontend.sample_rate, sample_rate=frontend.sample_rate)
    duration_s = len(wave) / frontend.sample_rate
    species = sorted(set(detections["label"]) | set(truth["label"] if truth is not None else ()))
    figure = Figure(figsize=(14, 4.5 + 0.3 * len(species)), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 0.6 + 0.35 * len(species)])
    _draw_spectrogram(above, wave, frontend, duration_s)
    above.set_title(title, loc="left")
    _draw_rows(below, species, detections, truth)
    below.set_xlim(0, duration_s)
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_spectrogram(axes: Axes, wave: np.ndarray, frontend: FrontendSettings, duration_s: float) -> None:
    with torch.inference_mode():
        logmel = LogMelFrontend(frontend)(torch.from_numpy(wave)[None])[0, 0].numpy()
    darkest = float(np.quantile(logmel, 0.3))
    image = show_spectrogram(axes, logmel, frontend=frontend, duration_s=duration_s, darkest=darkest)
    axes.set_ylabel("frequency (kHz, mel scale)")
    axes.figure.colorbar(image, ax=axes, label=LEVEL_LABEL, pad=0.01)


def _draw_rows(axes: Axes, species: list[str], detections: pd.DataFrame, truth: pd.DataFrame | None) -> None:
    """Draw a row a species: detections filled, the darker the surer, the truth as a line above them."""
    colours = matplotlib.colormaps["viridis_r"]
    row_of = {label: row for row, label in enumerate(species)}
    for detection in detections.itertuples():
        width = detection.end_s - detection.start_s
        colour = colours(float(detection.probability))
        axes.barh(
            row_of[str(detection.label)], width, left=detection.start_s, height=_BAR_HEIGHT, color=colour
        )  # fmt: skip
    if truth is not None:
        for box in truth.itertuples():
            y = row_of[str(box.label)] + _BAR_HEIGHT / 2 + 0.08
            axes.plot([box.start_s, box.end_s], [y, y], color="crimson", linewidth=3, solid_capstyle="butt")
    axes.set_yticks(range(len(species)), species)
    axes.set_ylim(len(species) - 0.4, -0.6)
    axes.set_xlabel("time (s)")
    note = "boxes: detections, darker is surer" + (" · red lines: the truth" if truth is not None else "")
    axes.set_title(note, loc="left", fontsize="small")
