"""Docstrings in NumPy's form, taken apart and turned from reStructuredText into Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

_HEADING = re.compile(r"^(?P<title>[A-Z][A-Za-z ]+)\n-{3,}$", re.MULTILINE)
_SHORT_ROLE = re.compile(r":(?:py:)?[a-z]+:`~(?:[\w.]*\.)?(\w+)`")
_ROLE = re.compile(r":(?:py:)?[a-z]+:`([\w.]+)`")
_LITERAL = re.compile(r"``([^`]+)``")
_NAMES = re.compile(r"^[A-Za-z_]\w*(, [A-Za-z_]\w*)*( :.*)?$")


def sections(docstring: str | None) -> dict[str, str]:
    """Return the sections of a docstring by their headings; what stands before the first is under ``""``."""
    text = inspect.cleandoc(docstring or "")
    parts = _HEADING.split(text)
    bodies = (body.strip("\n") for body in parts[2::2])
    return {"": parts[0].strip(), **dict(zip(parts[1::2], bodies, strict=True))}


def descriptions(docstring: str | None) -> dict[str, str]:
    """Return what the sections ``Parameters`` and ``Attributes`` say of each name, as Markdown."""
    found: dict[str, str] = {}
    for title in ("Parameters", "Attributes"):
        names: list[str] = []
        lines: list[str] = []
        for line in [*sections(docstring).get(title, "").splitlines(), "end"]:
            if line.startswith(" ") or not line:
                lines.append(line)
                continue
            text = as_markdown(textwrap.dedent("\n".join(lines)).strip())
            found.update(dict.fromkeys(names, text))
            names = line.partition(" :")[0].split(", ") if _NAMES.match(line) else []
            lines = []
    return found


def inherited_descriptions(owner: type | Callable[..., Any]) -> dict[str, str]:
    """Return the descriptions of a function, or of a class and what it inherits."""
    owners = reversed(owner.__mro__) if isinstance(owner, type) else [owner]
    found: dict[str, str] = {}
    for each in owners:
        found.update(descriptions(each.__doc__))
    return found


def summary(docstring: str | None) -> str:
    """Return the first paragraph of a docstring as one line of Markdown."""
    return as_markdown(" ".join(sections(docstring)[""].partition("\n\n")[0].split()))


def introduction(docstring: str | None) -> str:
    """Return all that stands before the first section of a docstring, as Markdown."""
    return as_markdown(sections(docstring)[""])


def as_markdown(text: str) -> str:
    """Return reStructuredText with its roles and literals as Markdown's code; the rest is alike."""
    return _LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", _SHORT_ROLE.sub(r"`\1`", text)))


def cell(text: str) -> str:
    """Return Markdown that a table's cell may hold: on one line, its bars no borders."""
    return " ".join(text.split()).replace("|", r"\|")


def plain(text: str) -> str:
    """Return plain text, such as an option's help, as Markdown that shows it letter for letter."""
    return re.sub(r"([\\`*_<>\[\]{}~$])", r"\\\1", text)


def code(text: str) -> str:
    """Return text as Markdown's code, whatever marks it holds; nothing for nothing."""
    return f"`{text}`" if text and "`" not in text else text
