"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import UnsafePathError
from dawnchorus.files import (
    FAILURES_NAME,
    Failure,
    inside,
    read_failures,
    replacing,
    write_failures,
    write_text,
)


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_stays_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        fail_halfway()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [file.name for file in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


def test_failures_are_read_as_written_and_an_old_list_goes_when_there_are_none(tmp_path: Path) -> None:
    failures = [Failure(Path("a, b.wav"), "a, b.wav: empty (0 bytes)")]
    write_failures(tmp_path, failures)
    assert read_failures(tmp_path) == failures
    write_failures(tmp_path, [])
    assert not (tmp_path / FAILURES_NAME).exists()
    assert read_failures(tmp_path) == []
    (tmp_path / FAILURES_NAME).write_text("somebody's,own\n1,2\n")
    assert read_failures(tmp_path) == []


OUTSIDE = ["../victim", "a/../../victim", "a/..", "..", ".", "", "/etc/passwd", "a\0b"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePathError, match=r"note\.json names .* does not lie below .*correct the name"):
        inside(tmp_path, name, named_in="note.json")


@pytest.mark.parametrize("name", ["a.wav", "a/b c.wav", "..a/b..", ".hidden", "rec_12:30.wav", "ä\udcff"])
def test_a_name_that_lies_in_its_folder_is_a_path(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name, named_in="note.json") == tmp_path / name
