"""Tables of stretches, and the clips that are drawn from them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.decode import load_audio
from dawnchorus.config import DataSettings
from dawnchorus.datasets.sampling import Draw
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import DataError
from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
from dawnchorus.recordings.stretches import read_stretches

RATE = 32_000


@pytest.fixture
def birds(data_factory: Any) -> pd.DataFrame:
    root = data_factory.recordings(n_species=2, n_per_species=2, duration_s=(9.0, 12.0))
    return load_recordings(DataSettings(audio_dir=root)).table


def table(folder: Path, rows: list[tuple[str, float, float]]) -> Path:
    path = folder / "stretches.csv"
    pd.DataFrame(rows, columns=["filename", "start_s", "end_s"]).to_csv(path, index=False)
    return path


def test_clips_are_drawn_from_the_stretches_alone_and_are_silent_outside_them(
    birds: pd.DataFrame, tmp_path: Path
) -> None:
    name = birds["filename"][0]
    path = table(tmp_path, [(name, 1.0, 4.5), (name, 5.0, 5.5)])
    settings = {"segment_len": 2.0, "look_back_s": 1.0, "late_normalize": False, "stretches": str(path)}
    dataset = WaveDataset(birds, label_map_of(birds), settings)
    whole = load_audio(birds["audio_path"][0])
    kept = np.zeros_like(whole)
    for first, stop in ((1.0, 4.5), (5.0, 5.5)):
        kept[round(first * RATE) : round(stop * RATE)] = whole[round(first * RATE) : round(stop * RATE)]
    padded = np.pad(kept, (RATE, 3 * RATE))
    starts = set()
    for position in range(40):
        draw = dataset.draw(Draw(0, position, 0))
        start = draw.first.start
        np.testing.assert_allclose(dataset.apply(draw).wave, padded[start : start + 3 * RATE], atol=1e-6)
        starts.add(start)
    in_first = {start for start in starts if start < 5 * RATE}
    assert RATE <= min(in_first) <= max(in_first) <= 2.5 * RATE
    assert starts - in_first == {5 * RATE}  # shorter than a clip, which begins with it


def test_recordings_that_are_not_listed_or_have_boxes_are_drawn_from_as_a_whole(
    birds: pd.DataFrame, tmp_path: Path
) -> None:
    labels, path = label_map_of(birds), table(tmp_path, [(birds["filename"][0], 1.0, 4.0)])
    plain = WaveDataset(birds, labels, {})
    listed = WaveDataset(birds, labels, {"stretches": str(path)})
    for position in range(3):
        draw = Draw(0, position, 1)
        assert listed.draw(draw) == plain.draw(draw)
    boxes = [((2.0, 3.0, "species_0"),)] * len(birds)
    boxed = [WaveDataset(birds.assign(boxes=boxes), labels, each) for each in ({}, {"stretches": str(path)})]
    assert boxed[0].draw(Draw(0, 0, 0)) == boxed[1].draw(Draw(0, 0, 0))


def test_a_recording_whose_stretches_are_empty_is_left_out_and_counted(
    birds: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names, labels = list(birds["filename"]), label_map_of(birds)
    path = table(tmp_path, [(names[0], 0.0, 0.0), (names[1], 100.0, 104.0), (names[2], 0.0, 5.0)])
    dataset = WaveDataset(birds, labels, {"stretches": str(path), "mixup": {"probability": 1.0}})
    assert [row for row, _ in dataset.items] == [2, 3]
    assert dataset.item_labels == ["species_1", "species_1"]
    crops = [crop for position in range(20) for crop in dataset.draw(Draw(0, position, 0)).crops]
    assert {crop.row for crop in crops} == {2, 3}
    assert "Stretches of 3 of 4 recordings are drawn from; 2 have none, and are left out" in caplog.text
    with pytest.raises(DataError, match=r"stretches.csv leaves nothing of the 4 recordings; widen"):
        WaveDataset(birds, labels, {"stretches": str(table(tmp_path, [(name, 0, 0) for name in names]))})


def test_a_row_that_is_no_stretch_of_time_is_named_by_its_line(tmp_path: Path) -> None:
    path = table(tmp_path, [("owl.wav", 0.0, 1.0), ("owl.wav", 3.0, 2.0)])
    with pytest.raises(DataError, match=r"stretches.csv: start_s and end_s in line 3 are no stretch of time"):
        read_stretches(path, ["owl.wav"])
