"""The command line as a person uses it: help, mistakes, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dawnchorus
from dawnchorus.cli import main, spread_repeatable

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = REPOSITORY / "train_configs" / "smoke.py"
COMMANDS = ("demo", "precompute", "folds", "train", "evaluate", "export", "predict", "compile")


def run_dawnchorus(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dawnchorus", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_complete(command: str) -> None:
    result = run_dawnchorus(*filter(None, [command]), "--help")
    assert result.returncode == 0
    assert "Usage:" in result.stdout
    if not command:
        assert all(name in result.stdout for name in COMMANDS)


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    result = run_dawnchorus("--version")
    assert (result.returncode, result.stdout) == (0, f"dawnchorus {project['version']}\n")
    assert dawnchorus.__version__ == project["version"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom dawnchorus.cli import main\n"
        "try:\n    main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(' '.join(sorted({'torch', 'pandas', 'lightning', 'h5py'} & set(sys.modules))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr == "\n" or result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["precompute", "nowhere", "out"], "nowhere: no such folder"),
        (["precompute", "empty", "out"], "empty: no recordings here or below"),
        (["train", "nowhere.py"], "nowhere.py is not a file"),
        (["train", "no_config.py"], "no_config.py defines no dict named CONFIG"),
        (["train", "text.txt"], "text.txt is not a Python file"),
        (
            ["train", SMOKE, "--audio", "nowhere"],
            "nowhere does not exist",
        ),
        (
            ["train", SMOKE, "--audio", "empty"],
            "no recordings here or below",
        ),
        (["evaluate", "empty"], "empty holds no run"),
        (["export", "empty"], "empty holds no run"),
        (["predict", "empty", "empty"], "empty: no recordings here or below"),
        (["predict", "empty", "text.txt"], "text.txt: not a recording by its name"),
        (["tune", "empty"], "empty holds no model"),
        (["calibrate", "empty"], "empty holds no run"),
        (["segments", "nowhere", "empty"], "nowhere"),
        (["compile", "nowhere.py"], "nowhere.py is not a file"),
        (["demo", "--audio", "nowhere"], "nowhere is not a folder"),
        (["folds", "nowhere"], "nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str | Path],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no_config.py").write_text("x = 1\n")
    (tmp_path / "text.txt").write_text("CONFIG = {}\n")
    before = set(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, arguments)))
    printed = capsys.readouterr().err
    assert stopped.value.code == 1
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert set(tmp_path.rglob("*")) == before


def test_wrong_usage_has_an_exit_code_of_its_own() -> None:
    result = run_dawnchorus("evaluat")
    assert result.returncode == 64  # 2 says that some recordings failed
    assert "evaluate" in result.stderr


def test_the_list_of_commands_has_sections_and_whole_lines_of_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["-h"])
    lines = capsys.readouterr().out.splitlines()
    assert stopped.value.code == 0
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage")]
    for section in ("First steps:", "Recordings:", "Training:", "Prediction:", "Competition:"):
        assert section in lines
    assert "Commands:" not in lines


@pytest.mark.parametrize("options", [["--n_cores", "1"], ["--n-cores", "1"], ["--n_cores=1"]])
def test_an_option_may_be_written_with_underscores_or_hyphens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["precompute", "nowhere", "out", *options])
    assert stopped.value.code == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "train", "precompute", "download xeno-canto", "runs"])
def test_the_help_of_a_command_fits_80_columns(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "-h"])
    lines = capsys.readouterr().out.splitlines()
    # A list of names between brackets cannot be broken.
    assert [line for line in lines if len(line) > 80 and "|" not in line] == []


def test_folds_takes_several_numbers_in_a_row() -> None:
    assert spread_repeatable(["train", "c.py", "--folds", "0", "2", "--debug"]) == [
        "train", "c.py", "--folds", "0", "--folds", "2", "--debug"
    ]  # fmt: skip
    assert spread_repeatable(["train", "--folds", "0,2", "--debug"]) == [
        "train", "--folds", "0", "--folds", "2", "--debug"
    ]  # fmt: skip
    assert spread_repeatable(["train", "--fold=0,2", "c.py"]) == [
        "train", "--fold", "0", "--fold", "2", "c.py"
    ]  # fmt: skip
    assert spread_repeatable(["train", "c.py", "--folds"]) == ["train", "c.py", "--folds"]
    assert spread_repeatable(["train", "--folds", "all", "c.py"]) == ["train", "--folds", "all", "c.py"]
    assert spread_repeatable(["train", "--folds", "1", "c.py"]) == ["train", "--folds", "1", "c.py"]
    assert spread_repeatable(["x", "--seed", "1", "2"]) == ["x", "--seed", "1", "2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def stopped() -> Iterator[bytes]:
        yield b"night.wav\n"
        os.kill(os.getpid(), number)
        yield b"never read\n"

    before = signal.getsignal(number)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stopped()))
    with pytest.raises(SystemExit) as ended:
        main(["predict", "model", "-"])
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}; the same command goes on where it was\n"
    assert signal.getsignal(number) == before


def test_a_table_that_cannot_be_written_is_one_sentence_with_its_name(
    data_factory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = data_factory.recordings(n_species=2, n_per_species=4, duration_s=(1.0, 1.2))
    (tmp_path / "file").touch()
    reasons = {
        tmp_path / "file" / "folds.csv": "folds.csv: cannot be written: File exists; a folder is needed",
        tmp_path / ("x" * 300): "x: File name too long; choose a shorter name",
    }
    for out, reason in reasons.items():
        with pytest.raises(SystemExit) as ended:
            main(["folds", str(audio), "--n_folds", "2", "--out", str(out)])
        assert ended.value.code == 1
        assert reason in capsys.readouterr().err


def test_a_full_disk_behind_standard_output_is_one_sentence() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the system has no device that is always full")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "dawnchorus", "configs"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert "No space left on device; make room, and run the same command again" in result.stderr
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
