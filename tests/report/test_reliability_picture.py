"""The picture of a calibration shows the numbers that it was given, and is a readable PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

from dawnchorus.evaluate.calibration import precision_recall, thresholds_at_precision
from dawnchorus.evaluate.reliability import reliability
from dawnchorus.report.reliability_picture import Calibration, calibration_figure, draw_calibration


def calibration(precision: float = 0.8, *, n_items: int = 300, n_classes: int = 12) -> Calibration:
    rng = np.random.default_rng(0)
    targets = (rng.random((n_items, n_classes)) < 0.1).astype(np.float32)
    targets[2:, 0] = 0
    scores = 1 / (1 + np.exp(2 - 4 * targets + 1.5 * rng.standard_normal(targets.shape)))
    labels = [f"species_{column}" for column in range(n_classes)]
    return Calibration(
        reliability(targets, scores),
        precision_recall(targets, scores),
        thresholds_at_precision(targets, scores, labels, precision),
        precision,
    )


def hopeless() -> Calibration:
    """Return that of a run in which no class ever has a threshold."""
    targets = np.zeros((20, 2))
    targets[:6] = 1
    scores = np.linspace(0, 1, 20)[:, None] + np.zeros(2)
    thresholds = thresholds_at_precision(targets, scores, ("robin", "wren"), 0.9)
    return Calibration(reliability(targets, scores), precision_recall(targets, scores), thresholds, 0.9)


def panels(figure: Figure) -> tuple[Any, Any, Any, Any]:
    above, below, curve, thresholds = figure.axes
    return above, below, curve, thresholds


def texts(axes: Any) -> str:
    return " | ".join(text.get_text() for text in axes.get_legend().get_texts())


def test_a_picture_is_a_png_of_the_whole_width(tmp_path: Path) -> None:
    path = tmp_path / "new" / "reliability.png"
    draw_calibration(path, calibration(), title="my_experiment")
    with PIL.Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (1820, 672)
        assert np.asarray(image.convert("L")).std() > 10
    assert [file.name for file in path.parent.iterdir()] == ["reliability.png"]


def test_the_bins_stand_at_their_mean_score_with_their_intervals_and_counts() -> None:
    shown = calibration()
    above, below, _, _ = panels(calibration_figure(shown, title=""))
    found = shown.reliability
    points = above.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xydata(), np.stack([found.mean_score, found.observed_fraction], 1))
    segments = above.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([ends[:, 1] for ends in segments], np.stack([found.low, found.high], 1))
    diagonal = above.lines[0].get_xydata()
    assert diagonal.tolist() == [[0, 0], [1, 1]]
    assert [bar.get_height() for bar in below.patches] == found.n_pairs.tolist()
    assert below.get_yscale() == "log"
    assert f"{found.expected_calibration_error:.3f}" in above.get_title(loc="left")


def test_the_curve_passes_through_the_chosen_point() -> None:
    shown = calibration(0.8)
    _, _, axes, _ = panels(calibration_figure(shown, title=""))
    line, wanted, chosen = axes.lines
    place = shown.curve.lowest_reaching(0.8)
    assert chosen.get_xydata().tolist() == [[shown.curve.recall[place], shown.curve.precision[place]]]
    assert set(wanted.get_ydata()) == {0.8}
    best_of_recall: dict[float, float] = {}
    for recall, precision in zip(shown.curve.recall, shown.curve.precision, strict=True):
        best_of_recall[recall] = max(precision, best_of_recall.get(recall, 0.0))
    best_of_recall.pop(0.0, None)
    assert dict(line.get_xydata().tolist()) == best_of_recall
    assert f"threshold {shown.curve.thresholds[place]:.3f}" in texts(axes)


def test_a_long_curve_is_thinned_to_its_own_points_from_end_to_end() -> None:
    shown = calibration(n_items=20_000, n_classes=3)
    _, _, axes, _ = panels(calibration_figure(shown, title=""))
    drawn = axes.lines[0].get_xydata()
    assert 1500 < len(drawn) <= 2000
    assert set(map(tuple, drawn)) <= set(zip(shown.curve.recall, shown.curve.precision, strict=True))
    assert drawn[:, 0].max() == 1
    assert drawn[:, 0].min() < 0.001


def test_thresholds_are_counted_by_how_they_came_to_be() -> None:
    shown = calibration()
    _, _, _, axes = panels(calibration_figure(shown, title=""))
    own = [row.threshold for row in shown.thresholds if row.how == "class"]
    pooled = [row.threshold for row in shown.thresholds if row.how != "class"]
    assert len(pooled) == 1
    expected, _ = np.histogram(own, np.linspace(0, 1, 21))
    assert [bar.get_height() for bar in axes.patches] == expected.tolist()
    assert set(axes.lines[0].get_xdata()) == set(pooled)
    assert texts(axes) == f"11 with their own | 1 with the pooled one, {pooled[0]:.3f}"
    assert axes.get_title(loc="left") == "Thresholds of 12 classes"


def test_what_is_never_reached_is_said(tmp_path: Path) -> None:
    draw_calibration(tmp_path / "p.png", hopeless(), title="")
    _, _, curve, thresholds = panels(calibration_figure(hopeless(), title=""))
    assert "never reached" in texts(curve)
    assert "2 without: never precise enough" in texts(thresholds)


@pytest.mark.parametrize("shown", [calibration(), hopeless()])
def test_panels_and_their_titles_do_not_overlap(shown: Calibration) -> None:
    figure = calibration_figure(shown, title="my_experiment: 300 recordings")
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    boxes.append(figure.texts[0].get_window_extent())
    for index, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])
