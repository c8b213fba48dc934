"""``dawnchorus download birdclef-2025`` and its sisters."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dawnchorus.cli.kaggle_downloads import download_app
from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS

_SPEC = importlib.util.spec_from_file_location(
    "kaggle_server", Path(__file__).parents[1] / "competition" / "kaggle" / "kaggle_server.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
kaggle_server = importlib.util.module_from_spec(_SPEC)
sys.modules["kaggle_server"] = kaggle_server  # where dataclasses look for it
_SPEC.loader.exec_module(kaggle_server)

PSEUDO = "vladimirsydor/bird-clef-2025-pseudo"
app = typer.Typer(rich_markup_mode=None)
app.add_typer(download_app, name="download")


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    with kaggle_server.serving_kaggle(monkeypatch, tmp_path / "home") as server:
        server.archives["birdclef-2025"] = kaggle_server.zipped({"train.csv": b"primary_label\n"})
        server.archives[PSEUDO] = kaggle_server.zipped({"double/v0_0.csv": b"row_id\n"})
        yield server


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["download", *map(str, arguments)])


def test_a_line_a_part_tells_what_became_of_it(kaggle: Any, tmp_path: Path) -> None:
    out = tmp_path / "data"
    arguments = ("birdclef-2025", "--out", out, "--only", "competition", "--only", "pseudo-labels")
    result = run(*arguments)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"competition: 1 file in {out} (0.00 MB)",
        f"pseudo-labels: 1 file in {out / 'birdclef_2025_pseudo'} (0.00 MB)",
    ]
    assert (out / "train.csv").read_bytes() == b"primary_label\n"
    result = run(*arguments)
    assert result.stdout.splitlines() == ["competition: already there", "pseudo-labels: already there"]


def test_parts_that_fail_are_listed_and_the_exit_code_says_so(kaggle: Any, tmp_path: Path) -> None:
    result = run("birdclef-2025", "--out", tmp_path, "--only", "pseudo-labels", "--only", "models")
    assert result.exit_code == 2
    assert result.stdout.splitlines()[1] == "models: failed"
    assert "1 of 2 parts failed:\n  models: Kaggle has not got the dataset" in result.stderr
    result = run("birdclef-2025", "--out", tmp_path, "--only", "models")
    assert result.exit_code == 1
    assert "1 of 1 parts failed:" in result.stderr


def test_an_earlier_year_is_named_alone(kaggle: Any, tmp_path: Path) -> None:
    kaggle.archives["birdclef-2023"] = kaggle_server.zipped({"train_metadata.csv": b"primary_label\n"})
    assert run("birdclef-2023", "--out", tmp_path).exit_code == 0
    assert (tmp_path / "train_metadata.csv").is_file()


def test_archives_stay_where_that_is_wished(kaggle: Any, tmp_path: Path) -> None:
    run("birdclef-2025", "--out", tmp_path, "--only", "competition", "--keep-archives")
    assert (tmp_path / ".downloads" / "birdclef-2025.zip").is_file()


def test_a_dry_run_tells_what_would_come(kaggle: Any, tmp_path: Path) -> None:
    kaggle.sizes = {"birdclef-2025": 12_340_000_000}
    run("birdclef-2025", "--out", tmp_path, "--only", "pseudo-labels")
    result = run("birdclef-2025", "--out", tmp_path, "--dry-run")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"competition: the competition birdclef-2025 to {tmp_path}, 12.34 GB unpacked"
    assert lines[3] == "pseudo-labels: already there"
    assert lines[4].startswith(
        "noise: the dataset vladimirsydor/birdclef-2023-data-part2 and the dataset vlad"
    )
    assert lines[4].endswith(f"to {tmp_path}, size unknown until Kaggle is asked")
    assert not (tmp_path / "train.csv").exists()


def test_a_dry_run_needs_no_credentials(kaggle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    result = run("birdclef-2024", "--out", tmp_path, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"competition: the competition birdclef-2024 to {tmp_path}, size unknown until Kaggle is asked"
    ]


@pytest.mark.parametrize("competition", COMPETITIONS)
def test_help_names_every_part_with_what_it_holds(competition: str) -> None:
    assert competition in run("--help").stdout
    result = run(competition, "--help")
    assert result.exit_code == 0
    for part in COMPETITIONS[competition].parts:
        assert f"  {part.name}: {part.holds[:40]}" in result.stdout
    assert f"https://www.kaggle.com/competitions/{competition}/rules" in result.stdout
    assert "KAGGLE_USERNAME and KAGGLE_KEY" in result.stdout
    assert "\b" not in result.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dawnchorus.cli.kaggle_downloads import download_app\n"
        "try:\n    download_app(['birdclef-2025', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'requests', 'kagglesdk', 'kaggle', 'torch', 'pandas'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr == "\n" or result.stderr == ""
