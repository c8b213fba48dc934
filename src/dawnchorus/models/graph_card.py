"""The card of a graph that somebody else has trained: what lies beside it, and makes it a model here."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dawnchorus.config.json_files import read_json
from dawnchorus.config.settings import Settings, validate
from dawnchorus.errors import ModelError
from dawnchorus.wording import counted

CARD_ENDINGS = (".card.json", ".card.toml")
"""Endings of a card's name: ``perch_v2.card.json`` is that of ``perch_v2.onnx``."""

Axis = Literal["batch", "channel", "samples"]

_HIGHEST_RATE = 1_000_000  # Hz, of recorders of bats
_LONGEST_S = 3600.0
_MOST_SAMPLES = 2**26  # of a clip: 256 MiB
_LOUDEST = 2.0**32  # of samples of 32 bits, and far from the end of float32
_REMEDY = "docs/how_to/choose_a_model.md has an example"

Text = Annotated[str, Field(min_length=1)]


class GraphInput(Settings):
    """The waveform that a graph takes.

    Attributes
    ----------
    name
        Name of the input; it may be left out where the graph has one.
    axes
        Meaning of its axes: of ``batch``, ``channel`` and ``samples`` those that it has, in their order.
        Without ``batch`` it is computed clip by clip.
    remove_mean
        Whether the mean of each clip is subtracted.
    peak
        Magnitude that the loudest sample of each clip is scaled to, after that; not scaled if not given.
    gain
        Factor of the samples, which are in [-1, 1]: 32768 for a graph that takes samples of 16 bits.

    Examples
    --------
    >>> GraphInput(axes=("batch", "channel", "samples"), peak=0.25).gain
    1.0
    """

    name: Text | None = None
    axes: tuple[Axis, ...] = ("batch", "samples")
    remove_mean: bool = False
    peak: Annotated[float, Field(gt=0, le=_LOUDEST, allow_inf_nan=False)] | None = None
    gain: Annotated[float, Field(gt=0, le=_LOUDEST, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _check_axes(self) -> Self:
        if "samples" not in self.axes or len(set(self.axes)) < len(self.axes):
            raise ValueError(
                f"input.axes is {list(self.axes)}; legal: samples, and with it batch or channel or both, "
                "each once"
            )
        return self


class GraphScores(Settings):
    """The output of a graph that has a number for each class.

    Attributes
    ----------
    output
        Name of the output.
    activation
        What makes probabilities of it: ``sigmoid`` or ``softmax`` of logits, ``none`` where it has them.
    labels
        Name of the file of the classes, which lies in the graph's folder: a label a line, JSON, or CSV.

    Examples
    --------
    >>> GraphScores(output="label", activation="softmax", labels="labels.csv").activation
    'softmax'
    """

    output: Text
    activation: Literal["sigmoid", "softmax", "none"]
    labels: Text


class GraphCard(Settings):
    """What a graph does not say of itself, so that it is opened as a model of ours is.

    Attributes
    ----------
    name
        Name of the model, as tables have it.
    licence
        Licence of the weights, such as ``Apache-2.0``.
    terms
        What the licence asks for, in a few words.
    source
        Web address of the model.
    sample_rate
        Hz of the samples that the graph takes.
    window_s
        Seconds of the clip that it takes.
    input
        Its input.
    scores
        Its output of classes, where it has one.
    embeddings
        Name of its output of embeddings, where it has one. Axes between that of clips and that of features
        are averaged.

    Raises
    ------
    ConfigError
        A key or a value is not legal, or the graph has neither scores nor embeddings.

    Examples
    --------
    >>> card = GraphCard(
    ...     name="Owls",
    ...     licence="CC0-1.0",
    ...     sample_rate=32_000,
    ...     window_s=5.0,
    ...     scores=GraphScores(output="label", activation="softmax", labels="labels.csv"),
    ...     embeddings="embedding",
    ... )
    >>> card.n_samples, card.input.axes
    (160000, ('batch', 'samples'))
    """

    name: Text
    licence: Text
    terms: str = ""
    source: str = ""
    sample_rate: Annotated[int, Field(ge=1, le=_HIGHEST_RATE)]
    window_s: Annotated[float, Field(gt=0, le=_LONGEST_S, allow_inf_nan=False)]
    input: GraphInput = GraphInput()
    scores: GraphScores | None = None
    embeddings: Text | None = None

    @model_validator(mode="after")
    def _check_samples(self) -> Self:
        if not 1 <= self.n_samples <= _MOST_SAMPLES:
            raise ValueError(
                f"window_s {self.window_s:g} at sample_rate {self.sample_rate} is a clip of "
                f"{counted(self.n_samples, 'sample')}; legal: 1 to {_MOST_SAMPLES:,}"
            )
        return self

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        if self.scores is None and self.embeddings is None:
            raise ValueError("scores and embeddings are both missing; name an output of the graph for one")
        return self

    @property
    def n_samples(self) -> int:
        """Samples of a clip: 5 s at 32 kHz are 160,000."""
        return round(self.window_s * self.sample_rate)

    @property
    def outputs(self) -> dict[Literal["scores", "embeddings"], str]:
        """The name of each output that the graph has for us."""
        scores: dict[Literal["scores", "embeddings"], str] = (
            {} if self.scores is None else {"scores": self.scores.output}
        )
        return scores if self.embeddings is None else {**scores, "embeddings": self.embeddings}

    @classmethod
    def read(cls, path: Path) -> GraphCard:
        """Return the card in a file, JSON or TOML by its suffix.

        Raises
        ------
        ModelError
            The file cannot be read or holds no such card.

        Examples
        --------
        >>> from pathlib import Path
        >>> _ = Path("owls.card.toml").write_text('name = "Owls"')
        >>> GraphCard.read(Path("owls.card.toml"))
        Traceback (most recent call last):
            ...
        dawnchorus.errors.ModelError: owls.card.toml: licence is missing; sample_rate is missing; window_s is
        missing; docs/how_to/choose_a_model.md has an example
        """
        if path.suffix != ".toml":
            return read_json(path, cls, error=ModelError, remedy=_REMEDY)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:  # no UTF-8, or no TOML
            raise ModelError(f"{path} is not TOML: {error}; {_REMEDY}") from None
        return validate(cls, values, where=str(path), error=ModelError, remedy=_REMEDY)


def card_beside(graph: Path) -> Path | None:
    """Return the card that lies beside a graph, or None where there is none.

    Raises
    ------
    ModelError
        There are two.

    Examples
    --------
    >>> from pathlib import Path
    >>> card_beside(Path("model/model.onnx")) is None  # one of ours, with its card inside
    True
    """
    found = [path for ending in CARD_ENDINGS if (path := graph.with_name(graph.stem + ending)).is_file()]
    if len(found) > 1:
        raise ModelError(f"{graph} has two cards beside it, {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None
