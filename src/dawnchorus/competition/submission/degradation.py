"""From the whole ensemble to a single network: what is given up, in a stated order, where time is short.

1. Networks, one at a time, down to two of each model: always of the model that has the most left, and of
   those alike of the last one named; in a model, the last fold first.
2. The shifted windows.
3. Networks down to one of each model, in the same order.
4. Whole models, the last one named first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """How windows are predicted.

    Attributes
    ----------
    networks
        Networks of each model that are still averaged; 0 for a model that is given up.
    shift
        Whether windows are averaged with those shifted against them.

    Examples
    --------
    >>> print(Way(networks=(5, 4), shift=True))
    5 + 4 networks, with shifted windows
    """

    networks: tuple[int, ...]
    shift: bool

    def __str__(self) -> str:
        """Say it to people: ``5 + 4 networks, with shifted windows``."""
        count = " + ".join(str(n) for n in self.networks if n)
        noun = "network" if count == "1" else "networks"
        return f"{count} {noun}{', with shifted windows' if self.shift else ''}"


def thinner_ways(way: Way) -> Iterator[Way]:
    """Yield the ways after ``way``, in the order of this module's text; the last has one network.

    Examples
    --------
    >>> [way.networks for way in thinner_ways(Way((3, 2), shift=False))]
    [(2, 2), (2, 1), (1, 1), (1, 0)]
    """
    networks, shift = list(way.networks), way.shift
    for fewest in (2, 1):
        while max(networks) > fewest:
            most = max(networks)
            last = max(index for index, n in enumerate(networks) if n == most)
            networks[last] -= 1
            yield Way(tuple(networks), shift)
        if shift:
            shift = False
            yield Way(tuple(networks), shift)
    for index in range(len(networks) - 1, 0, -1):
        if networks[index]:
            networks[index] = 0
            yield Way(tuple(networks), shift)
