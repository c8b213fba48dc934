"""The whole classifier, against the published system's outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dawnchorus.errors import ConfigError, ModelError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.wave_cnn import WaveCNNAttenClasifier, WaveCNNAttenClassifier
from dawnchorus.models.weights import load_weights

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
