"""The base of all engines: clips → inputs of the networks → probabilities, in requests of one size.

A request always holds the same number of clips, the last one filled up with silence, so that in the exported
engines a clip's probabilities are the same bits whatever other clips are in the request: alone or in a
folder, in one go or after a kill. In PyTorch they are the same within rounding (1e-6).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import ModelError
from dawnchorus.models.card import ModelCard
from dawnchorus.models.score_calibration import ScoreCalibration, Thresholds
from dawnchorus.wording import counted

KeyT = TypeVar("KeyT")
Inputs = Any
"""Result of :meth:`Engine.prepare`, valid only in the engine that made it."""


class Outputs(NamedTuple):
    """The outputs of an ensemble for clips.

    Attributes
    ----------
    probabilities
        Shape (batch, n_classes), float32 in [0, 1].
    embeddings
        Embeddings by the first network, shape (batch, n_features), float32.
    frame_logits
        Mean of the networks' frame logits, shape (batch, n_frames, n_classes), float32; None from several
        experiments, from heads without frames, and from an export without ``--frames``.

    Examples
    --------
    >>> import numpy as np
    >>> outputs = Outputs(np.zeros((4, 3), np.float32), np.zeros((4, 64), np.float32))
    >>> outputs.probabilities.shape
    (4, 3)
    """

    probabilities: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32]
    frame_logits: npt.NDArray[np.float32] | None = None

    def __repr__(self) -> str:
        n_clips, n_classes = self.probabilities.shape
        return f"Outputs({counted(n_clips, 'clip')}, {counted(n_classes, 'class', 'classes')})"


class Engine(ABC):
    """An ensemble that is ready to predict.

    Several threads may call :meth:`predict`, :meth:`outputs`, :meth:`prepare` and :meth:`stream` at once;
    each gets the same bits as if it called alone. :meth:`resize` and :meth:`keep_networks` change the
    ensemble, and must not be called while another thread computes.

    Attributes
    ----------
    card
        Model card of the ensemble.
    clips_per_request
        Clips that the engine computes at once; every request has this many.
    fingerprint
        Identifies this model in this engine by the bytes of its weights.
    input_kind
        Input of the networks: ``wave`` or ``logmel``.
    n_networks
        Networks in the mean that can be left out one by one; 1 where they cannot.
    has_embeddings
        Whether it gives embeddings. Without, those of its outputs have no features, shape (batch, 0).
    folder
        The run or the export that it was opened from; None where it was made otherwise.
    calibration
        What is still to be applied to its probabilities, which are raw scores; None for nothing. It is set
        where calibrated scores are asked for (:meth:`dawnchorus.engines.ensembles.Ensemble.open`).
    thresholds
        Default thresholds of calibrated scores; None for raw ones.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> engine = open_engine("model", n_threads=1)
    >>> isinstance(engine, Engine), engine.n_networks
    (True, 1)
    >>> outputs = engine.outputs(np.zeros((2, engine.card.n_samples), np.float32))
    >>> outputs.probabilities.shape, outputs.embeddings.shape
    ((2, 3), (2, 96))
    """

    card: ModelCard
    clips_per_request: int
    fingerprint: str
    input_kind: Literal["wave", "logmel"] = "wave"
    n_networks: int = 1
    has_embeddings: bool = True
    folder: Path | None = None
    calibration: ScoreCalibration | None = None
    thresholds: Thresholds | None = None

    @abstractmethod
    def prepare(self, waves: npt.NDArray[np.float32]) -> Inputs:
        """Return the inputs of the networks for clips, shape (clips_per_request, n_samples).

        It may be called in other threads than :meth:`stream`, while that computes.
        """

    @abstractmethod
    def stream(self, requests: Iterable[tuple[KeyT, Inputs]]) -> Iterator[tuple[KeyT, Outputs]]:
        """Yield the outputs of each request with its key, in order."""

    def resize(self, clips_per_request: int) -> None:
        """Set the number of clips that are computed at once."""
        self.clips_per_request = clips_per_request

    def keep_networks(self, n_networks: int) -> None:
        """Limit the mean to the first ``n_networks``; the others are no longer computed."""
        if n_networks != self.n_networks:
            raise ValueError(f"n_networks={n_networks}: this engine cannot leave networks out")

    def predict(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (batch, n_classes), of any number of clips (batch, n_samples)."""
        return self.outputs(waves).probabilities

    def outputs(self, waves: npt.NDArray[np.float32]) -> Outputs:
        """Return all outputs for any number of clips, shape (batch, n_samples), float32.

        Raises
        ------
        ModelError
            The clips have another shape or type, or hold NaN or infinite samples.
        """
        waves = self._checked(waves)
        size = self.clips_per_request
        requests = (
            (len(part), self.prepare(filled_up(part, size)))
            for part in (waves[start : start + size] for start in range(0, len(waves), size))
        )
        parts = [
            [values[:n_clips] for values in output if values is not None]
            for n_clips, output in self.stream(requests)
        ]
        return Outputs(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _checked(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return clips, shape (batch, n_samples), float32; raise ModelError if none, or not finite."""
        waves, card = np.asarray(waves), self.card
        rate = f"{card.n_samples / card.sample_rate:g} s at {card.sample_rate} Hz"
        if waves.ndim != 2 or waves.shape[1] != card.n_samples or not len(waves):
            raise ModelError(
                f"the clips have the shape {waves.shape}; this model takes (batch, {card.n_samples}), one or "
                f"more clips of {rate}: cut or pad them, or let Model.predict do so"
            )
        if waves.dtype.kind != "f":
            raise ModelError(f"the clips hold {waves.dtype}; samples are float32, full scale ±1")
        with np.errstate(over="ignore"):
            waves = waves.astype(np.float32, copy=False)
        if not np.isfinite(waves).all():
            raise ModelError("the clips hold NaN or infinite samples; leave such clips out")
        return waves

    def __repr__(self) -> str:
        card = self.card
        clip = f"clips of {card.n_samples / card.sample_rate:g} s at {card.sample_rate} Hz"
        return (
            f"{type(self).__name__}({card.exp_name}: {counted(len(card.labels), 'class', 'classes')}, {clip})"
        )


def fingerprint_of(what: str, files: Iterable[Path]) -> str:
    """Return ``what`` with a digest of the content of some files.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("weights.bin").write_bytes(b"weights")
    >>> fingerprint_of("onnx", [Path("weights.bin")])
    'onnx 59f3d85be3f9f90b'
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{what} {digest.hexdigest()[:16]}"


def named_outputs(named: Mapping[str, npt.NDArray[np.float32]]) -> Outputs:
    """Return the outputs of a graph by their names, without embeddings or frames where it has none.

    Examples
    --------
    >>> import numpy as np
    >>> named_outputs({"output": np.zeros((4, 3), np.float32)}).embeddings.shape
    (4, 0)
    """
    probabilities = named["output"]
    embeddings = named.get("embedding", np.zeros((len(probabilities), 0), np.float32))
    return Outputs(probabilities, embeddings, named.get("frame_logits"))


def checked_n_networks(n_networks: int, n_there: int) -> int:
    """Return ``n_networks`` where it is at least 1 and at most ``n_there``.

    Raises
    ------
    ValueError
        It is not from 1 to ``n_there``.

    Examples
    --------
    >>> checked_n_networks(2, n_there=5)
    2
    >>> checked_n_networks(6, n_there=5)
    Traceback (most recent call last):
        ...
    ValueError: n_networks=6; legal: 1 to 5
    """
    if not 1 <= n_networks <= n_there:
        raise ValueError(f"n_networks={n_networks}; legal: 1 to {n_there}")
    return n_networks


def filled_up(waves: npt.NDArray[np.float32], n_clips: int) -> npt.NDArray[np.float32]:
    """Return clips with silent ones behind them, shape (n_clips, n_samples).

    Examples
    --------
    >>> import numpy as np
    >>> filled_up(np.ones((3, 80_000), np.float32), 4).shape
    (4, 80000)
    """
    n_missing = n_clips - len(waves)
    return np.pad(waves, ((0, n_missing), (0, 0))) if n_missing else waves
