"""The contract of a network for training, evaluation and export, and its check."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dawnchorus.config.import_paths import import_path
from dawnchorus.errors import ModelError
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.models.feature_map import SIZE_ERRORS, device_of, evaluating
from dawnchorus.models.head import ModelOutput


class Network(Protocol):
    """A network of one's own: an ``nn.Module`` with these, made by its class from keywords alone.

    One of the keywords is ``n_classes``; the others are those of the config's ``nn_model_config``. One named
    ``pretrained`` is set to False where a checkpoint follows.

    Attributes
    ----------
    frontend
        The log-mel front-end, from waves (batch, n_samples) to spectrograms (batch, 1, n_mels, n_frames).
        Exports rebuild it from its ``settings``.

    Examples
    --------
    >>> from torch import nn
    >>> from dawnchorus.features.frontend import LogMelFrontend
    >>> from dawnchorus.models.head import ModelOutput
    >>> class Linear(nn.Module):
    ...     def __init__(self, *, n_classes):
    ...         super().__init__()
    ...         self.frontend = LogMelFrontend()
    ...         self.layer = nn.Linear(self.frontend.settings.n_mels, n_classes)
    ...
    ...     def forward(self, wave):
    ...         return self.forward_spectrogram(self.frontend(wave))
    ...
    ...     def forward_spectrogram(self, logmel):
    ...         embedding = logmel.mean((1, 3))
    ...         logits = self.layer(embedding)
    ...         return ModelOutput(logits, logits.sigmoid(), embedding=embedding)
    >>> check_network(Linear(n_classes=3), n_samples=160_000, n_classes=3)
    """

    frontend: LogMelFrontend

    def forward(self, wave: Tensor) -> ModelOutput:
        """Return the prediction for waveforms of shape (batch, n_samples), float32 in [-1, 1]."""

    def forward_spectrogram(self, logmel: Tensor) -> ModelOutput:
        """Return the prediction for spectrograms of shape (batch, 1, n_mels, n_frames), float32 in [0, 1]."""


def check_network(model: nn.Module, *, n_samples: int, n_classes: int) -> None:
    """Raise a ModelError where a network does not keep the contract of :class:`Network`.

    Parameters
    ----------
    model
        The network; it is called with one silent clip, and is left as it was.
    n_samples
        Samples of a clip.
    n_classes
        Classes.

    Raises
    ------
    ModelError
        It has no front-end, cannot take a clip of this length, or its output is not as required.

    Examples
    --------
    >>> from dawnchorus import WaveCNNAttenClassifier
    >>> network = WaveCNNAttenClassifier(n_classes=3, backbone="test_resnet.r160_in1k")
    >>> check_network(network, n_samples=160_000, n_classes=3)
    >>> check_network(network, n_samples=160_000, n_classes=4)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: network dawnchorus.models.wave_cnn:WaveCNNAttenClassifier: clip_logits has
    the shape (1, 3); it must be (1, 4)
    """
    name = import_path(type(model))
    frontend: Any = getattr(model, "frontend", None)
    if not hasattr(frontend, "settings"):
        raise ModelError(
            f"network {name} has no frontend with settings; set self.frontend to a LogMelFrontend"
        )
    if not hasattr(model, "forward_spectrogram"):
        raise ModelError(f"network {name} has no forward_spectrogram(logmel); see dawnchorus.models.network")
    try:
        with evaluating(model):
            output: Any = model(torch.zeros(1, n_samples, device=device_of(model)))
    except SIZE_ERRORS as error:
        size = (frontend.settings.n_mels, frontend.settings.n_frames(n_samples))
        whole = tuple(-(-length // 32) * 32 for length in size)
        raise ModelError(
            f"network {name} cannot take a clip of {size[0]} bands and {size[1]} frames: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0]}; where the backbone is for "
            f'spectrograms of one size, give it as backbone_config: {{"img_size": {whole}}}'
        ) from error
    if not isinstance(output, ModelOutput):
        raise ModelError(f"network {name} gives {type(output).__name__}; it must give a ModelOutput")
    for field in ("clip_logits", "clip_probabilities"):
        shape = tuple(getattr(output, field).shape)
        if shape != (1, n_classes):
            raise ModelError(f"network {name}: {field} has the shape {shape}; it must be (1, {n_classes})")
    if output.embedding is None or output.embedding.ndim != 2:
        raise ModelError(f"network {name} gives no embedding of shape (batch, n_features); return one")
