"""The Python that pages and notebooks show: it parses, and what it asks of dawnchorus exists."""

from __future__ import annotations

import json
from pathlib import Path

import page_commands
import page_python
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = page_commands.written_pages(REPOSITORY)
NOTEBOOKS = sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb"))


def shown(code: str) -> list[page_python.ShownPython]:
    return [page_python.ShownPython("page", code)]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from dawnchorus.gone import x", "page: there is no module dawnchorus.gone"),
        ("from dawnchorus import gone", "page: dawnchorus has no gone"),
        ("import dawnchorus as dc\ndc.gone('a')", "page: dc.gone: dawnchorus has no gone"),
        (
            "import dawnchorus as dc\ndc.open_engine('a', gone=1)",
            "page: dc.open_engine has no argument gone",
        ),
        (
            "from dawnchorus.aviary import make_aviary\nmade = make_aviary('a')\nmade.gone",
            "page: made.gone: Aviary has no gone",
        ),
        (
            "from dawnchorus import DataSettings\nDataSettings(audio_dir='a').gone()",
            "page: DataSettings(audio_dir='a').gone: DataSettings has no gone",
        ),
        ("x =", "page: line 1 is no Python: invalid syntax"),
    ],
)
def test_a_name_that_does_not_exist_is_found(code: str, fault: str) -> None:
    assert page_python.faults_of(shown(code)) == [fault]


def test_names_that_exist_and_names_of_others_are_no_faults() -> None:
    code = """
import numpy as np
import dawnchorus as dc
from dawnchorus.aviary import AviarySettings, make_aviary
made = make_aviary("a", AviarySettings(n_species=3), n_cores=1)
made.recordings_dir.gone
made = np.zeros(3)
made.gone
dc.LabelMap(["a"]).labels
"""
    assert page_python.faults_of(shown(code)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_pages_show_python_that_exists(page: Path) -> None:
    assert page_python.faults_of(page_python.page_blocks(page)) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_show_python_that_exists(notebook: Path) -> None:
    cells = page_python.notebook_cells(notebook)
    assert cells
    assert page_python.faults_of(cells) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    for number, cell in enumerate(content["cells"], start=1):
        if cell["cell_type"] == "code":
            remedy = f"cell {number} holds outputs; clear all outputs in Jupyter before you save"
            assert (cell["outputs"], cell["execution_count"]) == ([], None), remedy
        assert set(cell["metadata"]) <= {"tags"}


def test_there_are_notebooks_and_the_index_lists_each(repository: Path) -> None:
    index = (repository / "docs" / "index.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) >= 3
    assert [path.stem for path in NOTEBOOKS if f"\nnotebooks/{path.stem}\n" not in index] == []
