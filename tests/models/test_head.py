"""Pooling over frequency and attention over time, against arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from dawnchorus.errors import ModelError
from dawnchorus.models.head import AttentionHead, FrequencyGeM, GruHead, LinearHead

FEATURES = torch.rand(3, 6, 4, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def head() -> AttentionHead:
    torch.manual_seed(0)
    return AttentionHead(6, 5, hidden_features=8).eval()


def test_pooling_is_the_cubic_mean_over_frequency():
    actual = FrequencyGeM()(FEATURES).detach().numpy()
    expected = np.mean(FEATURES.numpy().astype(np.float64) ** 3, axis=2) ** (1 / 3)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_pooling_with_exponent_one_is_the_mean_and_with_a_large_one_the_maximum():
    torch.testing.assert_close(FrequencyGeM(1.0)(FEATURES), FEATURES.mean(2))
    torch.testing.assert_close(
        FrequencyGeM(200.0, eps=0.5)(FEATURES + 0.5), FEATURES.amax(2) + 0.5, rtol=0.02, atol=0
    )


def test_pooling_keeps_a_finite_gradient_where_features_vanish():
    features = torch.zeros(1, 2, 4, 3, dtype=torch.float16, requires_grad=True)
    FrequencyGeM()(features).sum().backward()
    assert torch.isfinite(features.grad).all()


def test_the_prediction_is_the_recipe_written_out(head):
    weights = {name: value.numpy() for name, value in head.state_dict().items()}
    pooled = np.mean(FEATURES.numpy() ** 3, axis=2) ** (1 / 3)
    dense, bias = weights["dense_layers.1.weight"], weights["dense_layers.1.bias"]
    hidden = np.maximum(np.einsum("hc,bct->bth", dense, pooled) + bias, 0)
    attended = hidden @ weights["attention.weight"][..., 0].T + weights["attention.bias"]
    attention = softmax(np.tanh(attended), axis=1)
    logits = hidden @ weights["fix_scale.weight"][..., 0].T + weights["fix_scale.bias"]

    with torch.inference_mode():
        output = head(FEATURES)
    np.testing.assert_allclose(output.frame_logits, logits, atol=1e-5)
    np.testing.assert_allclose(output.attention, attention, atol=1e-5)
    np.testing.assert_allclose(output.clip_logits, (logits * attention).sum(1), atol=1e-5)
    np.testing.assert_allclose(output.clip_probabilities, (expit(logits) * attention).sum(1), atol=1e-5)


def test_every_output_has_its_shape_and_attention_sums_to_one(head):
    output = head(FEATURES)
    assert [tuple(part.shape) for part in output] == [(3, 5), (3, 5), (3, 10, 5), (3, 10, 5), (3, 6)]
    torch.testing.assert_close(output.attention.sum(1), torch.ones(3, 5))


def test_dropout_works_only_while_training(head):
    torch.testing.assert_close(head(FEATURES), head(FEATURES), atol=0, rtol=0)
    head.train()
    assert (head(FEATURES).clip_logits != head(FEATURES).clip_logits).any()
    assert [layer.p for layer in head.dense_layers if isinstance(layer, torch.nn.Dropout)] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_classes": 0}, "n_classes is 0"),
        ({"n_classes": 3, "hidden_features": 0}, "hidden_features 0; both must be 1 or more"),
        ({"n_classes": 3, "dropout": 1.0}, "dropout is 1.0; legal: 0 to below 1"),
        ({"n_classes": 3, "prediction": "max"}, "prediction is 'max'; legal: 'attention', 'maximum'"),
        ({"n_classes": 3, "prediction": "maximum", "middle": 0.0}, "middle is 0.0 with the prediction"),
        ({"n_classes": 3, "middle": 0.5}, "middle is 0.5 with .* below 1 only with 'maximum'"),
    ],
)
def test_an_illegal_setting_is_named(settings, message):
    with pytest.raises(ModelError, match=message):
        AttentionHead(6, **settings)


def test_no_probability_exceeds_one_however_sure_the_head_is():
    torch.manual_seed(0)
    head = AttentionHead(6, 500, hidden_features=64).eval()
    with torch.inference_mode():
        head.fix_scale.bias.fill_(40.0)  # every frame is certain, so the sum is that of the weights
        probabilities = head(torch.rand(16, 6, 4, 10)).clip_probabilities
    assert probabilities.max() <= 1
    assert probabilities.min() > 0.999


@pytest.mark.parametrize(
    ("n_frames", "middle", "frames"),
    [(10, 1.0, range(10)), (30, 1 / 3, range(10, 20)), (31, 1 / 3, range(10, 21)), (2, 0.1, range(2))],
)
def test_the_maximum_is_taken_over_the_frames_in_the_middle(n_frames, middle, frames):
    torch.manual_seed(0)
    head = AttentionHead(6, 5, prediction="maximum", middle=middle).eval()
    with torch.inference_mode():
        output = head(torch.rand(3, 6, 4, n_frames))
    expected = expit(output.frame_logits.numpy()[:, list(frames)]).max(axis=1)
    np.testing.assert_allclose(output.clip_probabilities, expected, atol=1e-6)


def test_a_gru_reads_the_frames_in_both_directions():
    torch.manual_seed(0)
    head = GruHead(6, 5, hidden_features=8).eval()
    weights = {name: value.numpy().astype(np.float64) for name, value in head.state_dict().items()}
    pooled = np.mean(FEATURES.numpy().astype(np.float64) ** 3, axis=2) ** (1 / 3)
    frames = np.einsum("hc,bct->bth", weights["dense_layers.1.weight"], pooled)
    frames = np.maximum(frames + weights["dense_layers.1.bias"], 0)

    def states(frames, suffix):
        """Return the states after each frame: Cho et al., with PyTorch's order of the gates."""
        of_input, of_state = (weights[f"gru.weight_{kind}_l0{suffix}"] for kind in ("ih", "hh"))
        bias_input, bias_state = (weights[f"gru.bias_{kind}_l0{suffix}"] for kind in ("ih", "hh"))
        state, found = np.zeros((len(frames), 4)), []
        for frame in frames.transpose(1, 0, 2):
            new = np.split(frame @ of_input.T + bias_input, 3, axis=1)
            old = np.split(state @ of_state.T + bias_state, 3, axis=1)
            reset, update = (expit(new[gate] + old[gate]) for gate in (0, 1))
            state = (1 - update) * np.tanh(new[2] + reset * old[2]) + update * state
            found.append(state)
        return np.stack(found, axis=1)

    backward = states(frames[:, ::-1], "_reverse")[:, ::-1]
    hidden = np.concatenate([states(frames, ""), backward], axis=2)
    logits = hidden @ weights["fix_scale.weight"][..., 0].T + weights["fix_scale.bias"]
    with torch.inference_mode():
        output = head(FEATURES)
    np.testing.assert_allclose(output.frame_logits, logits, atol=1e-5)
    with pytest.raises(ModelError, match="hidden_features is 7; legal with a GRU: even numbers"):
        GruHead(6, 5, hidden_features=7)


def test_the_linear_head_is_a_layer_on_the_mean():
    torch.manual_seed(0)
    head = LinearHead(6, 5, dropout=0.5).eval()
    with torch.inference_mode():
        output = head(FEATURES)
    mean = FEATURES.numpy().mean(axis=(2, 3))
    logits = mean @ head.classes.weight.detach().numpy().T + head.classes.bias.detach().numpy()
    np.testing.assert_allclose(output.clip_logits, logits, atol=1e-6)
    np.testing.assert_allclose(output.clip_probabilities, expit(logits), atol=1e-6)
    np.testing.assert_allclose(output.embedding, mean, atol=1e-6)
    assert output.frame_logits.shape == (3, 10, 5)
    with pytest.raises(ModelError, match="dropout is 1; legal: 0 to below 1"):
        LinearHead(6, 5, dropout=1)
