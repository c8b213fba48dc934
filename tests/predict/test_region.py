"""Plausible species: by list, week and place; what is taken away is listed with its reason."""

from __future__ import annotations

import json
import time
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.recorder_times import Recorder
from dawnchorus.cli import main
from dawnchorus.errors import ConfigError, DataError, UnsafePathError
from dawnchorus.formats.sites import Place, Site
from dawnchorus.formats.synonyms import Synonyms
from dawnchorus.formats.taxonomy import SpeciesIndex
from dawnchorus.predict.areas import read_areas
from dawnchorus.predict.checklists import period_of, read_checklist
from dawnchorus.predict.detections import DetectionSettings, detect
from dawnchorus.predict.predictions import PredictedRecording, Predictions
from dawnchorus.predict.region import Region, RegionSettings
from dawnchorus.predict.region_removals import JudgedRecording, applied, removals
from dawnchorus.predict.window_predictions import WindowPredictions

LABELS = ("Strix_aluco", "eurbla", "Corvus monedula", "Engine")
TAXONOMY = {"eurbla": {"scientific_name": "Turdus merula", "common_name": "Eurasian Blackbird"}}
JACKDAW = Synonyms.of([("Corvus monedula", "Coloeus monedula")])
INSIDE, OUTSIDE = Place(52.1, 5.2), Place(48.0, 5.2)


def bar_chart(path: Path, species: dict[str, dict[int, float]], unsampled: tuple[int, ...] = ()) -> Path:
    """Write a file of the form that eBird's "Download Histogram Data" has."""
    months = "\t".join(f"{month}\t\t\t" for month in ("Jan", "Feb", "Mar", "Apr", "May", "Jun"))
    sizes = [0.0 if week in unsampled else 20.0 for week in range(48)]
    lines = [
        "Frequency of observations in the selected location(s).:",
        "",
        "Number of taxa: \t 385",
        "",
        f"\t{months}\t",
        "\t".join(["Sample Size: ", *map(str, sizes), ""]),
    ]
    for name, weeks in species.items():
        lines.append("\t".join([name, *(str(weeks.get(week, 0.0)) for week in range(48)), ""]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    return bar_chart(
        tmp_path / "chart.txt",
        {
            'Tawny Owl (<em class="sci">Strix aluco</em>)': dict.fromkeys(range(48), 0.2),
            'Eurasian Blackbird (<em class="sci">Turdus merula</em>)': {17: 0.01},
            'Eurasian Jackdaw (<em class="sci">Coloeus monedula</em>)': {17: 0.5},
            "gull sp.": {17: 0.9},
        },
        unsampled=(3,),
    )


def square(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def geojson(path: Path, *features: tuple[list[list[list[float]]], dict[str, Any]]) -> Path:
    path.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [
                    {
                        "type": "Feature",
                        "properties": properties,
                        "geometry": {"type": "Polygon", "coordinates": rings},
                    }
                    for rings, properties in features
                ],
            }
        )
    )
    return path


# Checklists ---------------------------------------------------------------------------------------


def test_ebirds_bar_chart_is_read_with_its_unsampled_quarters(chart: Path) -> None:
    found = read_checklist(chart)
    assert (found.n_periods, len(found.entries)) == (48, 4)
    owl, blackbird, *_ = found.entries
    assert owl.names == ("Tawny Owl", "Strix aluco")
    assert np.flatnonzero(np.isnan(owl.frequencies)).tolist() == [3]
    assert blackbird.frequencies[17] == 0.01
    assert np.nansum(blackbird.frequencies) == 0.01


@pytest.mark.parametrize("n_periods", [12, 48, 52, 53])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_of_weeks_has_a_species_a_row(tmp_path: Path, n_periods: int, separator: str) -> None:
    path = tmp_path / "weeks.csv"
    header = ["species", *map(str, range(1, n_periods + 1))]
    row = ["Strix aluco", *("1" if week == 0 else "0" for week in range(n_periods))]
    path.write_text("\n".join(map(separator.join, (header, row))))
    found = read_checklist(path)
    assert [entry.names for entry in found.entries] == [("Strix aluco",)]
    assert found.entries[0].frequencies.tolist() == [1.0, *[0.0] * (n_periods - 1)]


