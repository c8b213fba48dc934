"""The recordings table and where it can come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dawnchorus.config import DataSettings
from dawnchorus.data.recordings import (
    label_map_of,
    leave_out_unreadable,
    load_recordings,
    parse_label_list,
    read_recordings_table,
)
from dawnchorus.errors import DataError


def test_a_folder_per_species_is_a_table(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=3)
    (root / "recordings.csv").unlink()
    table = load_recordings(DataSettings(audio_dir=root))
    assert len(table) == 6
    assert set(table["primary_label"]) == {"species_0", "species_1"}
    assert set(table["author"]) == {""}


def test_the_table_in_the_folder_gives_recordists(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=3)
    table = load_recordings(DataSettings(audio_dir=root))
    assert set(table["author"]) <= {f"recordist_{k}" for k in range(4)}
    assert label_map_of(table).labels == ("species_0", "species_1")


def test_a_recording_outside_a_species_folder_is_named(data_factory: Any) -> None:
    data_factory.tone("loose.wav")
    with pytest.raises(DataError, match=r"loose\.wav in no species folder"):
        load_recordings(DataSettings(audio_dir=data_factory.root))


def test_a_missing_folder_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; give a folder"):
        load_recordings(DataSettings(audio_dir=tmp_path / "nowhere"))


def test_a_listed_file_that_is_not_there_is_named(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=1, n_per_species=2)
    next((root / "species_0").glob("*.wav")).unlink()
    with pytest.raises(DataError, match=r"species_0/XC0\.wav not found"):
        load_recordings(DataSettings(audio_dir=root))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a CSV table"),
        ("filename\na.wav\n", "has no column primary_label; its columns are filename"),
        ("filename,primary_label\na.wav,\n", "primary_label is empty in line 2"),
        ("filename,primary_label\na.wav,x\na.wav,y\n", r"a\.wav listed more than once"),
        ("filename,primary_label\n", "lists no recordings"),
        ("filename,primary_label,rating\na.wav,x,A\n", "rating is 'A' in line 2; it must be a number"),
        ("filename,primary_label,rating\na.wav,x,10\n", "rating goes beyond 0 to 5"),
    ],
)
def test_a_wrong_table_is_told_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recordings.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_recordings_table(path)


def test_a_species_may_be_coded_na_and_cells_may_have_spaces(tmp_path: Path) -> None:
    path = tmp_path / "recordings.csv"
    path.write_text("\ufefffilename, primary_label\na.wav, NA\n", encoding="utf-8")
    assert read_recordings_table(path)["primary_label"].tolist() == ["NA"]


def test_a_species_named_like_a_column_is_refused(data_factory: Any) -> None:
    data_factory.tone("probability/a.wav")
    with pytest.raises(DataError, match="a species cannot be named probability"):
        label_map_of(load_recordings(DataSettings(audio_dir=data_factory.root)))


def test_recordings_that_cannot_be_read_are_left_out_unless_all_are(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4)
    data = DataSettings(audio_dir=root)
    recordings = load_recordings(data)
    (root / recordings["filename"][0]).write_bytes(b"")
    kept, failures = leave_out_unreadable(recordings, data, sample_rate=32_000)
    assert len(kept) == 7
    assert failures[0].path.as_posix() == recordings["filename"][0]
    with pytest.raises(DataError, match=r"none of the 1 recordings can be read: .*0 bytes"):
        leave_out_unreadable(recordings.iloc[:1], data, sample_rate=32_000)


def test_a_missing_table_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; give a CSV"):
        read_recordings_table(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("a b", ("a", "b")),
        ("Turdus merula", ("Turdus merula",)),
        ("a;b", ("a", "b")),
        ("['Cyanopica cooki', 'b']", ("Cyanopica cooki", "b")),
        ("[]", ()),
        ("['']", ()),
        ("", ()),
        (float("nan"), ()),
        ("a;a", ("a",)),
        ("[__import__('os').system('false')]", ("__import__('os').system('false')",)),
    ],
)
def test_lists_of_labels_are_parsed_and_never_evaluated(cell: object, labels: tuple[str, ...]) -> None:
    assert parse_label_list(cell, known={"a", "b"}) == labels


def test_real_recordings_have_their_recordists(shared_data: Path) -> None:
    table = load_recordings(DataSettings(audio_dir=shared_data / "phoebe"))
    assert len(table) == 70
    assert table["primary_label"].nunique() == 10
    assert table["author"].nunique() == 12
