"""Recordings and outputs in object storage and on the web: the same tables, and every fault is listed."""

from __future__ import annotations

import hashlib
import shutil
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dawnchorus.audio.container import read_info
from dawnchorus.audio.decode import load_audio, read_crop
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.audio.recorder_times import recorder_time
from dawnchorus.audio.source import open_source, open_stored
from dawnchorus.audio.store_layout import StoreSettings
from dawnchorus.batch import journaled
from dawnchorus.batch.bulk import BulkSettings, predict_bulk
from dawnchorus.batch.journal import JOURNAL_NAME
from dawnchorus.batch.shard_join import join_predictions
from dawnchorus.batch.shard_predictions import predict_shard
from dawnchorus.cli import app
from dawnchorus.errors import AudioError, ConfigError, DataError, MissingExtraError, UnsafePathError
from dawnchorus.files import read_failures, storage
from dawnchorus.files.paths import inside
from dawnchorus.files.shards import Shard
from dawnchorus.files.storage import RemotePath, as_path, given_path
from dawnchorus.formats import FORMATS
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.review.reviewing import open_review

RATE = 16_000
NAMES = ("a_20240501_033000.wav", "deep/b.flac", "deep/c.ogg", "d.mp3")
SETTINGS = BulkSettings(DetectionSettings(np.full(3, 0.1, np.float32)), formats=tuple(FORMATS))


@pytest.fixture(autouse=True)
def _quick_and_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wait little between attempts, and keep nothing of other tests."""
    monkeypatch.setattr(storage, "_PAUSE_S", 0.01)
    monkeypatch.setenv("DAWNCHORUS_CACHE", str(tmp_path / "cache"))
    storage._block.cache_clear()
    storage._recent_info.cache_clear()


@pytest.fixture
def folder(data_factory: Any) -> Path:
    """Four recordings of different kinds."""
    for number, name in enumerate(NAMES):
        data_factory.tone(name, 3.3 + 2 * number, 700 + 90 * number, sample_rate=RATE)
    return Path(data_factory.root)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder by ranges; ``faults`` holds how often each path fails, and how."""

    protocol_version = "HTTP/1.1"
    faults: Counter[tuple[str, str]]
    n_requests: Counter[str]

    def _fails(self) -> bool:
        self.n_requests[self.command] += 1
        for kind in ("503", "cut", "403", "404"):
            key = (self.path.lstrip("/"), kind)
            if self.faults[key] and (kind != "cut" or self.command == "GET"):
                self.faults[key] -= 1
                if kind == "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000000")
                    self.end_headers()
                    self.wfile.write(b"RIFF")
                    self.close_connection = True
                else:
                    self.send_error(int(kind))
                return True
        return False

    def do_HEAD(self) -> None:
        if not self._fails():
            super().do_HEAD()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        if self._fails():
            return
        if asked is None:
            super().do_GET()
            return
        content = Path(self.translate_path(self.path)).read_bytes()
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


class Web:
    """A server of a folder."""

    def __init__(self, server: ThreadingHTTPServer, handler: type[Handler]) -> None:
        self.address = f"http://127.0.0.1:{server.server_port}"
        self.faults, self.n_requests = handler.faults, handler.n_requests


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    pytest.importorskip("aiohttp", reason="aiohttp is absent: pip install -e '.[storage]'")
    handler = type("OneHandler", (Handler,), {"faults": Counter(), "n_requests": Counter()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Web(server, handler)
    server.shutdown()
    server.server_close()


@pytest.fixture
def bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The recordings in a bucket of a local S3."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is absent: pip install -e '.[storage]'")
    server_of_moto = pytest.importorskip("moto.server", reason="moto is absent: pip install -e '.[test]'")
    server = server_of_moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()  # it keeps the buckets of other tests
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "owl",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.mkdir("season")
    for name in NAMES:
        system.put_file(str(folder / name), f"season/card/{name}")
    yield "s3://season/card"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def tables_in(out: Path) -> dict[str, str]:
    """Return a digest of every table but those that name the folder of the recordings."""
    files = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if not name.startswith((JOURNAL_NAME, "predictions.json"))
    }


def test_addresses_are_paths() -> None:
    path = given_path(Path("s3://season/card")) / "deep" / "b.flac"
    assert isinstance(path, RemotePath)
    assert (str(path), path.suffix, str(path.parent)) == (
        "s3://season/card/deep/b.flac",
        ".flac",
        str(path)[:-7],
    )
    assert str(given_path(Path(path))) == str(path)
    assert not isinstance(as_path("s3/season"), RemotePath)


