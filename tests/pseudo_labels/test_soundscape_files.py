"""Soundscapes by name, and dealt to folds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import DataError
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.pseudo_labels.soundscape_files import deal_soundscapes, soundscape_name, soundscapes_by_name


def recordings_named(*names: str) -> list[RecordingFile]:
    return [RecordingFile(Path(name), name) for name in sorted(names)]


def test_a_soundscape_is_called_by_its_audio_without_suffix() -> None:
    names = {"site/H1.ogg.hdf5": "H1", "H1.hdf5": "H1", "H1.5.h5": "H1.5", "H1.2.ogg": "H1.2", "H1": "H1"}
    assert {name: soundscape_name(RecordingFile(Path(name), name)) for name in names} == names


def test_soundscapes_are_dealt_evenly_and_always_alike() -> None:
    names = [f"H{number}.ogg" for number in range(23)]
    dealt = deal_soundscapes(recordings_named(*names), [0, 1, 3])
    assert dealt.unit == "soundscape"
    assert min(len(part) for part in dealt.by_fold.values()) >= 4
    assert sorted(recording.name for part in dealt.by_fold.values() for recording in part) == sorted(names)
    assert deal_soundscapes(recordings_named(*names)[::-1], [3, 0, 1]).by_fold == dealt.by_fold
    blocks = [sorted(names)[:8], sorted(names)[8:16]]
    assert [recording.name for recording in dealt.by_fold[0]] not in blocks, "hashed, not in blocks"


def test_a_soundscape_keeps_its_fold_when_others_come() -> None:
    names = [f"H{number}.ogg" for number in range(100)]
    before = deal_soundscapes(recordings_named(*names), range(5)).by_fold
    after = deal_soundscapes(recordings_named(*names, "new.ogg"), range(5)).by_fold
    for fold in range(5):
        assert set(before[fold]) <= set(after[fold])
        assert before[fold]


def test_a_site_is_not_torn_apart_where_there_are_sites_enough() -> None:
    names = [f"2024/site_{site}/day_{day}/{site}_{day}.ogg" for site in range(5) for day in range(4)]
    dealt = deal_soundscapes(recordings_named(*names), [0, 1, 2])
    assert dealt.unit == "site"
    sites = [{recording.name.split("/")[1] for recording in part} for part in dealt.by_fold.values()]
    assert sum(map(len, sites)) == len(set.union(*sites)) == 5
    assert min(map(len, dealt.by_fold.values())) >= 4
    few = deal_soundscapes(recordings_named(*names), range(6))
    assert few.unit == "soundscape"
    assert min(len(part) for part in few.by_fold.values()) >= 1


def test_what_lies_beside_the_sites_goes_by_itself() -> None:
    names = ["a/1.ogg", "a/2.ogg", "b/3.ogg", "b/4.ogg", "5.ogg", "6.ogg", "7.ogg", "8.ogg"]
    dealt = deal_soundscapes(recordings_named(*names), [0, 1])
    assert dealt.unit == "site"
    sites = [{recording.name[0] for recording in part} for part in dealt.by_fold.values()]
    assert sum(map(len, sites)) == 6, "a site, or what lies beside, is in one fold"


def test_one_soundscape_cannot_be_dealt() -> None:
    with pytest.raises(DataError, match="give two soundscapes or more"):
        deal_soundscapes(recordings_named("a.ogg"), [0, 1])


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"a/H1\.ogg and b/H1\.wav are both named H1"):
        soundscapes_by_name(recordings_named("a/H1.ogg", "b/H1.wav"))


def test_a_name_that_is_no_text_is_refused() -> None:
    name = b"H\xff.wav".decode("utf-8", "surrogateescape")
    with pytest.raises(DataError, match="is no valid UTF-8"):
        soundscapes_by_name([RecordingFile(Path(name), name)])
