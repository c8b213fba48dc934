"""Out-of-fold predictions of labelled recordings, as soft targets of their clips.

A table is one of pseudo-labels (:mod:`dawnchorus.datasets.pseudo_clips`) whose rows are stretches of the
labelled recordings, each predicted by a model that was not trained on it; ``fold`` names that model.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from dawnchorus.config import Settings
from dawnchorus.datasets.pseudo_clips import read_pseudo_labels
from dawnchorus.errors import DataError
from dawnchorus.recordings.labels import LabelMap

logger = logging.getLogger(__name__)

_SURE = 0.3


class OutOfFoldTargetSettings(Settings):
    """Settings of targets from out-of-fold predictions.

    Attributes
    ----------
    table
        ``.parquet`` or ``.csv``, as ``dawnchorus pseudo-label RUN RECORDINGS --out-of-fold`` writes it.
    min_prob
        A prediction is accepted as the target of a clip where its largest probability is above this;
        elsewhere the clip keeps its labels.
    row_s
        Length of a row, seconds.
    alpha
        Weight of the prediction in the target; the labels have the rest. 1 replaces them.
    sharpened
        Whether a prediction p becomes min(p·[p > 0.3] + p², 1) first, and every one is accepted
        (BirdCLEF+ 2025, fifth place, with ``alpha`` 0.7).

    Examples
    --------
    >>> OutOfFoldTargetSettings(table="own.parquet").min_prob
    0.5
    """

    table: Path
    min_prob: float = Field(default=0.5, ge=0, lt=1)
    row_s: float = Field(default=5.0, gt=0)
    alpha: float = Field(default=1.0, ge=0, le=1)
    sharpened: bool = False


class OutOfFoldTargets:
    """The out-of-fold predictions of recordings, in rows along their time.

    Parameters
    ----------
    settings
        The table, and which predictions are accepted.
    recordings
        Recordings table; a row of predictions names a recording by its file name without suffix.
    labels
        Classes of the model.
    fold
        Fold that is left out of training: what its own model predicted is not used.

    Raises
    ------
    DataError
        The table cannot be read, or has no row of these recordings.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> rows = pd.DataFrame({"row_id": ["XC1_5", "XC1_10"], "owl": [0.9, 0.1], "fold": [1, 1]})
    >>> rows.to_csv("own.csv", index=False)
    >>> settings = OutOfFoldTargetSettings(table="own.csv")
    >>> recordings = pd.DataFrame({"filename": ["owl/XC1.ogg"]})
    >>> targets = OutOfFoldTargets(settings, recordings, LabelMap(("owl",)), fold=0)
    >>> targets.target(0, 1.0, 6.0).round(2)  # four of its five seconds are of the first row
    array([0.74], dtype=float32)
    >>> targets.target(0, 4.0, 9.0) is None  # 0.26 is not accepted
    True
    """

    def __init__(
        self, settings: OutOfFoldTargetSettings, recordings: pd.DataFrame, labels: LabelMap, *, fold: int
    ) -> None:
        self.settings = settings
        table = read_pseudo_labels(settings.table, labels, needs_fold=True)
        table = table[table["fold"] != fold]
        stems = pd.Series([Path(name).stem for name in recordings["filename"]], dtype=object)
        unique = ~stems.duplicated(keep=False)  # one of several cannot be told by its name
        number_of = dict(zip(stems[unique], stems.index[unique], strict=True))
        table = table[table["soundscape"].isin(set(number_of))]
        if table.empty:
            raise DataError(
                f"{settings.table} has no row of the {len(recordings)} recordings by another fold's model; "
                "make it with dawnchorus pseudo-label RUN RECORDINGS --out-of-fold, of a run with these folds"
            )
        self._end_s = table["end_s"].to_numpy()
        self._probabilities = table[list(labels.labels)].to_numpy(np.float32)
        by_recording = table.groupby(table["soundscape"].map(number_of).to_numpy())
        self._rows_of: dict[int, npt.NDArray[np.int64]] = dict(by_recording.indices)
        logger.info(f"Out-of-fold targets: {len(self._rows_of)} of {len(recordings)} recordings have some")

    def blended(
        self, predicted: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return ``alpha`` · predicted + (1 − ``alpha``) · labels, shapes (n_classes,).

        Labels that are unknown (-1) stay so, unless ``alpha`` is 1, which replaces all.
        """
        if self.settings.alpha == 1:
            return predicted
        alpha = np.float32(self.settings.alpha)
        return np.where(labels < 0, labels, alpha * predicted + (1 - alpha) * labels)

    def target(self, recording: int, start_s: float, end_s: float) -> npt.NDArray[np.float32] | None:
        """Return the mean of the rows that a clip overlaps, weighted by the overlap, shape (n_classes,).

        None where it overlaps none, or the prediction is not accepted.
        """
        rows = self._rows_of.get(recording)
        if rows is None:
            return None
        ends = self._end_s[rows]
        overlap = np.minimum(ends, end_s) - np.maximum(ends - self.settings.row_s, start_s)
        weights = np.maximum(overlap, 0).astype(np.float32)
        if not weights.any():
            return None
        target = weights @ self._probabilities[rows] / weights.sum()
        if self.settings.sharpened:
            return sharpened(target)
        return target if target.max() > self.settings.min_prob else None


def sharpened(predicted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return min(p·[p > 0.3] + p², 1): sure predictions become surer, others fade. Shape as given.

    Examples
    --------
    >>> import numpy as np
    >>> sharpened(np.float32([0.2, 0.5, 0.9])).round(2)
    array([0.04, 0.75, 1.  ], dtype=float32)
    """
    sure = np.where(predicted > np.float32(_SURE), predicted, np.float32(0))
    return np.minimum(sure + predicted**2, np.float32(1))
