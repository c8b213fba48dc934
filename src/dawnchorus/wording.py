"""Wording of messages that several packages share: counts with nouns, and shortened lists."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 3


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun; the plural adds an s unless it is given.

    Examples
    --------
    >>> counted(1, "recording"), counted(2, "class", "classes")
    ('1 recording', '2 classes')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def first_few(names: Sequence[str], n_shown: int = _SHOWN) -> str:
    """Return the first names, and an ellipsis where there are more.

    Examples
    --------
    >>> first_few(["owl", "robin"]), first_few(["owl", "robin", "thrush", "wren"])
    ('owl, robin', 'owl, robin, thrush, …')
    """
    return ", ".join([*names[:n_shown], *(["…"] if len(names) > n_shown else [])])
