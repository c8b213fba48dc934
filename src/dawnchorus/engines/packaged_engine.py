"""Packaged weights of another domain as an embedder: a network of ImageNet on log-mel spectrograms."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.engines.engine_settings import EngineSettings
from dawnchorus.engines.graph_engine import GraphEngine
from dawnchorus.models.graph_card import GraphCard


class PackagedEngine(GraphEngine):
    """The backbone of packaged weights as it comes, its last feature map averaged over frequency and time.

    It hears what a network of ours hears that starts from these weights, before it is trained.

    Parameters
    ----------
    path
        The file of the weights.
    graph
        The card of the embedder.
    settings
        Threads and clips of a request; there are no streams.

    Raises
    ------
    WeightsError
        The file is not of a known package.
    MissingExtraError
        The package is not installed.

    Examples
    --------
    >>> from dawnchorus import open_engine
    >>> engine = open_engine("imagenet", n_threads=1)
    >>> type(engine).__name__, engine.card.labels, engine.has_embeddings
    ('PackagedEngine', (), True)
    """

    def __init__(self, path: Path, graph: GraphCard, settings: EngineSettings) -> None:
        import torch

        from dawnchorus.models.packaged_weights import PREFIX, package_of
        from dawnchorus.models.starting_weights import start_from
        from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

        super().__init__(path, graph, settings)
        torch.set_num_threads(settings.n_threads)
        name, package = package_of(path)
        self.network = WaveCNNAttenClassifier(
            n_classes=1,
            backbone=package.timm_name,
            pretrained=False,
            head="linear",
            frontend=self.card.frontend,
        ).eval()
        start_from(self.network, f"{PREFIX}{name}", labels=("none",))
        digest = hashlib.sha256(repr(self.card.frontend).encode())
        for tensor in self.network.backbone.state_dict().values():  # as they are computed with, not as filed
            digest.update(tensor.numpy().tobytes())
        self.fingerprint = f"packaged {digest.hexdigest()[:16]}"

    def compute(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the embeddings of clips, shape (batch, n_samples), by their name in the card."""
        import torch

        assert self.graph.embeddings is not None
        with torch.inference_mode():
            embeddings = self.network(torch.from_numpy(inputs)).embedding
        return {self.graph.embeddings: embeddings.numpy()}
