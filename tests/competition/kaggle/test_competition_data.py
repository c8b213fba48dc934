"""Parts of a competition: where they go, what is there already, what fits. By Kaggle's real client."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pytest

from dawnchorus.competition.kaggle import archives, competition_data
from dawnchorus.competition.kaggle.competition_data import PartOutcome, plan_competition
from dawnchorus.competition.kaggle.extraction import WORK_NAME
from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS
from dawnchorus.errors import DownloadError

from .kaggle_server import (
    BACKBONE_FILES,
    BACKBONES,
    COMPETITION_FILES,
    PSEUDO,
    SYDOR,
    KaggleServer,
    contents,
    download,
    failure,
    left_over,
    noise,
    zipped,
)


def test_parts_lie_where_configs_look_for_them(kaggle: KaggleServer, tmp_path: Path) -> None:
    outcomes = download(tmp_path / "data", "competition", "backbones")
    assert [(outcome.name, outcome.state) for outcome in outcomes] == [
        ("competition", "fetched"),
        ("backbones", "fetched"),
    ]
    assert outcomes[0].sentence == f"5 files in {tmp_path / 'data'} (0.09 MB)"
    folder = "birdclef_2025_all_pretrained_models"
    expected = {**COMPETITION_FILES, **{f"{folder}/{n}": c for n, c in BACKBONE_FILES.items()}}
    assert contents(tmp_path / "data") == expected
    assert left_over(tmp_path / "data") == []


def test_the_storage_never_sees_the_credentials(kaggle: KaggleServer, tmp_path: Path) -> None:
    download(tmp_path, "competition")
    assert all(request.authorization for request in kaggle.asked("api"))
    assert kaggle.asked("storage")
    assert not any(request.authorization for request in kaggle.asked("storage"))


def test_nothing_is_printed(kaggle: KaggleServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    download(tmp_path, "competition")
    assert capfd.readouterr().out == ""


def test_all_default_parts_are_tried_and_one_that_fails_stops_no_other(
    kaggle: KaggleServer, tmp_path: Path
) -> None:
    outcomes = {outcome.name: outcome.state for outcome in download(tmp_path)}
    assert outcomes == {
        "competition": "fetched",
        "additional": "failed",
        "backbones": "fetched",
        "pseudo-labels": "fetched",
        "noise": "failed",
        "models": "failed",
    }


def test_what_is_there_is_not_asked_for_again(kaggle: KaggleServer, tmp_path: Path) -> None:
    download(tmp_path, "competition")
    kaggle.requests.clear()
    (outcome,) = download(tmp_path, "competition")
    assert outcome == PartOutcome("competition", "there", "already there")
    assert kaggle.requests == []


def test_a_missing_or_cut_file_is_fetched_again_and_the_others_stay(
    kaggle: KaggleServer, tmp_path: Path
) -> None:
    download(tmp_path, "competition")
    (tmp_path / "train_audio/houspa/XC1.ogg").unlink()
    os.truncate(tmp_path / "train_audio/amerob/XC2.ogg", 100)
    untouched = (tmp_path / "train.csv").stat()
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == COMPETITION_FILES
    assert (tmp_path / "train.csv").stat().st_ino == untouched.st_ino


def test_a_newer_version_replaces_files_of_the_same_size(kaggle: KaggleServer, tmp_path: Path) -> None:
    download(tmp_path, "competition")
    newer = {**COMPETITION_FILES, "train_audio/houspa/XC1.ogg": noise(40_000, 9)}
    kaggle.archives["birdclef-2025"] = zipped(newer)
    (tmp_path / "train.csv").unlink()
    download(tmp_path, "competition")
    assert contents(tmp_path) == newer


def test_a_kept_archive_is_used_again(kaggle: KaggleServer, tmp_path: Path) -> None:
    download(tmp_path, "competition", keep_archives=True)
    kept = tmp_path / ".downloads" / "birdclef-2025.zip"
    assert kept.read_bytes() == kaggle.archives["birdclef-2025"]
    kaggle.requests.clear()
    (tmp_path / "train.csv").unlink()
    download(tmp_path, "competition", keep_archives=True)
    assert kaggle.asked("api") == []
    assert contents(tmp_path) == COMPETITION_FILES
    assert kept.is_file()


@pytest.mark.parametrize("order", [("competition", "additional"), ("additional", "competition")])
def test_of_two_parts_with_a_file_of_one_name_the_competitions_stays(
    kaggle: KaggleServer, tmp_path: Path, order: tuple[str, str]
) -> None:
    added = {"train.csv": b"another table", "add_train_audio_from_prev_comps/a/XC9.ogg": b"song"}
    kaggle.archives[f"{SYDOR}/bird-clef-2025-add-data"] = zipped(added)
    for name in (*order, *order):
        download(tmp_path, name)
    assert contents(tmp_path) == {**added, **COMPETITION_FILES}
    assert {outcome.state for outcome in download(tmp_path, *order)} == {"there"}


def test_the_record_says_what_came_from_where(kaggle: KaggleServer, tmp_path: Path) -> None:
    download(tmp_path, "competition")
    record = json.loads((tmp_path / ".downloads.json").read_text())
    assert record["competition"] == "birdclef-2025"
    archive = record["parts"]["competition"]["archives"]["birdclef-2025"]
    assert archive["n_bytes"] == len(kaggle.archives["birdclef-2025"])
    assert archive["version"]
    assert archive["files"] == {name: len(content) for name, content in COMPETITION_FILES.items()}


# The pieces of one archive.


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Noise(NamedTuple):
    """What the noise part holds, and the archives that it comes in."""

    files: dict[str, bytes]
    archives: dict[str, bytes]


@pytest.fixture(params=["soundscapes_nocall/", ""])
def noise_part(request: pytest.FixtureRequest, kaggle: KaggleServer) -> Noise:
    soundscapes = {f"train_audio/s{k}.wav": noise(9_000, k) for k in range(5)}
    joined = zipped({f"{request.param}{name}": content for name, content in soundscapes.items()})
    cuts = [0, 10, 11, 20_000, 20_001, len(joined)]
    names = ["aa", "ab", "ac", "ad", "ae"]
    pieces = {
        f"soundscapes_nocall.zip.part-{name}": joined[begin:end]
        for name, begin, end in zip(names, cuts, cuts[1:], strict=False)
    }
    esc50 = {"audio/1-17367-A-10.wav": b"rain", "meta/esc50.csv": b"filename\n"}
    part2 = {name: pieces[name] for name in sorted(pieces)[:3]}
    part2 |= {f"esc50/esc50/{name}": content for name, content in esc50.items()}
    part2["something_else/XC3.ogg"] = b"not needed"
    part3 = {name: pieces[name] for name in sorted(pieces)[3:]}
    kaggle.archives[f"{SYDOR}/birdclef-2023-data-part2"] = zipped(part2)
    kaggle.archives[f"{SYDOR}/birdclef-2023-data-part3"] = zipped(part3)
    files = {f"soundscapes_nocall/{name}": content for name, content in soundscapes.items()}
    files |= {f"esc50/{name}": content for name, content in esc50.items()}
    files["esc50_background.csv"] = b"filename,category\r\n1-17367-A-10.wav,rain\r\n"
    return Noise(files, dict(kaggle.archives))


def test_pieces_in_two_archives_become_one_folder(
    kaggle: KaggleServer, noise_part: Noise, tmp_path: Path
) -> None:
    (outcome,) = download(tmp_path, "noise")
    assert outcome.state == "fetched"
    assert contents(tmp_path) == noise_part.files
    assert left_over(tmp_path) == []
    (outcome,) = download(tmp_path, "noise")
    assert outcome.state == "there"


def test_what_a_kill_left_after_the_last_file_is_removed(
    kaggle: KaggleServer, noise_part: Noise, tmp_path: Path
) -> None:
    download(tmp_path, "noise")
    work = tmp_path / WORK_NAME
    (work / "noise").mkdir()
    (work / "noise" / "soundscapes_nocall.zip.part-aa").write_bytes(b"x")
    (work / "birdclef-2023-data-part3.zip").write_bytes(b"x")
    assert left_over(tmp_path) != []
    (outcome,) = download(tmp_path, "noise")
    assert outcome.state == "there"
    assert left_over(tmp_path) == []
    assert contents(tmp_path) == noise_part.files


def test_an_archive_without_the_environmental_sounds_stops_nothing(
    kaggle: KaggleServer, noise_part: Noise, tmp_path: Path
) -> None:
    pieces = {
        name: content
        for name, content in unzipped(noise_part.archives[f"{SYDOR}/birdclef-2023-data-part2"]).items()
        if not name.startswith("esc50")
    }
    kaggle.archives[f"{SYDOR}/birdclef-2023-data-part2"] = zipped(pieces)
    (outcome,) = download(tmp_path, "noise")
    assert outcome.state == "fetched"
    assert not (tmp_path / "esc50_background.csv").exists()


def test_the_second_archive_of_a_part_goes_on_without_the_first(
    kaggle: KaggleServer, noise_part: Noise, tmp_path: Path
) -> None:
    second = f"{SYDOR}/birdclef-2023-data-part3"
    del kaggle.archives[second]
    assert "has not got the dataset" in failure(tmp_path, "noise")
    kaggle.requests.clear()
    kaggle.archives[second] = noise_part.archives[second]
    (outcome,) = download(tmp_path, "noise")
    assert outcome.state == "fetched"
    assert {request.ref for request in kaggle.asked("api")} == {second}
    assert contents(tmp_path) == noise_part.files


def test_pieces_that_are_no_archive_are_fetched_again(
    kaggle: KaggleServer, noise_part: Noise, tmp_path: Path
) -> None:
    second = f"{SYDOR}/birdclef-2023-data-part3"
    kaggle.archives[second] = zipped({"soundscapes_nocall.zip.part-ae": b"the wrong piece"})
    told = failure(tmp_path, "noise")
    assert "soundscapes_nocall.zip.part-* (4 pieces): its archive cannot be unpacked" in told
    assert left_over(tmp_path) == []
    kaggle.archives[second] = noise_part.archives[second]
    download(tmp_path, "noise")
    assert contents(tmp_path) == noise_part.files


# Room on the disk.


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def free_bytes(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    monkeypatch.setattr(
        "dawnchorus.downloads.disk_space.shutil.disk_usage", lambda _: Usage(10**12, 0, n_bytes)
    )


def test_all_parts_together_must_fit_before_anything_is_fetched(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.sizes = {"birdclef-2025": 20 * 10**9, BACKBONES: 5 * 10**9}
    free_bytes(monkeypatch, 44 * 10**9)
    message = r"competition, backbones .*: 45.00 GB are needed in .* and 44.00 GB are free; make room, choose"
    with pytest.raises(DownloadError, match=message):
        download(tmp_path, "competition", "backbones")
    assert kaggle.asked("api") == []
    free_bytes(monkeypatch, 45 * 10**9)
    assert {outcome.state for outcome in download(tmp_path, "competition", "backbones")} == {"fetched"}
    free_bytes(monkeypatch, 39 * 10**9)
    with pytest.raises(DownloadError, match=r"all archives.*: 40.00 GB are needed"):
        download(tmp_path / "other", "competition", keep_archives=True)


def test_room_is_reckoned_from_the_archive_where_kaggle_does_not_say_more(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_bytes = len(kaggle.archives["birdclef-2025"])
    free_bytes(monkeypatch, 2 * n_bytes - 1)
    told = failure(tmp_path, "competition")
    assert "unpacked 0.09 MB, taken as big as the archive): 0.18 MB are needed" in told
    free_bytes(monkeypatch, 2 * n_bytes)
    (outcome,) = download(tmp_path, "competition")
    assert outcome.state == "fetched"


def test_what_is_packed_must_fit_too(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kaggle.archives[PSEUDO] = zipped({"table.csv": bytes(1_000_000)})
    kaggle.sizes[PSEUDO] = 1_000
    free_bytes(monkeypatch, 900_000)
    told = failure(tmp_path, "pseudo-labels")
    assert f"what is packed in the dataset {PSEUDO}: 1.00 MB are needed" in told
    assert left_over(tmp_path) == ["bird-clef-2025-pseudo.zip", "bird-clef-2025-pseudo.zip.json"]


def test_a_disk_that_fills_up_keeps_what_came(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(file: IO[bytes], piece: archives.ArchiveBytes, _: int | None) -> Iterator[int]:
        file.write(next(iter(piece.chunks)))
        raise OSError(errno.ENOSPC, "No space left on device")
        yield 0

    with monkeypatch.context() as patched:
        patched.setattr(archives, "_written", written)
        told = failure(tmp_path, "competition")
    assert "birdclef-2025.zip.partial: cannot be written: No space left on device" in told
    assert "make room, and run the same command again" in told
    kaggle.requests.clear()
    download(tmp_path, "competition")
    assert [request.start for request in kaggle.asked("storage")] == [None, 1_000]
    assert contents(tmp_path) == COMPETITION_FILES


# Plans.


def test_a_plan_asks_for_sizes_and_writes_nothing(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.sizes = {"birdclef-2025": 12, BACKBONES: 34}
    out = tmp_path / "data"
    plans = plan_competition(COMPETITIONS["birdclef-2025"], out)
    assert [(plan.part.name, plan.is_there, plan.n_bytes) for plan in plans][:3] == [
        ("competition", False, 12),
        ("additional", False, None),
        ("backbones", False, 34),
    ]
    assert not out.exists()
    assert kaggle.asked("api") == []
    download(out, "competition")
    assert plan_competition(COMPETITIONS["birdclef-2025"], out, only=["competition"])[0].is_there


@pytest.mark.parametrize("trouble", ["no credentials", "no client", "wrong key"])
def test_a_plan_is_told_without_kaggle(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    if trouble == "no credentials":
        monkeypatch.delenv("KAGGLE_KEY")
    elif trouble == "no client":
        monkeypatch.setitem(sys.modules, "kagglesdk.kaggle_env", None)
    else:
        monkeypatch.setenv("KAGGLE_KEY", "another")
    plans = plan_competition(COMPETITIONS["birdclef-2025"], tmp_path, only=["noise"])
    assert [(plan.part.name, plan.n_bytes) for plan in plans] == [("noise", None)]


def test_the_years_before_are_known() -> None:
    assert set(COMPETITIONS) == {f"birdclef-{year}" for year in range(2021, 2026)}
    assert (
        competition_data.select_parts(COMPETITIONS["birdclef-2021"], [])[0].sources[0].ref == "birdclef-2021"
    )
    default = [part.name for part in competition_data.select_parts(COMPETITIONS["birdclef-2025"], [])]
    assert default == ["competition", "additional", "backbones", "pseudo-labels", "noise", "models"]
