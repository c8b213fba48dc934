"""Feature maps of every kind of backbone, at sizes that are no multiple of anything; one's own backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dawnchorus.config.registry import register
from dawnchorus.engines.engine_settings import default_settings
from dawnchorus.engines.onnx_engine import OnnxEngine
from dawnchorus.engines.openvino_engine import OpenVinoEngine
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import ConfigError, ModelError
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import read_onnx, write_fp16
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.backbone import create_backbone, make_backbone
from dawnchorus.models.feature_map import WORKING, trial_size, try_backbone
from dawnchorus.models.head import AttentionHead
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

FRONTEND = FrontendSettings(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=60, f_max_hz=8000.0)
"""60 bands, and 63 frames a second: neither is a multiple of a patch or a window."""

TINY_SWIN = {"embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
KINDS: dict[str, dict[str, Any]] = {
    "test_vit": {},
    "test_vit2": {},
    "swin_tiny_patch4_window7_224": TINY_SWIN,
    "swinv2_tiny_window8_256": TINY_SWIN,
    "test_maxvit": {"img_size": (64, 64)},
    "test_coatnet": {"img_size": (64, 64)},
    "test_mambaout": {},
    "test_convnext": {},
    "xcit_nano_12_p16_224": {},
}
EXPORTED = (
    "test_vit",
    "test_mambaout",
    pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.stress),
    pytest.param("test_maxvit", marks=pytest.mark.stress),
)


def classifier(name: str, **changes: Any) -> WaveCNNAttenClassifier:
    torch.manual_seed(0)
    return WaveCNNAttenClassifier(
        n_classes=3, backbone=name, backbone_config=KINDS[name], frontend=FRONTEND, dropout=0.0, **changes
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_backbone_trains_on_clips_of_any_size(name: str) -> None:
    model = classifier(name).train()
    model(torch.randn(2, 16_000)).clip_logits.sum().backward()
    untrained = [name for name, weight in model.named_parameters() if weight.grad is None]
    # timm's feature extractors keep a few weights of what lies behind the feature map.
    assert len(untrained) <= 3
    with torch.inference_mode():
        output = model.eval()(torch.randn(1, 12_345))
    assert output.embedding is not None
    assert output.embedding.shape == (1, model.feature_maps.n_features)
    assert output.frame_logits is not None
    assert output.frame_logits.isfinite().all()


@pytest.mark.parametrize("name", EXPORTED)
def test_exports_of_every_kind_agree_with_pytorch(name: str, card: Any, tmp_path: Path) -> None:
    model = classifier(name).eval()
    with torch.no_grad():
        model.head.fix_scale.weight *= 30
    told = card(frontend=vars(FRONTEND), segment_len=0.7, folds=(0,))
    waves = np.random.default_rng(0).normal(0, 0.1, (5, told.n_samples)).astype(np.float32)
    waves *= np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    expected = TorchEngine([model], told, device="cpu").predict(waves)
    write_onnx([model], told, tmp_path / "model.onnx")
    write_fp16(read_onnx(tmp_path / "model.onnx", told), tmp_path / "model.xml")
    onnx_outputs = OnnxEngine(tmp_path / "model.onnx", default_settings()).predict(waves)
    openvino_outputs = OpenVinoEngine(tmp_path / "model.xml", default_settings()).predict(waves)
    np.testing.assert_allclose(onnx_outputs, expected, atol=1e-4)
    np.testing.assert_allclose(openvino_outputs, expected, atol=5e-3)


def test_windows_are_those_of_the_size_that_is_given_and_longer_clips_have_several() -> None:
    model = classifier("test_maxvit").eval()
    assert model.feature_maps.multiple == (64, 64)
    with torch.inference_mode():
        frames = [model(torch.randn(1, n_samples)).frame_logits for n_samples in (8_000, 16_000, 17_000)]
    assert [part.shape[1] for part in frames if part is not None] == [2, 2, 4]


def test_without_a_size_windows_are_those_of_five_seconds() -> None:
    maps = make_backbone("test_maxvit", size=trial_size(FRONTEND)).maps
    assert trial_size(FRONTEND) == (60, 313)
    assert maps.multiple == (64, 320)


def test_padding_is_silence_above_and_behind() -> None:
    maps = make_backbone("test_maxvit", size=(60, 61), config={"img_size": (64, 64)}).maps
    logmel = torch.rand(2, 1, 60, 61)
    seen: list[torch.Tensor] = []

    def backbone(spectrogram: torch.Tensor) -> list[torch.Tensor]:
        seen.append(spectrogram)
        return [spectrogram]

    maps.of(backbone, logmel)  # type: ignore[arg-type]
    assert seen[0].shape == (2, 1, 64, 64)
    assert torch.equal(seen[0][..., :60, :61], logmel)
    assert seen[0].sum() == logmel.sum()


def test_convolutions_take_a_spectrogram_as_it_is() -> None:
    assert make_backbone("test_resnet", size=(128, 313)).maps.multiple == (1, 1)


def test_the_trial_changes_no_weights_no_statistics_and_no_random_numbers() -> None:
    torch.manual_seed(5)
    model = WaveCNNAttenClassifier(n_classes=4, backbone="test_resnet")
    drawn = torch.rand(1)
    torch.manual_seed(5)
    backbone = create_backbone("test_resnet")
    head = AttentionHead(96, 4)
    assert torch.equal(torch.rand(1), drawn)
    for part, expected in ((model.backbone, backbone), (model.head, head)):
        for name, tensor in expected.state_dict().items():
            assert torch.equal(part.state_dict()[name], tensor), name
    assert model.backbone.training


def test_attempts_that_fail_change_no_weights() -> None:
    torch.manual_seed(5)
    found = make_backbone("test_maxvit", size=(64, 64), config={"img_size": (64, 64)}).module
    torch.manual_seed(5)
    expected = create_backbone("test_maxvit", config={"img_size": (64, 64)})
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


class Strided(nn.Module):
    """A backbone of someone's own."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, width, 8, stride=8)

    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        return self.layer(logmel)