def test_a_list_of_species_is_of_any_week(tmp_path: Path) -> None:
    path = tmp_path / "birds.txt"
    path.write_text("Strix aluco_Tawny Owl  # common\nturdus merula\n\n")
    found = read_checklist(path)
    assert [entry.names[0] for entry in found.entries] == ["Strix aluco_Tawny Owl", "turdus merula"]
    region = Region.of([path], LABELS, taxonomy=TAXONOMY)
    assert region.factors(None).tolist() == [1, 1, 0, 0]


def test_quarters_of_months_are_ebirds_and_weeks_those_of_iso() -> None:
    days = pd.date_range("2024-01-01", "2024-12-31")
    quarters = [period_of(day.date(), 48) for day in days]
    assert sorted(set(quarters)) == list(range(48))
    by_day = pd.Series(quarters, days)
    assert by_day["2024-02-22"] == by_day["2024-02-29"] == 7
    assert by_day["2024-12-31"] == 47
    assert [period_of(day.date(), 53) for day in days] == (days.isocalendar().week - 1).tolist()
    assert period_of(date(2020, 12, 31), 52) == 51, "of 53 weeks, the last counts as the 52nd"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "species,week,frequency\nowl,1,2\n", "a frequency of owl is 2; legal are 0 to 1"),
        ("a.csv", "species,week,frequency\nowl,99,0.2\n", "the week is 99; legal are 1 to 53"),
        ("a.csv", "species,week,frequency\nowl,May,0.2\n", "has no week and frequency; write whole weeks"),
        ("a.csv", "x" + ",0.1" * 20 + "\n", "no row has a name and then 12, 48, 52 or 53 frequencies"),
        ("a.txt", "# nothing\n", "names no species; write one a line"),
        ("a.txt", "RIFF", "is a WAV recording; give a file with a list of species"),
    ],
)
def test_a_checklist_that_is_none_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_checklist(tmp_path / name)


