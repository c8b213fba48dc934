"""Unpacking: where files go, what is refused, what is left alone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dawnchorus.competition.kaggle.extraction import (
    DamagedArchiveError,
    below,
    destinations,
    open_joined,
    unpack,
)
from dawnchorus.competition.kaggle.kaggle_catalogue import KaggleSource, Part

from .kaggle_server import zipped

SOURCE = (KaggleSource("dataset", "somebody/something"),)


def write_archive(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.write_bytes(zipped(files, compression=compression))
    return path


def unpack_into(out: Path, archive: Path, folder: str = "") -> dict[str, int]:
    return unpack(archive, out, lambda names: below(names, folder), title="the test")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.csv", "b/c.csv"], ["part/a.csv", "part/b/c.csv"]),
        (["part/a.csv", "part/b/c.csv"], ["part/a.csv", "part/b/c.csv"]),
        (["part/a.csv", "b.csv"], ["part/part/a.csv", "part/b.csv"]),
    ],
)
def test_a_folder_named_like_the_part_is_not_doubled(names: list[str], expected: list[str]) -> None:
    assert list(destinations(names, Part("p", "", SOURCE, folder="part")).values()) == expected


def test_where_folders_are_moved_the_rest_is_left_out() -> None:
    part = Part("p", "", SOURCE, moved=(("a/b", "c"),))
    assert destinations(["a/b/x", "a/b.csv", "a/x", "z"], part) == {"a/b/x": "c/x"}


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "C:/x",
        "C:x",
        "a\\..\\..\\x",
        "\\\\host\\share\\x",
        ".downloads/x",
        ".Downloads/x",
        ".downloads.json",
    ],
)
def test_a_file_that_would_leave_the_folder_is_refused_before_any_is_written(
    tmp_path: Path, name: str
) -> None:
    archive = write_archive(tmp_path / "x.zip", {"fine.csv": b"fine", name: b"evil"})
    with pytest.raises(DamagedArchiveError, match="would lie outside the folder; nothing of it is unpacked"):
        unpack_into(tmp_path / "out", archive)
    assert not (tmp_path / "out").exists()


def test_whole_files_are_left_alone_and_others_written(tmp_path: Path) -> None:
    files = {"a/whole.ogg": b"whole", "a/cut.ogg": b"whole too", "a/other.ogg": b"right", "b/new.ogg": b"new"}
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a/whole.ogg").write_bytes(b"whole")
    (out / "a/cut.ogg").write_bytes(b"who")
    (out / "a/other.ogg").write_bytes(b"wrong")
    (out / "a/mine.txt").write_bytes(b"not in the archive")
    (out / "a/.dawnchorus-0123abcd.tmp.ogg").write_bytes(b"of a killed run")
    inode = (out / "a/whole.ogg").stat().st_ino
    sizes = unpack_into(out, write_archive(tmp_path / "x.zip", files))
    assert sizes == {name: len(content) for name, content in files.items()}
    assert {name: (out / name).read_bytes() for name in files} == files
    assert (out / "a/whole.ogg").stat().st_ino == inode
    assert (out / "a/mine.txt").is_file()
    assert not (out / "a/.dawnchorus-0123abcd.tmp.ogg").exists()


def test_empty_folders_and_empty_files_are_no_trouble(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.mkdir("empty")
        archive.writestr("nothing.csv", b"")
    assert unpack_into(tmp_path / "out", tmp_path / "x.zip") == {"nothing.csv": 0}
    assert (tmp_path / "out/nothing.csv").read_bytes() == b""


def damaged_in_the_middle(archive: bytearray) -> None:
    archive[len(archive) // 2] ^= 0xFF


def cut_off(archive: bytearray) -> None:
    del archive[len(archive) // 2 :]


def marked_as_encrypted(archive: bytearray) -> None:
    archive[6] |= 1
    archive[archive.index(b"PK\x01\x02") + 8] |= 1


def pointing_before_its_beginning(archive: bytearray) -> None:
    archive[archive.index(b"PK\x05\x06") + 18] ^= 0xFF  # where its table of contents begins


def of_unknown_compression(archive: bytearray) -> None:
    archive[8] = 97
    archive[archive.index(b"PK\x01\x02") + 10] = 97


@pytest.mark.parametrize(
    "damage",
    [
        damaged_in_the_middle,
        cut_off,
        marked_as_encrypted,
        of_unknown_compression,
        pointing_before_its_beginning,
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_archive_is_told_and_leaves_no_half_files(
    tmp_path: Path, damage: object, compression: int
) -> None:
    content = bytes(np.random.default_rng(0).integers(0, 30, 50_000, dtype=np.uint8))
    archive = bytearray(zipped({"a.ogg": content}, compression=compression))
    assert callable(damage)
    damage(archive)
    (tmp_path / "x.zip").write_bytes(archive)
    with pytest.raises(
        DamagedArchiveError, match=r"the test: its archive cannot be unpacked \(.+\); what came"
    ):
        unpack_into(tmp_path / "out", tmp_path / "x.zip")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("cuts", [[0, 7], [1, 1, 2, 40, 41], [10, 60, 61]])
def test_pieces_read_like_the_file_they_were(tmp_path: Path, cuts: list[int]) -> None:
    whole = np.random.default_rng(1).bytes(64)
    pieces = []
    for k, (begin, end) in enumerate(zip([0, *cuts], [*cuts, 64], strict=True)):
        pieces.append(tmp_path / f"{k}")
        pieces[-1].write_bytes(whole[begin:end])
    expected = io.BytesIO(whole)
    with open_joined(pieces) as joined:
        assert joined.read() == whole
        for offset, whence, n_bytes in [(3, 0, 60), (-5, 2, 9), (-2, 1, 2), (0, 0, 1), (70, 0, 4), (0, 0, 0)]:
            assert joined.seek(offset, whence) == expected.seek(offset, whence)
            assert joined.read(n_bytes) == expected.read(n_bytes)
            assert joined.tell() == expected.tell()
        with pytest.raises(ValueError, match="position -1 lies before the beginning"):
            joined.raw.seek(-1)
    with open_joined([]) as nothing:
        assert nothing.read() == b""
