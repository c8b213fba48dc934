"""The journal: every bit comes back, and what does not belong there does not count."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawnchorus.batch.journal import Entry, Journal, version_of
from dawnchorus.errors import RunError
from dawnchorus.files.checked_json import write_checked
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.predict.window_predictions import WindowPredictions

NETWORK = {"model": "onnx 1234", "overlap or shift": [80_000, None], "embeddings": False}


@pytest.fixture
def recording(tmp_path: Path) -> RecordingFile:
    path = tmp_path / "site" / "20240501_033000.wav"
    path.parent.mkdir()
    path.write_bytes(b"sound")
    return RecordingFile(path, "site/20240501_033000.wav")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "out" / "journal")


def predictions(seed: int = 0, *, with_embeddings: bool = False, n_windows: int = 5) -> WindowPredictions:
    rng = np.random.default_rng(seed)
    starts = np.arange(n_windows, dtype=np.int64) * 160_000
    embeddings = rng.normal(size=(n_windows, 7)).astype(np.float32) if with_embeddings else None
    probabilities = rng.random((n_windows, 3)).astype(np.float32)
    return WindowPredictions(starts, starts + 160_000, probabilities, 32_000, embeddings)


def assert_same(found: WindowPredictions, expected: WindowPredictions) -> None:
    for name in ("starts", "stops", "probabilities", "embeddings"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if theirs is None:
            assert ours is None
        else:
            assert ours.dtype == theirs.dtype
            assert ours.tobytes() == theirs.tobytes()
            assert ours.shape == theirs.shape
    assert found.sample_rate == expected.sample_rate


def kept(journal: Journal, recording: RecordingFile, said: WindowPredictions | None = None) -> Entry:
    journal.write(recording, said or predictions(), version_of(recording))
    entry = journal.find(recording, version_of(recording))
    assert entry is not None
    return entry


def kept_file(journal: Journal, recording: RecordingFile, said: WindowPredictions | None = None) -> Path:
    kept(journal, recording, said)
    (path,) = journal.folder.glob("??/*.npz")
    return path


@pytest.mark.parametrize("with_embeddings", [False, True])
@pytest.mark.parametrize("n_windows", [1, 5, 3000])
def test_what_was_written_comes_back_bit_for_bit(
    journal: Journal, recording: RecordingFile, with_embeddings: bool, n_windows: int
) -> None:
    assert journal.find(recording, version_of(recording)) is None
    said = predictions(with_embeddings=with_embeddings, n_windows=n_windows)
    entry = kept(journal, recording, said)
    assert isinstance(entry, Entry)
    assert_same(entry.predictions, said)


def test_the_beginning_of_a_recording_is_kept_where_it_is_known(
    journal: Journal, recording: RecordingFile
) -> None:
    assert kept(journal, recording).start == datetime(2024, 5, 1, 3, 30)
    plain = recording.path.with_name("plain.wav")
    plain.write_bytes(b"sound")
    assert kept(journal, RecordingFile(plain, "plain.wav")).start is None


def test_recordings_of_one_file_name_have_entries_of_their_own(
    journal: Journal, recording: RecordingFile
) -> None:
    other = recording._replace(name="elsewhere/20240501_033000.wav")
    first = kept(journal, recording, predictions(1))
    second = kept(journal, other, predictions(2))
    assert len(list(journal.folder.rglob("*.npz"))) == 2
    assert_same(first.predictions, predictions(1))
    assert_same(second.predictions, predictions(2))


def test_a_name_that_is_no_unicode_has_an_entry(journal: Journal, recording: RecordingFile) -> None:
    path = recording.path.with_name(os.fsdecode(b"bird\xe9.wav"))
    path.write_bytes(b"sound")
    assert_same(kept(journal, RecordingFile(path, path.name)).predictions, predictions())


def test_a_new_entry_takes_the_place_of_the_old_one(journal: Journal, recording: RecordingFile) -> None:
    kept(journal, recording, predictions(1))
    assert_same(kept(journal, recording, predictions(2)).predictions, predictions(2))
    assert len(list(journal.folder.rglob("*.npz"))) == 1


def test_a_recording_that_changed_is_not_found(journal: Journal, recording: RecordingFile) -> None:
    kept(journal, recording)
    status = recording.path.stat()
    os.utime(recording.path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert journal.find(recording, version_of(recording)) is None, "its time is another"
    recording.path.write_bytes(b"sound!")
    os.utime(recording.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert journal.find(recording, version_of(recording)) is None, "its size is another"
    recording.path.write_bytes(b"sound")
    os.utime(recording.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert journal.find(recording, version_of(recording)) is not None
    recording.path.unlink()
    with pytest.raises(FileNotFoundError):
        version_of(recording)


def test_an_entry_is_of_the_version_that_was_read_and_not_of_one_that_came_meanwhile(
    journal: Journal, recording: RecordingFile
) -> None:
    before = version_of(recording)
    recording.path.write_bytes(b"more sound")
    journal.write(recording, predictions(), before)
    assert journal.find(recording, version_of(recording)) is None


# Damage -------------------------------------------------------------------------------------------


def test_a_cut_off_entry_counts_as_not_there(journal: Journal, recording: RecordingFile) -> None:
    path = kept_file(journal, recording)
    content = path.read_bytes()
    for n_bytes in range(0, len(content), 29):
        path.write_bytes(content[:n_bytes])
        assert journal.find(recording, version_of(recording)) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + bytes(18), b"\x93NUMPY", bytes(3000)],
    ids=["empty", "garbage", "a zip's head", "an empty zip", "an array's head", "zeros"],
)
def test_garbage_counts_as_not_there(journal: Journal, recording: RecordingFile, content: bytes) -> None:
    kept_file(journal, recording).write_bytes(content)
    assert journal.find(recording, version_of(recording)) is None


def test_a_lone_array_counts_as_not_there(journal: Journal, recording: RecordingFile) -> None:
    path = kept_file(journal, recording)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert journal.find(recording, version_of(recording)) is None


def test_an_entry_with_any_byte_changed_is_not_there_or_as_it_was(
    journal: Journal, recording: RecordingFile
) -> None:
    said = predictions()
    path = kept_file(journal, recording, said)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
        found = journal.find(recording, version_of(recording))
        if found is not None:
            assert_same(found.predictions, said)


def test_an_entry_whose_array_headers_lost_a_bit_is_not_there_or_as_it_was(
    journal: Journal, recording: RecordingFile
) -> None:
    said = predictions(n_windows=9)
    path = kept_file(journal, recording, said)
    content = path.read_bytes()
    begins = [place for place in range(len(content)) if content.startswith(b"\x93NUMPY", place)]
    for place in (place for begin in begins for place in range(begin, begin + 128, 5)):
        bit = 1 << place % 8
        path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        found = journal.find(recording, version_of(recording))
        if found is not None:
            assert_same(found.predictions, said)


def test_arrays_with_right_checksums_that_were_not_written_together_are_not_there(
    journal: Journal, recording: RecordingFile
) -> None:
    path = kept_file(journal, recording)
    with np.load(path) as arrays:
        whole = dict(arrays)
    fewer = {name: whole[name][:-1] for name in ("starts", "stops", "probabilities")}
    for changes in (fewer, {"probabilities": 1 - whole["probabilities"]}, {"sample_rate": np.int64(16_000)}):
        with path.open("wb") as file:
            np.savez(file, **{**whole, **changes})
        assert journal.find(recording, version_of(recording)) is None
        assert journal.is_damaged(recording.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"starts": np.arange(4)},
        {"probabilities": np.zeros((4, 3), np.float32)},
        {"probabilities": np.zeros(5, np.float32)},
        {"starts": np.zeros(5, np.int64)},
        {"stops": np.zeros(5, np.int64)},
        {"embeddings": np.zeros((4, 7), np.float32)},
    ],
)
def test_an_entry_without_a_digest_is_there_where_its_arrays_belong_together(
    journal: Journal, recording: RecordingFile, changes: dict[str, Any]
) -> None:
    path = kept_file(journal, recording)
    with np.load(path) as arrays:
        whole = {name: arrays[name] for name in arrays if name != "digest"}
    for given, is_there in (({}, True), (changes, False)):
        with path.open("wb") as file:
            np.savez(file, **{**whole, **given})
        assert (journal.find(recording, version_of(recording)) is not None) == is_there


def test_a_recording_is_known_without_reading_it_until_it_or_its_entry_is_touched(
    journal: Journal, recording: RecordingFile
) -> None:
    entry = kept_file(journal, recording)
    indexed = journal.known(recording)
    assert (indexed is None) == (sys.platform == "win32")
    status = recording.path.stat()
    recording.path.write_bytes(b"SOUND")
    os.utime(recording.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert journal.known(recording) is None
    recording.path.write_bytes(b"sound")
    os.utime(recording.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert journal.find(recording, version_of(recording)) is not None
    assert (journal.known(recording) is None) == (sys.platform == "win32")
    os.utime(entry, ns=(0, 0))
    assert journal.known(recording) is None


def test_where_the_file_system_has_no_time_of_status_every_recording_is_digested(
    journal: Journal, recording: RecordingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawnchorus.batch.journal._status_of", lambda path: [5, 10**18, 10**18, 7])
    kept(journal, recording)
    assert journal.known(recording) is None


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_an_entry_is_read_without_running_any_code(
    journal: Journal, recording: RecordingFile, tmp_path: Path
) -> None:
    path = kept_file(journal, recording)
    with np.load(path) as arrays:
        whole = dict(arrays)
    bomb = np.array([Bomb(tmp_path / "exploded")], dtype=object)
    for name in ("made_of", "probabilities", "began"):
        with path.open("wb") as file:
            np.savez(file, **{**whole, name: bomb})
        assert journal.find(recording, version_of(recording)) is None, name
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert journal.find(recording, version_of(recording)) is None
    assert not (tmp_path / "exploded").exists()


def test_an_entry_that_lacks_a_part_counts_as_not_there(journal: Journal, recording: RecordingFile) -> None:
    path = kept_file(journal, recording)
    with np.load(path) as arrays:
        whole = dict(arrays)
    for name in ("starts", "stops", "probabilities", "sample_rate", "made_of", "began"):
        with path.open("wb") as file:
            np.savez(file, **{key: value for key, value in whole.items() if key != name})
        assert journal.find(recording, version_of(recording)) is None, name


# Networks and processes ---------------------------------------------------------------------------


def test_entries_of_the_same_network_stay(journal: Journal, recording: RecordingFile) -> None:
    with journal.opened(NETWORK):
        kept(journal, recording)
    for anew in (False, True):
        with journal.opened(dict(NETWORK), anew=anew):
            assert journal.find(recording, version_of(recording)) is not None


@pytest.mark.parametrize(
    ("key", "value"), [("model", "onnx 5678"), ("overlap or shift", [80_000, 100]), ("embeddings", True)]
)
def test_entries_of_another_network_are_refused_or_dropped(
    journal: Journal, recording: RecordingFile, key: str, value: Any
) -> None:
    with journal.opened(NETWORK):
        kept(journal, recording)
    message = (
        rf"out holds predictions made otherwise \({key}\); choose another --out, or predict everything anew"
    )
    with pytest.raises(RunError, match=message), journal.opened({**NETWORK, key: value}):
        raise AssertionError("it was opened")
    with journal.opened(NETWORK):
        assert journal.find(recording, version_of(recording)) is not None, "the refusal changed nothing"
    with journal.opened({**NETWORK, key: value}, anew=True):
        assert journal.find(recording, version_of(recording)) is None
        assert not list(journal.folder.rglob("*.npz"))
    with pytest.raises(RunError, match="made otherwise"), journal.opened(NETWORK):
        raise AssertionError("it was opened")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000])
def test_a_damaged_note_of_the_network_is_another_network(
    journal: Journal, recording: RecordingFile, text: str
) -> None:
    with journal.opened(NETWORK):
        kept(journal, recording)
    journal.network_file.write_text(text)
    with pytest.raises(RunError, match="made otherwise"), journal.opened(NETWORK):
        raise AssertionError("it was opened")
    with journal.opened(NETWORK, anew=True):
        assert journal.find(recording, version_of(recording)) is None
    assert json.loads(journal.network_file.read_text()) == NETWORK


@pytest.mark.parametrize("index", [[], 3, {"night.wav": 3}, {"night.wav": [{}, "/card"]}])
def test_an_index_of_another_form_is_made_anew(
    journal: Journal, recording: RecordingFile, index: object
) -> None:
    with journal.opened(NETWORK):
        kept(journal, recording)
    write_checked(journal.index_file, index)
    with journal.opened(NETWORK):
        assert journal.known(recording) is None
        assert journal.find(recording, version_of(recording)) is not None
    with journal.opened(NETWORK):
        assert recording.name in journal.index


HOLDING = """
import sys
from pathlib import Path
from dawnchorus.batch.journal import Journal
with Journal(Path(sys.argv[1])).opened({}):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, files are not locked so")
def test_a_second_process_is_locked_out_until_the_first_one_is_gone(journal: Journal) -> None:
    command = [sys.executable, "-c", HOLDING, str(journal.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        message = "out is being written by another process; wait for it, or choose another --out"
        with pytest.raises(RunError, match=message), journal.opened({}):
            raise AssertionError("it was opened")
        process.kill()
    with journal.opened({}):
        pass


def test_a_journal_can_be_moved(journal: Journal, recording: RecordingFile, tmp_path: Path) -> None:
    with journal.opened(NETWORK):
        kept(journal, recording)
    shutil.move(journal.folder.parent, tmp_path / "elsewhere")
    moved = Journal(tmp_path / "elsewhere" / "journal")
    with moved.opened(NETWORK):
        assert moved.find(recording, version_of(recording)) is not None