def test_a_checklist_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read; No such file"):
        read_checklist(tmp_path / "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes("Häher".encode("latin-1"))
    with pytest.raises(DataError, match="is no text in UTF-8"):
        read_checklist(tmp_path / "latin.txt")


# Names --------------------------------------------------------------------------------------------


def test_synonyms_join_names_and_both_are_told(chart: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with_none = Region.of([chart], LABELS, taxonomy=TAXONOMY)
    assert with_none.why("Corvus monedula", date(2024, 5, 10)).reason == "no name of it is in chart.txt"
    caplog.clear()
    region = Region.of([chart], LABELS, taxonomy=TAXONOMY, synonyms=JACKDAW)
    found = region.why("Corvus monedula", date(2024, 5, 10))
    assert (found.frequency, found.name) == (0.5, "Coloeus monedula")
    assert "Corvus monedula is Coloeus monedula" in caplog.text
    assert "eurbla is Turdus merula" in caplog.text
    assert "Strix" not in caplog.text


def test_a_species_that_was_split_is_as_frequent_as_the_most_frequent_part(tmp_path: Path) -> None:
    path = tmp_path / "weeks.csv"
    path.write_text(
        "species,week,frequency\nLarus smithsonianus,48,0.3\nLarus vegae,48,0.1\nLarus vegae,1,0.2\n"
    )
    split = Synonyms.of([("Larus argentatus", "Larus smithsonianus"), ("Larus argentatus", "Larus vegae")])
    region = Region.of([path], ["Larus argentatus"], synonyms=split)
    assert [region.frequencies(date(2024, month, day))[0] for month, day in ((1, 1), (12, 31))] == [0.2, 0.3]
    assert region.why("Larus argentatus", None).name == "Larus smithsonianus and Larus vegae"


def test_a_table_of_synonyms_has_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "synonyms.csv"
    path.write_text("name,also\nCorvus monedula,Coloeus monedula\nAlone,\n")
    assert Synonyms.read(path).others("coloeus_monedula") == ("Corvus monedula",)
    path.write_text("name\nCorvus monedula\n")
    with pytest.raises(DataError, match="has a single column; write two names of a species a line"):
        Synonyms.read(path)


# Places -------------------------------------------------------------------------------------------


def test_a_hole_is_no_part_of_an_area(tmp_path: Path) -> None:
    path = geojson(tmp_path / "area.geojson", ([square(0, 50, 10, 55), square(5, 52, 6, 53)], {}))
    (area,) = read_areas(path)
    assert area.contains(51.0, 5.5)
    assert not area.contains(52.5, 5.5)
    assert not area.contains(49.0, 5.5)


def test_a_checklist_holds_in_its_area_alone(tmp_path: Path) -> None:
    area = geojson(tmp_path / "area.geojson", ([square(0, 50, 10, 55)], {}))
    birds = tmp_path / "birds.txt"
    birds.write_text("Strix aluco\n")
    region = Region.of([area, birds], LABELS, sites=[Site("hill", *INSIDE)])
    assert region.factors(None, INSIDE).tolist() == [1, 0, 0, 0]
    assert region.factors(None, OUTSIDE).tolist() == [1, 1, 1, 1], "nothing tells of other places"
    assert region.factors(None, None).tolist() == [1, 1, 1, 1]
    assert region.place_of("hill/a.wav", None, None) == INSIDE
    assert region.place_of("hill/a.wav", *OUTSIDE) == OUTSIDE
    assert region.place_of("a.wav", None, None) is None


def test_areas_may_have_checklists_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_text("Strix aluco\n")
    path = geojson(
        tmp_path / "area.geojson",
        ([square(0, 50, 10, 55)], {"checklist": "birds.txt"}),
        ([square(0, 45, 10, 50)], {"checklist": ["Turdus merula"]}),
    )
    region = Region.of([path], LABELS, taxonomy=TAXONOMY)
    assert region.factors(None, INSIDE).tolist() == [1, 0, 0, 0]
    assert region.factors(None, OUTSIDE).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no GeoJSON"),
        ('{"type": "Point", "coordinates": [5, 52]}', "holds no polygon; give polygons of degrees"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "a ring has 2 points"),
        ('{"type": "Polygon", "coordinates": [[["a", 0]]]}', "the coordinates of a Polygon are none"),
        (
            json.dumps({"type": "Polygon", "coordinates": [square(0, 50, 10, 95)]}),
            "a ring has 5 points, from 0 to 95",
        ),
        (
            json.dumps({"type": "Polygon", "coordinates": [square(0, 50, 10, 55)]}),
            "has an area without a checklist; name the checklist too",
        ),
    ],
)
def test_an_area_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "area.geojson").write_text(content)
    with pytest.raises(DataError, match=message):
        Region.of([tmp_path / "area.geojson"], LABELS)


def test_a_checklist_named_in_a_file_stays_in_its_folder(tmp_path: Path) -> None:
    path = geojson(tmp_path / "area.geojson", ([square(0, 50, 10, 55)], {"checklist": "../birds.txt"}))
    with pytest.raises(UnsafePathError, match="does not lie below"):
        Region.of([path], LABELS)
    geojson(path, ([square(0, 50, 10, 55)], {"checklist": 3}))
    with pytest.raises(DataError, match="a checklist is 3; give the name of a file beside it"):
        Region.of([path], LABELS)


# Scores -------------------------------------------------------------------------------------------


