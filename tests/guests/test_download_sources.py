"""A download source of a foreign package, asked over HTTP, from the command line and from Python."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from dawnchorus.config.import_paths import imported
from dawnchorus.config.registry import DOWNLOAD_SOURCES
from dawnchorus.downloads.catalogue_numbers import catalogue_numbers
from dawnchorus.downloads.download_source import download_recordings, source_of
from dawnchorus.errors import ConfigError, DownloadError
from dawnchorus.recordings.recordings_table import load_recordings

OWLS = """
from collections import Counter
from dawnchorus.downloads.rate_limit import RateLimit
from dawnchorus.downloads.recording_catalogue import Found, CatalogueRecording
from dawnchorus.downloads.download_source import DownloadSource

class Owls(DownloadSource):
    name = "Owl Archive"
    catalogue_number = r"OWL[0-9]+"

    def __init__(self, url, beginning="OWL"):
        self.url, self.beginning = url, beginning

    def rate_limit(self):
        return RateLimit()

    def find(self, service, species):
        found = Found([], Counter(), [])
        for asked in species.asked:
            for entry in service.search(f"{self.url}/search", {"species": asked.name})["recordings"]:
                found.recordings.append(
                    CatalogueRecording(
                        id=f"{self.beginning}{entry['number']}",
                        file_url=f"{self.url}/sounds/{entry['number']}",
                        suffix=".wav",
                        primary_label=species.label(asked.name, asked),
                        scientific_name=asked.name,
                        license=entry["license"],
                        source=self.name,
                    )
                )
        return found
