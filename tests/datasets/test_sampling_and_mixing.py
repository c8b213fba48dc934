"""What is drawn, and how it is mixed."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.audio.windows import normalize_peak
from dawnchorus.augment.mixup import (
    MixupSettings,
    combine_targets,
    draw_mixup_weight,
    draw_mixup_weights,
    join_parts,
    mix_at_equal_peaks,
    mix_clips,
    mix_targets,
    mix_waves,
    montage_bounds,
)
from dawnchorus.datasets.sampling import (
    ClipSampler,
    Draw,
    class_weights,
    generator,
    shared_out,
    torch_seeds,
)
from dawnchorus.errors import ConfigError
from dawnchorus.recordings.labels import UNKNOWN

LABELS = ["common"] * 90 + ["rare"] * 10


def draws(**changes: int) -> list[Draw]:
    arguments = {"n_draws": 50, "seed": 1, "fold": 0, **changes}
    return list(ClipSampler(class_weights(LABELS, "inverse"), **arguments))


@pytest.mark.parametrize(
    ("balance", "repeat_rare_to", "share_of_rare"),
    [
        ("none", 0, 0.1),
        ("inverse", 0, 0.5),
        ("inverse_sqrt", 0, np.sqrt(10) / (np.sqrt(10) + np.sqrt(90))),
        ("none", 90, 0.5),
        ("inverse_sqrt", 40, np.sqrt(40) / (np.sqrt(40) + np.sqrt(90))),
    ],
)
def test_drawn_frequencies_are_as_announced(balance: str, repeat_rare_to: int, share_of_rare: float) -> None:
    weights = class_weights(LABELS, balance, repeat_rare_to=repeat_rare_to)  # type: ignore[arg-type]
    sampler = ClipSampler(weights, n_draws=20_000, seed=0, fold=0)
    drawn = np.array([draw.item for draw in sampler])
    assert (drawn >= 90).mean() == pytest.approx(share_of_rare, abs=0.02)


def test_extra_recordings_weigh_as_if_they_were_there() -> None:
    # As if 30 copies of the rare ones were added, by which the recordings themselves are drawn more often.
    weights = class_weights(LABELS, "inverse_sqrt", extra_recordings={"rare": 30, "absent": 5})
    assert weights[90:].sum() / weights[:90].sum() == pytest.approx(np.sqrt(40 / 90))
    both = class_weights(LABELS, "none", repeat_rare_to=40, extra_recordings={"rare": 50})
    assert both[90:].sum() == pytest.approx(0.5)


def test_equal_weights_draw_every_recording_before_any_twice() -> None:
    sampler = ClipSampler(class_weights(["a"] * 7, "none"), n_draws=14, seed=0, fold=0)
    drawn = [draw.item for draw in sampler]
    assert sorted(drawn[:7]) == sorted(drawn[7:]) == list(range(7))


def test_the_same_seed_repeats_and_epochs_folds_and_seeds_differ() -> None:
    first = draws()
    assert draws() == first
    assert [d.item for d in draws(seed=2)] != [d.item for d in first]
    assert [d.item for d in draws(fold=1)] != [d.item for d in first]
    sampler = ClipSampler(class_weights(LABELS, "inverse"), n_draws=50, seed=1, fold=0)
    sampler.set_epoch(1)
    assert [d.item for d in sampler] != [d.item for d in first]
    assert {d.epoch for d in sampler} == {1}


@pytest.mark.parametrize("balance", ["none", "inverse"])
@pytest.mark.parametrize("n_processes", [2, 3])
def test_processes_together_draw_in_each_batch_what_a_single_one_draws(
    balance: str, n_processes: int
) -> None:
    arguments = {"n_draws": 53, "seed": 1, "fold": 0}
    weights = class_weights(LABELS, balance)  # type: ignore[arg-type]
    single = ClipSampler(weights, **arguments)
    several = [
        ClipSampler(weights, rank=rank, n_processes=n_processes, **arguments) for rank in range(n_processes)
    ]
    for epoch in (0, 3):
        for sampler in (single, *several):
            sampler.set_epoch(epoch)
        drawn = [list(sampler) for sampler in several]
        assert [len(mine) for mine in drawn] == [len(sampler) for sampler in several]
        assert {len(mine) for mine in drawn} == {53 // n_processes}
        whole = list(single)
        size = 4  # of a process's batch
        for batch in range(53 // n_processes // size):
            together = {draw for mine in drawn for draw in mine[batch * size : (batch + 1) * size]}
            first = batch * size * n_processes
            assert together == set(whole[first : first + size * n_processes])
        assert all(sampler.draws_of(epoch) == whole for sampler in several)


@pytest.mark.parametrize("n_items", [1, 2, 5, 12, 13])
@pytest.mark.parametrize("n_processes", [1, 2, 3, 4])
def test_every_item_is_gone_through_and_the_first_fill_up_the_last_round(
    n_items: int, n_processes: int
) -> None:
    shares = [shared_out(n_items, rank=rank, n_processes=n_processes) for rank in range(n_processes)]
    assert len({len(share) for share in shares}) == 1
    in_turn = [item for round_of_all in zip(*shares, strict=True) for item in round_of_all]
    assert in_turn[:n_items] == list(range(n_items))
    assert len(in_turn) < n_items + n_processes
    assert in_turn[n_items:] == [item % n_items for item in range(len(in_turn) - n_items)]


def test_streams_of_other_lengths_are_other_streams() -> None:
    keys = [(42, 3), (42, 3, 0), (42, 3, 0, 0), (42, 3, 1), (42, 3, 0, 1), (42, 3, 1, 0)]
    assert len({generator(*key).random() for key in keys}) == len(keys)
    seeds = {torch_seeds(*key, n_seeds=2) for key in keys}
    assert len({seed for pair in seeds for seed in pair}) == 2 * len(keys)


def test_streams_depend_on_nothing_but_their_names() -> None:
    assert generator(1, 2, 3).random() == generator(1, 2, 3).random()
    values = {generator(*key).random() for key in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3))}
    assert len(values) == 4


def test_waves_are_mixed_by_weight() -> None:
    first, second = np.float32([1, 2]), np.float32([3, -2])
    np.testing.assert_allclose(mix_waves(first, second, 0.25), [0.25 * 1 + 0.75 * 3, 0.25 * 2 - 0.75 * 2])


def test_hard_targets_are_added_and_clamped_and_soft_ones_weighed() -> None:
    first, second = np.float32([1, 0.5, 0]), np.float32([1, 0, 0.2])
    np.testing.assert_allclose(mix_targets(first, second, 0.3, soft=False), [1, 0.5, 0.2])
    np.testing.assert_allclose(mix_targets(first, second, 0.3, soft=True), [1, 0.15, 0.14], rtol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "hard", "soft"),
    [
        (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
        (UNKNOWN, 0, UNKNOWN, UNKNOWN),
        (0, UNKNOWN, UNKNOWN, UNKNOWN),
        (UNKNOWN, 1, 1, UNKNOWN),
        (0.8, UNKNOWN, 0.8, UNKNOWN),
        (0.8, 0.6, 1, 0.25 * 0.8 + 0.75 * 0.6),
        (0, 0, 0, 0),
    ],
)
def test_a_mixed_target_is_unknown_where_what_is_known_does_not_settle_it(
    first: float, second: float, hard: float, soft: float
) -> None:
    # The entry stands beside an unknown one, so that no case is spared the way with unknown targets.
    targets = np.float32([first, UNKNOWN]), np.float32([second, UNKNOWN])
    for is_soft, expected in ((False, hard), (True, soft)):
        mixed = mix_targets(*targets, 0.25, soft=is_soft)
        np.testing.assert_allclose(mixed, [expected, UNKNOWN], rtol=1e-6)
        assert mixed.dtype == np.float32
    np.testing.assert_array_equal(targets, np.float32([[first, UNKNOWN], [second, UNKNOWN]]))


def test_an_unknown_target_that_weighs_nothing_leaves_a_soft_mix_known() -> None:
    known, unknown = np.float32([0.5, 0]), np.float32([UNKNOWN, UNKNOWN])
    np.testing.assert_array_equal(mix_targets(known, unknown, 1.0, soft=True), known)
    np.testing.assert_array_equal(mix_targets(unknown, known, 0.0, soft=True), known)


def test_the_weight_is_one_half_without_alpha_and_beta_with_it() -> None:
    rng = np.random.default_rng(0)
    assert draw_mixup_weight(MixupSettings(), rng) == 0.5
    weights = [draw_mixup_weight(MixupSettings(alpha=0.4), rng) for _ in range(4000)]
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
    assert np.mean(weights) == pytest.approx(0.5, abs=0.02)
    assert np.var(weights) == pytest.approx(1 / (4 * 1.8), rel=0.05)


@pytest.mark.parametrize("weight", [0.0, 1e-45, 1e-6, 0.25, 0.5, 1 - 1e-6, 1.0])
@pytest.mark.parametrize("levels", [(1.0, 1.0), (1e-4, 0.7), (0.5, 1e-5), (0.0, 0.3), (0.3, 0.0), (0.0, 0.0)])
def test_mixing_at_equal_peaks_is_mixing_what_was_normalised(
    weight: float, levels: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    first, second = (np.float32(level) * rng.uniform(-1, 1, 5000).astype(np.float32) for level in levels)
    at_peak = [wave.astype(np.float64) / (np.abs(wave).max() or 1) for wave in (first, second)]
    expected = weight * at_peak[0] + (1 - weight) * at_peak[1]
    mixed = mix_at_equal_peaks(first.copy(), second.copy(), weight)
    expected = expected / (np.abs(expected).max() or 1)
    np.testing.assert_allclose(normalize_peak(mixed), expected, atol=2e-6)


@pytest.mark.parametrize("equal_peaks", [True, False])
def test_several_clips_are_mixed_by_weight(equal_peaks: bool) -> None:
    rng = np.random.default_rng(0)
    waves = rng.uniform(-0.3, 0.3, (3, 1000)).astype(np.float32)
    weights = (0.5, 0.2, 0.3)
    scaled = waves / np.abs(waves).max(axis=1, keepdims=True) if equal_peaks else waves
    expected = np.average(scaled.astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(mix_clips(waves, weights, equal_peaks=equal_peaks), expected, atol=1e-6)


def test_the_targets_of_several_clips_are_added_or_weighed_or_the_largest() -> None:
    targets = np.float32([[1, 0.5, 0], [0.2, 0.25, 0], [0.1, 0.75, 0.3]])
    weights = (0.5, 0.2, 0.3)
    expected = {
        "sum": np.minimum(targets.sum(axis=0), 1),
        "maximum": targets.max(axis=0),
        "weighted": np.average(targets, axis=0, weights=weights),
    }
    for rule, target in expected.items():
        found = combine_targets(targets, weights, rule=rule, smoothing=(0, 0, 0))  # type: ignore[arg-type]
        np.testing.assert_allclose(found, target, rtol=1e-6)
        assert found.dtype == np.float32
    targets[2] = [UNKNOWN, 0.75, UNKNOWN]
    for rule, target in (("sum", [1, 1, UNKNOWN]), ("maximum", [1, 0.75, UNKNOWN])):
        found = combine_targets(targets, weights, rule=rule, smoothing=(0, 0, 0))  # type: ignore[arg-type]
        np.testing.assert_allclose(found, target)
    weighed = combine_targets(targets, weights, rule="weighted", smoothing=(0, 0, 0))
    np.testing.assert_allclose(weighed, [UNKNOWN, 0.525, UNKNOWN], rtol=1e-6)


def test_the_weights_of_several_clips_are_of_dirichlet_and_trimmed() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([draw_mixup_weights(MixupSettings(alpha=0.4), 2, rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    # Dirichlet(a, a, a) has means 1/3 and variances 2 / (9 (3a + 1)).
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(drawn.var(axis=0), 2 / (9 * 2.2), rtol=0.06)
    trimmed = MixupSettings(alpha=0.4, min_weight=0.3, max_weight=0.6)
    trims = np.array([draw_mixup_weights(trimmed, 2, np.random.default_rng(seed)) for seed in range(200)])
    whole = np.array(
        [draw_mixup_weights(MixupSettings(alpha=0.4), 2, np.random.default_rng(seed)) for seed in range(200)]
    )
    np.testing.assert_allclose(trims[:, 0], whole[:, 0].clip(0.3, 0.6))
    np.testing.assert_allclose(trims.sum(axis=1), 1)


def test_a_montage_has_a_part_of_each_clip_in_turn() -> None:
    waves = np.arange(1, 4, dtype=np.float32)[:, None] * np.linspace(1, 2, 10, dtype=np.float32)
    bounds = montage_bounds((0.5, 0.2, 0.3), 10)
    assert bounds == [(0, 5), (5, 7), (7, 10)]
    expected = np.concatenate([waves[0, :5], waves[1, 5:7], waves[2, 7:]])
    np.testing.assert_array_equal(join_parts(waves, bounds, equal_peaks=False), expected)
    peaks = np.repeat([waves[0, 4], waves[1, 6], waves[2, 9]], [5, 2, 3])
    np.testing.assert_allclose(join_parts(waves, bounds, equal_peaks=True), expected / peaks, rtol=1e-6)
    assert montage_bounds((1.0, 0.0), 10) == [(0, 10), (10, 10)]
    assert join_parts(waves[:2], [(0, 10), (10, 10)], equal_peaks=True).shape == (10,)


def test_mixup_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"min_weight is 0.7, above max_weight, 0.5"):
        MixupSettings(min_weight=0.7, max_weight=0.5)
    with pytest.raises(ConfigError, match="soft_targets weighs the targets, and target_rule is maximum"):
        MixupSettings(soft_targets=True, target_rule="maximum")
