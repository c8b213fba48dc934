"""Tables of windows and detections, and the files they become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dawnchorus.inference.birds_inference import WindowPredictions
from dawnchorus.inference.tables import (
    detections_of,
    window_table,
    write_csv,
    write_parquet,
    write_raven,
)

LABELS = ("robin", "wren")


@pytest.fixture
def windows() -> pd.DataFrame:
    predictions = WindowPredictions(
        starts=np.array([0, 160_000]),
        stops=np.array([160_000, 200_001]),
        probabilities=np.array([[0.9, 0.6], [0.2, 0.5]], dtype=np.float32),
        sample_rate=32_000,
    )
    return window_table("site/night.wav", predictions, LABELS)


def test_times_are_whole_samples_over_the_rate(windows: pd.DataFrame) -> None:
    assert windows["start_s"].tolist() == [0.0, 5.0]
    assert windows["end_s"].tolist() == [5.0, 200_001 / 32_000]


def test_times_at_the_end_of_a_day_are_exact() -> None:
    start = 24 * 3600 * 32_000 - 1
    predictions = WindowPredictions(
        np.array([start]), np.array([start + 1]), np.zeros((1, 2), np.float32), 32_000
    )
    table = window_table("day.wav", predictions, LABELS)
    assert table["start_s"][0] * 32_000 == start
    assert table["end_s"][0] == 86_400


def test_detections_reach_the_threshold_and_are_sorted(windows: pd.DataFrame) -> None:
    detections = detections_of(windows, threshold=0.5)
    assert detections["label"].tolist() == ["robin", "wren", "wren"]
    assert detections["probability"].tolist() == pytest.approx([0.9, 0.6, 0.5])
    assert detections_of(windows, threshold=0.95).empty


def test_a_raven_table_opens_as_one(windows: pd.DataFrame, tmp_path: Path) -> None:
    write_raven(
        tmp_path, detections_of(windows, threshold=0.5), ["site/night.wav", "empty.wav"], high_hz=16_000
    )
    table = pd.read_csv(tmp_path / "site" / "night.wav.selections.txt", sep="\t")
    assert table["Selection"].tolist() == [1, 2, 3]
    assert table["Begin Time (s)"].tolist() == [0.0, 0.0, 5.0]
    assert (table["End Time (s)"] > table["Begin Time (s)"]).all()
    assert table["Species"].tolist() == ["robin", "wren", "wren"]
    assert set(table["High Freq (Hz)"]) == {16_000}
    empty = pd.read_csv(tmp_path / "empty.wav.selections.txt", sep="\t")
    assert len(empty) == 0
    assert list(empty.columns) == list(table.columns)


def test_parquet_keeps_every_digit_and_csv_four_decimals(windows: pd.DataFrame, tmp_path: Path) -> None:
    write_parquet(tmp_path / "w.parquet", windows)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "w.parquet"), windows)
    write_csv(tmp_path / "d.csv", detections_of(windows, threshold=0.5))
    assert pd.read_csv(tmp_path / "d.csv")["probability"].tolist() == [0.9, 0.6, 0.5]
