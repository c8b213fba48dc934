"""Tables that are too large for the memory: files written a few thousand rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dawnchorus.files import replacing

_ROWS_AT_ONCE = 4096


class BufferedTable:
    """A table that is being written.

    Attributes
    ----------
    n_rows
        Rows so far.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pyarrow as pa
    >>> with buffered_table(Path("scores.csv"), pa.schema([("label", pa.string())])) as table:
    ...     table.add([pa.array(["owl", "wren"])])
    >>> table.n_rows
    2
    """

    def __init__(self, writer: pq.ParquetWriter | pa_csv.CSVWriter, schema: pa.Schema) -> None:
        self.writer, self.schema = writer, schema
        self.n_rows = 0
        self._waiting: list[pa.Table] = []

    def add(self, columns: Sequence[pa.Array]) -> None:
        """Write more rows, given as columns in the order of the schema."""
        self.add_rows(pa.table(list(columns), schema=self.schema))

    def add_rows(self, rows: pa.Table) -> None:
        """Write more rows, given as another such table."""
        self._waiting.append(rows)
        self.n_rows += rows.num_rows
        if sum(waiting.num_rows for waiting in self._waiting) >= _ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows."""
        if self._waiting:
            # In one piece, so that the bytes do not depend on the pieces.
            self.writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []


@contextmanager
def buffered_table(path: Path, schema: pa.Schema) -> Iterator[BufferedTable]:
    """Yield a table that takes its place at ``path`` when the block ends well: CSV by its suffix, or Parquet.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> import pyarrow as pa
    >>> with buffered_table(Path("scores.parquet"), pa.schema([("score", pa.float64())])) as table:
    ...     table.add([pa.array([0.5])])
    >>> pd.read_parquet("scores.parquet")["score"].tolist()
    [0.5]
    """
    kind = pa_csv.CSVWriter if path.suffix.lower() == ".csv" else pq.ParquetWriter
    with replacing(path) as temporary, kind(temporary, schema) as writer:
        table = BufferedTable(writer, schema)
        yield table
        table.flush()
