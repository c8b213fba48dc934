"""Window geometry: every sample covered, streams and whole recordings cut alike."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawnchorus.audio.windows import (
    WindowStream,
    normalize_peak,
    pad_left,
    planned_starts,
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


@settings(deadline=None)
@given(
    n_samples=st.integers(1, 1500),
    window=st.integers(1, 200),
    data=st.data(),
    n_before=st.integers(0, 60),
    n_after=st.integers(0, 60),
)
def test_a_stream_gives_the_planned_windows_whatever_its_blocks(n_samples, window, data, n_before, n_after):
    step = data.draw(st.integers(max(1, window // 4), window))
    shift = data.draw(st.none() | st.integers(1, window - 1)) if window > 1 else None
    cuts = sorted(data.draw(st.lists(st.integers(0, n_samples), max_size=9)))  # some blocks are empty
    wave = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    shortest = data.draw(st.integers(1, window))
    stream = WindowStream(window, step, shift, n_before=n_before, n_after=n_after, shortest=shortest)
    found = [each for block in np.split(wave, cuts) for each in stream.add(block)]
    found += stream.end()
    planned = planned_starts(n_samples, window, step, shift, shortest=shortest)
    assert [start for start, _, _ in found] == planned.tolist()
    around = np.pad(wave, (n_before, n_after))
    for start, stop, samples in found:
        assert stop == min(start + window, n_samples)
        np.testing.assert_array_equal(samples, around[start : start + n_before + window + n_after])


@pytest.mark.parametrize("n_samples", [500, 1000, 1009, 1010, 1011, 1500])
def test_a_last_window_has_a_least_length_unless_it_is_the_only_one(n_samples):
    starts = window_starts(n_samples, 500, 500, shortest=10)
    assert starts.tolist() == [0, 500, 1000][: 1 + (n_samples > 509) + (n_samples > 1009)]
    assert window_starts(3, 500, shortest=10).tolist() == [0]
    assert (
        window_starts(n_samples, 500, 250, shortest=10).tolist()
        == window_starts(n_samples, 500, 250).tolist()
    )


def test_a_stream_gives_a_window_as_soon_as_it_is_whole():
    stream = WindowStream(10, 10, n_after=2)
    assert [start for start, _, _ in stream.add(np.zeros(11, np.float32))] == []
    assert [start for start, _, _ in stream.add(np.zeros(1, np.float32))] == [0]
    assert [start for start, _, _ in stream.add(np.zeros(20, np.float32))] == [10, 20]
    assert [(start, stop) for start, stop, _ in stream.end()] == [(30, 32)]


def test_a_stream_without_samples_has_no_windows():
    stream = WindowStream(10, 10)
    assert list(stream.add(np.zeros(0, np.float32))) == []
    with pytest.raises(ValueError, match="without samples has no windows"):
        list(stream.end())


def test_a_day_has_exact_starts_beyond_what_32_bits_hold():
    starts = planned_starts(24 * 3600 * 32_000, 160_000, 160_000)
    assert starts.tolist() == [160_000 * k for k in range(17_280)]
    assert starts[-1] > 1 << 31
    np.testing.assert_array_equal(starts / 32_000, [5.0 * k for k in range(17_280)])
