"""Descriptions of recordings, and their table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from dawnchorus.downloads.recording_catalogue import (
    COLUMNS,
    CatalogueRecording,
    best_of,
    is_licensed,
    licence_code,
    number,
    read_table,
    row_of,
    suffix_of,
    write_table,
)
from dawnchorus.errors import DataError

BLACKBIRD = CatalogueRecording(
    id="XC9",
    file_url="https://xeno-canto.org/9/download",
    suffix=".mp3",
    primary_label="Turdus_merula",
    secondary_labels=("Parus_major", "O'Neill_x"),
    scientific_name="Turdus merula",
    common_name='Blackbird, "common"',
    author="Ñandú",
    license="cc-by-nc-sa 4.0",
    url="https://xeno-canto.org/9",
    rating=4,
    latitude=42.837312,
    longitude=None,
    date="2022-01-18",
    time="08:00",
    country="Spain",
    locality="Sisalde, Ames",
    type="song",
    duration_s=46.0,
    source="xeno-canto",
)


def test_the_best_and_then_the_oldest_are_taken_of_each_label() -> None:
    ratings = {"XC10": 5, "XC9": 5, "XC100": None, "XC3": 4, "XC11": 5}
    recordings = [replace(BLACKBIRD, id=name, rating=rating) for name, rating in ratings.items()]
    other = replace(BLACKBIRD, id="XC1", primary_label="Parus_major", rating=None)
    best = best_of([*recordings, other, recordings[0]], 4)
    assert [recording.id for recording in best] == ["XC1", "XC9", "XC10", "XC11", "XC3"]
    assert len(best_of([*recordings, *recordings], None)) == 5


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("//creativecommons.org/licenses/by-nc-sa/4.0/", "cc-by-nc-sa 4.0"),
        ("https://creativecommons.org/licenses/by/2.5/", "cc-by 2.5"),
        ("//creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("//creativecommons.org/publicdomain/mark/1.0/", "pdm"),
        ("cc-by-nc", "cc-by-nc"),
        ("CC0", "cc0"),
        ("all rights reserved", "all rights reserved"),
    ],
)
def test_licences_have_one_spelling(text: str, code: str) -> None:
    assert licence_code(text) == code


@pytest.mark.parametrize(
    ("wanted", "is_wanted"),
    [
        ([], True),
        (["cc-by"], False),
        (["cc-by*"], True),
        (["by-nc-sa"], True),
        (["CC-BY-NC-SA"], True),
        (["cc-by-nc-sa 4.0"], True),
        (["cc-by-nc-sa 3.0"], False),
        (["cc0", "cc-by-nc-sa"], True),
        (["cc0"], False),
    ],
)
def test_a_licence_is_itself_and_not_one_that_begins_so(wanted: list[str], is_wanted: bool) -> None:
    assert is_licensed("cc-by-nc-sa 4.0", wanted) is is_wanted


def test_suffixes_are_those_that_can_be_decoded() -> None:
    assert suffix_of(name="XC1-Turdus #1?.MP3") == ".mp3"
    assert suffix_of(name="a.bin", content_type="audio/mp4; codecs=x") == ".m4a"
    assert suffix_of(name="a.amr", content_type="audio/amr") is None


def test_numbers_are_none_where_there_is_none() -> None:
    values = ["42.5", -8, None, "", "?", "91", "nan"]
    assert [number(value, -90, 90) for value in values] == [42.5, -8, None, None, None, None, None]


def test_the_table_comes_back_as_written_in_the_order_of_the_ids(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = {name: row_of(replace(BLACKBIRD, id=name), f"{name}.mp3", 5) for name in ("XC10", "XC9")}
    rows["XC9"]["checked_by"] = "Ana"
    write_table(path, rows)
    table = pd.read_csv(path, keep_default_na=False)
    assert list(table.columns) == [*COLUMNS, "checked_by"]
    assert table["id"].tolist() == ["XC9", "XC10"]
    first = table.iloc[0]
    assert (first["latitude"], first["longitude"], first["rating"]) == (42.837312, "", 4)
    assert first["secondary_labels"] == "['Parus_major', \"O'Neill_x\"]"
    assert first["common_name"] == BLACKBIRD.common_name
    again = read_table(path)
    assert again["XC9"] == rows["XC9"]
    assert again["XC10"] == {**rows["XC10"], "checked_by": ""}


@pytest.mark.parametrize("content", [b"filename,primary_label\na.mp3,x\n", b"", b"\xff\xfe"])
def test_somebody_elses_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.csv is no table of downloaded recordings, .* with --table"):
        read_table(tmp_path / "train.csv")
    assert read_table(tmp_path / "none.csv") == {}


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ("Turdus merula", "Turdus_merula/XC9.mp3"),
        ("../../victim", "__.._victim/XC9.mp3"),
        ("/etc/cron.d", "_etc_cron.d/XC9.mp3"),
        ("C:\\x", "C__x/XC9.mp3"),
        ("..", "_/XC9.mp3"),
        ("", "_/XC9.mp3"),
    ],
)
def test_a_name_that_a_service_sends_leads_nowhere_else(name: str, filename: str) -> None:
    assert replace(BLACKBIRD, scientific_name=name).filename == filename
    assert replace(BLACKBIRD, id=name).filename.count("/") == 1
