"""Losses, and the construction of the loss that a config names.

All take clip logits and targets, both of shape (batch, n_classes), the targets in [0, 1] (soft ones too),
and return a scalar, or with ``reduction="none"`` the values whose mean it is. Those with the attribute
``takes_unknown`` take targets below 0 as well (:data:`dawnchorus.recordings.labels.UNKNOWN`): it is unknown
whether the species is present, and such an entry adds nothing. Those with the attribute ``takes_output`` take
the network's whole output, a :class:`~dawnchorus.models.head.ModelOutput`, in place of the logits.
Half-precision logits are converted to float32 first.

A loss of your own is a function of logits and targets, a class, or an object::

    class Weighted(torch.nn.Module):
        takes_unknown = False

        def __init__(self, positive: float = 2.0):
            super().__init__()
            self.positive = positive

        def forward(self, logits, targets):
            weight = 1 + (self.positive - 1) * targets
            return (weight * (logits.sigmoid() - targets) ** 2).mean()

    "loss": "my_package.losses:Weighted", "loss_args": {"positive": 3.0}
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from dawnchorus.config.import_paths import import_path, made_part
from dawnchorus.config.registry import LOSSES
from dawnchorus.config.settings import check_keys
from dawnchorus.errors import ConfigError
from dawnchorus.models.head import ModelOutput

LossT = TypeVar("LossT", bound=Callable[..., Any])
Reduction = Literal["mean", "none"]

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0


def bce_loss(logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return the binary cross-entropy, with each class independent of the others.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1].
    reduction
        ``"mean"`` for a scalar, ``"none"`` for shape (batch, n_classes).

    Examples
    --------
    >>> import torch
    >>> bce_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))  # log 2
    tensor(0.6931)
    """
    logits, targets = _in_full_precision(logits, targets)
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

    The cross-entropy times ``(1 - p_t) ** gamma``, so that predictions that are already right weigh little;
    ``p_t`` is the predicted probability of the truth. Soft targets blend both cases linearly.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1].
    alpha
        Weight of the positives, in [0, 1]; the negatives have ``1 - alpha``.
    gamma
        Strength of the discount of easy predictions, at least 0; 0 gives the weighted cross-entropy.
    reduction
        ``"mean"`` for a scalar, ``"none"`` for shape (batch, n_classes).

    Examples
    --------
    >>> import torch
    >>> focal_loss(torch.zeros(1, 1), torch.ones(1, 1))  # 1/4 · (1 − 1/2)² · log 2
    tensor(0.0433)
    """
    logits, targets = _in_full_precision(logits, targets)
    probabilities = logits.sigmoid()
    missed = targets + probabilities - 2 * targets * probabilities  # 1 - p_t
    # A power below 1 has an infinite slope at 0, the value of a certain and right prediction.
    missed = missed.clamp(min=torch.finfo(missed.dtype).tiny)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    loss = weight * missed**gamma * bce_loss(logits, targets, reduction="none")
    return loss.mean() if reduction == "mean" else loss


def bce_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = FOCAL_ALPHA,
    gamma: float = FOCAL_GAMMA,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return binary cross-entropy plus focal loss (alpha 0.25, gamma 2), the loss of the winning solution.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1].
    alpha, gamma
        Of the focal loss (:func:`focal_loss`).
    reduction
        ``"mean"`` for a scalar, ``"none"`` for shape (batch, n_classes).

    Examples
    --------
    >>> import torch
    >>> bce_focal_loss(torch.zeros(1, 1), torch.ones(1, 1))  # (1 + 1/16) · log 2
    tensor(0.7365)
    """
    focal = focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction=reduction)
    return bce_loss(logits, targets, reduction=reduction) + focal


def passing_over_unknown(loss: LossT) -> LossT:
    """Return a loss with the mark that it ignores targets below 0.

    Examples
    --------
    >>> passing_over_unknown(lambda logits, targets: logits.mean()).takes_unknown
    True
    """
    loss.takes_unknown = True  # type: ignore[attr-defined]
    return loss


@passing_over_unknown
def masked_bce_loss(logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return the binary cross-entropy of the entries that are known.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1], or below 0 where unknown.
    reduction
        ``"mean"`` for a scalar, the mean over the known entries of the batch, 0 where there are none;
        ``"none"`` for shape (batch, n_classes), 0 where unknown.

    Examples
    --------
    >>> import torch
    >>> masked_bce_loss(torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]))  # log 2, of the first class alone
    tensor(0.6931)
    """
    return _of_known(bce_loss, logits, targets, reduction)


@passing_over_unknown
def masked_bce_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = FOCAL_ALPHA,
    gamma: float = FOCAL_GAMMA,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return :func:`bce_focal_loss` of the entries that are known.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1], or below 0 where unknown.
    alpha, gamma
        Of the focal loss (:func:`focal_loss`).
    reduction
        As in :func:`masked_bce_loss`.

    Examples
    --------
    >>> import torch
    >>> masked_bce_focal_loss(torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]), reduction="none")
    tensor([[0.7365, 0.0000]])
    """
    focal = partial(focal_loss, alpha=alpha, gamma=gamma)
    return masked_bce_loss(logits, targets, reduction=reduction) + _of_known(
        focal, logits, targets, reduction
    )


