"""Several models behind one front-end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class EnsembleOutput(NamedTuple):
    """The outputs of an ensemble for clips.

    Attributes
    ----------
    probabilities
        Mean of the models' clip probabilities, shape (batch, n_classes), in [0, 1].
    embeddings
        The first model's embedding, shape (batch, in_features): models trained apart have no common space.
    logmel
        The spectrogram that all models were given, shape (batch, n_channels, n_mels, n_frames).
    frame_logits
        Mean of the models' frame logits, shape (batch, n_frames, n_classes); None unless asked for.

    Examples
    --------
    >>> import torch
    >>> output = EnsembleOutput(torch.zeros(2, 3), torch.zeros(2, 64), torch.zeros(2, 1, 128, 313))
    >>> output.probabilities.shape
    torch.Size([2, 3])
    """

    probabilities: Tensor
    embeddings: Tensor
    logmel: Tensor
    frame_logits: Tensor | None = None


class EnsembleModule(nn.Module):
    """The mean of the clip probabilities of several models; the spectrogram is computed once.

    Parameters
    ----------
    models
        Models with a ``forward_spectrogram``, all trained on the same front-end.
    frontend
        Module that turns waves (batch, n_samples) into spectrograms.
    frames
        Whether to give the frame logits too, where the heads have any.

    Examples
    --------
    >>> import torch
    >>> from dawnchorus import WaveCNNAttenClassifier
    >>> network = {"n_classes": 3, "backbone": "test_resnet.r160_in1k"}
    >>> models = [WaveCNNAttenClassifier(**network) for fold in range(2)]
    >>> ensemble = EnsembleModule(models, models[0].frontend).eval()
    >>> output = ensemble(torch.zeros(4, 32_000))
    >>> output.probabilities.shape, output.logmel.shape
    (torch.Size([4, 3]), torch.Size([4, 1, 128, 63]))
    """

    def __init__(self, models: Sequence[nn.Module], frontend: nn.Module, *, frames: bool = False) -> None:
        super().__init__()
        self.frames = frames
        self.models = nn.ModuleList(models)
        self.frontend = frontend

    def forward(self, wave: Tensor) -> EnsembleOutput:
        """Return the outputs for waves of shape (batch, n_samples)."""
        logmel = self.frontend(wave)
        models: Iterable[Any] = self.models
        outputs = [model.forward_spectrogram(logmel) for model in models]
        probabilities = torch.stack([output.clip_probabilities for output in outputs]).mean(dim=0)
        has_frames = self.frames and all(output.frame_logits is not None for output in outputs)
        mean = torch.stack([output.frame_logits for output in outputs]).mean(dim=0) if has_frames else None
        return EnsembleOutput(probabilities, outputs[0].embedding, logmel, mean)
