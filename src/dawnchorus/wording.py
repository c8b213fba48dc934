"""Wording of messages that several packages share: counts, shortened values and lists, extras, exit codes."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

USED_WRONGLY = 64
"""Exit code of an unknown option, a missing argument and the like, as in ``sysexits.h``; 2 says that a
command is done and some recordings failed."""

_SHOWN = 3
_LETTERS = 80
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _LETTERS
_SHORT.maxlevel = 3


def shown(value: Any) -> str:
    """Return a value as in Python code, with its middle left out where it is long or deep.

    Examples
    --------
    >>> shown("owl"), shown([1, 2]), len(shown("x" * 10_000))
    ("'owl'", '[1, 2]', 80)
    """
    return _SHORT.repr(value)


def in_line(name: str) -> str:
    """Return a name for a message: on one line, with its middle left out where it is long.

    Examples
    --------
    >>> in_line("barn\\nowl"), len(in_line("x" * 10_000))
    ('barn owl', 81)
    """
    line = " ".join(name.split())
    return line if len(line) <= _LETTERS else f"{line[: _LETTERS // 2]}…{line[-(_LETTERS // 2) :]}"


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun; the plural adds an s unless it is given.

    Examples
    --------
    >>> counted(1, "recording"), counted(2000, "class", "classes")
    ('1 recording', '2,000 classes')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def first_few(names: Sequence[str], n_shown: int = _SHOWN) -> str:
    """Return the first names, and an ellipsis where there are more; bytes that are not UTF-8 as escapes.

    Examples
    --------
    >>> first_few(["owl", "robin"]), first_few(["owl", "robin", "thrush", "wren"])
    ('owl, robin', 'owl, robin, thrush, …')
    """
    shown_names = [*map(in_line, names[:n_shown]), *(["…"] if len(names) > n_shown else [])]
    return ", ".join(shown_names).encode("utf-8", "backslashreplace").decode("utf-8")


def install_extra(extra: str) -> str:
    """Return the command that installs an extra; dawnchorus is on no package index.

    Examples
    --------
    >>> install_extra("train")
    "pip install -e '.[train]' in the checkout, or pip install 'NAME.whl[train]' with the wheel"
    """
    return f"pip install -e '.[{extra}]' in the checkout, or pip install 'NAME.whl[{extra}]' with the wheel"
