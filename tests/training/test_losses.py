"""Losses, against the published values and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, xlogy
from sklearn.metrics import roc_auc_score

from dawnchorus.errors import ConfigError
from dawnchorus.models.head import ModelOutput
from dawnchorus.recordings.labels import UNKNOWN
from dawnchorus.training.losses import (
    LOSSES,
    bce_focal_loss,
    bce_loss,
    bce_probabilities_loss,
    clip_frame_loss,
    cross_entropy_loss,
    focal_loss,
    losses_that_take_unknown,
    make_loss,
    masked_bce_focal_loss,
    masked_bce_loss,
    soft_auc_loss,
)

MASKED_LOSSES = losses_that_take_unknown()
OF_LOGITS = sorted(set(LOSSES) - {"bce_probabilities", "clip_frame", "class_weighted"})
GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(8, 5, generator=GENERATOR) * 3
TARGETS = torch.rand(8, 5, generator=GENERATOR)
SOME_UNKNOWN = TARGETS.where(torch.rand(8, 5, generator=GENERATOR) < 0.6, UNKNOWN)
ALL_UNKNOWN = torch.full_like(TARGETS, UNKNOWN)
PLAIN_OF_MASKED = {masked_bce_loss: bce_loss, masked_bce_focal_loss: bce_focal_loss}


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


def test_the_joint_loss_hands_its_arguments_to_the_focal_part():
    expected = bce_loss(LOGITS, TARGETS) + focal_loss(LOGITS, TARGETS, alpha=0.6, gamma=1.5)
    torch.testing.assert_close(bce_focal_loss(LOGITS, TARGETS, alpha=0.6, gamma=1.5), expected)
    assert torch.equal(masked_bce_focal_loss(LOGITS, TARGETS, alpha=0.6, gamma=1.5), expected)


def test_a_focus_below_one_has_a_finite_gradient_where_an_answer_is_certain_and_right():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([[1.0, 0.0]]), gamma=0.5).backward()
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", OF_LOGITS)
def test_every_named_loss_has_a_finite_gradient_even_for_certain_answers(name):
    logits = torch.tensor([[-200.0, 200.0], [0.0, 3.0]], requires_grad=True)
    LOSSES[name](logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]])).backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[0] * torch.tensor([-1.0, 1.0]) > 0).all(), "wrong answers are pulled back"


@pytest.mark.parametrize("name", [name for name in OF_LOGITS if name != "soft_auc"])
def test_a_loss_is_the_mean_of_its_values_where_all_count(name):
    values = LOSSES[name](LOGITS, TARGETS, reduction="none")
    torch.testing.assert_close(LOSSES[name](LOGITS, TARGETS), values.mean())


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precise_logits_are_only_read_in_half_precision(name, dtype):
    half = LOGITS.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        loss = LOSSES[name](half, TARGETS)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, LOSSES[name](half.detach().float(), TARGETS))
    loss.backward()
    assert half.grad.isfinite().all()
    assert half.grad.any()


@pytest.mark.parametrize("name", OF_LOGITS)
def test_the_gradient_is_the_slope(name):
    targets = (SOME_UNKNOWN if name in MASKED_LOSSES else TARGETS).double()
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, targets), logits)


@pytest.mark.parametrize(("masked", "plain"), PLAIN_OF_MASKED.items())
def test_a_masked_loss_is_the_mean_over_what_is_known(masked, plain):
    logits, targets = LOGITS.double(), SOME_UNKNOWN.double()
    known = targets >= 0
    assert 0 < known.sum() < known.numel()
    # One entry a clip, one class: what the plain loss makes of the known entries alone.
    expected = plain(logits[known][:, None], targets[known][:, None])
    torch.testing.assert_close(masked(logits, targets), expected, rtol=1e-12, atol=0)
    each = masked(logits, targets, reduction="none")
    torch.testing.assert_close(each[known], plain(logits, targets, reduction="none")[known])
    assert not each[~known].any()


@pytest.mark.parametrize(("masked", "plain"), PLAIN_OF_MASKED.items())
def test_a_masked_loss_without_unknown_targets_is_the_plain_one_to_the_last_bit(masked, plain):
    for reduction in ("mean", "none"):
        ours, theirs = (LOGITS.clone().requires_grad_() for _ in range(2))
        loss, expected = (
            masked(ours, TARGETS, reduction=reduction),
            plain(theirs, TARGETS, reduction=reduction),
        )
        assert torch.equal(loss, expected)
        loss.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", sorted(MASKED_LOSSES))
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_what_is_unknown_has_no_pull_however_certain_the_answer(name, gamma):
    loss = make_loss(name, {"gamma": gamma} if "focal" in name else {})
    logits = (LOGITS * 100).requires_grad_()
    loss(logits, SOME_UNKNOWN).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.any()
    assert not logits.grad[SOME_UNKNOWN < 0].any()


@pytest.mark.parametrize("name", sorted(MASKED_LOSSES))
@pytest.mark.parametrize("unknown", [-1e-3, -2.0, -float("inf")])
def test_any_target_below_zero_is_unknown(name, unknown):
    logits = LOGITS.clone().requires_grad_()
    loss = LOSSES[name](logits, SOME_UNKNOWN.where(SOME_UNKNOWN >= 0, unknown))
    assert torch.equal(loss, LOSSES[name](LOGITS, SOME_UNKNOWN))
    loss.backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        *((name, ALL_UNKNOWN) for name in sorted(MASKED_LOSSES)),
        ("soft_auc", torch.ones_like(TARGETS)),
        ("soft_auc", torch.zeros_like(TARGETS)),
        ("soft_auc", torch.full_like(TARGETS, 0.5)),
        ("cross_entropy", torch.zeros_like(TARGETS)),
    ],
)
def test_a_batch_in_which_nothing_counts_costs_nothing_and_pulls_at_nothing(name, targets):
    logits = LOGITS.clone().requires_grad_()
    loss = LOSSES[name](logits, targets)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(LOGITS))


def test_softmax_cross_entropy_is_its_definition_over_the_clips_with_a_species():
    targets = TARGETS.clone()
    targets[[2, 5]] = 0
    logits, shares = LOGITS.double().numpy(), targets.double().numpy()
    heard = shares.sum(1) > 0
    expected = np.zeros(len(shares))
    shares = shares[heard] / shares[heard].sum(1, keepdims=True)
    expected[heard] = -(shares * log_softmax(logits[heard], axis=1)).sum(1)
    each = cross_entropy_loss(LOGITS, targets, reduction="none")
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    loss = cross_entropy_loss(LOGITS, targets)
    assert loss.item() == pytest.approx(expected[heard].mean(), rel=1e-6)


def test_softmax_cross_entropy_of_a_blank_answer_is_the_logarithm_of_the_number_of_classes():
    assert cross_entropy_loss(torch.zeros(8, 5), TARGETS).item() == pytest.approx(np.log(5))


def auc_cost(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the soft AUC loss, pair by pair."""
    costs = []
    for s, t in zip(scores.T, targets.T, strict=True):
        cost = total = 0.0
        for i in range(len(s)):
            for j in range(len(s)):
                if t[i] > 0.5 and 0 <= t[j] < 0.5:
                    weight = (2 * t[i] - 1) * (1 - 2 * t[j])
                    cost += weight * np.log1p(np.exp(-(s[i] - s[j])))
                    total += weight
        if total:
            costs.append(cost / total)
    return float(np.mean(costs))


