"""Converting recordings: resumable, killable, and no bad file stops the rest."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from ctypes.util import find_library
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from dawnchorus.audio import conversion
from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings, verify_stores
from dawnchorus.audio.source import open_stored
from dawnchorus.audio.store import store_path
from dawnchorus.audio.store_layout import BLOCK, StoreSettings
from dawnchorus.audio.store_writing import write_store
from dawnchorus.errors import DataError
from dawnchorus.files import FileVersion

COMMAND = [sys.executable, "-m", "dawnchorus", "precompute"]
FORMATS = (".wav", ".flac", ".ogg", ".mp3")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("[!.]*.hdf5")}


def temporary_files(folder: Path) -> list[Path]:
    return list(folder.rglob(".dawnchorus-*"))


def dawnchorus(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, **options)


def kill_group(process: subprocess.Popen) -> None:
    """Kill a process and its workers, and wait until all of them are gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 1  # where nobody collects orphans, they stay in the group for ever
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.01)


def read_list(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def test_a_recording_mended_in_place_with_its_time_set_back_is_converted_again(data_factory, tmp_path):
    path = data_factory.tone("owl.wav", 4.0, 900)
    precompute_recordings(data_factory.root, tmp_path)
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 0x10
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    report = precompute_recordings(data_factory.root, tmp_path)
    assert (report.n_done, report.n_replaced, report.n_skipped) == (1, 1, 0)
    assert precompute_recordings(data_factory.root, tmp_path).n_skipped == 1


def test_a_store_of_an_earlier_release_without_a_digest_stays(data_factory, tmp_path):
    path = data_factory.tone("owl.wav", 4.0, 900)
    write_store(
        tmp_path / "owl.wav.hdf5",
        [np.zeros(128_000, np.float32)],
        StoreSettings(),
        n_samples=128_000,
        source=FileVersion.of(path),
    )
    assert precompute_recordings(data_factory.root, tmp_path).n_skipped == 1


def test_a_folder_is_converted_in_parallel_and_then_skipped(data_factory, tmp_path):
    audio = data_factory.recordings(2, 4, (1.0, 2.0))
    features = tmp_path / "features"
    report = precompute_recordings(audio, features, PrecomputeSettings(n_cores=2))
    assert (report.n_done, report.n_skipped, report.left_out, report.failures) == (8, 0, [], [])
    total = 0
    for path in [path for path in audio.rglob("*") if path.suffix in FORMATS]:
        wave = load_audio(path)
        stored = open_stored(store_path(features, path.relative_to(audio)))
        np.testing.assert_allclose(stored.read(0, len(wave) + 1), wave, atol=1 / 65_534)
        total += len(wave)
    assert report.hours_done == pytest.approx(total / 32_000 / 3600)
    again = precompute_recordings(audio, features)
    assert (again.n_done, again.n_skipped, again.hours_done) == (0, 8, 0)


def test_a_changed_recording_or_setting_is_converted_again(data_factory, tmp_path):
    for name in ("a.wav", "b.wav"):
        data_factory.tone(name)
    features = tmp_path / "features"
    precompute_recordings(data_factory.root, features)
    data_factory.tone("a.wav", duration_s=2)
    assert precompute_recordings(data_factory.root, features).n_done == 1
    os.utime(data_factory.root / "b.wav", ns=(1, 1))
    assert precompute_recordings(data_factory.root, features).n_done == 1
    settings = PrecomputeSettings(StoreSettings(sample_rate=16_000, normalize=True))
    assert precompute_recordings(data_factory.root, features, settings).n_done == 2
    stored = open_stored(features / "a.wav.hdf5")
    assert stored.sample_rate == 16_000
    assert np.abs(stored.read(0, 99_999)).max() == pytest.approx(1)


def test_bad_files_are_listed_with_the_reason_and_the_rest_is_converted(data_factory, tmp_path):
    root, expected = data_factory.root, {}
    for suffix in FORMATS:
        whole = data_factory.tone(f"good/whole{suffix}", duration_s=4, noise=0.1).read_bytes()
        (root / "bad").mkdir(exist_ok=True)
        (root / f"bad/cut{suffix}").write_bytes(whole[: len(whole) // 2])
        (root / f"bad/header{suffix}").write_bytes(whole[:44])
        (root / f"bad/empty{suffix}").touch()
        (root / f"bad/text{suffix}").write_text("this is not a recording\n" * 40)
        expected |= {f"bad/{name}{suffix}": "" for name in ("cut", "header")}
        expected |= {f"bad/empty{suffix}": "empty (0 bytes)", f"bad/text{suffix}": "cannot be decoded"}
    data_factory.write("bad/nan.wav", np.full(9_000, np.nan), subtype="FLOAT")
    data_factory.write("bad/inf.wav", np.append(np.zeros(9_000), np.inf), subtype="FLOAT")
    data_factory.write("bad/one.wav", np.array([0.5]))
    (root / "bad/broken link.wav").symlink_to(root / "nowhere.wav")
    os.mkfifo(root / "bad/pipe.wav")
    expected |= {
        "bad/nan.wav": "holds NaN or infinite samples",
        "bad/inf.wav": "holds NaN or infinite samples",
        "bad/one.wav": "too short to hold a sound; it has 1 samples at 32000 Hz, and 10 ms are the least",
        "bad/broken link.wav": "cannot be read; No such file",
        "bad/pipe.wav": "not a file",
    }
    features = tmp_path / "features"
    result = dawnchorus(root, features, "--n_cores", "2")
    assert result.returncode == 2
    assert f"4 converted (0.00 h), 0 already there, 0 left out, {len(expected)} failed" in result.stdout
    assert f"the reasons are in {features / 'failures.csv'}" in result.stderr
    listed = read_list(features / "failures.csv")
    assert listed.keys() == expected.keys()
    for name, reason in listed.items():
        assert reason.startswith(f"{root / name}: ")
        assert expected[name] in reason
    assert sorted(contents(features)) == sorted(f"good/whole{suffix}.hdf5" for suffix in FORMATS)
    shutil.rmtree(root / "bad")
    assert dawnchorus(root, features).returncode == 0
    assert not (features / "failures.csv").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_listed(data_factory, tmp_path):
    data_factory.tone("a.wav").chmod(0)
    report = precompute_recordings(data_factory.root, tmp_path / "features")
    assert "a.wav: cannot be" in report.failures[0].reason


def test_what_a_file_holds_counts_and_not_what_it_is_called(data_factory, tmp_path):
    data_factory.tone("a.flac").rename(data_factory.root / "a.mp3")
    assert precompute_recordings(data_factory.root, tmp_path / "features").n_done == 1


def test_names_of_all_kinds_are_kept(data_factory, tmp_path):
    names = [
        "with space.wav",
        "ä/Zaunkönig.flac",
        "🐦/🎵.ogg",
        "a" * 200 + ".wav",
        "deep/" * 20 + "b.wav",
        "b.c.wav",
    ]
    names += [
        "same.wav",
        "same.flac",
        "other/same.wav",
        "-n_cores.wav",
        "new\nline.wav",
        "'quote\".wav",
        "%s*.wav",
    ]
    for k, name in enumerate(names):
        data_factory.tone(name, frequency_hz=500 + 100 * k)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(data_factory.root / "same.wav", elsewhere / "far.wav")
    (data_factory.root / "link.wav").symlink_to(elsewhere / "far.wav")
    (data_factory.root / "linked").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(data_factory.root)
    names += ["link.wav", "linked/far.wav"]
    report = precompute_recordings(data_factory.root, tmp_path / "features")
    assert report.failures == []
    for name in names:
        wave = load_audio(data_factory.root / name)
        stored = open_stored(tmp_path / "features" / f"{name}.hdf5")
        np.testing.assert_allclose(stored.read(0, 99_999), wave, atol=1e-4)
    assert report.n_done == len(names)


def test_a_name_that_is_no_text_is_kept(data_factory, tmp_path):
    source = data_factory.tone("a.wav")
    try:
        source.rename(Path(os.fsdecode(os.fsencode(source.parent) + b"/\xff.wav")))
    except OSError:
        pytest.skip("this file system wants names to be text")
    (data_factory.root / os.fsdecode(b"bad\xfe.wav")).touch()
    report = precompute_recordings(data_factory.root, tmp_path / "features")
    assert (report.n_done, len(report.failures)) == (1, 1)
    assert b"bad\xfe.wav" in (tmp_path / "features/failures.csv").read_bytes()


def test_a_place_that_cannot_be_written_is_a_failure_of_that_recording(data_factory, tmp_path):
    data_factory.tone("a/x.wav")
    data_factory.tone("b/x.wav")
    features = tmp_path / "features"
    features.mkdir()
    (features / "a").touch()
    report = precompute_recordings(data_factory.root, features)
    assert report.n_done == 1
    assert "x.wav.hdf5: cannot be written; " in report.failures[0].reason


def test_a_json_list_names_the_recordings(data_factory, tmp_path):
    for name in ("a/x.wav", "a/y.wav", "b/x.wav"):
        data_factory.tone(name)
    table, features = data_factory.root / "list.json", tmp_path / "features"
    table.write_text(json.dumps(["a/x.wav", str(data_factory.root / "b/x.wav"), "a/./x.wav", "a/gone.wav"]))
    result = dawnchorus(table, features)
    assert result.returncode == 2
    assert "2 converted" in result.stdout
    assert sorted(contents(features)) == ["a/x.wav.hdf5", "b/x.wav.hdf5"]
    assert "No such file" in read_list(features / "failures.csv")["a/gone.wav"]

    elsewhere = tmp_path / "list.json"
    elsewhere.write_text(json.dumps([str(data_factory.root / "a/y.wav")]))
    precompute_recordings(elsewhere, features, audio_root=data_factory.root)
    assert (features / "a/y.wav.hdf5").is_file()
    elsewhere.write_text(json.dumps(["/some/where/z.wav"]))
    with pytest.raises(
        DataError, match=r"1 recordings, /some/where/z\.wav first, lie outside .*--audio_root"
    ):
        precompute_recordings(elsewhere, features)
    for text, reason in (
        ("{", "is not JSON"),
        ('{"a": 1}', "the whole is .*legal: a list"),
        ("[]", "not a list"),
    ):
        elsewhere.write_text(text)
        with pytest.raises(DataError, match=rf"list\.json:? {reason}"):
            precompute_recordings(elsewhere, features)
    for name in (".", "", "../x.wav", "a/../x.wav", "a\0b.wav", "\ud800.wav"):
        elsewhere.write_text(json.dumps([name]))
        with pytest.raises(DataError, match="is no path of a recording; write it in full, without"):
            precompute_recordings(elsewhere, features)
    elsewhere.write_bytes(b"\xef\xbb\xbf" + json.dumps(["a/y.wav"]).encode())  # as Windows editors write it
    assert precompute_recordings(elsewhere, features, audio_root=data_factory.root).n_skipped == 1
    assert list(read_list(features / "failures.csv")) == ["a/gone.wav"]  # which this list does not name
    with pytest.raises(DataError, match=r"gone\.json does not exist"):
        precompute_recordings(tmp_path / "gone.json", features)


def test_a_missing_or_empty_folder_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        precompute_recordings(tmp_path / "absent", tmp_path / "features")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no recordings here or below"):
        precompute_recordings(tmp_path / "empty", tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_the_progress_counts_hours(data_factory, tmp_path):
    for k in range(3):
        data_factory.tone(f"{k}.wav", duration_s=150, sample_rate=8_000)
    result = dawnchorus(data_factory.root, tmp_path / "features", "--sr", "8000")
    assert "0.12 of 0.12 h" in result.stderr
    assert "3 converted (0.12 h)" in result.stdout


def test_the_names_of_a_json_list_may_be_relative_to_the_working_directory(
    data_factory, tmp_path, monkeypatch
):
    data_factory.tone("a/x.wav", duration_s=0.1)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "list.json").write_text('["a/x.wav"]')
    monkeypatch.chdir(data_factory.root)
    assert precompute_recordings(lists / "list.json", tmp_path / "features").n_done == 1
    assert (tmp_path / "features/a/x.wav.hdf5").is_file()
    monkeypatch.chdir(tmp_path)
    message = r"none of 1 recordings, a/x\.wav first, is in .*lists or in .*; name .* with --audio_root"
    with pytest.raises(DataError, match=message):
        precompute_recordings(lists / "list.json", tmp_path / "others")
    assert not (tmp_path / "others").exists()


def published(path, *, rate=32_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["au"], file["sr"] = np.zeros(3_200, np.float32), rate


def test_recordings_in_the_published_layout_are_not_stored_twice_unasked(data_factory, tmp_path):
    for name in ("a/x.ogg", "a/y.ogg", "z.wav"):
        data_factory.tone(name, duration_s=0.1)
    features = tmp_path / "features"
    published(features / "a/x.hdf5")
    published(features / "a/y.hdf5")
    result = dawnchorus(data_factory.root, features)
    assert result.returncode == 1
    assert "2 of the 3 recordings are here in the published layout (2.97e-05 GB)" in result.stderr
    assert "--use-published" in result.stderr
    assert sorted(contents(features)) == ["a/x.hdf5", "a/y.hdf5"]
    report = precompute_recordings(data_factory.root, features, PrecomputeSettings(use_published=True))
    assert (report.n_done, report.n_skipped, report.failures) == (1, 2, [])
    assert sorted(contents(features)) == ["a/x.hdf5", "a/y.hdf5", "z.wav.hdf5"]
    report = precompute_recordings(data_factory.root, features, PrecomputeSettings(use_published=False))
    assert (report.n_done, report.n_skipped) == (2, 1)
    assert precompute_recordings(data_factory.root, features).n_skipped == 3


def test_published_files_that_cannot_be_used_are_no_obstacle(data_factory, tmp_path):
    for name in ("x.ogg", "y.ogg"):
        data_factory.tone(name, duration_s=0.1)
    published(tmp_path / "features/x.hdf5", rate=48_000)
    (tmp_path / "features/y.hdf5").write_bytes(b"damaged")
    assert precompute_recordings(data_factory.root, tmp_path / "features").n_done == 2


def test_without_torchaudio_the_option_names_the_extra_and_writes_nothing(data_factory, tmp_path):
    data_factory.tone("a.wav")
    hidden = "import sys; sys.modules['torchaudio'] = None; from dawnchorus.cli import main; main()"
    arguments = ["precompute", str(data_factory.root), str(tmp_path / "features"), "--use_torchaudio"]
    result = subprocess.run([sys.executable, "-c", hidden, *arguments], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: --use_torchaudio needs the extra dawnchorus[torchaudio]")
    assert not (tmp_path / "features").exists()


_IN_FULL = """
import sys
from pathlib import Path
import numpy as np
from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.torchaudio_decode import load_with_torchaudio
path = Path(sys.argv[1])
found, expected = load_with_torchaudio(path, sample_rate=32_000), load_audio(path)
np.testing.assert_allclose(found[1_000:60_000], expected[1_000:60_000], atol=0.01)
"""


@pytest.fixture(scope="module")
def torchaudio_folder(tmp_path_factory):
    """A folder with torchaudio, torchcodec and FFmpeg's libraries, beside the torch that is installed."""
    folder = tmp_path_factory.mktemp("torchaudio")
    for packages, target in ((("torchaudio", "torchcodec"), "packages"), (("av",), "av")):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / target]
        installed = subprocess.run([*pip, *packages], capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"no packages can be installed here: {installed.stderr.strip().splitlines()[-1]}")
    (folder / "libraries").mkdir()
    for library in folder.glob("av/av.libs/lib*.so*"):
        name = re.sub(r"-[0-9a-f]+(\.so\.\d+).*", r"\1", library.name)  # as the system would name it
        (folder / "libraries" / name).symlink_to(library)
    return folder


@pytest.mark.stress
@pytest.mark.skipif(sys.platform != "linux", reason="the test finds FFmpeg's libraries as Linux does")
def test_with_torchaudio_recordings_are_converted_where_ffmpeg_is(data_factory, tmp_path, torchaudio_folder):
    path = data_factory.tone("a.wav", duration_s=2, sample_rate=48_000, n_channels=2, noise=0.0)
    own = [str(torchaudio_folder / "packages"), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(own), "LD_LIBRARY_PATH": ""}
    arguments = (data_factory.root, tmp_path / "features", "--use_torchaudio")
    if find_library("avutil") is None:
        result = dawnchorus(*arguments, env=environment)
        assert result.returncode == 1
        assert "install the shared libraries of FFmpeg" in result.stderr
        assert not (tmp_path / "features").exists()
    libraries = [torchaudio_folder / "libraries", torchaudio_folder / "av" / "av.libs"]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
    result = dawnchorus(*arguments, env=environment)
    assert result.returncode == 0, result.stderr
    assert "1 converted" in result.stdout
    subprocess.run([sys.executable, "-c", _IN_FULL, path], env=environment, check=True)


def test_damaged_stores_are_found_and_listed(data_factory, tmp_path):
    for k in range(4):
        data_factory.tone(f"{k % 2}/{k}.wav", duration_s=2)
    features = tmp_path / "features"
    precompute_recordings(data_factory.root, features)
    assert verify_stores(features, n_cores=2).damaged == []
    flipped, cut = features / "0/2.wav.hdf5", features / "1/1.wav.hdf5"
    data = bytearray(flipped.read_bytes())
    data[-BLOCK] ^= 1
    flipped.write_bytes(data)
    cut.write_bytes(cut.read_bytes()[:-2])
    for arguments in ((features,), (data_factory.root, features)):
        result = dawnchorus(*arguments, "--verify")
        assert result.returncode == 2
        assert "2 whole, 2 damaged" in result.stdout
        for path in (flipped, cut):
            assert f"{path}: damaged or not a store" in result.stdout
        assert result.stdout.count("delete it and run `dawnchorus precompute` again") == 2
    assert list(read_list(features / "damaged.csv")) == ["0/2.wav.hdf5", "1/1.wav.hdf5"]
    assert f"`dawnchorus precompute AUDIO {features}` makes them again" in result.stderr
    report = precompute_recordings(data_factory.root, features)
    assert (report.n_done, report.n_replaced, report.n_skipped) == (2, 2, 2)
    assert dawnchorus(features, "--verify").returncode == 0
    assert not (features / "damaged.csv").exists()
    assert "absent: no such folder" in dawnchorus(tmp_path / "absent", "--verify").stderr
    assert "no HDF5 files here or below" in dawnchorus(data_factory.root, "--verify").stderr


def test_verifying_follows_links_and_names_the_damage_where_no_list_can_be_written(data_factory, tmp_path):
    data_factory.tone("a.wav")
    features, elsewhere = tmp_path / "features", tmp_path / "elsewhere"
    precompute_recordings(data_factory.root, elsewhere)
    data = bytearray((elsewhere / "a.wav.hdf5").read_bytes())
    data[-9] ^= 1
    (elsewhere / "a.wav.hdf5").write_bytes(data)
    features.mkdir()
    (features / "linked").symlink_to(elsewhere)
    (features / "damaged.csv").mkdir()  # nothing can be written here, not even by root
    result = dawnchorus(features, "--verify")
    assert result.returncode == 2
    assert f"{features / 'linked/a.wav.hdf5'}: damaged or not a store" in result.stdout
    assert "damaged.csv: cannot be written" in result.stderr


def test_a_recording_that_changes_during_the_run_is_listed_and_the_rest_converted(
    data_factory, tmp_path, monkeypatch
):
    for name in ("a.wav", "b.wav", "c.wav"):
        data_factory.tone(name)
    count, n_calls = conversion.count_samples, {}

    def count_and_change(path, *, sample_rate, salvage=False):
        n_calls[path.name] = n_calls.get(path.name, 0) + 1
        n_samples = count(path, sample_rate=sample_rate, salvage=salvage)
        if path.name == "a.wav" and n_calls[path.name] == 2:
            data_factory.tone("a.wav", duration_s=2)  # after it was counted, before it is read
        if path.name == "b.wav":
            data_factory.tone("b.wav", duration_s=3).unlink()
        return n_samples

    monkeypatch.setattr(conversion, "count_samples", count_and_change)
    report = precompute_recordings(data_factory.root, tmp_path / "features")
    reasons = {failure.path.name: failure.reason for failure in report.failures}
    assert report.n_done == 1
    assert "a.wav: cannot be stored; 32000 samples were announced" in reasons["a.wav"]
    assert "b.wav: cannot be read; No such file" in reasons["b.wav"]
    assert temporary_files(tmp_path) == []


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_sound_that_overflows_is_listed(data_factory, tmp_path):
    wave = np.tile(np.float32([3.3e38, -3.3e38, -3.3e38]), 9_000)
    data_factory.write("loud.wav", wave, 48_000, subtype="FLOAT")
    report = precompute_recordings(data_factory.root, tmp_path / "features")
    assert "loud.wav: cannot be stored; NaN or infinite samples" in report.failures[0].reason


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="this system does not tell a process's children"
)
def test_a_killed_worker_ends_the_run_with_one_sentence(data_factory, tmp_path):
    for k in range(40):
        data_factory.tone(f"{k}.ogg", duration_s=30, frequency_hz=500 + k)
    (data_factory.root / "bad.ogg").touch()
    features = tmp_path / "features"
    process = subprocess.Popen(
        [*COMMAND, str(data_factory.root), str(features), "--n_cores", "2"], stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not any(features.rglob("[!.]*.hdf5")):
        time.sleep(0.001)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [
        int(child) for child in children if b"LokyProcess" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "error: a process was killed, perhaps for want of memory; use fewer --n_cores" in stderr
    assert list(read_list(features / "failures.csv")) == ["bad.ogg"]
    assert precompute_recordings(data_factory.root, features).n_skipped >= 1
    assert temporary_files(features) == []


@pytest.mark.stress
@pytest.mark.parametrize("n_kills", [2, 10])
def test_kills_at_random_moments_change_nothing(data_factory, tmp_path, n_kills):
    audio, undisturbed = data_factory.root, tmp_path / "undisturbed"
    for k in range(60):
        data_factory.tone(f"{k % 3}/{k}.ogg", duration_s=20, frequency_hz=500 + k)
    precompute_recordings(audio, undisturbed)
    whole = contents(undisturbed)
    random.seed(0)
    for k in range(n_kills):
        features = tmp_path / f"killed {k}"
        n_cores = 1 + k % 2
        process = subprocess.Popen(
            [*COMMAND, str(audio), str(features), "--n_cores", str(n_cores)],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        n_awaited = random.randint(0, 45)
        while process.poll() is None and len(list(features.rglob("[!.]*.hdf5"))) < n_awaited:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.03))
        kill_group(process)
        partial = contents(features)
        assert len(partial) < 60
        assert partial.items() <= whole.items()
        report = precompute_recordings(audio, features)
        assert (report.n_skipped, report.n_done) == (len(partial), 60 - len(partial))
        assert contents(features) == whole
        assert temporary_files(features) == []


def test_files_that_are_being_written_are_not_taken_for_abandoned(data_factory, tmp_path):
    data_factory.tone("a.wav")
    features = tmp_path / "features"
    (features / "deep").mkdir(parents=True)
    (features / "deep/.dawnchorus-0123abcd.tmp.hdf5").touch()
    code = (
        "import sys, time; from pathlib import Path; from dawnchorus.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n"
        "    file.touch(); print('writing', flush=True); sys.stdin.read()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, features / "other.hdf5"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == b"writing\n"
        precompute_recordings(data_factory.root, features)
        assert sorted(path.suffix for path in temporary_files(features)) == [".hdf5", ".lock"]
        writer.stdin.close()
    assert writer.returncode == 0
    assert (features / "other.hdf5").is_file()
    assert temporary_files(features) == []


def test_two_conversions_into_one_folder_both_end_and_tear_nothing(data_factory, tmp_path):
    for k in range(30):
        data_factory.tone(f"{k}.flac", duration_s=15, frequency_hz=500 + k)
    undisturbed, features = tmp_path / "undisturbed", tmp_path / "features"
    precompute_recordings(data_factory.root, undisturbed)
    command = [*COMMAND, str(data_factory.root), str(features), "--n_cores", "2"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    assert contents(features) == contents(undisturbed)
    assert temporary_files(features) == []


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
    else:
        pytest.skip("mounting a small disk is not allowed here")


def test_a_recording_too_large_for_the_file_system_is_listed_and_the_rest_converted(data_factory, tmp_path):
    resource = pytest.importorskip("resource")
    for seconds in (1, 30, 2):
        data_factory.tone(f"{seconds}.flac", duration_s=seconds)
    result = dawnchorus(
        data_factory.root,
        tmp_path / "features",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert result.returncode == 2
    assert sorted(contents(tmp_path / "features")) == ["1.flac.hdf5", "2.flac.hdf5"]
    reason = read_list(tmp_path / "features/failures.csv")["30.flac"]
    assert "30.flac.hdf5: cannot be written; File too large" in reason
    assert temporary_files(tmp_path) == []


@pytest.mark.parametrize("n_cores", ["1", "2"])
def test_a_full_disk_ends_with_one_sentence_and_keeps_what_is_whole(data_factory, small_disk, n_cores):
    disk = small_disk
    for k in range(12):
        data_factory.tone(f"{k:02d}.flac", duration_s=10 if k < 4 else 30)
    (data_factory.root / "bad.flac").touch()
    features = disk / "features"
    result = dawnchorus(data_factory.root, features, "--n_cores", n_cores)
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith(f"error: {features}: no space left on the disk; make room; ")
    assert message.endswith("are converted and whole, run the same command again for the rest")
    assert "Traceback" not in result.stderr
    assert temporary_files(disk) == []
    written = contents(features)
    assert 2 <= len(written) < 12
    assert f"{len(written)} of 12 recordings are converted" in message
    left_out = read_list(features / "left_out.csv")
    assert len(left_out) == 12 - len(written)
    assert all("not reached before the run had to stop" in reason for reason in left_out.values())
    assert list(read_list(features / "failures.csv")) == ["bad.flac"]
    assert verify_stores(features).damaged == []
    for k in range(4, 12):
        (data_factory.root / f"{k:02d}.flac").unlink()
        (features / f"{k:02d}.flac.hdf5").unlink(missing_ok=True)
    result = dawnchorus(data_factory.root, features, "--n_cores", n_cores)
    assert result.returncode == 2
    assert len(contents(features)) == 4


def test_the_biggest_come_first_while_there_is_room(data_factory, small_disk):
    disk = small_disk
    for seconds in (10, 30, 20):
        data_factory.tone(f"{seconds}.wav", duration_s=seconds)
    result = dawnchorus(data_factory.root, disk / "features", "--only_biggest", "--leave_gb", "0.0015")
    assert result.returncode == 0
    assert "2 converted (0.01 h), 0 already there, 1 left out, 0 failed" in result.stdout
    assert sorted(contents(disk)) == ["features/20.wav.hdf5", "features/30.wav.hdf5"]
    left_out = read_list(disk / "features/left_out.csv")
    assert list(left_out) == ["10.wav"]
    assert left_out["10.wav"].endswith("10.wav: left out, so that 0.0015 GB of the disk stay free")
    (disk / "features/20.wav.hdf5").unlink()
    everything = precompute_recordings(data_factory.root, disk / "features", PrecomputeSettings(leave_gb=0))
    assert everything.left_out == []
    assert not (disk / "features/left_out.csv").exists()


PEAK_MEMORY = """
import re, sys
from pathlib import Path
from dawnchorus.audio.precompute import precompute_recordings
assert precompute_recordings(Path(sys.argv[1]), Path(sys.argv[2])).n_done == 1
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.stress
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak memory in /proc")
def test_memory_does_not_grow_with_the_length_of_a_recording(tmp_path):
    noise = np.random.default_rng(0).integers(-9_000, 9_000, 48_000 * 60, dtype=np.int16)
    peaks = []
    for minutes in (1, 60):
        path = tmp_path / f"{minutes}/long.wav"
        path.parent.mkdir()
        with soundfile.SoundFile(path, "w", 48_000, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(noise)
        command = [sys.executable, "-c", PEAK_MEMORY, str(path.parent), str(tmp_path / f"out {minutes}")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) // 1024)
    assert peaks[1] < peaks[0] + 20
    assert peaks[1] < 500
