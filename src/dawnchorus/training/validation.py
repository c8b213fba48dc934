"""What is known of the validation recordings, and what a network says of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.data.labels import LabelMap
from dawnchorus.data.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.errors import DataError
from dawnchorus.metrics import ClassScore, macro_roc_auc, padded_cmap, per_class_table

WindowTargets = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.float32]]


class Scores(NamedTuple):
    """Scores of one epoch on the validation recordings.

    Attributes
    ----------
    macro_roc_auc
        Over the classes with both outcomes.
    cmap
        Padded class-wise mean average precision of BirdCLEF 2023.
    """

    macro_roc_auc: float
    cmap: float


class Validation:
    """The validation recordings of a fold, over an epoch.

    Parameters
    ----------
    dataset
        Their windows.
    labels
        Classes of the model.
    fold
        The fold, for messages.
    n_windows
        Windows of this process; what it goes through after them is there to give every process as many.
    lenient
        Score 0 where no class has both outcomes, for debug runs.

    Raises
    ------
    DataError
        No class has both outcomes among the recordings, and so there is nothing to choose an epoch by.
    """

    def __init__(
        self,
        dataset: WaveAllFileDataset,
        labels: LabelMap,
        *,
        fold: int,
        n_windows: int,
        lenient: bool = False,
    ) -> None:
        self.targets = dataset.targets
        self.labels = labels
        self.n_windows = n_windows
        self.lenient = lenient
        self.window_targets: WindowTargets = dataset.targets_at
        self.best = np.zeros_like(self.targets)
        self._n_seen = 0
        self.per_class: list[ClassScore] = []
        present = self.targets.any(0) & ~self.targets.all(0)
        if not present.any() and not lenient:
            raise DataError(
                f"fold {fold} cannot be scored: none of the {len(labels)} classes is in some of its "
                f"{len(self.targets)} validation recordings and missing in others; give more recordings or "
                "recordists, or fewer folds"
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Validation:
        """Return itself: an averaged copy of a network is validated on the same recordings."""
        return self

    def add(self, recording: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]) -> None:
        """Note the probabilities of windows, shape (n_windows, n_classes), each with its recording's row."""
        np.maximum.at(self.best, recording, probabilities)

    def n_counted(self, n_windows: int) -> int:
        """Return how many of the next windows no other process goes through as well."""
        counted = min(n_windows, self.n_windows - self._n_seen)
        self._n_seen += n_windows
        return counted

    def take(self) -> npt.NDArray[np.float32]:
        """Return the maximum over each recording's windows, (n_recordings, n_classes), and begin anew."""
        best, self.best, self._n_seen = self.best, np.zeros_like(self.targets), 0
        return best

    def score(self, probabilities: npt.NDArray[np.float32]) -> Scores:
        """Return the scores of probabilities, shape (n_recordings, n_classes), and keep each class's."""
        self.per_class = per_class_table(self.targets, probabilities, self.labels.labels)
        try:
            area = macro_roc_auc(self.targets, probabilities)
        except DataError:
            if not self.lenient:
                raise
            area = math.nan
        return Scores(0.0 if math.isnan(area) else area, padded_cmap(self.targets, probabilities))
