"""What is handed on, read back by the tools that it is for."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.recorder_times import Recorder
from dawnchorus.formats import FORMATS, ModelFacts, RecordingDetections, open_writers, read_detections
from dawnchorus.formats.camtrap_dp import TABLES, table_schema
from dawnchorus.formats.ebird import RECORD_FORMAT
from dawnchorus.formats.survey_days import days_of

LABELS = ("owl", "Wren, winter", "=robin")
FACTS = ModelFacts(
    "owls_b2",
    {
        "owl": {
            "scientific_name": "Strix aluco",
            "common_name": "Tawny Owl",
            "species_code": "tawowl1",
            "gbif_key": "9307",
        }
    },
)
SUMMER = timezone(timedelta(hours=2))
POND = Recorder("AudioMoth 243B1F055B0F36FE", 52.1, 5.2)


def recording(
    name: str,
    rows: list[tuple[float, float, str, float]],
    start: datetime | None = datetime(2024, 4, 30, 23, 59, 30, tzinfo=SUMMER),
    recorder: Recorder = POND,
    verdicts: list[tuple[str, tuple[str, ...], tuple[str, ...]]] | None = None,
) -> RecordingDetections:
    table = pd.DataFrame(rows, columns=["start_s", "end_s", "label", "probability"])
    if verdicts is not None:
        table["verdict"], table["heard"], table["reviewers"] = (
            [each[place] for each in verdicts] for place in range(3)
        )
    return RecordingDetections(name, Path("/card") / name, 60.0, start, table, recorder)


NIGHT = recording(
    'pond/Nacht, "2".wav',
    [(0.0, 5.0, "owl", 0.9), (40.0, 45.0, "Wren, winter", 0.75), (45.0, 50.0, "owl", 0.6)],
)
QUIET = recording("hill/quiet.wav", [], datetime(2024, 5, 2, 4, tzinfo=SUMMER), Recorder(None, 52.2, 5.3))
UNTIMED = recording("pond/untimed.wav", [(0.0, 5.0, "owl", 0.8)], None)
REVIEWED = recording(
    "pond/reviewed.wav",
    [(0.0, 5.0, "owl", 0.9), (5.0, 10.0, "owl", 0.8), (10.0, 15.0, "owl", 0.7), (15.0, 20.0, "owl", 0.6)],
    verdicts=[("yes", (), ("Ada", "Bea")), ("no", ("=robin",), ("Ada",)), ("no", (), ("Ada",)), ("", (), ())],
)


def write(folder: Path, name: str, *recordings: RecordingDetections) -> Path:
    has_verdicts = any("verdict" in each.detections for each in recordings)
    with open_writers(
        name, folder, labels=LABELS, high_hz=16_000, has_verdicts=has_verdicts, model=FACTS
    ) as writers:
        for each in recordings:
            writers.add(each)
    return writers.paths[name]


def cells(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


# Camtrap DP ---------------------------------------------------------------------------------------


def checked_package(folder: Path) -> Any:
    """Return the report of frictionless on a package, with the schemas at hand instead of fetched ones."""
    frictionless = pytest.importorskip("frictionless")
    package = json.loads((folder / "datapackage.json").read_text())
    for resource in package["resources"]:
        assert resource["schema"].endswith(f"/1.0.1/{resource['name']}-table-schema.json")
        resource["schema"] = table_schema(resource["name"])
    del package["profile"]
    return frictionless.Package(package, basepath=str(folder)).validate()


@pytest.mark.filterwarnings("ignore")  # of frictionless and what it imports
def test_frictionless_finds_nothing_wrong_with_a_camtrap_package(tmp_path: Path) -> None:
    folder = write(tmp_path, "camtrap_dp", NIGHT, QUIET, REVIEWED)
    report = checked_package(folder)
    assert report.valid, report.flatten(["rowNumber", "fieldName", "message"])
    assert report.stats["tasks"] == 3
    # As the example data set of the standard has them, of which cameraDepth came with 1.0.
    assert cells(folder / "deployments.csv")[0][10:16] == [
        *("cameraModel", "cameraDelay", "cameraHeight", "cameraDepth", "cameraTilt", "cameraHeading")
    ]
    assert cells(folder / "observations.csv")[0][18:24] == [
        *("bboxX", "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy")
    ]
    observations = pd.read_csv(folder / "observations.csv")
    assert observations["mediaID"].value_counts().to_dict() == {
        "pond/reviewed.wav": 3,
        'pond/Nacht, "2".wav': 3,
        "hill/quiet.wav": 1,
    }
    assert observations.loc[observations["observationType"] == "blank", "mediaID"].tolist() == [
        "hill/quiet.wav"
    ]
    first = observations.iloc[0]
    assert first[["eventStart", "eventEnd"]].tolist() == [
        "2024-04-30T23:59:30+02:00",
        "2024-04-30T23:59:35+02:00",
    ]
    assert first[["scientificName", "classificationMethod", "classifiedBy"]].tolist() == [
        "Strix aluco",
        "machine",
        "owls_b2",
    ]
    confirmed = observations[observations["classificationMethod"] == "human"]
    assert confirmed["classifiedBy"].tolist() == ["Ada | Bea", "Ada"]
    assert confirmed["scientificName"].tolist() == ["Strix aluco", "=robin"]
    package = json.loads((folder / "datapackage.json").read_text())
    assert package["temporal"] == {"start": "2024-04-30", "end": "2024-05-02"}
    assert {"scientificName": "Strix aluco", "taxonID": "https://www.gbif.org/species/9307",
            "vernacularNames": {"eng": "Tawny Owl"}} in package["taxonomic"]  # fmt: skip
    deployments = pd.read_csv(folder / "deployments.csv").set_index("deploymentID")
    assert deployments.loc["pond", ["latitude", "longitude"]].tolist() == [52.1, 5.2]
    assert deployments.loc["pond", "deploymentEnd"] == "2024-05-01T00:00:30+02:00"


@pytest.mark.filterwarnings("ignore")
def test_frictionless_finds_a_package_wrong_that_is(tmp_path: Path) -> None:
    folder = write(tmp_path, "camtrap_dp", NIGHT)
    media = folder / "media.csv"
    media.write_text(media.read_text().replace("2024-04-30T23:59:30+02:00", "yesterday"))
    (folder / "deployments.csv").write_text(",".join(column.name for column in TABLES["deployments"]) + "\n")
    report = checked_package(folder)
    kinds = {kind for (kind,) in report.flatten(["type"])}
    assert {"type-error", "foreign-key"} <= kinds


def test_what_a_standard_cannot_hold_is_listed_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    naive = recording("pond/naive.wav", [], datetime(2024, 5, 1))
    nowhere = recording("pond/nowhere.wav", [], recorder=Recorder())
    odd = recording("pond/a..b.wav", [])
    folder = write(tmp_path, "camtrap_dp", UNTIMED, naive, nowhere, odd, NIGHT)
    assert cells(folder / "left_out.csv")[1:] == [
        ["pond/untimed.wav", "its time is not known"],
        ["pond/naive.wav", "the offset of its time from UTC is not known; give the time zone"],
        ["pond/nowhere.wav", "its coordinates are not known; give a table of sites"],
        ["pond/a..b.wav", "its name begins with one of . / ~, or has two dots in it"],
    ]
    assert "Camtrap DP has no place for 4 recordings: its time is not known" in caplog.text
    assert len(cells(folder / "media.csv")) == 2


# Darwin Core --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # of dwca and what it imports
def test_dwca_reads_events_and_occurrences_from_a_darwin_core_archive(tmp_path: Path) -> None:
    reader = pytest.importorskip("dwca.read", reason="python-dwca-reader is not installed")
    terms = "http://rs.tdwg.org/dwc/terms/"
    folder = write(tmp_path, "darwin_core", NIGHT, QUIET, UNTIMED, REVIEWED)
    with reader.DwCAReader(str(folder)) as archive:
        assert archive.descriptor.core.type == f"{terms}Event"
        assert archive.metadata is None
        found = {row.id: row for row in archive}
        assert list(found) == [
            'pond/Nacht, "2".wav',
            "hill/quiet.wav",
            "pond/untimed.wav",
            "pond/reviewed.wav",
        ]
        night = found['pond/Nacht, "2".wav']
        assert night.data[f"{terms}eventDate"] == "2024-04-30T23:59:30+02:00/2024-05-01T00:00:30+02:00"
        assert night.data[f"{terms}decimalLatitude"] == "52.1"
        assert (found["pond/untimed.wav"].data[f"{terms}eventDate"], found["hill/quiet.wav"].extensions) == (
            "",
            [],
        )
        first = night.extensions[0].data
        assert first[f"{terms}scientificName"] == "Strix aluco"
        assert first[f"{terms}taxonID"] == "gbif:9307"
        assert first[f"{terms}taxonConceptID"] == "ebird:tawowl1"
        assert first[f"{terms}identifiedBy"] == "owls_b2"
        assert "probability 0.9000" in first[f"{terms}identificationRemarks"]
        reviewed = [each.data for each in found["pond/reviewed.wav"].extensions]
        assert [(each[f"{terms}scientificName"], each[f"{terms}identifiedBy"]) for each in reviewed] == [
            ("Strix aluco", "Ada | Bea"),
            ("=robin", "Ada"),
            ("Strix aluco", "owls_b2"),
        ]
        keys = [row.data[f"{terms}occurrenceID"] for event in found.values() for row in event.extensions]
        assert len(set(keys)) == len(keys) == 7


# eBird, occupancy ---------------------------------------------------------------------------------


def test_an_ebird_checklist_has_the_19_columns_of_the_record_format(tmp_path: Path) -> None:
    rows = cells(write(tmp_path, "ebird", NIGHT, QUIET, UNTIMED))
    assert {len(row) for row in rows} == {len(RECORD_FORMAT)} == {19}
    owl = dict(zip(RECORD_FORMAT, rows[0], strict=True))
    assert [owl[name] for name in ("Common Name", "Genus", "Species", "Number")] == [
        *("Tawny Owl", "Strix", "aluco", "X")
    ]
    assert (owl["Date"], owl["Start Time"], owl["Duration"]) == ("04/30/2024", "23:59", "1")
    assert (owl["Protocol"], owl["All observations reported?"]) == ("Stationary", "N")
    assert owl["Species Comments"] == "2 detections of at most 0.9000"
    assert len(rows) == 2


def test_where_people_have_listened_a_checklist_has_what_they_confirmed(tmp_path: Path) -> None:
    rows = cells(write(tmp_path, "ebird", REVIEWED, NIGHT))
    assert [(row[0], row[4]) for row in rows] == [
        ("Tawny Owl", "1 detection of at most 0.9000; confirmed by Ada, Bea"),
        ("=robin", "1 detection; confirmed by Ada"),
    ]


def test_detection_histories_tell_silence_from_a_recorder_that_was_off(tmp_path: Path) -> None:
    folder = write(tmp_path, "detection_history", NIGHT, QUIET, UNTIMED)
    species = pd.read_csv(folder / "species.csv").set_index("label")
    owl = pd.read_csv(folder / species.loc["owl", "table"], index_col="site")
    assert list(owl) == ["2024-04-30", "2024-05-01", "2024-05-02"]
    np.testing.assert_array_equal(owl.loc["pond"], [1, 1, np.nan])
    np.testing.assert_array_equal(owl.loc["hill"], [np.nan, np.nan, 0])
    wren = pd.read_csv(folder / species.loc["Wren, winter", "table"], index_col="site")
    np.testing.assert_array_equal(wren.loc["pond"], [0, 1, np.nan])
    effort = pd.read_csv(folder / "effort_hours.csv", index_col="site")
    np.testing.assert_allclose(effort.loc["pond"], [30 / 3600, 30 / 3600, np.nan], atol=1e-4)
    assert (effort.isna() == owl.isna()).all(axis=None)
    assert "=robin" not in species.index, "neither found nor asked for"
    sites = pd.read_csv(folder / "sites.csv").set_index("site")
    assert sites.loc["pond"].tolist() == [52.1, 5.2, 2]
    assert cells(folder / "left_out.csv")[1] == ["pond/untimed.wav", "its time is not known"]


def test_a_species_that_was_asked_for_has_a_history_even_if_never_found(tmp_path: Path) -> None:
    asked = replace(FACTS, asked=("owl", "=robin"))
    with open_writers("detection_history", tmp_path, labels=LABELS, high_hz=16_000, model=asked) as writers:
        writers.add(NIGHT)
    species = pd.read_csv(tmp_path / "detection_history" / "species.csv")
    assert species[["label", "n_sites"]].values.tolist() == [["owl", 1], ["Wren, winter", 1], ["=robin", 0]]
    never = pd.read_csv(tmp_path / "detection_history" / species["table"].iloc[2], index_col="site")
    assert never.loc["pond"].tolist() == [0, 0]


def test_classes_that_are_no_taxa_are_left_out_of_what_holds_taxa(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ["Engine_Engine", "Human vocal_Human vocal", "Strix aluco_Tawny Owl"]
    night = recording("pond/a.wav", [(5.0 * n, 5.0 * n + 5, label, 0.9) for n, label in enumerate(labels)])
    with open_writers(
        "camtrap_dp,darwin_core,ebird,detection_history,csv",
        tmp_path,
        labels=labels,
        high_hz=16_000,
        model=replace(FACTS, asked=labels),
    ) as writers:
        writers.add(night)
    for table in ("camtrap_dp/observations.csv", "darwin_core/occurrence.csv"):
        assert pd.read_csv(tmp_path / table)["scientificName"].tolist() == ["Strix aluco"]
    assert [row[0] for row in cells(tmp_path / "ebird_checklists.csv")] == ["Tawny Owl"]
    histories = pd.read_csv(tmp_path / "detection_history" / "species.csv")
    assert histories["label"].tolist() == labels[-1:]
    assert pd.read_csv(tmp_path / "detections.csv")["label"].tolist() == labels
    assert "Engine_Engine (1), Human vocal_Human vocal (1) are left out there" in caplog.text


def test_a_taxon_that_was_heard_beside_no_taxon_stays(tmp_path: Path) -> None:
    night = recording(
        "pond/a.wav",
        [(0.0, 5.0, "Engine_Engine", 0.9)],
        verdicts=[("yes", ("owl", "Noise_Noise"), ("Ada",))],
    )
    with open_writers(
        "darwin_core", tmp_path, labels=["Engine_Engine", "owl"], high_hz=16_000, has_verdicts=True
    ) as writers:
        writers.add(night)
    found = pd.read_csv(tmp_path / "darwin_core" / "occurrence.csv")
    assert found["scientificName"].tolist() == ["owl"]


def test_what_reviewers_refused_is_no_detection(tmp_path: Path) -> None:
    refused = recording("pond/a.wav", [(0.0, 5.0, "owl", 0.9)], verdicts=[("no", (), ("Ada",))])
    facts = replace(FACTS, asked=("owl",))
    with open_writers(
        "detection_history", tmp_path, labels=LABELS, high_hz=16_000, has_verdicts=True, model=facts
    ) as writers:
        writers.add(refused)
    table = pd.read_csv(tmp_path / "detection_history" / "owl.csv", index_col="site")
    assert set(table.to_numpy().ravel()) == {0}


def test_days_of_a_recording_add_up_to_its_length() -> None:
    start = datetime(2024, 4, 30, 23, 30, tzinfo=UTC)
    found = dict(days_of(start, 25 * 3600.0))
    assert found == {date(2024, 4, 30): 1800.0, date(2024, 5, 1): 86400.0, date(2024, 5, 2): 1800.0}


# soundevent, crowsetta ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # of soundevent and what it imports
def test_soundevent_loads_the_set_of_predictions(tmp_path: Path) -> None:
    soundevent = pytest.importorskip("soundevent.io")
    path = write(tmp_path, "soundevent", NIGHT, QUIET, REVIEWED)
    found = soundevent.load(path, audio_dir=Path("/card"))
    clips = {str(clip.clip.recording.path): clip for clip in found.clip_predictions}
    assert set(clips) == {'/card/pond/Nacht, "2".wav', "/card/hill/quiet.wav", "/card/pond/reviewed.wav"}
    night = clips['/card/pond/Nacht, "2".wav']
    assert (night.clip.start_time, night.clip.end_time, night.clip.recording.samplerate) == (0, 60, 32_000)
    assert (night.clip.recording.latitude, str(night.clip.recording.date)) == (52.1, "2024-04-30")
    events = sorted(night.sound_events, key=lambda each: each.sound_event.geometry.coordinates)
    assert [(e.sound_event.geometry.coordinates, e.score) for e in events] == [
        ([0.0, 5.0], 0.9),
        ([40.0, 45.0], 0.75),
        ([45.0, 50.0], 0.6),
    ]
    assert [(tag.tag.value, tag.score) for tag in events[0].tags] == [("Strix aluco", 0.9)]
    tags = {
        each.sound_event.geometry.coordinates[0]: [tag.tag.value for tag in each.tags]
        for each in clips["/card/pond/reviewed.wav"].sound_events
    }
    assert tags[0.0] == ["Strix aluco", "yes"]
    assert tags[5.0] == ["Strix aluco", "no", "=robin"]
    write(tmp_path / "again", "soundevent", NIGHT, QUIET, REVIEWED)
    assert (tmp_path / "again" / "soundevent.json").read_bytes() == path.read_bytes()


@pytest.mark.filterwarnings("ignore")  # crowsetta 5.1 on pandas 3.1
def test_crowsetta_reads_its_generic_sequences(tmp_path: Path) -> None:
    crowsetta = pytest.importorskip("crowsetta")
    path = write(tmp_path, "crowsetta", NIGHT, QUIET, REVIEWED)
    found = crowsetta.formats.seq.GenericSeq.from_file(path).to_annot()
    assert [str(each.notated_path) for each in found] == [str(NIGHT.path), str(REVIEWED.path)]
    assert found[0].seq.labels.tolist() == ["owl", "Wren, winter", "owl"]
    np.testing.assert_array_equal(found[0].seq.onsets_s, [0, 40, 45])
    np.testing.assert_array_equal(found[0].seq.offsets_s, [5, 45, 50])
    assert found[1].seq.labels.tolist() == ["owl", "=robin", "owl"]


# Answers of reviewers in the tables that people open ----------------------------------------------


def test_tables_that_people_open_show_the_answers(tmp_path: Path) -> None:
    raven = cells(write(tmp_path, "raven", REVIEWED) / "pond" / "reviewed.wav.selections.txt", "\t")
    assert raven[0][-3:] == ["Verdict", "Heard", "Reviewers"]
    assert [row[-3:] for row in raven[1:]] == [
        ["yes", "", "Ada|Bea"],
        ["no", "=robin", "Ada"],
        ["no", "", "Ada"],
        ["", "", ""],
    ]
    table = pd.read_csv(write(tmp_path, "kaleidoscope", REVIEWED), keep_default_na=False)
    assert table["MANUAL ID"].tolist() == ["Tawny Owl", "=robin", "NoID", ""]
    table = pd.read_csv(write(tmp_path, "csv", REVIEWED), keep_default_na=False)
    assert table[["verdict", "heard"]].values.tolist() == [
        ["yes", ""],
        ["no", "=robin"],
        ["no", ""],
        ["", ""],
    ]
    audacity = write(tmp_path, "audacity", REVIEWED)
    labels = [row[2] for row in cells(audacity / "pond" / "reviewed.wav.txt", "\t")]
    assert labels == ["owl 0.9000 (yes)", "owl 0.8000 (no: =robin)", "owl 0.7000 (no)", "owl 0.6000"]
    back = read_detections(audacity)
    assert back["label"].tolist() == ["owl"] * 4
    assert back["probability"].tolist() == [0.9, 0.8, 0.7, 0.6]
    assert read_detections(tmp_path / "raven")["label"].tolist() == ["owl"] * 4


@pytest.mark.parametrize("name", list(FORMATS))
def test_without_answers_no_table_has_columns_for_them(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, NIGHT)
    texts = [each.read_bytes() for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file()]
    assert not any(b"erdict" in text for text in texts)
