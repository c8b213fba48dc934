"""Output formats of a foreign package: by the command line, in a config, and in Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.batch.bulk import BulkPredictions, BulkSettings, predict_bulk
from dawnchorus.config import load_inference_config
from dawnchorus.config.import_paths import imported
from dawnchorus.config.registry import FORMATS
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.formats import ModelFacts, formats_of, own_goals, read_detections, write_detections
from dawnchorus.formats.detection_tables import DETECTION_COLUMNS
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import find_recordings

RATE = 16_000
TALLY = """
from dawnchorus.formats import TableWriter

class Tally(TableWriter):
    goal = "tally.csv"
    columns = ("recording", "species", "second", "time")

    def rows(self, recording):
        for row in recording.rows():
            yield recording.filename, row.label, row.start_s, recording.time_of(row)
"""


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test what it registered."""
    monkeypatch.setattr(FORMATS, "_parts", dict(FORMATS._parts))


@pytest.fixture
def recordings(data_factory: Any) -> Path:
    for number, name in enumerate(["a_20240501_033000.wav", "site/b.flac"]):
        data_factory.tone(name, 4.0, 800 + 90 * number, sample_rate=RATE)
    return Path(data_factory.root)


@pytest.fixture
def predicted(recordings: Path, card: Any, stub: Any) -> Callable[..., BulkPredictions]:
    """A function (out, *formats, force=False) → what a stub predicts."""

    def call(out: Path, *formats: Any, force: bool = False) -> BulkPredictions:
        settings = BulkSettings(DetectionSettings(np.full(3, 0.2, np.float32)), formats=formats)
        return predict_bulk(stub(card()), find_recordings([str(recordings)]), out, settings, force=force)

    return call


def tally_of(path: Path) -> list[tuple[str, str, float]]:
    table = pd.read_csv(path)
    return list(zip(table["recording"], table["species"], table["second"], strict=True))


def rows_of(table: pd.DataFrame) -> list[tuple[str, str, float]]:
    return list(zip(table["filename"], table["label"], table["start_s"], strict=True))


def test_the_command_writes_a_format_by_its_import_path(
    guest_package: Callable[[str, str], Path],
    dawnchorus_command: Callable[..., str],
    exported: Any,
    recordings: Path,
    tmp_path: Path,
) -> None:
    guest_package("tallying.by_command", TALLY)
    options = ["--threshold", "0.2", "--threads", "1", "--no-windows", "--out", tmp_path / "out"]
    formats = ["--format", "csv,tallying.by_command:Tally"]
    told = dawnchorus_command("predict", exported.onnx, recordings, *options, *formats)
    assert f"tallying.by_command:Tally: {tmp_path / 'out' / 'tally.csv'}" in told
    expected = rows_of(pd.read_csv(tmp_path / "out" / "detections.csv"))
    assert tally_of(tmp_path / "out" / "tally.csv") == expected
    assert len(expected) > 2


def test_a_module_in_the_working_folder_is_found_and_a_wrong_name_is_a_wrong_usage(
    dawnchorus_command: Callable[..., str], exported: Any, recordings: Path, tmp_path: Path
) -> None:
    (tmp_path / "here_i_am.py").write_text(TALLY)
    options = ["--threads", "1", "--no-windows", "--out", tmp_path / "out", "--format"]
    assert "tally.csv" in dawnchorus_command(
        "predict", exported.onnx, recordings, *options, "here_i_am:Tally"
    )
    for wrong, message in (
        ("ravn", "is 'ravn', which is not known; did you mean raven?"),
        ("csv,here_i_am:Taly", "has no attribute 'Taly'"),
        ("nowhere:Tally", "No module named 'nowhere'"),
        ("pathlib:Path", "is no writer"),
    ):
        told = dawnchorus_command("predict", exported.onnx, recordings, *options, wrong, code=64)
        assert message in told
        assert "Traceback" not in told


def test_the_help_lists_all_formats(dawnchorus_command: Callable[..., str]) -> None:
    own = "csv|raven|audacity|birdnet|kaleidoscope|raven_combined|effort|camtrap_dp|darwin_core|ebird|"
    assert f"[{own}" in dawnchorus_command("predict", "--help").replace("\n", "").replace(" ", "")


