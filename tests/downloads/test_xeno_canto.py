"""Searching xeno-canto through requests, on a server that answers as its API is documented."""

from __future__ import annotations

import gzip
import importlib.util
import io
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from dawnchorus import DataSettings, load_recordings
from dawnchorus.downloads import http_service, recording_download, retries, xeno_canto
from dawnchorus.downloads.disk_space import DiskFullError
from dawnchorus.downloads.http_service import connected
from dawnchorus.downloads.rate_limit import RateLimit
from dawnchorus.downloads.recording_catalogue import Found, best_of
from dawnchorus.downloads.recording_download import FetchReport, default_table, fetch_recordings
from dawnchorus.downloads.retries import ServiceDownError
from dawnchorus.downloads.species_list import read_species
from dawnchorus.downloads.xeno_canto import (
    XenoCantoFilters,
    find_on_xeno_canto,
    seconds_of,
    xeno_canto_key,
    xeno_canto_rate_limit,
)
from dawnchorus.errors import DataError, DownloadError, UnsafePathError
from dawnchorus.files import locked, read_failures

_spec = importlib.util.spec_from_file_location(
    "recording_server", Path(__file__).with_name("recording_server.py")
)
recording_server = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(recording_server)  # type: ignore[union-attr]

KEY = recording_server.KEY
ALL = XenoCantoFilters()
API = "/api/3/recordings"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)
    with recording_server.RecordingServer() as running:
        monkeypatch.setattr(xeno_canto, "API_URL", running.url + API)
        yield running


def find(
    *species: str, filters: XenoCantoFilters = ALL, key: str = KEY, answers: Path | None = None
) -> Found:
    with connected("xeno-canto", RateLimit(), answers=answers) as service:
        return find_on_xeno_canto(service, read_species(species), filters, key=key)


def fetch(
    folder: Path,
    *species: str,
    at_most: int | None = None,
    leave_gb: float = 0,
    filters: XenoCantoFilters = ALL,
) -> FetchReport:
    with connected("xeno-canto", RateLimit(), answers=folder / ".answers") as service:
        found = find_on_xeno_canto(service, read_species(species), filters, key=KEY)
        wanted = best_of(found.recordings, at_most)
        return fetch_recordings(service, wanted, folder, default_table(folder), leave_gb=leave_gb)


def sound(seed: int, duration_s: float = 0.5) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(22_050 * duration_s))
    soundfile.write(file, noise, 22_050, format="MP3")
    return file.getvalue()


def ids(found: Found) -> list[str]:
    return [recording.id for recording in found.recordings]


def test_all_pages_are_read_and_fields_are_understood(server: Any) -> None:
    server.page_size = 2
    for number in range(1, 6):
        server.add(number, "Turdus merula", b"x")
    server.recordings[2].update(
        {
            "lat": None,
            "lon": "",
            "q": "no score",
            "length": "1:02:15",
            "also": ["Erithacus rubecula", "", "Parus major"],
            "lic": "//creativecommons.org/publicdomain/zero/1.0/",
            "file-name": "XC3.WAV",
        }
    )
    found = find("Turdus merula")
    assert ids(found) == [f"XC{number}" for number in range(1, 6)]
    assert [asked.params["page"] for asked in server.asked] == ["1", "2", "3"]
    assert server.asked[0].params["query"] == 'sp:"turdus merula"'
    first, third = found.recordings[0], found.recordings[2]
    assert (first.latitude, first.longitude, first.rating, first.duration_s) == (42.837312, -8.652, 5, 46)
    assert (third.latitude, third.longitude, third.rating, third.duration_s) == (None, None, None, 3735)
    assert first.secondary_labels == ()
    assert third.secondary_labels == ("Erithacus_rubecula", "Parus_major")
    assert (first.license, third.license) == ("cc-by-nc-sa 4.0", "cc0")
    assert (first.filename, third.filename) == ("Turdus_merula/XC1.mp3", "Turdus_merula/XC3.wav")
    assert (first.author, first.locality) == ("Ana Lucía Ñandú", "Sisalde, Ames, A Coruña")
    assert (first.url, first.common_name) == ("https://xeno-canto.org/1", "Common merula")