def test_recordings_of_the_web_are_those_of_the_disk(folder: Path, web: Web) -> None:
    found = find_recordings([web.address])
    assert [each.name for each in found.recordings] == sorted(NAMES)
    for name in NAMES:
        remote = as_path(f"{web.address}/{name}")
        found_there, expected = (load_audio(path, sample_rate=RATE) for path in (remote, folder / name))
        np.testing.assert_array_equal(found_there, expected)


def test_crops_near_one_another_are_one_request(folder: Path, web: Web) -> None:
    remote = as_path(f"{web.address}/{NAMES[0]}")
    for start in range(0, 30_000, 3_000):
        expected = read_crop(folder / NAMES[0], start, 1_000, sample_rate=RATE)
        np.testing.assert_array_equal(read_crop(remote, start, 1_000, sample_rate=RATE), expected)
    assert web.n_requests["GET"] == 1


def test_stores_are_read_by_ranges(folder: Path, web: Web) -> None:
    precompute_recordings(folder, folder / "features", PrecomputeSettings(StoreSettings(RATE)))
    name = f"features/{NAMES[0]}.hdf5"
    local, remote = open_stored(folder / name), open_stored(as_path(f"{web.address}/{name}"))
    np.testing.assert_array_equal(remote.read(17_000, 9_000), local.read(17_000, 9_000))
    gone, stored = as_path(f"{web.address}/gone.wav"), as_path(f"{web.address}/{name}")
    assert open_source(gone, stored=stored, sample_rate=RATE).n_samples == local.n_samples


def test_stores_are_made_of_recordings_of_the_web(folder: Path, web: Web, tmp_path: Path) -> None:
    settings = PrecomputeSettings(StoreSettings(RATE))
    report = precompute_recordings(Path(web.address), tmp_path / "features", settings)
    assert (report.n_done, report.failures) == (len(NAMES), [])
    for name in NAMES:
        stored = open_stored(tmp_path / "features" / f"{name}.hdf5")
        expected = load_audio(folder / name, sample_rate=RATE)
        np.testing.assert_allclose(stored.read(0, len(expected)), expected, atol=1e-4)
    assert precompute_recordings(Path(web.address), tmp_path / "features", settings).n_skipped == len(NAMES)


@pytest.mark.parametrize("kind", ["503", "cut"])
def test_transient_faults_are_tried_again(
    folder: Path, web: Web, tmp_path: Path, card: Any, stub: Any, kind: str
) -> None:
    found = find_recordings([f"{web.address}/{NAMES[0]}"])
    web.faults[NAMES[0], kind] = 3
    made = predict_bulk(stub(card()), found, tmp_path / "out", SETTINGS)
    assert (made.n_recordings, made.failures) == (1, [])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("503", "cannot be read"), ("403", "cannot be read"), ("404", "No such file or directory")],
)
def test_lasting_faults_are_listed_and_the_others_done(
    folder: Path, web: Web, tmp_path: Path, card: Any, stub: Any, kind: str, reason: str
) -> None:
    found = find_recordings([web.address])
    web.faults["d.mp3", kind] = 1_000
    made = predict_bulk(stub(card()), found, tmp_path / "out", SETTINGS)
    (failure,) = read_failures(tmp_path / "out")
    assert str(failure.path) == f"{web.address}/d.mp3"
    assert reason in failure.reason
    assert made.n_recordings == len(NAMES) - 1


