"""A grid of spectrograms is a readable PNG, whatever the number of panels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.report.augmentation_picture import Panel, draw_panels

FRONTEND = FrontendSettings()


def panels(n_panels: int, **changes: Any) -> list[Panel]:
    rng = np.random.default_rng(0)
    panel = Panel("random_filtering", rng.random((128, 313), dtype=np.float32), 5.0)
    return [panel._replace(**changes) for _ in range(n_panels)]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, laid out as they are saved."""
    saved = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        save(figure, *args, **options)
        saved.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def panel_axes(figure: Figure) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_title(loc="left")]


def title_of(axes: Any) -> Text:
    """Return the title at the left; ``axes.title`` is the one in the middle."""
    return next(text for text in axes.findobj(Text) if text.get_text() == axes.get_title(loc="left"))


@pytest.mark.parametrize(
    ("n_panels", "n_columns", "n_rows"), [(1, 3, 1), (2, 3, 1), (3, 3, 1), (7, 3, 3), (4, 2, 2), (3, 1, 3)]
)
def test_a_picture_is_a_png_that_grows_with_its_panels(
    tmp_path: Path, figures: list[Figure], n_panels: int, n_columns: int, n_rows: int
) -> None:
    path = tmp_path / "new" / "picture.png"
    draw_panels(path, panels(n_panels), frontend=FRONTEND, title="A title", n_columns=n_columns)
    with PIL.Image.open(path) as image:
        assert image.format == "PNG"
        assert 400 * min(n_columns, n_panels) < image.width < 700 * min(n_columns, n_panels) + 200
        assert 250 * n_rows < image.height < 400 * n_rows + 100
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
    assert len(panel_axes(figures[0])) == n_panels
    assert len(figures[0].axes) == n_panels + 1, "one colour bar for all, and no empty axes"


def test_every_panel_shows_its_numbers_on_the_same_scale(tmp_path: Path, figures: list[Figure]) -> None:
    quiet = panels(1, logmel=np.full((128, 313), 0.25))[0]
    draw_panels(tmp_path / "p.png", [quiet, *panels(3)], frontend=FRONTEND, title="")
    images = [axes.images[0] for axes in panel_axes(figures[0])]
    assert {image.get_clim() for image in images} == {(0, 1)}
    assert (images[0].get_array() == 0.25).all()
    assert {tuple(image.get_extent()) for image in images} == {(0, 5.0, 0, 128)}


def test_frequencies_stand_at_the_left_and_seconds_at_the_bottom(
    tmp_path: Path, figures: list[Figure]
) -> None:
    draw_panels(tmp_path / "p.png", panels(5), frontend=FRONTEND, title="")
    axes = panel_axes(figures[0])
    assert ["kHz" in a.get_ylabel() for a in axes] == [True, False, False, True, False]
    assert ["(s)" in a.get_xlabel() for a in axes] == [False, False, True, True, True]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["0.5", "1", "2", "4", "8", "16"]


def test_panels_of_different_duration_have_their_own_seconds(tmp_path: Path, figures: list[Figure]) -> None:
    different = [*panels(3), *panels(1, duration_s=2.5)]
    draw_panels(tmp_path / "p.png", different, frontend=FRONTEND, title="", n_columns=2)
    assert all("(s)" in axes.get_xlabel() for axes in panel_axes(figures[0]))


def test_titles_overlap_neither_each_other_nor_a_panel(tmp_path: Path, figures: list[Figure]) -> None:
    long = panels(
        6, title="AddGaussianSNR min_snr_db 5.0, max_snr_db 40.0, p 1.0, then TimeMask and PitchShift"
    )
    draw_panels(tmp_path / "p.png", long, frontend=FRONTEND, title="One line above all " * 3)
    figure = figures[0]
    axes = panel_axes(figure)
    boxes = [a.get_window_extent() for a in axes]
    boxes += [title_of(a).get_window_extent() for a in axes]
    boxes.append(figure.texts[0].get_window_extent())
    for index, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        draw_panels(tmp_path / "p.png", [], frontend=FRONTEND, title="")
