"""File names of a foreign package's recorders: the times of recordings follow them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.recorder_names import RecorderTimes, name_pattern
from dawnchorus.batch.bulk import BulkPredictions, BulkSettings, predict_bulk
from dawnchorus.config.import_paths import imported
from dawnchorus.config.registry import RECORDER_NAMES, registered
from dawnchorus.errors import ConfigError, RunError
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import find_recordings

RATE = 16_000
SWALLOWS = """
from datetime import datetime

def swallows(path):
    day, dash, rest = path.stem.partition("-at-")
    return datetime.strptime(day + rest[:4], "%d.%m.%y%H%M") if dash else None
"""


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test what it registered."""
    monkeypatch.setattr(RECORDER_NAMES, "_parts", dict(RECORDER_NAMES._parts))


@pytest.fixture
def recordings(data_factory: Any) -> Path:
    for name in ("03.05.24-at-0430h.wav", "20240501_033000.wav"):
        data_factory.tone(name, 2.0, 800, sample_rate=RATE)
    return Path(data_factory.root)


@pytest.fixture
def predicted(recordings: Path, card: Any, stub: Any) -> Callable[..., BulkPredictions]:
    """A function (out, times, force=False) → what a stub predicts."""

    def call(out: Path, times: RecorderTimes, *, force: bool = False) -> BulkPredictions:
        settings = BulkSettings(
            DetectionSettings(np.full(3, 0.0, np.float32)), formats=("csv",), with_windows=False, times=times
        )
        return predict_bulk(stub(card()), find_recordings([str(recordings)]), out, settings, force=force)

    return call


def times_of(path: Path) -> dict[str, str]:
    table = pd.read_csv(path, keep_default_na=False)
    return dict(zip(table["filename"], table["time"], strict=True))


def test_the_command_reads_times_by_an_import_path_or_a_pattern(
    guest_package: Callable[[str, str], Path],
    dawnchorus_command: Callable[..., str],
    exported: Any,
    recordings: Path,
    tmp_path: Path,
) -> None:
    guest_package("recorders.by_command", SWALLOWS)
    options = ["--threshold", "0", "--threads", "1", "--no-windows", "--format", "csv"]
    for given in ("recorders.by_command:swallows", "%d.%m.%y-at-%H%Mh"):
        out = tmp_path / given[-4:]
        arguments = [*options, "--recorder-name", given, "--time-zone", "+02:00", "--out", out]
        dawnchorus_command("predict", exported.onnx, recordings, *arguments)
        assert times_of(out / "detections.csv") == {
            "03.05.24-at-0430h.wav": "2024-05-03T04:30:00.000+02:00",
            "20240501_033000.wav": "2024-05-01T03:30:00.000+02:00",
        }


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--recorder-name", "%Q", "has %Q; legal are %Y"),
        ("--recorder-name", "date_tim", "did you mean date_time?"),
        ("--recorder-name", "%Y%m%d", "needs a year, a day and an hour"),
        ("--recorder-name", "%Y%Y%m%d%H", "has a directive twice"),
        ("--recorder-name", "math:pi", "is no function from a path to a datetime"),
        ("--time-zone", "Europe/Nowhere", "is not known; write an offset from UTC as +02:00"),
        ("--time-zone", "+25:00", "is not known"),
        ("--time-zone", "../etc/passwd", "is not known"),
    ],
)
def test_a_wrong_pattern_is_one_sentence(
    dawnchorus_command: Callable[..., str], recordings: Path, option: str, value: str, message: str
) -> None:
    told = dawnchorus_command("predict", "model.onnx", recordings, f"{option}={value}", code=1)
    assert message in told
    assert "Traceback" not in told


