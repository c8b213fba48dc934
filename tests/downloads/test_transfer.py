"""Fetching files from a service that breaks off, is busy, or sends something else."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.downloads import disk_space, http_service, inaturalist, retries, transfer
from dawnchorus.downloads.disk_space import DiskFullError
from dawnchorus.downloads.http_service import Service, connected
from dawnchorus.downloads.rate_limit import Allowance, RateLimit
from dawnchorus.downloads.retries import ServiceDownError
from dawnchorus.downloads.transfer import fetch_file
from dawnchorus.errors import DownloadError, MissingExtraError

_spec = importlib.util.spec_from_file_location(
    "recording_server", Path(__file__).with_name("recording_server.py")
)
recording_server = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(recording_server)  # type: ignore[union-attr]

SOUND = np.random.default_rng(0).bytes(200_001)
PATH = "/1/download"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)


@pytest.fixture
def server() -> Iterator[Any]:
    with recording_server.RecordingServer() as running:
        running.sounds[PATH] = (SOUND, "audio/mpeg")
        yield running


@pytest.fixture
def service() -> Iterator[Service]:
    with connected("xeno-canto", RateLimit()) as connection:
        yield connection


def ranges(server: Any) -> list[str | None]:
    return [asked.headers.get("Range") for asked in server.asked]


def test_a_file_comes_whole_and_under_its_own_name_only_then(
    server: Any, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "Turdus_merula" / "XC1.mp3"
    assert fetch_file(service, server.url + PATH, path) == len(SOUND)
    assert path.read_bytes() == SOUND
    assert list(path.parent.iterdir()) == [path]
    assert server.asked[0].headers["User-Agent"].startswith("dawnchorus/")


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_broken_transfer_goes_on_or_starts_anew(
    server: Any, service: Service, tmp_path: Path, has_ranges: bool
) -> None:
    server.ranges = has_ranges
    server.script[PATH] = ["half", "half", ""]
    path = tmp_path / "XC1.mp3"
    assert fetch_file(service, server.url + PATH, path) == len(SOUND)
    assert path.read_bytes() == SOUND
    first, second, third = ranges(server)
    came = [int(begin[len("bytes=") : -1]) for begin in (second, third) if begin]
    assert first is None
    half, most = len(SOUND) // 2, len(SOUND) * 3 // 4
    assert half - 8192 < came[0] <= half
    assert (most - 16_384 < came[1] <= most) if has_ranges else (came[1] == came[0])


def test_the_rest_of_another_version_is_not_appended(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.versions = True
    monkeypatch.setattr(retries, "TRIES", 1)
    server.script[PATH] = ["half"]
    path = tmp_path / "XC1.mp3"
    with pytest.raises(ServiceDownError, match="broke"):
        fetch_file(service, server.url + PATH, path)
    newer = bytes(len(SOUND))
    server.sounds[PATH] = (newer, "audio/mpeg")
    fetch_file(service, server.url + PATH, path)
    assert path.read_bytes() == newer
    assert list(tmp_path.iterdir()) == [path]


def test_the_rest_of_the_same_version_is(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.versions = True
    server.script[PATH] = ["half", ""]
    fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert (tmp_path / "XC1.mp3").read_bytes() == SOUND
    assert ranges(server)[1] is not None


def test_what_an_earlier_call_left_is_not_fetched_again(
    server: Any, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "XC1.mp3"
    (tmp_path / "XC1.mp3.part").write_bytes(SOUND[:150_000])
    fetch_file(service, server.url + PATH, path)
    assert path.read_bytes() == SOUND
    assert ranges(server) == ["bytes=150000-"]


def test_a_file_that_only_lacked_its_name_gets_it(server: Any, service: Service, tmp_path: Path) -> None:
    (tmp_path / "XC1.mp3.part").write_bytes(SOUND)
    fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert (tmp_path / "XC1.mp3").read_bytes() == SOUND
    assert ranges(server) == [f"bytes={len(SOUND)}-"]


@pytest.mark.parametrize("left", [SOUND + b"more", b"x" * 300_000])
def test_a_part_of_another_file_is_thrown_away(
    server: Any, service: Service, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "XC1.mp3.part").write_bytes(left)
    fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert (tmp_path / "XC1.mp3").read_bytes() == SOUND


def test_another_piece_than_the_one_asked_for_is_not_appended(
    server: Any, service: Service, tmp_path: Path
) -> None:
    (tmp_path / "XC1.mp3.part").write_bytes(SOUND[:1000])
    server.script[PATH] = ["piece"]
    fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert (tmp_path / "XC1.mp3").read_bytes() == SOUND
    assert ranges(server) == ["bytes=1000-", None]


def test_a_redirection_is_followed(server: Any, service: Service, tmp_path: Path) -> None:
    server.script["/old"] = ["to /1/download"]
    fetch_file(service, f"{server.url}/old", tmp_path / "XC1.mp3")
    assert (tmp_path / "XC1.mp3").read_bytes() == SOUND


def test_a_length_that_is_never_reached_is_told(server: Any, service: Service, tmp_path: Path) -> None:
    server.ranges = False
    server.script[PATH] = ["longer"] * 9
    with pytest.raises(ServiceDownError, match=r"/1/download: .*broke, 6 times in a row; 0.20 MB are kept"):
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert not (tmp_path / "XC1.mp3").exists()
    assert (tmp_path / "XC1.mp3.part").stat().st_size > len(SOUND) - 8192, "the next call may go on"


def test_an_end_that_no_library_notices_is_noticed(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from requests import Response

    blocks = Response.iter_content
    monkeypatch.setattr(Response, "iter_content", lambda self, n: list(blocks(self, n))[:2])
    server.ranges = False
    with pytest.raises(ServiceDownError, match="16384 of 200001 bytes came, 6 times"):
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("html", "/1/download: the service sends text/html, which is no sound"),
        ("text", "/1/download: the service sends text/plain, which is no sound"),
        ("empty", r"/1/download: empty \(0 bytes\)"),
        ("404", "/1/download: the service answers 404 Not Found"),
        ("403", "/1/download: the service answers 403 Forbidden"),
    ],
)
def test_what_is_no_sound_is_refused(
    server: Any, service: Service, tmp_path: Path, what: str, reason: str
) -> None:
    server.script[PATH] = [what]
    with pytest.raises(DownloadError, match=reason) as told:
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert not isinstance(told.value, ServiceDownError)
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 1, "there is no use in asking again"


def test_a_busy_service_is_asked_again_when_it_says(server: Any, service: Service, tmp_path: Path) -> None:
    server.script[PATH] = ["429 after 1", "500", "503", "gone"]
    fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert (tmp_path / "XC1.mp3").read_bytes() == SOUND
    times_s = [asked.at_s for asked in server.asked]
    assert len(times_s) == 5
    assert times_s[1] - times_s[0] >= 1.0
    assert times_s[4] - times_s[1] < 1.0


def test_waits_grow_and_end(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 2.0)
    monkeypatch.setattr(retries, "LONGEST_WAIT_S", 20.0)
    monkeypatch.setattr(time, "sleep", waits_s.append)
    server.script[PATH] = ["500", "503", "429 after 9", "gone", "502", "504"]
    with pytest.raises(ServiceDownError, match="xeno-canto: it is busy and answers 504, 6 times in a row"):
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert waits_s == [2, 4, 9, 16, 20]
    server.script[PATH] = ["429 after 3600"]
    with pytest.raises(ServiceDownError, match="answers 429, and asks to wait 60 minutes; run this again"):
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")


def test_a_service_that_is_not_there_is_told(service: Service, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/1/download"
        with pytest.raises(ServiceDownError, match="xeno-canto: it cannot be reached, for there is no c"):
            fetch_file(service, url, tmp_path / "XC1.mp3")


def test_a_service_that_falls_silent_is_told(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_service, "READ_S", 0.05)
    server.pause_s = 0.2
    with pytest.raises(ServiceDownError, match=r"/1/download: .*, 6 times"):
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")


def test_the_disk_is_not_filled(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_100_000)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match=r"5\.00 GB are free, and 5 GB are to stay free; make room"):
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3", leave_gb=5)
    assert list(tmp_path.iterdir()) == []
    fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3", leave_gb=4.9)


def test_the_disk_is_not_filled_by_a_file_without_a_length(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    first = [5_000_000_000]

    def shrinking(_: Path) -> Any:
        first[0] -= 100_000  # as what comes is written
        return usage._replace(free=first[0])

    monkeypatch.setattr(transfer, "_LOOK_EVERY", 50_000)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", shrinking)
    server.script[PATH] = ["unannounced"] * 2
    with pytest.raises(
        DownloadError, match=r"no announced length, and after 0\.\d+ MB of it .* to stay free"
    ) as told:
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3", leave_gb=4.99985)
    assert not isinstance(told.value, DiskFullError), "others may fit"
    assert list(tmp_path.iterdir()) == []
    fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3", leave_gb=1)
    assert (tmp_path / "XC1.mp3").read_bytes() == SOUND


@pytest.mark.parametrize("what", ["absurd", "unannounced"])
def test_a_file_without_an_end_is_refused(
    server: Any, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(transfer, "_LOOK_EVERY", 10_000)
    monkeypatch.setattr(transfer, "_LONGEST", 100_000)
    server.script[PATH] = [what]
    with pytest.raises(DownloadError, match=r"sends more than 0\.10 MB, and no recording is as long"):
        fetch_file(service, server.url + PATH, tmp_path / "XC1.mp3")
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", ["9" * 5_000, "-5", "²", "many"])
def test_a_length_that_is_none_counts_as_not_announced(length: str) -> None:
    assert transfer._whole(length) is None


def test_an_address_that_is_none_is_a_failure_of_its_recording(service: Service, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"xeno-canto sends an address .* be understood") as told:
        fetch_file(service, "https://:0:0/", tmp_path / "XC1.mp3")
    assert not isinstance(told.value, ServiceDownError)


def test_without_requests_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install -e '\.\[download\]'"),
        connected("xeno-canto", RateLimit()),
    ):
        pass


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_requests_are_a_second_apart() -> None:
    clock = Clock()
    allowance = Allowance(1, 1.0, clock=clock, sleep=clock.sleep)
    times_s = []
    for pause_s in (0, 0, 0.25, 7, 0):
        clock.sleep(pause_s)
        allowance.spend()
        times_s.append(clock.now_s)
    assert times_s == pytest.approx([0, 1, 2, 9, 10])


def test_no_hour_and_no_day_holds_more_than_inaturalist_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    rate_limit = inaturalist.inaturalist_rate_limit()
    for allowance in (*rate_limit.recordings, *rate_limit.n_bytes):
        monkeypatch.setattr(allowance, "_clock", clock)
        monkeypatch.setattr(allowance, "_sleep", clock.sleep)
        monkeypatch.setattr(allowance, "_seen", 0.0)
    times_s, sizes = [], []
    while clock.now_s < 2.5 * 86_400:
        for allowance in rate_limit.recordings:
            allowance.spend()
        times_s.append(clock.now_s)
        sizes.append(rng.exponential(3e6))
        for allowance in rate_limit.n_bytes:
            allowance.spend(sizes[-1])
    times, total = np.array(times_s), np.cumsum([0, *sizes])
    for window_s, limit in ((3600, 5e9), (86_400, 24e9)):
        last = np.searchsorted(times, times + window_s)
        most = (total[last] - total[:-1]).max()
        assert 0.8 * limit < most < limit
    assert np.diff(times).min() >= 0.999


def test_bytes_that_came_are_counted(server: Any, tmp_path: Path) -> None:
    clock = Clock()
    allowance = Allowance(1000, 0.01, clock=clock, sleep=clock.sleep)
    server.script[PATH] = ["half"]
    with connected("iNaturalist", RateLimit(n_bytes=[allowance])) as service:
        fetch_file(service, server.url + PATH, tmp_path / "iNat1_1.m4a")
    allowance.spend(0)
    assert clock.now_s == pytest.approx((len(SOUND) - 1000) * 0.01, rel=0.05)
