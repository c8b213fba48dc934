"""Files appear whole or not at all, whatever happens meanwhile, and errors name them."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import h5py
import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
import torch

from dawnchorus.errors import OverwriteError, UnsafePathError, WriteError
from dawnchorus.files import (
    FAILURES_NAME,
    Failure,
    FileVersion,
    inside,
    locked,
    mend,
    naming,
    read_failures,
    refuse_existing,
    replacement,
    replacing,
    replacing_all,
    write_failures,
    write_text,
)
from dawnchorus.formats.buffered_tables import buffered_table


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_was_there_stays_when_the_block_fails(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.mkdir() if is_folder else temporary.write_text("half")
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


def test_a_folder_takes_the_place_of_a_link_and_not_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    for place, others in (("link", ()), ("file", ()), ("file", ("other",))):
        refused = pytest.raises(
            WriteError, match="file: cannot be written: Not a directory; a folder is needed"
        )
        with (
            refused if place == "file" else nullcontext(),
            replacing_all([tmp_path / each for each in (place, *others)]) as folders,
        ):
            for folder in folders:
                folder.mkdir()
                (folder / "new").touch()
    assert names(tmp_path) == ["elsewhere/kept", "file", "link/new"]


KILLED = """
import os, sys
from pathlib import Path
from dawnchorus.files import mend, replacing, replacing_all, write_text

CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree", "open")

def die_at(change, folder):
    n_left = change
    def hook(event, arguments):
        nonlocal n_left
        if event in CHANGES and str(folder) in str(arguments[0]):
            n_left -= 1
            if n_left < 0:
                os._exit(9)
    sys.addaudithook(hook)

def write(folder, places):
    if len(places) == 1:
        with replacing(folder / places[0]) as new:
            new.mkdir()
            (new / "model").write_text("new")
    else:
        with replacing_all([folder / place for place in places]) as news:
            for new in news:
                new.mkdir()
                (new / "model").write_text("new")

places, code, change = sys.argv[2:], 9, 0
while code:
    folder = Path(sys.argv[1], str(change))
    for place in places:
        write_text(folder / place / "model", "old")
    child = os.fork()
    if not child:
        die_at(change, folder)
        write(folder, places)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    mend(folder)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == [f"{place}/model" for place in places], (change, files)
    (content,) = {(folder / file).read_text() for file in files}
    print(content)
    change += 1
