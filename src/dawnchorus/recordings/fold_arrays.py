"""Reader of folds in a NumPy file: one for each row of a table, or the rows of each fold."""

from __future__ import annotations

from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DataError
from dawnchorus.formats.array_archives import read_array


def read_folds(path: Path, n_rows: int, source: Path) -> list[str]:
    """Return the fold of each row of a table.

    Parameters
    ----------
    path
        ``.npy`` with a whole number or a name for each row; or, as scikit-learn's splitters give them and the
        published system saves them, with a pair for each fold: the numbers of the rows for training, and
        those for validation. A row that no fold validates is in fold -1.
    n_rows
        Number of rows.
    source
        The table, for messages.

    Raises
    ------
    DataError
        The file cannot be read without running code, or holds no folds of these rows.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> pairs = np.array([[[1, 2], [0]], [[0, 2], [1]]], dtype=object)
    >>> np.save("split.npy", pairs, allow_pickle=True)
    >>> read_folds(Path("split.npy"), 3, source=Path("train.csv"))
    ['0', '1', '-1']
    """
    array = read_array(path, remedy="save an array with the fold of each row of the table with numpy.save")
    if array.ndim != 1 or not all(isinstance(fold, int | str) for fold in array.tolist()):
        return _folds_of_split(array, path, n_rows, source)
    if len(array) != n_rows:
        raise DataError(
            f"{path} holds {len(array)} folds, and {source} has {n_rows} rows; give the table that the folds "
            "were made for"
        )
    return [str(fold) for fold in array.tolist()]


def _folds_of_split(array: npt.NDArray[Any], path: Path, n_rows: int, source: Path) -> list[str]:
    """Return the fold that validates each row, from the rows for training and validation of each fold."""
    folds = np.full(n_rows, -1)
    pairs = list(array) if array.ndim and len(array) <= n_rows else []
    for number, pair in enumerate(pairs):
        try:
            training, validation = (np.fromiter(map(index, rows), np.int64) for rows in pair)
        except (TypeError, ValueError, OverflowError):
            break
        rows = np.concatenate([training, validation])
        if len(rows) != n_rows or not np.array_equal(np.sort(rows), np.arange(n_rows)):
            raise DataError(
                f"{path}: fold {number} has {len(training)} rows for training and {len(validation)} for "
                f"validation, which are not the {n_rows} rows of {source}, each once; give the table that "
                "the folds were made for"
            )
        if (folds[validation] != -1).any():
            raise DataError(
                f"{path}: fold {number} validates rows of an earlier one; each may be in one fold"
            )
        folds[validation] = number
    else:
        if pairs:
            return [str(fold) for fold in folds]
    raise DataError(
        f"{path} holds {array.dtype} of shape {array.shape}; legal is a whole number or a name for each row "
        f"of {source}, shape ({n_rows},), or a pair of the rows for training and validation for each fold, "
        "of which there are no more than rows"
    )
