"""Sphinx's settings, for ``sphinx-build docs docs/_build/html``.

Pages of the reference are templates that ``tools/reference.py`` fills in; ``benchmarks/results.py`` and
``reliability.py`` there fill in the pages of benchmarks and of reliability.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "tools"), str(DOCS.parent / "benchmarks")]

project = "dawnchorus"
copyright = "the dawnchorus founders"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "notebooks/work"]
# Notebooks hold no outputs; a cell that raises, warns or takes too long fails the build.
nb_execution_mode = "force"
nb_execution_timeout = 300  # seconds, of a cell; the longest one trains a small network
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_output_stderr = "remove-warn"
html_theme = "furo"
html_title = "dawnchorus"
html_show_sphinx = False
# Options are written with two hyphens, which must stay two.
smartquotes = False
myst_heading_anchors = 3
nitpicky = True
# Types of other packages, whose documentation is not fetched, and types in words ("array_like").
nitpick_ignore_regex = [(r"py:.*", r"(?!dawnchorus\.).*")]
napoleon_google_docstring = False
napoleon_use_ivar = True
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
linkcheck_timeout = 30
linkcheck_retries = 2


def is_there(name: str) -> bool:
    """Return whether a dotted name can be imported, or is an attribute of something that can."""
    parts = name.split(".")
    for n_parts in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:n_parts]))
        except ModuleNotFoundError:
            continue
        for part in parts[n_parts:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def resolve_inner_name(app: Any, environment: Any, node: Any, content: Any) -> Any:
    """Return a reference to a name that no page documents as plain code, None where the name is nowhere."""
    target = str(node.get("reftarget", ""))
    inner = node.get("refdomain") == "py" and target.startswith("dawnchorus.")
    return content if inner and is_there(target) else None


def fill_in(app: Any, docname: str, source: list[str]) -> None:
    """Put what the code says into a page of the reference, and what was measured into two others."""
    if docname.startswith("reference/") and "{%" in source[0]:
        module = "reference"  # imports PyTorch
    elif docname == "benchmarks":
        module = "results"
    elif docname == "development/reliability":
        module = "reliability"
    else:
        return
    source[0] = importlib.import_module(module).filled_in(source[0])


def setup(app: Any) -> None:
    """Register both."""
    app.connect("source-read", fill_in)
    app.connect("missing-reference", resolve_inner_name)
