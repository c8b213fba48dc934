"""Backbone features → clip prediction: power pooling over frequency, attention over time.

After the clip-wise attention of Kong et al., "PANNs" (IEEE/ACM TASLP 2020), with generalised-mean pooling
(Radenović et al., "Fine-tuning CNN image retrieval", TPAMI 2019) over the frequency axis.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dawnchorus.errors import ModelError


class ModelOutput(NamedTuple):
    """The output of every network and every head for a batch of clips.

    Attributes
    ----------
    clip_logits
        Shape (batch, n_classes): train on these. The attention head's are the attention-weighted mean of the
        frame logits.
    clip_probabilities
        Shape (batch, n_classes), in [0, 1]: predict with these. The attention head's are the
        attention-weighted mean of the frame probabilities, and not the sigmoid of ``clip_logits``.
    frame_logits
        Shape (batch, n_frames, n_classes); with most backbones a 5-s clip has 10 frames of half a second.
        None from a head without frames.
    attention
        Weight of each frame for each class, shape (batch, n_frames, n_classes); sums to 1 over frames. None
        from a head without attention.
    embedding
        Embedding of the clip, shape (batch, n_features); the attention head's is the mean over time of the
        pooled features. A head may leave it None: the classifier then takes the mean of the feature map
        over frequency and time. A whole network must give it.

    Examples
    --------
    >>> import torch
    >>> logits = torch.zeros(2, 3)
    >>> ModelOutput(logits, logits.sigmoid()).frame_logits is None
    True
    """

    clip_logits: Tensor
    clip_probabilities: Tensor
    frame_logits: Tensor | None = None
    attention: Tensor | None = None
    embedding: Tensor | None = None


class FrequencyGeM(nn.Module):
    """Generalised-mean pooling over the frequency axis with a learnt exponent.

    Exponent 1 is the mean, infinity the maximum. Computed in float32 even under autocast, for the
    cube of a small feature vanishes in float16.

    Examples
    --------
    >>> import torch
    >>> features = torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)  # one channel, two frequencies, one moment
    >>> FrequencyGeM(exponent=1.0)(features).item(), round(FrequencyGeM(exponent=3.0)(features).item(), 3)
    (2.0, 2.41)
    """

    def __init__(self, exponent: float = 3.0, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), exponent))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Return features of shape (batch, channels, time) from (batch, channels, frequency, time)."""
        with torch.autocast(features.device.type, enabled=False):
            return features.float().clamp_min(self.eps).pow(self.p).mean(2).pow(1 / self.p)


class AttentionHead(nn.Module):
    """Dense layer, then class-wise attention over time.

    The names of its parameters are those of the published checkpoints.

    Parameters
    ----------
    in_features
        Channels of the backbone's last feature map.
    n_classes
        Species.
    hidden_features
        Width of the dense layer.
    dropout
        Fraction of hidden features dropped while training, in [0, 1); half of it before the dense layer.

    Raises
    ------
    ModelError
        If a value is out of its range.

    Attributes
    ----------
    class_layers
        Names of the parameters with a row for each class. A training from a model of other classes copies
        their rows class by class. A head without this attribute starts afresh where the classes differ.

    Examples
    --------
    >>> import torch
    >>> head = AttentionHead(in_features=16, n_classes=3).eval()
    >>> head(torch.rand(2, 16, 4, 10)).frame_logits.shape
    torch.Size([2, 10, 3])
    """

    class_layers = ("attention.weight", "attention.bias", "fix_scale.weight", "fix_scale.bias")

    def __init__(
        self, in_features: int, n_classes: int, *, hidden_features: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if n_classes < 1 or hidden_features < 1:
            raise ModelError(
                f"n_classes is {n_classes} and hidden_features {hidden_features}; both must be 1 or more"
            )
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout is {dropout}; legal: 0 to below 1")
        self.pooling = FrequencyGeM()
        self.dense_layers = nn.Sequential(
            nn.Dropout(dropout / 2), nn.Linear(in_features, hidden_features), nn.ReLU(), nn.Dropout(dropout)
        )
        self.attention = nn.Conv1d(hidden_features, n_classes, kernel_size=1)
        self.fix_scale = nn.Conv1d(hidden_features, n_classes, kernel_size=1)

    def forward(self, features: Tensor) -> ModelOutput:
        """Return the prediction from a feature map of shape (batch, in_features, frequency, time)."""
        pooled = self.pooling(features)  # (batch, in_features, time)
        hidden = self.dense_layers(pooled.transpose(1, 2)).transpose(1, 2)  # (batch, hidden_features, time)
        weights = self.attention(hidden).tanh().softmax(-1)  # (batch, n_classes, time)
        logits = self.fix_scale(hidden)  # (batch, n_classes, time)
        return ModelOutput(
            clip_logits=(logits * weights).sum(-1),
            # The weights add up to 1 within rounding, so a probability could exceed 1 slightly.
            clip_probabilities=(logits.sigmoid() * weights).sum(-1).clamp_max(1),
            frame_logits=logits.transpose(1, 2),
            attention=weights.transpose(1, 2),
            embedding=pooled.mean(-1),
        )