def test_times_follow_what_is_asked_for_and_nothing_is_predicted_twice(
    guest_package: Callable[[str, str], Path], predicted: Callable[..., BulkPredictions], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    known = {"03.05.24-at-0430h.wav": "", "20240501_033000.wav": "2024-05-01T03:30:00.000"}
    assert times_of(predicted(out, RecorderTimes()).paths["csv"]) == known
    pattern = RecorderTimes("%d.%m.%y-at-%H%M")
    with pytest.raises(RunError, match="made with another recorder name; choose another --out, or make them"):
        predicted(out, pattern)
    result = predicted(out, pattern, force=True)
    assert result.n_new == 0
    found = {**known, "03.05.24-at-0430h.wav": "2024-05-03T04:30:00.000"}
    assert times_of(result.paths["csv"]) == found
    assert times_of(predicted(out, RecorderTimes(), force=True).paths["csv"]) == known
    guest_package("recorders.registered", SWALLOWS)
    RECORDER_NAMES.register("swallows", imported("recorders.registered:swallows", where="a test"))
    assert times_of(predicted(out, RecorderTimes()).paths["csv"]) == found


def test_python_predicts_with_a_registered_name(
    guest_package: Callable[[str, str], Path], exported: Any, recordings: Path
) -> None:
    from dawnchorus.predict.model import load_model

    guest_package("recorders.in_python", SWALLOWS)
    RECORDER_NAMES.register("swallows", imported("recorders.in_python:swallows", where="a test"))
    predictions = load_model(exported.onnx, n_threads=1).predict(recordings / "03.05.24-at-0430h.wav")
    assert predictions.recordings[0].start == datetime(2024, 5, 3, 4, 30)


@pytest.mark.parametrize(
    ("pattern", "path", "start"),
    [
        ("REC_%Y%m%d-%H%M%S", "x/REC_20240501-043015.wav", datetime(2024, 5, 1, 4, 30, 15)),
        ("REC_%Y%m%d-%H%M%S", "site7_REC_20240501-043015_2.wav", datetime(2024, 5, 1, 4, 30, 15)),
        ("%y%j%H%M", "24122_0430.wav", None),
        ("%y%j_%H%M", "24122_0430.wav", datetime(2024, 5, 1, 4, 30)),
        ("%Y%m%d%H%M", "1202405010430.wav", None),  # within a longer number
        ("%Y%m%d_%H%M", "20241301_0430 20240501_0530.wav", datetime(2024, 5, 1, 5, 30)),  # no month 13
        ("%d %b %Y %I%p", "a 01 May 2024 04PM.wav", datetime(2024, 5, 1, 16)),
        ("100%%_%Y.%m.%d_%H%z", "100%_2024.05.01_04Z.wav", datetime(2024, 5, 1, 4, tzinfo=UTC)),
        ("%Y-%m-%d/%H%M", "site/2024-05-01/0430.wav", datetime(2024, 5, 1, 4, 30)),
        ("(%Y|%m|%d|%H", "2024|05|01|04", None),
        ("old_audiomoth", "5E90A4D8.WAV", datetime(2020, 4, 10, 16, 54, 48, tzinfo=UTC)),
        ("date_time", "20240501_043000.wav", datetime(2024, 5, 1, 4, 30)),
    ],
)
def test_a_pattern_finds_the_time_in_a_name(pattern: str, path: str, start: datetime | None) -> None:
    assert name_pattern(pattern)(Path(path)) == start


def test_what_is_no_time_is_told_and_a_known_offset_stays() -> None:
    times = RecorderTimes(lambda path: "2024", "+02:00")  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match=r"makes '2024' of a\.wav; return a datetime, or None"):
        times.start_of(Path("a.wav"), None)
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert RecorderTimes(time_zone="+02:00").start_of(Path("a.wav"), noon) == noon
    assert RecorderTimes(time_zone="-03:30").start_of(Path("a.wav"), None) is None


@pytest.mark.parametrize(("month", "hours"), [(1, 1), (7, 2)])
def test_a_named_time_zone_follows_its_clocks(month: int, hours: int) -> None:
    start = RecorderTimes(time_zone="Europe/Berlin").start_of(Path("a.wav"), datetime(2024, month, 1, 12))
    assert start is not None
    assert start.utcoffset() == timedelta(hours=hours)


def test_the_recorder_names_that_are_built_in_are_listed() -> None:
    assert registered("recorder_name")[:2] == ["date_time", "old_audiomoth"]
