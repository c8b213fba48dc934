"""Nothing that a model is scored on enters a round."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dawnchorus.errors import DataError
from dawnchorus.predict.recording_files import RecordingFiles, find_recordings
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.self_training.leaks import check_no_leak, same_recordings


@pytest.fixture
def root(data_factory: Any) -> Path:
    return data_factory.recordings(n_species=2, n_per_species=2, duration_s=(1.0, 1.5))


@pytest.fixture
def nights(data_factory_in: Any, tmp_path: Path) -> Path:
    factory = data_factory_in(tmp_path / "nights")
    for number in range(2):
        factory.tone(f"N{number}.wav", 2.0, 700.0 + 100 * number)
    return factory.root


def recordings(root: Path) -> pd.DataFrame:
    return load_recordings(root).table


def found(folder: Path) -> RecordingFiles:
    return find_recordings([str(folder)])


def test_other_sounds_pass(root: Path, nights: Path) -> None:
    check_no_leak(recordings(root), found(nights), None)


def test_a_link_a_copy_and_a_catalogue_number_are_one_recording(root: Path, nights: Path) -> None:
    labelled = sorted(root.glob("species_1/*"))
    assert [path.name for path in labelled] == ["XC1000.wav", "XC1001.flac"]
    (nights / "link.wav").symlink_to(labelled[0])
    shutil.copy(labelled[1], nights / "copy.flac")
    copied = Path(shutil.copy(nights / "N0.wav", nights / "XC1000-trimmed.wav"))
    others = [nights / "link.wav", nights / "copy.flac", copied, nights / "N1.wav"]
    same = list(same_recordings(labelled, others))
    assert [(pair.second.name, pair.by) for pair in same] == [
        ("link.wav", "file"),
        ("copy.flac", "content"),
        ("XC1000-trimmed.wav", "catalogue number"),
    ]


def test_a_labelled_recording_among_the_soundscapes_is_refused(root: Path, nights: Path) -> None:
    shutil.copy(next(root.rglob("*.wav")), nights / "dusk.wav")
    with pytest.raises(DataError, match=r"1 of the soundscapes are labelled recordings too \(.*dusk.wav is"):
        check_no_leak(recordings(root), found(nights), None)


def test_a_scored_soundscape_is_refused_among_both(root: Path, nights: Path, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.mkdir()
    shutil.copy(nights / "N0.wav", known / "K0.wav")
    with pytest.raises(DataError, match="1 of the soundscapes are labelled ones that rounds are scored on"):
        check_no_leak(recordings(root), found(nights), found(known))
    (known / "K0.wav").unlink()
    shutil.copy(next(root.rglob("*.wav")), known / "K1.wav")
    with pytest.raises(DataError, match=r"that rounds are scored on are labelled recordings too"):
        check_no_leak(recordings(root), found(nights), found(known))


def test_a_recordist_of_the_recordings_is_refused(root: Path, nights: Path) -> None:
    table = recordings(root)
    author = table["author"].iloc[0]
    rows = pd.DataFrame({"filename": ["N0.wav", "N1.wav"], "author": ["somebody", f" {author.upper()} "]})
    rows.to_csv(nights / "recordings.csv", index=False)
    with pytest.raises(DataError, match=r"1 of the soundscapes are by recordists .*N1.wav by .*take th"):
        check_no_leak(table, found(nights), None)
    rows.assign(author="unknown").to_csv(nights / "recordings.csv", index=False)
    check_no_leak(table, found(nights), None)
