"""Counts of a report, against pandas on the whole table."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dawnchorus.formats.sites import read_sites
from dawnchorus.report.soundscapes import prediction_source
from dawnchorus.report.soundscapes.activity import Activity, hours_of, measure_activity
from dawnchorus.report.soundscapes.activity_pictures import _show_rates
from dawnchorus.report.soundscapes.prediction_source import open_source_of


@pytest.fixture(params=["csv", "parquet", "small batches"])
def counted(
    request: pytest.FixtureRequest, season: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Activity, pd.DataFrame]:
    """The activity of a season and the whole table of its detections, with times in local hours."""
    if request.param == "small batches":
        monkeypatch.setattr(prediction_source, "_BLOCK_BYTES", 4096)
    folder = season.write("csv", "effort", *(["parquet"] if request.param == "parquet" else []))
    table = pd.read_csv(folder / "detections.csv")
    if request.param == "parquet":
        (folder / "detections.csv").unlink()
    table["local"] = pd.to_datetime(table["time"].str.slice(0, 19))
    table["day"], table["hour"] = table["local"].dt.normalize(), table["local"].dt.hour
    table["site"] = table["filename"].str.split("/").str[0]
    return measure_activity(open_source_of(folder)), table


def test_every_count_is_that_of_pandas(counted: tuple[Activity, pd.DataFrame]) -> None:
    activity, table = counted
    assert activity.n_detections == len(table) > 1000
    by_hour = table.groupby(["label", "site", "day", "hour"]).size()
    found = activity.hours.set_index(["label", "site", "day", "hour"])["n_detections"]
    assert found.sort_index().to_dict() == by_hour.to_dict()
    grouped = table.groupby("label")
    species = activity.species
    assert species["n_detections"].to_dict() == grouped.size().to_dict()
    assert species["n_detections"].is_monotonic_decreasing
    for column, of in (("n_recordings", "filename"), ("n_sites", "site"), ("n_days", "day")):
        assert species[column].to_dict() == grouped[of].nunique().to_dict()
    assert species["first"].to_dict() == grouped["day"].min().to_dict()
    assert species["last"].to_dict() == grouped["day"].max().to_dict()
    highest = grouped["probability"].max()
    np.testing.assert_allclose(species["highest_probability"].reindex(highest.index), highest, atol=1e-6)
    assert activity.sites["n_detections"].to_dict() == table.groupby("site").size().to_dict()
    by_recording = table.groupby("filename").size()
    recordings = activity.recordings.set_index("filename")["n_detections"]
    assert recordings[recordings > 0].to_dict() == by_recording.to_dict()


def test_effort_is_every_second_recorded_in_its_hour(counted: tuple[Activity, pd.DataFrame]) -> None:
    activity, _ = counted
    assert len(activity.recordings) == 5 * (20 + 15)  # silent ones too
    assert activity.effort["recorded_s"].sum() == 5 * 35 * 3600
    effort = activity.effort.set_index(["site", "day", "hour"])["recorded_s"]
    day = pd.Timestamp("2024-05-01")
    assert effort["pond", day, 4] == 40 * 60
    assert effort["pond", day, 5] == 60 * 60  # 20 minutes of one recording and 40 of the next
    assert effort["pond", day + pd.Timedelta(days=1), 0] == 60 * 60  # 20 minutes from the day before
    assert ("wood", pd.Timestamp("2024-05-10"), 4) not in effort.index


def test_accumulation_counts_species_in_order_of_time(counted: tuple[Activity, pd.DataFrame]) -> None:
    activity, table = counted
    order = {name: place for place, name in enumerate(activity.recordings["filename"])}
    assert activity.recordings["local"].is_monotonic_increasing
    seen: set[str] = set()
    expected = {}
    for name, labels in table.groupby("filename")["label"].unique().items():
        expected[order[name]] = set(labels)
    steps = []
    for place in sorted(expected):
        if expected[place] - seen:
            seen |= expected[place]
            steps.append((place + 1.0, len(seen)))
    got = list(zip(activity.accumulation["recorded_h"], activity.accumulation["n_species"], strict=True))
    assert got[: len(steps)] == steps
    assert got[-1] == (175.0, 7)


def test_the_surest_and_most_doubtful_are_those_of_the_whole_table(
    counted: tuple[Activity, pd.DataFrame],
) -> None:
    activity, table = counted
    for label, rows in table.groupby("label"):
        surest = activity.surest[activity.surest["label"] == label]["probability"]
        np.testing.assert_allclose(sorted(surest), sorted(rows["probability"].nlargest(3)), atol=1e-6)
        doubt = (rows["probability"] - 0.5).abs()
        doubtful = activity.doubtful[activity.doubtful["label"] == label]["probability"]
        np.testing.assert_allclose(sorted(doubtful - 0.5), sorted(doubt.nsmallest(3)), atol=1e-6)


def test_a_recording_over_midnight_lies_in_two_days() -> None:
    found = list(hours_of(datetime(2024, 5, 4, 23, 59, 30), 60 + 3600))
    assert [(day.day, hour, seconds) for day, hour, seconds in found] == [
        (4, 23, 30.0),
        (5, 0, 3600.0),
        (5, 1, 30.0),
    ]


def test_recordings_without_a_time_are_counted_and_listed(predicted: Any) -> None:
    predicted.add("robin.wav", None, [(0.0, 5.0, "robin", 0.9)])
    predicted.add("20240504_043000.wav", "2024-05-04T04:30:00", [(1900.0, 1905.0, "robin", 0.8)])
    activity = measure_activity(open_source_of(predicted.write()))
    assert activity.n_detections == 2
    assert activity.without_time["filename"].tolist() == ["robin.wav"]
    assert activity.hours[["hour", "n_detections"]].to_numpy().tolist() == [[5, 1]]
    assert not activity.zones


def test_without_the_table_of_effort_windows_tell_of_silent_recordings(
    predicted: Any, tmp_path: Path
) -> None:
    from dawnchorus.predict.window_predictions import WindowPredictions
    from dawnchorus.predict.window_tables import window_table

    predicted.add("20240504_043000.wav", None, [(0.0, 5.0, "robin", 0.9)])
    folder = predicted.write("csv")
    assert not measure_activity(open_source_of(folder)).knows_silence
    windows = WindowPredictions(np.array([0, 5]), np.array([5, 10]), np.zeros((2, 1), np.float32), 1)
    with window_table(folder / "windows.parquet", ["robin"]) as table:
        for name in ("20240504_043000.wav", "20240504_223000.wav"):
            table.add(name, windows)
    activity = measure_activity(open_source_of(folder))
    assert activity.knows_silence
    assert activity.recordings["duration_s"].tolist() == [10.0, 10.0]
    assert activity.recordings["local"].dt.hour.tolist() == [4, 22]


def test_a_table_of_sites_names_places_and_zones(predicted: Any, tmp_path: Path) -> None:
    predicted.add("AM1_20240504_043000.wav", "2024-05-04T04:30:00", [(0.0, 5.0, "robin", 0.9)])
    predicted.add("wood/20240504_043000.wav", "2024-05-04T04:30:00", [])
    predicted.add("else/20240504_043000.wav", "2024-05-04T04:30:00+01:00", [])
    table = tmp_path / "sites.csv"
    table.write_text(
        "site,latitude,longitude,time_zone,recordings\npond,52.5,13.4,Europe/Berlin,AM1_*\nwood,50,8,,\n*,0,0,Z,\n"
    )
    activity = measure_activity(open_source_of(predicted.write()), read_sites(table))
    found = activity.recordings.set_index("filename")
    assert found["site"].to_dict() == {
        "AM1_20240504_043000.wav": "pond",
        "else/20240504_043000.wav": "else",
        "wood/20240504_043000.wav": "wood",
    }
    assert found.loc["AM1_20240504_043000.wav", "start"].isoformat() == "2024-05-04T04:30:00+02:00"
    assert found.loc["wood/20240504_043000.wav", "start"].tzinfo is None
    assert found.loc["else/20240504_043000.wav", "start"].isoformat() == "2024-05-04T04:30:00+01:00"
    assert activity.sites.loc["pond", ["latitude", "longitude"]].tolist() == [52.5, 13.4]


def test_nothing_detected_and_nothing_recorded_is_an_empty_activity(predicted: Any) -> None:
    activity = measure_activity(open_source_of(predicted.write()))
    assert (activity.n_detections, len(activity.species), len(activity.recordings)) == (0, 0, 0)
    assert activity.accumulation.empty
    assert activity.effort.empty


def test_only_what_was_not_recorded_is_hatched() -> None:
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.set_position((0, 0, 1, 1))
    axes.axis("off")
    _show_rates(axes, np.array([[0.0, np.nan], [0.0, 3.0]]), (0, 2, 2, 0))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].astype(int)
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    cells = [pixels[:height, :width], pixels[height:, :width], pixels[:height, width:]]
    silent, also_silent, gap = (len(np.unique(cell[5:-5, 5:-5].reshape(-1, 3), axis=0)) for cell in cells)
    assert (silent, also_silent) == (1, 1)
    assert gap > 1
