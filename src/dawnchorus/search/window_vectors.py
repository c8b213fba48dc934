"""Embeddings of many windows at hand: of a folder that ``dawnchorus predict`` wrote, or of predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dawnchorus.batch.earlier_tables import SETTINGS_NAME
from dawnchorus.errors import DataError
from dawnchorus.files import FileVersion, replacing
from dawnchorus.predict.predictions import Predictions
from dawnchorus.predict.window_tables import EMBEDDINGS_NAME
from dawnchorus.wording import counted, first_few, in_line, shown

CACHE_NAME = "embeddings.search"
"""Folder beside ``embeddings.parquet`` with what is made of it once, to be searched."""

_VECTORS_NAME, _NOTE_NAME = "vectors.npy", "made_of.json"
_KEYS = ("filename", "start_s", "end_s", "channel")


class _Group(NamedTuple):
    """A row group of a Parquet file: the place of its first row, and how many it has."""

    number: int
    begin: int
    n_rows: int


@dataclass(frozen=True, repr=False)
class WindowVectors:
    """Embeddings of windows, scaled to length 1, and what they are of.

    Attributes
    ----------
    vectors
        Shape (n_windows, n_features), float32, each of length 1, or 0 where an embedding is 0. Of a folder
        it is mapped into memory, so that opening it reads nothing.
    model
        Fingerprint of the model that made them; None where it is not known.
    table
        Parquet file that tells what they are of; None where ``windows`` holds it.
    windows
        ``filename``, ``start_s``, ``end_s``, and ``channel`` where it is known, a row a window.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> from dawnchorus.search.window_vectors import WindowVectors
    >>> night = dc.load_model("model", n_threads=1).predict("night.wav", embeddings=True)
    >>> found = WindowVectors.of(night)
    >>> found, found.row_of("night.wav", 7.5)
    (WindowVectors(3 windows, 96 features), 1)
    """

    vectors: npt.NDArray[np.float32]
    model: str | None = None
    table: Path | None = None
    windows: pd.DataFrame | None = None

    @classmethod
    def of(cls, given: Predictions | Path | str) -> WindowVectors:
        """Return the embeddings of predictions, or of a folder that was predicted with ``--embeddings``.

        Of a folder they are kept, scaled, in ``embeddings.search`` there, and made anew where the table of
        embeddings is not the one that they were made of.

        Parameters
        ----------
        given
            Predictions with embeddings; the folder; or its ``embeddings.parquet``.

        Raises
        ------
        DataError
            There are no embeddings, or the table cannot be read.
        WriteError
            The folder cannot be written to.
        """
        if isinstance(given, Predictions):
            windows = given.embeddings_frame().index.to_frame(index=False)
            windows = windows.rename(
                columns={"file": "filename", "start_time": "start_s", "end_time": "end_s"}
            )
            return cls(unit_vectors(given.embeddings), windows=windows)
        path = Path(given)
        table = path / EMBEDDINGS_NAME if path.is_dir() else path
        _check_table(table)
        return cls(_mapped(table), _model_of(table.parent), table)

    @property
    def cache(self) -> Path | None:
        """Folder of what is made of the table, None where there is no table."""
        return None if self.table is None else self.table.parent / CACHE_NAME

    def __len__(self) -> int:
        return len(self.vectors)

    def row_of(self, recording: str, at_s: float) -> int:
        """Return the row of the window whose middle is nearest to a time in a recording.

        Raises
        ------
        DataError
            There is no such recording, or it has no window at this time.
        """
        places, rows = [], []
        for begin, windows in self._parts_with(recording):
            is_ours = (windows["filename"] == recording).to_numpy()
            places.append(begin + np.flatnonzero(is_ours))
            rows.append(windows[is_ours])
        if not rows or not sum(map(len, rows)):
            raise DataError(
                f"there are no embeddings of {in_line(recording)}; name one of the recordings as the table "
                f"does, such as {first_few(self._some_recordings())}"
            )
        windows = pd.concat(rows)
        start, end = windows["start_s"].to_numpy(), windows["end_s"].to_numpy()
        if not start.min() <= at_s <= end.max():
            raise DataError(
                f"{in_line(recording)} has windows from {start.min():g} to {end.max():g} s, and none at "
                f"{at_s:g} s"
            )
        return int(np.concatenate(places)[np.abs((start + end) / 2 - at_s).argmin()])

    def windows_at(self, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
        """Return what windows are of, in the order of their rows: ``filename``, ``start_s``, ``end_s``."""
        if self.windows is not None:
            return self.windows.iloc[rows].reset_index(drop=True)
        assert self.table is not None
        parts = []
        with pq.ParquetFile(self.table) as file:
            for group in _groups(file):
                wanted = np.unique(rows[(rows >= group.begin) & (rows < group.begin + group.n_rows)])
                if len(wanted):
                    taken = _keys_of(file, group.number).iloc[wanted - group.begin]
                    parts.append(taken.set_index(pd.Index(wanted)))
        found = pd.concat(parts) if parts else pd.DataFrame(columns=["filename", "start_s", "end_s"])
        return found.loc[rows].reset_index(drop=True)

    def _parts_with(self, recording: str) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield windows among which all of a recording's are, and the row that each part begins at."""
        if self.windows is not None:
            yield 0, self.windows
            return
        assert self.table is not None
        with pq.ParquetFile(self.table) as file:
            column = file.schema_arrow.get_field_index("filename")
            for group in _groups(file):
                statistics = file.metadata.row_group(group.number).column(column).statistics
                is_known = statistics is not None and statistics.has_min_max
                if not is_known or statistics.min <= recording <= statistics.max:
                    yield group.begin, _keys_of(file, group.number)

    def _some_recordings(self) -> list[str]:
        if self.windows is not None:
            return self.windows["filename"].unique().tolist()
        assert self.table is not None
        with pq.ParquetFile(self.table) as file:
            first = _keys_of(file, 0) if file.num_row_groups else pd.DataFrame({"filename": []})
        return first["filename"].unique().tolist()

    def __repr__(self) -> str:
        n_windows, n_features = self.vectors.shape
        return f"WindowVectors({counted(n_windows, 'window')}, {counted(n_features, 'feature')})"