@pytest.mark.parametrize("targets", [TARGETS, TARGETS.round(), SOME_UNKNOWN])
def test_the_soft_auc_loss_is_the_weighted_mean_over_pairs_of_clips(targets):
    targets = targets.clone()
    targets[:, 3] = 0.2
    expected = auc_cost(LOGITS.double().numpy(), targets.double().numpy())
    assert soft_auc_loss(LOGITS, targets).item() == pytest.approx(expected, rel=1e-5)
    assert soft_auc_loss(LOGITS.double(), targets.double()).item() == pytest.approx(expected, rel=1e-8)


def test_the_soft_auc_loss_of_unranked_clips_is_the_logarithm_of_two_and_of_well_ranked_ones_none():
    targets = TARGETS.round()
    assert soft_auc_loss(torch.zeros(8, 5), targets).item() == pytest.approx(np.log(2))
    costs = [soft_auc_loss(scale * (targets - 0.5), targets).item() for scale in (1, 5, 25)]
    assert costs == pytest.approx([np.log1p(np.exp(-scale)) for scale in (1, 5, 25)], rel=1e-5)


def test_the_soft_auc_loss_does_not_see_what_a_class_is_shifted_by():
    shifted = LOGITS + torch.arange(5.0)
    torch.testing.assert_close(soft_auc_loss(shifted, TARGETS), soft_auc_loss(LOGITS, TARGETS))


def test_the_soft_auc_loss_bounds_the_share_of_misranked_pairs():
    # log(1 + exp(-d)) / log(2) is at least 1 where d <= 0, and above 0 elsewhere.
    targets = TARGETS.round()
    for scale in (0.1, 1.0, 10.0):
        missed = 1 - roc_auc_score(targets, scale * LOGITS, average="macro")
        assert 0 < missed < soft_auc_loss(scale * LOGITS, targets).item() / np.log(2)