"""


@pytest.mark.parametrize("places", [["bundle"], ["onnx", "openvino"]])
def test_a_kill_at_any_change_of_the_file_system_leaves_the_old_or_the_new(
    tmp_path: Path, places: list[str]
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), *places]
    contents = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert contents == sorted(contents, reverse=True), "once it is new it stays new"
    assert set(contents) == {"old", "new"}


def test_a_rename_that_fails_is_made_up_for_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("onnx", "openvino"):
        write_text(tmp_path / place / "model", "old")
    replace = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if target.name == "openvino":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return replace(path, target)

    def write() -> None:
        with replacing_all([tmp_path / "onnx", tmp_path / "openvino"]) as folders:
            for folder in folders:
                folder.mkdir()
                (folder / "model").write_text("new")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", failing)
        with pytest.raises(WriteError, match="onnx: cannot be written: Permission denied"):
            write()
    write_text(tmp_path / "another.txt", "a job that starts later")
    assert names(tmp_path) == ["another.txt", "onnx/model", "openvino/model"]
    assert (tmp_path / "openvino" / "model").read_text() == "new"


def test_what_killed_processes_left_goes_when_another_writes_there(tmp_path: Path) -> None:
    left = [".dawnchorus-0123abcd.tmp.csv", ".dawnchorus-89abcdef.staged/a", ".dawnchorus-89abcdef.lock"]
    ours = [".dawnchorus-notes.txt", ".0123abcd.tmp", "a.tmp"]
    for name in (*left, *ours):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    write_text(tmp_path / "new.txt", "new")
    assert names(tmp_path) == sorted([*ours, "new.txt"])


def test_what_cannot_be_put_in_place_does_not_keep_the_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stems = [f".dawnchorus-{number}{number}abcdef" for number in range(10)]
    for stem in stems:
        (tmp_path / f"{stem}.whole").mkdir()
        (tmp_path / f"{stem}.whole" / stem[-8:]).write_text("whole")
    replace, refused = Path.replace, stems[4][-8:]

    def failing(path: Path, target: Path) -> Path:
        if target.name == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    mend(tmp_path)
    placed = [stem[-8:] for stem in stems if stem[-8:] != refused]
    assert names(tmp_path) == sorted([f"{stems[4]}.whole/{refused}", *placed])


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        mend(tmp_path)
        assert temporary.is_file()
    assert names(tmp_path) == ["a.txt"]


def test_without_locks_files_are_written_and_nothing_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(replacement, "_lock", no_locks)
    (tmp_path / ".dawnchorus-0123abcd.tmp").touch()
    write_text(tmp_path / "a.txt", "whole")
    with locked(tmp_path / "a.txt") as is_free:
        assert is_free
    assert names(tmp_path) == [".dawnchorus-0123abcd.tmp", "a.txt"]


def test_the_umask_gives_the_permissions(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with replacing(tmp_path / "model") as temporary:
            temporary.mkdir(0o700)
            (temporary / "weights.bin").touch(0o600)
        with replacing(tmp_path / "weights.bin") as temporary:
            temporary.touch(0o600)
    finally:
        os.umask(umask)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("model", *names(tmp_path))}
    assert modes == {"model": 0o750, "model/weights.bin": 0o640, "weights.bin": 0o640}


def test_files_and_folders_are_synced_before_they_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def sync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, names(tmp_path)))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not say which file a descriptor is of")
    monkeypatch.setattr(os, "fsync", sync)
    write_text(tmp_path / "a.txt", "whole")
    (first, before), (second, after) = synced
    assert first.endswith(".tmp.txt")
    assert "a.txt" not in before
    assert second == tmp_path.name
    assert "a.txt" in after
    synced.clear()
    write_text(tmp_path / "a.txt", "made again where it is damaged", sync=False)
    assert synced == []


# What cannot be written is told in a sentence.


@contextmanager
def sizes_limited(n_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


NOISE = np.random.default_rng(0).normal(size=200_000)


def _write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["noise"] = NOISE


def _write_onnx(path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(NOISE, "noise")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor])), path)


def _write_buffered(path: Path) -> None:
    with buffered_table(path, pa.schema([("noise", pa.float64())])) as table:
        table.add([pa.array(NOISE)])


WRITERS: dict[str, Callable[[Path], object]] = {
    "csv": lambda path: pd.DataFrame({"noise": NOISE}).to_csv(path),
    "hdf5": _write_hdf5,
    "npz": lambda path: np.savez(path, noise=NOISE),
    "onnx": _write_onnx,
    "parquet": lambda path: pd.DataFrame({"noise": NOISE}).to_parquet(path),
    "pth": lambda path: torch.save(torch.from_numpy(NOISE), path),
    "txt": lambda path: path.write_text(str(NOISE.tolist())),
}


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_full_disk_is_told_by_the_name_of_the_file_whatever_library_writes(
    small_disk: Path, kind: str
) -> None:
    path = small_disk / "tables" / f"noise.{kind}"
    message = r"noise\.\w+: cannot be written: No space left on device \(.* MB are free\); make room, and run"
    with pytest.raises(WriteError, match=message), replacing(path) as temporary:
        WRITERS[kind](temporary)
    assert names(small_disk) == []


def test_a_full_disk_is_told_by_a_buffered_table(small_disk: Path) -> None:
    with pytest.raises(WriteError, match=r"noise\.parquet: cannot be written: No space left"):
        _write_buffered(small_disk / "noise.parquet")


@pytest.mark.parametrize("kind", ["csv", "npz", "txt"])
def test_a_file_that_grows_too_large_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"noise.{kind}"
    with (
        pytest.raises(WriteError, match=r"noise\.\w+: cannot be written: File too large; raise the limit"),
        replacing(path) as temporary,
        sizes_limited(100_000),
    ):
        WRITERS[kind](temporary)
    assert names(tmp_path) == []


def test_a_name_that_is_too_long_and_a_file_in_place_of_a_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="x: cannot be written: File name too long; choose a shorter name"):
        write_text(tmp_path / f"{'x' * 300}", "text")
    with pytest.raises(WriteError, match=r"a\.txt: cannot be written: .*: choose another name"):
        write_text(tmp_path / "file" / "a.txt", "text")


def test_an_error_of_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="other") as told, naming(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "other")
    assert not isinstance(told.value, WriteError)
    with pytest.raises(ValueError, match="wrong"), naming(tmp_path / "a.txt"):
        raise ValueError("wrong")


# Lists, guards and versions.


def test_failures_are_read_as_written_and_an_old_list_goes_when_there_are_none(tmp_path: Path) -> None:
    failures = [Failure(Path("a, b.wav"), "a, b.wav: empty (0 bytes)")]
    write_failures(tmp_path, failures)
    assert read_failures(tmp_path) == failures
    write_failures(tmp_path, [])
    assert not (tmp_path / FAILURES_NAME).exists()
    assert read_failures(tmp_path) == []
    (tmp_path / FAILURES_NAME).write_text("somebody's,own\n1,2\n")
    assert read_failures(tmp_path) == []


def test_what_is_there_is_refused_by_its_name_unless_it_is_forced(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    refuse_existing(None, tmp_path / "new", force=False)
    refuse_existing(tmp_path / "there", force=True)
    with pytest.raises(OverwriteError, match="there exists; choose another name, or overwrite it"):
        refuse_existing(tmp_path / "new", tmp_path / "there", force=False)


def test_a_pipe_has_no_version(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a file"):
        FileVersion.of(tmp_path / "pipe")


OUTSIDE = ["../victim", "a/../../victim", "a/..", "..", ".", "", "/etc/passwd", "a\0b"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePathError, match=r"note\.json names .* does not lie below .*correct the name"):
        inside(tmp_path, name, named_in="note.json")


@pytest.mark.parametrize("name", ["a.wav", "a/b c.wav", "..a/b..", ".hidden", "rec_12:30.wav", "ä\udcff"])
def test_a_name_that_lies_in_its_folder_is_a_path(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name, named_in="note.json") == tmp_path / name
