"""The recordings table and where it can come from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.config import DataSettings
from dawnchorus.errors import DataError
from dawnchorus.formats.faults import FaultyTableError, write_faults
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import label_map_of, leave_out_unreadable, load_recordings


def test_a_folder_per_species_is_a_table(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=3)
    (root / "recordings.csv").unlink()
    table = load_recordings(DataSettings(audio_dir=root)).table
    assert len(table) == 6
    assert set(table["primary_label"]) == {"species_0", "species_1"}
    assert set(table["author"]) == {""}
    assert set(table["boxes"]) == {None}
    assert table["duration_s"].between(3, 8).all()


def test_the_table_in_the_folder_gives_recordists(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=3)
    table = load_recordings(DataSettings(audio_dir=root)).table
    assert set(table["author"]) <= {f"recordist_{k}" for k in range(4)}
    assert label_map_of(table).labels == ("species_0", "species_1")


FOLDERS = ("Noise", "background", "other", "SILENCE", "-Parus_major", "nocall", "Parus_major")


@pytest.fixture
def with_negatives(data_factory: Any) -> Path:
    for folder in FOLDERS:
        data_factory.tone(f"{folder}/1.wav")
    return data_factory.root


def test_birdnets_folders_of_negatives_hold_no_species(
    with_negatives: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = load_recordings(with_negatives).table.set_index("filename")["primary_label"]
    expected = {f"{folder}/1.wav": "nocall" for folder in FOLDERS} | {"Parus_major/1.wav": "Parus_major"}
    assert table.to_dict() == expected
    (told,) = caplog.messages
    assert "-Parus_major, Noise, SILENCE, background, other are taken for ones without any species" in told


def test_a_class_may_be_named_like_a_folder_of_negatives(with_negatives: Path) -> None:
    labels = LabelMap(("Parus_major", "Noise", "-Parus_major"))
    table = load_recordings(with_negatives, labels=labels).table.set_index("filename")["primary_label"]
    assert table["Noise/1.wav"] == "Noise"
    assert table["-Parus_major/1.wav"] == "-Parus_major"
    assert table["other/1.wav"] == "nocall"


def test_labels_that_are_not_known_are_told_with_their_recordings(
    data_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("owl/1.wav", "owl/2.wav", "wren/3.wav"):
        data_factory.tone(name)
    with pytest.raises(FaultyTableError, match=r"wren is none of .*; correct the label of wren/3\.wav, or"):
        load_recordings(data_factory.root, labels=LabelMap(("owl",)))
    (data_factory.root / "recordings.csv").write_text(
        "filename,primary_label,secondary_labels\nowl/1.wav,owl,robin\nowl/2.wav,owl,\n"
    )
    assert len(load_recordings(data_factory.root, labels=LabelMap(("owl",))).table) == 2
    assert "robin among the secondary labels of owl/1.wav, none of the classes" in caplog.text


def test_a_recording_outside_a_species_folder_is_named(data_factory: Any) -> None:
    data_factory.tone("loose.wav")
    with pytest.raises(DataError, match=r"loose\.wav in no species folder"):
        load_recordings(DataSettings(audio_dir=data_factory.root))


def test_a_missing_folder_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; give a folder"):
        load_recordings(DataSettings(audio_dir=tmp_path / "nowhere"))


def test_files_that_are_not_there_are_all_named_with_their_lines(data_factory: Any, tmp_path: Path) -> None:
    root = data_factory.recordings(n_species=1, n_per_species=8)
    gone = sorted((root / "species_0").glob("*.wav"))
    for path in gone:
        path.unlink()
    with pytest.raises(
        FaultyTableError, match=r"(?s)line 2: species_0/XC0\.wav not found in .*mend them"
    ) as caught:
        load_recordings(DataSettings(audio_dir=root))
    assert [fault.filename for fault in caught.value.faults] == [f"species_0/{path.name}" for path in gone]
    write_faults(tmp_path / "faults.csv", caught.value.faults)
    assert len((tmp_path / "faults.csv").read_text().splitlines()) == 1 + len(gone)


def test_a_place_may_leave_faulty_rows_out(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=1, n_per_species=8)
    next((root / "species_0").glob("*.wav")).unlink()
    table, faults = load_recordings(DataSettings(audio_dir=root, faulty="leave_out"))
    assert (len(table), len(faults)) == (7, 1)


def test_nothing_left_is_a_fault_even_where_rows_may_be_left_out(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=1, n_per_species=1)
    next((root / "species_0").glob("*.wav")).unlink()
    with pytest.raises(FaultyTableError, match="1 fault in the recordings"):
        load_recordings(DataSettings(audio_dir=root, faulty="leave_out"))


def test_many_faults_are_counted_and_the_first_twenty_shown(data_factory: Any) -> None:
    data_factory.tone("x/a.wav")
    rows = "".join(f"{k}.wav,x\n" for k in range(30))
    (data_factory.root / "recordings.csv").write_text("filename,primary_label\nx/a.wav,x\n" + rows)
    with pytest.raises(FaultyTableError, match=r"30 faults in the recordings:(?s:.*)\.\.\. and 10 more"):
        load_recordings(DataSettings(audio_dir=data_factory.root))


def test_a_bare_file_name_lies_in_the_folder_of_its_species(data_factory: Any) -> None:
    data_factory.tone("robin/XC1.wav")
    (data_factory.root / "recordings.csv").write_text("filename,primary_label\nXC1.wav,robin\n")
    table = load_recordings(DataSettings(audio_dir=data_factory.root)).table
    assert table["filename"].tolist() == ["robin/XC1.wav"]


def test_a_label_that_is_none_of_the_classes_is_a_fault(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=3, n_per_species=1)
    with pytest.raises(FaultyTableError, match="line 4: species_2 is none of the classes"):
        load_recordings(DataSettings(audio_dir=root), labels=LabelMap(("species_0", "species_1")))


def test_a_species_named_like_a_column_is_refused(data_factory: Any) -> None:
    data_factory.tone("probability/a.wav")
    with pytest.raises(DataError, match="a species cannot be named probability"):
        label_map_of(load_recordings(DataSettings(audio_dir=data_factory.root)).table)


def test_nocall_alone_is_no_species(data_factory: Any) -> None:
    data_factory.tone("nocall/a.wav")
    with pytest.raises(DataError, match="no species to learn"):
        label_map_of(load_recordings(DataSettings(audio_dir=data_factory.root)).table)


def test_recordings_that_cannot_be_read_are_left_out_unless_all_are(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4)
    place = DataSettings(audio_dir=root)
    recordings = load_recordings(place).table
    (root / recordings["filename"][0]).write_bytes(b"")
    kept, failures = leave_out_unreadable(recordings, [place], sample_rate=32_000)
    assert len(kept) == 7
    assert failures[0].path.as_posix() == recordings["filename"][0]
    with pytest.raises(DataError, match=r"none of the 1 recordings can be read: .*0 bytes"):
        leave_out_unreadable(recordings.iloc[:1], [place], sample_rate=32_000)


def test_what_could_not_be_converted_is_left_out_until_it_changes(data_factory: Any, tmp_path: Path) -> None:
    root = data_factory.recordings(n_species=1, n_per_species=3)
    broken = root / "species_0" / "XC0.wav"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:44] + b"\x7f\xc0\x00\x00" * 10)
    place = DataSettings(audio_dir=root, features_dir=tmp_path / "features")
    precompute_recordings(root, tmp_path / "features", PrecomputeSettings())
    (tmp_path / "features" / "failures.csv").write_text("path,reason\nspecies_0/XC0.wav,no sound\n")
    for store in (tmp_path / "features").rglob("XC0*.hdf5"):
        store.unlink()
    kept, failures = leave_out_unreadable(load_recordings(place).table, [place], sample_rate=32_000)
    assert (len(kept), [failure.reason for failure in failures]) == (2, ["no sound"])


def test_several_places_have_their_own_roots_and_names(data_factory_in: Any, tmp_path: Path) -> None:
    first = data_factory_in(tmp_path / "one" / "train").recordings(n_species=2, n_per_species=2)
    second = data_factory_in(tmp_path / "two" / "train").recordings(n_species=2, n_per_species=2, seed=1)
    with pytest.raises(DataError, match='two places of recordings are named train; give each its own "name"'):
        load_recordings([DataSettings(audio_dir=first), DataSettings(audio_dir=second)])
    table = load_recordings(
        [DataSettings(audio_dir=first), DataSettings(audio_dir=second, name="more")]
    ).table
    assert table["filename"].is_unique
    assert table["filename"].str.split("/").str[0].tolist() == ["train"] * 4 + ["more"] * 4
    assert all(Path(path).is_file() for path in table["audio_path"])
    assert set(table["author"]) <= {f"recordist_{k}" for k in range(4)}


def test_the_faults_of_all_places_come_in_one_report(data_factory_in: Any, tmp_path: Path) -> None:
    places = []
    for name in ("one", "two"):
        root = data_factory_in(tmp_path / name).recordings(n_species=1, n_per_species=2)
        next((root / "species_0").glob("*.wav")).unlink()
        places.append(DataSettings(audio_dir=root))
    with pytest.raises(FaultyTableError, match="2 faults"):
        load_recordings(places)


def test_boxes_make_recordings_of_soundscapes(data_factory: Any, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("dawn.wav", "dusk.wav", "noon.wav"):
        data_factory.tone(name, duration_s=12.0)
    (data_factory.root / "annotations.csv").write_text(
        "filename,start_s,end_s,label\n"
        "dawn.wav,1,2,robin\ndawn.wav,3,4,robin\ndawn.wav,3,4,wren\ndawn.wav,0,12,wind\ndusk.wav,0,12,wind\n"
    )
    place = DataSettings(audio_dir=data_factory.root, ignored_labels=("wind",))
    with caplog.at_level(logging.WARNING, logger="dawnchorus"):
        table = load_recordings(place).table.set_index("filename")
    assert table["primary_label"].to_dict() == {"dawn.wav": "robin", "dusk.wav": "nocall"}
    assert table["boxes"]["dawn.wav"] == ((1, 2, "robin"), (3, 4, "robin"), (3, 4, "wren"))
    assert table["boxes"]["dusk.wav"] == ()
    assert "noon.wav in no table of labels, and left out" in caplog.text
    assert label_map_of(table).labels == ("robin", "wren")


def test_boxes_past_the_end_and_of_unknown_labels_are_faults(data_factory: Any, tmp_path: Path) -> None:
    data_factory.tone("dawn.wav", duration_s=12.0)
    table = data_factory.root / "annotations.csv"
    table.write_text(
        "filename,start_s,end_s,label\ndawn.wav,1,12.05,robin\ndawn.wav,3,13,robin\ndawn.wav,3,4,wern\n"
    )
    for features_dir in (None, tmp_path / "features"):
        place = DataSettings(audio_dir=data_factory.root, features_dir=features_dir)
        with pytest.raises(FaultyTableError) as caught:
            load_recordings(place, labels=LabelMap(("robin", "wren")))
        assert [(fault.line, fault.what.split(";")[0]) for fault in caught.value.faults] == [
            (3, "robin ends at 13 s, past the end of dawn.wav at 12.00 s"),
            (4, "wern is none of the classes in the config's labels"),
        ]
        precompute_recordings(data_factory.root, tmp_path / "features", PrecomputeSettings())


def test_real_recordings_have_their_recordists(shared_data: Path) -> None:
    table = load_recordings(DataSettings(audio_dir=shared_data / "phoebe")).table
    assert len(table) == 70
    assert table["primary_label"].nunique() == 10
    assert table["author"].nunique() == 12


def test_real_soundscapes_and_recordings_come_together(shared_data: Path) -> None:
    birdeep = DataSettings(
        audio_dir=shared_data / "birdeep",
        ignored_labels=("Unk", "abiotic noise", "No audio", "Sylviidae", "CURMEL/CURUND", "CURUND/CURMEL"),
    )
    table = load_recordings([birdeep, DataSettings(audio_dir=shared_data / "phoebe")]).table
    assert len(table) == 81
    assert len(label_map_of(table)) == 16
    silent = table[table["primary_label"] == "nocall"]
    assert {"birdeep/AM1_20230510_110000.ogg", "birdeep/AM1_20230530_073000.ogg"} <= set(silent["filename"])


def test_one_file_is_one_recording_however_it_is_written(data_factory: Any) -> None:
    data_factory.tone("a/XC0.wav")
    data_factory.tone("b/XC1.wav")
    rows = "a/XC0.wav,a\n./a/XC0.wav,a\nXC0.wav,a\na\\XC0.wav,a\nb/XC1.wav,b\n"
    (data_factory.root / "recordings.csv").write_text(f"filename,primary_label\n{rows}")
    table, faults = load_recordings(DataSettings(audio_dir=data_factory.root, faulty="leave_out"))
    assert table["filename"].tolist() == ["a/XC0.wav", "b/XC1.wav"]
    assert [fault.line for fault in faults] == [3, 4, 5]
    assert "is the same file as a/XC0.wav" in faults[0].what


def test_a_table_from_windows_has_backslashes(data_factory: Any) -> None:
    data_factory.tone("a/XC0.wav")
    (data_factory.root / "recordings.csv").write_text("filename,primary_label\na\\XC0.wav,a\n")
    assert load_recordings(DataSettings(audio_dir=data_factory.root)).table["filename"].tolist() == [
        "a/XC0.wav"
    ]


def test_a_file_in_two_places_is_a_fault_of_the_second(data_factory_in: Any, tmp_path: Path) -> None:
    root = data_factory_in(tmp_path / "one").recordings(n_species=2, n_per_species=2)
    (tmp_path / "link").symlink_to(root)
    places = [DataSettings(audio_dir=root), DataSettings(audio_dir=tmp_path / "link")]
    with pytest.raises(
        FaultyTableError, match=r"4 faults(?s:.*)is a recording of one too; keep it in one place"
    ):
        load_recordings(places)


def test_a_recording_of_an_archive_is_taken_from_the_first_place_that_has_it(
    data_factory_in: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else its copies would lie on both sides of a fold."""
    for place, names in {
        "competition": ("wren/XC100.ogg", "wren/iNat700_1.ogg", "owl/tape1.ogg", "owl/XC1000.ogg"),
        "additional": ("wren/XC100.wav", "wren/iNat700_2.wav", "owl/tape1.wav", "owl/XC10000.wav"),
    }.items():
        for name in names:
            data_factory_in(tmp_path / place).tone(name)
    places = [DataSettings(audio_dir=tmp_path / name) for name in ("competition", "additional")]
    with caplog.at_level(logging.INFO):
        table, faults = load_recordings(places)
    assert faults == []
    assert sorted(name for name in table["filename"] if name.startswith("additional")) == [
        "additional/owl/XC10000.wav",
        "additional/owl/tape1.wav",
        "additional/wren/iNat700_2.wav",
    ]
    assert len(table) == 7
    assert "1 recordings are in an earlier place too" in caplog.text


