"""Thresholds: a number, a table, or what calibration found."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.predict.thresholds import read_thresholds, thresholds_from

LABELS = ("wren", "robin", "Turdus merula", "owl")

# What the command is given -------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("0", 0), ("1", 1), ("1e-1", 0.1), (" .25", 0.25)])
def test_a_number_is_for_all_classes(tmp_path: Path, text: str, value: float) -> None:
    found = thresholds_from(text, LABELS, tmp_path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.full(4, value, np.float32))


@pytest.mark.parametrize("text", ["1.01", "-0.1", "nan", "inf", "-inf"])
def test_a_number_out_of_range_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=f"the threshold is {text}; legal: a number from 0 to 1$"):
        thresholds_from(text, LABELS, tmp_path)


@pytest.mark.parametrize("text", ["0,5", "gone.csv", "", "half"])
def test_what_is_neither_number_nor_file_is_refused(tmp_path: Path, text: str) -> None:
    message = (
        f"the threshold is '{text}', which is no file; legal: a number from 0 to 1, a CSV file with label and"
    )
    with pytest.raises(ConfigError, match=message):
        thresholds_from(text, LABELS, tmp_path)


def test_a_table_is_read(tmp_path: Path) -> None:
    path = thresholds_in(tmp_path, "label,threshold\n*,0.5\nrobin,0.25\n")
    assert thresholds_from(str(path), LABELS, tmp_path / "model.onnx").tolist() == [0.5, 0.25, 0.5, 0.5]


def test_what_calibration_found_lies_beside_the_model(tmp_path: Path) -> None:
    thresholds_in(tmp_path, "label,threshold\n*,0.125\n")
    (tmp_path / "model.onnx").touch()
    for model in (tmp_path, tmp_path / "model.onnx"):
        assert thresholds_from("calibrated", LABELS, model).tolist() == [0.125] * 4


def test_a_model_without_a_calibration_names_the_command(tmp_path: Path) -> None:
    for model in (tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(
            DataError,
            match=r"has no thresholds\.csv; make it with: dawnchorus calibrate RUN, or give --threshold",
        ):
            thresholds_from("calibrated", LABELS, model)


# Tables --------------------------------------------------------------------------------------------


def thresholds_in(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "thresholds.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_thresholds_come_in_the_models_order_whatever_other_columns_there_are(tmp_path: Path) -> None:
    path = thresholds_in(
        tmp_path, "n,threshold,label\n7,0.25,robin\n8,1,wren\n9, 0 ,owl\n1,5e-1,Turdus merula\n"
    )
    found = read_thresholds(path, LABELS)
    assert found.dtype == np.float32
    assert found.tolist() == [1, 0.25, 0.5, 0]


def test_an_empty_or_infinite_threshold_means_never(tmp_path: Path) -> None:
    path = thresholds_in(tmp_path, "label,threshold\nwren,\nrobin,inf\nTurdus merula,INF\nowl,0.5\n")
    assert read_thresholds(path, LABELS).tolist() == [np.inf, np.inf, np.inf, 0.5]


@pytest.mark.parametrize(("default", "value"), [("0.75", 0.75), ("", np.inf)])
def test_a_star_is_for_all_classes_without_a_line(tmp_path: Path, default: str, value: float) -> None:
    path = thresholds_in(tmp_path, f"label,threshold\n*,{default}\nrobin,0.5\n")
    assert read_thresholds(path, LABELS).tolist() == [value, 0.5, value, value]


def test_classes_without_a_threshold_are_an_error(tmp_path: Path) -> None:
    path = thresholds_in(tmp_path, "label,threshold\nrobin,0.5\n")
    what = (
        r"thresholds.csv has no threshold for 3 of the model's 4 labels, wren, Turdus merula, owl; add .* \*"
    )
    with pytest.raises(DataError, match=what):
        read_thresholds(path, LABELS)


def test_labels_of_other_models_are_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = thresholds_in(tmp_path, "label,threshold\n*,0.5\nemu,2\nkiwi,none\nemu,\nrobin,0.25\n,0.1\n")
    with caplog.at_level(logging.WARNING, logger="dawnchorus"):
        assert read_thresholds(path, LABELS).tolist() == [0.5, 0.25, 0.5, 0.5]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: no label of this model, and left out: emu, kiwi, (empty)"
    ]


def test_a_file_of_this_models_labels_warns_of_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_thresholds(thresholds_in(tmp_path, "label,threshold\n*,0.5\nrobin,0.25\n"), LABELS)
    assert not caplog.records


@pytest.mark.parametrize("text", ["1.01", "-0.1", "nan", "-inf", "high", "50%"])
def test_a_threshold_that_is_no_probability_is_refused(tmp_path: Path, text: str) -> None:
    path = thresholds_in(tmp_path, f"label,threshold\n*,0.5\nrobin,{text}\n")
    with pytest.raises(DataError, match=f"the threshold of robin is '{text}'; write a number from 0 to 1"):
        read_thresholds(path, LABELS)


@pytest.mark.parametrize("label", ["robin", "*"])
def test_a_label_that_stands_twice_is_refused(tmp_path: Path, label: str) -> None:
    path = thresholds_in(tmp_path, f"label,threshold\n{label},0.5\nwren,0.5\n{label},0.6\n")
    with pytest.raises(
        DataError, match=rf"the label \{label} stands twice" if label == "*" else "robin stands"
    ):
        read_thresholds(path, LABELS)


def test_a_table_without_thresholds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no column threshold"):
        read_thresholds(thresholds_in(tmp_path, "label,cutoff\nrobin,0.5\n"), LABELS)
