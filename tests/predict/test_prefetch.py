"""Working ahead in threads: the order is kept, errors arrive, and nothing is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dawnchorus.predict.prefetch import in_background, map_prefetched


@pytest.fixture
def new_threads() -> Callable[[], list[str]]:
    """A function that returns the names of the threads that were begun in the test and are still there."""
    before = set(threading.enumerate())
    return lambda: [thread.name for thread in set(threading.enumerate()) - before]


class Counter:
    """Numbers from 0 on, and how many of them were made."""

    def __init__(self, stop: int, fail_at: int | None = None) -> None:
        self.stop, self.fail_at, self.n_made = stop, fail_at, 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.stop):
            if number == self.fail_at:
                raise OSError("the disk is gone")
            self.n_made += 1
            yield number


def settled(counter: Counter) -> int:
    """Return how many items were made once no more are being made."""
    n_made = -1
    while n_made != counter.n_made:
        n_made = counter.n_made
        time.sleep(0.05)
    return n_made


@pytest.mark.parametrize("n_prefetched", [1, 3, 100])
def test_items_come_in_their_order(n_prefetched: int, new_threads: Callable[[], list[str]]) -> None:
    assert list(in_background(range(50), n_prefetched=n_prefetched)) == list(range(50))
    assert list(in_background([], n_prefetched=n_prefetched)) == []
    assert list(in_background([None, False, 0], n_prefetched=n_prefetched)) == [None, False, 0]
    assert not new_threads()


@pytest.mark.parametrize("n_prefetched", [2, 3])
def test_no_more_items_are_made_than_asked_for(n_prefetched: int) -> None:
    counter = Counter(50)
    items = in_background(counter, n_prefetched=n_prefetched)
    made = []
    for _ in range(5):
        next(items)
        made.append(settled(counter))
    items.close()  # type: ignore[attr-defined]
    assert max(n_made - n_taken for n_taken, n_made in enumerate(made, start=1)) <= n_prefetched


def test_items_are_made_while_the_caller_is_busy() -> None:
    counter = Counter(50)
    items = in_background(counter, n_prefetched=4)
    next(items)
    assert settled(counter) >= 4
    items.close()  # type: ignore[attr-defined]


def test_an_error_of_the_thread_comes_after_the_items_before_it() -> None:
    found: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(in_background(Counter(9, fail_at=5), n_prefetched=2))
    assert found == [0, 1, 2, 3, 4]


def test_an_exit_of_the_thread_is_passed_on_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(in_background(items(), n_prefetched=2))


def test_a_caller_that_stops_early_stops_the_thread(new_threads: Callable[[], list[str]]) -> None:
    counter = Counter(1_000_000)
    for item in in_background(counter, n_prefetched=2):
        if item == 3:
            break
    assert not new_threads()
    assert counter.n_made < 10


def test_items_nobody_asks_for_are_not_begun(new_threads: Callable[[], list[str]]) -> None:
    counter = Counter(5)
    unasked = in_background(counter, n_prefetched=2), map_prefetched(str, counter, n_threads=2)
    assert settled(counter) == 0
    assert not new_threads()
    del unasked


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_their_items_whichever_is_ready_first(n_threads: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    found = list(map_prefetched(slow_at_first, range(20), n_threads=n_threads))
    assert found == [number * number for number in range(20)]
    assert list(map_prefetched(slow_at_first, [], n_threads=n_threads)) == []


def test_threads_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)
    list(map_prefetched(lambda _: together.wait(), range(6), n_threads=3))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_are_only_a_few_items_ahead(n_threads: int) -> None:
    counter = Counter(50)
    results = map_prefetched(str, counter, n_threads=n_threads)
    for n_taken in range(1, 6):
        assert next(results) == str(n_taken - 1)
        assert settled(counter) <= n_taken + 2 * n_threads
    results.close()  # type: ignore[attr-defined]


def test_an_error_of_the_function_comes_in_its_place() -> None:
    def fail_at_4(number: int) -> int:
        if number == 4:
            raise ValueError("four")
        return number

    results = map_prefetched(fail_at_4, range(20), n_threads=2)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="four"):
        next(results)


def test_an_error_of_the_items_is_passed_on(new_threads: Callable[[], list[str]]) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        list(map_prefetched(str, Counter(9, fail_at=7), n_threads=2))
    assert not new_threads()


def test_one_behind_the_other_stops_all_threads_early(new_threads: Callable[[], list[str]]) -> None:
    counter = Counter(1_000_000)
    results = map_prefetched(str, in_background(counter, n_prefetched=2), n_threads=2)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    results.close()  # type: ignore[attr-defined]
    assert not new_threads()
    assert counter.n_made < 20


def test_one_behind_the_other_leaves_no_thread_after_an_error(new_threads: Callable[[], list[str]]) -> None:
    def fail(number: int) -> int:
        raise ValueError(f"no {number}")

    counter = Counter(1_000_000)
    with pytest.raises(ValueError, match="no 0") as caught:
        list(map_prefetched(fail, in_background(counter, n_prefetched=2), n_threads=2))
    left = new_threads()
    # Until here the error was held, as a notebook would hold it, and with it all frames that it went through.
    del caught
    assert not left