def test_filters_narrow_the_search_or_choose_among_the_answers(server: Any) -> None:
    server.add(1, "Turdus merula", b"x", q="A", length="0:10")
    server.add(2, "Turdus merula", b"x", q="B", length="1:00")
    server.add(3, "Turdus merula", b"x", q="C", lic="//creativecommons.org/licenses/by/4.0/")
    server.add(4, "Turdus merula", b"x", q="A", cnt="Brazil", length="")
    assert ids(find("Turdus merula", filters=XenoCantoFilters(qualities=("A", "B")))) == ["XC1", "XC2", "XC4"]
    assert ids(find("Turdus merula", filters=XenoCantoFilters(qualities=("C",)))) == ["XC3"]
    assert server.asked[-1].params["query"] == 'sp:"turdus merula" q:"C"'
    assert ids(find("Turdus merula", filters=XenoCantoFilters(country="Brazil", group="birds"))) == ["XC4"]
    assert server.asked[-1].params["query"] == 'sp:"turdus merula" grp:"birds" cnt:"Brazil"'
    assert ids(find("Turdus merula", filters=XenoCantoFilters(licences=("cc-by",)))) == ["XC3"]
    assert ids(find("Turdus merula", filters=XenoCantoFilters(min_s=30))) == ["XC2", "XC3"]
    assert ids(find("Turdus merula", filters=XenoCantoFilters(min_s=10, max_s=50))) == ["XC1", "XC3"]


def test_what_was_not_asked_for_or_has_no_file_is_left_out_and_counted(server: Any) -> None:
    server.add(1, "Turdus merula", b"x", file="")
    server.add(2, "Turdus merulanus", b"x")
    server.add(3, "Turdus merula", b"x", file=None)
    server.add(4, "Turdus merula", b"x")
    found = find("Turdus merula", "Turdus  merula", "Nulla avis")
    assert ids(found) == ["XC4"]
    assert found.left_out == {
        "of another species than asked for, or of none": 1,
        "without a file: xeno-canto holds back protected species": 2,
    }
    assert found.notes == ["Nulla avis: xeno-canto has no recordings under this name"]
    assert find("Turdus merul").notes == [
        "Turdus merul: xeno-canto has no recordings under this name; it sent recordings of Turdus merula, "
        "Turdus merulanus"
    ]


def test_a_genus_or_a_group_stands_for_all_its_species_and_nothing_comes_twice(server: Any) -> None:
    server.add(1, "Turdus merula", b"x")
    server.add(2, "Turdus pilaris", b"x")
    server.add(3, "Mystery mystery", b"x")
    server.add(4, "Turdus sp.", b"x")
    server.add(5, "Hyla arborea", b"x", grp="frogs")
    assert ids(find("Turdus", "Turdus merula")) == ["XC1", "XC2"]
    assert ids(find(filters=XenoCantoFilters(group="birds"))) == ["XC1", "XC2"]
    with pytest.raises(DataError, match="name what to download: --species, --group, or --country"):
        find()


def test_labels_of_a_list_are_used_for_all_that_is_heard(server: Any, tmp_path: Path) -> None:
    server.add(1, "Turdus merula", b"x", also=["Parus major", "Erithacus rubecula"])
    (tmp_path / "taxonomy.csv").write_text(
        "primary_label,scientific_name\nbla,Turdus merula\n1139,Parus major\n"
    )
    recording = find(str(tmp_path / "taxonomy.csv")).recordings[0]
    assert (recording.primary_label, recording.secondary_labels) == ("bla", ("1139",))
    assert recording.filename == "Turdus_merula/XC1.mp3"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"qualities": ("F",)}, "quality 'F' is not known; A, B, C, D, E are"),
        ({"group": "fish"}, "group 'fish' is not known; birds, "),
        ({"country": 'Spain" q:"A'}, "country .* is no name of a country"),
        ({"min_s": 9, "max_s": 8}, "no recording is at least 9 s and at most 8 s long"),
    ],
)
def test_filters_that_cannot_be_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        XenoCantoFilters(**values)


