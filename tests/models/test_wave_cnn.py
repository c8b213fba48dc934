"""The whole classifier, against the published system's outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawnchorus.config.registry import registered
from dawnchorus.errors import ConfigError, ModelError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard
from dawnchorus.models.wave_cnn import WaveCNNAttenClasifier, WaveCNNAttenClassifier
from dawnchorus.models.weights import load_weights
from dawnchorus.runs import build_model

SMALL = "mobilenetv4_conv_small_035"


@pytest.fixture(scope="module")
def model() -> WaveCNNAttenClassifier:
    torch.manual_seed(0)
    return WaveCNNAttenClassifier(n_classes=7, backbone=SMALL).eval()


def test_the_published_model_predicts_what_it_did(golden):
    model = WaveCNNAttenClassifier(n_classes=10, backbone="mobilenetv4_conv_small").eval()
    load_weights(model, golden / "model_mobilenetv4_conv_small.ckpt")
    expected = np.load(golden / "model_mobilenetv4_conv_small.npz")
    with torch.inference_mode():
        output = model(torch.from_numpy(np.load(golden / "frontend.npz")["wave"]))
    np.testing.assert_allclose(output.clip_probabilities, expected["clipwise_pred_long"], atol=1e-4)
    np.testing.assert_allclose(output.clip_logits, expected["clipwise_logits_long"], atol=1e-3)
    np.testing.assert_allclose(output.frame_logits, expected["framewise_logits_long"], atol=1e-3)


def test_a_clip_of_five_seconds_has_ten_frames(model):
    with torch.inference_mode():
        output = model(torch.randn(2, 160_000))
    shapes = [tuple(part.shape) for part in output]
    assert shapes[:4] == [(2, 7), (2, 7), (2, 10, 7), (2, 10, 7)]
    assert len(shapes[4]) == 2
    assert ((output.clip_probabilities >= 0) & (output.clip_probabilities <= 1)).all()


def test_silence_is_predicted_without_nan(model):
    with torch.inference_mode():
        assert all(part.isfinite().all() for part in model(torch.zeros(1, 160_000)))


def test_a_waveform_and_its_own_picture_give_the_same(model):
    wave = torch.randn(1, 32_000)
    with torch.inference_mode():
        torch.testing.assert_close(model.forward_spectrogram(model.frontend(wave)), model(wave))


def test_every_weight_is_trained(model):
    model(torch.randn(2, 32_000)).clip_logits.sum().backward()
    untrained = [name for name, weight in model.named_parameters() if weight.grad is None]
    model.zero_grad()
    assert untrained == []


def test_a_checkpoint_holds_the_published_names_only(model):
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "head"}


@pytest.mark.parametrize("frontend", [{"n_mels": 64}, FrontendSettings(n_mels=64)])
def test_the_front_end_may_be_set(frontend):
    model = WaveCNNAttenClassifier(n_classes=2, backbone=SMALL, frontend=frontend)
    assert model.frontend(torch.zeros(1, 32_000)).shape == (1, 1, 64, 63)


def test_the_missions_spelling_is_the_same_class():
    assert WaveCNNAttenClasifier is WaveCNNAttenClassifier


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_classes": 0}, ModelError, "n_classes is 0"),
        ({"backbone": "mobilenetv4_conv_smalll"}, ModelError, "did you mean .*mobilenetv4_conv_small"),
        ({"drop_path_rate": 1.0}, ModelError, "drop_path_rate is 1.0; legal: None, or 0 to below 1"),
        ({"frontend": {"n_mel": 64}}, ConfigError, "did you mean n_mels"),
    ],
)
def test_an_illegal_setting_is_named(settings, error, message):
    with pytest.raises(error, match=message):
        WaveCNNAttenClassifier(**{"n_classes": 2, "backbone": SMALL, **settings})


def test_weights_for_one_spectrogram_start_a_network_of_several(tmp_path):
    torch.manual_seed(0)
    one = WaveCNNAttenClassifier(n_classes=3, backbone="test_resnet").eval()
    torch.save(one.state_dict(), tmp_path / "one.pt")
    settings = {"win_length": [512, 1024, 2048]}
    three = WaveCNNAttenClassifier(n_classes=3, backbone="test_resnet", frontend=settings).eval()
    assert load_weights(three, tmp_path / "one.pt").reshaped == ("backbone.conv1.0.weight",)
    logmel = torch.rand(2, 1, 128, 65)
    with torch.inference_mode():
        expected = one.forward_spectrogram(logmel).clip_logits
        found = three.forward_spectrogram(logmel.expand(-1, 3, -1, -1)).clip_logits
        assert three(torch.rand(1, 32_000)).clip_probabilities.shape == (1, 3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", registered("head"))
def test_a_card_makes_a_network_with_every_head_and_front_end(head):
    frontend = {"win_length": [512, 2048], "mel_scale": "slaney", "mel_norm": "slaney"}
    config = {"backbone": "test_resnet", "head": head, "frontend": frontend}
    made = WaveCNNAttenClassifier(n_classes=2, **config)
    card = ModelCard(
        "run", "WaveCNNAttenClassifier", config, ("owl", "wren"), frontend, 32_000, 5.0, late_normalize=True
    )
    read = build_model(ModelCard.from_json(card.to_json(), where="a test"))
    assert read.frontend.settings == made.frontend.settings
    assert {k: v.shape for k, v in read.state_dict().items()} == {
        k: v.shape for k, v in made.state_dict().items()
    }
