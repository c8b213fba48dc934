"""The checkpoints of a run in PyTorch, on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dawnchorus.engines.engine import Engine, KeyT, Outputs, checked_n_networks
from dawnchorus.models.card import ModelCard
from dawnchorus.models.ensemble import EnsembleModule

CLIPS_PER_REQUEST_CPU, CLIPS_PER_REQUEST_GPU = 4, 32


class TorchEngine(Engine):
    """The ensemble in PyTorch.

    Parameters
    ----------
    models
        Networks in evaluation mode, all trained on the same front-end.
    card
        Their model card.
    device
        Such as ``cpu``; None takes a GPU where there is one.
    clips_per_request
        Clips of a forward pass.
    fingerprint
        Identifies these weights.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> engine = TorchEngine([run.load_model(0), run.load_model(1)], run.card(), device="cpu")
    >>> engine.predict(np.zeros((1, run.card().n_samples), np.float32)).shape
    (1, 2)
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        card: ModelCard,
        *,
        device: str | None = None,
        clips_per_request: int | None = None,
        fingerprint: str = "torch",
    ) -> None:
        self.card = card
        self.fingerprint = fingerprint
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        usual = CLIPS_PER_REQUEST_CPU if self.device == "cpu" else CLIPS_PER_REQUEST_GPU
        self.clips_per_request = clips_per_request or usual
        frontend: nn.Module = models[0].frontend  # type: ignore[assignment]
        self.ensemble = EnsembleModule(models, frontend, frames=True).eval().to(self.device)
        self.n_networks = len(models)

    def keep_networks(self, n_networks: int) -> None:
        """Limit the mean to the first ``n_networks``."""
        self.ensemble.models = self.ensemble.models[: checked_n_networks(n_networks, self.n_networks)]
        self.n_networks = n_networks

    def prepare(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the clips themselves: the front-end is part of the ensemble, on its device."""
        return waves

    def stream(
        self, requests: Iterable[tuple[KeyT, npt.NDArray[np.float32]]]
    ) -> Iterator[tuple[KeyT, Outputs]]:
        """Yield the outputs of each request with its key, in order."""
        for key, waves in requests:
            with torch.inference_mode():
                outputs = self.ensemble(torch.from_numpy(waves).to(self.device))
                given = (outputs.probabilities, outputs.embeddings, outputs.frame_logits)
                arrays = [values.float().cpu().numpy() for values in given if values is not None]
            yield key, Outputs(*arrays)
