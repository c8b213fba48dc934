"""Progress bars on stderr, the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(items: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` while a bar on stderr shows how many are done and how long the rest will take.

    Where stderr is no terminal (a log file, CI), nothing is drawn while it runs and one line
    with the count and the time is written at the end.

    Parameters
    ----------
    items
        What to go through.
    description
        A few words to the left of the bar.
    total
        The number of items, where ``items`` has no length.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield from progress.track(items, total=total, description=description)
