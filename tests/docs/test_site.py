"""The built pages: no warning, no link that leads nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
for name in ("sphinx", "furo", "myst_nb", "numpydoc", "tabulate"):
    pytest.importorskip(name, reason="the extra docs is not installed")


def run_sphinx(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build pages with the settings of docs/conf.py, as `make docs` does, but execute no notebook."""
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--define", "nb_execution_mode=off"]
    command = [sys.executable, "-m", "sphinx", *options, "--conf-dir", str(DOCS), str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True)


def test_references_to_names_that_do_not_exist_are_noticed(conf: ModuleType) -> None:
    assert conf.is_there("dawnchorus.audio.windows.planned_starts")
    assert conf.is_there("dawnchorus.audio.windows")
    assert conf.is_there("dawnchorus.datasets.wave_dataset.WaveDataset.draw")
    assert not conf.is_there("dawnchorus.audio.windows.gone")
    assert not conf.is_there("dawnchorus.gone")


def test_the_pages_build_without_a_warning(tmp_path: Path, reference: dict[str, str]) -> None:
    source = tmp_path / "source"
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("_build", "work", "__pycache__"))
    # Without docstrings of classes and references to names, whose imports take most of the time.
    classes = "```{eval-rst}\n.. py:class:: dawnchorus.BirdsInference\n```\n"
    for name, text in {**reference, "api": f"# Python\n\n{classes}"}.items():
        plain = re.sub(r":\w+:`~?dawnchorus[^`]*`", lambda role: "x" * len(role[0]), text)
        (source / "reference" / f"{name}.md").write_text(plain, encoding="utf-8")
    pictures = source / "explanation" / "pictures"
    pictures.mkdir(exist_ok=True)
    for name in re.findall(r"\]\(pictures/(\w+\.png)\)", (DOCS / "explanation" / "recipe.md").read_text()):
        shutil.copy(DOCS / "pictures" / "soundscape.png", pictures / name)
    done = run_sphinx(source, tmp_path / "html")
    assert done.returncode == 0, done.stderr
    assert "submission" in (tmp_path / "html" / "tutorial.html").read_text()


def test_what_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text(
        "# A\n\n[heading](#gone1), [page](gone2.md), [file](gone3.csv), [heading there](other.md#gone4), \n"
        "[scheme](htp://gone5.org), ![picture](gone6.png), [whole](other.md#here), <https://whole.org>\n\n"
        "```{eval-rst}\nSee :func:`dawnchorus.files.gone7`, :func:`dawnchorus.files.write_text`.\n```\n\n"
        "```{toctree}\nother\n```\n"
    )
    (source / "other.md").write_text("# Here\n")
    done = run_sphinx(source, tmp_path / "html")
    assert done.returncode == 1
    assert [f"gone{number}" for number in range(1, 8) if f"gone{number}" not in done.stderr] == []
    assert "write_text" not in done.stderr
    assert "whole" not in done.stderr