def _check_table(table: Path) -> None:
    """Raise a DataError where a file is no table of embeddings."""
    remedy = "predict with --embeddings, and name the folder that it wrote"
    if not table.is_file():
        raise DataError(f"{table.parent} holds no {table.name}; {remedy}")
    try:
        kind = pq.read_schema(table).field("embedding").type
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are kinds of these
        raise DataError(f"{table} is no table of embeddings: {in_line(str(error))}; {remedy}") from None
    if not pa.types.is_fixed_size_list(kind):
        raise DataError(f"{table}: embedding is of the type {kind}, not a list of one length; {remedy}")


def _model_of(folder: Path) -> str | None:
    """Return the fingerprint in ``predictions.json``, None where there is none."""
    try:
        made = json.loads((folder / SETTINGS_NAME).read_text(encoding="utf-8"))["made"]
        return None if made.get("model") is None else str(made["model"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{folder / SETTINGS_NAME} is damaged ({shown(str(error))}), so that the model of the embeddings "
            "is not known; predict again"
        ) from None


def _mapped(table: Path) -> npt.NDArray[np.float32]:
    """Return the scaled embeddings of a table, mapped into memory; they are written where they are not."""
    version = list(FileVersion.of(table))
    folder = table.parent / CACHE_NAME
    if _made_of(folder) != version:
        with replacing(folder) as temporary, pq.ParquetFile(table) as file:
            temporary.mkdir()
            n_features = file.schema_arrow.field("embedding").type.list_size
            shape = (file.metadata.num_rows, n_features)
            target = np.lib.format.open_memmap(temporary / _VECTORS_NAME, "w+", np.float32, shape)
            for group in _groups(file):
                column = file.read_row_group(group.number, ["embedding"]).column(0).combine_chunks()
                values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, n_features)
                target[group.begin : group.begin + group.n_rows] = unit_vectors(values)
            target.flush()
            del target
            (temporary / _NOTE_NAME).write_text(json.dumps(version), encoding="utf-8")
    vectors: npt.NDArray[np.float32] = np.load(folder / _VECTORS_NAME, mmap_mode="r", allow_pickle=False)
    return vectors


def _made_of(folder: Path) -> list[int] | None:
    """Return the version of the table that a folder was made of; None where it is not whole."""
    try:
        vectors = np.load(folder / _VECTORS_NAME, mmap_mode="r", allow_pickle=False)
        found = json.loads((folder / _NOTE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError):
        return None
    return found if vectors.ndim == 2 and vectors.dtype == np.float32 else None


def _groups(file: pq.ParquetFile) -> Iterator[_Group]:
    begin = 0
    for number in range(file.num_row_groups):
        n_rows = file.metadata.row_group(number).num_rows
        yield _Group(number, begin, n_rows)
        begin += n_rows


def _keys_of(file: pq.ParquetFile, group: int) -> pd.DataFrame:
    columns = [name for name in _KEYS if name in file.schema_arrow.names]
    return file.read_row_group(group, columns).to_pandas()


def unit_vectors(embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return vectors divided by their lengths; those that are 0, or hold what is not finite, become 0.

    Examples
    --------
    >>> import numpy as np
    >>> unit_vectors(np.float32([[3, 4], [0, 0]]))
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    values = np.asarray(embeddings, np.float32)
    values = np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.float32(0))
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(lengths > 0, lengths, 1)).astype(np.float32)
