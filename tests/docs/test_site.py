"""The built pages: no warning, no link that leads nowhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import check_links
import pytest


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Three pages and a picture, all of whose links are right."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "picture.png").touch()
    (tmp_path / "index.html").write_text(
        '<a href="inner/page.html#there">x</a><a href="#top">y</a><h1 id="top"></h1><a href="#">z</a>\n'
        '<img src="picture.png?v=1"><a href="https://xeno-canto.org/explore">w</a>'
        '<a href="mailto:a@b.org">m</a>'
    )
    (tmp_path / "inner" / "page.html").write_text('<h2 id="there"></h2><a href="../index.html#top">back</a>')
    return tmp_path


def test_right_links_are_no_faults(site: Path) -> None:
    assert check_links.broken_links(site) == []


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ('<a href="gone.html">', "index.html:3: gone.html: there is no such file"),
        ('<img src="inner/gone.png">', "index.html:3: inner/gone.png: there is no such file"),
        ('<a href="inner/page.html#gone">', "inner/page.html#gone: page.html has no anchor gone"),
        ('<a href="#gone">', "#gone: index.html has no anchor gone"),
        ('<a href="../outside.html">', "../outside.html: it leads out of the pages"),
        ('<a href="https://xeno canto">', "https://xeno canto: this is no address"),
        ('<a href="htp://xeno-canto.org">', "htp://xeno-canto.org: this is no address"),
    ],
)
def test_a_broken_link_is_found(site: Path, link: str, fault: str) -> None:
    page = site / "index.html"
    page.write_text(page.read_text() + "\n" + link)
    (found,) = check_links.broken_links(site)
    assert fault in found


def test_references_to_names_that_do_not_exist_are_noticed(conf: ModuleType) -> None:
    assert conf.is_there("dawnchorus.audio.windows.planned_starts")
    assert conf.is_there("dawnchorus.audio.windows")
    assert conf.is_there("dawnchorus.datasets.wave_dataset.WaveDataset.draw")
    assert not conf.is_there("dawnchorus.audio.windows.gone")
    assert not conf.is_there("dawnchorus.gone")


@pytest.fixture(scope="module")
def _sphinx() -> None:
    """Skip where the extra docs is not installed."""
    for name in ("sphinx", "furo", "myst_nb"):
        pytest.importorskip(name)


@pytest.mark.usefixtures("_sphinx")
def test_the_pages_build_without_a_warning_and_with_whole_links(
    build: ModuleType, repository: Path, tmp_path: Path
) -> None:
    source, html = tmp_path / "source", tmp_path / "html"
    build.gather_pages(source)
    # Without the docstrings, whose imports take most of the time; the real build has them.
    api = source / "reference" / "api.md"
    api.write_text(re.sub("```{eval-rst}.*?```", "", api.read_text(encoding="utf-8"), flags=re.DOTALL))
    for page in (repository / "docs" / "explanation").glob("*.md"):
        for name in re.findall(r"\]\((pictures/\w+\.png)\)", page.read_text(encoding="utf-8")):
            picture = source / "explanation" / name
            picture.parent.mkdir(exist_ok=True)
            shutil.copy(repository / "docs" / "pictures" / "soundscape.png", picture)
    assert build.run_sphinx(source, html, builder="html", execute=False) == 0
    assert check_links.broken_links(html) == []
    assert "submission" in (html / "tutorial.html").read_text()


@pytest.mark.usefixtures("_sphinx")
def test_a_warning_fails_the_build(
    build: ModuleType, repository: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(repository / "docs" / "conf.py", source)
    (source / "index.md").write_text(
        "# A\n\n[no such heading](#gone), [no such page](gone.md)\n\n"
        "```{eval-rst}\nSee :func:`dawnchorus.files.gone`, :func:`dawnchorus.files.write_text`.\n```\n"
    )
    assert build.run_sphinx(source, tmp_path / "html", builder="html") == 1
    told = capfd.readouterr().err
    for missing in ("'gone'", "'gone.md'", "dawnchorus.files.gone"):
        assert missing in told
    assert "write_text" not in told
