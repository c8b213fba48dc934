"""``dawnchorus recordings``."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.cli import main
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.recordings.recordings_table import load_recordings


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_what_is_there_is_counted(
    data_factory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4)
    assert run("recordings", root, "--out", tmp_path / "checked.csv") == 0
    out = capsys.readouterr().out
    assert "species_1" in out
    assert out.splitlines()[-1].split()[:2] == ["all", "8"]
    assert len(pd.read_csv(tmp_path / "checked.csv")) == 8


def test_all_faults_are_listed_and_the_exit_code_says_so(
    data_factory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4)
    table = root / "recordings.csv"
    table.write_text(table.read_text() + "".join(f"gone_{k}.wav,species_0,\n" for k in range(25)))
    assert run("recordings", root, "--faults", tmp_path / "faults.csv") == 2
    captured = capsys.readouterr()
    assert "25 faults in the recordings:" in captured.err
    assert "... and 5 more" in captured.err
    assert captured.out.splitlines()[-1].split()[:2] == ["all", "8"]
    faults = pd.read_csv(tmp_path / "faults.csv")
    assert faults["line"].tolist() == list(range(10, 35))
    assert run("recordings", root, "--faults", tmp_path / "faults.csv") == 1
    assert "--force" in capsys.readouterr().err


def test_a_config_names_several_places_and_its_classes(
    data_factory_in: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = []
    for name in ("one", "two"):
        root = data_factory_in(tmp_path / name).recordings(n_species=2, n_per_species=1)
        places.append({"audio_dir": str(root)})
    smoke = Path(__file__).parents[2] / "train_configs" / "smoke.py"
    config = tmp_path / "mine.py"
    values = {"base": str(smoke), "exp_name": "mine", "data": places, "labels": ["species_0"]}
    config.write_text(f"CONFIG = {values!r}\n")
    assert run("recordings", config) == 2
    captured = capsys.readouterr()
    assert "2 faults" in captured.err
    assert "species_1 is none of the classes in the config's labels" in captured.err
    assert captured.out.splitlines()[-1].split()[:2] == ["all", "2"]


def test_files_that_cannot_be_read_are_listed_too(
    data_factory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4)
    (root / "species_0" / "XC0.wav").write_bytes(b"no sound at all")
    assert run("recordings", root, "--faults", tmp_path / "faults.csv") == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].split()[:2] == ["all", "7"]
    assert "XC0.wav" in captured.err
    assert run("folds", root, "--n_folds", 2, "--out", tmp_path / "folds.csv") == 2
    assert len(pd.read_csv(tmp_path / "folds.csv")) == 7


def test_recordings_that_no_table_lists_are_told(
    data_factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4)
    data_factory.tone("species_0/forgotten.wav")
    assert run("recordings", root) == 0
    assert "not used, being in no table or faulty: " in (told := capsys.readouterr().err)
    assert "forgotten.wav" in told


def test_stores_are_enough(data_factory: Any, tmp_path: Path) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=2)
    precompute_recordings(root, tmp_path / "features", PrecomputeSettings())
    smoke = Path(__file__).parents[2] / "train_configs" / "smoke.py"
    data = {"audio_dir": str(root), "features_dir": str(tmp_path / "features")}
    (tmp_path / "mine.py").write_text(f"CONFIG = {{'base': {str(smoke)!r}, 'data': {data!r}}}\n")
    for audio in (root / "species_0", root / "species_1"):
        shutil.rmtree(audio)
    assert run("recordings", tmp_path / "mine.py") == 0


def test_a_report_is_written_even_where_nothing_is_left(data_factory: Any, tmp_path: Path) -> None:
    root = data_factory.recordings(n_species=1, n_per_species=1)
    (root / "species_0" / "XC0.wav").unlink()
    assert run("recordings", root, "--faults", tmp_path / "faults.csv") == 1
    assert len(pd.read_csv(tmp_path / "faults.csv")) == 1


def test_a_table_beside_a_config_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("CONFIG = {}\n")
    assert run("recordings", tmp_path / "mine.py", "--table", "x.csv") == 1
    assert "names its own tables" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_not_utf_8_are_checked_dealt_and_read_like_any_other(
    data_factory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4)
    (root / "recordings.csv").unlink()
    for number, path in enumerate(sorted(root.glob("*/*"))):
        path.rename(path.with_name(os.fsdecode(b"%d_\xe9" % number) + path.suffix))
    (root / "species_1").rename(root / os.fsdecode(b"species_\xff"))
    table = tmp_path / "checked.csv"
    assert run("recordings", root, "--out", table) == 0
    assert "species_\\udcff" in capsys.readouterr().out
    again = run("recordings", root, "--table", table)
    assert again == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["all", "8"]
    assert run("folds", root, "--n_folds", 2, "--out", tmp_path / "folds.csv") == 0
    assert len(pd.read_csv(tmp_path / "folds.csv")) == 8
    recordings = load_recordings(root).table
    dataset = WaveDataset(recordings, settings={"segment_len": 1.0})
    assert dataset[0].wave.shape == (32_000,)
    (root / recordings["primary_label"][0] / os.fsdecode(b"gone\xe9.wav")).write_bytes(b"no sound")
    assert run("recordings", root) == 2
    assert "gone\\udce9.wav" in capsys.readouterr().err
