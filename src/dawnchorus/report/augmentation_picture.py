"""A grid of spectrograms of a clip under augmentations, side by side on one colour scale."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.features.mel_axis import LEVEL_LABEL, show_spectrogram
from dawnchorus.files import replacing

_PANEL_INCHES = (4.2, 2.5)
_EDGE_INCHES = (1.6, 0.9)  # colour bar and frequencies beside the panels, title and seconds above and below
_TITLE_CHARACTERS = 46  # of the titles' font in the width of a panel


class Panel(NamedTuple):
    """One spectrogram of the grid.

    Attributes
    ----------
    title
        Line above it; a long one is broken.
    logmel
        Shape (n_mels, n_frames), in [0, 1].
    duration_s
        Seconds that it shows.

    Examples
    --------
    >>> import numpy as np
    >>> Panel("as it is", np.zeros((64, 100)), duration_s=5.0).title
    'as it is'
    """

    title: str
    logmel: np.ndarray
    duration_s: float


def draw_panels(
    picture: Path, panels: Sequence[Panel], *, frontend: FrontendSettings, title: str, n_columns: int = 3
) -> None:
    """Write a PNG with a spectrogram a panel, row by row, all on the colour scale 0 to 1.

    Parameters
    ----------
    picture
        PNG to write.
    panels
        At least one.
    frontend
        Front-end that made the spectrograms, for the frequencies of their mel bands.
    title
        Line above the picture.
    n_columns
        Panels side by side at most.

    Raises
    ------
    ValueError
        There are no panels.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.features.logmel import FrontendSettings
    >>> panels = [Panel("as it is", np.zeros((64, 100)), 5.0), Panel("masked", np.zeros((64, 100)), 5.0)]
    >>> draw_panels(Path("panels.png"), panels, frontend=FrontendSettings(n_mels=64), title="A wren")
    >>> Path("panels.png").stat().st_size > 0
    True
    """
    if not panels:
        raise ValueError("a picture needs at least one panel")
    n_columns = min(n_columns, len(panels))
    n_rows = math.ceil(len(panels) / n_columns)
    size = (n_columns * _PANEL_INCHES[0] + _EDGE_INCHES[0], n_rows * _PANEL_INCHES[1] + _EDGE_INCHES[1])
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    used, unused = grid.flat[: len(panels)], grid.flat[len(panels) :]
    for axes in unused:
        axes.remove()
    same_time = len({panel.duration_s for panel in panels}) == 1
    for index, (axes, panel) in enumerate(zip(used, panels, strict=True)):
        image = show_spectrogram(axes, panel.logmel, frontend=frontend, duration_s=panel.duration_s)
        axes.set_title(textwrap.fill(panel.title, _TITLE_CHARACTERS), loc="left", fontsize="medium")
        lowest = index + n_columns >= len(panels)
        _label_outer(axes, first=index % n_columns == 0, last=lowest or not same_time)
    figure.suptitle(title, x=0.01, ha="left")
    figure.colorbar(image, ax=used.tolist(), label=LEVEL_LABEL, pad=0.01, aspect=15 * n_rows)
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=110)


def _label_outer(axes: Axes, *, first: bool, last: bool) -> None:
    """Label the frequencies only at the left edge of the grid, the seconds only below its last panels."""
    if first:
        axes.set_ylabel("frequency (kHz, mel scale)")
    else:
        axes.set_yticklabels([])
    if last:
        axes.set_xlabel("time (s)")
    else:
        axes.set_xticklabels([])
