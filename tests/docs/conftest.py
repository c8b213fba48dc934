"""Fixtures for the documentation: its programs, Sphinx's settings, and the commands there are."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from dawnchorus.cli import app

DOCS = Path(__file__).resolve().parents[2] / "docs"
# At the end, so that nobody else's import finds a module of ours.
sys.path += [str(DOCS / "tools"), str(DOCS.parent / "benchmarks")]


@pytest.fixture(scope="session")
def conf() -> ModuleType:
    """Sphinx's settings, docs/conf.py."""
    spec = spec_from_file_location("docs_conf", DOCS / "conf.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference() -> dict[str, str]:
    """The pages of the reference by their names, filled in."""
    for name in ("numpydoc", "sphinx", "tabulate"):
        pytest.importorskip(name, reason="the extra docs is not installed")
    filled_in = importlib.import_module("reference").filled_in
    pages = (DOCS / "reference").glob("*.md")
    return {page.stem: filled_in(page.read_text(encoding="utf-8")) for page in pages}


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