def test_a_config_takes_names_paths_and_classes(
    guest_package: Callable[[str, str], Path], tmp_path: Path
) -> None:
    guest_package("tallying.in_config", TALLY)
    (tmp_path / "config.py").write_text(
        "from tallying.in_config import Tally\n"
        'CONFIG = {"run": "somewhere", "formats": ("raven", "tallying.in_config:Tally", Tally, "parquet")}\n'
    )
    config = load_inference_config(tmp_path / "config.py")
    # Parquet begins last, and what is meant twice is written once.
    assert list(formats_of(config.formats)) == ["raven", "tallying.in_config:Tally", "parquet"]


def test_a_registered_format_goes_by_its_name(
    guest_package: Callable[[str, str], Path], predicted: Callable[..., BulkPredictions], tmp_path: Path
) -> None:
    source = TALLY.replace("class Tally", "@register('format', 't1')\nclass Tally")
    guest_package("tallying.registered", f"from dawnchorus.config.registry import register\n{source}")
    writer = imported("tallying.registered:Tally", where="a test")
    assert list(formats_of(writer)) == list(formats_of("tallying.registered:Tally")) == ["t1"]
    assert list(formats_of("parquet,t1")) == ["t1", "parquet"]
    result = predicted(tmp_path / "out", "csv", "t1")
    assert tally_of(result.paths["t1"]) == rows_of(pd.read_csv(result.paths["csv"]))
    again = predicted(tmp_path / "out", "raven")  # which writes again what is there, and knows the name
    assert set(again.paths) == {"csv", "raven", "t1", "windows"}


def test_what_a_guest_wrote_breaks_no_later_call_and_is_never_imported_or_removed(
    guest_package: Callable[[str, str], Path],
    predicted: Callable[..., BulkPredictions],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out, source = tmp_path / "out", TALLY + "\nimported = True\n"
    file = guest_package("tally_of_a_guest", source)
    result = predicted(out, "csv", "tally_of_a_guest:Tally")
    before = (out / "tally.csv").read_bytes()
    file.unlink()
    for force in (False, True):
        caplog.clear()
        later = predicted(out, "csv", "raven", force=force)
        assert "tally_of_a_guest:Tally" not in later.paths
        assert "'tally.csv' in" in caplog.text
        assert "stays as it was" in caplog.text
        assert (out / "tally.csv").read_bytes() == before
    assert json.loads((out / "predictions.json").read_text())["guests"] == {
        "tally_of_a_guest:Tally": "tally.csv"
    }
    guest_package("tally_of_a_guest", source)
    assert predicted(out, "tally_of_a_guest:Tally").paths["tally_of_a_guest:Tally"].read_bytes() == before
    assert result.n_new == 2


def test_a_file_of_somebody_else_is_not_replaced(
    guest_package: Callable[[str, str], Path], predicted: Callable[..., BulkPredictions], tmp_path: Path
) -> None:
    guest_package("tallying.carefully", TALLY)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tally.csv").write_text("mine")
    with pytest.raises(RunError, match=r"tally\.csv exists; choose another name"):
        predicted(tmp_path / "out", "tallying.carefully:Tally")
    assert (tmp_path / "out" / "tally.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ('"../tally.csv"', "name one file or folder in the folder of tables"),
        ('"/tmp/tally.csv"', "name one file or folder"),
        ('"a\\\\b.csv"', "name one file or folder"),
        ('".tally"', "name one file or folder"),
        ('""', "name one file or folder"),
        ("None", "name one file or folder"),
        ('"Detections.csv"', "formats csv and .*:Tally both write Detections.csv"),
        ('"predictions.json"', "as predict itself does"),
        ('"journal"', "as predict itself does"),
        ('"windows.parquet"', "as predict itself does"),
    ],
)
def test_a_format_writes_one_thing_of_its_own_in_the_folder_of_tables(
    guest_package: Callable[[str, str], Path],
    predicted: Callable[..., BulkPredictions],
    tmp_path: Path,
    goal: str,
    message: str,
) -> None:
    guest_package("tallying.anywhere", TALLY.replace('"tally.csv"', goal))
    with pytest.raises(ConfigError, match=message):
        predicted(tmp_path / "out", "csv", "tallying.anywhere:Tally")
    assert not (tmp_path / "out").exists()


