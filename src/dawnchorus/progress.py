"""Progress bars on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn

T = TypeVar("T")

Advance = Callable[[float], None]

_silent = False

_LINE_EVERY_S = 60  # where there is no terminal
_SPEED_OVER_S = 3600  # the remaining time is estimated from this period; a long recording takes minutes


def silence_progress() -> None:
    """Show no more bars in this process, one of several that do the same work.

    Examples
    --------
    >>> silence_progress()
    """
    global _silent
    _silent = True


def progress_console() -> Console:
    """Return the console of the bars: stderr, in notebooks too, whose widgets need more packages.

    Examples
    --------
    >>> progress_console().is_jupyter
    False
    """
    from rich.console import Console

    return Console(stderr=True, force_jupyter=False)


def track(
    items: Iterable[T],
    description: str,
    *,
    total: float | None = None,
    amount: Callable[[T], float] | None = None,
    unit: str = "",
) -> Iterator[T]:
    """Yield ``items`` while a bar on stderr shows the progress and the remaining time.

    Where stderr is no terminal (a log file, CI), one line a minute is printed instead, and one at the end.

    Parameters
    ----------
    items
        The items.
    description
        A few words to the left of the bar.
    total
        The number of items, where ``items`` has no length, or the sum of their amounts.
    amount, unit
        The amount of an item, such as its hours, and the unit shown; without them each item counts one.

    Examples
    --------
    >>> sum(track([1, 2, 3], "Adding"))
    6
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if total is None and isinstance(items, Sized):
        total = len(items)
    counts: ProgressColumn = MofNCompleteColumn()
    if amount is not None:
        counts = TextColumn("{task.completed:.2f} of {task.total:.2f} " + unit)
    console = progress_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        counts,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    last_line = time.monotonic()
    with Progress(
        *columns, console=console, speed_estimate_period=_SPEED_OVER_S, disable=_silent
    ) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            yield item
            progress.advance(task, 1 if amount is None else amount(item))
            if not _silent and not console.is_terminal and time.monotonic() - last_line > _LINE_EVERY_S:
                console.print(progress.make_tasks_table(progress.tasks))
                last_line = time.monotonic()


@contextmanager
def audio_progress(description: str, *, total_s: float) -> Iterator[Advance]:
    """Yield a function to report seconds of audio done; a bar on stderr shows hours, speed and time left.

    The speed is the real-time factor: hours of audio in an hour. Where stderr is no terminal, one line a
    minute is printed instead.

    Examples
    --------
    >>> with audio_progress("Predicting", total_s=600.0) as advance:
    ...     advance(300.0)
    ...     advance(300.0)
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = progress_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.2f} of {task.total:.2f} h"),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started = last_line = time.monotonic()
    with Progress(
        *columns, console=console, speed_estimate_period=_SPEED_OVER_S, disable=_silent
    ) as progress:
        task = progress.add_task(description, total=total_s / 3600, pace="")

        def advance(seconds: float) -> None:
            nonlocal last_line
            done_s = progress.tasks[0].completed * 3600 + seconds
            pace = done_s / max(time.monotonic() - started, 1e-9)
            progress.update(task, advance=seconds / 3600, pace=f"{pace:.0f}× real time")
            if not _silent and not console.is_terminal and time.monotonic() - last_line > _LINE_EVERY_S:
                console.print(progress.make_tasks_table(progress.tasks))
                last_line = time.monotonic()

        yield advance
