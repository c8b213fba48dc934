"""A survey of a table of pseudo-labels: counts a class, the surest windows, the most doubtful ones."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dawnchorus.errors import DataError
from dawnchorus.formats.whole_tables import TABLE_ERRORS
from dawnchorus.pseudo_labels.pseudo_label_table import FOLD, PRIMARY_LABEL, PRIMARY_PROB, ROW_ID
from dawnchorus.wording import in_line

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
MAIN_THRESHOLD = 0.5
"""Probability above which training keeps rows by default."""

N_BINS = 20
N_DOUBTFUL = 12
_MOST_DOUBTFUL_PROB = 0.5
_READ = [ROW_ID, PRIMARY_LABEL, PRIMARY_PROB]


class LabelledWindow(NamedTuple):
    """A row: its soundscape, where it ends in seconds, its primary label and the probability of that.

    Examples
    --------
    >>> LabelledWindow("night", 5.0, "owl", 0.93).label
    'owl'
    """

    soundscape: str
    end_s: float
    label: str
    probability: float


class Survey(NamedTuple):
    """The survey of a table.

    Attributes
    ----------
    labels
        The classes.
    n_rows
        All rows.
    n_above
        Rows whose primary label is the class and whose probability is above each of ``THRESHOLDS``, shape
        (n_classes, n_thresholds), int64.
    histogram
        Rows by their probability, in equal steps from 0 to 1, shape (N_BINS,), int64.
    surest
        The surest row of each class that has one, the surest first.
    doubtful
        The rows nearest to 0.5, at most ``N_DOUBTFUL``, the nearest first.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
    >>> with pseudo_label_table(Path("round_1.csv"), ["owl", "wren"], has_folds=False) as table:
    ...     table.add("night", np.array([5.0, 10.0]), np.float32([[0.1, 0.95], [0.05, 0.6]]))
    >>> survey = survey_table(Path("round_1.csv"))
    >>> survey.n_rows, survey.surest[0].label
    (2, 'wren')
    """

    labels: tuple[str, ...]
    n_rows: int
    n_above: npt.NDArray[np.int64]
    histogram: npt.NDArray[np.int64]
    surest: list[LabelledWindow]
    doubtful: list[LabelledWindow]

    @property
    def n_labels_kept(self) -> int:
        """Classes with a row above :data:`MAIN_THRESHOLD`."""
        return int((self.n_above[:, THRESHOLDS.index(MAIN_THRESHOLD)] > 0).sum())


def survey_table(table: Path) -> Survey:
    """Return the survey of a table of pseudo-labels, read a few thousand rows at a time.

    Raises
    ------
    DataError
        The table cannot be read, lacks a column, or has a value that no such table has.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
    >>> with pseudo_label_table(Path("round_1.csv"), ["owl", "wren"], has_folds=False) as table:
    ...     table.add("night", np.array([5.0, 10.0]), np.float32([[0.1, 0.95], [0.05, 0.6]]))
    >>> survey_table(Path("round_1.csv")).histogram.sum().item()
    2
    """
    try:
        return _surveyed(table)
    except (*TABLE_ERRORS, TypeError) as error:
        raise DataError(
            f"the pseudo-labels {table} cannot be read: {in_line(str(error))}; make the table again"
        ) from None


def _surveyed(table: Path) -> Survey:
    labels = tuple(name for name in _columns(table) if name not in (*_READ, FOLD))
    n_above = np.zeros((len(labels), len(THRESHOLDS)), np.int64)
    histogram = np.zeros(N_BINS, np.int64)
    edges = np.linspace(0, 1, N_BINS + 1)
    surest: dict[str, LabelledWindow] = {}
    doubtful: list[LabelledWindow] = []
    for batch in _batches(table):
        classes = pc.index_in(batch.column(PRIMARY_LABEL), value_set=pa.array(labels))
        if batch.column(PRIMARY_PROB).null_count or classes.null_count:
            raise ValueError(f"a {PRIMARY_LABEL} is no column of the table, or has no probability")
        classes = classes.to_numpy(zero_copy_only=False)
        probabilities = batch.column(PRIMARY_PROB).to_numpy(zero_copy_only=False).astype(np.float32)
        histogram += np.histogram(probabilities, edges)[0]
        for column, threshold in enumerate(THRESHOLDS):
            above = classes[probabilities > np.float32(threshold)]
            n_above[:, column] += np.bincount(above, minlength=len(labels))
        falling = np.argsort(-probabilities, kind="stable")
        _, first = np.unique(classes[falling], return_index=True)
        for best in (_window(batch, row) for row in falling[first].tolist()):
            if best.label not in surest or best.probability > surest[best.label].probability:
                surest[best.label] = best
        nearest = np.argsort(np.abs(probabilities - np.float32(_MOST_DOUBTFUL_PROB)), kind="stable")
        doubtful += [_window(batch, row) for row in nearest[:N_DOUBTFUL].tolist()]
        doubtful = heapq.nsmallest(N_DOUBTFUL, doubtful, key=_doubt)
    ranked = sorted(surest.values(), key=lambda window: -window.probability)
    return Survey(labels, int(histogram.sum()), n_above, histogram, ranked, doubtful)


def _doubt(window: LabelledWindow) -> float:
    """Return the distance of a window's probability from 0.5; the smallest is the most doubtful."""
    return abs(window.probability - _MOST_DOUBTFUL_PROB)


def _columns(table: Path) -> list[str]:
    if table.suffix.lower() == ".parquet":
        names = pq.read_schema(table).names
    else:
        with pa_csv.open_csv(table) as reader:
            names = reader.schema.names
    return list(map(str, names))


def _batches(table: Path) -> Iterator[Any]:
    """Yield the columns that the survey needs, in batches."""
    if table.suffix.lower() == ".parquet":
        with pq.ParquetFile(table) as file:
            yield from file.iter_batches(columns=_READ)
        return
    types = {ROW_ID: pa.string(), PRIMARY_LABEL: pa.string(), PRIMARY_PROB: pa.float32()}
    options = pa_csv.ConvertOptions(include_columns=_READ, column_types=types)
    with pa_csv.open_csv(table, convert_options=options) as reader:
        yield from reader


def _window(batch: Any, row: int) -> LabelledWindow:
    row_id, label, probability = (batch.column(name)[row].as_py() for name in _READ)
    soundscape, _, end_s = str(row_id).rpartition("_")
    return LabelledWindow(soundscape, float(end_s), label, probability)
