"""Labels, targets and smoothing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dawnchorus.errors import DataError
from dawnchorus.recordings.labels import (
    UNKNOWN,
    LabelMap,
    has_unknown,
    read_labels,
    scale_target,
    smooth_target,
)


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


def test_smoothing_leaves_what_is_unknown_and_smooths_the_rest_as_if_it_were_absent() -> None:
    target = np.array([1, UNKNOWN, 0.6, 0, UNKNOWN], dtype=np.float32)
    smoothed = smooth_target(target, 0.05)
    known = [0, 2, 3]
    np.testing.assert_allclose(smoothed[known], target[known] * 0.95 + 0.05 * 1.6 / 5, rtol=1e-6)
    np.testing.assert_array_equal(smoothed[[1, 4]], UNKNOWN)
    assert smoothed.dtype == np.float32
    np.testing.assert_array_equal(target, np.float32([1, UNKNOWN, 0.6, 0, UNKNOWN]))


def test_scaling_leaves_what_is_unknown() -> None:
    target = np.array([1, UNKNOWN, 0.5, 0], dtype=np.float32)
    scaled = scale_target(target, np.float32(0.4))
    np.testing.assert_allclose(scaled, [0.4, UNKNOWN, 0.2, 0], rtol=1e-6)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(target, np.float32([1, UNKNOWN, 0.5, 0]))


@pytest.mark.parametrize(("target", "expected"), [([0, 1], False), ([1, UNKNOWN], True), ([], False)])
def test_a_target_tells_whether_it_has_an_unknown_entry(target: list[float], expected: bool) -> None:
    assert has_unknown(np.array(target, dtype=np.float32)) is expected


def test_given_labels_keep_their_order_wherever_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\ufeffwren\n\n robin \n", encoding="utf-8")
    (tmp_path / "taxonomy.csv").write_text("class_name,primary_label\nAves,wren\nAves,robin\n")
    (tmp_path / "list.json").write_text('["wren", "robin"]')
    (tmp_path / "indices.json").write_text('{"robin": 1, "wren": 0}')
    (tmp_path / "indices.txt").write_text('\n{"robin": 1,\n "wren": 0}')
    names = ("labels.txt", "taxonomy.csv", "list.json", "indices.json", "indices.txt")
    for given in (["wren", "robin"], *(tmp_path / name for name in names)):
        assert read_labels(given).labels == ("wren", "robin")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.txt", None, r"the labels .*labels\.txt cannot be read"),
        ("labels.txt", "", "no labels; name at least one class"),
        ("labels.csv", "label\nwren\n", "has no column primary_label"),
        ("labels.txt", "wren\nnocall\n", "nocall is no class"),
        ("labels.txt", "wren\nfold\n", "a species cannot be named fold"),
        ("labels.txt", "wren\nwren\n", "stand twice in the label map: wren"),
        ("labels.json", '{"wren": 0, "robin": 2}', "the numbers must be 0 to 1, each once"),
        ("labels.json", '{"wren": 0, "robin": 0}', "the numbers must be 0 to 1, each once"),
        ("labels.json", '[["wren"]]', "labels.json: .*give a list of labels"),
        ("labels.json", "wren", "labels.json.*give a list of labels"),
        ("labels.txt", '{"wren": 0,', "labels.txt.*give a list of labels"),
    ],
)
def test_unusable_labels_are_told_in_a_sentence(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_labels(tmp_path / name)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".json"])
@pytest.mark.parametrize(
    "kind", ["zip archive", "PNG picture", "array of NumPy", "HDF5 file", "Parquet table"]
)
def test_a_file_of_another_kind_is_refused_by_what_it_is(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    with path.open("wb") as file:
        match kind:
            case "zip archive":
                zipfile.ZipFile(file, "w").writestr("labels.txt", "wren")
            case "PNG picture":
                plt.imsave(file, np.zeros((2, 2)), format="png")
            case "array of NumPy":
                np.save(file, np.array(["wren"]))
            case "HDF5 file":
                h5py.File(file, "w").close()
            case "Parquet table":
                pd.DataFrame({"primary_label": ["wren"]}).to_parquet(file)
    with pytest.raises(DataError, match=f"labels{suffix} is an? {kind}.*; give a file with a "):
        read_labels(path)
