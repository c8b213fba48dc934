"""Clusters of what no class explains: windows of low probabilities whose embeddings lie together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.decomposition import PCA

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.predict.predictions import Predictions
from dawnchorus.predict.window_tables import WINDOWS_NAME
from dawnchorus.search.nearest_vectors import Nearest
from dawnchorus.search.similar_windows import queue_of
from dawnchorus.search.window_vectors import WindowVectors
from dawnchorus.wording import counted

_KEYS = frozenset({"filename", "start_s", "end_s", "channel"})
_COMPONENTS = 32  # HDBSCAN finds no dense places in hundreds of dimensions


@dataclass(frozen=True)
class ClusterSettings:
    """Rules for clusters.

    Attributes
    ----------
    below
        Windows count whose highest probability is below this.
    n_clusters
        With k-means, how many clusters; None lets HDBSCAN (Campello, Moulavi and Sander 2013) find dense ones
        and leave out what lies in none.
    smallest
        With HDBSCAN, windows of a cluster at least.
    per_cluster
        Windows that are listed of each cluster, the most central.
    at_most
        Windows that are clustered at most; more are sampled.
    seed
        Of the sample and of k-means.

    Raises
    ------
    ConfigError
        A value is out of its range.

    Examples
    --------
    >>> ClusterSettings(below=0.2, n_clusters=10).method
    'k-means'
    """

    below: float = 0.3
    n_clusters: int | None = None
    smallest: int = 10
    per_cluster: int = 5
    at_most: int = 20_000
    seed: int = 42

    def __post_init__(self) -> None:
        if not 0 < self.below <= 1:
            raise ConfigError(f"below is {self.below:g}; it must be above 0, and 1 at most")
        for name, least in (("n_clusters", 1), ("smallest", 2), ("per_cluster", 1), ("at_most", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; it must be {least} or more")

    @property
    def method(self) -> Literal["k-means", "HDBSCAN"]:
        """How clusters are found."""
        return "HDBSCAN" if self.n_clusters is None else "k-means"


def find_clusters(among: Predictions | Path | str, settings: ClusterSettings | None = None) -> pd.DataFrame:
    """Return the most central windows of each cluster of windows that no class explains.

    Parameters
    ----------
    among
        Predictions with embeddings, or a folder that was predicted with ``--embeddings``, and in which
        ``windows.parquet`` is.
    settings
        What counts, and how.

    Returns
    -------
    pandas.DataFrame
        As :func:`~dawnchorus.search.similar_windows.find_similar`; ``label`` is ``unknown``, and
        ``similarity`` the cosine similarity to the middle of the cluster. Columns ``cluster``, from 1, the
        largest first, and ``n_windows`` of it follow.

    Raises
    ------
    DataError
        There are no embeddings, or the folder has no table of all windows.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> night = dc.load_model("model", n_threads=1).predict("night.wav", embeddings=True)
    >>> found = find_clusters(night, ClusterSettings(below=1, n_clusters=1, per_cluster=2))
    >>> found[["filename", "cluster", "n_windows"]].values.tolist()
    [['night.wav', 1, 3], ['night.wav', 1, 3]]
    """
    settings = settings or ClusterSettings()
    windows = WindowVectors.of(among)
    highest = (
        among.probabilities.max(axis=1)
        if isinstance(among, Predictions)
        else _highest_of(Path(among), windows)
    )
    rows = np.flatnonzero(highest < settings.below)
    if len(rows) > settings.at_most:
        rows = np.sort(np.random.default_rng(settings.seed).choice(rows, settings.at_most, replace=False))
    vectors = np.asarray(windows.vectors[rows])
    parts = []
    for number, members in enumerate(_clusters(vectors, settings), start=1):
        middle = vectors[members].mean(axis=0)
        scores = vectors[members] @ (middle / max(float(np.linalg.norm(middle)), np.finfo(np.float32).tiny))
        central = np.lexsort((members, -scores))[: settings.per_cluster]
        found = queue_of(windows, Nearest(rows[members[central]], scores[central]))
        parts.append(found.assign(cluster=number, n_windows=len(members)))
    if not parts:
        empty = queue_of(windows, Nearest(np.zeros(0, np.int64), np.zeros(0, np.float32)))
        return empty.assign(cluster=pd.Series(dtype=int), n_windows=pd.Series(dtype=int))
    return pd.concat(parts, ignore_index=True)


def _clusters(vectors: npt.NDArray[np.float32], settings: ClusterSettings) -> list[npt.NDArray[np.int64]]:
    """Return the places of each cluster's members, the largest cluster first."""
    least = settings.smallest if settings.n_clusters is None else settings.n_clusters
    if len(vectors) < least:
        return []
    n_components = min(_COMPONENTS, *vectors.shape)
    reduced = PCA(n_components, svd_solver="full").fit_transform(vectors)
    if settings.n_clusters is None:
        labels = HDBSCAN(min_cluster_size=settings.smallest, copy=True).fit_predict(reduced)
    else:
        labels = KMeans(settings.n_clusters, random_state=settings.seed, n_init=10).fit_predict(reduced)
    found = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    return sorted((members for members in found if len(members)), key=lambda each: (-len(each), each[0]))


def _highest_of(folder: Path, windows: WindowVectors) -> npt.NDArray[np.float32]:
    """Return the highest probability of each window in a folder, shape (n_windows,)."""
    folder = folder if folder.is_dir() else folder.parent
    table = folder / WINDOWS_NAME
    if not table.is_file():
        raise DataError(
            f"{folder} holds no {WINDOWS_NAME}, and without it no probability of every window; predict "
            "without --no-windows"
        )
    try:
        parts = list(_highest_in_groups(table))
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are kinds of these
        raise DataError(f"{table} cannot be read; {error}") from None
    highest = np.concatenate([np.zeros(0, np.float32), *parts])
    if len(highest) != len(windows):
        raise DataError(
            f"{table} has {counted(len(highest), 'window')}, and the embeddings are of {len(windows):,}; "
            "predict both anew"
        )
    return highest


def _highest_in_groups(table: Path) -> Iterator[npt.NDArray[np.float32]]:
    with pq.ParquetFile(table) as file:
        labels = [name for name in file.schema_arrow.names if name not in _KEYS]
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number, labels)
            yield np.stack([column.to_numpy() for column in rows.columns]).max(axis=0)
