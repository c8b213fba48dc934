"""Losses, against the published values and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, xlogy

from dawnchorus.training.losses import LOSSES, bce_focal_loss, bce_loss, focal_loss

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(8, 5, generator=GENERATOR) * 3
TARGETS = torch.rand(8, 5, generator=GENERATOR)


def test_the_published_loss_is_reproduced(golden):
    expected = np.load(golden / "bce_focal_loss.npz")
    logits, targets = torch.from_numpy(expected["logits"]), torch.from_numpy(expected["targets"])
    assert bce_focal_loss(logits, targets).item() == pytest.approx(float(expected["mean"]), rel=1e-6)
    each = bce_focal_loss(logits, targets, reduction="none")
    np.testing.assert_allclose(each, expected["none"], rtol=1e-6)


def test_cross_entropy_is_its_definition():
    chance, target = expit(LOGITS.double().numpy()), TARGETS.double().numpy()
    expected = -xlogy(target, chance) - xlogy(1 - target, 1 - chance)
    np.testing.assert_allclose(bce_loss(LOGITS, TARGETS, reduction="none"), expected, rtol=1e-4)


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_loss_of_a_hard_target_is_the_papers_formula(target):
    right = expit(LOGITS.double().numpy() * (1 if target else -1))
    expected = (0.25 if target else 0.75) * (1 - right) ** 2 * -np.log(right)
    actual = focal_loss(LOGITS, torch.full_like(LOGITS, target), reduction="none")
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-9)


def test_focal_loss_without_focus_is_half_the_cross_entropy():
    torch.testing.assert_close(
        focal_loss(LOGITS, TARGETS, alpha=0.5, gamma=0.0), bce_loss(LOGITS, TARGETS) / 2
    )


def test_the_joint_loss_is_the_sum():
    expected = bce_loss(LOGITS, TARGETS) + focal_loss(LOGITS, TARGETS)
    torch.testing.assert_close(bce_focal_loss(LOGITS, TARGETS), expected)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_named_loss_is_a_mean_with_a_finite_gradient_even_for_certain_answers(name):
    logits = torch.tensor([[-200.0, 200.0], [0.0, 3.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = LOSSES[name](logits, targets)
    torch.testing.assert_close(loss, LOSSES[name](logits, targets, reduction="none").mean())
    loss.backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[0] * torch.tensor([-1.0, 1.0]) > 0).all(), "wrong answers are pulled back"
