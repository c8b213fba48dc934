"""What this machine has."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the cores that this process may use, which in a container are fewer than the machine's.

    Examples
    --------
    >>> usable_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
