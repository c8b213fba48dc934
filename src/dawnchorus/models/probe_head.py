"""A small head on frozen embeddings, in NumPy, and the card of its folder.

The folder of a probe holds ``probe.json``, which is the card, and ``head.npz``. It has no weights of the
embedder, which the card names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dawnchorus.config.json_files import Record, read_json
from dawnchorus.errors import ModelError
from dawnchorus.wording import counted, first_few

Array = npt.NDArray[Any]

PROBE_NAME, HEAD_NAME = "probe.json", "head.npz"
"""The card of a probe, and its weights."""

REMEDY = "fit it again with dawnchorus probe"

HeadKind = Literal["linear", "prototype", "attention"]
Activation = Literal["sigmoid", "softmax"]

_MOST_FEATURES, _MOST_CLASSES = 1 << 16, 1 << 20
_EPS = 1e-12
_ALWAYS, _HIDDEN = ("shift", "scale", "weight", "bias"), ("hidden_weight", "hidden_bias")

Size = Annotated[int, Field(ge=1, le=_MOST_FEATURES)]
Text = Annotated[str, Field(min_length=1, max_length=4096)]


class Embedder(Record):
    """The model that a probe's embeddings come from.

    Attributes
    ----------
    path
        A name such as ``birdnet``, or its path, relative to the probe's folder where it is not absolute.
    engine
        Engine that it was opened with; None for that of the file.
    name
        Its name for tables.
    licence
        Licence of its weights, empty for one of ours.
    fingerprint
        That of the weights.
    n_features
        Length of an embedding.

    Examples
    --------
    >>> Embedder(path="birdnet", name="BirdNET v2.4", fingerprint="graph 0", n_features=1024).engine is None
    True
    """

    path: Text
    engine: Literal["torch", "onnx", "openvino", "int8"] | None = None
    name: str
    licence: str = ""
    fingerprint: str
    n_features: Size


class ProbeCard(Record):
    """The card of a probe.

    Attributes
    ----------
    name
        Name of the model, as tables have it.
    labels
        Classes in the order of the outputs.
    species
        By label, what is known of ``scientific_name``, ``common_name`` and ``species_code``.
    embedder
        What its embeddings come from.
    head
        Kind of the head: ``linear``, ``prototype`` or ``attention``.
    activation
        What makes scores of logits: ``sigmoid`` one by one, or ``softmax`` over all classes.
    unit_length
        Whether standardised embeddings are scaled to length 1.
    settings
        What was chosen inside the training, such as the strength of the penalty.
    score
        Out-of-fold scores by their names.
    recordings
        Digest of the recordings and their labels.
    n_recordings
        Number of recordings that the head was fitted to.
    versions
        Versions of dawnchorus and of the packages that the numbers depend on.

    Examples
    --------
    >>> embedder = Embedder(path="birdnet", name="BirdNET v2.4", fingerprint="graph 0", n_features=1024)
    >>> ProbeCard(name="owls", labels=("owl", "wren"), embedder=embedder, head="linear").activation
    'sigmoid'
    """

    name: Text
    labels: Annotated[tuple[str, ...], Field(min_length=1, max_length=_MOST_CLASSES)]
    species: dict[str, dict[str, str]] = Field(default_factory=dict)
    embedder: Embedder
    head: HeadKind
    activation: Activation = "sigmoid"
    unit_length: bool = False
    settings: dict[str, Any] = Field(default_factory=dict)
    score: dict[str, float] = Field(default_factory=dict)
    recordings: str = ""
    n_recordings: Annotated[int, Field(ge=0)] = 0
    versions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("a label stands twice in labels")
        return self

    @classmethod
    def read(cls, folder: Path) -> ProbeCard:
        """Return the card in the folder of a probe.

        Raises
        ------
        ModelError
            There is none, or it is damaged.
        """
        return read_json(folder / PROBE_NAME, cls, error=ModelError, remedy=REMEDY)


@dataclass(frozen=True, eq=False)
class ProbeHead:
    """A head: standardised embeddings → one layer, or two with a rectifier between → scores.

    Attributes
    ----------
    shift, scale
        Subtracted from embeddings, then divided by; shape (n_features,), float32.
    weight, bias
        Of the last layer, shapes (n_inputs, n_classes) and (n_classes,), float32.
    hidden_weight, hidden_bias
        Of the layer before it, shapes (n_features, n_hidden) and (n_hidden,); None without one.
    unit_length, activation
        As in :class:`ProbeCard`.

    Examples
    --------
    >>> import numpy as np
    >>> zeros = np.zeros(2, np.float32)
    >>> weight = np.eye(2, dtype=np.float32)
    >>> head = ProbeHead(zeros, zeros + 1, weight, zeros, activation="softmax")
    >>> head.scores([[0.0, 2.0]]).round(2)
    array([[0.12, 0.88]], dtype=float32)
    """

    shift: Array
    scale: Array
    weight: Array
    bias: Array
    hidden_weight: Array | None = None
    hidden_bias: Array | None = None
    unit_length: bool = False
    activation: Activation = "sigmoid"

    def logits(self, embeddings: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return logits, shape (batch, n_classes), for embeddings, shape (batch, n_features).

        Each clip is computed by itself, so that its bits do not depend on the others.
        """
        given = (np.asarray(embeddings, np.float64) - self.shift) / self.scale
        if self.unit_length:
            given = given / np.maximum(np.sqrt((given**2).sum(1, keepdims=True)), _EPS)
        found = np.empty((len(given), len(self.bias)))
        for row, clip in enumerate(given):
            if self.hidden_weight is not None and self.hidden_bias is not None:
                clip = np.maximum(clip @ self.hidden_weight + self.hidden_bias, 0)
            found[row] = clip @ self.weight + self.bias
        return found

    def scores(self, embeddings: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return scores in [0, 1], shape (batch, n_classes), float32, for embeddings (batch, n_features)."""
        from scipy.special import expit, softmax  # predicting without probes needs no SciPy

        activate = softmax if self.activation == "softmax" else expit
        logits = self.logits(embeddings)
        return (activate(logits, axis=1) if activate is softmax else activate(logits)).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the weights by their names, as ``.npz``."""
        named = {name: getattr(self, name) for name in (*_ALWAYS, *_HIDDEN)}
        np.savez(path, **{name: array for name, array in named.items() if array is not None})

    @classmethod
    def of(cls, arrays: Mapping[str, Array], card: ProbeCard, *, where: Path) -> ProbeHead:
        """Return the head of a card from its weights; ``where`` names their file in messages.

        Raises
        ------
        ModelError
            The arrays are not those of a head with this card.
        """
        names = (*_ALWAYS, *_HIDDEN) if card.head == "attention" else _ALWAYS
        if set(arrays) != set(names):
            raise ModelError(
                f"{where} holds {first_few(sorted(arrays), 8) or 'nothing'}; legal for the head {card.head}: "
                f"{', '.join(names)}; {REMEDY}"
            )
        n_features, n_classes = card.embedder.n_features, len(card.labels)
        n_hidden = arrays["hidden_bias"].size if "hidden_bias" in names else n_features
        wanted: dict[str, tuple[int, ...]] = {
            "shift": (n_features,),
            "scale": (n_features,),
            "weight": (n_hidden, n_classes),
            "bias": (n_classes,),
            "hidden_weight": (n_features, n_hidden),
            "hidden_bias": (n_hidden,),
        }
        for name in names:
            array = arrays[name]
            if array.shape != wanted[name] or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ModelError(
                    f"{where}: {name} has {array.dtype} of shape {array.shape}; legal: finite float32 of "
                    f"shape {wanted[name]}; {REMEDY}"
                )
        if not (arrays["scale"] > 0).all():
            raise ModelError(f"{where}: scale holds numbers that are not above 0; {REMEDY}")
        return cls(**arrays, unit_length=card.unit_length, activation=card.activation)

    def __repr__(self) -> str:
        n_features, n_classes = len(self.shift), len(self.bias)
        return f"ProbeHead({n_features} features, {counted(n_classes, 'class', 'classes')})"
