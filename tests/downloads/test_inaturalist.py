"""Searching iNaturalist through requests, on a server that answers as its API is documented."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from dawnchorus import DataSettings, load_recordings
from dawnchorus.downloads import http_service, inaturalist, retries
from dawnchorus.downloads.http_service import connected
from dawnchorus.downloads.inaturalist import INaturalistFilters, find_on_inaturalist, inaturalist_rate_limit
from dawnchorus.downloads.rate_limit import RateLimit
from dawnchorus.downloads.recording_catalogue import Found
from dawnchorus.downloads.recording_download import fetch_recordings
from dawnchorus.downloads.species_list import read_species
from dawnchorus.errors import DataError, DownloadError

_spec = importlib.util.spec_from_file_location(
    "recording_server", Path(__file__).with_name("recording_server.py")
)
recording_server = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(recording_server)  # type: ignore[union-attr]

AVES, BLACKBIRD, BLUE_TIT, SUBSPECIES, GENUS = 3, 12716, 144849, 99, 12705


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)
    with recording_server.RecordingServer() as running:
        monkeypatch.setattr(inaturalist, "API_URL", f"{running.url}/v1")
        running.taxa += [
            {"id": 1, "name": "Turdus merulanus", "rank": "species", "matched_term": "Turdus merulanus"},
            {
                "id": BLACKBIRD,
                "name": "Turdus merula",
                "rank": "species",
                "matched_term": "Merle",
                "preferred_common_name": "Blackbird",
                "ancestor_ids": [AVES, GENUS, BLACKBIRD],
            },
            {
                "id": SUBSPECIES,
                "name": "Turdus merula merula",
                "rank": "subspecies",
                "ancestor_ids": [AVES, GENUS, BLACKBIRD, SUBSPECIES],
            },
            {
                "id": BLUE_TIT,
                "name": "Cyanistes caeruleus",
                "rank": "species",
                "matched_term": "Parus caeruleus",
                "ancestor_ids": [AVES, BLUE_TIT],
            },
            {"id": GENUS, "name": "Turdus", "rank": "genus", "ancestor_ids": [AVES, GENUS]},
            {"id": AVES, "name": "Aves", "rank": "class", "matched_term": "Aves"},
        ]
        yield running


def find(*species: str, filters: INaturalistFilters | None = None) -> Found:
    with connected("iNaturalist", RateLimit()) as service:
        return find_on_inaturalist(service, read_species(species), filters or INaturalistFilters())


def ids(found: Found) -> list[str]:
    return [recording.id for recording in found.recordings]


def test_all_pages_are_read_and_every_sound_is_a_recording(server: Any) -> None:
    server.page_size = 2
    for number in (5, 3, 12, 11, 40):
        server.add_observation(number, BLACKBIRD, {number * 10: b"x"})
    server.add_observation(7, SUBSPECIES, {71: b"x", 72: b"x"})
    found = find("Turdus merula", filters=INaturalistFilters(places=(6753, 8)))
    assert ids(found) == [
        "iNat3_30",
        "iNat5_50",
        "iNat7_71",
        "iNat7_72",
        "iNat11_110",
        "iNat12_120",
        "iNat40_400",
    ]
    searches = [asked.params for asked in server.asked if asked.path == "/v1/observations"]
    assert [search["id_above"] for search in searches] == ["0", "5", "11"]
    expected = {
        "taxon_id": str(BLACKBIRD),
        "sounds": "true",
        "quality_grade": "research",
        "place_id": "6753,8",
    }
    assert expected.items() <= searches[0].items()
    first, third = found.recordings[0], found.recordings[2]
    assert (first.filename, third.filename) == ("Turdus_merula/iNat3_30.m4a", "Turdus_merula/iNat7_71.m4a")
    assert (third.scientific_name, third.primary_label) == ("Turdus merula", "Turdus_merula")
    assert (first.latitude, first.longitude) == (42.25, -8.5)
    assert (first.date, first.time, first.author, first.locality) == ("2023-05-01", "06:30", "Ana", "Ames")
    assert (first.license, first.url) == ("cc-by-nc", "https://www.inaturalist.org/observations/3")
    assert (first.common_name, first.rating, first.duration_s) == ("Blackbird", None, None)


def test_what_is_unknown_stays_empty(server: Any) -> None:
    server.add_observation(
        1,
        BLACKBIRD,
        {10: b"x"},
        geojson=None,
        user={"login": "ana_1", "name": None},
        place_guess=None,
        time_observed_at=None,
        observed_on=None,
        uri=None,
    )
    recording = find("Turdus merula").recordings[0]
    assert (recording.latitude, recording.longitude) == (None, None)
    assert (recording.author, recording.locality, recording.date, recording.time) == ("ana_1", "", "", "")
    assert recording.url == "https://www.inaturalist.org/observations/1"


@pytest.mark.parametrize("coordinates", [[], [-8.5], None, ["x", "y"]])
def test_coordinates_that_are_none_stay_empty(server: Any, coordinates: Any) -> None:
    server.add_observation(1, BLACKBIRD, {10: b"x"}, geojson={"type": "Point", "coordinates": coordinates})
    (recording,) = find("Turdus merula").recordings
    assert recording.latitude is None


def test_licences_are_those_of_the_sounds(server: Any) -> None:
    observation = server.add_observation(1, BLACKBIRD, {10: b"x", 11: b"x", 12: b"x"})
    for sound, licence in zip(observation["sounds"], ("cc0", None, "cc-by"), strict=True):
        sound["license_code"] = licence
    found = find("Turdus merula")
    assert ids(found) == ["iNat1_10", "iNat1_12"]
    assert found.left_out == {"with all rights reserved": 1}
    assert ids(find("Turdus merula", filters=INaturalistFilters(licences=("cc0",)))) == ["iNat1_10"]
    everything = find("Turdus merula", filters=INaturalistFilters(all_rights_reserved=True))
    assert [recording.license for recording in everything.recordings] == [
        "cc0",
        "all rights reserved",
        "cc-by",
    ]


def test_sounds_that_cannot_be_had_or_named_are_counted(server: Any) -> None:
    observation = server.add_observation(1, BLACKBIRD, {10: b"x", 11: b"x", 12: b"x"})
    observation["sounds"] += [None]
    del observation["sounds"][2]["id"]
    observation["sounds"][0]["file_url"] = None
    observation["sounds"][1].update(file_url="https://x.org/a.amr", file_content_type="audio/amr")
    server.add_observation(2, GENUS, {20: b"x"})
    found = find("Turdus")
    assert ids(found) == []
    assert found.left_out == {"without a sound file that can be decoded": 4, "not named to the species": 1}
    assert found.notes == ["Turdus: iNaturalist has no such recordings of it"]


def test_old_names_are_found_and_told_and_unknown_ones_find_nothing(server: Any, tmp_path: Path) -> None:
    server.add_observation(1, BLUE_TIT, {10: b"x"})
    server.add_observation(2, BLACKBIRD, {20: b"x"})
    found = find("Parus caeruleus", "Cyanistes caeruleus", "Nulla avis")
    assert [(r.id, r.primary_label, r.scientific_name) for r in found.recordings] == [
        ("iNat1_10", "Cyanistes_caeruleus", "Cyanistes caeruleus")
    ]
    assert found.notes == [
        "Parus caeruleus: iNaturalist calls it Cyanistes caeruleus",
        "Cyanistes caeruleus: iNaturalist has no such recordings of it",
        "Nulla avis: iNaturalist knows no species or group of this name",
    ]
    assert find("Parus caeruleus").recordings[0].primary_label == "Parus_caeruleus"
    (tmp_path / "t.csv").write_text("primary_label,scientific_name\n42,Turdus\nbluti,Parus caeruleus\n")
    server.add_observation(3, GENUS, {30: b"x"})
    labels = {r.id: (r.primary_label, r.filename) for r in find(str(tmp_path / "t.csv")).recordings}
    assert labels == {
        "iNat2_20": ("42", "Turdus_merula/iNat2_20.m4a"),
        "iNat3_30": ("42", "Turdus/iNat3_30.m4a"),
        "iNat1_10": ("bluti", "Cyanistes_caeruleus/iNat1_10.m4a"),
    }


def test_a_group_stands_for_its_species_and_no_sound_comes_twice(server: Any) -> None:
    server.add_observation(1, BLUE_TIT, {10: b"x"})
    server.add_observation(2, BLACKBIRD, {20: b"x"})
    found = find("Turdus merula", "Aves")
    assert [(r.id, r.primary_label) for r in found.recordings] == [
        ("iNat2_20", "Turdus_merula"),
        ("iNat1_10", "Cyanistes_caeruleus"),
    ]
    with pytest.raises(DataError, match="name what to download: --species, which may also be a group"):
        find()


def test_no_more_is_asked_for_than_is_wanted(server: Any) -> None:
    server.page_size = 2
    for number in range(1, 10):
        server.add_observation(number, BLACKBIRD, {number: b"x"})
    found = find("Turdus merula", filters=INaturalistFilters(at_most=3))
    assert ids(found) == ["iNat1_1", "iNat2_2", "iNat3_3"]
    assert len(server.paths("/v1/observations")) == 2


@pytest.mark.parametrize(
    "answer", [{}, {"results": [{}]}, {"results": [{"id": 0}], "total_results": 9}, {"results": None}]
)
def test_an_answer_of_another_api_is_refused(
    server: Any, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    search = http_service.Service.search

    def changed(service: http_service.Service, url: str, params: Any) -> dict[str, Any]:
        return answer if url.endswith("observations") else search(service, url, params)

    monkeypatch.setattr(http_service.Service, "search", changed)
    with pytest.raises(DownloadError, match="iNaturalist answers the search taxon_id 12716 otherwise"):
        find("Turdus merula")
    monkeypatch.setattr(http_service.Service, "search", lambda *_: {"results": [{"id": "x"}]})
    with pytest.raises(DownloadError, match="iNaturalist answers the search taxon Turdus merula otherwise"):
        find("Turdus merula")


def test_a_minute_holds_sixty_requests_and_a_day_less_than_ten_thousand_searches() -> None:
    rate_limit = inaturalist_rate_limit()
    assert inaturalist.SECONDS_A_REQUEST == 1.0
    assert rate_limit.searches[0] is rate_limit.recordings[0]
    assert (rate_limit.searches[0].capacity, rate_limit.searches[0].unit_s) == (1, 1.0)
    daily = rate_limit.searches[1]
    assert daily.capacity + 86_400 / daily.unit_s < 10_000


def test_training_reads_what_was_downloaded(server: Any, tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).uniform(-0.5, 0.5, 8000), 16_000, format="WAV")
    observation = server.add_observation(1, BLACKBIRD, {10: b"x", 11: b"x"})
    server.add_observation(2, BLUE_TIT, {20: b"x"}, geojson=None)
    for entry in (*observation["sounds"], *server.observations[1]["sounds"]):
        entry["file_url"] = entry["file_url"].replace(".m4a", ".wav")
        server.sounds[f"/sounds/{entry['id']}.wav"] = (file.getvalue(), "audio/x-wav")
    folder, table = tmp_path / "inaturalist", tmp_path / "inaturalist.csv"
    with connected("iNaturalist", RateLimit(), answers=folder / ".answers") as service:
        found = find_on_inaturalist(service, read_species(["Aves"]), INaturalistFilters())
        report = fetch_recordings(service, found.recordings, folder, table, leave_gb=0)
    assert report.fetched == {"Turdus merula": 2, "Cyanistes caeruleus": 1}
    assert pd.read_csv(table)["id"].tolist() == ["iNat1_10", "iNat1_11", "iNat2_20"]
    loaded = load_recordings(DataSettings(audio_dir=folder, recordings=table))
    assert loaded.faults == []
    assert loaded.table["primary_label"].tolist() == ["Turdus_merula", "Turdus_merula", "Cyanistes_caeruleus"]
    assert loaded.table["duration_s"].tolist() == [0.5] * 3
    assert loaded.table["rating"].isna().all()