def test_the_soft_auc_loss_of_misses_by_one_step_is_their_share_in_the_limit():
    # A bird scores 0 or 2 and silence 1, so that log(1 + exp(-k d)) / k counts the misranked pairs.
    rng = np.random.default_rng(0)
    targets = (rng.random((40, 6)) < 0.4).astype(np.float32)
    scores = np.where(targets, rng.choice([0.0, 2.0], size=targets.shape), 1.0).astype(np.float32)
    missed = 1 - roc_auc_score(targets, scores, average="macro")
    cost = soft_auc_loss(1000 * torch.from_numpy(scores), torch.from_numpy(targets)).item() / 1000
    assert cost == pytest.approx(missed, rel=1e-5)


def test_the_memory_of_the_soft_auc_loss_goes_with_the_birds_and_not_with_the_classes():
    n_clips, n_classes = 16, 20_000
    logits = torch.randn(n_clips, n_classes, generator=torch.Generator().manual_seed(1)).requires_grad_()
    targets = torch.zeros(n_clips, n_classes)
    targets[torch.arange(n_clips), torch.arange(n_clips) // 2] = 1
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = soft_auc_loss(logits, targets)
    assert max(kept) <= logits.numel(), "never a matrix of pairs for each class"
    torch.testing.assert_close(loss, soft_auc_loss(logits[:, :8], targets[:, :8]))


@pytest.mark.parametrize("name", OF_LOGITS)
def test_a_loss_without_arguments_is_the_named_one(name):
    assert torch.equal(make_loss(name, {})(LOGITS, TARGETS), LOSSES[name](LOGITS, TARGETS))


@pytest.mark.parametrize("name", ["focal", "bce_focal", "masked_bce_focal"])
def test_the_arguments_of_a_loss_are_bound_to_it(name):
    loss = make_loss(name, {"alpha": 1, "gamma": 0.5})
    expected = LOSSES[name](LOGITS, TARGETS, alpha=1.0, gamma=0.5)
    assert torch.equal(loss(LOGITS, TARGETS), expected)
    assert not torch.isclose(expected, LOSSES[name](LOGITS, TARGETS))


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        (
            "bce_fokal",
            {},
            r"^loss is 'bce_fokal', which is not known; did you mean bce_focal\? One of your own",
        ),
        ("hinge", {}, "loss is 'hinge', which is not known; legal names are bce, bce_focal, bce_prob"),
        ("focal", {"gama": 2}, r"^loss_args\.gama is not known; did you mean gamma\?"),
        ("focal", {"logits": 0}, r"^loss_args\.logits is not known; legal keys are alpha, gamma"),
        ("bce_focal", {"targets": 0}, r"loss_args\.targets is not known"),
        ("masked_bce_focal", {"reduction": "none"}, r"loss_args\.reduction is not known"),
        ("bce", {"gamma": 2}, "but the loss bce takes none; leave it out, or choose one of focal, bce_focal"),
        ("soft_auc", {"reduction": "none"}, "but the loss soft_auc takes none"),
        ("focal", {"alpha": 1.1}, r"loss_args\.alpha is 1\.1; legal: a number from 0 to 1"),
        ("focal", {"alpha": -0.1}, r"loss_args\.alpha is -0\.1; legal"),
        ("focal", {"alpha": True}, r"loss_args\.alpha is True; legal"),
        ("focal", {"alpha": "0.3"}, r"loss_args\.alpha is '0\.3'; legal"),
        ("focal", {"gamma": -1}, r"loss_args\.gamma is -1; legal: a number, 0 or more"),
        ("focal", {"gamma": float("inf")}, r"loss_args\.gamma is inf; legal"),
        ("focal", {"gamma": float("nan")}, r"loss_args\.gamma is nan; legal"),
    ],
)
def test_what_a_loss_cannot_take_is_told_in_a_sentence(name, args, message):
    with pytest.raises(ConfigError, match=message):
        make_loss(name, args)


def test_a_message_about_an_argument_begins_where_it_stands():
    with pytest.raises(ConfigError, match=r"^mine\.py: loss_args\.alpha is 2; legal"):
        make_loss("focal", {"alpha": 2}, where="mine.py")


class Squared(torch.nn.Module):
    takes_unknown = True

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, logits, targets):
        assert logits.dtype == targets.dtype == torch.float32
        return (self.factor * (logits - targets).square()).mean()


def squared(logits, targets, *, factor=1.0):
    return (factor * (logits - targets).square()).mean()


