"""Headers of many recordings, kept between runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dawnchorus.audio import container, headers
from dawnchorus.audio.container import AudioInfo
from dawnchorus.audio.decode import load_audio
from dawnchorus.audio.headers import CACHE_VARIABLE, cache_dir, read_headers
from dawnchorus.errors import AudioError


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """The names of the files whose headers are really read, in a new cache folder."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    names = []
    real = container._info_of

    def counting(path, size):
        names.append(path.name)
        return real(path, size)

    monkeypatch.setattr(container, "_info_of", counting)
    monkeypatch.setattr(container, "_known_infos", {})
    return names


def forget(monkeypatch):
    """Do as a new process would: know nothing."""
    monkeypatch.setattr(container, "_known_infos", {})


def test_a_header_is_read_once_and_kept_between_processes(data_factory, opened, monkeypatch):
    for name in ("a.wav", "sub/b.ogg", "c.mp3"):
        data_factory.tone(name, duration_s=2.0, sample_rate=44_100, n_channels=2)
    names = ["a.wav", "sub/b.ogg", "c.mp3"]
    first = read_headers(data_factory.root, names)
    assert first[0] == AudioInfo(44_100, 88_200, 2)
    assert sorted(opened) == ["a.wav", "b.ogg", "c.mp3"]
    forget(monkeypatch)
    assert read_headers(data_factory.root, names) == first
    assert read_headers(data_factory.root, names[::-1]) == first[::-1]
    assert len(opened) == 3


def test_a_changed_or_new_recording_is_read_again_and_the_others_not(data_factory, opened, monkeypatch):
    for name in ("a.wav", "b.wav"):
        data_factory.tone(name, duration_s=1.0)
    read_headers(data_factory.root, ["a.wav", "b.wav"])
    data_factory.tone("a.wav", duration_s=3.0)
    data_factory.tone("c.wav", duration_s=1.0)
    opened.clear()
    forget(monkeypatch)
    found = read_headers(data_factory.root, ["a.wav", "b.wav", "c.wav"])
    assert [info.duration_s for info in found] == [3, 1, 1]
    assert sorted(opened) == ["a.wav", "c.wav"]
    forget(monkeypatch)
    opened.clear()
    assert read_headers(data_factory.root, ["a.wav", "b.wav", "c.wav"]) == found
    assert opened == []


def test_what_cannot_be_read_is_told_in_its_place_and_asked_again(data_factory, opened):
    data_factory.tone("a.wav")
    (data_factory.root / "bad.wav").write_bytes(b"RIFF nothing")
    names = ["bad.wav", "a.wav", "gone.wav"]
    for _ in range(2):
        bad, good, gone = read_headers(data_factory.root, names)
        assert isinstance(bad, AudioError)
        assert isinstance(good, AudioInfo)
        assert "No such file" in str(gone)
    assert opened.count("bad.wav") == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"path,size\n1,2\n", b"path,size,mtime_ns,sample_rate,n_frames,n_channels\na,b\n"],
)
def test_a_damaged_cache_costs_a_new_reading_and_nothing_else(data_factory, opened, monkeypatch, content):
    data_factory.tone("a.wav")
    first = read_headers(data_factory.root, ["a.wav"])
    (kept,) = (cache_dir() / "headers").iterdir()
    kept.write_bytes(content)
    forget(monkeypatch)
    assert read_headers(data_factory.root, ["a.wav"]) == first
    assert len(opened) == 2


def test_a_cache_that_cannot_be_written_is_done_without(data_factory, opened, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    data_factory.tone("a.wav")
    for _ in range(2):
        assert isinstance(read_headers(data_factory.root, ["a.wav"])[0], AudioInfo)
        forget(monkeypatch)
    assert len(opened) == 2


def test_names_that_are_no_text_are_kept_too(data_factory, opened, monkeypatch):
    data_factory.tone("a.wav")
    odd = os.fsdecode(b"r\xe9,\n.wav")
    try:
        (data_factory.root / "a.wav").rename(data_factory.root / odd)
    except OSError:
        pytest.skip("the file system takes no such name")
    first = read_headers(data_factory.root, [odd])
    forget(monkeypatch)
    assert read_headers(data_factory.root, [odd]) == first
    assert len(opened) == 1


def test_the_users_cache_folder_is_the_systems(monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert cache_dir() == tmp_path / "dawnchorus"


def test_processes_that_read_at_once_leave_a_whole_cache(data_factory, tmp_path):
    for k in range(12):
        data_factory.tone(f"{k}.wav", duration_s=0.2)
    code = (
        "import sys; from pathlib import Path; from dawnchorus.audio.headers import read_headers; "
        "print(len(read_headers(Path(sys.argv[1]), [f'{k}.wav' for k in range(12)])))"
    )
    environment = {**os.environ, CACHE_VARIABLE: str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(data_factory.root)]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in running] == ["12"] * 3
    (kept,) = Path(tmp_path / "cache" / "headers").iterdir()
    assert len(headers._read_kept(kept, data_factory.root)) == 12


def test_a_kept_row_with_a_digit_changed_is_not_believed(data_factory, opened, monkeypatch):
    data_factory.tone("a.wav", duration_s=12.0)
    first = read_headers(data_factory.root, ["a.wav"])
    (kept,) = (cache_dir() / "headers").iterdir()
    text = kept.read_text()
    kept.write_text(text.replace(",384000,", ",32000,"))
    assert kept.read_text() != text
    forget(monkeypatch)
    assert read_headers(data_factory.root, ["a.wav"]) == first


@pytest.mark.parametrize("wrong", [(32_000, 32_000, 1), (16_000, 384_000, 1), (32_000, 384_000, 2)])
def test_what_is_remembered_is_held_against_the_file(data_factory, opened, wrong):
    path = data_factory.tone("a.wav", duration_s=12.0)
    container.remember_info(container.known_info(path)[0], AudioInfo(*wrong))
    with pytest.raises(AudioError, match=r"are remembered of it, and it has 384000 at 32000 Hz; delete the"):
        load_audio(path)