def test_a_recording_with_a_faulty_box_is_left_out_and_not_silent(data_factory: Any) -> None:
    for name in ("dawn.wav", "dusk.wav"):
        data_factory.tone(name, duration_s=12.0)
    (data_factory.root / "dawn.txt").write_text("1\t2\trobin\n3,5\t4,5\trobin\n")
    (data_factory.root / "dusk.txt").write_text("1\t2\trobin\n")
    place = DataSettings(audio_dir=data_factory.root, annotations=data_factory.root, faulty="leave_out")
    table, faults = load_recordings(place)
    assert table["filename"].tolist() == ["dusk.wav"]
    assert [(fault.filename, fault.line) for fault in faults] == [("dawn.wav", 2)]


def test_a_box_that_stands_twice_costs_no_recording(data_factory: Any) -> None:
    data_factory.tone("dawn.wav", duration_s=12.0)
    (data_factory.root / "dawn.txt").write_text("1\t2\trobin\n1\t2\trobin\n")
    place = DataSettings(audio_dir=data_factory.root, annotations=data_factory.root, faulty="leave_out")
    table, faults = load_recordings(place)
    assert (table["boxes"].tolist(), len(faults)) == ([((1.0, 2.0, "robin"),)], 1)


def test_boxes_of_no_species_do_not_silence_a_label_of_the_table(data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=1)
    (root / "annotations.csv").write_text("filename,start_s,end_s,label\nspecies_0/XC0.wav,0,1,Unk\n")
    table = load_recordings(DataSettings(audio_dir=root, ignored_labels=("Unk",))).table
    assert table["primary_label"].tolist() == ["species_0", "species_1"]
    assert set(table["boxes"]) == {None}


def test_a_place_without_any_label_is_told(data_factory: Any) -> None:
    data_factory.tone("dawn.wav")
    (data_factory.root / "annotations.csv").write_text("filename,start_s,end_s,label\n")
    with pytest.raises(DataError, match=r"no recording in .* has a label"):
        load_recordings(DataSettings(audio_dir=data_factory.root))
