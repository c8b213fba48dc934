"""Pictures of a run: its curves, a line a fold, and the scores of its classes from worst to best."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dawnchorus.report.run_tables import ShownMetric

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Distinct to colour-blind readers, on white and on black: Okabe and Ito's, without black and yellow."""

_MANY_FOLDS = matplotlib.colormaps["turbo"]
_BEST_MARK_POINTS = 6
_WIDTH_INCHES, _ROW_INCHES, _LEGEND_INCHES, _GAP_INCHES = 10.0, 2.5, 0.5, 0.1
_N_COLUMNS, _LEGEND_COLUMNS = 2, 9
_CLASSES_INCHES = (_WIDTH_INCHES, 2.3)
_DPI = 140  # a picture of 1400 pixels, sharp on paper and on a page 1000 wide


class _Panel(NamedTuple):
    """Curves that share axes: the line style of each column, and the settings of the axis."""

    title: str
    styles: dict[str, str]
    from_zero: bool = False
    in_percent: bool = False


_LOSSES = _Panel("Loss: validation, and training dashed", {"val_loss": "-", "train_loss": "--"})
_PANELS = (
    _Panel("Learning rate", {"learning_rate": "-"}),
    _Panel("Training clips per second", {"clips_per_s": "-"}, from_zero=True),
    _Panel(
        "Training time spent waiting for the loader",
        {"loader_wait_share": "-"},
        from_zero=True,
        in_percent=True,
    ),
)


class Theme(NamedTuple):
    """Colours of paper, text and thin lines.

    Examples
    --------
    >>> LIGHT.paper != DARK.paper
    True
    """

    paper: str
    ink: str
    rule: str


LIGHT = Theme(paper="#ffffff", ink="#30363d", rule="#dfe3e8")
DARK = Theme(paper="#15181c", ink="#c9ced4", rule="#353b43")