def test_lengths_are_seconds() -> None:
    texts = ["0:46", "12:03", "1:02:15", "", "long", "1:2:3:4"]
    assert [seconds_of(text) for text in texts] == [46, 723, 3735, None, None, None]


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENO_CANTO_KEY", " abc\n")
    assert xeno_canto_key() == "abc"
    monkeypatch.setenv("XENO_CANTO_KEY", " ")
    with pytest.raises(DownloadError, match=r"https://xeno-canto\.org/account .* variable XENO_CANTO_KEY"):
        xeno_canto_key()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (["400"], r"refuses the search \(query sp:.*\) with 400: Please wait, \[key\]; look at the names"),
        (["404"], "refuses the search .* with 404: Please wait"),
        (["500"] * 6, "xeno-canto: it is busy and answers 500, 6 times in a row"),
        (["429"] * 6, "xeno-canto: it is busy and answers 429, 6 times in a row"),
        (
            ["gone"] * 6,
            "xeno-canto: it cannot be reached, for there is no connection",
        ),
        (["half"] * 6, "xeno-canto: the connection broke, 6 times in a row"),
        (["text"], "answers a search with something else than a JSON object"),
    ],
)
def test_an_error_of_the_service_is_one_sentence_without_the_key(
    server: Any, caplog: pytest.LogCaptureFixture, script: list[str], reason: str
) -> None:
    caplog.set_level(logging.DEBUG)
    server.add(1, "Turdus merula", b"x")
    server.script[API] = list(script)
    with pytest.raises(DownloadError, match=reason) as told:
        find("Turdus merula")
    assert len(server.asked) == len(script)
    assert server.asked[0].params["key"] == KEY
    for text in (str(told.value), caplog.text):
        assert not any(part in text for part in ("s3cret", "of=mine", "of%3Dmine"))


def test_a_wrong_key_says_where_the_right_one_is(server: Any) -> None:
    with pytest.raises(DownloadError, match=r"with 401: Missing or invalid .*; copy the key anew from https"):
        find("Turdus merula", key="wrong")


def test_a_service_that_recovers_is_not_noticed(server: Any) -> None:
    server.add(1, "Turdus merula", b"x")
    server.script[API] = ["500", "429", "gone", "half", ""]
    assert ids(find("Turdus merula")) == ["XC1"]


