"""Transfers that break, stall, or bring something else; Kaggle's real client against a server here."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.competition.kaggle import kaggle_files
from dawnchorus.downloads import retries

from .kaggle_server import (
    COMPETITION_FILES,
    Fault,
    KaggleServer,
    contents,
    download,
    failure,
    left_over,
    noise,
    zipped,
)

# Interruptions.


def test_a_broken_transfer_goes_on_by_range(kaggle: KaggleServer, tmp_path: Path) -> None:
    # The first answer of each try is only looked at; the second is the transfer.
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=30_000), Fault(), Fault(cut_after=20_000)])
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES
    assert [r.start for r in kaggle.asked("storage") if r.start] == [30_000, 50_000]


def test_breaks_do_not_count_as_long_as_bytes_come(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=5_000)] * (2 * retries.TRIES))
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES


def test_a_stalled_transfer_goes_on(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_files, "SILENT_FOR_S", 0.2)
    kaggle.storage_faults.extend([Fault(), Fault(block_bytes=25_000, pause_s=1.0)])
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES
    assert [r.start for r in kaggle.asked("storage") if r.start] == [25_000]


def test_a_slow_transfer_lasts_as_long_as_it_needs(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_files, "SILENT_FOR_S", 0.3)
    kaggle.storage_faults.extend([Fault(), Fault(block_bytes=10_000, pause_s=0.1)])
    started = time.monotonic()
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert time.monotonic() - started > 0.6
    assert len(kaggle.asked("storage")) == 2


def test_an_expired_address_is_asked_for_anew(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.storage_faults.extend(
        [Fault(), Fault(cut_after=30_000), Fault(status=403), Fault(), Fault(status=400)]
    )
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES
    assert len(kaggle.asked("api")) == 4


def test_a_transfer_that_breaks_every_time_is_given_up_and_goes_on_in_the_next_run(
    kaggle: KaggleServer, tmp_path: Path
) -> None:
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=40_000)])
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=0)] * retries.TRIES)
    told = failure(tmp_path, "competition")
    assert "the connection failed or broke" in told
    assert "6 times in a row; 0.04 MB are kept; run this again later" in told
    assert left_over(tmp_path) == ["birdclef-2025.zip.json", "birdclef-2025.zip.partial"]
    kaggle.requests.clear()
    kaggle.storage_faults.clear()
    download(tmp_path, "competition")
    assert [request.start for request in kaggle.asked("storage")] == [None, 40_000]
    assert contents(tmp_path) == COMPETITION_FILES


def test_what_came_of_an_older_version_is_not_continued(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=40_000)])
    kaggle.storage_faults.extend([Fault(status=503)] * retries.TRIES)
    assert "HTTP 503" in failure(tmp_path, "competition")
    kaggle.storage_faults.clear()
    newer = {**COMPETITION_FILES, "train.csv": b"another table"}
    kaggle.archives["birdclef-2025"] = zipped(newer)
    kaggle.requests.clear()
    download(tmp_path, "competition")
    assert [request.start for request in kaggle.asked("storage")] == [None, None]
    assert contents(tmp_path) == newer


def test_a_version_that_changes_between_asking_and_reading_is_seen(
    kaggle: KaggleServer, tmp_path: Path
) -> None:
    kaggle.storage_faults.extend([Fault(headers={"ETag": '"older"'})])
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert len(kaggle.asked("api")) == 2


def test_a_storage_without_ranges_begins_anew(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.knows_ranges = False
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=30_000)])
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES


def test_another_range_than_asked_for_is_not_taken(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=30_000)])
    wrong = Fault(headers={"Content-Range": "bytes 7-8/9"})
    kaggle.storage_faults.extend([Fault(), wrong] * retries.TRIES)
    assert "sends another range than it was asked for" in failure(tmp_path, "competition")


def test_an_archive_of_unknown_size_is_read_to_its_end(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.names_length = False
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES


def test_kaggle_may_send_an_archive_itself(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.redirects = False
    kaggle.storage_faults.extend([Fault(), Fault(cut_after=30_000)])
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES
    assert [request.start for request in kaggle.asked("api")] == [None, None, None, 30_000]


def test_a_busy_service_is_asked_again_after_the_wait_it_wants(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", waits.append)
    future = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    kaggle.api_faults.extend(
        [
            Fault(status=429, headers={"Retry-After": "7"}),
            Fault(status=500),
            Fault(status=429, headers={"Retry-After": future}),
            Fault(status=503, headers={"Retry-After": "soon"}),
        ]
    )
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    # The server's own pauses, of 0 s, are seen too.
    assert [wait for wait in waits if wait] == [7, 0.002, pytest.approx(29, abs=2), 0.008]


def test_a_service_that_stays_busy_is_given_up(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.api_faults.extend([Fault(status=429)] * retries.TRIES)
    told = failure(tmp_path, "competition")
    assert told == (
        "the competition birdclef-2025: Kaggle answers HTTP 429, 6 times in a row; "
        "run this again later: it goes on where it stopped"
    )
    assert len(kaggle.asked("api")) == retries.TRIES


def test_a_wait_of_an_hour_is_told_and_not_waited_for(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.api_faults.append(Fault(status=429, headers={"Retry-After": "3600"}))
    assert "HTTP 429, and asks to wait 60 minutes; run this again then" in failure(tmp_path, "competition")


def test_an_answer_that_cannot_be_read_is_tried_again(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.api_faults.append(Fault(status=200, headers={"Content-Type": "application/json"}, body=b"<html>"))
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"


def test_a_service_that_cannot_be_reached_is_told(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.storage_url = "http://localhost:1"
    assert "the connection failed or broke (ConnectionError), 6 times in a row" in failure(
        tmp_path, "competition"
    )


DRIVER = """
import sys
from pathlib import Path
from kagglesdk import kaggle_env
from dawnchorus.competition.kaggle.competition_data import download_parts
from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv[1]
for outcome in download_parts(COMPETITIONS["birdclef-2025"], Path(sys.argv[2]), only=["competition"]):
    print(outcome.state)
