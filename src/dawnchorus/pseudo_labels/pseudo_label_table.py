"""The file of a pseudo-label table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dawnchorus.errors import DataError
from dawnchorus.formats.buffered_tables import BufferedTable, buffered_table

TABLE_SUFFIXES = (".parquet", ".csv")
ROW_ID, PRIMARY_LABEL, PRIMARY_PROB, FOLD = "row_id", "primary_label", "primary_label_prob", "fold"
_END_DECIMALS = 6  # a fiftieth of a sample at 32 kHz


class PseudoLabelTable:
    """A table that is being written.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import pandas as pd
    >>> with pseudo_label_table(Path("round_1.parquet"), ["owl", "wren"], has_folds=False) as table:
    ...     table.add("night", np.array([5.0, 10.0]), np.float32([[0.1, 0.9], [0.8, 0.2]]))
    >>> pd.read_parquet("round_1.parquet")[["row_id", "primary_label"]]
         row_id primary_label
    0   night_5          wren
    1  night_10           owl
    """

    def __init__(self, table: BufferedTable, labels: Sequence[str]) -> None:
        self._table, self._labels = table, np.array(labels, dtype=object)

    @property
    def n_rows(self) -> int:
        """Rows so far."""
        return self._table.n_rows

    def add(
        self,
        soundscape: str,
        ends_s: npt.NDArray[np.float64],
        probabilities: npt.NDArray[np.float32],
        *,
        fold: int | None = None,
    ) -> None:
        """Write rows of one more soundscape.

        Parameters
        ----------
        soundscape
            Its name in the names of rows.
        ends_s
            Shape (n_rows,): where the rows end, seconds.
        probabilities
            Shape (n_rows, n_classes). Values that rounding has carried past 1 are clipped.
        fold
            The fold of the model that made them, in a table that has folds.
        """
        probabilities = np.clip(probabilities, 0, 1)
        columns = [
            pa.array([f"{soundscape}_{end_text(end_s)}" for end_s in ends_s.tolist()], pa.string()),
            *(pa.array(np.ascontiguousarray(column)) for column in probabilities.T),
            pa.array(self._labels[probabilities.argmax(axis=1)], pa.string()),
            pa.array(probabilities.max(axis=1)),
        ]
        if fold is not None:
            columns.append(pa.array(np.full(len(ends_s), fold, np.int64)))
        self._table.add(columns)


@contextmanager
def pseudo_label_table(path: Path, labels: Sequence[str], *, has_folds: bool) -> Iterator[PseudoLabelTable]:
    """Yield a table at ``path``, Parquet or CSV by its suffix; it is whole when the block ends well.

    Raises
    ------
    DataError
        A class has the name of another column.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with pseudo_label_table(Path("round_1.csv"), ["owl", "wren"], has_folds=True) as table:
    ...     table.add("night", np.array([5.0]), np.float32([[0.25, 0.75]]), fold=1)
    >>> print(Path("round_1.csv").read_text())
    "row_id","owl","wren","primary_label","primary_label_prob","fold"
    "night_5",0.25,0.75,"wren",0.75,1
    """
    taken = {ROW_ID, PRIMARY_LABEL, PRIMARY_PROB, FOLD}.intersection(labels)
    if taken:
        raise DataError(
            f"the class {min(taken)} has the name of another column of the table; name it otherwise and "
            "train the model again"
        )
    schema = pa.schema(
        [
            (ROW_ID, pa.string()),
            *((label, pa.float32()) for label in labels),
            (PRIMARY_LABEL, pa.string()),
            (PRIMARY_PROB, pa.float32()),
            *([(FOLD, pa.int64())] if has_folds else []),
        ]
    )
    with buffered_table(path, schema) as table:
        yield PseudoLabelTable(table, labels)


def end_text(end_s: float) -> str:
    """Return seconds as they stand in a row's name, never with an exponent: 5.0 is ``5``, 2.5 is ``2.5``.

    Examples
    --------
    >>> end_text(5.0), end_text(2.5)
    ('5', '2.5')
    """
    return f"{end_s:.{_END_DECIMALS}f}".rstrip("0").rstrip(".")
