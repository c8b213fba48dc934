"""Which recordings are meant, and what they are called."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dawnchorus.errors import DataError
from dawnchorus.predict.recording_files import RecordingFiles, find_recordings


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of names, which is the working directory; finding looks into no file."""
    names = [
        "north/1.wav",
        "north/2.FLAC",
        "north/deep/er/3.mp3",
        "north/deep/notes.txt",
        "north/.hidden/4.wav",
        "north/XC5.hdf5",
        "south/1.wav",
        "stores/a/XC6.hdf5",
        "stores/XC7.h5",
        "empty/readme.txt",
        "odd [1].wav",
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names_of(found: RecordingFiles) -> list[str]:
    for recording in found.recordings:
        path = os.path.abspath(recording.path)  # noqa: PTH100  links stay as they are
        assert Path(path) == found.root.absolute() / recording.name
    return [recording.name for recording in found.recordings]


def test_a_file_is_called_by_its_name_alone(place: Path) -> None:
    for source in ("north/1.wav", str(place / "north" / "1.wav"), "./north/1.wav"):
        found = find_recordings([source])
        assert names_of(found) == ["1.wav"]
        assert found.recordings[0].path.samefile(source)
    assert names_of(find_recordings(["odd [1].wav"])) == ["odd [1].wav"], "it is no pattern where it exists"
    assert names_of(find_recordings(["stores/XC7.h5"])) == ["XC7.h5"]


def test_a_folder_gives_its_audio_at_any_depth_and_no_stores_beside_it(place: Path) -> None:
    for source in ("north", "north/", str(place / "north")):
        found = find_recordings([source])
        assert found.root == Path(source)
        assert names_of(found) == ["1.wav", "2.FLAC", "deep/er/3.mp3"]


def test_a_folder_of_stores_alone_gives_these(place: Path) -> None:
    assert names_of(find_recordings(["stores"])) == ["XC7.h5", "a/XC6.hdf5"]


def test_the_working_directory_is_a_folder_too(place: Path) -> None:
    assert names_of(find_recordings(["."])) == [
        "north/1.wav",
        "north/2.FLAC",
        "north/deep/er/3.mp3",
        "odd [1].wav",
        "south/1.wav",
    ]


def test_a_pattern_gives_the_recordings_that_match_it(place: Path) -> None:
    assert names_of(find_recordings(["*/1.wav"])) == ["north/1.wav", "south/1.wav"]
    assert names_of(find_recordings(["north/*"])) == ["1.wav", "2.FLAC", "XC5.hdf5"]
    assert names_of(find_recordings(["north/**/*.mp3"])) == ["deep/er/3.mp3"]
    # Names begin before the first wildcard, and do not change when more matches come.
    assert names_of(find_recordings([str(place / "n*" / "[12].*")])) == ["north/1.wav", "north/2.FLAC"]


def test_clips_that_were_cut_are_no_recordings(place: Path) -> None:
    before = names_of(find_recordings(["north"]))
    clips = place / "north" / "predictions" / "segments"
    (clips / "robin").mkdir(parents=True)
    shutil.copy(place / "north" / "1.wav", clips / "robin" / "0.9_1.wav")
    (clips / "segments.csv").touch()
    assert names_of(find_recordings(["north"])) == before


def test_dots_in_a_path_stay_out_of_names(place: Path) -> None:
    assert names_of(find_recordings(["north/../south/1.wav", "north/1.wav"])) == [
        "north/1.wav",
        "south/1.wav",
    ]


def test_names_of_several_sources_begin_at_what_they_have_in_common(place: Path) -> None:
    assert names_of(find_recordings(["north", "south"])) == [
        "north/1.wav",
        "north/2.FLAC",
        "north/deep/er/3.mp3",
        "south/1.wav",
    ]
    assert names_of(find_recordings(["south", "stores/XC7.h5"])) == ["south/1.wav", "stores/XC7.h5"]
    assert names_of(find_recordings(["north/deep", "north/1.wav"])) == ["1.wav", "deep/er/3.mp3"]
    assert names_of(find_recordings(["south/1.wav", "*/2.*"])) == ["north/2.FLAC", "south/1.wav"]


def test_a_recording_that_is_named_twice_is_there_once(place: Path) -> None:
    once = ["1.wav", "2.FLAC", "deep/er/3.mp3"]
    for sources in (
        ["north", "north"],
        ["north", "north/1.wav", "./north/1.wav"],
        ["north", str(place / "north" / "1.wav")],
        ["north", "north/*.wav"],
        ["north", "-"],
        ["north", "south/../north/1.wav"],
    ):
        found = find_recordings(sources, names=["north/1.wav\n", str(place / "north/2.FLAC") + "\n"])
        assert [Path(name).as_posix() for name in names_of_any(found)] in (
            once,
            [f"north/{name}" for name in once],
        ), sources


def names_of_any(found: RecordingFiles) -> list[str]:
    return [recording.name for recording in found.recordings]


def test_standard_input_names_recordings_one_a_line(place: Path) -> None:
    lines = ["south/1.wav\n", "\n", "north/2.FLAC\r\n", f"{place}/north/1.wav\n", "odd [1].wav"]
    found = find_recordings(["-"], names=lines)
    assert names_of(found) == ["north/1.wav", "north/2.FLAC", "odd [1].wav", "south/1.wav"]
    one = find_recordings(["-"], names=["north/deep/er/3.mp3\n"])
    assert names_of(one) == ["3.mp3"]


def test_standard_input_is_left_alone_where_nobody_asks_for_it(place: Path) -> None:
    def names() -> object:
        raise AssertionError("it was read")
        yield

    assert len(find_recordings(["south"], names=names()).recordings) == 1  # type: ignore[arg-type]


def test_a_name_of_standard_input_that_does_not_exist_is_left_for_the_failures(place: Path) -> None:
    found = find_recordings(["-"], names=["south/1.wav\n", "south/gone.wav\n"])
    assert names_of(found) == ["1.wav", "gone.wav"]


def test_a_name_that_is_no_unicode_is_a_name_too(place: Path) -> None:
    (place / "south" / os.fsdecode(b"bird\xe9.wav")).touch()
    assert names_of(find_recordings(["south"])) == ["1.wav", os.fsdecode(b"bird\xe9.wav")]


def test_a_link_to_a_folder_is_followed(place: Path) -> None:
    (place / "linked").symlink_to(place / "south", target_is_directory=True)
    assert names_of(find_recordings(["linked"])) == ["1.wav"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.wav", r"^gone\.wav: no such file or folder; name recordings, a folder of them, or a pattern"),
        ("gone", "^gone: no such file or folder"),
        ("nowhere/*.wav", r"^nowhere/\*\.wav: no recording matches it; name recordings"),
        ("north/deep/*.txt", "no recording matches it"),
        (
            "north/deep/notes.txt",
            r"^north/deep/notes\.txt: not a recording by its name; .*\.flac.* and \.hdf5 are",
        ),
        ("empty", r"^empty: no recordings here or below; .*\.wav.* and \.hdf5 are read"),
        ("-", "^standard input names no recordings; write one path a line"),
    ],
)
def test_a_source_without_recordings_is_refused(place: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_recordings([source], names=["\n"])
    with pytest.raises(DataError, match=message):
        find_recordings(["south", source])
