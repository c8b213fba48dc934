"""Window geometry: every sample covered, streams and whole recordings cut alike."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.audio.windows import (
    normalize_peak,
    pad_left,
    peak_of,
    planned_starts,
    stream_planned,
    stream_windows,
    window_starts,
)

SHAPES = [
    (1, 5, None),
    (5, 5, None),
    (6, 5, None),
    (10, 5, None),
    (11, 5, 2),
    (12, 5, 1),
    (9, 5, 4),
    (100, 7, 3),
]


@pytest.mark.parametrize(("n_samples", "window", "step"), SHAPES)
def test_windows_cover_every_sample_and_none_is_superfluous(n_samples, window, step):
    starts = window_starts(n_samples, window, step)
    covered = np.zeros(n_samples, bool)
    for start in starts:
        assert not covered[-1]  # the last sample is first reached by the last window
        covered[start : start + window] = True
    assert covered.all()
    assert starts.dtype == np.int64
    np.testing.assert_array_equal(starts, np.arange(len(starts)) * (step or window))


@pytest.mark.parametrize("n_block", [1, 2, 5, 1000])
@pytest.mark.parametrize(("n_samples", "window", "step"), SHAPES)
def test_a_stream_is_cut_like_the_whole_whatever_its_blocks(n_samples, window, step, n_block):
    wave = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    blocks = [wave[k : k + n_block] for k in range(0, n_samples, n_block)]
    found = list(stream_windows(blocks, window, step))
    assert [start for start, _, _ in found] == window_starts(n_samples, window, step).tolist()
    for start, stop, samples in found:
        assert stop == min(start + window, n_samples)
        np.testing.assert_array_equal(samples, wave[start:stop])


def test_a_minute_in_windows_of_five_seconds_makes_twelve():
    assert len(window_starts(60 * 32_000, 160_000)) == 12


def test_a_short_wave_is_padded_on_the_left():
    np.testing.assert_array_equal(pad_left(np.float32([1, 2]), 4), np.float32([0, 0, 1, 2]))
    wave = np.float32([1, 2])
    assert pad_left(wave, 2) is wave
    with pytest.raises(ValueError, match="a wave of 2 samples cannot be padded to 1"):
        pad_left(wave, 1)


def test_the_peak_becomes_one_and_silence_stays_silent():
    np.testing.assert_allclose(normalize_peak(np.float32([0.1, -0.4])), [0.25, -1.0])
    np.testing.assert_array_equal(normalize_peak(np.zeros(3, np.float32)), np.zeros(3))
    assert normalize_peak(np.array([1, -2])).dtype == np.float32
    assert normalize_peak(np.zeros(0, np.float32)).shape == (0,)


def test_windows_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="a recording without samples has no windows"):
        window_starts(0, 5)
    with pytest.raises(ValueError, match="the blocks hold no samples"):
        list(stream_windows([np.zeros(0, np.float32)], 5))
    with pytest.raises(ValueError, match="step=6 must lie in 1 … window=5"):
        window_starts(10, 5, 6)
    with pytest.raises(ValueError, match="step=0 must lie in 1"):
        list(stream_windows([], 5, 0))


@given(
    n_samples=st.integers(1, 500_000_000),
    window=st.integers(1, 320_000),
    share=st.floats(0.01, 1),
    data=st.data(),
)
def test_every_sample_is_covered_times_are_exact_and_no_window_is_empty(n_samples, window, share, data):
    step = max(1, round(share * window))
    n_samples = min(n_samples, 5_000 * step)
    starts = window_starts(n_samples, window, step)
    sample = data.draw(st.integers(0, n_samples - 1))
    covering = starts[(starts <= sample) & (sample < starts + window)]
    assert len(covering) >= 1
    assert starts[0] == 0
    assert starts[-1] < n_samples <= starts[-1] + window
    # Integers throughout: the time of a window is exactly k · step / sample_rate, however far it is.
    assert all(
        Fraction(int(start), 32_000) == k * Fraction(step, 32_000) for k, start in enumerate(starts[:50])
    )
    assert starts[-1] == (len(starts) - 1) * step
    if len(starts) > 1:
        assert starts[-2] + window < n_samples  # the one before did not reach the end


@given(
    n_samples=st.integers(1, 4000),
    window=st.integers(1, 500),
    share=st.floats(0.05, 1),
    seed=st.integers(0, 99),
)
def test_a_stream_in_blocks_of_any_size_gives_the_same_windows(n_samples, window, share, seed):
    step = max(1, round(share * window))
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal(n_samples).astype(np.float32)
    cuts = np.sort(rng.integers(0, n_samples + 1, rng.integers(0, 8)))
    found = list(stream_windows(np.split(wave, cuts), window, step))
    assert [start for start, _, _ in found] == window_starts(n_samples, window, step).tolist()
    for start, stop, samples in found:
        assert stop == min(start + window, n_samples)
        np.testing.assert_array_equal(samples, wave[start:stop])


def test_a_peak_is_the_largest_distance_from_zero():
    assert peak_of(np.float32([0.1, -0.5, 0.3])) == 0.5
    assert peak_of(np.float32([0.1, -0.2, 0.3])) == pytest.approx(0.3)
    assert peak_of(np.zeros(0, np.float32)) == 0


def test_planned_windows_are_the_wanted_ones_and_their_neighbours_within_the_recording():
    assert planned_starts(23, 10, 10).tolist() == [0, 10, 20]
    # Those at -3 and 17 … 23 would leave the recording; 13 just ends with it.
    assert planned_starts(23, 10, 10, 3).tolist() == [0, 3, 7, 10, 13, 20]
    assert planned_starts(22, 10, 10, 3).tolist() == [0, 3, 7, 10, 20]
    assert planned_starts(30, 10, 5, 5).tolist() == [0, 5, 10, 15, 20], "each once"
    assert planned_starts(4, 10, 10, 3).tolist() == [0]
    assert planned_starts(23, 10, 10, 3).dtype == np.int64
    with pytest.raises(ValueError, match="a recording without samples has no windows"):
        planned_starts(0, 10, 10, 3)


@given(
    n_samples=st.integers(1, 4000),
    window=st.integers(1, 500),
    share=st.floats(0.05, 1),
    shift_share=st.none() | st.floats(0.05, 1),
)
def test_planned_windows_are_those_of_a_plain_loop(n_samples, window, share, shift_share):
    step = max(1, round(share * window))
    shift = None if shift_share is None else max(1, round(shift_share * window))
    expected = set(range(0, max(1, n_samples - window + step), step))
    for start in sorted(expected) if shift else []:
        expected |= {beside for beside in (start - shift, start + shift) if 0 <= beside <= n_samples - window}
    assert planned_starts(n_samples, window, step, shift).tolist() == sorted(expected)


@given(
    n_samples=st.integers(1, 4000),
    window=st.integers(1, 700),
    n_starts=st.integers(0, 30),
    n_cuts=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_a_planned_stream_gives_plain_slices_whatever_its_blocks(n_samples, window, n_starts, n_cuts, seed):
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal(n_samples).astype(np.float32)
    starts = np.sort(rng.integers(0, n_samples, n_starts))
    blocks = np.split(wave, np.sort(rng.integers(0, n_samples + 1, n_cuts)))  # some of them empty
    found = list(stream_planned(iter(blocks), starts, window))
    assert len(found) == n_starts
    for start, samples in zip(starts.tolist(), found, strict=True):
        np.testing.assert_array_equal(samples, wave[start : start + window])


@pytest.mark.parametrize("n_block", [1, 7, 64, 5000])
def test_a_planned_stream_skips_what_lies_between_windows(n_block):
    wave = np.arange(3000, dtype=np.float32)
    blocks = (wave[k : k + n_block] for k in range(0, 3000, n_block))
    found = list(stream_planned(blocks, np.array([5, 1200, 1201, 2995]), 10))
    assert [samples.tolist() for samples in found] == [
        [*range(5, 15)],
        [*range(1200, 1210)],
        [*range(1201, 1211)],
        [*range(2995, 3000)],
    ]


def test_a_planned_stream_takes_no_more_of_a_recording_than_it_needs():
    taken = []

    def blocks():
        for k in range(100):
            taken.append(k)
            yield np.full(10, k, np.float32)

    stream = stream_planned(blocks(), np.array([0, 40, 500]), 20)
    next(stream)
    assert len(taken) == 2
    next(stream)
    assert len(taken) == 6


def test_a_day_has_exact_starts_beyond_what_32_bits_hold():
    starts = planned_starts(24 * 3600 * 32_000, 160_000, 160_000)
    assert starts.tolist() == [160_000 * k for k in range(17_280)]
    assert starts[-1] > 1 << 31
    np.testing.assert_array_equal(starts / 32_000, [5.0 * k for k in range(17_280)])
