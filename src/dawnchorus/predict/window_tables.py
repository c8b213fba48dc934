"""Parquet tables of windows: probabilities or embeddings, each window a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.errors import DataError
from dawnchorus.files import legible
from dawnchorus.formats.buffered_tables import BufferedTable, buffered_table
from dawnchorus.formats.taxonomy import Taxonomy
from dawnchorus.formats.whole_tables import TABLE_ERRORS
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.wording import in_line

WINDOWS_NAME = "windows.parquet"
EMBEDDINGS_NAME = "embeddings.parquet"
_TAXONOMY_KEY = b"dawnchorus.taxonomy"


class WindowTable:
    """A Parquet file with ``filename``, ``start_s``, ``end_s`` and a column a class.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9, 0.25]]), 32_000)
    >>> with window_table(Path("windows.parquet"), ["owl", "wren"]) as table:
    ...     table.add("night.wav", windows)
    >>> pd.read_parquet("windows.parquet").iloc[0].to_dict()
    {'filename': 'night.wav', 'start_s': 0.0, 'end_s': 5.0, 'owl': 0.8999999761581421, 'wren': 0.25}
    """

    def __init__(self, table: BufferedTable) -> None:
        self.table = table

    def add(self, filename: str, predictions: WindowPredictions) -> None:
        """Write the windows of one more recording."""
        self.table.add([*_keys(filename, predictions), *self._values(predictions)])

    def _values(self, predictions: WindowPredictions) -> list[pa.Array]:
        return [pa.array(np.ascontiguousarray(column)) for column in predictions.probabilities.T]


class EmbeddingTable(WindowTable):
    """A Parquet file with ``filename``, ``start_s``, ``end_s`` and ``embedding``, a list of numbers.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> scores, embeddings = np.float32([[0.9, 0.25]]), np.zeros((1, 64), np.float32)
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), scores, 32_000, embeddings)
    >>> with embedding_table(Path("embeddings.parquet"), windows) as table:
    ...     table.add("night.wav", windows)
    >>> len(pd.read_parquet("embeddings.parquet")["embedding"][0])
    64
    """

    def _values(self, predictions: WindowPredictions) -> list[pa.Array]:
        assert predictions.embeddings is not None
        values = pa.array(predictions.embeddings.ravel())
        return [pa.FixedSizeListArray.from_arrays(values, type=self.table.schema.field("embedding").type)]


@contextmanager
def window_table(
    path: Path, labels: Sequence[str], *, has_channels: bool = False, taxonomy: Taxonomy | None = None
) -> Iterator[WindowTable]:
    """Yield a table of probabilities that takes its place at ``path`` when the block ends well.

    With ``has_channels`` it has a column ``channel`` behind ``end_s``, and all windows have one. The names of
    the classes in ``taxonomy`` stand in the metadata of its schema.

    Examples
    --------
    >>> from pathlib import Path
    >>> with window_table(Path("windows.parquet"), ["owl", "wren"]) as table:
    ...     pass  # table.add(...) for each recording
    >>> Path("windows.parquet").is_file()
    True
    """
    schema = _schema([(label, pa.float32()) for label in labels], has_channels=has_channels)
    if taxonomy:
        names = {label: dict(taxonomy[label]) for label in labels if label in taxonomy}
        schema = schema.with_metadata({_TAXONOMY_KEY: json.dumps(names, sort_keys=True)})
    with buffered_table(path, schema) as table:
        yield WindowTable(table)


def read_taxonomy_of_windows(path: Path) -> dict[str, dict[str, str]]:
    """Return what a table of windows tells of the names of its classes; nothing where there is no such table.

    Examples
    --------
    >>> from pathlib import Path
    >>> names = {"owl": {"scientific_name": "Strix aluco"}}
    >>> with window_table(Path("windows.parquet"), ["owl", "wren"], taxonomy=names):
    ...     pass
    >>> read_taxonomy_of_windows(Path("windows.parquet"))
    {'owl': {'scientific_name': 'Strix aluco'}}
    """
    try:
        found = json.loads((pq.read_schema(path).metadata or {}).get(_TAXONOMY_KEY, b"{}"))
    except (OSError, ValueError):  # pyarrow's own errors are kinds of these
        return {}
    given = found.items() if isinstance(found, dict) else ()
    return {
        label: {key: name for key, name in names.items() if isinstance(name, str)}
        for label, names in given
        if isinstance(names, dict)
    }


@contextmanager
def embedding_table(path: Path, example: WindowPredictions) -> Iterator[EmbeddingTable]:
    """Yield a table of embeddings like the example's; it takes its place when the block ends well.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> scores, embeddings = np.float32([[0.9, 0.25]]), np.zeros((1, 64), np.float32)
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), scores, 32_000, embeddings)
    >>> with embedding_table(Path("embeddings.parquet"), windows) as table:
    ...     table.add("night.wav", windows)
    >>> Path("embeddings.parquet").is_file()
    True
    """
    assert example.embeddings is not None
    n_features = example.embeddings.shape[1]
    of_each = pa.field("element", pa.float32())  # the name that Parquet gives it when it is read
    columns = [("embedding", pa.list_(of_each, n_features))]
    with buffered_table(path, _schema(columns, has_channels=example.channels is not None)) as table:
        yield EmbeddingTable(table)


def read_windows(path: Path, label: str, filenames: Iterable[str]) -> pd.DataFrame:
    """Return ``filename``, ``start_s``, ``end_s`` and ``probability`` of one class in some recordings.

    ``channel`` stands between where the table has it.

    Raises
    ------
    DataError
        The table cannot be read, or has no such class.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9, 0.25]]), 32_000)
    >>> with window_table(Path("windows.parquet"), ["owl", "wren"]) as table:
    ...     table.add("night.wav", windows)
    >>> read_windows(Path("windows.parquet"), "wren", ["night.wav"])["probability"].tolist()
    [0.25]
    """
    try:
        has_channels = "channel" in pq.read_schema(path).names
        columns = ["filename", "start_s", "end_s", *(["channel"] if has_channels else []), label]
        table = pq.read_table(path, columns=columns, filters=[("filename", "in", list(filenames))])
        return table.rename_columns([*columns[:-1], "probability"]).to_pandas()
    except TABLE_ERRORS as error:
        raise DataError(f"{path} cannot be read for {label}: {in_line(str(error))}") from None


def _schema(columns: list[tuple[str, pa.DataType]], *, has_channels: bool) -> pa.Schema:
    keys = [("filename", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())]
    return pa.schema([*keys, *([("channel", pa.int64())] if has_channels else []), *columns])


def join_windows(old: Path, new: Path, parts: Iterable[tuple[bool, int, int]], path: Path) -> None:
    """Write a table of the windows of recordings in two such tables, as if it had been written at once.

    Parameters
    ----------
    old, new
        The tables of windows or of embeddings.
    parts
        For each recording, in the order of the result: whether it is in ``new``, and the place of its first
        row there or in ``old``, and the number of its rows.
    path
        Where the table goes.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9]]), 32_000)
    >>> for name in ("a.wav", "b.wav"):
    ...     with window_table(Path(f"{name}.parquet"), ["owl"]) as table:
    ...         table.add(name, windows)
    >>> join_windows(
    ...     Path("a.wav.parquet"), Path("b.wav.parquet"), [(False, 0, 1), (True, 0, 1)], Path("both.parquet")
    ... )
    >>> pd.read_parquet("both.parquet")["filename"].tolist()
    ['a.wav', 'b.wav']
    """
    with pq.ParquetFile(old) as old_file, pq.ParquetFile(new) as new_file:
        rows = (_Rows(old_file), _Rows(new_file))
        with buffered_table(path, old_file.schema_arrow) as table:
            for is_new, start, n_rows in parts:
                table.add_rows(rows[is_new].take(start, n_rows))


class _Rows:
    """Rows of a Parquet file, taken from its beginning to its end, a row group in memory at a time."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self.file = file
        self.group, self.begin, self.rows = -1, 0, file.schema_arrow.empty_table()

    def take(self, start: int, n_rows: int) -> pa.Table:
        while start >= self.begin + self.rows.num_rows:
            self.group, self.begin = self.group + 1, self.begin + self.rows.num_rows
            self.rows = self.file.read_row_group(self.group).combine_chunks()
        taken = self.rows.slice(start - self.begin, n_rows)
        missing = n_rows - taken.num_rows
        return pa.concat_tables([taken, self.take(start + taken.num_rows, missing)]) if missing else taken


def _keys(filename: str, predictions: WindowPredictions) -> list[pa.Array]:
    """Return the columns that every row begins with; times are whole samples divided by the sample rate."""

    def seconds(samples: npt.NDArray[np.int64]) -> pa.Array:
        return pa.array(samples / predictions.sample_rate)

    filenames = pa.array([legible(filename)] * len(predictions.starts), pa.string())
    channels = [] if predictions.channels is None else [pa.array(predictions.channels)]
    return [filenames, seconds(predictions.starts), seconds(predictions.stops), *channels]