"""


def test_a_download_killed_in_mid_transfer_goes_on(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.archives["birdclef-2025"] = zipped({"train_audio/a.ogg": noise(8_000_000)})
    kaggle.storage_faults.extend([Fault(), Fault(block_bytes=400_000, pause_s=0.1)])
    partial = tmp_path / ".downloads" / "birdclef-2025.zip.partial"
    command = [sys.executable, "-c", DRIVER, kaggle.url, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not (partial.is_file() and partial.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    there = partial.stat().st_size
    assert 0 < there < 8_000_000
    kaggle.requests.clear()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "fetched\n"
    assert [request.start for request in kaggle.asked("storage")] == [None, there]
    assert contents(tmp_path) == {"train_audio/a.ogg": noise(8_000_000)}
    assert left_over(tmp_path) == []


def test_an_unpacking_that_stopped_goes_on_without_kaggle(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("dawnchorus.competition.kaggle.extraction._write", full)
        told = failure(tmp_path, "competition")
    assert re.search(rf"{tmp_path}: cannot be written: No space left .* MB are free\); make room", told)
    kaggle.requests.clear()
    download(tmp_path, "competition")
    assert kaggle.asked("api") == []
    assert contents(tmp_path) == COMPETITION_FILES


# What Kaggle sends is not what it says.


def test_a_wrong_checksum_is_seen_and_what_came_removed(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.wrong_md5 = True
    assert "was announced; it is removed: run this again" in failure(tmp_path, "competition")
    assert left_over(tmp_path) == []
    kaggle.wrong_md5 = False
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"


@pytest.mark.parametrize("is_wrong", [False, True])
def test_content_md5_counts_where_it_is_sent(kaggle: KaggleServer, tmp_path: Path, is_wrong: bool) -> None:
    kaggle.wrong_md5 = is_wrong
    md5 = kaggle.md5(kaggle.archives["birdclef-2025"])
    kaggle.extra_headers = {"x-goog-hash": "", "Content-MD5": md5}
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == ("failed" if is_wrong else "fetched")


def test_an_archive_without_checksum_is_checked_by_its_files(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.extra_headers = {"x-goog-hash": ""}
    broken = bytearray(kaggle.archives["birdclef-2025"])
    broken[60_000] ^= 0xFF
    kaggle.archives["birdclef-2025"] = bytes(broken)
    assert "its archive cannot be unpacked" in failure(tmp_path, "competition")
    assert left_over(tmp_path) == []


def test_more_bytes_than_announced_are_seen(kaggle: KaggleServer, tmp_path: Path) -> None:
    length = len(kaggle.archives["birdclef-2025"])
    kaggle.storage_faults.append(Fault(headers={"Content-Length": str(length - 10)}))
    assert "more than the" in failure(tmp_path, "competition")
    assert left_over(tmp_path) == []


def test_what_is_no_archive_is_not_kept(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.archives["birdclef-2025"] = b"<html>Please sign in</html>"
    assert "File is not a zip file" in failure(tmp_path, "competition")
    assert left_over(tmp_path) == []


def test_a_file_that_would_leave_the_folder_is_refused(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.archives["birdclef-2025"] = zipped({"train.csv": b"fine", "../outside.csv": b"evil"})
    out = tmp_path / "data"
    assert "holds '../outside.csv', which would lie outside" in failure(out, "competition")
    assert contents(out) == {}
    assert not (tmp_path / "outside.csv").exists()
