"""What the tests of the documentation share: its programs, its pages, and the commands there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from dawnchorus.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
# At the end, so that nobody else's import finds a module of ours.
sys.path.append(str(DOCS / "tools"))


def _loaded(path: Path) -> ModuleType:
    """Return a program whose name others bear too."""
    spec = spec_from_file_location(f"docs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def build() -> ModuleType:
    """The program docs/tools/build.py."""
    return _loaded(DOCS / "tools" / "build.py")


@pytest.fixture(scope="session")
def conf() -> ModuleType:
    """Sphinx's settings, docs/conf.py."""
    return _loaded(DOCS / "conf.py")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def all_commands() -> dict[tuple[str, ...], Any]:
    """Every command that does something, by its name and those of its groups before it."""
    return dict(_commands(typer.main.get_command(app)))


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from _commands(child, (*path, name))
        elif not child.hidden:
            yield (*path, name), child
