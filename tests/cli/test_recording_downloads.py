"""``dawnchorus download xeno-canto`` and ``inaturalist``."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from dawnchorus.cli import recording_downloads
from dawnchorus.downloads import inaturalist, retries, xeno_canto
from dawnchorus.errors import DownloadError
from dawnchorus.files import read_failures

SERVER = Path(__file__).parents[1] / "downloads" / "recording_server.py"
_spec = importlib.util.spec_from_file_location("recording_server", SERVER)
recording_server = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(recording_server)  # type: ignore[union-attr]

app = typer.Typer()
app.command("xeno-canto")(recording_downloads.xeno_canto)
app.command("inaturalist")(recording_downloads.inaturalist)

PROGRAM = """
import logging, sys
from dawnchorus.cli import recording_downloads
from dawnchorus.downloads import xeno_canto
from dawnchorus.downloads import retries
import typer
logging.basicConfig(level=logging.DEBUG)
retries.FIRST_WAIT_S, xeno_canto.SECONDS_A_REQUEST = 0.001, 0
xeno_canto.API_URL = sys.argv.pop(1) + "/api/3/recordings"
typer.run(recording_downloads.xeno_canto)
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(retries, "FIRST_WAIT_S", 0.001)
    for module in (xeno_canto, inaturalist):
        monkeypatch.setattr(module, "SECONDS_A_REQUEST", 0)
    monkeypatch.setenv("XENO_CANTO_KEY", recording_server.KEY)
    with recording_server.RecordingServer() as running:
        monkeypatch.setattr(xeno_canto, "API_URL", f"{running.url}/api/3/recordings")
        monkeypatch.setattr(inaturalist, "API_URL", f"{running.url}/v1")
        yield running


def run(*arguments: object) -> int:
    return int(app([str(argument) for argument in arguments], standalone_mode=False) or 0)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all that a user sees below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def places_in_configs() -> set[tuple[str, str]]:
    """Return all pairs of a folder and a table of recordings that the training configs name."""
    folder = Path(__file__).parents[2] / "train_configs"
    text = "\n".join(file.read_text(encoding="utf-8") for file in folder.rglob("*.py"))
    return set(re.findall(r'"audio_dir": "([^"]+)",\s*"recordings": "([^"]+)"', text))


def test_recordings_and_their_table_lie_where_the_configs_look_for_them(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    server.add(1, "Turdus merula", b"x" * 2000)
    server.add(2, "Parus major", b"y" * 3000)
    (tmp_path / "list.txt").write_text("Turdus merula\nParus major\n")
    assert run("xeno-canto", "--species", "list.txt", "--leave-gb", 0) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "Parus major: 1 fetched, 0 there, 0 failed",
        "Turdus merula: 1 fetched, 0 there, 0 failed",
        "2 fetched (0.00 GB), 0 there, 0 failed; the table is data/xeno_canto.csv",
    ]
    server.taxa.append({"id": 7, "name": "Turdus merula"})
    server.add_observation(5, 7, {50: b"z" * 100})
    assert run("inaturalist", "--species", "Turdus merula", "--leave-gb", 0, "--license", "cc-by*") == 0
    named = places_in_configs()
    for folder, table, n_recordings in (
        ("data/xeno_canto", "data/xeno_canto.csv", 2),
        ("data/inaturalist", "data/inaturalist.csv", 1),
    ):
        assert (folder, table) in named
        names = pd.read_csv(table)["filename"]
        assert [(Path(folder) / name).is_file() for name in names] == [True] * n_recordings


def test_a_dry_run_counts_and_leaves_no_trace(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, 4):
        server.add(number, "Turdus merula", b"x", length="30:00")
    out = tmp_path / "xc"
    assert run("xeno-canto", "--species", "Turdus merula", "--max", 2, "--out", out, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Turdus merula: 2 recordings, 1.00 h",
        "2 recordings, 1.00 h of 1 species; none fetched",
    ]
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 1


def test_failures_are_listed_and_the_exit_code_says_so(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add(1, "Turdus merula", b"x")
    server.add(2, "Turdus merula", b"x", file="")
    server.add(3, "Turdus merula", b"x")
    server.script["/1/download"] = ["404"]
    out = tmp_path / "xc"
    arguments = ("xeno-canto", "--species", "Turdus merula", "--quality", "a", "--out", out, "--leave-gb", 0)
    assert run(*arguments) == 2
    told = capsys.readouterr()
    assert "Turdus merula: 1 fetched, 0 there, 1 failed" in told.out
    assert "left out without a file: xeno-canto holds back protected species: 1" in told.err
    assert "the reasons are in" in told.err
    assert len(read_failures(out)) == 1
    assert run(*arguments) == 0
    assert "Turdus merula: 1 fetched, 1 there, 0 failed" in capsys.readouterr().out


def test_nothing_found_is_an_error(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DownloadError, match="xeno-canto has no such recordings; look at the names"):
        run("xeno-canto", "--species", "Nulla avis", "--out", tmp_path / "xc")
    assert "Nulla avis: xeno-canto has no recordings under this name" in capsys.readouterr().err


def test_the_key_is_neither_printed_nor_written(
    server: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.add(1, "Turdus merula", b"x")
    server.script["/api/3/recordings"] = ["gone", "500", ""]
    server.script["/1/download"] = ["gone"] * 6
    program = [sys.executable, "-c", PROGRAM, server.url, "--species", "Turdus merula", "--leave-gb", "0"]
    program += ["--out", str(tmp_path / "xc")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "trying again" in done.stderr
    written = done.stdout + done.stderr + "".join(map(str, contents(tmp_path).values()))
    assert "s3cret" not in written
    assert server.asked[0].params["key"] == recording_server.KEY


def test_a_killed_download_run_again_ends_as_one_that_was_not(server: Any, tmp_path: Path) -> None:
    for number in range(1, 6):
        server.add(number, "Turdus merula", os.urandom(30_000), q="ABCDE"[number - 1])
    arguments = ["--species", "Turdus merula", "--leave-gb", "0", "--out"]
    run("xeno-canto", *arguments, tmp_path / "whole" / "xc")
    server.asked.clear()
    server.pause_s = 0.01
    program = [sys.executable, "-c", PROGRAM, server.url, *arguments, str(tmp_path / "killed" / "xc")]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until_s = time.monotonic() + 60
        part = tmp_path / "killed" / "xc" / "Turdus_merula" / "XC3.mp3.part"
        while not (part.is_file() and part.stat().st_size) and time.monotonic() < until_s:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert part.is_file()
    assert not (tmp_path / "killed" / "xc.csv").exists()
    assert contents(tmp_path / "killed") != contents(tmp_path / "whole")
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert "Turdus merula: 3 fetched, 2 there, 0 failed" in done.stdout
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    third = [asked.headers.get("Range") for asked in server.asked if asked.path == "/3/download"]
    assert third[0] is None
    assert third[1] is not None
    assert len(server.paths("/api/")) == 1, "the answer of the first run was kept"


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    program = (
        "import sys, typer\nfrom dawnchorus.cli import recording_downloads as r\n"
        "app = typer.Typer()\napp.command('xeno-canto')(r.xeno_canto)\napp.command()(r.inaturalist)\n"
        "try:\n    app(['xeno-canto', '--help'])\nfinally:\n"
        "    print({'requests', 'urllib3', 'torch', 'numpy', 'pandas', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert "XENO_CANTO_KEY" in done.stdout
