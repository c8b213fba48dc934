"""A picture of calibration: reliability, precision against recall, and the classes' thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from dawnchorus.evaluate.calibration import OWN, POOLED, ClassThreshold, PrecisionRecall
from dawnchorus.evaluate.reliability import Reliability
from dawnchorus.files import replacing
from dawnchorus.report.run_curves import LIGHT, png_of

_BLUE, _PALE_BLUE, _ORANGE, _GREY = "#0072b2", "#8cbfdc", "#d55e00", "#8b949e"
_SIZE_INCHES = (13.0, 4.8)
_RELIABILITY_INCHES = (5.0, 4.2)
_HEIGHT_RATIOS = (3.2, 1.0)
_N_CURVE_POINTS = 2000  # more than the panel has pixels
_N_THRESHOLD_BINS = 20
_ROOM_FOR_LEGEND = 1.35  # height of a panel over that of its highest bar
_LEGEND: dict[str, Any] = {
    "fontsize": "small",
    "facecolor": LIGHT.paper,
    "edgecolor": "none",
    "framealpha": 0.8,
}


class Calibration(NamedTuple):
    """The data of the picture.

    Attributes
    ----------
    reliability
        Of all pairs of recording and class.
    curve
        Precision and recall of the same pairs; one of them at least is positive.
    thresholds
        Of the classes.
    precision
        Wanted, in (0, 1].

    Examples
    --------
    >>> from dawnchorus.evaluate.calibration import precision_recall, thresholds_at_precision
    >>> from dawnchorus.evaluate.reliability import reliability
    >>> targets, scores = [[1], [1], [0]], [[0.9], [0.7], [0.2]]
    >>> thresholds = thresholds_at_precision(targets, scores, ["owl"], 0.9)
    >>> curve = precision_recall(targets, scores)
    >>> Calibration(reliability(targets, scores), curve, thresholds, precision=0.9).precision
    0.9
    """

    reliability: Reliability
    curve: PrecisionRecall
    thresholds: Sequence[ClassThreshold]
    precision: float


def draw_calibration(picture: Path, calibration: Calibration, *, title: str) -> None:
    """Write a PNG of three panels: reliability with its counts, precision and recall, thresholds.

    Parameters
    ----------
    picture
        PNG to write.
    calibration
        The data of the picture.
    title
        Line above the picture.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.evaluate.calibration import precision_recall, thresholds_at_precision
    >>> from dawnchorus.evaluate.reliability import reliability
    >>> targets, scores = [[1], [1], [0]], [[0.9], [0.7], [0.2]]
    >>> thresholds = thresholds_at_precision(targets, scores, ["owl"], 0.9)
    >>> shown = Calibration(reliability(targets, scores), precision_recall(targets, scores), thresholds, 0.9)
    >>> draw_calibration(Path("reliability.png"), shown, title="An owl")
    >>> Path("reliability.png").is_file()
    True
    """
    figure = calibration_figure(calibration, title=title)
    with replacing(picture) as temporary:
        temporary.write_bytes(png_of(figure, LIGHT))


def calibration_figure(calibration: Calibration, *, title: str) -> Figure:
    """Return the picture that :func:`draw_calibration` writes.

    Examples
    --------
    >>> from dawnchorus.evaluate.calibration import precision_recall, thresholds_at_precision
    >>> from dawnchorus.evaluate.reliability import reliability
    >>> targets, scores = [[1], [1], [0]], [[0.9], [0.7], [0.2]]
    >>> thresholds = thresholds_at_precision(targets, scores, ["owl"], 0.9)
    >>> shown = Calibration(reliability(targets, scores), precision_recall(targets, scores), thresholds, 0.9)
    >>> len(calibration_figure(shown, title="An owl").axes) >= 3
    True
    """
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.add_gridspec(2, 3, height_ratios=_HEIGHT_RATIOS)
    above = figure.add_subplot(grid[0, 0])
    _draw_reliability(above, calibration.reliability)
    _draw_counts(figure.add_subplot(grid[1, 0], sharex=above), calibration.reliability)
    above.tick_params(labelbottom=False)
    _draw_curve(figure.add_subplot(grid[:, 1]), calibration.curve, calibration.precision)
    _draw_thresholds(figure.add_subplot(grid[:, 2]), calibration.thresholds)
    return figure


def reliability_figure(found: Reliability) -> Figure:
    """Return the panel of reliability alone, with its counts below it.

    Examples
    --------
    >>> from dawnchorus.evaluate.reliability import reliability
    >>> len(reliability_figure(reliability([1, 0, 1], [0.9, 0.6, 0.4])).axes)
    2
    """
    figure = Figure(figsize=_RELIABILITY_INCHES, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=_HEIGHT_RATIOS)
    _draw_reliability(above, found)
    _draw_counts(below, found)
    return figure


def _draw_reliability(axes: Axes, found: Reliability) -> None:
    filled = found.n_pairs > 0
    score, fraction = found.mean_score[filled], found.observed_fraction[filled]
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="perfectly calibrated")
    ends = np.abs(np.stack([found.low[filled], found.high[filled]]) - fraction)
    axes.errorbar(
        score,
        fraction,
        yerr=ends,
        fmt="o-",
        color=_BLUE,
        markersize=4,
        linewidth=1.2,
        label="observed, with 95 % intervals",
    )
    error = found.expected_calibration_error
    axes.set_title(f"Reliability: expected calibration error {error:.3f}", loc="left", fontsize="medium")
    axes.set_ylabel("fraction that is present")
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="upper left", **_LEGEND)
    _finish(axes)


def _draw_counts(axes: Axes, found: Reliability) -> None:
    widths = np.diff(found.edges)
    filled = found.n_pairs > 0  # counts of 0 have no bar on a logarithmic axis
    left, width = found.edges[:-1][filled], 0.92 * widths[filled]
    axes.bar(left + 0.04 * widths[filled], found.n_pairs[filled], width, align="edge", color=_PALE_BLUE)
    axes.set_yscale("log")
    axes.set_ylim(0.5, max(10.0, 2.0 * found.n_pairs.max()))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.set_ylabel("pairs")
    axes.set_xlabel("score, maximum over a recording")
    _finish(axes)


def _draw_curve(axes: Axes, curve: PrecisionRecall, wanted: float) -> None:
    # Evenly spaced in recall, and of equal recall the highest precision, which comes last in the curve.
    rising = curve.recall[::-1]
    wanted_recall = np.linspace(rising[rising > 0][0], 1, _N_CURVE_POINTS)
    positions = len(rising) - 1 - np.unique(np.searchsorted(rising, wanted_recall))
    axes.plot(curve.recall[positions], curve.precision[positions], color=_BLUE, linewidth=1.4)
    axes.axhline(wanted, color=_GREY, linestyle="--", linewidth=1, label=f"wanted precision {wanted:g}")
    chosen = curve.lowest_reaching(wanted)
    if chosen is None:
        axes.plot([], [], " ", label="never reached")
    else:
        recall, threshold = curve.recall[chosen], curve.thresholds[chosen]
        label = f"threshold {threshold:.3f}: recall {recall:.2f}"
        axes.plot(recall, curve.precision[chosen], "o", color=_ORANGE, markersize=7, label=label, zorder=3)
    axes.set_title("Precision and recall of all classes together", loc="left", fontsize="medium")
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower left", **_LEGEND)
    _finish(axes)


def _draw_thresholds(axes: Axes, thresholds: Sequence[ClassThreshold]) -> None:
    own = [row.threshold for row in thresholds if row.how == OWN]
    pooled = [row.threshold for row in thresholds if row.how.startswith(POOLED)]
    n_never = sum(math.isinf(row.threshold) for row in thresholds)
    edges = np.linspace(0, 1, _N_THRESHOLD_BINS + 1).tolist()
    counts, _, _ = axes.hist(own, edges, color=_BLUE, label=f"{len(own)} with their own")
    if pooled:
        label = f"{len(pooled)} with the pooled one, {pooled[0]:.3f}"
        axes.axvline(pooled[0], ymax=1 / _ROOM_FOR_LEGEND, color=_ORANGE, linewidth=1.6, label=label)
    if n_never:
        axes.plot([], [], " ", label=f"{n_never} without: never precise enough")
    axes.set_title(f"Thresholds of {len(thresholds)} classes", loc="left", fontsize="medium")
    axes.set_xlabel("threshold")
    axes.set_ylabel("classes")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(1.0, float(np.max(counts))) * _ROOM_FOR_LEGEND)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", **_LEGEND)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, which="both")
