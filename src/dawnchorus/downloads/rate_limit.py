"""Rate limits of services."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Allowance:
    """A token bucket of requests or bytes.

    Parameters
    ----------
    capacity
        Units that may be spent at once.
    unit_s
        Seconds in which one unit comes back.
    clock, sleep
        Functions that return seconds, and that wait.

    Examples
    --------
    >>> waited = []
    >>> allowance = Allowance(1, unit_s=2.0, clock=lambda: sum(waited), sleep=waited.append)
    >>> allowance.spend()
    >>> allowance.spend()
    >>> waited
    [2.0]
    """

    def __init__(
        self,
        capacity: float,
        unit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.capacity, self.unit_s = capacity, unit_s
        self._clock, self._sleep = clock, sleep
        self._level, self._seen = capacity, clock()

    def spend(self, amount: float = 1.0) -> None:
        """Wait until ``amount`` or the capacity is there, and take it; a larger amount leaves a debt."""
        needed = min(amount, self.capacity)
        while self.unit_s and (missing := needed - self._refilled()) > 1e-9 * self.capacity:
            self._sleep(missing * self.unit_s)
        self._level -= amount

    def _refilled(self) -> float:
        now = self._clock()
        self._level = min(self.capacity, self._level + (now - self._seen) / self.unit_s)
        self._seen = now
        return self._level


@dataclass(frozen=True)
class RateLimit:
    """A service's limits on searches, recordings, and bytes of recordings.

    Examples
    --------
    >>> a_request_a_second = Allowance(1, unit_s=1.0)
    >>> RateLimit(searches=(a_request_a_second,), recordings=(a_request_a_second,)).n_bytes
    ()
    """

    searches: Sequence[Allowance] = ()
    recordings: Sequence[Allowance] = ()
    n_bytes: Sequence[Allowance] = ()
