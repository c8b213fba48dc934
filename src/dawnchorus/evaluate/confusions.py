"""Mistakes of out-of-fold predictions: species taken for others, and the recordings that are most wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

RELIABILITY_NAME, CONFUSIONS_NAME = "oof_reliability.csv", "oof_confusions.csv"
CALIBRATED_RELIABILITY_NAME = "oof_reliability_calibrated.csv"
MOST_WRONG_NAME = "oof_most_wrong.csv"
CONFUSION_COLUMNS = ("label", "taken_for", "n_taken", "n_recordings", "fraction")
WRONG_COLUMNS = ("filename", "primary_label", "fold", "probability", "taken_for", "its_probability")


def confusions(
    predictions: pd.DataFrame, targets: npt.NDArray[np.float32], labels: Sequence[str]
) -> pd.DataFrame:
    """Return which species are taken for which: the surest class of each recording, where it is not there.

    Parameters
    ----------
    predictions
        Table with ``primary_label`` and a column for each label, probabilities in [0, 1].
    targets
        0, 1, or below 0 where unknown; shape (n_recordings, n_labels).
    labels
        Classes, in the order of the targets.

    Returns
    -------
    pandas.DataFrame
        label (the primary label), taken_for, n_taken (recordings), n_recordings (all with that primary
        label), fraction (of them, in [0, 1]); the most frequent first. A class that is present or unknown in
        a recording is no mistake there, and recordings of no class count nowhere.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> table = pd.DataFrame({"primary_label": ["owl", "owl", "wren"], "owl": [0.9, 0.2, 0.1]})
    >>> table["wren"] = [0.3, 0.6, 0.8]
    >>> confusions(table, np.array([[1, 0], [1, 0], [0, 1]]), ["owl", "wren"])
      label taken_for  n_taken  n_recordings  fraction
    0   owl      wren        1             2    0.5
    """
    primary = predictions["primary_label"].to_numpy()
    surest = predictions[list(labels)].to_numpy().argmax(axis=1)
    is_wrong = targets[np.arange(len(targets)), surest] == 0
    counted = np.isin(primary, labels)
    pairs = pd.DataFrame({"label": primary, "taken_for": np.array(labels, dtype=object)[surest]})
    found = pairs[is_wrong & counted].value_counts().rename("n_taken").reset_index()
    found["n_recordings"] = found["label"].map(pd.Series(primary[counted]).value_counts()).astype("int64")
    found["fraction"] = found["n_taken"] / found["n_recordings"]
    found = found.sort_values(["n_taken", "fraction", "label"], ascending=[False, False, True], kind="stable")
    return found[list(CONFUSION_COLUMNS)].reset_index(drop=True)


def most_wrong(
    predictions: pd.DataFrame, targets: npt.NDArray[np.float32], labels: Sequence[str], *, n: int = 8
) -> pd.DataFrame:
    """Return the recordings whose surest absent class exceeds their surest present one by most.

    Either the model is wrong, or the label.

    Parameters
    ----------
    predictions
        Table with ``filename``, ``primary_label``, ``fold`` and a column for each label.
    targets
        0, 1, or below 0 where unknown; shape (n_recordings, n_labels).
    labels
        Classes, in the order of the targets.
    n
        Number of recordings at most.

    Returns
    -------
    pandas.DataFrame
        filename, primary_label, fold, probability (of the surest class that is present), taken_for, and
        its_probability; the most wrong first.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> table = pd.DataFrame({"filename": ["a.ogg", "b.ogg"], "primary_label": "owl", "fold": 0})
    >>> table[["owl", "wren"]] = [[0.9, 0.3], [0.2, 0.6]]
    >>> most_wrong(table, np.array([[1, 0], [1, 0]]), ["owl", "wren"])
      filename primary_label  fold  probability taken_for  its_probability
    0    b.ogg           owl     0          0.2      wren              0.6
    """
    scores = predictions[list(labels)].to_numpy()
    present = np.where(targets > 0, scores, -np.inf).max(axis=1)
    absent = np.where(targets == 0, scores, -np.inf)
    margin = absent.max(axis=1) - present
    rows = [row for row in np.argsort(-margin, kind="stable") if 0 < margin[row] < np.inf][:n]
    found = predictions.iloc[rows][["filename", "primary_label", "fold"]].reset_index(drop=True)
    found["probability"] = present[rows]
    found["taken_for"] = [labels[column] for column in absent[rows].argmax(axis=1)] if rows else []
    found["its_probability"] = absent[rows].max(axis=1)
    return found[list(WRONG_COLUMNS)]
