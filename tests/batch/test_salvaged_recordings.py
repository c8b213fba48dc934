"""Damaged recordings in tables and clips, where salvage is asked for, and where it no longer is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.decode import load_audio
from dawnchorus.batch.bulk import BulkPredictions, BulkSettings, predict_bulk
from dawnchorus.batch.segments import SegmentSettings, cut_segments
from dawnchorus.cli.prediction import print_predictions
from dawnchorus.errors import DataError
from dawnchorus.files import read_failures
from dawnchorus.formats import read_detections
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import find_recordings

RATE = 16_000


@pytest.fixture
def card_folder(data_factory: Any) -> Path:
    """A whole recording, and two that were cut off after 4 of 8 s."""
    data_factory.tone("whole.wav", 4.0, sample_rate=RATE)
    for name in ("cut.wav", "cut.flac"):
        path = data_factory.tone(name, 8.0, sample_rate=RATE, noise=0.1)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Path(data_factory.root)


class Predict:
    """Predicts recordings with a stub."""

    def __init__(self, make_engine: Any, out: Path) -> None:
        self.make_engine, self.out = make_engine, out

    def __call__(self, recordings: Path, *, salvage: bool, **options: Any) -> BulkPredictions:
        settings = BulkSettings(DetectionSettings(np.zeros(3, np.float32)), salvage=salvage, **options)
        return predict_bulk(self.make_engine(), find_recordings([str(recordings)]), self.out, settings)


@pytest.fixture
def predict(card: Any, stub: Any, tmp_path: Path) -> Predict:
    return Predict(lambda: stub(card(), 4, "stub"), tmp_path / "out")


def lengths_in(out: Path) -> dict[str, float]:
    table = pd.read_parquet(out / "windows.parquet")
    return {str(name): float(end) for name, end in table.groupby("filename")["end_s"].max().items()}


def test_salvaged_recordings_are_in_the_tables_and_noted(
    predict: Predict, card_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = predict(card_folder, salvage=False)
    assert [failure.path.name for failure in without.failures] == ["cut.flac", "cut.wav"]
    assert all("; --salvage" in failure.reason for failure in without.failures)
    assert lengths_in(predict.out) == {"whole.wav": 4.0}

    with_salvage = predict(card_folder, salvage=True)
    assert (with_salvage.n_new, with_salvage.failures) == (2, [])
    lengths = lengths_in(predict.out)
    assert lengths["whole.wav"] == 4.0
    assert lengths["cut.wav"] == pytest.approx(4.0, abs=0.01)
    assert 3.0 < lengths["cut.flac"] < 5.0
    noted = read_failures(predict.out, name="notes.csv")
    assert [note.path.name for note in noted] == ["cut.flac", "cut.wav"] == [
        note.path.name for note in with_salvage.notes
    ]  # fmt: skip
    print_predictions(with_salvage, predict.out)
    told = capsys.readouterr().err
    assert f"2 recordings salvaged; what is missing is in {predict.out / 'notes.csv'}" in told
    assert "odd" not in told

    assert predict(card_folder, salvage=True).n_new == 0
    assert len(read_failures(predict.out, name="notes.csv")) == 2
    for index in predict.out.glob("journal/index.json"):
        index.unlink()  # the entries themselves say it too
    again = predict(card_folder, salvage=False)
    assert (again.n_new, len(again.failures), again.notes) == (0, 2, [])
    assert lengths_in(predict.out) == {"whole.wav": 4.0}
    predict(card_folder / "whole.wav", salvage=False)
    assert lengths_in(predict.out) == {"whole.wav": 4.0}


def test_nothing_but_salvaged_recordings_is_none_without_salvage(predict: Predict, card_folder: Path) -> None:
    assert predict(card_folder / "cut.wav", salvage=True, journal=True).n_recordings == 1
    with pytest.raises(DataError, match=r"none of the 1 recordings could be decoded; .*--salvage"):
        predict(card_folder / "cut.wav", salvage=False, journal=True)
    assert predict(card_folder / "cut.wav", salvage=True, journal=True).n_new == 1


def test_clips_are_cut_of_salvaged_recordings(predict: Predict, card_folder: Path, tmp_path: Path) -> None:
    predict(card_folder, salvage=True)
    detections = read_detections(predict.out)
    settings = SegmentSettings(format="wav", per_species=100)
    refused = cut_segments(detections, card_folder, tmp_path / "none", settings)
    assert {failure.path.name for failure in refused.failures} == {"cut.wav"}  # a FLAC file's seeks reach it
    report = cut_segments(detections, card_folder, tmp_path / "clips", replace(settings, salvage=True))
    assert report.failures == []
    assert report.n_written == len(detections)
    assert {note.path.name for note in report.notes} == {"cut.wav"}
    (clip, *_) = sorted((tmp_path / "clips").glob("*/*_2.00-*.wav"))
    assert len(load_audio(clip, sample_rate=RATE)) > RATE


def test_a_short_recording_without_a_journal_that_leaves_the_tables_is_named(
    predict: Predict, card_folder: Path, data_factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data_factory.tone("second.wav", 2.0, sample_rate=RATE)
    assert not predict(card_folder / "whole.wav", salvage=False).dropped
    assert not predict(card_folder / "whole.wav", salvage=False).dropped
    second = predict(card_folder / "second.wav", salvage=False)
    assert second.dropped == ["whole.wav"]
    print_predictions(second, predict.out)
    assert (
        "whole.wav is no longer in the tables, predicted before without a journal; to have all in them, "
        "predict all with --journal"
    ) in capsys.readouterr().err
    assert not predict(card_folder / "second.wav", salvage=False, journal=True).dropped
    both = predict(card_folder / "whole.wav", salvage=False)
    assert (list(both.dropped), both.n_recordings) == ([], 2)