def cross_entropy_loss(logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Return the cross-entropy of the softmax over the classes, whose probabilities sum to 1.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1]; those of a clip are divided by their sum. A clip with no species
        at all does not count.
    reduction
        ``"mean"`` for a scalar, the mean over the clips that count, 0 where there are none; ``"none"`` for
        shape (batch,), 0 for the other clips.

    Examples
    --------
    >>> import torch
    >>> cross_entropy_loss(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))  # log 4
    tensor(1.3863)
    """
    logits, targets = _in_full_precision(logits, targets)
    total = targets.sum(1, keepdim=True)
    counts = total > 0
    fractions = targets / total.where(counts, 1)
    loss = -(fractions * logits.log_softmax(1)).sum(1)
    return loss if reduction == "none" else _mean_where(loss, counts)


@passing_over_unknown
def soft_auc_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return a smooth surrogate of 1 − macro ROC-AUC: the mean cost of misranked pairs of clips, a scalar.

    The pairwise logistic surrogate of Gao & Zhou, "On the consistency of AUC pairwise optimization"
    (IJCAI 2015): of a class, the mean of ``log(1 + exp(-(s_i - s_j)))`` over the pairs of a clip i with the
    species and a clip j without; then the mean over the classes. We deviate for soft targets t: a pair
    weighs ``max(2 t_i - 1, 0) · max(1 - 2 t_j, 0)``. For hard targets this is the mean of the paper.

    A class without any such pair in the batch is skipped; where all are, the loss is 0. A target of 0.5 or
    less never counts as present, so that scaling targets down (by a rating, by a soft mixup) can turn present
    species into absent ones. Only differences within a class are learnt: the logits do not give calibrated
    probabilities.

    Parameters
    ----------
    logits
        Shape (batch, n_classes).
    targets
        Shape (batch, n_classes), in [0, 1], or below 0 where unknown: neither present nor absent.

    Examples
    --------
    >>> import torch
    >>> soft_auc_loss(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]))  # one pair, not ranked: log 2
    tensor(0.6931)
    """
    logits, targets = _in_full_precision(logits, targets)
    present = (2 * targets - 1).clamp(min=0)
    absent = (1 - 2 * targets).clamp(min=0).where(targets >= 0, 0)
    weight_of_class = present.sum(0) * absent.sum(0)  # summed over its pairs, (n_classes,)
    has_pairs = weight_of_class > 0
    # A clip has few species: pairing those alone keeps the memory independent of the number of classes.
    clips, classes = (present * has_pairs).nonzero(as_tuple=True)
    margins = logits[clips, classes][:, None] - logits.T[classes]  # (n_present, batch)
    weights = (present[clips, classes] / weight_of_class[classes])[:, None] * absent.T[classes]
    return (weights * functional.softplus(-margins)).sum() / has_pairs.sum().clamp(min=1)


def taking_output(loss: LossT) -> LossT:
    """Return a loss with the mark that it takes the network's whole output.

    Examples
    --------
    >>> taking_output(lambda output, targets: output.frame_logits.mean()).takes_output
    True
    """
    loss.takes_output = True  # type: ignore[attr-defined]
    return loss


