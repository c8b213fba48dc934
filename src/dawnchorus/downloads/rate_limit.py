"""How fast a service may be asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Allowance:
    """What may be spent at once, and how soon it comes back: requests, or bytes.

    Parameters
    ----------
    capacity
        Units that may be spent at once.
    unit_s
        Seconds in which one unit comes back.
    clock, sleep
        Time in seconds, and what waits.

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
        """Wait until ``amount`` is there, or all that can be, and take it; a larger amount leaves a debt."""
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
    """What a service allows: of searches, of recordings, and of bytes of recordings.

    Examples
    --------
    >>> a_request_a_second = Allowance(1, unit_s=1.0)
    >>> RateLimit(searches=(a_request_a_second,), recordings=(a_request_a_second,)).n_bytes
    ()
    """

    searches: Sequence[Allowance] = ()
    recordings: Sequence[Allowance] = ()
    n_bytes: Sequence[Allowance] = ()
