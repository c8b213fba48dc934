"""Losses for many species at once: each class is a yes-or-no question of its own.

All take clip logits and targets in [0, 1] (soft ones too), both of shape (batch, n_classes), and return
the mean over the batch and the classes, or with ``reduction="none"`` one value for each.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

Reduction = Literal["mean", "none"]

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0


def bce_loss(logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return the binary cross-entropy.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1].
    reduction
        ``"mean"`` for a scalar, ``"none"`` for shape (batch, n_classes).
    """
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction=reduction)


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = FOCAL_ALPHA,
    gamma: float = FOCAL_GAMMA,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the sigmoid focal loss of Lin et al., "Focal loss for dense object detection" (ICCV 2017).

    The cross-entropy times ``(1 - p_t) ** gamma``, so that answers which are right already weigh little;
    ``p_t`` is the probability given to the truth. Soft targets blend both cases linearly.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1].
    alpha
        Weight of the positives; the negatives have ``1 - alpha``.
    gamma
        How sharply easy answers are discounted; 0 leaves the weighted cross-entropy.
    reduction
        ``"mean"`` for a scalar, ``"none"`` for shape (batch, n_classes).
    """
    probabilities = logits.sigmoid()
    missed = targets + probabilities - 2 * targets * probabilities  # 1 - p_t
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    loss = weight * missed**gamma * bce_loss(logits, targets, reduction="none")
    return loss.mean() if reduction == "mean" else loss


def bce_focal_loss(logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return binary cross-entropy plus focal loss (alpha 0.25, gamma 2): what the winners trained with.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1].
    reduction
        ``"mean"`` for a scalar, ``"none"`` for shape (batch, n_classes).
    """
    return bce_loss(logits, targets, reduction=reduction) + focal_loss(logits, targets, reduction=reduction)


LOSSES = {"bce": bce_loss, "focal": focal_loss, "bce_focal": bce_focal_loss}
"""The losses by the names that a config may give."""