def test_a_factory_an_object_and_a_registered_name_make_a_backbone() -> None:
    register("backbone", "strided_of_this_test")(Strided)
    for given, config in ((Strided, {"width": 6}), (Strided(6), {}), ("strided_of_this_test", {"width": 6})):
        model = WaveCNNAttenClassifier(n_classes=2, backbone=given, backbone_config=config).eval()
        assert model.head.dense_layers[1].in_features == 6
        assert model(torch.zeros(1, 32_000)).clip_logits.shape == (1, 2)


def test_an_object_is_copied_so_that_folds_do_not_share_it() -> None:
    given = Strided()
    models = [WaveCNNAttenClassifier(n_classes=2, backbone=given) for _ in range(2)]
    assert not {id(weight) for model in models for weight in model.parameters()} & set(
        map(id, given.parameters())
    )
    assert torch.equal(models[0].backbone.layer.weight, given.layer.weight)


class Flat(nn.Module):
    def forward(self, logmel: torch.Tensor) -> torch.Tensor:
        return logmel.flatten(1)


class Named(nn.Module):
    def forward(self, logmel: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"map": logmel}


@pytest.mark.parametrize(
    ("given", "config", "error", "message"),
    [
        (Flat, {}, ModelError, r"Flat makes no feature map .* it gives the shape \(1, .*that do: tf_eff"),
        (Named, {}, ModelError, "Named makes no feature map .* it gives dict, and no tensor"),
        (dict, {}, ModelError, "backbone builtins:dict makes dict, and no torch.nn.Module"),
        (3, {}, ModelError, "backbone is 3; give a name, a factory or a module"),
        (Strided, {"widthh": 3}, ConfigError, "widthh is not known; did you mean width"),
        (Strided(), {"width": 3}, ModelError, "is made already, and width come too late"),
        ("no_such_module:factory", {}, ConfigError, "'no_such_module:factory', which cannot be imported"),
        ("hf-hub:timm/test_resnet.r160_in1k", {}, ModelError, "give a name of timm itself"),
        ("hf_hub:timm/test_resnet.r160_in1k", {}, ModelError, "give a name of timm itself"),
        ("local-dir:/tmp", {}, ModelError, "give a name of timm itself"),
        ("test_resnet", {"checkpoint_path": "x.pth"}, ModelError, "checkpoint_path cannot be given; that is"),
        ("test_resnet", {"in_chans": 3}, ModelError, "in_chans cannot be given; that is what the network's"),
        ("test_resnet", {"no_such_option": 3}, ModelError, "no_such_option 3: .*; backbones that can: tf_"),
    ],
)
def test_what_is_no_backbone_is_told_when_it_is_made(
    given: Any, config: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_backbone(given, size=(64, 63), config=config)


def test_the_reason_is_the_networks_own() -> None:
    class Picky(nn.Module):
        def forward(self, logmel: torch.Tensor) -> torch.Tensor:
            raise ValueError("only squares")

    with pytest.raises(ModelError, match="of 64 bands and 63 frames: only squares; backbones that do"):
        try_backbone(Picky(), (64, 63), name="picky")


def test_the_names_in_messages_are_timms() -> None:
    import timm

    assert all(timm.is_model(name.partition(".")[0]) for name in WORKING)
