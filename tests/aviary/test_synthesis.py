"""An aviary on disk: repeatable, whole or not there, never mixed with another."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from dawnchorus.aviary import Aviary, AviarySettings, make_aviary
from dawnchorus.aviary import synthesis as synthesis_module
from dawnchorus.errors import DataError

TINY = AviarySettings(
    seed=1, n_species=3, n_recordings=9, n_nocall=1, n_soundscapes=1, duration_s=(1.0, 2.0), soundscape_s=10.0
)


def digests(aviary: Aviary) -> dict[str, str]:
    """Digest of every table and every file whose bytes are promised to repeat, by path."""
    root = aviary.recordings_dir.parent
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*.*")
        if path.suffix in {".wav", ".flac", ".csv", ".json"}
    }


@pytest.fixture
def tiny(tmp_path: Path) -> Aviary:
    return make_aviary(tmp_path / "aviary", TINY, n_cores=1)


def test_the_same_seed_gives_the_same_bytes_on_one_core_and_on_two(tiny: Aviary, tmp_path: Path) -> None:
    again = make_aviary(tmp_path / "again", TINY, n_cores=2)
    assert digests(again) == digests(tiny)
    assert sum(path.endswith((".wav", ".flac")) for path in digests(tiny)) >= 4


def test_another_seed_gives_other_sounds(tiny: Aviary, tmp_path: Path) -> None:
    other = make_aviary(tmp_path / "other", replace(TINY, seed=2), n_cores=1)
    assert not set(digests(other).values()) & set(digests(tiny).values())


def test_a_finished_aviary_is_used_again(
    tiny: Aviary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis_module, "write_aviary", lambda *_, **__: pytest.fail("was made again"))
    assert make_aviary(tmp_path / "aviary", TINY) == tiny


def test_another_aviary_in_the_folder_is_refused(tiny: Aviary, tmp_path: Path) -> None:
    before = digests(tiny)
    with pytest.raises(
        DataError, match="holds another aviary, with seed 1 instead of 5; name another folder"
    ):
        make_aviary(tmp_path / "aviary", replace(TINY, seed=5))
    assert digests(tiny) == before


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds files but no aviary"):
        make_aviary(tmp_path, TINY)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "aviary").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        make_aviary(tmp_path / "aviary", TINY)


def test_an_aviary_that_lost_files_is_refused(tiny: Aviary, tmp_path: Path) -> None:
    tiny.annotations_csv.unlink()
    with pytest.raises(DataError, match=r"1 file of the aviary is gone, .*annotations\.csv"):
        make_aviary(tmp_path / "aviary", TINY)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_an_unreadable_card_is_refused(tiny: Aviary, tmp_path: Path, content: str) -> None:
    (tmp_path / "aviary" / "aviary.json").write_text(content)
    with pytest.raises(DataError, match=r"aviary\.json(: the whole is \[\]; legal: a dict| is not JSON)"):
        make_aviary(tmp_path / "aviary", TINY)


def test_a_killed_run_leaves_no_aviary_and_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthesis_module, "recordings_table", die)
        with pytest.raises(KeyboardInterrupt):
            make_aviary(tmp_path / "aviary", TINY, n_cores=1)
    assert not (tmp_path / "aviary").exists()
    make_aviary(tmp_path / "aviary", TINY, n_cores=1)
    assert {path.name for path in tmp_path.iterdir()} == {"aviary"}


def test_an_aviary_without_soundscapes_has_an_empty_table_of_them(tmp_path: Path) -> None:
    aviary = make_aviary(tmp_path / "aviary", replace(TINY, n_soundscapes=0), n_cores=1)
    assert aviary.annotations_csv.read_text() == "filename,start_s,end_s,label,low_hz,high_hz\n"