def test_hard_removes_and_soft_scales_by_the_week_of_the_recording(chart: Path) -> None:
    hard = Region.of([chart], LABELS, taxonomy=TAXONOMY, synonyms=JACKDAW)
    soft = Region.of([chart], LABELS, RegionSettings("soft"), taxonomy=TAXONOMY, synonyms=JACKDAW)
    may, june, unsampled = date(2024, 5, 10), date(2024, 6, 10), date(2024, 1, 31)
    assert hard.factors(may).tolist() == [1, 1, 1, 0]
    assert hard.factors(june).tolist() == [1, 0, 0, 0]
    assert hard.factors(unsampled).tolist() == [1, 1, 1, 0], "what nobody looked for may be there"
    assert hard.factors(None).tolist() == [1, 1, 1, 0], "of an unknown week, any counts"
    np.testing.assert_allclose(soft.factors(may), [1, 0.1 + 0.9 * 0.2, 1, 0.1], rtol=1e-6)
    minimum = Region.of([chart], LABELS, RegionSettings("hard", 0.02), taxonomy=TAXONOMY)
    assert minimum.factors(may).tolist() == [1, 0, 0, 0]


def night(
    probabilities: list[list[float]], start: datetime | None = datetime(2024, 6, 10)
) -> JudgedRecording:
    starts = 5 * np.arange(len(probabilities))
    windows = WindowPredictions(starts, starts + 5, np.float32(probabilities), 1)
    return JudgedRecording("night.wav", windows, start, None)


def test_what_is_detected_and_what_is_removed_are_what_would_be_detected(chart: Path) -> None:
    rng = np.random.default_rng(0)
    recording = night(rng.uniform(size=(200, 4)).round(3).tolist())
    settings = DetectionSettings(np.float32([0.5, 0.3, 0.6, 0.9]))
    keys = ["start_s", "end_s", "label"]
    for mode in ("hard", "soft"):
        region = Region.of([chart], LABELS, RegionSettings(mode), taxonomy=TAXONOMY, synonyms=JACKDAW)
        kept = detect(applied(region, recording), LABELS, settings)
        gone = removals(region, recording, settings)
        before = detect(recording.windows, LABELS, settings)
        both = pd.concat([kept[keys], gone[keys]])
        assert len(both.drop_duplicates()) == len(both) == len(before)
        assert before[keys].merge(both).shape == before[keys].shape
        assert (gone["scaled"] < gone["probability"]).all()
        assert gone["reason"].str.len().min() > 0
    blackbird = gone.set_index("label").loc["eurbla"].iloc[0]
    assert blackbird["name_there"] == "Turdus merula"
    assert blackbird["reason"] == "a frequency of 0 in quarter of a month 22 of 48 in chart.txt"


def test_a_recording_without_removals_has_an_empty_table_of_them(chart: Path) -> None:
    region = Region.of([chart], LABELS, taxonomy=TAXONOMY)
    gone = removals(region, night([[0.1] * len(LABELS)]), DetectionSettings(np.full(4, 0.5, np.float32)))
    assert len(gone) == 0
    assert gone["scaled"].dtype == float


