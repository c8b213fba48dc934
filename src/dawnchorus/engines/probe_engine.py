"""A head on the frozen embeddings of another model: the folder of a probe as an engine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.engines.engine import Engine, Inputs, KeyT, Outputs, fingerprint_of
from dawnchorus.errors import ModelError
from dawnchorus.models.probe_head import HEAD_NAME, PROBE_NAME, REMEDY, Embedder, ProbeCard, ProbeHead


class ProbeEngine(Engine):
    """An embedder and a head that tells its classes apart.

    Parameters
    ----------
    embedder
        The engine whose embeddings the head takes.
    head
        The head.
    card
        Its card.
    fingerprint
        Identifies the head.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.models.probe_head import Embedder, ProbeCard, ProbeHead
    >>> embedder = open_engine("model", n_threads=1)
    >>> facts = Embedder(path="model", name="tiny", fingerprint=embedder.fingerprint, n_features=96)
    >>> card = ProbeCard(name="owls", labels=("owl", "wren"), embedder=facts, head="linear")
    >>> zeros = np.zeros(96, np.float32)
    >>> head = ProbeHead(zeros, zeros + 1, np.zeros((96, 2), np.float32), np.float32([-3, 0]))
    >>> engine = ProbeEngine(embedder, head, card)
    >>> engine.predict(np.zeros((1, 80_000), np.float32)).round(2)
    array([[0.05, 0.5 ]], dtype=float32)
    """

    def __init__(self, embedder: Engine, head: ProbeHead, card: ProbeCard, fingerprint: str = "head") -> None:
        self.embedder, self.head = embedder, head
        self.card = replace(
            embedder.card,
            exp_name=card.name,
            labels=card.labels,
            species=card.species,
            licence=card.embedder.licence,
            folds=(),
        )
        self.fingerprint = f"{fingerprint} on {embedder.fingerprint}"
        self.clips_per_request = embedder.clips_per_request
        self.input_kind = embedder.input_kind

    def prepare(self, waves: npt.NDArray[np.float32]) -> Inputs:
        """Return the inputs of the embedder for clips."""
        return self.embedder.prepare(waves)

    def stream(self, requests: Iterable[tuple[KeyT, Inputs]]) -> Iterator[tuple[KeyT, Outputs]]:
        """Yield the outputs of each request with its key, in order."""
        for key, outputs in self.embedder.stream(requests):
            yield key, Outputs(self.head.scores(outputs.embeddings), outputs.embeddings)

    def resize(self, clips_per_request: int) -> None:
        """Set the number of clips that are computed at once."""
        self.embedder.resize(clips_per_request)
        self.clips_per_request = clips_per_request


def is_probe(path: Path) -> bool:
    """Return whether a folder is that of a probe.

    Examples
    --------
    >>> from pathlib import Path
    >>> is_probe(Path("model"))
    False
    """
    return (path / PROBE_NAME).is_file()


def read_head(folder: Path, card: ProbeCard) -> ProbeHead:
    """Return the head in the folder of a probe.

    Raises
    ------
    ModelError
        Its weights are missing, damaged, or not those of the card.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.models.probe_head import Embedder, ProbeCard
    >>> embedder = Embedder(path="birdnet", name="BirdNET v2.4", fingerprint="graph 0", n_features=1024)
    >>> read_head(Path("owls"), ProbeCard(name="owls", labels=("owl",), embedder=embedder, head="linear"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: owls/head.npz cannot be read: No such file or directory; fit it again ...
    """
    from dawnchorus.formats.array_archives import read_arrays  # the room needs pandas

    file = folder / HEAD_NAME
    return ProbeHead.of(read_arrays(file, error=ModelError, remedy=REMEDY), card, where=file)


def embedder_path(folder: Path, embedder: Embedder) -> Path:
    """Return the path or the name that opens the embedder of a probe.

    Raises
    ------
    ModelError
        It is a config, which would be run, or a probe.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.models.probe_head import Embedder
    >>> facts = Embedder(path="birdnet", name="BirdNET v2.4", fingerprint="graph 0", n_features=1024)
    >>> embedder_path(Path("owls"), facts).as_posix()
    'birdnet'
    """
    from dawnchorus.engines.graphs import named_model

    named = Path(embedder.path)
    if named_model(named) is not None:
        return named
    path = Path(os.path.normpath(folder / named))
    card = folder / PROBE_NAME
    if path.suffix == ".py" or is_probe(path):
        what = "a config, which would be run" if path.suffix == ".py" else "a probe itself"
        raise ModelError(f"{card} names the embedder {embedder.path}, {what}; {REMEDY}")
    if not path.exists():
        raise ModelError(
            f"{card} names the embedder {embedder.path}, and {path} does not exist; bring {embedder.name} "
            f"back there, or {REMEDY}"
        )
    return path


def on_embedder(folder: Path, card: ProbeCard, embedder: Engine) -> ProbeEngine:
    """Return the engine of a probe on its opened embedder.

    Raises
    ------
    ModelError
        The embedder has other weights than the head was fitted to, or the head is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.models.probe_head import Embedder, ProbeCard
    >>> facts = Embedder(path="../model", name="tiny", fingerprint="onnx 0", n_features=96)
    >>> card = ProbeCard(name="owls", labels=("owl",), embedder=facts, head="linear")
    >>> on_embedder(Path("owls"), card, open_engine("model", n_threads=1))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: the embedder ../model of owls/probe.json has other weights than the head was
    fitted to; fit it again with dawnchorus probe
    """
    if embedder.fingerprint != card.embedder.fingerprint or not embedder.has_embeddings:
        raise ModelError(
            f"the embedder {card.embedder.path} of {folder / PROBE_NAME} has other weights than the head was "
            f"fitted to; {REMEDY}"
        )
    head = read_head(folder, card)
    classes = hashlib.sha256(repr((card.labels, card.activation, card.unit_length)).encode()).hexdigest()[:16]
    fingerprint = f"{fingerprint_of('probe', [folder / HEAD_NAME])} {classes}"
    opened = ProbeEngine(embedder, head, card, fingerprint)
    opened.folder = folder
    return opened