@taking_output
def bce_probabilities_loss(output: ModelOutput, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy of the clip's probabilities, which validation and inference take.

    Those of the attention head are the weighted mean of the frames' probabilities, whose slopes are flatter
    than those of the mean of the logits.

    Parameters
    ----------
    output
        Of the network; of it, ``clip_probabilities``.
    targets
        Shape (batch, n_classes), in [0, 1].

    Examples
    --------
    >>> import torch
    >>> from dawnchorus.models.head import ModelOutput
    >>> output = ModelOutput(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    >>> bce_probabilities_loss(output, torch.tensor([[1.0, 0.0]]))  # log 2
    tensor(0.6931)
    """
    smallest = torch.finfo(torch.float32).eps  # keeps the logarithms and their slopes finite
    chance = output.clip_probabilities.clamp(smallest, 1 - smallest)
    return -(targets * chance.log() + (1 - targets) * (-chance).log1p()).mean()


@taking_output
def clip_frame_loss(
    output: ModelOutput,
    targets: Tensor,
    *,
    frame_weight: float = 0.5,
    alpha: float = FOCAL_ALPHA,
    gamma: float = FOCAL_GAMMA,
) -> Tensor:
    """Return :func:`bce_focal_loss` of the clip plus that of the largest frame of each class, a scalar.

    Parameters
    ----------
    output
        Of a network whose head gives ``frame_logits``.
    targets
        Shape (batch, n_classes), in [0, 1].
    frame_weight
        Weight of the frames' part, at least 0.
    alpha, gamma
        Of the focal loss (:func:`focal_loss`).

    Raises
    ------
    ConfigError
        The head gives no frames.

    Examples
    --------
    >>> import torch
    >>> from dawnchorus.models.head import ModelOutput
    >>> logits, frames = torch.zeros(1, 1), torch.tensor([[[-9.0], [0.0]]])
    >>> output = ModelOutput(logits, logits.sigmoid(), frame_logits=frames)
    >>> clip_frame_loss(output, torch.ones(1, 1))  # 1.5 · (1 + 1/16) · log 2
    tensor(1.1047)
    """
    if output.frame_logits is None:
        raise ConfigError(
            "loss is clip_frame, and the head gives no frame_logits; take bce_focal, or another head"
        )
    clip = bce_focal_loss(output.clip_logits, targets, alpha=alpha, gamma=gamma)
    frames = bce_focal_loss(output.frame_logits.amax(1), targets, alpha=alpha, gamma=gamma)
    return clip + frame_weight * frames


class ClassWeightedLoss(torch.nn.Module):
    """:func:`bce_focal_loss` with a weight for each class.

    Parameters
    ----------
    weights
        A number of 0 or more for each class, in the order of the labels; their mean is scaled to 1.
    alpha, gamma
        Of the focal loss (:func:`focal_loss`).

    Raises
    ------
    ValueError
        A weight is negative, or none is above 0.

    Examples
    --------
    >>> import torch
    >>> loss = ClassWeightedLoss([1, 3])  # scaled to 1/2 and 3/2
    >>> loss(torch.zeros(1, 2), torch.ones(1, 2))  # (1 + 1/16) · log 2, as of equal weights
    tensor(0.7365)
    """

    weights: Tensor

    def __init__(
        self, weights: Sequence[float], *, alpha: float = FOCAL_ALPHA, gamma: float = FOCAL_GAMMA
    ) -> None:
        super().__init__()
        given = torch.tensor(list(weights), dtype=torch.float32)
        if not (given >= 0).all() or not given.sum() > 0:
            raise ValueError("weights must be 0 or more, and one of them above 0")
        self.register_buffer("weights", given / given.mean(), persistent=False)
        self.alpha, self.gamma = alpha, gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted mean over clips and classes.

        Raises
        ------
        ConfigError
            There are not as many weights as classes.
        """
        if logits.shape[1] != len(self.weights):
            raise ConfigError(
                f"loss_args.weights has {len(self.weights)} numbers for {logits.shape[1]} classes; give one "
                "for each, in the order of the labels"
            )
        each = bce_focal_loss(logits, targets, alpha=self.alpha, gamma=self.gamma, reduction="none")
        return (each * self.weights).mean()


_RANGES = {
    "frame_weight": (0.0, sys.float_info.max, "a number, 0 or more"),
    "alpha": (0.0, 1.0, "a number from 0 to 1"),
    "gamma": (0.0, sys.float_info.max, "a number, 0 or more"),
}
"""Lowest and highest value of each argument of our own losses, and the range as text for messages."""


class ClipLoss(torch.nn.Module):
    """A loss in training: logits and targets of shape (batch, n_classes) → a scalar.

    Parameters and buffers of a loss move to a device with it, and its parameters are trained.

    Parameters
    ----------
    loss
        Function of logits and targets in float32 or float64.
    name
        Its name in messages.

    Attributes
    ----------
    takes_unknown, takes_output
        Whether it ignores targets below 0, and whether it takes the whole output, from the attributes of
        these names of the loss.

    Examples
    --------
    >>> import torch
    >>> loss = ClipLoss(bce_loss, name="bce")
    >>> float(loss(torch.zeros(2, 3), torch.ones(2, 3)).exp()), loss.takes_unknown
    (2.0, False)
    """

    def __init__(self, loss: Callable[[Any, Tensor], Tensor], *, name: str) -> None:
        super().__init__()
        self.loss = loss
        self.name = name
        marked = loss.func if isinstance(loss, partial) else loss
        self.takes_unknown = bool(getattr(marked, "takes_unknown", False))
        self.takes_output = bool(getattr(marked, "takes_output", False))

    def of_output(self, output: ModelOutput, targets: Tensor) -> Tensor:
        """Return the loss of a network's output for a batch, a scalar."""
        loss: Tensor = self(output if self.takes_output else output.clip_logits, targets)
        return loss

    def forward(self, logits: Tensor | ModelOutput, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar.

        Raises
        ------
        ConfigError
            The loss returns something else.
        """
        if isinstance(logits, Tensor):
            value = self.loss(*_in_full_precision(logits, targets))
        else:
            parts = (part if part is None else _in_full_precision(part, targets)[0] for part in logits)
            output = ModelOutput._make(parts)
            value = self.loss(output, targets.to(output.clip_logits.dtype))
        if not isinstance(value, Tensor) or value.ndim:
            found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ConfigError(
                f"the loss {self.name} gives {found} for a batch; it must return a scalar tensor, such as "
                "the mean over clips and classes"
            )
        return value


def make_loss(given: Any, args: Mapping[str, Any], *, where: str | None = None) -> ClipLoss:
    """Return the loss that a config names: logits and targets → a scalar.

    Parameters
    ----------
    given
        A name of :data:`dawnchorus.config.registry.LOSSES`, an import path ``package.module:name``, a
        function of logits and targets, a class, or an object; each fold has a copy of an object.
    args
        Keyword arguments of the function or class. Of our own, the losses with a focal part take ``alpha``
        and ``gamma``, ``clip_frame`` also ``frame_weight``, ``class_weighted`` also ``weights``, and the
        others none.
    where
        Start of a message: the config.

    Raises
    ------
    ConfigError
        There is no such loss, it has no such argument, or a value is out of its range.

    Examples
    --------
    >>> import torch
    >>> loss = make_loss("bce_focal", {"gamma": 1.5})
    >>> loss(torch.zeros(4, 3), torch.zeros(4, 3)).shape
    torch.Size([])
    >>> make_loss(lambda logits, targets: (logits - targets).square().mean(), {})(*torch.eye(2)[:, None])
    tensor(1.)
    """
    prefix = f"{where}: " if where else ""
    loss = LOSSES.find(given, where=f"{prefix}loss")
    name = given if isinstance(given, str) else import_path(given)
    key = f"{prefix}loss_args"
    if getattr(loss, "__module__", None) == __name__ and inspect.isfunction(loss):
        _check_own_arguments(loss, args, name=name, where=key)
    made = made_part(copy.deepcopy(loss), args, where=key, given_later=2)
    return ClipLoss(made, name=name)


def losses_that_take_unknown() -> list[str]:
    """Return the names of the losses that ignore unknown targets.

    Examples
    --------
    >>> losses_that_take_unknown()[:3]
    ['masked_bce', 'masked_bce_focal', 'soft_auc']
    """
    return [name for name, loss in LOSSES.items() if getattr(loss, "takes_unknown", False)]


def _check_own_arguments(loss: Callable[..., Any], args: Mapping[str, Any], *, name: str, where: str) -> None:
    """Raise a ConfigError where one of our losses does not take an argument, or a value is out of range."""
    legal = _arguments(loss)
    if args and not legal:
        others = ", ".join(other for other, each in LOSSES.items() if _arguments(each))
        raise ConfigError(
            f"{where} is {dict(args)!r}, but the loss {name} takes none; leave it out, or choose one of "
            f"{others}"
        )
    check_keys(args, legal, where=where)
    for key, value in args.items():
        lowest, highest, text = _RANGES[key]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and lowest <= value <= highest):
            raise ConfigError(f"{where}.{key} is {value!r}; legal: {text}")


def _arguments(loss: Callable[..., Any]) -> list[str]:
    """Return the arguments of one of our losses that a config may set."""
    return [key for key in inspect.signature(loss).parameters if key in _RANGES]


def _in_full_precision(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float32, or in float64 where the logits are.

    Under autocast the logits are half precise: sums over a batch would lose too many digits.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.to(dtype), targets.to(dtype)


def _of_known(loss: Callable[..., Tensor], logits: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
    """Return a loss over the entries whose target is not below 0."""
    known = targets >= 0
    # Unknown targets become 0 before the loss is taken: an infinity would reach the gradient through a mask.
    values = loss(logits, targets.where(known, 0), reduction="none").where(known, 0)
    return values if reduction == "none" else _mean_where(values, known)


def _mean_where(values: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of the values that count, 0 where none does; the others must be 0.

    Written as the plain mean times a factor, which is exactly 1 where all count.
    """
    return values.mean() * (counts.numel() / counts.sum(dtype=values.dtype).clamp(min=1))
