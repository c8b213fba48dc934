"""The classifier: waveform in, probabilities of species out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dawnchorus.config.import_paths import import_path
from dawnchorus.config.registry import HEADS
from dawnchorus.config.settings import check_keywords
from dawnchorus.errors import ModelError
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.backbone import make_backbone
from dawnchorus.models.feature_map import device_of, evaluating, trial_size
from dawnchorus.models.head import AttentionHead, ModelOutput


class WaveCNNAttenClassifier(nn.Module):
    """Log-mel front-end, backbone, head.

    Its state dict holds ``backbone.*`` and ``head.*`` under the names of the published checkpoints; the
    front-end has no weights.

    Parameters
    ----------
    n_classes
        Species.
    backbone
        A name of timm, new (``tf_efficientnetv2_s.in21k``) or old (``tf_efficientnetv2_s_in21k``),
        convolutional or a transformer; a registered name; ``package.module:factory``; a factory; or a module.
        :func:`dawnchorus.models.backbone.make_backbone` has the contract of a backbone of one's own.
    pretrained
        Whether to start from timm's published weights.
    dropout, hidden_features
        Dropout of the attention head, in [0, 1), and width of its dense layer. Other heads do not get them.
    drop_path_rate
        Stochastic depth of the backbone, in [0, 1); ``None`` leaves timm's default.
    frontend
        Settings of the log-mel spectrogram, or a config's dict of some of them.
    backbone_config
        More keywords of the backbone. Networks of windows or fixed positions, such as MaxViT, are built for
        spectrograms of ``img_size`` (bands, frames), by default 5 s, and shorter ones are padded to it: with
        other clips give their size, in multiples of 32, such as ``{"img_size": (128, 640)}`` for 10 s.
    head
        ``attention``, ``gru``, ``linear``, another registered name, ``package.module:Head`` or a class. It is
        called with ``(in_features, n_classes, **head_config)``, and the module that it makes maps a feature
        map (batch, in_features, frequency, time) to a :class:`ModelOutput`.
    head_config
        More keywords of the head.

    Raises
    ------
    ConfigError
        If a setting of the front-end is not known or out of its range, or a part cannot be imported.
    ModelError
        If the backbone is not known or gives no feature map, the head gives no output, or a value is out of
        its range.
    WeightsError
        If ``pretrained`` weights cannot be had.

    Examples
    --------
    >>> import torch
    >>> model = WaveCNNAttenClassifier(n_classes=206, backbone="test_resnet").eval()
    >>> model(torch.zeros(1, 160_000)).clip_probabilities.shape
    torch.Size([1, 206])
    """

    def __init__(
        self,
        *,
        n_classes: int,
        backbone: Any = "tf_efficientnetv2_s.in21k",
        pretrained: bool = False,
        dropout: float = 0.5,
        hidden_features: int = 512,
        drop_path_rate: float | None = None,
        frontend: FrontendSettings | Mapping[str, Any] | None = None,
        backbone_config: Mapping[str, Any] | None = None,
        head: Any = "attention",
        head_config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if drop_path_rate is not None and not 0 <= drop_path_rate < 1:
            raise ModelError(f"drop_path_rate is {drop_path_rate}; legal: None, or 0 to below 1")
        if not isinstance(frontend, FrontendSettings):
            frontend = FrontendSettings.from_mapping(frontend or {})
        self.frontend = LogMelFrontend(frontend)
        self.backbone, self.feature_maps = make_backbone(
            backbone,
            size=trial_size(frontend),
            n_channels=len(frontend.win_lengths),
            pretrained=pretrained,
            drop_path_rate=drop_path_rate,
            config=backbone_config,
        )
        settings = {"hidden_features": hidden_features, "dropout": dropout}
        self.head = _make_head(head, self.feature_maps.n_features, n_classes, settings, head_config or {})
        self._try_head(n_classes, head if isinstance(head, str) else import_path(head))

    def forward(self, wave: Tensor) -> ModelOutput:
        """Return the prediction for waveforms of shape (batch, n_samples), float32 in [-1, 1]."""
        return self.forward_spectrogram(self.frontend(wave))

    def forward_spectrogram(self, logmel: Tensor) -> ModelOutput:
        """Return the prediction for log-mel spectrograms (batch, n_channels, n_mels, n_frames), in [0, 1].

        Training applies its masks between the front-end and this; an ensemble computes the front-end once.
        """
        features = self.feature_maps.of(self.backbone, logmel)
        output: ModelOutput = self.head(features)
        return output if output.embedding is not None else output._replace(embedding=features.mean((2, 3)))

    def _try_head(self, n_classes: int, name: str) -> None:
        """Raise a ModelError where the head gives no valid output for a feature map."""
        with evaluating(self.head):
            output: Any = self.head(torch.zeros(self.feature_maps.shape, device=device_of(self.head)))
        if not isinstance(output, ModelOutput):
            raise ModelError(
                f"head {name} gives {type(output).__name__}; it must give a dawnchorus.ModelOutput of "
                "clip_logits and clip_probabilities"
            )
        for field, values in output._asdict().items():
            if field.startswith("clip_") and tuple(values.shape) != (1, n_classes):
                raise ModelError(
                    f"head {name}: {field} has the shape {tuple(values.shape)} for 1 clip of {n_classes} "
                    "classes; it must be (batch, n_classes)"
                )


def _make_head(
    given: Any, n_features: int, n_classes: int, of_attention: Mapping[str, Any], config: Mapping[str, Any]
) -> nn.Module:
    """Return a new head; the attention head gets ``of_attention`` too."""
    found = HEADS.find(given, where="head")
    name = given if isinstance(given, str) else import_path(given)
    if isinstance(found, nn.Module) or not callable(found):
        raise ModelError(
            f"head is {name}, which is made already; give its class, which is called with in_features and "
            "n_classes"
        )
    if found is AttentionHead:
        config = {**of_attention, **config}
    check_keywords(found, config, where="head_config")
    head = found(n_features, n_classes, **config)
    if not isinstance(head, nn.Module):
        raise ModelError(f"head {name} makes {type(head).__name__}, and no torch.nn.Module")
    return head


WaveCNNAttenClasifier = WaveCNNAttenClassifier
"""The spelling of the project's brief, kept so that configs written after it work."""
