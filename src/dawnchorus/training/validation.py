"""The targets of a fold's validation recordings, and the scores of predictions for them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.errors import DataError
from dawnchorus.metrics import CMAP, MACRO_ROC_AUC, ClassScore, Metric, per_class_table
from dawnchorus.recordings.labels import LabelMap

logger = logging.getLogger(__name__)

WindowTargets = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.float32]]


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
        Number of windows of this process; later ones only give every process the same number, and are not
        counted.
    metrics, main
        The metrics, and the log name of the one that the best epoch is chosen by.
    lenient
        Score 0 where the main metric is not defined, for debug runs.

    Raises
    ------
    DataError
        No class has both outcomes among the recordings, so that no epoch can be scored.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import WaveAllFileDataset, label_map_of, load_recordings
    >>> recordings = load_recordings("recordings").table
    >>> labels = label_map_of(recordings)
    >>> windows = WaveAllFileDataset(recordings, labels, {"segment_len": 1.0})
    >>> validation = Validation(windows, labels, fold=0, n_windows=len(windows))
    >>> validation.add(np.array([0, 0]), np.float32([[0.25, 0.5], [0.75, 0]]))  # two windows of a recording
    >>> validation.take()[0]
    array([0.75, 0.5 ], dtype=float32)
    >>> validation.score(validation.targets)["val_macro_roc_auc"]
    1.0
    """

    def __init__(
        self,
        dataset: WaveAllFileDataset,
        labels: LabelMap,
        *,
        fold: int,
        n_windows: int,
        metrics: Sequence[Metric] = (MACRO_ROC_AUC, CMAP),
        main: str = MACRO_ROC_AUC.log_name,
        lenient: bool = False,
    ) -> None:
        self.targets = dataset.targets
        self.labels = labels
        self.n_windows = n_windows
        self.metrics, self.main = tuple(metrics), main
        self.lenient = lenient
        self._undefined: set[str] = set()
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
        """Add the probabilities of windows, shape (n_windows, n_classes), each with its recording's row."""
        np.maximum.at(self.best, recording, probabilities)

    def n_counted(self, n_windows: int) -> int:
        """Return how many of the next windows count in the validation loss of this process."""
        counted = min(n_windows, self.n_windows - self._n_seen)
        self._n_seen += n_windows
        return counted

    def take(self) -> npt.NDArray[np.float32]:
        """Return the maximum over each recording's windows, (n_recordings, n_classes), and reset it."""
        best, self.best, self._n_seen = self.best, np.zeros_like(self.targets), 0
        return best

    def score(self, probabilities: npt.NDArray[np.float32]) -> dict[str, float]:
        """Return the metrics of probabilities, shape (n_recordings, n_classes), by their log names.

        One that is not defined is NaN, and the reason is logged once. The scores of each class are kept.

        Raises
        ------
        DataError
            The main metric is not defined.
        """
        self.per_class = per_class_table(self.targets, probabilities, self.labels.labels)
        return {metric.log_name: self._value(metric, probabilities) for metric in self.metrics}

    def _value(self, metric: Metric, probabilities: npt.NDArray[np.float32]) -> float:
        try:
            return metric(self.targets, probabilities)
        except DataError as error:
            if metric.log_name == self.main:
                if self.lenient:
                    return 0.0
                raise
            if metric.name not in self._undefined:
                self._undefined.add(metric.name)
                logger.warning("The metric %s is left out where it is not defined: %s", metric.name, error)
            return math.nan
