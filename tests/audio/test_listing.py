"""Which recordings there are, at any depth and behind any link."""

from __future__ import annotations

import os

import pytest

from dawnchorus.audio.container import AUDIO_SUFFIXES
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.errors import DataError
from dawnchorus.predict.recording_files import find_recordings


def test_recordings_are_listed_at_any_depth_sorted_and_without_hidden_ones(data_factory):
    root = data_factory.root
    for name in ("b/Ä bird 🐦.WAV", "a.flac", "b/c/d.ogg", ".hidden/x.wav", "b/._d.wav"):
        path = data_factory.tone("x.wav", duration_s=0.1)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(root / name)
    (root / "notes.txt").touch()
    assert [path.relative_to(root).as_posix() for path in list_audio_files(root)] == [
        "a.flac",
        "b/c/d.ogg",
        "b/Ä bird 🐦.WAV",
    ]


def test_a_folder_without_recordings_names_itself_and_the_suffixes(tmp_path):
    with pytest.raises(DataError, match=r"no recordings here or below; .*\.flac.* are read"):
        list_audio_files(tmp_path)
    with pytest.raises(DataError, match="absent: no such folder"):
        list_audio_files(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is a file, not a folder"):
        list_audio_files(tmp_path / "file")
    assert {".wav", ".flac", ".ogg", ".mp3", ".m4a"} <= AUDIO_SUFFIXES


def test_links_are_followed_but_not_in_circles(data_factory, tmp_path):
    root, elsewhere = data_factory.root, tmp_path / "elsewhere"
    for path in (root / "a/x.wav", elsewhere / "deep/y.wav"):
        path.parent.mkdir(parents=True)
        path.touch()
    (root / "a/up").symlink_to(root)
    (root / "far").symlink_to(elsewhere)
    (root / "far too").symlink_to(elsewhere)
    (elsewhere / "deep/back").symlink_to(elsewhere)
    (root / "z.wav").symlink_to(root / "a/x.wav")
    (root / "gone.wav").symlink_to(root / "nowhere.wav")
    (root / "itself").symlink_to(root / "itself")
    assert [path.relative_to(root).as_posix() for path in list_audio_files(root)] == [
        "a/x.wav",
        "far/deep/y.wav",
        "far too/deep/y.wav",
        "gone.wav",
        "z.wav",
    ]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_read_is_left_out_with_a_warning(data_factory, caplog):
    data_factory.tone("a.wav")
    locked = data_factory.root / "lost+found"
    locked.mkdir(mode=0)
    assert [path.name for path in list_audio_files(data_factory.root)] == ["a.wav"]
    assert "lost+found: cannot be looked into, and what is in it is left out" in caplog.text


def test_files_of_kinds_that_are_not_read_are_counted_and_named(data_factory, caplog):
    data_factory.tone("night/a.wav")
    for name in ("b.wac", "night/c.WAC", "night/d.amr", "notes.txt"):
        (data_factory.root / name).touch()
    message = f"{data_factory.root}: 3 files are passed over, whose kind is not read: 1 .amr, 2 .wac; convert"
    assert len(list_audio_files(data_factory.root)) == 1
    assert len(find_recordings([str(data_factory.root)]).recordings) == 1
    assert [record.message.startswith(message) for record in caplog.records] == [True, True]


def test_hidden_recordings_are_counted_and_named_but_not_what_a_mac_adds(data_factory, caplog):
    for name in ("a.wav", ".b.wav", "night/.c.flac", "._a.wav"):
        data_factory.tone(name)
    (data_factory.root / ".notes.txt").touch()
    (data_factory.root / ".folder.wav").mkdir()
    assert [path.name for path in list_audio_files(data_factory.root)] == ["a.wav"]
    assert len(find_recordings([str(data_factory.root)]).recordings) == 1
    message = f"{data_factory.root}: 2 recordings are passed over, being hidden: .b.wav, .c.flac; rename what"
    assert [record.message.startswith(message) for record in caplog.records] == [True, True]
