"""What Kaggle refuses, and who asks it; its real client against a server on this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dawnchorus.competition.kaggle.competition_data import download_parts
from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS
from dawnchorus.errors import DownloadError, MissingExtraError
from dawnchorus.files import locked

from .kaggle_server import (
    BACKBONES,
    KEY,
    TOKEN,
    USERNAME,
    Fault,
    KaggleServer,
    download,
    failure,
)


def test_rules_that_are_not_accepted_are_named(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.refused["birdclef-2025"] = (403, "You must accept this competition's rules.")
    told = failure(tmp_path, "competition")
    assert "https://www.kaggle.com/competitions/birdclef-2025/rules" in told
    assert "HTTP 403: You must accept this competition's rules)" in told


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            403,
            f"does not let you have the dataset {BACKBONES} \\(HTTP 403: no\\); open https://www.kaggle.com/d",
        ),
        (
            404,
            f"has not got the dataset {BACKBONES} \\(HTTP 404: no\\); see whether https://www.kaggle.com/d",
        ),
        (400, f"refuses the dataset {BACKBONES} \\(HTTP 400: no\\)"),
    ],
)
def test_other_refusals_are_told(kaggle: KaggleServer, tmp_path: Path, status: int, told: str) -> None:
    kaggle.refused[BACKBONES] = (status, "no")
    with pytest.raises(DownloadError, match=told):
        raise DownloadError(failure(tmp_path, "backbones"))
    assert len(kaggle.asked("api")) == 1


def test_a_refusal_without_words_is_told(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.api_faults.append(Fault(status=403, body=b"Forbidden"))
    assert "(HTTP 403); accept its rules" in failure(tmp_path, "competition")


def test_wrong_credentials_stop_everything_at_once(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "another")
    with pytest.raises(DownloadError, match=r"does not know these credentials \(HTTP 401: Unauthenticated\)"):
        download(tmp_path)
    assert len(kaggle.requests) == 1


def test_credentials_refused_later_stop_everything_too(kaggle: KaggleServer, tmp_path: Path) -> None:
    kaggle.api_faults.append(Fault(status=401, body=b""))
    with pytest.raises(DownloadError, match="does not know these credentials"):
        download(tmp_path)


def test_no_credentials_are_told_with_what_to_do(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME")
    message = r"make a token at https://www.kaggle.com/settings and set KAGGLE_API_TOKEN, or KAGGLE_USERNAME"
    with pytest.raises(DownloadError, match=message):
        download(tmp_path)
    assert kaggle.requests == []


@pytest.mark.parametrize("place", ["token", "token file", "home", "config", "named"])
def test_credentials_are_found_where_kaggles_program_looks(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    home = tmp_path / "home"
    folder = {"config": home / ".config/kaggle", "named": tmp_path / "mine"}.get(place, home / ".kaggle")
    folder.mkdir(parents=True)
    if place == "token":
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    elif place == "token file":
        (folder / "access_token").write_text(TOKEN)
    else:
        (folder / "kaggle.json").write_text(json.dumps({"username": USERNAME, "key": KEY}))
    if place == "named":
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(folder))
    (outcome,) = download(tmp_path / "data", "pseudo-labels")
    assert outcome.state == "fetched"


@pytest.mark.parametrize("content", ["{}", "no json", "[]"])
def test_a_broken_file_of_credentials_is_named(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir()
    (folder / "kaggle.json").write_text(content)
    with pytest.raises(DownloadError, match=r"kaggle\.json(:| is not JSON).*; make a token"):
        download(tmp_path / "data")


def test_a_missing_client_is_named_with_its_extra(
    kaggle: KaggleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglesdk.kaggle_env", None)
    with pytest.raises(MissingExtraError, match=r"kagglesdk.kaggle_env.*pip install -e '\.\[download\]'"):
        download(tmp_path)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match="has no part 'backbone'; legal: competition, additional, backbones"
    ):
        download(tmp_path, "backbone")


def test_a_folder_of_another_competition_is_refused(kaggle: KaggleServer, tmp_path: Path) -> None:
    download(tmp_path, "pseudo-labels")
    with pytest.raises(DownloadError, match="holds birdclef-2025, and birdclef-2024 would mix with it"):
        list(download_parts(COMPETITIONS["birdclef-2024"], tmp_path))


def test_a_broken_record_is_named(kaggle: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / ".downloads.json").write_text("{")
    with pytest.raises(DownloadError, match=r"\.downloads\.json is not JSON: .*; remove it"):
        download(tmp_path)


def test_a_folder_in_use_is_refused(kaggle: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / ".downloads").mkdir()
    with locked(tmp_path / ".downloads" / "lock") as free:
        assert free
        with pytest.raises(DownloadError, match="another download is at work"):
            download(tmp_path)


def test_a_file_in_the_way_is_named(kaggle: KaggleServer, tmp_path: Path) -> None:
    (tmp_path / "train_audio").write_text("no folder")
    assert f"{tmp_path / 'train_audio'}" in failure(tmp_path, "competition")
