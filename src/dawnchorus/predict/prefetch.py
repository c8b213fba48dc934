"""Prefetch: decoding and spectrograms in threads while the engine computes. Order is kept."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_POLL_S = 0.2


def in_background(items: Iterable[T], *, n_prefetched: int) -> Iterator[T]:
    """Yield ``items``, made by another thread, which is at most ``n_prefetched`` (2 or more) of them ahead.

    Errors in that thread are raised here. A caller that stops early stops the thread too.

    Examples
    --------
    >>> list(in_background(iter([1, 2, 3]), n_prefetched=2))
    [1, 2, 3]
    """
    # The thread holds one more, waiting for room in the queue.
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=max(1, n_prefetched - 1))
    stopped = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                made.put(entry, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # noqa: BLE001  it is raised in the caller's thread
            put((False, error))

    thread = threading.Thread(target=work, name="decoding", daemon=True)
    thread.start()
    try:
        while True:
            is_item, entry = made.get()
            if is_item:
                yield entry  # type: ignore[misc]
            elif entry is None:
                return
            else:
                raise entry  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


def map_prefetched(function: Callable[[T], R], items: Iterable[T], *, n_threads: int) -> Iterator[R]:
    """Yield ``function(item)`` for each item, in their order, computed by threads a few items ahead.

    Examples
    --------
    >>> list(map_prefetched(str.upper, ["owl", "wren"], n_threads=2))
    ['OWL', 'WREN']
    """
    rest = iter(items)
    with ThreadPoolExecutor(n_threads, thread_name_prefix="preparing") as pool:
        waiting: deque[Future[R]] = deque(pool.submit(function, item) for item in islice(rest, 2 * n_threads))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
            if isinstance(rest, Generator):  # now, not when the last traceback is collected
                rest.close()
