"""Backbone features → clip prediction: attention over time, with a GRU before it, or a linear layer.

The attention is after the clip-wise attention of Kong et al., "PANNs" (IEEE/ACM TASLP 2020), with
generalised-mean pooling (Radenović et al., "Fine-tuning CNN image retrieval", TPAMI 2019) over the frequency
axis.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

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
    prediction
        What ``clip_probabilities`` are of the frame probabilities: their ``attention``-weighted mean, or
        their ``maximum``.
    middle
        Fraction of the frames, in the middle of the clip, that the maximum is taken over, above 0 and up to
        1: a third for clips of 15 s that predict 5 s.

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
        self,
        in_features: int,
        n_classes: int,
        *,
        hidden_features: int = 512,
        dropout: float = 0.5,
        prediction: Literal["attention", "maximum"] = "attention",
        middle: float = 1.0,
    ) -> None:
        super().__init__()
        if n_classes < 1 or hidden_features < 1:
            raise ModelError(
                f"n_classes is {n_classes} and hidden_features {hidden_features}; both must be 1 or more"
            )
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout is {dropout}; legal: 0 to below 1")
        if prediction not in ("attention", "maximum"):
            raise ModelError(f"prediction is {prediction!r}; legal: 'attention', 'maximum'")
        if not 0 < middle <= 1 or (middle < 1 and prediction == "attention"):
            raise ModelError(
                f"middle is {middle} with the prediction {prediction!r}; legal: above 0, up to 1, and below "
                "1 only with 'maximum'"
            )
        self.prediction, self.middle = prediction, middle
        self.pooling = FrequencyGeM()
        self.dense_layers = nn.Sequential(
            nn.Dropout(dropout / 2), nn.Linear(in_features, hidden_features), nn.ReLU(), nn.Dropout(dropout)
        )
        self.attention = nn.Conv1d(hidden_features, n_classes, kernel_size=1)
        self.fix_scale = nn.Conv1d(hidden_features, n_classes, kernel_size=1)

    def forward(self, features: Tensor) -> ModelOutput:
        """Return the prediction from a feature map of shape (batch, in_features, frequency, time)."""
        pooled = self.pooling(features)  # (batch, in_features, time)
        hidden = self._hidden(pooled.transpose(1, 2)).transpose(1, 2)  # (batch, hidden_features, time)
        weights = self.attention(hidden).tanh().softmax(-1)  # (batch, n_classes, time)
        logits = self.fix_scale(hidden)  # (batch, n_classes, time)
        return ModelOutput(
            clip_logits=(logits * weights).sum(-1),
            clip_probabilities=self._clip_probabilities(logits, weights),
            frame_logits=logits.transpose(1, 2),
            attention=weights.transpose(1, 2),
            embedding=pooled.mean(-1),
        )

    def _hidden(self, frames: Tensor) -> Tensor:
        """Return the hidden features of frames, shape (batch, time, hidden_features)."""
        return self.dense_layers(frames)

    def _clip_probabilities(self, logits: Tensor, weights: Tensor) -> Tensor:
        if self.prediction == "maximum":
            n_frames = logits.shape[-1]
            start = min(round(n_frames * (1 - self.middle) / 2), (n_frames - 1) // 2)
            return logits[..., start : n_frames - start].amax(-1).sigmoid()
        # The weights add up to 1 within rounding, so a probability could exceed 1 slightly.
        return (logits.sigmoid() * weights).sum(-1).clamp_max(1)


class GruHead(AttentionHead):
    """Dense layer, bidirectional GRU (Cho et al., EMNLP 2014) over the frames, then attention over time.

    Parameters
    ----------
    in_features, n_classes
        As for :class:`AttentionHead`.
    hidden_features
        Width of the dense layer and of both directions of the GRU together, an even number.
    dropout, prediction, middle
        As for :class:`AttentionHead`.

    Raises
    ------
    ModelError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> head = GruHead(in_features=16, n_classes=3, hidden_features=8).eval()
    >>> head(torch.rand(2, 16, 4, 10)).frame_logits.shape
    torch.Size([2, 10, 3])
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        hidden_features: int = 512,
        dropout: float = 0.5,
        prediction: Literal["attention", "maximum"] = "attention",
        middle: float = 1.0,
    ) -> None:
        if hidden_features % 2:
            raise ModelError(f"hidden_features is {hidden_features}; legal with a GRU: even numbers")
        super().__init__(
            in_features,
            n_classes,
            hidden_features=hidden_features,
            dropout=dropout,
            prediction=prediction,
            middle=middle,
        )
        self.gru = nn.GRU(hidden_features, hidden_features // 2, batch_first=True, bidirectional=True)

    def _hidden(self, frames: Tensor) -> Tensor:
        return self.gru(super()._hidden(frames))[0]


class LinearHead(nn.Module):
    """Mean over frequency and time, then one linear layer.

    The logits of a clip are the mean of those of its frames, for both the mean and the layer are linear.

    Parameters
    ----------
    in_features
        Channels of the backbone's last feature map.
    n_classes
        Species.
    dropout
        Fraction of the features dropped while training, in [0, 1).

    Raises
    ------
    ModelError
        If a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> output = LinearHead(in_features=16, n_classes=3).eval()(torch.rand(2, 16, 4, 10))
    >>> output.frame_logits.shape
    torch.Size([2, 10, 3])
    >>> bool(torch.allclose(output.frame_logits.mean(1), output.clip_logits, atol=1e-6))
    True
    """

    class_layers = ("classes.weight", "classes.bias")

    def __init__(self, in_features: int, n_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout is {dropout}; legal: 0 to below 1")
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(in_features, n_classes)

    def forward(self, features: Tensor) -> ModelOutput:
        """Return the prediction from a feature map of shape (batch, in_features, frequency, time)."""
        frames = features.mean(2).transpose(1, 2)  # (batch, time, in_features)
        frame_logits = self.classes(self.dropout(frames))
        logits = frame_logits.mean(1)
        return ModelOutput(logits, logits.sigmoid(), frame_logits, embedding=frames.mean(1))