def test_predictions_and_arrays_are_scaled_as_recordings_are(chart: Path) -> None:
    region = Region.of([chart], LABELS, taxonomy=TAXONOMY)
    recording = night([[0.9, 0.8, 0.7, 0.6]])
    predictions = Predictions(
        LABELS, [PredictedRecording("night.wav", None, recording.start, recording.windows, Recorder())]
    )
    within = predictions.within(region)
    np.testing.assert_array_equal(within.probabilities, np.float32([[0.9, 0, 0, 0]]))
    np.testing.assert_array_equal(
        region.scaled(predictions.probabilities, date(2024, 6, 10)), within.probabilities
    )
    assert within.detections(0.5).to_frame()["label"].tolist() == ["Strix_aluco"]
    np.testing.assert_array_equal(predictions.probabilities, recording.windows.probabilities)
    with pytest.raises(
        DataError, match=r"the probabilities have the shape \(1, 2\), and the region 4 classes"
    ):
        region.scaled(np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "firm"}, "mode is 'firm'; legal are hard and soft"),
        ({"minimum": 2.0}, "minimum is 2, full 0.05 and floor 0.1; legal are 0 to 1"),
        ({"full": 0.0}, "and above 0 for full"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RegionSettings(**change)


def test_a_checklist_that_knows_no_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_text("Apus apus\n")
    with pytest.raises(DataError, match=r"birds.txt knows none of the model's classes, and has Apus apus"):
        Region.of([tmp_path / "birds.txt"], LABELS)


def test_the_digest_tells_regions_apart(tmp_path: Path, chart: Path) -> None:
    area = geojson(tmp_path / "area.geojson", ([square(0, 50, 10, 55)], {}))
    regions = [
        Region.of([chart], LABELS),
        Region.of([chart], LABELS, RegionSettings("soft")),
        Region.of([chart], LABELS, taxonomy=TAXONOMY),
        Region.of([chart, area], LABELS),
        Region.of([chart], LABELS, sites=[Site("pond", *INSIDE)]),
    ]
    assert len({region.digest for region in regions}) == len(regions)
    assert Region.of([chart], LABELS).digest == regions[0].digest


def test_predict_lists_what_a_region_takes_away_and_detects_the_rest(
    data_factory: Any, exported: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_factory.tone("night_20240610_040000.wav", 6.0, 2000, 16_000)
    (tmp_path / "birds.txt").write_text("wren\nowl\n")
    common = [
        "predict",
        str(exported.onnx.parent),
        str(data_factory.root),
        "--threshold",
        "0",
        "--threads",
        "1",
    ]
    removed = tmp_path / "removed.csv"

    def run(out: str, *more: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*common, "--out", str(tmp_path / out), "--format", "csv", "--journal", *more])
        assert ended.value.code == code
        return capsys.readouterr().err

    run("all")
    within = ["--region", str(tmp_path / "birds.txt"), "--region-removed", str(removed)]
    run("within", *within, "--threshold", "0.0001")
    everything, kept = (pd.read_csv(tmp_path / out / "detections.csv") for out in ("all", "within"))
    gone = pd.read_csv(removed)
    assert set(kept["label"]) == {"wren", "owl"}
    assert set(gone["label"]) == {"robin"}
    assert len(kept) + len(gone) == len(everything)
    assert set(gone["reason"]) == {"no name of it is in birds.txt"}
    assert gone["filename"].unique().tolist() == ["night_20240610_040000.wav"]
    assert "made with another region" in run("within", "--threshold", "0.0001", code=1)
    assert "name it with --region" in run("else", "--region-removed", str(removed), code=1)
    windows = [pd.read_parquet(tmp_path / out / "windows.parquet") for out in ("all", "within")]
    pd.testing.assert_frame_equal(*windows)


def test_a_misspelt_name_is_told_with_the_nearest_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ["Strix aluco_Tawny Owl", "Parus major_Great Tit", "Turdus merula_Eurasian Blackbird"]
    birds = tmp_path / "birds.txt"
    birds.write_text("Strix alucco\nParus major\nParus minor\nTurdus mreula\nCorvus corax\n")
    Region.of([birds], labels)
    told = [record.getMessage() for record in caplog.records]
    assert any(
        "Strix alucco (Strix aluco_Tawny Owl?)" in text and "Turdus mreula (Turdus merula_" in text
        for text in told
    )
    assert not any("minor" in text or "corax" in text for text in told)


def test_many_names_of_another_continent_are_gone_through_quickly() -> None:
    labels = [f"Genus{n} species{n}_Common name {n}" for n in range(3000)]
    names = [f"Other{n} kind{n}" for n in range(5000)]
    begun = time.perf_counter()
    assert SpeciesIndex(labels).misspelt(names) == {}
    assert time.perf_counter() - begun < 20
