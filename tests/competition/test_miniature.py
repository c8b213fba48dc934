"""The miniature competition: its layout, its truth, and that it is whole or not there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from dawnchorus.competition.miniature import CARD, MiniatureSettings, code_of, make_competition
from dawnchorus.competition.submission import read_sample_submission
from dawnchorus.config import DataSettings
from dawnchorus.errors import DataError
from dawnchorus.recordings.dataset_root import load_dataset_root
from dawnchorus.recordings.labels import read_labels

SMALL = MiniatureSettings(
    n_species=3, n_recordings=9, n_nocall=2, n_train_soundscapes=1, n_test_soundscapes=2, soundscape_s=20.0
)


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_competition(tmp_path_factory.mktemp("competition") / "data", SMALL, n_cores=1)


def test_the_layout_is_that_of_birdclef(miniature: Path) -> None:
    names = {path.name for path in miniature.iterdir()}
    assert names == {
        "train.csv",
        "taxonomy.csv",
        "sample_submission.csv",
        "recording_location.txt",
        "train_audio",
        "train_soundscapes",
        "test_soundscapes",
        "soundscapes_nocall",
        "solution.csv",
        CARD,
    }
    for path in miniature.glob("*/**/*.ogg"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (32_000, 1)
    assert len(list((miniature / "soundscapes_nocall").iterdir())) == 2


def test_training_reads_its_tables(miniature: Path) -> None:
    labels = read_labels(miniature / "taxonomy.csv")
    place = DataSettings(audio_dir=miniature / "train_audio", recordings=miniature / "train.csv")
    recordings, faults = load_dataset_root(place, labels)
    assert faults == []
    assert len(recordings) == 9
    assert set(recordings["primary_label"]) == set(labels.labels) == {"asccla1", "trirap1", "tritar1"}
    assert recordings["author"].nunique() > 1


def test_the_sample_and_the_solution_have_the_same_rows(miniature: Path) -> None:
    form = read_sample_submission(miniature / "sample_submission.csv")
    solution = pd.read_csv(miniature / "solution.csv", index_col="row_id")
    assert form.labels == tuple(solution.columns) == ("asccla1", "trirap1", "tritar1")
    assert form.row_ids == tuple(solution.index)
    soundscapes = {path.stem for path in (miniature / "test_soundscapes").iterdir()}
    assert {row_id.rpartition("_")[0] for row_id in form.row_ids} == soundscapes
    assert len(form.row_ids) == 2 * 4
    assert set(solution.to_numpy().ravel()) == {0, 1}


def test_it_is_made_once_and_the_same_again(miniature: Path, tmp_path: Path) -> None:
    before = (miniature / "train.csv").stat().st_mtime_ns
    assert make_competition(miniature, SMALL) == miniature
    assert (miniature / "train.csv").stat().st_mtime_ns == before
    again = make_competition(tmp_path / "again", SMALL, n_cores=2)
    for name in ("train.csv", "solution.csv", "sample_submission.csv", "taxonomy.csv"):
        assert (again / name).read_bytes() == (miniature / name).read_bytes()
    for path in sorted(miniature.glob("*_soundscapes/*.ogg")):
        other, _ = soundfile.read(again / path.relative_to(miniature))
        assert (other == soundfile.read(path)[0]).all()


def test_a_folder_of_something_else_is_left_alone(miniature: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(SMALL, seed=1)
    with pytest.raises(DataError, match="holds a miniature competition of other settings"):
        make_competition(miniature, other)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match="holds files but no miniature competition"):
        make_competition(tmp_path, SMALL)
    with pytest.raises(DataError, match="is a file; name a folder"):
        make_competition(tmp_path / "holiday.jpg", SMALL)


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    made = make_competition(tmp_path / "data", SMALL)
    (made / "solution.csv").unlink()
    with pytest.raises(DataError, match=r"are gone, solution\.csv first; name another folder, or delete"):
        make_competition(made, SMALL)


def test_what_a_killed_run_left_is_made_anew(tmp_path: Path) -> None:
    left = tmp_path / ".dawnchorus-0123abcd.tmp"
    left.mkdir()
    (left / "train.csv").write_text("half", encoding="utf-8")
    made = make_competition(tmp_path / "data", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert json.loads((made / CARD).read_text())["n_recordings"] == 9


def test_codes_are_like_those_of_ebird() -> None:
    assert code_of("Trillator_rapidus") == "trirap1"