"""


@pytest.fixture
def archive() -> Iterator[str]:
    """The URL of an archive with three recordings of Strix aluco, one of them without a free licence."""
    pytest.importorskip("requests")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body, kind = f"sound {parts.path}".encode() * 100, "audio/wav"
            if parts.path == "/search":
                licences = {"Strix aluco": ["cc-by 4.0", "cc0", "all rights reserved"]}
                asked = licences.get(parse_qs(parts.query)["species"][0], [])
                entries = [{"number": n, "license": licence} for n, licence in enumerate(asked, start=101)]
                body, kind = json.dumps({"recordings": entries}).encode(), "application/json"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_command_fetches_from_a_source_by_its_import_path(
    guest_package: Callable[[str, str], Path],
    dawnchorus_command: Callable[..., str],
    archive: str,
    tmp_path: Path,
) -> None:
    guest_package("archives.by_command", OWLS)
    asked = ["--source", "archives.by_command:Owls", "--option", f"url={archive}", "--leave-gb", "0"]
    asked += ["--species", "Strix aluco", "--license", "cc*"]
    command = ["download", "recordings", *asked]
    assert "2 recordings of 1 species; none fetched" in dawnchorus_command(*command, "--dry-run")
    told = dawnchorus_command(*command)
    assert told.splitlines()[-1] == (
        "2 fetched (0.00 GB), 0 there, 0 failed; the table is data/owl_archive.csv"
    )
    table = pd.read_csv(tmp_path / "data" / "owl_archive.csv")
    assert table["filename"].tolist() == ["Strix_aluco/OWL101.wav", "Strix_aluco/OWL102.wav"]
    assert table["primary_label"].tolist() == ["Strix_aluco"] * 2
    for name in table["filename"]:
        assert (tmp_path / "data" / "owl_archive" / name).read_bytes().startswith(b"sound /sounds/10")
    assert "0 fetched (0.00 GB), 2 there" in dawnchorus_command(*command)


def test_python_fetches_from_a_source(
    guest_package: Callable[[str, str], Path], archive: str, tmp_path: Path
) -> None:
    guest_package("archives.in_python", OWLS)
    source = source_of("archives.in_python:Owls", {"url": archive})
    report = download_recordings(source, ["Strix aluco"], tmp_path / "owls", at_most=1, leave_gb=0)
    assert report.fetched == {"Strix aluco": 1}
    assert (tmp_path / "owls" / "Strix_aluco" / "OWL101.wav").is_file()
    assert pd.read_csv(tmp_path / "owls.csv")["id"].tolist() == ["OWL101"]
    with pytest.raises(DownloadError, match="Owl Archive has no such recordings"):
        download_recordings(source, ["Strix nebulosa"], tmp_path / "owls", leave_gb=0)


def test_an_id_that_leads_out_of_the_folder_stays_in_it(
    guest_package: Callable[[str, str], Path], archive: str, tmp_path: Path
) -> None:
    guest_package("archives.leading_out", OWLS)
    for beginning in ("../../OWL", "..\\\\OWL", "."):
        source = source_of("archives.leading_out:Owls", {"url": archive, "beginning": beginning})
        download_recordings(source, ["Strix aluco"], tmp_path / "owls", leave_gb=0)
    found = list(tmp_path.rglob("*.wav"))
    assert len(found) == 9
    assert {file.parent for file in found} == {tmp_path / "owls" / "Strix_aluco"}
    assert not any(file.name.startswith(".") for file in found)


def test_copies_are_recognized_by_the_numbers_of_registered_sources(
    guest_package: Callable[[str, str], Path], tmp_path: Path, data_factory_in: type
) -> None:
    names = ["strix/OWL101.wav", "strix/OWL102 copy.wav", "other/XC12345.ogg", "other/XC12.ogg"]
    assert catalogue_numbers(names) == ["", "", "XC12345", ""]
    places = []
    for folder in ("mine", "theirs"):
        factory = data_factory_in(tmp_path / folder)
        factory.tone("strix/OWL101.wav", 1.0)
        places.append({"audio_dir": tmp_path / folder, "recordings": None})
    assert len(load_recordings(places).table) == 2
    guest_package("archives.registered", OWLS)
    DOWNLOAD_SOURCES.register("owls", imported("archives.registered:Owls", where="a test"))
    assert catalogue_numbers(names) == ["OWL101", "OWL102", "XC12345", ""]
    assert len(load_recordings(places).table) == 1


def test_the_numbers_of_the_archives_that_come_with_dawnchorus_are_those_of_before() -> None:
    before = re.compile(r"(?:XC|iNat|CSA|ML)\d{3,}(?:_\d+)?(?!\d)")
    ends = ("1.ogg", "12", "123.ogg", "123_4.ogg", "1234_", "123_x", "0123456789a", "123_45_6", " 123")
    names = [f"{archive}{end}" for archive in ("XC", "iNat", "CSA", "ML", "xc", "OWL") for end in ends]
    assert catalogue_numbers(names) == [match[0] if (match := before.match(n)) else "" for n in names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xeno-cant"], "did you mean xeno-canto?"),
        (["pathlib:Path"], "is no subclass of dawnchorus.downloads.download_source.DownloadSource"),
        (["archives.wrongly:Owls"], "cannot be made: .*missing 1 required positional argument: 'url'"),
        (["archives.wrongly:Owls", "--option", "url"], "--option url sets nothing; write NAME=VALUE"),
    ],
)
def test_a_wrong_source_is_one_sentence(
    guest_package: Callable[[str, str], Path],
    dawnchorus_command: Callable[..., str],
    arguments: list[str],
    message: str,
) -> None:
    guest_package("archives.wrongly", OWLS)
    told = dawnchorus_command("download", "recordings", "--source", *arguments, code=1)
    assert re.search(message.replace("?", "[?]"), told)
    assert "Traceback" not in told


def test_a_catalogue_number_that_is_none_is_told(guest_package: Callable[[str, str], Path]) -> None:
    guest_package("archives.unnumbered", OWLS.replace('r"OWL[0-9]+"', '"OWL("'))
    DOWNLOAD_SOURCES.register("owls", imported("archives.unnumbered:Owls", where="a test"))
    with pytest.raises(ConfigError, match=r"'owls' has the catalogue_number 'OWL\(', which is no regular"):
        catalogue_numbers(["OWL1.wav"])
