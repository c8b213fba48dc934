"""The model card, which with a set of weights makes a model: kept with every checkpoint and export."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from dawnchorus.config.json_files import parsed_json, read_json
from dawnchorus.errors import ModelError
from dawnchorus.wording import counted

CARD_KEY = "dawnchorus_model_card"
"""Key of the card in an ONNX file's metadata and in an OpenVINO model's runtime information."""

WITHOUT_CARD = (
    "holds no dawnchorus model card; export the model again, take a published one with dawnchorus adopt, or "
    "write a card beside somebody else's graph (docs/how_to/choose_a_model.md)"
)
"""The end of a message on a graph of somebody else's."""

LOGMEL_NAME = "logmel"
"""Name of the tensor in an exported graph that the front-end makes and the networks take."""

OUTPUT_NAMES = ("output", "embedding", "frame_logits")
"""Outputs of an exported graph; the last only where it was asked for."""


_HIGHEST_RATE = 1_000_000  # Hz, of recorders of bats
_LONGEST_S = 3600.0
_REMEDY = "train or export the model again"


@dataclass(frozen=True)
class ModelCard:
    """The model's class, classes, front-end and clip.

    Attributes
    ----------
    exp_name
        Experiment that the weights come from.
    model_class, model_config
        ``module:name`` of the network and its keyword arguments without ``n_classes``.
    labels
        Classes in the order of the outputs.
    frontend
        Settings of the log-mel front-end.
    sample_rate, segment_len, late_normalize
        The clip: Hz, seconds of its segment, whether it is divided by its peak.
    folds
        Folds that are averaged.
    versions
        Versions of dawnchorus and of the packages that the numbers depend on.
    look_back_s, look_ahead_s
        Seconds before and after the segment that belong to the clip.
    channel
        Channel of the recordings that it was trained on: a number from 1, ``mean`` or ``loudest``.
    species
        By label, what is known of ``scientific_name``, ``common_name`` and ``species_code``.
    licence
        Licence of the weights, where they are somebody else's.
    teachers
        The models whose predictions it was trained on, beside labels.
    zeros_after
        Whether zeros stand behind a segment that a recording's end cuts short; in the recipe, before it.

    Examples
    --------
    >>> card = ModelCard(
    ...     exp_name="owls",
    ...     model_class="dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
    ...     model_config={"backbone": "test_resnet.r160_in1k"},
    ...     labels=("owl", "wren"),
    ...     frontend={"sample_rate": 32_000},
    ...     sample_rate=32_000,
    ...     segment_len=5.0,
    ...     late_normalize=True,
    ... )
    >>> card.n_samples, ModelCard.from_json(card.to_json(), where="an example") == card
    (160000, True)
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    exp_name: str
    model_class: str
    model_config: dict[str, Any]
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    frontend: dict[str, Any]
    sample_rate: Annotated[int, Field(ge=1, le=_HIGHEST_RATE)]
    segment_len: Annotated[float, Field(gt=0, le=_LONGEST_S)]
    late_normalize: bool
    folds: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    look_back_s: Annotated[float, Field(ge=0, le=_LONGEST_S)] = 0.0
    look_ahead_s: Annotated[float, Field(ge=0, le=_LONGEST_S)] = 0.0
    channel: Annotated[int, Field(ge=1)] | Literal["mean", "loudest"] = "mean"
    species: dict[str, dict[str, str]] = field(default_factory=dict)
    licence: str = ""
    zeros_after: bool = False
    teachers: tuple[str, ...] = ()

    @property
    def credit(self) -> str:
        """The name of the model for tables, with the licence of its weights where it has one."""
        return f"{self.exp_name}, {self.licence}" if self.licence else self.exp_name

    @property
    def n_samples(self) -> int:
        """Samples of a clip: 5 s at 32 kHz are 160,000."""
        return self.n_look_back + self.n_segment + round(self.look_ahead_s * self.sample_rate)

    @property
    def n_segment(self) -> int:
        """Samples of a segment, which is the clip without its look-back and look-ahead."""
        return round(self.segment_len * self.sample_rate)

    @property
    def n_look_back(self) -> int:
        """Samples before the segment."""
        return round(self.look_back_s * self.sample_rate)

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, *, where: str) -> ModelCard:
        """Return the card that ``to_json`` wrote; ``where`` names its source in messages.

        Raises
        ------
        ModelError
            The text is no card.
        """
        return parsed_json(text, cls, where=f"the model card in {where}", error=ModelError, remedy=_REMEDY)

    @classmethod
    def read(cls, path: Path) -> ModelCard:
        """Return the card in ``model_card.json``.

        Raises
        ------
        ModelError
            The file holds no card.
        """
        return read_json(path, cls, error=ModelError, remedy=_REMEDY)

    def __repr__(self) -> str:
        clip = f"clips of {self.n_samples / self.sample_rate:g} s at {self.sample_rate} Hz"
        return f"ModelCard({self.exp_name}: {counted(len(self.labels), 'class', 'classes')}, {clip})"
