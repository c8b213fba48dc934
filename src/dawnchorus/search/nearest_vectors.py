"""The vectors nearest to others: exact by matrix products, or approximate by an index on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import MissingExtraError
from dawnchorus.files import replacing
from dawnchorus.wording import counted, install_extra

logger = logging.getLogger(__name__)

EXACT_WINDOWS = 2_000_000
"""Up to so many windows an index is not worth its making: to compare them all takes a second or two."""

_BLOCK = 1 << 16  # rows of a matrix product: 64 MB with 256 features
_TRAINED_PER_CELL = 50  # vectors, of which faiss wants 39 or more
_CELLS_ENTERED = 1 / 48  # of all cells; the share of vectors that a query is compared with
_FEWEST_ENTERED = 16
_CANDIDATES = 10  # per vector that is wanted, whose exact similarity decides


class Nearest(NamedTuple):
    """Rows of vectors and their similarity.

    Attributes
    ----------
    rows
        Shape (k,), int64, the most similar first.
    scores
        Shape (k,), float32, the cosine of the angle, in [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> Nearest(np.array([7]), np.float32([0.9])).rows
    array([7])
    """

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


def nearest_exactly(vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int) -> Nearest:
    """Return the ``k`` vectors that are most similar to any of the queries; of equals, the first rows.

    Parameters
    ----------
    vectors
        Shape (n, n_features), float32, of length 1; they are read a block at a time.
    queries
        Shape (n_queries, n_features), float32, of length 1.
    k
        How many; all, where there are fewer.

    Examples
    --------
    >>> import numpy as np
    >>> nearest_exactly(np.float32([[1, 0], [0, 1], [0.6, 0.8]]), np.float32([[0, 1]]), 2)
    Nearest(rows=array([1, 2]), scores=array([1. , 0.8], dtype=float32))
    """
    rows, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for begin in range(0, len(vectors), _BLOCK):
        found = (vectors[begin : begin + _BLOCK] @ queries.T).max(axis=1)
        places = np.flatnonzero(found > scores.min()) if len(scores) >= k else np.arange(len(found))
        rows = np.concatenate([rows, begin + places])
        scores = np.concatenate([scores, found[places]])
        best = _best(scores, rows, k)
        rows, scores = rows[best], scores[best]
    return Nearest(rows, scores)


def nearest_approximately(
    vectors: npt.NDArray[np.float32], queries: npt.NDArray[np.float32], k: int, index_file: Path
) -> Nearest:
    """Return most of the ``k`` nearest vectors, with their exact similarity, by an index that is kept.

    The index is an inverted file of faiss (Jégou, Douze and Schmid 2011): vectors lie in cells, the square
    root of their number, and a query enters the nearest ones. What they hold is in 8 bits a feature there;
    the best candidates are then compared as they are.

    Parameters
    ----------
    vectors, queries, k
        As for :func:`nearest_exactly`.
    index_file
        Where the index is, or is put; one of another number of vectors is made anew.

    Raises
    ------
    MissingExtraError
        faiss is not installed.
    WriteError
        The index cannot be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.search.window_vectors import unit_vectors
    >>> vectors = unit_vectors(np.random.default_rng(0).normal(size=(2000, 8)))
    >>> nearest_approximately(vectors, vectors[[5]], 1, Path("nearest.faiss")).rows
    array([5])
    """
    faiss = _faiss()
    index = _opened(faiss, index_file, vectors)
    if index is None:
        index = _made(faiss, vectors, index_file)
    index.nprobe = max(_FEWEST_ENTERED, round(index.nlist * _CELLS_ENTERED))
    _, found = index.search(np.ascontiguousarray(queries), min(_CANDIDATES * k, len(vectors)))
    candidates = np.unique(found[found >= 0]).astype(np.int64)
    exact = nearest_exactly(vectors[candidates], queries, k)
    return Nearest(candidates[exact.rows], exact.scores)


def is_indexed() -> bool:
    """Return whether faiss, which makes the index, is installed.

    Examples
    --------
    >>> is_indexed() in (True, False)
    True
    """
    try:
        _faiss()
    except MissingExtraError:
        return False
    return True


def _best(scores: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """Return the places of the ``k`` largest scores, the largest first, and the lower row first of equals."""
    if len(scores) > k:
        border = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= border)
    else:
        places = np.arange(len(scores))
    order = np.lexsort((rows[places], -scores[places]))
    chosen: npt.NDArray[np.int64] = places[order][:k]
    return chosen


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError(
            f"an index of so many windows needs faiss, which is not installed: {install_extra('search')}; "
            "or compare them all, with --exact"
        ) from None
    return faiss


def _opened(faiss: ModuleType, path: Path, vectors: npt.NDArray[np.float32]) -> Any:
    """Return the index in a file, mapped into memory; None where it is of other vectors, or damaged."""
    if not path.is_file():
        return None
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except RuntimeError:
        return None
    is_ours = isinstance(index, faiss.IndexIVF) and (index.ntotal, index.d) == vectors.shape
    return index if is_ours else None


def _made(faiss: ModuleType, vectors: npt.NDArray[np.float32], path: Path) -> Any:
    n_vectors, n_features = vectors.shape
    n_cells = max(1, round(n_vectors**0.5))
    logger.info(
        f"making an index of {counted(n_vectors, 'window')}, once, which takes minutes for ten millions; "
        f"it is kept as {path}"
    )
    index = faiss.index_factory(n_features, f"IVF{n_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    n_trained = min(n_vectors, _TRAINED_PER_CELL * n_cells)
    chosen = np.sort(np.random.default_rng(0).choice(n_vectors, n_trained, replace=False))
    index.cp.min_points_per_centroid = 1  # faiss prints a warning on few
    index.train(np.ascontiguousarray(vectors[chosen]))
    for begin in range(0, n_vectors, _BLOCK):
        index.add(np.ascontiguousarray(vectors[begin : begin + _BLOCK]))
    with replacing(path) as temporary:
        faiss.write_index(index, str(temporary))
    return index
