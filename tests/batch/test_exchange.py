"""Detections handed on: with recordings in which nothing was found, verdicts, names and places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.batch.exchange import ExchangeSettings, exchange
from dawnchorus.cli import main
from dawnchorus.errors import DataError
from dawnchorus.formats.recorded_effort import effort_of_windows
from dawnchorus.formats.verdicts import with_verdicts
from dawnchorus.predict.window_tables import window_table

DETECTIONS = (
    "filename,start_s,end_s,label,probability,time,latitude,longitude,device,model\n"
    "pond/a_20240501_040000.wav,5.0,10.0,owl,0.9,2024-05-01T04:00:05.000,,,,owls\n"
    "pond/a_20240501_040000.wav,10.0,15.0,wren,0.8,2024-05-01T04:00:10.000,,,,owls\n"
)
EFFORT = (
    "filename,start,duration_s,n_detections,site,latitude,longitude,device\n"
    "pond/a_20240501_040000.wav,2024-05-01T04:00:00.000,60.0,2,pond,,,AudioMoth\n"
    "hill/b_20240502_040000.wav,2024-05-02T04:00:00.000,60.0,0,hill,,,\n"
)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "detections.csv").write_text(DETECTIONS)
    return folder


def test_effort_brings_the_recordings_in_which_nothing_was_found(predictions: Path, tmp_path: Path) -> None:
    (predictions / "effort.csv").write_text(EFFORT)
    made = exchange(predictions, "darwin_core,detection_history", tmp_path / "out")
    events = pd.read_csv(made["darwin_core"] / "event.csv").set_index("eventID")
    assert events["eventDate"].tolist() == [
        "2024-05-01T04:00:00/2024-05-01T04:01:00",
        "2024-05-02T04:00:00/2024-05-02T04:01:00",
    ]
    assert events["sampleSizeValue"].tolist() == [60, 60]
    owl = pd.read_csv(made["detection_history"] / "owl.csv", index_col="site")
    np.testing.assert_array_equal(owl.loc["hill"], [np.nan, 0])
    np.testing.assert_array_equal(owl.loc["pond"], [1, np.nan])
    identified = pd.read_csv(made["darwin_core"] / "occurrence.csv")["identifiedBy"]
    assert set(identified) == {"owls"}


def test_sites_time_zone_and_names_make_a_package_that_holds_all(predictions: Path, tmp_path: Path) -> None:
    (predictions / "effort.csv").write_text(EFFORT)
    sites, names = tmp_path / "sites.csv", tmp_path / "names.csv"
    sites.write_text("site,latitude,longitude\npond,52.1,5.2\nhill,52.2,5.3\n")
    names.write_text(
        "primary_label,scientific_name,common_name,common_name_de,gbif_key\n"
        "owl,Strix aluco,Tawny Owl,Waldkauz,9307\nwren,Troglodytes troglodytes,Eurasian Wren,,\n"
    )
    verified = tmp_path / "verified.csv"
    verified.write_text(VERIFIED.replace(",no,", ",yes,").replace('"[""robin""]"', "[]"))
    zone = RecorderTimes(None, "+02:00")
    settings = ExchangeSettings(verified=verified, names=names, language="de", sites=sites, times=zone)
    made = exchange(predictions, "camtrap_dp,ebird", tmp_path / "out", settings)
    media = pd.read_csv(made["camtrap_dp"] / "media.csv")
    assert media["timestamp"].tolist() == ["2024-05-01T04:00:00+02:00", "2024-05-02T04:00:00+02:00"]
    assert not (made["camtrap_dp"] / "left_out.csv").exists()
    ebird = pd.read_csv(made["ebird"], header=None)
    assert ebird[0].tolist() == ["Waldkauz", "Eurasian Wren"]
    assert ebird[[6, 7]].values.tolist() == [[52.1, 5.2]] * 2


def test_without_effort_the_sound_files_tell_or_a_warning_says_what_is_missing(
    predictions: Path, tmp_path: Path, data_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("pond/a_20240501_040000.wav", "hill/b_20240502_040000.wav"):
        data_factory.tone(name, 20.0, sample_rate=16_000)
    (data_factory.root / "hill" / "broken.wav").write_bytes(b"no sound")
    settings = ExchangeSettings(audio=data_factory.root)
    made = exchange(predictions, "darwin_core", tmp_path / "out", settings)
    events = pd.read_csv(made["darwin_core"] / "event.csv").set_index("eventID")
    assert events["sampleSizeValue"].to_dict() == {
        "hill/b_20240502_040000.wav": 20,
        "pond/a_20240501_040000.wav": 20,
    }
    assert events.loc["hill/b_20240502_040000.wav", "eventDate"].startswith("2024-05-02T04:00:00/")
    assert "1 of the recordings cannot be read, and count for nothing: hill/broken.wav" in caplog.text
    caplog.clear()
    exchange(predictions, "csv", tmp_path / "alone")
    assert "recordings without a detection are not known; name the folder" in caplog.text


@pytest.mark.parametrize(
    "format_name", ["camtrap_dp", "darwin_core", "detection_history", "ebird", "soundevent"]
)
def test_no_format_that_states_how_long_was_recorded_makes_a_length_up(
    predictions: Path, tmp_path: Path, format_name: str
) -> None:
    (tmp_path / "verified.csv").write_text(VERIFIED)
    settings = ExchangeSettings(verified=tmp_path / "verified.csv")
    with pytest.raises(
        DataError, match=f"{format_name} state.* it has neither effort.csv nor windows.parquet"
    ):
        exchange(predictions, format_name, tmp_path / "out", settings)


def test_the_table_of_windows_tells_lengths_and_silent_recordings(predictions: Path, tmp_path: Path) -> None:
    names = ["pond/a_20240501_040000.wav"] * 2 + ["hill/b_20240502_040000.wav"]
    windows = pd.DataFrame({"filename": names, "start_s": [0.0, 30.0, 0.0], "end_s": [30.0, 60.0, 42.0]})
    windows.assign(owl=0.1, wren=0.2).to_parquet(predictions / "windows.parquet")
    made = exchange(predictions, "darwin_core", tmp_path / "out")
    events = pd.read_csv(made["darwin_core"] / "event.csv").set_index("eventID")
    assert events["sampleSizeValue"].to_dict() == {names[0]: 60, names[2]: 42}
    assert events.loc[names[2], "eventDate"] == "2024-05-02T04:00:00/2024-05-02T04:00:42"


def test_a_silent_recording_has_the_place_that_its_own_file_tells(
    predictions: Path, tmp_path: Path, data_factory: Any
) -> None:
    names = ["20240501T040000Z_REC [-27.4 152.9].wav", "20240502T040000Z_REC [-27.4 152.9].wav"]
    for name in names:
        data_factory.tone(name, 20.0, sample_rate=16_000)
    windows = pd.DataFrame({"filename": names, "start_s": 0.0, "end_s": 20.0, "owl": 0.1})
    windows.to_parquet(predictions / "windows.parquet")
    table = (predictions / "detections.csv").read_text().splitlines()
    row = f"{names[0]},5.0,10.0,owl,0.9,2024-05-01T04:00:05.000,-27.4,152.9,,owls"
    (predictions / "detections.csv").write_text(f"{table[0]}\n{row}\n")
    note = {"made": {"folder of recordings": str(data_factory.root)}}
    (predictions / "predictions.json").write_text(json.dumps(note))
    made = exchange(predictions, "darwin_core", tmp_path / "out")
    events = pd.read_csv(made["darwin_core"] / "event.csv")
    assert events["decimalLatitude"].tolist() == [-27.4, -27.4]


@pytest.mark.parametrize("end_s", ["soon", None])
def test_a_table_of_windows_that_is_none_tells_no_lengths(tmp_path: Path, end_s: str | None) -> None:
    pd.DataFrame({"filename": ["a.wav"], "end_s": [end_s]}).to_parquet(tmp_path / "windows.parquet")
    assert effort_of_windows(tmp_path / "windows.parquet").empty


def test_folder_and_time_zone_are_those_that_predict_was_given(
    predictions: Path, tmp_path: Path, data_factory: Any
) -> None:
    data_factory.tone("pond/a_20240501_040000.wav", 20.0, sample_rate=16_000)
    note = {"made": {"time zone": "+02:00", "folder of recordings": str(data_factory.root)}}
    (predictions / "predictions.json").write_text(json.dumps(note))
    for times, offset in ((RecorderTimes(), "+02:00"), (RecorderTimes(None, "-03:00"), "-03:00")):
        made = exchange(predictions, "darwin_core", tmp_path / "out", ExchangeSettings(times=times))
        events = pd.read_csv(made["darwin_core"] / "event.csv")
        assert events["eventDate"].tolist() == [f"2024-05-01T04:00:00{offset}/2024-05-01T04:00:20{offset}"]


def test_sites_are_named_by_patterns_and_what_fits_none_is_told(
    predictions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (predictions / "effort.csv").write_text(EFFORT)
    table = tmp_path / "sites.csv"
    table.write_text(
        "site,latitude,longitude,time_zone,recordings\nmoor,52.1,5.2,+02:00,*/a_*\nlake,52.2,5.3,,\n"
    )
    made = exchange(predictions, "darwin_core", tmp_path / "out", ExchangeSettings(sites=table))
    events = pd.read_csv(made["darwin_core"] / "event.csv").set_index("locationID")
    assert events.loc["moor", ["decimalLatitude", "decimalLongitude"]].tolist() == [52.1, 5.2]
    assert events.loc["moor", "eventDate"].startswith("2024-05-01T04:00:00+02:00/")
    assert "hill" in events.index
    assert "1 site without a recording: lake" in caplog.text
    assert "1 recording is of no site: hill/b_20240502_040000.wav" in caplog.text


VERIFIED = (
    "filename,start_s,end_s,label,channel,probability,verdict,heard,boxes,reviewers\n"
    'pond/a_20240501_040000.wav,5.0,10.0,owl,0,0.9,no,"[""robin""]",[],"[""Ada""]"\n'
    'pond/a_20240501_040000.wav,30.0,35.0,wren,0,,yes,[],[],"[""Bea""]"\n'
)


def test_verdicts_are_joined_and_windows_that_only_reviewers_had_are_added(
    predictions: Path, tmp_path: Path
) -> None:
    (tmp_path / "verified.csv").write_text(VERIFIED)
    (predictions / "effort.csv").write_text(EFFORT)
    settings = ExchangeSettings(verified=tmp_path / "verified.csv")
    made = exchange(predictions, "csv,darwin_core", tmp_path / "out", settings)
    table = pd.read_csv(made["csv"], keep_default_na=False)
    assert table[["start_s", "label", "probability", "verdict", "heard", "reviewers"]].values.tolist() == [
        [5.0, "owl", "0.9", "no", "robin", "Ada"],
        [10.0, "wren", "0.8", "", "", ""],
        [30.0, "wren", "", "yes", "", "Bea"],
    ]
    occurrences = pd.read_csv(made["darwin_core"] / "occurrence.csv")
    assert occurrences["scientificName"].tolist() == ["robin", "wren", "wren"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VERIFIED.replace(",no,", ",perhaps,"), "verdict is 'perhaps'; legal are yes, no, unsure, conflict"),
        (VERIFIED.replace(",5.0,", ",five,"), "start_s is no number in a row; write seconds"),
        (VERIFIED.replace('"[""robin""]"', "[robin"), "'\\[robin' is no list of names; write a JSON list"),
        ("filename,start_s\n", "has no column end_s, label, verdict"),
    ],
)
def test_a_table_of_verdicts_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "verified.csv").write_text(text)
    columns = ["filename", "start_s", "end_s", "label", "probability"]
    with pytest.raises(DataError, match=message):
        with_verdicts(pd.DataFrame(columns=columns), tmp_path / "verified.csv")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "sites.csv",
            "site,latitude,longitude\npond,95,5\n",
            "the latitude of the site 'pond' is '95'; write degrees",
        ),
        (
            "sites.csv",
            "site;latitude;longitude\npond;52,1;5,2\n",
            "is '52,1'; write degrees from -90 to 90, with a point instead of the comma",
        ),
        ("effort.csv", EFFORT.replace("60.0", "long"), "duration_s is no number in a row; write seconds"),
        ("names.csv", "primary_label,scientific_name\nowl,Strix\n", "no names in the language 'de'"),
    ],
)
def test_a_table_of_sites_effort_or_names_that_is_none_is_refused(
    predictions: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (predictions / name).write_text(text)
    (predictions / "effort.csv").touch()
    if name != "effort.csv":
        (predictions / "effort.csv").write_text(EFFORT)
    settings = ExchangeSettings(
        sites=predictions / name if name == "sites.csv" else None,
        names=predictions / name if name == "names.csv" else None,
        language="de",
    )
    with pytest.raises(DataError, match=message):
        exchange(predictions, "csv", tmp_path / "out", settings)


def test_the_command_writes_formats_and_replaces_none_unasked(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (predictions / "effort.csv").write_text(EFFORT)
    arguments = ["convert", str(predictions), "--to", "crowsetta,darwin_core", "--out", str(tmp_path / "out")]
    for more, code, text in (
        ([], 0, f"crowsetta: {tmp_path / 'out' / 'crowsetta.csv'}"),
        ([], 1, "exists; choose another name, or overwrite it with --force"),
        (["--force"], 0, "darwin_core: "),
        (["--force", "--language", "de"], 1, "give the table with --names"),
        (["--to", "xlsx"], 64, "'xlsx', which is not known"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *more])
        assert ended.value.code == code
        output = capsys.readouterr()
        assert text in " ".join((output.out + output.err).split())


def test_only_the_species_of_a_list_are_handed_on(predictions: Path, tmp_path: Path) -> None:
    (predictions / "effort.csv").write_text(EFFORT)
    (tmp_path / "species.txt").write_text("wren\nrobin\n")
    windows = pd.DataFrame({"filename": ["pond/a_20240501_040000.wav"], "start_s": [0.0], "end_s": [60.0]})
    windows.assign(owl=0.1, wren=0.2, robin=0.1).to_parquet(predictions / "windows.parquet")
    settings = ExchangeSettings(species=tmp_path / "species.txt")
    made = exchange(predictions, "detection_history,csv", tmp_path / "out", settings)
    assert pd.read_csv(made["csv"])["label"].tolist() == ["wren"]
    species = pd.read_csv(made["detection_history"] / "species.csv")
    assert species[["label", "n_sites"]].values.tolist() == [["wren", 1], ["robin", 0]]


def test_ebird_takes_no_detections_that_nobody_has_heard(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (predictions / "effort.csv").write_text(EFFORT)
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(predictions), "--to", "csv,ebird", "--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "ebird takes species that people have heard alone" in told
    assert "--verified verified.csv" in told
    assert not (tmp_path / "out").exists()


FLAT = "filename,start,duration_s,latitude,longitude,device\n"


def test_a_recording_of_no_site_is_at_no_site(
    predictions: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = (
        (predictions / "detections.csv").read_text().replace("pond/a_20240501_040000.wav,10.0", "b.wav,10.0")
    )
    (predictions / "detections.csv").write_text(table)
    pond = "pond/a_20240501_040000.wav,2024-05-01T04:00:00,60,,,\n"
    (predictions / "effort.csv").write_text(f"{FLAT}{pond}b.wav,2024-05-01T04:00:00,60,,,\n")
    (tmp_path / "verified.csv").write_text(
        VERIFIED.replace(",no,", ",yes,").replace("pond/a_20240501_040000.wav,30.0", "b.wav,30.0")
    )
    settings = ExchangeSettings(verified=tmp_path / "verified.csv")
    made = exchange(predictions, "detection_history,ebird", tmp_path / "out", settings)
    assert pd.read_csv(made["detection_history"] / "sites.csv")["site"].tolist() == ["pond"]
    assert set(pd.read_csv(made["ebird"], header=None)[5]) == {"pond"}
    assert pd.read_csv(made["detection_history"] / "left_out.csv").values.tolist() == [
        ["b.wav", "its site is not known; give a table of sites"]
    ]
    assert "eBird has no place for 1 recording with detections" in caplog.text


def test_formats_of_sites_are_refused_where_no_recording_has_one(predictions: Path, tmp_path: Path) -> None:
    table = (predictions / "detections.csv").read_text().replace("pond/", "")
    (predictions / "detections.csv").write_text(table)
    row = "a_20240501_040000.wav,2024-05-01T04:00:00,60,,,\n"
    (predictions / "effort.csv").write_text(f"{FLAT}{row}")
    with pytest.raises(DataError, match=r"detection_history hold.* no recording tells its own.*--sites"):
        exchange(predictions, "detection_history,csv", tmp_path / "out")
    (predictions / "effort.csv").write_text(f"{FLAT}{row.replace(',,,', ',,,AudioMoth 1')}")
    made = exchange(predictions, "detection_history", tmp_path / "out")
    assert pd.read_csv(made["detection_history"] / "sites.csv")["site"].tolist() == ["AudioMoth 1"]


def test_names_of_species_that_were_not_detected_are_those_of_the_model(
    predictions: Path, tmp_path: Path
) -> None:
    (predictions / "effort.csv").write_text(EFFORT)
    (tmp_path / "species.txt").write_text("Corn Bunting\nEurasian Wren\n")
    names = {
        "Emberiza calandra": {"common_name": "Corn Bunting"},
        "wren": {"scientific_name": "Troglodytes troglodytes", "common_name": "Eurasian Wren"},
    }
    with window_table(predictions / "windows.parquet", ["owl", "Emberiza calandra", "wren"], taxonomy=names):
        pass
    settings = ExchangeSettings(species=tmp_path / "species.txt")
    made = exchange(predictions, "detection_history", tmp_path / "out", settings)
    species = pd.read_csv(made["detection_history"] / "species.csv")
    assert species[["scientific_name", "common_name", "n_sites"]].values.tolist() == [
        ["Emberiza calandra", "Corn Bunting", 0],
        ["Troglodytes troglodytes", "Eurasian Wren", 1],
    ]


@pytest.mark.parametrize("command", [["convert", "--to", "csv"], ["report"], ["review", "--write"]])
def test_predictions_that_are_not_there_are_named_before_all_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handed_on").mkdir()
    (tmp_path / "handed_on" / "detections.csv").touch()
    with pytest.raises(SystemExit) as ended:
        main([*command, "nights"])
    assert ended.value.code == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "nights: no such file or folder; give a folder that dawnchorus predict wrote" in told
