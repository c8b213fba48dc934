"""Mixup of two waves and of their targets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dawnchorus.audio.windows import peak_of
from dawnchorus.config import Settings
from dawnchorus.recordings.labels import UNKNOWN, has_unknown, smooth_target


class MixupSettings(Settings):
    """Mixup of two clips (Zhang et al. 2018, https://arxiv.org/abs/1710.09412, on the wave).

    Attributes
    ----------
    probability
        Probability that a clip is mixed with another.
    alpha
        The first wave's weight is drawn from Beta(alpha, alpha); None gives both one half.
    soft_targets
        Whether targets are weighted like the waves. By default they are added after smoothing and clamped to
        1: a bird that is half as loud is still present, and one in both clips is certain.

    Examples
    --------
    >>> MixupSettings(probability=0.5, alpha=5.0).soft_targets
    False
    """

    probability: float = Field(default=0.5, ge=0, le=1)
    alpha: float | None = Field(default=None, gt=0)
    soft_targets: bool = False


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
    return 0.5 if settings.alpha is None else float(rng.beta(settings.alpha, settings.alpha))


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
    if has_unknown(first) or has_unknown(second):
        known = np.maximum(first, 0), np.maximum(second, 0)
        mixed = mix_targets(*known, weight, soft=soft, smoothing=smoothing)
        mixed[_unknown_in_mix(first, second, weight, soft=soft)] = UNKNOWN
        return mixed
    first, second = smooth_target(first, smoothing[0]), smooth_target(second, smoothing[1])
    if soft:
        return np.float32(weight) * first + np.float32(1 - weight) * second
    return np.minimum(first + second, np.float32(1))


def _unknown_in_mix(
    first: npt.NDArray[np.float32],
    second: npt.NDArray[np.float32],
    weight: float,
    *,
    soft: bool,
) -> npt.NDArray[np.bool_]:
    """Return which classes of a mix are unknown, shape (n_classes,)."""
    if soft:
        return ((first < 0) & (np.float32(weight) > 0)) | ((second < 0) & (np.float32(1 - weight) > 0))
    return ((first < 0) & (second <= 0)) | ((second < 0) & (first <= 0))
