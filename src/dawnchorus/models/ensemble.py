"""Several models that hear through one front-end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn


class Ensemble(nn.Module):
    """The mean of the clip probabilities of several models; the spectrogram is computed once.

    Parameters
    ----------
    models
        Models with a ``forward_spectrogram``, all trained on the same front-end.
    frontend
        Module that turns waves (batch, n_samples) into spectrograms.
    """

    def __init__(self, models: Sequence[nn.Module], frontend: nn.Module) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.frontend = frontend

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        """Return probabilities, shape (batch, n_classes), of waves, shape (batch, n_samples)."""
        logmel = self.frontend(wave)
        models: Iterable[Any] = self.models
        outputs = [model.forward_spectrogram(logmel).clip_probabilities for model in models]
        return torch.stack(outputs).mean(dim=0)
