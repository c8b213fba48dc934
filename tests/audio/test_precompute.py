"""Converting a folder: resumable, killable, and no bad file stops the rest."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from dawnchorus.audio import precompute
from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_folder
from dawnchorus.audio.store import read_stored_crop, store_path
from dawnchorus.errors import DataError, DawnchorusError

COMMAND = """
import sys; from pathlib import Path
from dawnchorus.audio.precompute import precompute_folder
precompute_folder(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def sounds(folder: Path) -> dict[str, bytes]:
    contents = {}
    for path in folder.rglob("*.hdf5"):
        with h5py.File(path) as file:
            contents[path.relative_to(folder).as_posix()] = file["au"][:].tobytes()
    return contents


def test_a_folder_is_converted_in_parallel_and_then_skipped(data_factory, tmp_path):
    audio = data_factory.recordings(2, 4, (1.0, 2.0))
    features = tmp_path / "features"
    report = precompute_folder(audio, features, PrecomputeSettings(n_cores=2))
    assert (report.n_done, report.n_skipped, report.n_left_out, report.failures) == (8, 0, 0, [])
    total = 0
    for path in [path for path in audio.rglob("*") if path.suffix in {".wav", ".flac", ".ogg", ".mp3"}]:
        wave = load_audio(path)
        stored = read_stored_crop(store_path(features, path.relative_to(audio)), 0, len(wave) + 1)
        np.testing.assert_allclose(stored, wave, atol=1e-4)
        total += len(wave)
    assert report.hours_done == pytest.approx(total / 32_000 / 3600)
    again = precompute_folder(audio, features)
    assert (again.n_done, again.n_skipped, again.hours_done) == (0, 8, 0)


def test_a_changed_recording_or_setting_is_converted_again(data_factory, tmp_path):
    for name in ("a.wav", "b.wav"):
        data_factory.tone(name)
    features = tmp_path / "features"
    precompute_folder(data_factory.root, features)
    data_factory.tone("a.wav", duration_s=2)
    assert precompute_folder(data_factory.root, features).n_done == 1
    settings = PrecomputeSettings(sample_rate=16_000, normalize=True)
    assert precompute_folder(data_factory.root, features, settings).n_done == 2
    assert np.abs(read_stored_crop(features / "a.wav.hdf5", 0, 99_999)).max() == pytest.approx(1)


def test_bad_files_are_listed_and_the_list_goes_when_they_are_mended(data_factory, tmp_path):
    data_factory.tone("good, really.wav")
    bad = data_factory.root / "sub" / "bad.wav"
    bad.parent.mkdir()
    bad.touch()
    features = tmp_path / "features"
    report = precompute_folder(data_factory.root, features)
    assert (report.n_done, len(report.failures)) == (1, 1)
    with (features / "failures.csv").open() as file:
        assert list(csv.reader(file)) == [["path", "reason"], ["sub/bad.wav", f"{bad}: empty (0 bytes)"]]
    data_factory.tone("sub/bad.wav")
    assert precompute_folder(data_factory.root, features).n_done == 1
    assert not (features / "failures.csv").exists()


def test_a_place_that_cannot_be_written_is_a_failure_of_that_recording(data_factory, tmp_path):
    data_factory.tone("a/x.wav")
    data_factory.tone("b/x.wav")
    features = tmp_path / "features"
    features.mkdir()
    (features / "a").touch()
    report = precompute_folder(data_factory.root, features)
    assert report.n_done == 1
    assert "x.wav.hdf5: cannot be written; " in report.failures[0].reason


def test_the_biggest_come_first_while_there_is_room(data_factory, tmp_path, monkeypatch):
    for seconds in (1, 3, 2):
        data_factory.tone(f"{seconds}.wav", duration_s=seconds)
    (data_factory.root / "bad.wav").touch()
    usage = shutil.disk_usage(tmp_path)._replace(free=int(1e9) + 5 * 64_000)  # room for 3 s and 2 s
    monkeypatch.setattr(precompute.shutil, "disk_usage", lambda folder: usage)
    settings = PrecomputeSettings(only_biggest=True, leave_gb=1.0)
    report = precompute_folder(data_factory.root, tmp_path / "features", settings)
    assert (report.n_done, report.n_left_out) == (2, 2)
    assert sorted(sounds(tmp_path / "features")) == ["2.wav.hdf5", "3.wav.hdf5"]


def test_a_full_disk_stops_with_one_sentence_and_keeps_what_is_whole(data_factory, tmp_path, monkeypatch):
    for name in ("a.wav", "b.wav"):
        data_factory.tone(name)
    write = precompute.write_store

    def write_until_full(path, *args, **kwargs):
        if path.name == "b.wav.hdf5":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *args, **kwargs)

    monkeypatch.setattr(precompute, "write_store", write_until_full)
    with pytest.raises(
        DawnchorusError, match="features: the disk is full; the stores that are written are whole"
    ):
        precompute_folder(data_factory.root, tmp_path / "features")
    assert sorted(sounds(tmp_path / "features")) == ["a.wav.hdf5"]


def test_a_missing_or_empty_folder_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        precompute_folder(tmp_path / "absent", tmp_path / "features")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no recordings here or below"):
        precompute_folder(tmp_path / "empty", tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_what_dead_runs_left_is_removed_and_what_living_ones_write_is_not(data_factory, tmp_path):
    data_factory.tone("a.wav")
    features = tmp_path / "features"
    (features / "deep").mkdir(parents=True)
    old, new = features / "deep/.dawnchorus-1.tmp", features / ".dawnchorus-2.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, time.time() - 4_000))
    precompute_folder(data_factory.root, features)
    assert not old.exists()
    assert new.exists()


def test_after_kill_9_the_next_run_ends_with_the_sound_of_an_undisturbed_one(data_factory, tmp_path):
    for k in range(25):
        data_factory.tone(f"{k}.ogg", duration_s=4, frequency_hz=500 + k)
    audio, features, undisturbed = data_factory.root, tmp_path / "killed", tmp_path / "undisturbed"
    process = subprocess.Popen([sys.executable, "-c", COMMAND, audio, features], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(features.glob("*.hdf5"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    partial = sounds(features)
    report = precompute_folder(audio, features)
    precompute_folder(audio, undisturbed)
    assert 3 <= len(partial) < 25
    assert (report.n_skipped, report.n_done) == (len(partial), 25 - len(partial))
    assert sounds(features) == sounds(undisturbed)
    assert partial.items() <= sounds(undisturbed).items()
