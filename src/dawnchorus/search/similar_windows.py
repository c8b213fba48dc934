"""Search by ear: the windows of many recordings that sound most like a clip, or a time in a recording."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.errors import ConfigError, DataError, ModelError
from dawnchorus.predict.model import Model
from dawnchorus.predict.predictions import Predictions
from dawnchorus.search.nearest_vectors import (
    EXACT_WINDOWS,
    Nearest,
    is_indexed,
    nearest_approximately,
    nearest_exactly,
)
from dawnchorus.search.window_vectors import WindowVectors, unit_vectors
from dawnchorus.wording import shown

INDEX_NAME = "nearest.faiss"
QUEUE_COLUMNS = ("filename", "start_s", "end_s", "label", "similarity")
"""Columns of a table of windows to be reviewed; ``channel`` follows where it is known."""

UNKNOWN = "unknown"
"""Stands for the species of windows of which nobody has said what they are."""

_AT = re.compile(r"(?P<recording>.+)@(?P<seconds>\d+(?:\.\d+)?)", re.DOTALL)


class QueryTime(NamedTuple):
    """A time in a recording.

    Examples
    --------
    >>> QueryTime("pond/night.wav", 7.5).at_s
    7.5
    """

    recording: str
    at_s: float


@dataclass(frozen=True)
class SearchSettings:
    """Rules for a search.

    Attributes
    ----------
    k
        How many windows.
    species
        What they are to be reviewed for; :data:`UNKNOWN` where that is open.
    exact
        Whether all windows are compared. None compares them up to :data:`EXACT_WINDOWS`, and takes an index
        beyond, where faiss is installed.

    Raises
    ------
    ConfigError
        ``k`` is below 1.

    Examples
    --------
    >>> SearchSettings(k=20, species="Strix aluco").exact is None
    True
    """

    k: int = 50
    species: str = UNKNOWN
    exact: bool | None = None

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"k is {self.k}; it must be 1 or more windows")


def query_time(text: str) -> QueryTime | None:
    """Return the recording and the time in ``night.wav@7.5``, None for any other text.

    Examples
    --------
    >>> query_time("pond/night.wav@7.5"), query_time("night.wav")
    (QueryTime(recording='pond/night.wav', at_s=7.5), None)
    """
    match = _AT.fullmatch(text)
    return QueryTime(match["recording"], float(match["seconds"])) if match else None


def find_similar(
    among: WindowVectors | Predictions | Path | str,
    query: QueryTime | npt.NDArray[np.float32],
    settings: SearchSettings | None = None,
) -> pd.DataFrame:
    """Return the windows that are most similar to a query, the most similar first.

    Parameters
    ----------
    among
        The windows: predictions with embeddings, or the folder of such, or what
        :meth:`~dawnchorus.search.window_vectors.WindowVectors.of` makes of either, to search it again.
    query
        A time in one of the recordings, whose window is then left out; or embeddings, shape
        (n_windows, n_features), such as :func:`embeddings_of_clip` gives: windows count by the most similar
        of them.
    settings
        How many, and how.

    Returns
    -------
    pandas.DataFrame
        ``filename``, ``start_s``, ``end_s``, ``label`` as in the settings, ``similarity``, the cosine
        similarity in [-1, 1], and ``channel`` where it is known. ``dawnchorus review --queue`` takes it.

    Raises
    ------
    DataError
        There are no embeddings, or no such time, or the query has another number of features.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> from dawnchorus.search.similar_windows import QueryTime, SearchSettings, find_similar
    >>> night = dc.load_model("model", n_threads=1).predict("night.wav", embeddings=True)
    >>> found = find_similar(night, QueryTime("night.wav", 1.0), SearchSettings(k=2))
    >>> found[["filename", "start_s", "end_s"]].values.tolist()
    [['night.wav', 10.0, 12.0], ['night.wav', 5.0, 10.0]]
    """
    settings = settings or SearchSettings()
    windows = among if isinstance(among, WindowVectors) else WindowVectors.of(among)
    if not len(windows):
        raise DataError("there are no windows to search; predict recordings with --embeddings")
    if isinstance(query, QueryTime):
        row = windows.row_of(*query)
        found = _nearest(windows, np.asarray(windows.vectors[[row]]), settings, n_more=1)
        is_other = found.rows != row
        found = Nearest(found.rows[is_other][: settings.k], found.scores[is_other][: settings.k])
    else:
        n_features = windows.vectors.shape[1]
        if query.ndim != 2 or query.shape[1] != n_features or not len(query):
            raise DataError(
                f"the query has the shape {query.shape}, and the embeddings have {n_features} features; give "
                f"(n_windows, {n_features})"
            )
        found = _nearest(windows, unit_vectors(query), settings)
    return queue_of(windows, found, settings.species)


def embeddings_of_clip(
    model: Model, clip: Path | str, *, at_s: float | None = None
) -> npt.NDArray[np.float32]:
    """Return the embeddings of a clip's windows, shape (n_windows, n_features).

    Parameters
    ----------
    model
        The model that made the embeddings to be searched.
    clip
        A sound file.
    at_s
        Only the window with its middle nearest to this time, seconds.

    Raises
    ------
    AudioError
        The clip cannot be read.
    DataError
        It ends before ``at_s``.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> embeddings_of_clip(dc.load_model("model", n_threads=1), "night.wav", at_s=8.0).shape
    (1, 96)
    """
    found = WindowVectors.of(model.predict(str(clip), embeddings=True))
    if at_s is None:
        return found.vectors
    assert found.windows is not None
    row = found.row_of(str(found.windows["filename"].iloc[0]), at_s)
    return found.vectors[[row]]


def check_same_model(windows: WindowVectors, model: Model, *, where: Path | str) -> None:
    """Raise where embeddings are not the model's: numbers of different models mean nothing together.

    Raises
    ------
    ModelError
        Another model, engine or export made them.

    Examples
    --------
    >>> import numpy as np
    >>> import dawnchorus as dc
    >>> from dawnchorus.search.window_vectors import WindowVectors
    >>> model = dc.load_model("model", n_threads=1)
    >>> check_same_model(WindowVectors(np.zeros((1, 96), np.float32), "torch 0123"), model, where="tables")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: the embeddings in tables were made with another model ('torch 0123') than
    Model(tiny: 3 classes, 5 s at 16000 Hz, Onnx) ('...'); give the model, in the engine, that predicted
    them, or predict them again
    """
    if windows.model is not None and windows.model != model.engine.fingerprint:
        raise ModelError(
            f"the embeddings in {where} were made with another model ({shown(windows.model)}) than {model} "
            f"({shown(model.engine.fingerprint)}); give the model, in the engine, that predicted them, or "
            "predict them again"
        )


def queue_of(windows: WindowVectors, found: Nearest, species: str = UNKNOWN) -> pd.DataFrame:
    """Return windows as a table for review, in the order given.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus.search.nearest_vectors import Nearest
    >>> from dawnchorus.search.window_vectors import WindowVectors
    >>> windows = pd.DataFrame({"filename": ["night.wav"], "start_s": [0.0], "end_s": [5.0]})
    >>> vectors = WindowVectors(np.float32([[1, 0]]), windows=windows)
    >>> queue_of(vectors, Nearest(np.array([0]), np.float32([0.9])), "owl").round(2).values.tolist()
    [['night.wav', 0.0, 5.0, 'owl', 0.9]]
    """
    table = windows.windows_at(found.rows).assign(
        label=species, similarity=found.scores.astype(np.float64).clip(-1, 1)
    )
    return table[[*QUEUE_COLUMNS, *(["channel"] if "channel" in table else [])]]


def _nearest(
    windows: WindowVectors, queries: npt.NDArray[np.float32], settings: SearchSettings, *, n_more: int = 0
) -> Nearest:
    k, cache = settings.k + n_more, windows.cache
    is_many = len(windows) > EXACT_WINDOWS
    is_exact = not (is_many and is_indexed()) if settings.exact is None else settings.exact
    if is_exact or cache is None:
        return nearest_exactly(windows.vectors, queries, k)
    return nearest_approximately(windows.vectors, queries, k, cache / INDEX_NAME)
