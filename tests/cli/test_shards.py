"""``--shard`` and ``dawnchorus join``, as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dawnchorus.cli import main
from dawnchorus.wording import USED_WRONGLY


@pytest.fixture
def folder(data_factory: Any) -> Path:
    """Three recordings."""
    for number in range(3):
        data_factory.tone(f"{number}.wav", 2.5 + number, 700 + 90 * number, sample_rate=16_000)
    return Path(data_factory.root)


def run(*arguments: str | Path) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_stores_are_made_in_shards_and_joined(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "features"
    (folder / "broken.wav").write_bytes(b"RIFF")
    codes = [run("precompute", folder, out, "--shard", f"{number}/2") for number in (1, 2)]
    assert sorted(codes) == [0, 2]
    assert f"when all are done: dawnchorus join {out}" in capsys.readouterr().out
    assert run("join", out) == 2
    assert "3 converted (0.00 h), 0 already there, 0 left out, 1 failed" in capsys.readouterr().out
    assert len(list(out.glob("*.hdf5"))) == 3
    assert run("join", out) == 1
    assert "holds no shards that have ended" in capsys.readouterr().err


def test_tables_are_made_in_shards_and_joined(
    folder: Path, tmp_path: Path, exported: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (exported.onnx, folder, "--threads", "1", "--threshold", "0.1")
    assert run("predict", *common, "--out", tmp_path / "whole") == 0
    for number in (1, 2):
        assert run("predict", *common, "--out", tmp_path / "out", "--shard", f"{number}/2") == 0
    assert "shard 2/2: 2 recordings, 2 predicted now" in capsys.readouterr().out
    assert run("join", tmp_path / "out") == 0
    for name in ("detections.csv", "windows.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_pseudo_labels_are_made_in_shards_and_joined(
    folder: Path, tmp_path: Path, exported: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("pseudo-label", exported.onnx, folder, "--threads", "1")
    assert run(*common, "--out", tmp_path / "whole.csv") == 0
    for number in (1, 2):
        assert run(*common, "--out", tmp_path / "round.csv", "--shard", f"{number}/2") == 0
    assert run("join", tmp_path / "round.csv") == 0
    assert (tmp_path / "round.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "round.html").is_file()


@pytest.mark.parametrize("shard", ["0/4", "5/4", "three"])
def test_a_shard_that_is_none_is_a_wrong_usage(
    folder: Path, tmp_path: Path, shard: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("precompute", folder, tmp_path / "out", "--shard", shard) == USED_WRONGLY
    assert "legal: 1/" in capsys.readouterr().err.replace("\n", " ")
