"""The pictures of a run show what was logged, in one colour a fold."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dawnchorus.report.run_curves import DARK, LIGHT, draw_classes, draw_curves, fold_colours, png_of
from dawnchorus.report.run_tables import ShownMetric, history_columns

SHOWN = [
    ShownMetric("val_macro_roc_auc", "macro ROC-AUC", ".4f"),
    ShownMetric("val_cmap", "cmAP", ".4f"),
]
METRICS = history_columns(SHOWN)


def curves_figure(histories: dict[int, pd.DataFrame], best_epochs: dict[int, float]) -> Figure:
    return draw_curves(histories, best_epochs, SHOWN)


def history(**columns: list[float]) -> pd.DataFrame:
    n_epochs = max(map(len, columns.values()), default=0)
    return pd.DataFrame(columns, index=range(n_epochs)).reindex(columns=list(METRICS)).astype("float64")


def full_history(n_epochs: int = 3) -> pd.DataFrame:
    return history(**{name: np.linspace(0.5, 0.9, n_epochs).tolist() for name in METRICS})


def panel(figure: Figure, title: str) -> Any:
    """Return the axes whose title begins so."""
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def curves_of(axes: Any) -> list[list[tuple[float, float]]]:
    """Return the points of every curve, without the marks of best epochs."""
    return [list(zip(*line.get_data(), strict=True)) for line in axes.lines if line.get_linestyle() != "None"]


def marks_of(axes: Any) -> dict[str, tuple[float, float]]:
    marks = (line for line in axes.lines if line.get_linestyle() == "None")
    return {to_hex(line.get_color()): (line.get_xdata()[0], line.get_ydata()[0]) for line in marks}


def test_a_fold_has_one_colour_in_all_panels_and_in_the_legend() -> None:
    figure = curves_figure({0: full_history(), 2: history(), 4: full_history()}, {0: 1, 4: 2})
    assert len(figure.axes) == 6
    first, _, third = fold_colours(3)
    for axes in figure.axes:
        assert {to_hex(line.get_color()) for line in axes.lines} == {first, third}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["fold 0", "fold 4", "best epoch"]
    assert [to_hex(line.get_color()) for line in legend.get_lines()][:2] == [first, third]


def test_the_loss_panel_tells_training_from_validation() -> None:
    losses = history(train_loss=[0.75, 0.5], val_loss=[1.0, 0.25])
    axes = panel(curves_figure({0: losses}, {0: math.nan}), "Loss")
    points = {line.get_linestyle(): line.get_ydata().tolist() for line in axes.lines}
    assert points == {"-": [1.0, 0.25], "--": [0.75, 0.5]}


def test_panels_without_numbers_are_left_out() -> None:
    figure = curves_figure({0: history(val_macro_roc_auc=[0.5, 0.75]), 1: history(learning_rate=[0.1])}, {})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Validation macro ROC-AUC", "Learning rate"]


def test_the_best_epoch_is_marked_in_the_validation_panels_alone() -> None:
    figure = curves_figure({0: full_history(), 1: full_history(5)}, {0: 1.0, 1: 4.0})
    first, second = fold_colours(2)
    for title in ("Loss", "Validation macro", "Validation cmAP"):
        marks = marks_of(panel(figure, title))
        assert marks[first] == pytest.approx((1, 0.7))
        assert marks[second] == pytest.approx((4, 0.9))
    for title in ("Learning rate", "Training clips", "Training time"):
        assert marks_of(panel(figure, title)) == {}


def test_a_best_epoch_that_was_not_logged_is_not_marked() -> None:
    figure = curves_figure({0: full_history(), 1: full_history()}, {0: 7.0, 1: math.nan})
    assert all(marks_of(axes) == {} for axes in figure.axes)


def test_a_curve_goes_on_over_an_epoch_that_is_missing_in_it() -> None:
    figure = curves_figure({0: history(val_cmap=[0.25, math.nan, 0.75])}, {})
    assert curves_of(panel(figure, "Validation cmAP")) == [[(0, 0.25), (2, 0.75)]]


def test_a_single_epoch_can_be_seen() -> None:
    (axes,) = curves_figure({0: history(val_cmap=[0.25])}, {}).axes
    assert axes.lines[0].get_marker() == "."


def test_without_epochs_the_picture_says_so() -> None:
    figure = curves_figure({0: history()}, {0: math.nan})
    assert figure.axes == []
    assert figure.texts[0].get_text() == "No epoch is recorded."
    assert curves_figure({}, {}).axes == []


@pytest.mark.parametrize("n_folds", [0, 1, 5, 6, 7, 20])
def test_colours_are_all_different(n_folds: int) -> None:
    assert len(set(fold_colours(n_folds))) == n_folds


def test_classes_are_drawn_from_worst_to_best_with_their_lowest_fold() -> None:
    classes = pd.DataFrame({"mean_roc_auc": [0.5, 0.75, math.nan], "lowest_roc_auc": [0.25, 0.5, math.nan]})
    figure = draw_classes(classes)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [1, 2]
    assert axes.lines[0].get_ydata().tolist() == [0.5, 0.75]
    segments = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert segments == [[[1, 0.25], [1, 0.5]], [[2, 0.5], [2, 0.75]]]
    assert draw_classes(classes[2:]) is None


def test_a_theme_colours_the_paper_and_the_text_and_leaves_the_curves() -> None:
    figure = curves_figure({0: full_history()}, {0: 1.0})
    colours = [line.get_color() for line in figure.axes[0].lines]
    sizes = []
    for theme in (DARK, LIGHT):
        with PIL.Image.open(io.BytesIO(png_of(figure, theme))) as image:
            assert image.format == "PNG"
            sizes.append(image.size)
            assert "#{:02x}{:02x}{:02x}".format(*image.convert("RGB").getpixel((1, 1))) == theme.paper
        assert figure.axes[0].xaxis.label.get_color() == theme.ink
        assert figure.legends[0].get_texts()[0].get_color() == theme.ink
    assert sizes[0] == sizes[1]
    assert [line.get_color() for line in figure.axes[0].lines] == colours