def draw_curves(
    histories: Mapping[int, pd.DataFrame],
    best_epochs: Mapping[int, float],
    metrics: Sequence[ShownMetric],
) -> Figure:
    """Return the curves of the folds: a panel a quantity that any of them has logged.

    Parameters
    ----------
    histories
        Histories by fold, as :func:`dawnchorus.report.run_tables.fold_history` returns them.
    best_epochs
        Epoch to mark in the validation panels, by fold; none where it is NaN.
    metrics
        The validation metrics, each with a panel.

    Examples
    --------
    >>> from dawnchorus.report.run_tables import fold_histories, shown_metrics
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> len(draw_curves(fold_histories(run), {0: 0, 1: 0}, shown_metrics(run)).axes) > 1  # a panel a quantity
    True
    """
    scores = (_Panel(f"Validation {metric.heading}", {metric.column: "-"}) for metric in metrics)
    panels = [_LOSSES, *scores, *_PANELS]
    panels = [panel for panel in panels if any(_is_logged(history, panel) for history in histories.values())]
    if not panels:
        return _empty_figure()
    n_rows = math.ceil(len(panels) / _N_COLUMNS)
    size = (_WIDTH_INCHES, n_rows * _ROW_INCHES + _LEGEND_INCHES)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=_GAP_INCHES))
    grid = figure.subplots(n_rows, _N_COLUMNS, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    logged = {fold: history for fold, history in histories.items() if history.notna().any(axis=None)}
    colours = dict(zip(histories, fold_colours(len(histories)), strict=True))
    for axes, panel in zip(grid.flat, panels, strict=False):
        for fold, history in logged.items():
            _draw_fold(axes, panel, history, best_epoch=best_epochs.get(fold, math.nan), colour=colours[fold])
        _finish_axes(axes, panel)
    _add_legend(figure, {fold: colours[fold] for fold in logged})
    return figure


def draw_classes(classes: pd.DataFrame) -> Figure | None:
    """Return the ROC-AUC of the classes from worst to best, or None where no class has one.

    Parameters
    ----------
    classes
        The table that :func:`dawnchorus.report.run_tables.class_table` returns.

    Examples
    --------
    >>> from dawnchorus.report.run_tables import class_table
    >>> from dawnchorus.runs import Run
    >>> figure = draw_classes(class_table(Run.open("logdirs/tiny"), [0, 1]))
    >>> len(figure.axes)
    1
    """
    scored = classes[classes["mean_roc_auc"].notna()]
    if scored.empty:
        return None
    figure = Figure(figsize=_CLASSES_INCHES, layout="constrained")
    axes = figure.subplots()
    rank = range(1, len(scored) + 1)
    colour = _COLOURS[0]
    axes.vlines(
        rank, scored["lowest_roc_auc"], scored["mean_roc_auc"], color=colour, alpha=0.4, linewidth=1.2
    )
    axes.plot(rank, scored["mean_roc_auc"], color=colour, marker="o", markersize=3.5, linestyle="none")
    title = "ROC-AUC of each class: mean over the folds, and a line down to the lowest"
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set_xlabel("classes, the worst first")
    _finish_grid(axes)
    return figure


def fold_colours(n_folds: int) -> list[str]:
    """Return a colour a fold, all different.

    Examples
    --------
    >>> len(set(fold_colours(5)))
    5
    """
    if n_folds <= len(_COLOURS):
        return list(_COLOURS[:n_folds])
    # The ends of the map are almost black.
    positions = (0.08 + 0.84 * fold / (n_folds - 1) for fold in range(n_folds))
    return [matplotlib.colors.to_hex(_MANY_FOLDS(position)) for position in positions]


def png_of(figure: Figure, theme: Theme) -> bytes:
    """Return a figure as PNG in the colours of a theme; the colours of its data stay.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure()
    >>> _ = figure.add_subplot().plot([0.7, 0.4])
    >>> png_of(figure, DARK)[1:4]
    b'PNG'
    """
    for text in figure.findobj(Text):
        text.set_color(theme.ink)
    for axes in figure.axes:
        axes.set_facecolor(theme.paper)
        axes.tick_params(color=theme.rule, labelcolor=theme.ink, grid_color=theme.rule)
        for spine in axes.spines.values():
            spine.set_color(theme.rule)
    if figure.get_layout_engine() is not None:  # once, not in each theme, because it takes as long as drawing
        figure.set_dpi(_DPI)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, facecolor=theme.paper)
    return file.getvalue()


def _is_logged(history: pd.DataFrame, panel: _Panel) -> bool:
    return bool(history[list(panel.styles)].notna().any(axis=None))


def _draw_fold(axes: Axes, panel: _Panel, history: pd.DataFrame, *, best_epoch: float, colour: str) -> None:
    for column, style in panel.styles.items():
        curve = history[column].dropna()
        marker = "." if len(curve) == 1 else ""  # a line needs two points to be seen
        axes.plot(curve.index, curve, linestyle=style, marker=marker, color=colour, linewidth=1.4)
        if column.startswith("val_") and best_epoch in curve.index:
            axes.plot(best_epoch, curve.loc[best_epoch], "o", color=colour, markersize=_BEST_MARK_POINTS)


def _add_legend(figure: Figure, colours: Mapping[int, str]) -> None:
    handles = [Line2D([], [], color=colour, label=f"fold {fold}") for fold, colour in colours.items()]
    best = Line2D([], [], color="grey", marker="o", markersize=_BEST_MARK_POINTS, linestyle="none")
    best.set_label("best epoch")
    handles.append(best)
    figure.legend(handles=handles, loc="outside upper left", ncols=_LEGEND_COLUMNS, frameon=False)


def _finish_axes(axes: Axes, panel: _Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize="medium")
    axes.set_xlabel("epoch")
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    if panel.in_percent:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    _finish_grid(axes)


def _finish_grid(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _empty_figure() -> Figure:
    figure = Figure(figsize=(_WIDTH_INCHES, 1.0))
    figure.text(0.5, 0.5, "No epoch is recorded.", ha="center", va="center")
    return figure