@pytest.mark.parametrize("answer", [{}, {"numPages": 1, "recordings": None}, {"numPages": "x"}])
def test_an_answer_of_another_api_is_refused(
    server: Any, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(http_service.Service, "search", lambda *_, **__: answer)
    with pytest.raises(DownloadError, match="otherwise than its API says"):
        find("Turdus merula")


def test_searches_and_recordings_share_one_request_a_second(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert xeno_canto.SECONDS_A_REQUEST == 1.0
    monkeypatch.setattr(xeno_canto, "SECONDS_A_REQUEST", 0.1)
    server.page_size = 1
    for number in range(1, 4):
        server.add(number, "Turdus merula", b"x" * number)
    with connected("xeno-canto", xeno_canto_rate_limit()) as service:
        found = find_on_xeno_canto(service, read_species(["Turdus merula"]), ALL, key=KEY)
        fetch_recordings(service, found.recordings, tmp_path / "xc", tmp_path / "xc.csv", leave_gb=0)
    times_s = np.array([asked.at_s for asked in server.asked])
    assert len(times_s) == 6
    assert np.diff(times_s).min() > 0.08


def test_training_reads_what_was_downloaded(server: Any, tmp_path: Path) -> None:
    for number, species in enumerate(["Turdus merula", "Parus major", "Parus major"], start=1):
        server.add(
            number, species, sound(number), also=["Turdus merula", "Erithacus rubecula"], q="DABX"[number]
        )
    server.recordings[1].update({"lat": None, "lon": None})
    report = fetch(tmp_path / "xeno_canto", "Turdus merula", "Parus major")
    assert (report.fetched, report.there, report.failures) == ({"Turdus merula": 1, "Parus major": 2}, {}, [])
    loaded = load_recordings(
        DataSettings(audio_dir=tmp_path / "xeno_canto", recordings=tmp_path / "xeno_canto.csv")
    )
    assert loaded.faults == []
    table = loaded.table.set_index("id")
    assert table["primary_label"].to_dict() == {
        "XC1": "Turdus_merula",
        "XC2": "Parus_major",
        "XC3": "Parus_major",
    }
    assert table["secondary_labels"]["XC2"] == ("Turdus_merula", "Erithacus_rubecula")
    assert table["secondary_labels"]["XC1"] == ("Erithacus_rubecula",)
    assert table["rating"].fillna(-1).to_dict() == {"XC1": 5, "XC2": 4, "XC3": -1}
    assert table["duration_s"].between(0.45, 0.6).all()
    assert table["author"].unique().tolist() == ["Ana Lucía Ñandú"]
    assert table["latitude"].isna().to_dict() == {"XC1": False, "XC2": True, "XC3": False}


def test_more_is_added_and_nothing_fetched_twice(server: Any, tmp_path: Path) -> None:
    folder = tmp_path / "xc"
    for number in range(1, 5):
        server.add(number, "Turdus merula", bytes([number]) * 3000, q="BACA"[number - 1])
    server.add(9, "Parus major", b"p" * 3000)
    assert fetch(folder, "Turdus merula", at_most=2).fetched.total() == 2
    assert sorted(server.paths("/")[1:]) == ["/2/download", "/4/download"], "the best first"
    again = fetch(folder, "Turdus merula", at_most=2)
    assert (again.fetched.total(), again.there.total()) == (0, 2)
    more = fetch(folder, "Turdus merula", at_most=3)
    assert (more.fetched.total(), more.there.total()) == (1, 2)
    other = fetch(folder, "Parus major")
    assert (other.fetched.total(), other.there.total()) == (1, 0)
    table = pd.read_csv(tmp_path / "xc.csv")
    assert table["id"].tolist() == ["XC1", "XC2", "XC4", "XC9"]
    files = {path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert files == {"XC1.mp3", "XC2.mp3", "XC4.mp3", "XC9.mp3"}
    assert len(server.paths("/")) == 4 + len(files), "a search a call, and each file once"


def test_a_damaged_file_is_fetched_again_and_a_missing_one_leaves_the_table(
    server: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "xc"
    for number, species in ((1, "Turdus merula"), (2, "Turdus merula"), (3, "Parus major")):
        server.add(number, species, bytes([number]) * 3000)
    fetch(folder, "Turdus merula", "Parus major")
    (folder / "Turdus_merula" / "XC1.mp3").write_bytes(b"half")
    (folder / "Parus_major" / "XC3.mp3").unlink()
    assert fetch(folder, "Turdus merula").fetched.total() == 1
    assert (folder / "Turdus_merula" / "XC1.mp3").read_bytes() == b"\x01" * 3000
    assert pd.read_csv(tmp_path / "xc.csv")["id"].tolist() == ["XC1", "XC2"]


def test_a_recording_that_was_renamed_since_is_not_fetched_under_its_new_name(
    server: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "xc"
    server.add(1, "Parus caeruleus", b"p" * 3000)
    fetch(folder, "Parus caeruleus")
    server.recordings[0]["gen"] = "Cyanistes"
    assert fetch(folder, "Cyanistes caeruleus").there.total() == 1
    table = pd.read_csv(tmp_path / "xc.csv")
    assert table["filename"].tolist() == ["Parus_caeruleus/XC1.mp3"]
    assert table["primary_label"].tolist() == ["Cyanistes_caeruleus"]


def test_one_failure_stops_nothing_and_is_listed(server: Any, tmp_path: Path) -> None:
    folder = tmp_path / "xc"
    for number in range(1, 4):
        server.add(number, "Turdus merula", bytes([number]) * 3000)
    server.script["/2/download"] = ["html"]
    report = fetch(folder, "Turdus merula")
    assert (report.fetched.total(), report.failed.total()) == (2, 1)
    (failure,) = read_failures(folder)
    assert failure.path.as_posix() == "Turdus_merula/XC2.mp3"
    assert "text/html, which is no sound" in failure.reason
    assert pd.read_csv(tmp_path / "xc.csv")["id"].tolist() == ["XC1", "XC3"]
    assert fetch(folder, "Turdus merula").fetched.total() == 1
    assert read_failures(folder) == []


def test_a_service_that_is_gone_for_good_ends_the_work_and_keeps_what_came(
    server: Any, tmp_path: Path
) -> None:
    for number in range(1, 9):
        server.add(number, "Turdus merula", bytes([number]) * 3000)
        if number > 1:
            server.script[f"/{number}/download"] = ["503"] * 6
    with pytest.raises(DownloadError, match=r"could not send 5 recordings in a row, .* is busy .* is kept"):
        fetch(tmp_path / "xc", "Turdus merula")
    assert pd.read_csv(tmp_path / "xc.csv")["id"].tolist() == ["XC1"]
    assert len(read_failures(tmp_path / "xc")) == 5


def test_a_full_disk_ends_the_work_and_keeps_what_came(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        server.add(number, "Turdus merula", bytes([number]) * 3000)
    free_gb = iter([6.0, 6.0, 4.0])

    class Usage:
        @property
        def free(self) -> float:
            return next(free_gb) * 1e9

    monkeypatch.setattr("dawnchorus.downloads.disk_space.shutil.disk_usage", lambda _: Usage())
    with pytest.raises(DiskFullError, match=r"4\.00 GB are free, and 5 GB are to stay free"):
        fetch(tmp_path / "xc", "Turdus merula", leave_gb=5)
    assert pd.read_csv(tmp_path / "xc.csv")["id"].tolist() == ["XC1"]


def test_ctrl_c_keeps_what_came_and_the_answers(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "xc"
    for number in range(1, 4):
        server.add(number, "Turdus merula", bytes([number]) * 3000)
    fetched = recording_download.fetch_file

    def interrupted(service: Any, url: str, *rest: Any, **options: Any) -> int:
        if "/2/" in url:
            raise KeyboardInterrupt
        return fetched(service, url, *rest, **options)

    monkeypatch.setattr(recording_download, "fetch_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(folder, "Turdus merula")
    assert pd.read_csv(tmp_path / "xc.csv")["id"].tolist() == ["XC1"]
    monkeypatch.setattr(recording_download, "fetch_file", fetched)
    fetch(folder, "Turdus merula")
    assert pd.read_csv(tmp_path / "xc.csv")["id"].tolist() == ["XC1", "XC2", "XC3"]
    assert len(server.paths(API)) == 1, "the search was not made again"
    assert not (folder / ".answers").exists(), "the next one will be"


def test_answers_are_kept_without_the_key_for_a_week(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(1, "Turdus merula", b"x")
    for _ in range(2):
        assert ids(find("Turdus merula", answers=tmp_path)) == ["XC1"]
    assert len(server.asked) == 1
    (kept,) = tmp_path.iterdir()
    assert KEY.encode() not in kept.read_bytes() + gzip.decompress(kept.read_bytes())
    later_s = time.time() + 8 * 86_400
    monkeypatch.setattr(time, "time", lambda: later_s)
    find("Turdus merula", answers=tmp_path)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "absurd", [{"id": "²"}, {"id": None}, {"length": 5_000 * "9"}, {"also": 7}, {"lat": [1]}, {"file": 5}]
)
def test_one_absurd_entry_does_not_end_the_others(server: Any, absurd: dict[str, Any]) -> None:
    server.add(1, "Turdus merula", b"x", **absurd)
    server.add(2, "Turdus merula", b"y")
    assert "XC2" in ids(find("Turdus merula"))


def test_one_absurd_recording_does_not_end_the_others(server: Any, tmp_path: Path) -> None:
    for number in range(1, 4):
        server.add(number, "Turdus merula", b"x" * 50)
    server.script["/1/download"], server.script["/2/download"] = ["absurd"], ["html"]
    report = fetch(tmp_path / "xc", "Turdus merula")
    assert (report.fetched.total(), report.failed.total()) == (1, 2)
    assert [failure.path.name for failure in read_failures(tmp_path / "xc")] == ["XC1.mp3", "XC2.mp3"]


def test_an_answer_without_an_end_is_refused(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add(1, "Turdus merula", b"x")
    monkeypatch.setattr(http_service, "_LONGEST_ANSWER", 100)
    with pytest.raises(DownloadError, match="xeno-canto answers a search with more than 0 MB; ask for fewer"):
        find("Turdus merula")


def test_only_one_download_works_in_a_folder(server: Any, tmp_path: Path) -> None:
    server.add(1, "Turdus merula", b"x")
    (tmp_path / "xc").mkdir()
    with (
        locked(tmp_path / "xc" / recording_download.LOCK_NAME),
        pytest.raises(DownloadError, match="another download is at work here"),
    ):
        fetch(tmp_path / "xc", "Turdus merula")


def test_a_broken_transfer_that_never_ends_well_is_a_failure_of_that_recording(
    server: Any, tmp_path: Path
) -> None:
    server.add(1, "Turdus merula", b"x" * 50_000)
    server.add(2, "Turdus merula", b"y" * 50_000)
    server.ranges = False
    server.script["/1/download"] = ["half"] * 6
    report = fetch(tmp_path / "xc", "Turdus merula")
    assert (report.fetched.total(), report.failed.total()) == (1, 1)
    assert issubclass(ServiceDownError, DownloadError)
    assert "broke, 6 times" in report.failures[0].reason


@pytest.mark.parametrize("damage", [b"", b"no gzip", b"\x1f\x8b\x08\x00broken"])
def test_a_damaged_answer_that_was_kept_is_asked_for_again(
    server: Any, tmp_path: Path, damage: bytes
) -> None:
    server.add(1, "Turdus merula", b"x")
    answers = tmp_path / "answers"
    expected = find("Turdus merula", answers=answers)
    (kept,) = answers.iterdir()
    kept.write_bytes(damage)
    n_asked = len(server.asked)
    assert find("Turdus merula", answers=answers) == expected
    assert len(server.asked) == n_asked + 1


@pytest.mark.parametrize("filename", ["../victim.mp3", "{absolute}"])
def test_a_table_that_names_a_file_elsewhere_overwrites_nothing(
    server: Any, tmp_path: Path, filename: str
) -> None:
    folder, victim = tmp_path / "xc", tmp_path / "victim.mp3"
    server.add(1, "Parus caeruleus", b"p" * 3000)
    fetch(folder, "Parus caeruleus")
    victim.write_bytes(b"mine")
    table = tmp_path / "xc.csv"
    named = filename.format(absolute=victim)
    table.write_text(table.read_text().replace("Parus_caeruleus/XC1.mp3", named))
    with pytest.raises(UnsafePathError, match=r"xc\.csv names .* does not lie below"):
        fetch(folder, "Parus caeruleus")
    assert victim.read_bytes() == b"mine"