def test_a_writer_that_lacks_something_is_told_what(guest_package: Callable[[str, str], Path]) -> None:
    guest_package("tallying.halfway", TALLY.replace("def rows", "def rose"))
    with pytest.raises(ConfigError, match=r"the format tallying\.halfway:Tally lacks rows"):
        formats_of("tallying.halfway:Tally")


# Tables of detections ------------------------------------------------------------------------------


def test_a_table_in_memory_gives_the_same_files_as_predict(
    predicted: Callable[..., BulkPredictions], tmp_path: Path
) -> None:
    own = tuple(own_goals())
    result = predicted(tmp_path / "predict", *own)
    table = pd.read_parquet(tmp_path / "predict" / "detections").sort_values(["filename", "start_s"])
    ordered = pd.read_csv(result.paths["csv"])
    # The CSV file has the order of equal starts, Parquet all digits.
    merged = ordered[["filename", "start_s", "end_s", "label", "time"]].merge(
        table.drop(columns=["time", "day", "utc_offset_minutes"]), how="left"
    )
    root = find_recordings([str(tmp_path / "recordings")]).root
    merged["path"] = [str(root / name) for name in merged["filename"]]
    labels = ["wren", "robin", "owl"]
    model = ModelFacts("tiny", thresholds=dict.fromkeys(labels, 0.2))
    paths = write_detections(merged, own, tmp_path / "memory", labels=labels, high_hz=RATE / 2, model=model)
    assert paths.keys() == set(own)
    for path in paths.values():
        pairs = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        for each in pairs:
            twin = tmp_path / "predict" / each.relative_to(tmp_path / "memory")
            assert each.read_bytes() == twin.read_bytes(), each


def test_our_own_tables_are_read_back(predicted: Callable[..., BulkPredictions], tmp_path: Path) -> None:
    paths = predicted(tmp_path / "out", "csv", "raven", "audacity").paths
    keys = ["filename", "start_s", "label"]
    expected = read_detections(paths["csv"]).sort_values(keys, ignore_index=True)
    assert len(expected) > 2
    for source in (tmp_path / "out", paths["raven"], paths["audacity"]):
        found = read_detections(source).sort_values(keys, ignore_index=True)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-6)
    one = read_detections(paths["raven"] / "site" / "b.flac.selections.txt")
    assert set(one["filename"]) == {"b.flac"}
    shutil.rmtree(paths["audacity"])
    with pytest.raises(DataError, match="does not exist"):
        read_detections(paths["audacity"])


def test_silent_recordings_are_written_where_they_are_named(tmp_path: Path) -> None:
    table = pd.DataFrame([("a.wav", 0, 5, "wren", 0.9)], columns=DETECTION_COLUMNS)
    write_detections(table, "audacity", tmp_path, filenames=["night/silent.wav", "a.wav"])
    found = {path.relative_to(tmp_path / "audacity").as_posix() for path in tmp_path.rglob("*.txt")}
    assert found == {"a.wav.txt", "night/silent.wav.txt"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filename": "../a.wav"}, "leads out of its folder"),
        ({"start_s": "soon"}, "start_s is 'soon' in a row; write a number"),
        ({"time": "yesterday"}, "the time 'yesterday' is none"),
        ({"label": None}, "has no column label"),
    ],
)
def test_a_table_that_is_none_of_detections_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    row = {"filename": "a.wav", "start_s": 0, "end_s": 5, "label": "wren", "probability": 0.9, **changes}
    table = pd.DataFrame([{key: value for key, value in row.items() if value is not None}])
    with pytest.raises(DataError, match=message):
        write_detections(table, "csv", tmp_path / "out")
    assert not (tmp_path / "out" / "detections.csv").exists()


def test_absolute_names_are_written_below_their_common_folder(tmp_path: Path) -> None:
    rows = [(f"/data/{name}.wav", 0, 5, "wren", 0.9) for name in ("site1/a", "site2/b")]
    table = pd.DataFrame(rows, columns=DETECTION_COLUMNS)
    write_detections(table, "raven,csv", tmp_path)
    assert sorted(path.parent.name for path in (tmp_path / "raven").rglob("*.txt")) == ["site1", "site2"]
    assert list(read_detections(tmp_path)["filename"]) == ["site1/a.wav", "site2/b.wav"]
