"""The table of sites: which recordings are whose, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawnchorus.errors import DataError
from dawnchorus.formats.sites import Site, read_sites


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "sites.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_site_has_its_folder_or_the_names_of_its_pattern_and_the_star_has_all() -> None:
    pond, pattern, rest = (
        Site("pond", 1, 2, None, ""),
        Site("x", 1, 2, None, "AM1_*"),
        Site("*", 1, 2, None, ""),
    )
    assert pond.has("pond/a.wav")
    assert not pond.has("pond.wav")
    assert pattern.has("AM1_20240504.wav")
    assert not pattern.has("AM2_20240504.wav")
    assert rest.has("any.wav")


def test_semicolons_and_empty_places_are_read(tmp_path: Path) -> None:
    sites = read_sites(written(tmp_path, "site;latitude;longitude;time_zone", "pond;;;Europe/Berlin"))
    assert (sites[0].latitude, str(sites[0].zone)) == (None, "Europe/Berlin")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pond,91,0,", "the latitude of the site 'pond' is '91'; write degrees from -90 to 90"),
        ("pond,0,east,", "the longitude of the site 'pond' is 'east'; write degrees from -180 to 180"),
        ("pond,nan,0,", "the latitude of the site 'pond' is 'nan'"),
        ("pond,1,,", "the site 'pond' has only one of latitude and longitude; give both"),
        ("pond,1,1,Berlin", "the time zone 'Berlin' is not known"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_sites(written(tmp_path, "site,latitude,longitude,time_zone", line))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no column longitude"):
        read_sites(written(tmp_path, "site,latitude", "pond,1"))
