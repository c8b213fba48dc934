"""Labels, targets and smoothing."""

from __future__ import annotations

import numpy as np
import pytest

from dawnchorus.data.labels import LabelMap, smooth_target
from dawnchorus.errors import DataError


def test_labels_are_distinct_and_sorted() -> None:
    assert LabelMap.of(["wren", "robin", "wren"]).labels == ("robin", "wren")


def test_a_label_that_stands_twice_is_refused() -> None:
    with pytest.raises(DataError, match="stand twice in the label map: wren"):
        LabelMap(("wren", "wren"))


def test_a_target_is_one_for_each_label_and_leaves_out_unknown_ones() -> None:
    target = LabelMap(("a", "b", "c")).multi_hot(["c", "a", "elsewhere"])
    np.testing.assert_array_equal(target, np.array([1, 0, 1], dtype=np.float32))


def test_nocall_is_all_zeros() -> None:
    assert not LabelMap(("a", "b")).multi_hot(["nocall"]).any()


def test_an_unknown_label_has_no_index() -> None:
    with pytest.raises(DataError, match="'c' is not one of the 2 labels"):
        LabelMap(("a", "b")).index("c")


def test_smoothing_agrees_with_the_recipe() -> None:
    target = np.array([1, 0, 1, 0], dtype=np.float32)
    expected = target * 0.95 + 0.05 * 2 / 4
    np.testing.assert_allclose(smooth_target(target, 0.05), expected, rtol=1e-6)
    assert smooth_target(target, 0.0) is target
