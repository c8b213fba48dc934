"""Orders in which clips are reviewed: each is a list of clip numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from dawnchorus.batch.segments import detection_ranks, strata
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.detection_tables import DETECTION_COLUMNS

ClipOrder = Literal[
    "surest", "doubtful", "strata", "random", "time", "similar", "table", "second", "conflicts"
]
ORDERS: tuple[str, ...] = get_args(ClipOrder)
BY_SCORE = frozenset({"surest", "doubtful", "strata", "random", "time"})
"""Orders that look at nothing but scores, so that a precision may be counted on their answers."""

PER_SPECIES = 96
_SEED = 42


@dataclass(frozen=True)
class Queue:
    """The clips to review, and their order.

    Parameters
    ----------
    order
        ``surest``; most ``doubtful``, nearest to 0.5; ``strata``, as many from each tenth of the scale of
        scores as there are, in a random order, for thresholds; ``random``; by ``time``; ``similar`` to the
        clip ``like``; or as in the ``table`` that was given.
    species
        Only this one; all, in turn, if None.
    site
        Only this site, the first folder of a recording's name.
    per_species
        Clips of each species in ``strata``.
    like
        Number of the clip for ``similar``.

    Raises
    ------
    ConfigError
        The order is not known, lacks its clip, or ``per_species`` is below 1.

    Examples
    --------
    >>> Queue("strata", species="owl").is_fair
    True
    """

    order: ClipOrder = "strata"
    species: str | None = None
    site: str | None = None
    per_species: int = PER_SPECIES
    like: int | None = None

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ConfigError(f"order={self.order!r} is not known; choose one of {', '.join(ORDERS)}")
        if self.per_species < 1:
            raise ConfigError(f"per_species is {self.per_species}; legal: 1 or more")
        if self.order == "similar" and self.like is None:
            raise ConfigError("the order similar needs a clip to be like; give like=")

    @property
    def is_fair(self) -> bool:
        """Whether a precision of all recordings may be counted on its answers."""
        return self.order in BY_SCORE and self.site is None


def site_of(filename: str) -> str:
    """Return the site of a recording, the first folder of its name; empty where it has none.

    Examples
    --------
    >>> site_of("meadow/night.wav"), site_of("night.wav")
    ('meadow', '')
    """
    folder, slash, _ = filename.partition("/")
    return folder if slash else ""


def ordered_clips(pool: pd.DataFrame, queue: Queue, *, seed: int = _SEED) -> npt.NDArray[np.int64]:
    """Return the numbers of the clips of a queue that looks at scores and times, shape (n_clips,).

    Parameters
    ----------
    pool
        As of :func:`dawnchorus.review.clip_pool.read_pool`, its index the numbers of the clips.
    queue
        Choice and order; ``similar`` and ``table`` are ordered elsewhere.
    seed
        Of ``strata`` and ``random``.

    Examples
    --------
    >>> import pandas as pd
    >>> pool = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 5.0], "end_s": [5.0, 10.0]})
    >>> pool = pool.assign(label="owl", channel=0, probability=[0.6, 0.9])
    >>> ordered_clips(pool, Queue("surest")).tolist()
    [1, 0]
    """
    kept = chosen_clips(pool, queue)
    kept = kept[kept["probability"].notna()]
    if queue.order == "time":
        return kept.sort_values(["filename", "start_s", "label"]).index.to_numpy(np.int64)
    rows = kept[[*DETECTION_COLUMNS, "channel"]]
    drawn = detection_ranks(rows, "random", seed)
    if queue.order == "random":
        return drawn.sort_values().index.to_numpy(np.int64)
    rank = detection_ranks(rows, queue.order, seed)  # type: ignore[arg-type]
    turn = rank.groupby(rows["label"]).rank(method="first")
    if queue.order == "strata":
        turn = turn[turn <= queue.per_species]
        # Within a species no score can be told from the place in the queue.
        stratum_turn = np.ceil(turn / (1 + strata(rows["probability"]).max()))
        ordered = pd.DataFrame({"turn": stratum_turn, "drawn": drawn[turn.index]})
    else:
        ordered = pd.DataFrame({"turn": turn, "drawn": drawn})
    return ordered.sort_values(["turn", "drawn"]).index.to_numpy(np.int64)


def chosen_clips(pool: pd.DataFrame, queue: Queue) -> pd.DataFrame:
    """Return the clips of a queue's species and site.

    Examples
    --------
    >>> import pandas as pd
    >>> pool = pd.DataFrame({"filename": ["a/night.wav", "b/night.wav"], "label": ["owl", "wren"]})
    >>> chosen_clips(pool, Queue("random", site="b"))["label"].tolist()
    ['wren']
    """
    is_chosen = np.ones(len(pool), dtype=bool)
    if queue.species is not None:
        is_chosen &= (pool["label"] == queue.species).to_numpy()
    if queue.site is not None:
        names = pd.Categorical(pool["filename"])
        sites = np.array([site_of(str(name)) for name in names.categories], dtype=object)
        is_chosen &= sites[names.codes] == queue.site
    return pool[is_chosen]


def similar_clips(pool: pd.DataFrame, queue: Queue, embeddings: Path) -> npt.NDArray[np.int64]:
    """Return the numbers of the clips of a queue, those first that sound most like the clip ``queue.like``.

    A clip is as similar as the most similar of the windows that it overlaps, by the cosine of their
    embeddings; the clip itself is left out. All windows are compared, batch by batch.

    Raises
    ------
    DataError
        There are no embeddings, none of the clip, or no such clip.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> windows = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 5.0, 10.0]})
    >>> windows = windows.assign(end_s=windows["start_s"] + 5, embedding=[[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    >>> windows.to_parquet("embeddings.parquet")
    >>> pool = windows.drop(columns="embedding").assign(label="owl", channel=0, probability=0.5)
    >>> similar_clips(pool, Queue("similar", like=0), Path("embeddings.parquet")).tolist()
    [2, 1]
    """
    if not embeddings.is_file():
        raise DataError(f"{embeddings} is not there; predict with --embeddings to find similar clips")
    if queue.like not in pool.index:
        raise DataError(f"there is no clip {queue.like} to be like")
    like = pool.loc[queue.like]
    query = _embedding_at(embeddings, like)
    kept = chosen_clips(pool, queue).drop(index=queue.like, errors="ignore")
    best = pd.Series(-np.inf, index=kept.index)
    by_name = dict(iter(kept.groupby("filename", sort=False)))
    for windows in _batches(embeddings):
        matrix = np.stack(windows["embedding"].to_numpy()).astype(np.float32)
        norms = np.maximum(np.linalg.norm(matrix, axis=1), 1e-12)
        windows = windows.assign(cosine=matrix @ query / norms)
        for name, of_name in windows.groupby("filename", sort=False):
            clips = by_name.get(name)
            if clips is None:
                continue
            overlap = _overlap(clips, of_name)
            cosine = np.where(overlap > 0, of_name["cosine"].to_numpy(), -np.inf).max(axis=1)
            best[clips.index] = np.maximum(best[clips.index], cosine)
    best = best[np.isfinite(best)]
    return best.sort_values(ascending=False, kind="stable").index.to_numpy(np.int64)


def _batches(path: Path) -> Any:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=16_384):
            yield batch.to_pandas()


def _overlap(clips: pd.DataFrame, windows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the seconds that clips and windows share, 0 on other channels; shape (n_clips, n_windows)."""
    ends = np.minimum(clips["end_s"].to_numpy()[:, None], windows["end_s"].to_numpy())
    shared = np.maximum(
        ends - np.maximum(clips["start_s"].to_numpy()[:, None], windows["start_s"].to_numpy()), 0
    )
    if "channel" in windows:
        channel = clips["channel"].to_numpy()[:, None]
        shared[(channel != 0) & (channel != windows["channel"].to_numpy())] = 0
    return shared


def _embedding_at(path: Path, clip: pd.Series) -> npt.NDArray[np.float32]:
    """Return the embedding of the window that shares most with a clip, of length 1, shape (n_features,)."""
    windows = pq.read_table(path, filters=[("filename", "==", clip["filename"])]).to_pandas()
    overlap = _overlap(clip.to_frame().T, windows)[0].astype(float) if len(windows) else np.zeros(0)
    if not (overlap > 0).any():
        raise DataError(
            f"{path} has no window of {clip['filename']} at {clip['start_s']:g} s; predict again with "
            "--embeddings"
        )
    found = np.asarray(windows["embedding"].iloc[int(overlap.argmax())], np.float32)
    return found / np.float32(max(float(np.linalg.norm(found)), 1e-12))
