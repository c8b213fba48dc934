"""Sites of recordings: names, places and time zones from a table, where metadata and folders lack them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.recorder_names import time_zone_of
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.wording import counted, first_few, shown

ALL_OTHERS = "*"
_COLUMNS = ("site", "latitude", "longitude")


class Place(NamedTuple):
    """Coordinates, degrees north and east (WGS 84).

    Examples
    --------
    >>> Place(52.1, 5.2).latitude
    52.1
    """

    latitude: float
    longitude: float


class Site(NamedTuple):
    """A site: its name, degrees north and east, the time zone of its recorders, and its recordings.

    ``recordings`` is a pattern of names such as ``AM1_*``; empty for those in the folder named as the site.

    Examples
    --------
    >>> Site("pond", 51.5, -0.1).has("pond/20230510_080000.wav")
    True
    """

    name: str
    latitude: float | None = None
    longitude: float | None = None
    zone: tzinfo | None = None
    recordings: str = ""

    @property
    def place(self) -> Place | None:
        """Its coordinates, where they are known."""
        return (
            None if self.latitude is None or self.longitude is None else Place(self.latitude, self.longitude)
        )

    def has(self, filename: str) -> bool:
        """Return whether a recording is of this site, by its name below the folder of recordings."""
        if self.recordings:
            return fnmatchcase(filename, self.recordings)
        return self.name == ALL_OTHERS or filename.startswith(f"{self.name}/")


def read_sites(path: Path) -> list[Site]:
    """Return the sites of a table: ``site``, ``latitude``, ``longitude``, ``time_zone``, ``recordings``.

    The last two may be missing. A site is the first folder in the names of its recordings. Where all lie in
    one folder, ``recordings`` holds a pattern of their names, such as ``AM1_*``. The site ``*`` stands for
    all others. ``time_zone`` is that of the recorders' clocks, where their times have none: ``+02:00`` or
    ``Europe/Berlin``.

    Raises
    ------
    DataError
        The table cannot be read, or a coordinate or a time zone is not legal.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("sites.csv").write_text("site,latitude,longitude,time_zone\\npond,51.5,-0.1,+01:00\\n")
    >>> read_sites(Path("sites.csv"))[0].latitude
    51.5
    """
    table = read_text_table(path, required=_COLUMNS, names=("site", "recordings"))
    sites = []
    for row in table.to_dict("records"):
        latitude, longitude = _degrees(path, row, "latitude", 90.0), _degrees(path, row, "longitude", 180.0)
        if (latitude is None) != (longitude is None):
            raise DataError(
                f"{path}: the site {shown(row['site'])} has only one of latitude and longitude; give both"
            )
        try:
            zone = time_zone_of(row["time_zone"]) if row.get("time_zone") else None
        except ConfigError as error:
            raise DataError(f"{path}: {error}") from None
        sites.append(Site(row["site"], latitude, longitude, zone, row.get("recordings", "")))
    return sites


def site_among(sites: Iterable[Site], filename: str) -> Site | None:
    """Return the site of a recording; the site ``*`` where it is of no other, None where there is none.

    Examples
    --------
    >>> site_among([Site("*", 51.5, -0.1), Site("pond")], "pond/night.wav").name
    'pond'
    """
    of_it = [site for site in sites if site.has(filename)]
    return next((site for site in of_it if site.name != ALL_OTHERS), of_it[0] if of_it else None)


def at_sites(recordings: pd.DataFrame, sites: Sequence[Site]) -> pd.DataFrame:
    """Return recordings with the names, coordinates and time zones of their sites, where the table has them.

    Parameters
    ----------
    recordings
        ``filename``, ``start`` (datetime or None), ``latitude``, ``longitude``. Coordinates of a site replace
        those that a recording tells; its time zone is that of times that have none.
    sites
        As :func:`read_sites` returns them.

    Returns
    -------
    pandas.DataFrame
        The same, and ``site``, empty where a recording is of none.

    Examples
    --------
    >>> import pandas as pd
    >>> recordings = pd.DataFrame({"filename": ["AM1_1.wav", "b.wav"], "latitude": None, "longitude": None})
    >>> sites = [Site("pond", 52.1, 5.2, recordings="AM1_*")]
    >>> at_sites(recordings.assign(start=None), sites)[["site", "latitude"]].values.tolist()
    [['pond', 52.1], ['', None]]
    """
    names, starts, places = [], [], []
    for row in recordings.to_dict("records"):
        site = site_among(sites, row["filename"])
        start, place = row["start"], (row["latitude"], row["longitude"])
        if site is not None:
            place = site.place or place
            if site.zone is not None and isinstance(start, datetime) and start.tzinfo is None:
                start = start.replace(tzinfo=site.zone)
        names.append("" if site is None or site.name == ALL_OTHERS else site.name)
        starts.append(start)
        places.append(place)
    columns = {"start": starts, "latitude": [p[0] for p in places], "longitude": [p[1] for p in places]}
    placed = {name: pd.Series(values, recordings.index, dtype=object) for name, values in columns.items()}
    return recordings.assign(**placed, site=names)


def unmatched(sites: Sequence[Site], filenames: Iterable[str]) -> list[str]:
    """Return a sentence on the sites that have no recording, and one on the recordings that are of no site.

    Examples
    --------
    >>> unmatched([Site("pond"), Site("hill")], ["hill/a.wav", "b.wav"])
    ['the table of sites has 1 site without a recording: pond; ...', '1 recording is of no site: b.wav']
    """
    names = list(filenames)
    without = [site.name for site in sites if not any(map(site.has, names)) and site.name != ALL_OTHERS]
    strangers = [name for name in names if site_among(sites, name) is None] if sites else []
    told = []
    if without:
        told.append(
            f"the table of sites has {counted(len(without), 'site')} without a recording: "
            f"{first_few(without)}; a site is the first folder in the names of its recordings, or has a "
            "pattern of them in the column recordings"
        )
    if strangers:
        are = "is" if len(strangers) == 1 else "are"
        told.append(f"{counted(len(strangers), 'recording')} {are} of no site: {first_few(strangers)}")
    return told


def _degrees(path: Path, row: dict[str, str], column: str, most: float) -> float | None:
    if not row[column]:
        return None
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not abs(value) <= most:
        raise DataError(
            f"{path}: the {column} of the site {shown(row['site'])} is {shown(row[column])}; write degrees "
            f"from -{most:g} to {most:g}{', with a point instead of the comma' if ',' in row[column] else ''}"
        )
    return value
