"""The classifier: waveform in, probabilities of species out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dawnchorus.errors import ModelError
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.backbone import create_backbone
from dawnchorus.models.head import AttentionHead, ModelOutput


class WaveCNNAttenClassifier(nn.Module):
    """Log-mel front-end, timm backbone, attention head.

    Its state dict holds ``backbone.*`` and ``head.*`` under the names of the published checkpoints; the
    front-end has no weights.

    Parameters
    ----------
    n_classes
        Species.
    backbone
        A name of timm, new (``tf_efficientnetv2_s.in21k``) or old (``tf_efficientnetv2_s_in21k``).
    pretrained
        Whether to start from timm's published weights.
    dropout
        Dropout of the head, in [0, 1).
    hidden_features
        Width of the head's dense layer.
    drop_path_rate
        Stochastic depth of the backbone, in [0, 1); ``None`` leaves timm's default.
    frontend
        How a waveform becomes a picture: settings, or a config's dict of some of them.

    Raises
    ------
    ConfigError
        If a setting of the front-end is not known or out of its range.
    ModelError
        If the backbone is not known, or a value out of its range.
    WeightsError
        If ``pretrained`` weights cannot be had.

    Examples
    --------
    >>> model = WaveCNNAttenClassifier(n_classes=206).eval()
    >>> model(torch.zeros(1, 160_000)).clip_probabilities.shape
    torch.Size([1, 206])
    """

    def __init__(
        self,
        *,
        n_classes: int,
        backbone: str = "tf_efficientnetv2_s.in21k",
        pretrained: bool = False,
        dropout: float = 0.5,
        hidden_features: int = 512,
        drop_path_rate: float | None = None,
        frontend: FrontendSettings | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if drop_path_rate is not None and not 0 <= drop_path_rate < 1:
            raise ModelError(f"drop_path_rate is {drop_path_rate}; legal: None, or 0 to below 1")
        if not isinstance(frontend, FrontendSettings):
            frontend = FrontendSettings.from_mapping(frontend or {})
        self.frontend = LogMelFrontend(frontend)
        features: Any = create_backbone(backbone, pretrained=pretrained, drop_path_rate=drop_path_rate)
        n_features = features.feature_info.channels()[-1]
        self.backbone = features
        self.head = AttentionHead(n_features, n_classes, hidden_features=hidden_features, dropout=dropout)

    def forward(self, wave: Tensor) -> ModelOutput:
        """Return the prediction for waveforms of shape (batch, n_samples), float32 in [-1, 1]."""
        return self.forward_spectrogram(self.frontend(wave))

    def forward_spectrogram(self, logmel: Tensor) -> ModelOutput:
        """Return the prediction for log-mel pictures of shape (batch, 1, n_mels, n_frames), in [0, 1].

        Training puts its masks between the front-end and this; an ensemble computes the front-end once.
        """
        return self.head(self.backbone(logmel)[-1])


WaveCNNAttenClasifier = WaveCNNAttenClassifier
"""The spelling of the mission's document, kept so that configs written after it work."""
