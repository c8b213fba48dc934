"""Retries of requests and transfers that are interrupted, with waits that grow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

from dawnchorus.downloads.disk_space import size_text
from dawnchorus.errors import DownloadError

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 6
"""Failures in a row without a byte received before a request fails: with the waits, about a minute."""

FIRST_WAIT_S = 2.0
"""Wait before the second try; each further one is twice as long."""

LONGEST_WAIT_S = 600.0
"""Longest wait that a service may request; a longer one raises: the command can be run again later."""

BUSY = frozenset({429, 500, 502, 503, 504})
"""Statuses of a service that may answer later."""


class ServiceDownError(DownloadError):
    """A service that cannot be reached, or is busy for too long.

    Examples
    --------
    >>> from dawnchorus.errors import DownloadError
    >>> issubclass(ServiceDownError, DownloadError)
    True
    """


class Interrupted(Exception):  # noqa: N818 - not an error yet: it is retried
    """A failure that is worth a retry; ``wait_s`` is the wait that the service requests, if any.

    Examples
    --------
    >>> Interrupted("the service is busy", wait_s=30.0).wait_s
    30.0
    """

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def retried(attempt: Callable[[], T], what: str, *, n_kept: Callable[[], int] = int) -> T:
    """Return the result of a call, which is repeated where it raises Interrupted.

    Parameters
    ----------
    attempt
        The call.
    what
        What is asked or fetched, for messages.
    n_kept
        Returns the bytes that have arrived so far: as long as they grow, failures do not count.

    Raises
    ------
    ServiceDownError
        It was interrupted too often, or the service wants a longer wait than ``LONGEST_WAIT_S``.

    Examples
    --------
    >>> retried(lambda: 200, "example.org")
    200
    """
    n_failed, most = 0, n_kept()
    while True:
        try:
            return attempt()
        except Interrupted as interrupted:
            there = n_kept()
            n_failed, most = (1 if there > most else n_failed + 1), max(most, there)
            kept = f"; {size_text(there)} are kept" if there else ""
            asked_s = interrupted.wait_s or 0.0
            if asked_s > LONGEST_WAIT_S:
                raise ServiceDownError(
                    f"{what}: {interrupted}, and asks to wait {asked_s / 60:.0f} minutes{kept}; "
                    "run this again then: it goes on where it stopped"
                ) from interrupted
            if n_failed >= TRIES:
                raise ServiceDownError(
                    f"{what}: {interrupted}, {TRIES} times in a row{kept}; "
                    "run this again later: it goes on where it stopped"
                ) from interrupted
            wait_s = max(min(FIRST_WAIT_S * 2 ** (n_failed - 1), LONGEST_WAIT_S), asked_s)
            logger.info(f"{what}: {interrupted}; trying again in {wait_s:.3g} s ({n_failed + 1} of {TRIES})")
            time.sleep(wait_s)


def wait_wanted_s(retry_after: str) -> float | None:
    """Return the wait that a service requests in its header Retry-After, in seconds from now; None for none.

    Examples
    --------
    >>> wait_wanted_s("30"), wait_wanted_s("Wed, 21 Oct 2015 07:28:00 GMT"), wait_wanted_s("soon")
    (30.0, 0.0, None)
    """
    try:
        return float(int(retry_after))
    except (ValueError, OverflowError):
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