def test_a_loss_is_a_function_a_class_or_an_object():
    expected = 3 * (LOGITS - TARGETS).square().mean()
    for given, args in ((squared, {"factor": 3}), (Squared, {"factor": 3.0}), (Squared(3.0), {})):
        torch.testing.assert_close(make_loss(given, args)(LOGITS, TARGETS), expected)
    assert make_loss(Squared, {}).takes_unknown
    assert not make_loss(squared, {}).takes_unknown
    assert make_loss("masked_bce_focal", {"gamma": 1.0}).takes_unknown
    assert make_loss(soft_auc_loss, {}).takes_unknown


def test_what_a_loss_holds_moves_and_is_trained_with_it_and_each_fold_begins_anew():
    given = Squared(3.0)
    loss = make_loss(given, {})
    assert [name for name, _ in loss.named_parameters()] == ["loss.factor"]
    with torch.no_grad():
        loss.loss.factor.zero_()
    assert given.factor.item() == 3
    assert make_loss(given, {}).to("meta").loss.factor.device.type == "meta"
    assert not list(make_loss("bce", {}).parameters())


def test_a_loss_of_ones_own_gets_full_precision_too():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = make_loss(Squared, {})(LOGITS.bfloat16(), TARGETS)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda logits, targets: logits,
            r"the loss .*<lambda> gives shape \(8, 5\) for a batch; it must return",
        ),
        (lambda logits, targets: 1.0, "the loss .*<lambda> gives float for a batch"),
    ],
)
def test_a_loss_that_is_no_scalar_is_told_in_a_sentence(loss, message):
    with pytest.raises(ConfigError, match=message):
        make_loss(loss, {})(LOGITS, TARGETS)


def test_an_object_takes_no_arguments():
    with pytest.raises(
        ConfigError, match=r"^mine: loss_args is {'factor': 2}, but .*:Squared\(\) is an object"
    ):
        make_loss(Squared(), {"factor": 2}, where="mine")


def output_of(logits: torch.Tensor) -> ModelOutput:
    """Return an output whose frames are the logits and their negatives, attended to in equal parts."""
    frames = torch.stack([logits, -logits / 2], dim=1)
    return ModelOutput(frames.mean(1), frames.sigmoid().mean(1), frame_logits=frames)


def test_the_cross_entropy_of_probabilities_is_its_definition():
    output = output_of(LOGITS)
    chance, target = output.clip_probabilities.double().numpy(), TARGETS.double().numpy()
    expected = -(xlogy(target, chance) + xlogy(1 - target, 1 - chance)).mean()
    loss = make_loss("bce_probabilities", {})
    assert loss.takes_output
    assert loss.of_output(output, TARGETS).item() == pytest.approx(expected, rel=1e-5)
    certain = ModelOutput(LOGITS, (LOGITS > 0).float().requires_grad_())
    wrong = bce_probabilities_loss(certain, (LOGITS < 0).float())
    wrong.backward()
    assert wrong.isfinite()
    assert certain.clip_probabilities.grad.isfinite().all()


def test_the_loss_of_clip_and_frames_takes_the_largest_frame_of_each_class():
    output = output_of(LOGITS)
    expected = bce_focal_loss(output.clip_logits, TARGETS) + 0.3 * bce_focal_loss(
        torch.maximum(LOGITS, -LOGITS / 2), TARGETS
    )
    loss = make_loss("clip_frame", {"frame_weight": 0.3})
    torch.testing.assert_close(loss.of_output(output, TARGETS), expected)
    half = ModelOutput(*(part if part is None else part.bfloat16() for part in output))
    assert loss.of_output(half, TARGETS).dtype == torch.float32
    with pytest.raises(ConfigError, match="loss is clip_frame, and the head gives no frame_logits"):
        clip_frame_loss(ModelOutput(LOGITS, LOGITS.sigmoid()), TARGETS)
    with pytest.raises(ConfigError, match=r"loss_args.frame_weight is -1; legal: a number, 0 or more"):
        make_loss("clip_frame", {"frame_weight": -1})


def test_classes_weigh_as_they_are_told():
    weights = [1.0, 2.0, 0.0, 4.0, 3.0]
    each = bce_focal_loss(LOGITS, TARGETS, reduction="none").mean(0)
    expected = (each * torch.tensor(weights) / 2).mean()
    loss = make_loss("class_weighted", {"weights": weights})
    output = output_of(LOGITS)._replace(clip_logits=LOGITS)
    torch.testing.assert_close(loss.of_output(output, TARGETS), expected)
    with pytest.raises(ConfigError, match=r"loss_args\.weights has 2 numbers for 5 classes; give one"):
        make_loss("class_weighted", {"weights": [1, 1]})(LOGITS, TARGETS)
    with pytest.raises(ConfigError, match=r"ClassWeightedLoss refuses .* weights must be 0 or more"):
        make_loss("class_weighted", {"weights": [1, -1]})
