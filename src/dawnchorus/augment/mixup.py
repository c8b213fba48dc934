"""Mixup of waves and of their targets, and montage, in which they stand one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dawnchorus.audio.windows import normalize_peak, peak_of
from dawnchorus.config import Settings
from dawnchorus.recordings.labels import UNKNOWN, has_unknown, smooth_target

TargetRule: TypeAlias = Literal["sum", "maximum", "weighted"]
"""How the targets of mixed clips become one, see :func:`combine_targets`."""


class MixupSettings(Settings):
    """Mixup of clips (Zhang et al. 2018, https://arxiv.org/abs/1710.09412, on the wave).

    Attributes
    ----------
    probability
        Probability that a clip is mixed with another.
    alpha
        The weights are drawn from a Dirichlet distribution with alpha for each clip, which for two is
        Beta(alpha, alpha); None gives all clips the same.
    soft_targets
        Whether targets are weighted like the waves, as with ``target_rule`` ``weighted``.
    target_rule
        ``sum``: targets are added after smoothing and clamped to 1, for a bird that is half as loud is still
        present, and one in both clips is certain. ``maximum``: the largest. ``weighted``: like the waves.
    max_partners
        1 to this many clips are mixed in; all numbers are equally likely.
    min_weight, max_weight
        Range that the weight of the clip itself is trimmed to; the others share the rest as drawn.
    montage_probability
        Chance that the clips stand one after the other, each in a part of its weight's length, instead of on
        top of each other. Labels in time are those of the part.

    Examples
    --------
    >>> MixupSettings(probability=0.5, alpha=5.0).soft_targets
    False
    """

    probability: float = Field(default=0.5, ge=0, le=1)
    alpha: float | None = Field(default=None, gt=0)
    soft_targets: bool = False
    target_rule: TargetRule = "sum"
    max_partners: int = Field(default=1, ge=1)
    min_weight: float = Field(default=0.0, ge=0, le=1)
    max_weight: float = Field(default=1.0, ge=0, le=1)
    montage_probability: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _fits_together(self) -> MixupSettings:
        if self.min_weight > self.max_weight:
            raise ValueError(f"min_weight is {self.min_weight:g}, above max_weight, {self.max_weight:g}")
        if self.soft_targets and self.target_rule == "maximum":
            raise ValueError(
                "soft_targets weighs the targets, and target_rule is maximum; keep one of the two"
            )
        return self

    @property
    def rule(self) -> TargetRule:
        """How targets become one, by either key."""
        return "weighted" if self.soft_targets else self.target_rule


def draw_mixup_weight(settings: MixupSettings, rng: np.random.Generator) -> float:
    """Return the weight of the first wave, in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> draw_mixup_weight(MixupSettings(), np.random.default_rng(0))
    0.5
    >>> 0 <= draw_mixup_weight(MixupSettings(alpha=0.4), np.random.default_rng(0)) <= 1
    True
    """
    return draw_mixup_weights(settings, 1, rng)[0]


def draw_mixup_weights(
    settings: MixupSettings, n_partners: int, rng: np.random.Generator
) -> tuple[float, ...]:
    """Return the weights of a clip and of its partners; they sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> draw_mixup_weights(MixupSettings(min_weight=0.5), 2, np.random.default_rng(0))
    (0.5, 0.25, 0.25)
    """
    alpha = settings.alpha
    if alpha is None:
        own, shares = 1 / (1 + n_partners), np.full(n_partners, 1 / n_partners)
    elif n_partners == 1:
        own, shares = float(rng.beta(alpha, alpha)), np.ones(1)
    else:
        drawn = rng.dirichlet([alpha] * (1 + n_partners))
        own, rest = float(drawn[0]), drawn[1:].sum()
        shares = drawn[1:] / rest if rest > 0 else np.full(n_partners, 1 / n_partners)
    own = min(max(own, settings.min_weight), settings.max_weight)
    return own, *((1 - own) * shares).tolist()


def mix_waves(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], weight: float
) -> npt.NDArray[np.float32]:
    """Return ``weight · first + (1 − weight) · second``, shape (n_samples,).

    Examples
    --------
    >>> import numpy as np
    >>> mix_waves(np.float32([1, 0]), np.float32([0, 1]), 0.25)
    array([0.25, 0.75], dtype=float32)
    """
    return np.float32(weight) * first + np.float32(1 - weight) * second


def mix_at_equal_peaks(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], weight: float
) -> npt.NDArray[np.float32]:
    """Return ``weight · first / max |first| + (1 − weight) · second / max |second|``, up to a factor.

    The factor, which is positive, saves most passes over the waves; normalising the mix removes it.
    Silence stays silence. Both waves may be changed in place. Shapes (n_samples,), float32.

    Examples
    --------
    >>> import numpy as np
    >>> mixed = mix_at_equal_peaks(np.float32([0.1, 0]), np.float32([0, 1]), 0.5)
    >>> mixed / mixed.max()  # both are as loud
    array([1., 1.], dtype=float32)
    """
    first_peak, second_peak = peak_of(first), peak_of(second)
    if weight == 0 or (first_peak == 0 and weight < 1):
        return second
    if weight == 1 or second_peak == 0:
        return first
    first_factor, second_factor = weight / first_peak, (1 - weight) / second_peak
    if second_factor <= first_factor:  # waves are only scaled down, so that nothing overflows
        second *= np.float32(second_factor / first_factor)
        first += second
        return first
    first *= np.float32(first_factor / second_factor)
    second += first
    return second


def mix_targets(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    weight: float,
    *,
    soft: bool,
    smoothing: tuple[float, float] = (0.0, 0.0),
) -> npt.NDArray[np.float32]:
    """Return the target of two mixed clips, shape (n_classes,), in [0, 1], or -1 where unknown.

    Hard: ``min(first + second, 1)``; a class that is unknown in one and 0 in the other stays unknown.
    Soft: ``weight · first + (1 − weight) · second``; a class unknown in one of non-zero weight is unknown.
    Each is first smoothed by its amount of ``smoothing``, see
    :func:`~dawnchorus.recordings.labels.smooth_target`.

    Examples
    --------
    >>> import numpy as np
    >>> mix_targets(np.float32([1, 0]), np.float32([0, 1]), 0.25, soft=False)
    array([1., 1.], dtype=float32)
    >>> mix_targets(np.float32([1, 0]), np.float32([0, 1]), 0.25, soft=True)
    array([0.25, 0.75], dtype=float32)
    """
    rule: TargetRule = "weighted" if soft else "sum"
    return combine_targets((first, second), (weight, 1 - weight), rule=rule, smoothing=smoothing)


def combine_targets(
    targets: Sequence[npt.NDArray[np.float32]],
    weights: Sequence[float],
    *,
    rule: TargetRule,
    smoothing: Sequence[float],
) -> npt.NDArray[np.float32]:
    """Return the target of mixed clips, shape (n_classes,), in [0, 1], or -1 where unknown.

    ``sum`` is ``min(Σ tᵢ, 1)`` and ``maximum`` is ``max tᵢ``; a class that is unknown in a clip and present
    in none stays unknown. ``weighted`` is ``Σ wᵢ·tᵢ``; a class unknown in a clip of non-zero weight is
    unknown. Each is first smoothed by its amount of ``smoothing``.

    Examples
    --------
    >>> import numpy as np
    >>> targets, nothing = np.float32([[1, 0], [0.5, 0], [0.25, 1]]), (0, 0, 0)
    >>> combine_targets(targets, (0.5, 0.25, 0.25), rule="maximum", smoothing=nothing)
    array([1., 1.], dtype=float32)
    >>> combine_targets(targets, (0.5, 0.25, 0.25), rule="weighted", smoothing=nothing)
    array([0.6875, 0.25  ], dtype=float32)
    """
    if any(map(has_unknown, targets)):
        known = [np.maximum(target, 0) for target in targets]
        mixed = combine_targets(known, weights, rule=rule, smoothing=smoothing)
        mixed[_unknown_in_mix(targets, weights, rule)] = UNKNOWN
        return mixed
    smooth = [smooth_target(target, amount) for target, amount in zip(targets, smoothing, strict=True)]
    if rule == "weighted":
        smooth = [np.float32(weight) * target for weight, target in zip(weights, smooth, strict=True)]
    if rule == "maximum":
        return np.max(smooth, axis=0)
    total = smooth[0]
    for target in smooth[1:]:
        total = total + target
    return total if rule == "weighted" else np.minimum(total, np.float32(1))


def _unknown_in_mix(
    targets: Sequence[npt.NDArray[np.float32]], weights: Sequence[float], rule: TargetRule
) -> npt.NDArray[np.bool_]:
    """Return which classes of a mix are unknown, shape (n_classes,)."""
    each = np.stack(targets)
    if rule == "weighted":
        counts = np.array(weights, dtype=np.float32)[:, None] > 0
        return np.asarray(((each < 0) & counts).any(axis=0))
    return np.asarray((each < 0).any(axis=0) & (each <= 0).all(axis=0))


def mix_clips(
    waves: Sequence[npt.NDArray[np.float32]], weights: Sequence[float], *, equal_peaks: bool
) -> npt.NDArray[np.float32]:
    """Return ``Σ wᵢ·xᵢ``, or with ``equal_peaks`` ``Σ wᵢ·xᵢ / max |xᵢ|``, shape (n_samples,), float32.

    Examples
    --------
    >>> import numpy as np
    >>> mix_clips(np.float32([[0.1, 0], [0, 1], [0, 1]]), (0.5, 0.25, 0.25), equal_peaks=True)
    array([0.5, 0.5], dtype=float32)
    """
    scaled: Any = [normalize_peak(wave) for wave in waves] if equal_peaks else waves
    return np.array(weights, dtype=np.float32) @ np.stack(scaled)


def montage_bounds(weights: Sequence[float], n_samples: int) -> list[tuple[int, int]]:
    """Return the first and last sample of each clip's part: together they are 0 to ``n_samples``.

    Examples
    --------
    >>> montage_bounds((0.5, 0.25, 0.25), 8)
    [(0, 4), (4, 6), (6, 8)]
    """
    ends = [0, *(round(end * n_samples) for end in np.cumsum(weights)[:-1]), n_samples]
    return list(itertools.pairwise(ends))


def join_parts(
    waves: Sequence[npt.NDArray[np.float32]], bounds: Sequence[tuple[int, int]], *, equal_peaks: bool
) -> npt.NDArray[np.float32]:
    """Return the part of each clip between its bounds, one after the other, shape (n_samples,), float32.

    With ``equal_peaks`` each part is scaled to peak 1 first.

    Examples
    --------
    >>> import numpy as np
    >>> join_parts(np.float32([[1, 1, 1], [2, 2, 2]]), [(0, 1), (1, 3)], equal_peaks=False)
    array([1., 2., 2.], dtype=float32)
    """
    parts = [wave[start:stop] for wave, (start, stop) in zip(waves, bounds, strict=True)]
    return np.concatenate([normalize_peak(part) for part in parts] if equal_peaks else parts)
