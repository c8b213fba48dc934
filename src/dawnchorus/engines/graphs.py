"""Graphs that others have trained: found by the card beside them, or by a name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dawnchorus.config.registry import MODELS
from dawnchorus.errors import ModelError
from dawnchorus.models.graph_card import CARD_ENDINGS, GraphCard, card_beside

if TYPE_CHECKING:
    from dawnchorus.engines.named_models import NamedModel

SUFFIXES = (".onnx", ".tflite")


class Graph(NamedTuple):
    """A graph that somebody else has trained, and its card.

    Attributes
    ----------
    file
        An ``.onnx`` or a ``.tflite`` file.
    card
        Its card.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.named_models import PERCH
    >>> Graph(Path("perch-2/perch_v2.onnx"), PERCH.card).card.name
    'Perch 2'
    """

    file: Path
    card: GraphCard


def graph_at(path: Path) -> Graph | None:
    """Return the graph of a file or folder with a card, or of a name; None where the path has no card.

    Raises
    ------
    ModelError
        The card cannot be read, a folder has several, a ``.tflite`` file has none, or the named model is not
        installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> graph_at(Path("model")) is None  # one of ours
    True
    """
    if path.is_file():
        card = card_beside(path) if path.suffix in SUFFIXES else None
        if card is not None:
            return Graph(path, GraphCard.read(card))
        if path.suffix == ".tflite":
            raise ModelError(
                f"{path} has no card beside it; write {path.stem}.card.json, of which "
                "docs/how_to/choose_a_model.md has an example"
            )
        return None
    cards = cards_in(path)
    if len(cards) > 1:
        raise ModelError(f"{path} has the cards {cards[0].name} and {cards[1].name}; give the graph of one")
    if cards:
        return graph_of(cards[0])
    named = named_model(path)
    if named is None or any(path.glob("model.*")):  # an export in a folder of this name
        return None
    file = named.find()
    if file is None:
        raise ModelError(f"{named.card.name} is not installed: {named.remedy}")
    return Graph(file, named.card)


def graph_of(card: Path) -> Graph:
    """Return the graph that a card lies beside.

    Raises
    ------
    ModelError
        There is none, or the card cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> graph_of(Path("owls.card.json"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: owls.card.json has no graph beside it; put owls.onnx or owls.tflite there
    """
    stem = next(card.name.removesuffix(ending) for ending in CARD_ENDINGS if card.name.endswith(ending))
    names = [stem + suffix for suffix in SUFFIXES]
    files = [file for name in names if (file := card.with_name(name)).is_file()]
    if not files:
        raise ModelError(f"{card} has no graph beside it; put {' or '.join(names)} there")
    return Graph(files[0], GraphCard.read(card))


def cards_in(folder: Path) -> list[Path]:
    """Return the cards of graphs in a folder, by name.

    Examples
    --------
    >>> from pathlib import Path
    >>> cards_in(Path("model"))
    []
    """
    return sorted(path for ending in CARD_ENDINGS for path in folder.glob(f"*{ending}") if path.is_file())


def named_model(path: Path) -> NamedModel | None:
    """Return the model of a name; None for any other path, and where a file has this name.

    Examples
    --------
    >>> from pathlib import Path
    >>> named_model(Path("birdnet")).card.name, named_model(Path("model"))
    ('BirdNET v2.4', None)
    """
    return MODELS[str(path)] if str(path) in MODELS and not path.is_file() else None
