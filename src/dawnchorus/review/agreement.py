"""What reviewers say together of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from dawnchorus.review.answer_store import Answer, Box

Agreed = Literal["yes", "no", "unsure", "conflict"]
CONFLICT: Agreed = "conflict"


class Agreement(NamedTuple):
    """The verdict of most reviewers, and what those have heard and drawn.

    Attributes
    ----------
    verdict
        ``yes``, ``no``, ``unsure``, or ``conflict`` where as many say yes as no.
    heard
        Other species, those of all who said so.
    boxes
        Their boxes.
    reviewers
        All who have answered.

    Examples
    --------
    >>> Agreement("yes", heard=(), boxes=(), reviewers=("Ada",)).verdict
    'yes'
    """

    verdict: Agreed
    heard: tuple[str, ...]
    boxes: tuple[Box, ...]
    reviewers: tuple[str, ...]


def agreement(answers: Sequence[Answer]) -> Agreement:
    """Return what the answers to one clip say together; who is unsure has no say where another is sure.

    Examples
    --------
    >>> from dawnchorus.review.answer_store import Answer
    >>> ada, bea = Answer(1, "Ada", "yes"), Answer(1, "Bea", "no", heard=("wren",))
    >>> agreement([ada]).verdict, agreement([ada, bea]).verdict
    ('yes', 'conflict')
    >>> agreement([ada, bea, Answer(1, "Cleo", "no")]).heard
    ('wren',)
    """
    says = {verdict: [each for each in answers if each.verdict == verdict] for verdict in ("yes", "no")}
    n_yes, n_no = len(says["yes"]), len(says["no"])
    reviewers = tuple(sorted(answer.reviewer for answer in answers))
    if n_yes == n_no:
        return Agreement(CONFLICT if n_yes else "unsure", (), (), reviewers)
    verdict: Agreed = "yes" if n_yes > n_no else "no"
    heard = dict.fromkeys(label for answer in says[verdict] for label in answer.heard)
    boxes = dict.fromkeys(box for answer in says[verdict] for box in answer.boxes)
    return Agreement(verdict, tuple(heard), tuple(boxes), reviewers)
