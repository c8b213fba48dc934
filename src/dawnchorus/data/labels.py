"""Class names ↔ indices, and the targets made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DataError


@dataclass(frozen=True)
class LabelMap:
    """The classes of a model, in the order of its outputs."""

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise DataError(f"labels stand twice in the label map: {', '.join(twice)}; each may stand once")

    @classmethod
    def of(cls, labels: Iterable[str]) -> LabelMap:
        """Return the map of all distinct ``labels``, sorted."""
        return cls(tuple(sorted(set(labels))))

    def __len__(self) -> int:
        return len(self.labels)

    def index(self, label: str) -> int:
        """Return the output that stands for ``label``."""
        try:
            return self.labels.index(label)
        except ValueError:
            raise DataError(f"{label!r} is not one of the {len(self)} labels of this model") from None

    def multi_hot(self, labels: Iterable[str]) -> npt.NDArray[np.float32]:
        """Return the target of a recording, shape (n_classes,), 1 for each of ``labels``, else 0.

        A label that the map does not hold is left out: a background species that nobody trains on
        says nothing about the others. ``nocall``, no label at all, is all zeros.
        """
        target = np.zeros(len(self), dtype=np.float32)
        for label in labels:
            if label in self.labels:
                target[self.labels.index(label)] = 1.0
        return target


def smooth_target(target: npt.NDArray[np.float32], amount: float) -> npt.NDArray[np.float32]:
    """Return ``target · (1 − amount) + amount · sum(target) / n_classes``, shape (n_classes,)."""
    if amount == 0:
        return target
    return target * np.float32(1 - amount) + np.float32(amount * target.sum() / len(target))
