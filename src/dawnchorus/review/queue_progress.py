"""How far a queue of a review is, and what more answers would improve."""

from __future__ import annotations

import math
from typing import NamedTuple

from dawnchorus.wording import counted


class Progress(NamedTuple):
    """How far a queue is, and what more answers would improve.

    Attributes
    ----------
    n_left, n_clips
        Clips of the queue without an answer, and all of them.
    species
        The species that the following is about; None for all together.
    precision, low, high
        Of all clips of the species in the pool, with its interval; NaN before the first answer.
    n_answers
        Answers that it is counted on.
    half_width_after
        About half the interval once the queue is done.

    Examples
    --------
    >>> progress = Progress(90, 96, "owl", 0.5, 0.2, 0.8, n_answers=6, half_width_after=0.1)
    >>> progress.sentence()
    '90 of 96 left. 6 answers say that 50 % of the clips are right (20 to 80 %); all of them would make it
    about ±10 points.'
    """

    n_left: int
    n_clips: int
    species: str | None
    precision: float
    low: float
    high: float
    n_answers: int
    half_width_after: float

    def sentence(self) -> str:
        """Return both in words."""
        left = f"{self.n_left:,} of {self.n_clips:,} left."
        if not self.n_answers or math.isnan(self.precision):
            return f"{left} The first answers will say how many of the clips are right."
        says = (
            f"{left} {counted(self.n_answers, 'answer')} say{'s' * (self.n_answers == 1)} that "
            f"{self.precision:.0%} of the clips are right ({100 * self.low:.0f} to {100 * self.high:.0f} %)"
        ).replace("%", " %", 1)
        if not self.n_left:
            return f"{says}."
        return f"{says}; all of them would make it about ±{100 * self.half_width_after:.0f} points."
