"""Embeddings of the windows of recordings by a frozen model, each computed once and kept between runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.content_digest import content_digest
from dawnchorus.audio.headers import cache_dir
from dawnchorus.engines.engine import Engine
from dawnchorus.errors import DataError, ModelError
from dawnchorus.files import Failure, replacing
from dawnchorus.formats.array_archives import read_arrays
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.progress import track
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)


class WindowEmbeddings(NamedTuple):
    """The windows of one recording.

    Attributes
    ----------
    start_s, stop_s
        Begin and end of each within the recording, seconds, shape (n_windows,), float64.
    features
        Shape (n_windows, n_features), float32.

    Examples
    --------
    >>> import numpy as np
    >>> windows = WindowEmbeddings(np.array([0.0]), np.array([5.0]), np.zeros((1, 96), np.float32))
    >>> windows.features.shape
    (1, 96)
    """

    start_s: npt.NDArray[np.float64]
    stop_s: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]


class FrozenEmbeddings(NamedTuple):
    """Embeddings of several recordings, and those that could not be read.

    Attributes
    ----------
    recordings
        In the order given; None for those that could not be read.
    failures
        The reasons for these.

    Examples
    --------
    >>> FrozenEmbeddings((None,), ()).recordings
    (None,)
    """

    recordings: tuple[WindowEmbeddings | None, ...]
    failures: tuple[Failure, ...]


def embed_recordings(
    engine: Engine, paths: Sequence[Path], *, overlap_s: float = 0.0, cache: Path | None = None
) -> FrozenEmbeddings:
    """Return the embeddings of recordings, those of earlier calls from the cache.

    Each recording is kept as soon as it is done, under the digests of its content and of the model, so that a
    killed job goes on, and a recording that has changed is embedded again.

    Parameters
    ----------
    engine
        The model; its clips are taken as ``predict`` takes them.
    paths
        Audio files or HDF5 files of the store.
    overlap_s
        Seconds that a window shares with the next one.
    cache
        Folder that embeddings are kept in; ``embeddings`` in the user's cache folder if not given.

    Raises
    ------
    ModelError
        The model gives no embeddings.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> found = embed_recordings(open_engine("model", n_threads=1), [Path("night.wav")])
    >>> found.recordings[0].features.shape, found.failures  # three windows of 5 s in 12 s
    ((3, 96), ())
    """
    if not engine.has_embeddings:
        raise ModelError(
            f"{engine.card.exp_name} gives no embeddings; take a model that does, such as imagenet or birdnet"
        )
    made_by = f"{engine.fingerprint} {engine.card.channel} {overlap_s:g} 1"
    folder = (cache or cache_dir() / "embeddings") / hashlib.sha256(made_by.encode()).hexdigest()[:24]
    found: list[WindowEmbeddings | None] = [None] * len(paths)
    failures: list[Failure] = []
    kept_in: list[Path] = []
    missing: list[int] = []
    for number, path in enumerate(paths):
        try:
            name = content_digest(path)
        except OSError as error:
            failures.append(Failure(path, f"{path}: cannot be read; {error.strerror or error}"))
            kept_in.append(Path())
            continue
        kept_in.append(folder / name[:2] / f"{name}.npz")
        found[number] = _kept(kept_in[-1])
        if found[number] is None:
            missing.append(number)
    if not missing:
        return FrozenEmbeddings(tuple(found), tuple(failures))
    if len(missing) < len(paths):
        logger.info("%d of %s need embedding.", len(missing), counted(len(paths), "recording"))
    inference = BirdsInference(engine, overlap_s=overlap_s, with_embeddings=True)
    predicted = inference.predict_recordings([paths[number] for number in missing])
    for number, (_, outcome) in zip(missing, track(predicted, "Embedding", total=len(missing)), strict=True):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            continue
        assert outcome.embeddings is not None
        rate = outcome.sample_rate
        windows = WindowEmbeddings(outcome.starts / rate, outcome.stops / rate, outcome.embeddings)
        with replacing(kept_in[number], sync=False) as temporary:
            np.savez(temporary, **windows._asdict())
        found[number] = windows
    return FrozenEmbeddings(tuple(found), tuple(failures))


def _kept(file: Path) -> WindowEmbeddings | None:
    """Return the windows in a file of the cache; None where it is missing or damaged."""
    if not file.is_file():
        return None
    try:
        windows = WindowEmbeddings(**read_arrays(file))
    except (DataError, TypeError):
        return None
    is_whole = windows.features.ndim == 2 and windows.start_s.shape == windows.stop_s.shape
    return windows if is_whole and len(windows.start_s) == len(windows.features) else None
