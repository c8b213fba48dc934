"""``dawnchorus folds`` as a person uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dawnchorus.cli import main


@pytest.fixture
def audio(data_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two species with twelve recordists, and two recordings of a third by one of them."""
    root: Path = data_factory.recordings(n_species=3, n_per_species=12, duration_s=(0.1, 0.1))
    table = pd.read_csv(root / "recordings.csv")
    table["author"] = [f"recordist {k % 12}" for k in range(len(table))]
    table["site"] = [f"site {k % 12 // 3}" for k in range(len(table))]
    table["part"] = [f"part {k % 12 % 2}" for k in range(len(table))]
    table = table.drop(index=table.index[26:])
    table.loc[[24, 25], "author"] = "recordist 0"
    table.to_csv(root / "recordings.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return root


def folds(audio: Path, *arguments: str) -> pd.DataFrame:
    with pytest.raises(SystemExit) as stopped:
        main(["folds", str(audio), *arguments])
    assert stopped.value.code == 0
    return pd.read_csv("folds.csv")


def refusal(capsys: pytest.CaptureFixture[str], audio: Path, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["folds", str(audio), *arguments])
    assert stopped.value.code == 1
    assert not Path("folds.csv").exists()
    return capsys.readouterr().err


def test_the_counts_are_printed_and_the_notes_stand_apart(
    audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folds(audio, "--group_column", "author", "--n_folds", "2", "--every_class_in_training")
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["species_2", "2", "1", "2", "0", "2", "0"] in lines
    assert lines[-3][:3] == ["all", "26", "12"]
    assert printed.out.splitlines()[-2:] == [
        "26 recordings in 12 groups by author, 2 folds",
        "written to folds.csv",
    ]
    assert "so that every fold learns species_2: 4 recordings of one recordist." in printed.err
    assert list(table.columns) == ["filename", "primary_label", "author", "fold", "validated"]
    assert table["fold"].tolist().count(-1) == 4


@pytest.mark.parametrize(
    "columns",
    [[], ["--group_column", "author,site"], ["--group-column", "author", "--group-column", "site"]],
)
def test_several_columns_keep_recordings_together(audio: Path, columns: list[str]) -> None:
    table = folds(audio, *columns, "--n-folds", "2")
    assert list(table.columns) == ["filename", "primary_label", "author", "site", "fold", "validated"]
    assert (table.groupby("site")["fold"].nunique() == 1).all()


def test_rare_species_are_never_validated(audio: Path) -> None:
    table = folds(audio, "--rare-up-to", "2", "--n_folds", "3", "--group_column", "author")
    assert not table["validated"][table["primary_label"] == "species_2"].any()


def test_official_folds_have_a_column_of_any_name_or_are_passed_over(audio: Path) -> None:
    table = folds(audio, "--fold_column", "part", "--group_column", "filename")
    official = pd.read_csv(audio / "recordings.csv")["part"]
    assert (table["fold"] == official.str[-1].astype(int)).all()
    assert folds(audio, "--fold-column", "", "--group_column", "filename", "--force")["fold"].nunique() == 5


def test_what_cannot_be_is_refused(audio: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there are only 4 groups, fewer than the 5 folds" in refusal(capsys, audio)
    assert "no column reserve to keep together" in refusal(capsys, audio, "--group_column", "reserve")
    assert "dawnchorus folds: group_column names no column" in refusal(capsys, audio, "--group_column", "")
    Path("mine.csv").write_text("mine")
    assert "overwrite it with --force" in refusal(capsys, audio, "--out", "mine.csv")
    assert Path("mine.csv").read_text() == "mine"
