"""What is done to a recording's predictions, against the same thing written as plain loops."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.audio.windows import planned_starts, window_starts
from dawnchorus.errors import ConfigError
from dawnchorus.predict.postprocess import (
    PostprocessSettings,
    overlap_average,
    postprocess,
    scale_by_maximum,
    shift_average,
    smooth,
)
from dawnchorus.predict.window_predictions import WindowPredictions

RATE = 10  # Hz
N_CLASSES = 3


def predicted(n_samples: int, window: int, step: int, *, embeddings: bool = False) -> WindowPredictions:
    """Return random predictions on an even grid; the last window may be partial."""
    return at_starts(window_starts(n_samples, window, step), n_samples, window, embeddings=embeddings)


def at_starts(
    starts: np.ndarray, n_samples: int, window: int, *, embeddings: bool = False
) -> WindowPredictions:
    generator = np.random.default_rng([n_samples, window, len(starts)])
    return WindowPredictions(
        starts,
        np.minimum(starts + window, n_samples),
        generator.random((len(starts), N_CLASSES), dtype=np.float32),
        RATE,
        # The first feature is the start, so that a test can tell whose embedding it is.
        np.stack([starts, -starts], axis=1).astype(np.float32) if embeddings else None,
    )


def rows_by_start(predictions: WindowPredictions) -> dict[int, np.ndarray]:
    rows = predictions.probabilities.astype(np.float64)
    return dict(zip(predictions.starts.tolist(), rows, strict=True))


def looped_shift_average(predictions: WindowPredictions, wanted: list[int], shift: int) -> np.ndarray:
    rows = rows_by_start(predictions)
    return np.array(
        [
            np.mean([rows[near] for near in (start - shift, start, start + shift) if near in rows], axis=0)
            for start in wanted
        ]
    )


def looped_overlap_average(predictions: WindowPredictions, step: int) -> np.ndarray:
    end = predictions.stops[-1]
    cells = []
    for low in range(0, end, step):
        high = min(low + step, end)
        over = [
            row.astype(np.float64)
            for start, stop, row in zip(*predictions[:3], strict=True)
            if start <= low and high <= stop
        ]
        cells.append(np.mean(over, axis=0))
    return np.array(cells)


def looped_smooth(probabilities: np.ndarray, kernel: tuple[float, ...]) -> np.ndarray:
    smoothed = np.empty(probabilities.shape)
    reach = len(kernel) // 2
    for window in range(len(probabilities)):
        near = [n for n in range(window - reach, window + reach + 1) if 0 <= n < len(probabilities)]
        weights = [kernel[n - window + reach] for n in near]
        smoothed[window] = np.average(probabilities[near].astype(np.float64), axis=0, weights=weights)
    return smoothed


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)


# Shifts -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    n_samples=st.integers(1, 200),
    window=st.integers(2, 30),
    n_grids=st.integers(1, 6),
    n_shift_grids=st.integers(1, 6),
    grid=st.integers(1, 5),
)
def test_a_shift_average_is_that_of_a_loop(
    n_samples: int, window: int, n_grids: int, n_shift_grids: int, grid: int
) -> None:
    predictions = predicted(n_samples, window, min(grid, window))
    wanted = predictions.starts[::n_grids]
    shift = n_shift_grids * min(grid, window)
    found = shift_average(predictions, wanted, shift=shift)
    agree(found.probabilities, looped_shift_average(predictions, wanted.tolist(), shift))
    assert found.starts.tolist() == wanted.tolist()
    assert found.stops.tolist() == predictions.stops[::n_grids].tolist()


def test_a_shift_average_leaves_out_what_is_before_the_recording_or_not_there() -> None:
    p = np.array([[0.1], [0.4], [0.9]], np.float32)
    three = WindowPredictions(np.array([0, 25, 50]), np.array([50, 75, 80]), p, RATE)
    found = shift_average(three, np.array([0, 50]), shift=25)
    agree(found.probabilities, np.array([[0.25], [0.65]]))
    assert found.stops.tolist() == [50, 80]


def test_a_single_partial_window_stays_as_it_is() -> None:
    one = predicted(7, 50, 25, embeddings=True)
    chosen = PostprocessSettings(2.5, True, (0.1, 0.2, 0.4, 0.2, 0.1), 0.0)
    found = postprocess(one, chosen, window=50, step=25)
    agree(found.probabilities, one.probabilities)
    assert (found.starts.tolist(), found.stops.tolist()) == ([0], [7])
    np.testing.assert_array_equal(found.embeddings, one.embeddings)


def test_a_wanted_window_keeps_its_own_embedding() -> None:
    predictions = predicted(200, 50, 25, embeddings=True)
    found = shift_average(predictions, np.array([0, 50, 100]), shift=25)
    assert found.embeddings is not None
    assert found.embeddings[:, 0].tolist() == [0, 50, 100]


@pytest.mark.parametrize("start", [500, 200, -1])
def test_a_window_for_which_nothing_was_predicted_is_refused(start: int) -> None:
    predictions = at_starts(np.array([0, 50, 350]), 400, 50)
    with pytest.raises(ValueError, match=f"nothing was predicted for the window at {start} samples"):
        shift_average(predictions, np.array([0, start]), shift=10)


# Overlaps -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(n_samples=st.integers(1, 300), step=st.integers(1, 20), window_steps=st.floats(1, 5))
def test_an_overlap_average_is_that_of_a_loop(n_samples: int, step: int, window_steps: float) -> None:
    predictions = predicted(n_samples, int(step * window_steps), step, embeddings=True)
    found = overlap_average(predictions, step=step)
    agree(found.probabilities, looped_overlap_average(predictions, step))
    assert found.starts.tolist() == list(range(0, n_samples, step))
    assert found.stops.tolist() == [*found.starts[1:].tolist(), n_samples]
    assert found.embeddings is not None
    owners = [max(s for s in predictions.starts.tolist() if s <= cell) for cell in found.starts.tolist()]
    assert found.embeddings[:, 0].tolist() == owners


def test_cells_may_be_longer_than_the_grid_of_the_windows() -> None:
    predictions = predicted(137, 50, 5)
    agree(
        overlap_average(predictions, step=20).probabilities,
        looped_overlap_average(predictions, 20),
    )


def test_small_probabilities_keep_their_digits_in_an_overlap_average() -> None:
    predictions = predicted(1000, 50, 25)
    faint = predictions.probabilities.copy()
    faint[:10] = 1
    faint[10:] *= np.float32(1e-20)
    predictions = predictions._replace(probabilities=faint)
    agree(overlap_average(predictions, step=25).probabilities, looped_overlap_average(predictions, 25))


def test_a_cell_that_no_window_covers_is_refused() -> None:
    with pytest.raises(ValueError, match="no window covers the whole cell of 30 samples at 30 samples"):
        overlap_average(predicted(200, 50, 50), step=30)


def test_a_day_at_half_steps_is_averaged_in_no_time() -> None:
    rate = 32_000
    starts = window_starts(24 * 3600 * rate, 5 * rate, 5 * rate // 2)
    day = WindowPredictions(
        starts,
        np.minimum(starts + 5 * rate, 24 * 3600 * rate),
        np.random.default_rng(0).random((len(starts), 206), dtype=np.float32),
        rate,
    )
    began = time.process_time()
    found = overlap_average(day, step=5 * rate // 2)
    assert time.process_time() - began < 1  # About 0.3 s.
    assert len(found.starts) == 24 * 3600 * 2 // 5
    expected = (day.probabilities[99].astype(np.float64) + day.probabilities[100]) / 2
    agree(found.probabilities[100], expected)


# Smoothing and scaling ----------------------------------------------------------------------------


@settings(deadline=None)
@given(
    n_windows=st.integers(1, 12),
    sides=st.lists(st.floats(0, 1), max_size=8).filter(lambda sides: len(sides) % 2 == 0),
    middle=st.floats(0.01, 1),
)
def test_smoothing_is_that_of_a_loop(n_windows: int, sides: list[float], middle: float) -> None:
    kernel = (*sides[: len(sides) // 2], middle, *sides[len(sides) // 2 :])
    probabilities = np.random.default_rng(n_windows).random((n_windows, N_CLASSES), dtype=np.float32)
    agree(smooth(probabilities, kernel), looped_smooth(probabilities, kernel))


def test_smoothing_renormalises_at_the_ends() -> None:
    pulse = np.zeros((5, 1), np.float32)
    pulse[0] = 1
    agree(smooth(pulse)[:, 0], np.array([0.4 / 0.7, 0.2 / 0.9, 0.1, 0, 0]))
    agree(smooth(np.full((6, 2), 0.3, np.float32)), np.full((6, 2), np.float32(0.3)))


def test_fewer_windows_than_the_kernel_are_smoothed_too() -> None:
    agree(smooth(np.array([[0.5], [1.0]], np.float32)), np.array([[0.4 / 0.6], [0.5 / 0.6]]))


@pytest.mark.parametrize(
    ("kernel", "what"),
    [
        ((0.5, 0.5), "it has 2 weights, and must have an odd number"),
        ((), "it has 0 weights, and must have an odd number"),
        ((-0.1, 1.0, 0.1), "its weights must be 0 or more"),
        ((0.1, float("nan"), 0.1), "its weights must be 0 or more"),
        ((0.5, 0.0, 0.5), "the one in the middle above 0"),
    ],
)
def test_a_kernel_that_cannot_smooth_is_refused(kernel: tuple[float, ...], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        smooth(np.zeros((3, 1), np.float32), kernel)
    with pytest.raises(ConfigError, match=rf"smoothing is .*{what}.*a common choice is \(0.1, 0.2"):
        PostprocessSettings(smoothing=kernel)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_scaling_multiplies_by_the_recordings_own_maximum(exponent: float) -> None:
    probabilities = predicted(200, 50, 25).probabilities
    probabilities[:, 1] = 0  # 0 to the power of 0 is 1
    expected = np.empty(probabilities.shape)
    for number in range(N_CLASSES):
        column = [float(p) for p in probabilities[:, number]]
        expected[:, number] = [p * max(column) ** exponent for p in column]
    agree(scale_by_maximum(probabilities, exponent), expected)


# All of it ----------------------------------------------------------------------------------------


def test_nothing_is_done_by_default() -> None:
    predictions = predicted(210, 50, 25, embeddings=True)
    assert postprocess(predictions, PostprocessSettings(), window=50, step=25) is predictions


def test_the_order_is_shifts_then_overlaps_then_smoothing_then_scaling() -> None:
    predictions = at_starts(planned_starts(207, 50, 25, 15), 207, 50, embeddings=True)
    kernel = (0.25, 0.5, 0.25)
    found = postprocess(predictions, PostprocessSettings(1.5, True, kernel, 0.5), window=50, step=25)

    wanted = [0, 25, 50, 75, 100, 125, 150, 175]
    shifted = looped_shift_average(predictions, wanted, 15)
    rows = WindowPredictions(
        np.array(wanted), np.minimum(np.array(wanted) + 50, 207), shifted.astype(np.float32), RATE
    )
    smoothed = looped_smooth(looped_overlap_average(rows, 25), kernel)
    agree(found.probabilities, smoothed * smoothed.max(axis=0) ** 0.5)
    assert found.starts.tolist() == [*wanted, 200]
    assert found.stops[-1] == 207
    assert found.embeddings is not None
    assert found.embeddings[:, 0].tolist() == [0, 25, 50, 75, 100, 125, 150, 175, 175]


@settings(deadline=None, max_examples=200)
@given(n_samples=st.integers(1, 200), window=st.integers(2, 40), data=st.data())
def test_planned_windows_give_the_same_windows_as_a_plan_without_shifts(
    n_samples: int, window: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, window))
    shift = data.draw(st.integers(1, window - 1))
    predictions = at_starts(planned_starts(n_samples, window, step, shift), n_samples, window)
    found = postprocess(predictions, PostprocessSettings(shift_s=shift / RATE), window=window, step=step)
    wanted = window_starts(n_samples, window, step)
    assert found.starts.tolist() == wanted.tolist()
    assert found.stops.tolist() == np.minimum(wanted + window, n_samples).tolist()
    agree(found.probabilities, looped_shift_average(predictions, wanted.tolist(), shift))


@pytest.mark.parametrize("shift_s", [0, -1.0, float("nan"), float("inf")])
def test_a_shift_must_be_above_zero(shift_s: float) -> None:
    with pytest.raises(ConfigError, match=f"shift_s is {shift_s}; it must be above 0 and below the window's"):
        PostprocessSettings(shift_s=shift_s)


@pytest.mark.parametrize("exponent", [-0.5, float("nan"), float("inf")])
def test_a_scaling_exponent_must_be_a_number_from_zero_on(exponent: float) -> None:
    with pytest.raises(ConfigError, match=f"scale_exponent is {exponent}; it must be 0 or more"):
        PostprocessSettings(scale_exponent=exponent)


def test_arithmetic_on_predictions_needs_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, dawnchorus.predict.postprocess as _; "
        "print([name for name in ('torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