def test_a_fault_while_sound_is_read_is_no_shorter_recording(
    folder: Path, web: Web, tmp_path: Path, card: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_BLOCK_BYTES", 1 << 15)
    whole, n_calls = RemotePath.read_range, Counter[str]()

    def breaks_off(path: RemotePath, start: int, stop: int) -> bytes:
        n_calls[str(path)] += 1
        if start > 1 << 16 and path.name == NAMES[0]:
            raise OSError(5, "connection reset", str(path))
        return whole(path, start, stop)

    monkeypatch.setattr(RemotePath, "read_range", breaks_off)
    made = predict_bulk(stub(card()), find_recordings([web.address]), tmp_path / "out", SETTINGS)
    assert [failure.path.name for failure in made.failures] == [NAMES[0]]
    assert "connection reset" in made.failures[0].reason
    assert made.n_recordings == len(NAMES) - 1


def test_tables_of_a_bucket_are_those_of_the_disk(
    folder: Path, bucket: str, tmp_path: Path, card: Any, stub: Any
) -> None:
    predict_bulk(stub(card()), find_recordings([str(folder)]), tmp_path / "whole", SETTINGS)
    found = find_recordings([bucket])
    assert [each.name for each in found.recordings] == sorted(NAMES)
    made = predict_bulk(stub(card()), found, tmp_path / "out", SETTINGS)
    assert made.failures == []
    assert tables_in(tmp_path / "out").keys() == tables_in(tmp_path / "whole").keys()
    same = ("detections.csv", "windows.parquet")
    assert {name: tables_in(tmp_path / "out")[name] for name in same} == {
        name: tables_in(tmp_path / "whole")[name] for name in same
    }
    engine = stub(card())
    assert predict_bulk(engine, found, tmp_path / "out", SETTINGS).n_new == 0
    assert engine.n_clips == 0


def test_a_job_goes_on_from_what_lies_in_a_bucket(
    bucket: str, tmp_path: Path, card: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, out = find_recordings([bucket]), as_path("s3://season/tables")
    predict_bulk(stub(card()), find_recordings([bucket]), tmp_path / "whole", SETTINGS)

    class BreaksError(Exception):
        pass

    def broken(*_: Any, **__: Any) -> Any:
        raise BreaksError

    with monkeypatch.context() as patch:
        patch.setattr("dawnchorus.batch.bulk_output.write_failures", broken)
        with pytest.raises(BreaksError):
            predict_bulk(stub(card()), found, out, SETTINGS)
    monkeypatch.setenv("DAWNCHORUS_CACHE", str(tmp_path / "another machine"))
    engine = stub(card())
    made = predict_bulk(engine, found, out, SETTINGS)
    assert (made.n_new, engine.n_clips) == (0, 0)
    assert str(made.paths["csv"]) == "s3://season/tables/detections.csv"
    for name in ("detections.csv", "windows.parquet"):
        with (out / name).open("rb") as file:
            assert file.read() == (tmp_path / "whole" / name).read_bytes()


def test_shards_of_a_bucket_are_joined_in_it(bucket: str, tmp_path: Path, card: Any, stub: Any) -> None:
    found, out = find_recordings([bucket]), as_path("s3://season/tables")
    predict_bulk(stub(card()), found, tmp_path / "whole", SETTINGS)
    for number in (2, 1):
        predict_shard(stub(card()), found, out, SETTINGS, Shard(number, 2))
    join_predictions(out)
    for name in ("detections.csv", "windows.parquet"):
        with (out / name).open("rb") as file:
            assert file.read() == (tmp_path / "whole" / name).read_bytes()


def test_an_object_that_is_gone_or_changed_is_listed(
    bucket: str, folder: Path, tmp_path: Path, card: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_recordings([bucket])
    as_path(f"{bucket}/d.mp3").unlink()
    original = journaled.JournaledInference._has_changed

    def changed_meanwhile(work: Any, recording: Any) -> bool:
        if recording.name == "deep/c.ogg":
            recording.path.put(folder / "deep" / "b.flac")
        return original(work, recording)

    monkeypatch.setattr(journaled.JournaledInference, "_has_changed", changed_meanwhile)
    made = predict_bulk(stub(card()), found, tmp_path / "out", SETTINGS)
    reasons = {failure.path.name: failure.reason for failure in made.failures}
    assert "cannot be read; No such file or directory" in reasons["d.mp3"]
    assert "changed while it was predicted; run the command again" in reasons["c.ogg"]
    assert made.n_recordings == len(NAMES) - 2


def test_wrong_credentials_end_with_one_sentence_without_them(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3fs = pytest.importorskip("s3fs", reason="s3fs is absent: pip install -e '.[storage]'")
    for name, value in {
        "AWS_ENDPOINT_URL": web.address,
        "AWS_ACCESS_KEY_ID": "owl",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(Counter, "__missing__", lambda counter, key: 1_000 if key[1] == "403" else 0)
    with pytest.raises(DataError, match="cannot be listed") as raised:
        find_recordings(["s3://season/card"])
    assert "secret" not in str(raised.value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    "address",
    [
        "https://owl:hidden@songs.org/a.wav",
        "HTTPS://owl:hidden@songs.org/a.wav",
        "https:///owl:hidden@songs.org/a.wav",
        "https://hidden@songs.org/a.wav",
        "https://owl%3Ahidden@songs.org/a.wav",
        "https://owl:hid/hidden@songs.org/a.wav",
        "https://owl:1/hidden@songs.org/a.wav",
        "https://[hidden/a.wav",
        "https://songs.org/a.wav#token=hidden",
        "https://songs.org/a.wav;token=hidden",
        "s3://k:hidden@b/a.wav",
        "s3://KEY:SE/hidden@b",
        "S3://k%3Ahidden@b/a.wav",
        "gs://hidden@b/a.wav",
        "az://account:hidden@b/a.wav",
        *(
            f"https://s3.org/a.wav?{query}"
            for query in (
                "x=1&X-Amz-Signature=hidden",
                "X-Amz-Credential=hidden",
                "api_key=hidden",
                "access_key=hidden",
                "password=hidden",
                "auth=hidden",
                "client_secret=hidden",
                "a=1;sig=hidden",
                "versionId=1;sig=hidden",
                "%73ig=hidden",
                "hidden",
            )
        ),
    ],
)
def test_addresses_with_credentials_are_refused_without_showing_them(address: str) -> None:
    for refused in (lambda: find_recordings([address]), lambda: given_path(Path(address))):
        with pytest.raises(ConfigError, match="the address holds a password or a signature") as raised:
            refused()
        assert "hid" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://songs.org:8000/site 1/a.wav",
        "https://songs.org/a@b.wav?versionId=3f9a",
        "s3://arn:aws:s3:us-west-2:1:accesspoint/a.wav",
        "abfs://container@account.dfs.core.windows.net/a.wav",
    ],
)
def test_addresses_without_credentials_are_taken(address: str) -> None:
    assert str(as_path(address)) == address
    assert str(given_path(Path(address))) == address


def test_a_scheme_may_be_in_capitals() -> None:
    assert as_path("S3://season/A.wav") == as_path("s3://season/A.wav")


def test_the_folder_above_addresses_is_one() -> None:
    names = ["s3://season/card/a/1.wav", "s3://season/card/b/2.wav"]
    found = find_recordings(["-"], names=names)
    assert isinstance(found.root, RemotePath)
    assert str(found.root) == "s3://season/card"


@pytest.mark.parametrize("name", ["http://h/x.wav", "http:/h/x.wav", "S3://b/x.wav"])
def test_a_name_is_no_address(name: str) -> None:
    assert not isinstance(as_path(Path() / name), RemotePath)
    with pytest.raises(UnsafePathError, match="does not lie below"):
        inside(Path(), name, named_in="detections.csv")


@pytest.mark.parametrize("with_audio", [True, False])
@pytest.mark.parametrize("listed_in", ["detections.csv", "effort.csv"])
def test_names_in_tables_do_not_reach_the_network(
    folder: Path, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_audio: bool, listed_in: str
) -> None:
    name = f"{web.address}/{NAMES[0]}"
    there = tmp_path / "there"
    (there / "tables").mkdir(parents=True)
    monkeypatch.chdir(there)
    shutil.copy(folder / NAMES[0], "night.wav")
    tables = Path("tables")
    rows = f"filename,start_s,end_s,label,probability\n{name},0.0,1.0,owl,0.9\n"
    (tables / "detections.csv").write_text(rows)
    if listed_in == "effort.csv":
        (tables / "effort.csv").write_text(f"filename,start,duration_s,failed\n{name},,3.3,\n")
    (tables / "predictions.json").write_text('{"made": {}, "folder of recordings": "."}')
    audio = ["--audio", "."] if with_audio else []
    run = CliRunner().invoke
    asked = {}
    for arguments in (
        ["segments", "tables", ".", "--out", "clips"],
        ["report", "tables", "--out", "page", *audio],
        *(["convert", "tables", "--to", to, "--out", to, *audio] for to in ("raven", "soundevent")),
    ):
        result = run(app, arguments)
        assert "Usage:" not in result.output
        asked[" ".join(arguments)] = web.n_requests.total()
    assert asked == dict.fromkeys(asked, 0)
    with open_review(tables, ".") as review, pytest.raises(UnsafePathError):
        review.excerpt(int(review.pool.index[0]))
    for read in (read_info, recorder_time):
        with suppress(AudioError):
            read(Path() / name)
    assert web.n_requests.total() == 0


def test_what_must_be_on_this_machine_says_so(folder: Path) -> None:
    with pytest.raises(DataError, match="s3://season/features: stores are written to a folder of this"):
        precompute_recordings(folder, Path("s3://season/features"))
    with pytest.raises(ConfigError, match="the table is a file of this machine"):
        LabellingSettings(Path("s3://season/round_1.csv"))
    with pytest.raises(DataError, match="partly in object storage and partly on this machine"):
        find_recordings(["-"], names=["s3://season/a.wav", str(folder / "a.wav")])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match="gs:// needs gcsfs, which is not installed"):
        storage.file_system("gs")
