"""Labels in time against clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.time_labels import Boxes, overlaps, starts_over_box, time_targets

LABELS = LabelMap(("robin", "wren"))
times = st.floats(0, 60, allow_nan=False).map(lambda value: round(value, 3))


def test_a_box_counts_from_the_minimum_overlap_on() -> None:
    boxes = Boxes.of([(4.75, 6.0, "robin"), (4.76, 6.0, "wren")], LABELS)
    np.testing.assert_array_equal(time_targets([0, 5], [5, 10], boxes, 2), [[1, 0], [1, 1]])
    np.testing.assert_array_equal(
        time_targets([0, 5], [5, 10], boxes, 2, min_overlap_s=1.0), [[0, 0], [1, 1]]
    )


def test_half_of_a_short_box_is_enough_so_that_no_border_loses_a_call() -> None:
    boxes = Boxes.of([(4.8, 5.2, "robin"), (9.9, 10.2, "wren")], LABELS)
    np.testing.assert_array_equal(overlaps([0, 5, 10], [5, 10, 15], boxes)[:, 0], [True, True, False])
    np.testing.assert_array_equal(overlaps([0, 5, 10], [5, 10, 15], boxes)[:, 1], [False, False, True])


def test_a_window_within_a_box_counts_however_short_it_is() -> None:
    assert overlaps([10.0], [10.1], Boxes.of([(0, 20, "wren")], LABELS)).tolist() == [[True]]


@given(start_s=times, length_s=st.floats(0.001, 3), min_overlap_s=st.floats(0.01, 2.5))
def test_no_box_is_lost_between_windows_side_by_side(
    start_s: float, length_s: float, min_overlap_s: float
) -> None:
    boxes = Boxes.of([(start_s, start_s + length_s, "robin")], LABELS)
    starts = np.arange(0, 70, 5.0)
    assert overlaps(starts, starts + 5, boxes, min_overlap_s=min_overlap_s).any()


def test_labels_that_are_no_class_say_nothing() -> None:
    boxes = Boxes.of([(0, 1, "Unk")], LABELS)
    assert time_targets([0], [5], boxes, 2).tolist() == [[0, 0]]
    assert time_targets([0], [5], Boxes.of([], LABELS), 2).tolist() == [[0, 0]]


@given(
    boxes=st.lists(st.tuples(times, times, st.sampled_from(LABELS.labels)), max_size=6),
    starts=st.lists(times, min_size=1, max_size=5),
    min_overlap_s=st.floats(0.01, 3),
)
def test_targets_agree_with_samples_counted_one_by_one(
    boxes: list[tuple[float, float, str]], starts: list[float], min_overlap_s: float
) -> None:
    """The oracle knows nothing of intervals: it counts milliseconds that are in both."""
    boxes = [(min(a, b), max(a, b) + 0.001, label) for a, b, label in boxes]
    ends = [start + 5 for start in starts]
    targets = time_targets(starts, ends, Boxes.of(boxes, LABELS), 2, min_overlap_s=min_overlap_s)
    for row, start in enumerate(starts):
        clip = set(range(round(start * 1000), round(start * 1000) + 5000))
        for column, label in enumerate(LABELS.labels):
            heard = [
                (
                    len(clip.intersection(range(round(a * 1000), round(b * 1000)))),
                    round(b * 1000) - round(a * 1000),
                )
                for a, b, name in boxes
                if name == label
            ]
            # Within a millisecond of the border either answer is right.
            sure = any(ms >= min(1000 * min_overlap_s, length / 2) + 1 for ms, length in heard)
            never = all(ms < min(1000 * min_overlap_s, length / 2) - 1 for ms, length in heard)
            assert targets[row, column] == 1 if sure else targets[row, column] == 0 if never else True


@given(
    box=st.tuples(times, st.floats(0.001, 30)),
    clip_s=st.floats(0.5, 10),
    recording_s=st.floats(0.1, 90),
    min_overlap_s=st.floats(0.01, 3),
    share=st.floats(0, 1),
)
def test_every_start_over_a_box_makes_a_clip_that_it_counts_for(
    box: tuple[float, float], clip_s: float, recording_s: float, min_overlap_s: float, share: float
) -> None:
    start_s, end_s = min(box[0], recording_s), min(box[0] + box[1], recording_s)
    if end_s - start_s < 1e-3:
        return
    earliest, latest = starts_over_box(
        start_s, end_s, clip_s=clip_s, recording_s=recording_s, min_overlap_s=min_overlap_s
    )
    assert 0 <= earliest <= latest <= max(recording_s - clip_s, 0)
    at = earliest + share * (latest - earliest)
    heard = overlaps(
        [at], [min(at + clip_s, recording_s)], Boxes.of([(start_s, end_s, "robin")], LABELS),
        min_overlap_s=min_overlap_s - 1e-6,
    )  # fmt: skip
    assert heard.all()


def test_a_clip_over_a_short_box_may_begin_wherever_the_box_fits() -> None:
    assert starts_over_box(10.0, 11.0, clip_s=5.0, recording_s=60.0, min_overlap_s=0.25) == pytest.approx(
        (5.25, 10.75)
    )
    assert starts_over_box(1.0, 30.0, clip_s=5.0, recording_s=60.0, min_overlap_s=5.0) == (1.0, 25.0)
