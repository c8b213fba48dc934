"""Sites of recordings: names, places and time zones from a table, where metadata and folders lack them."""

from __future__ import annotations

import math
from datetime import tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from dawnchorus.audio.recorder_names import time_zone_of
from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.wording import shown

ALL_OTHERS = "*"
_COLUMNS = ("site", "latitude", "longitude")


class Site(NamedTuple):
    """A site: its name, degrees north and east, the time zone of its recorders, and its recordings.

    ``recordings`` is a pattern of names such as ``AM1_*``; empty for those in the folder named as the site.

    Examples
    --------
    >>> Site("pond", 51.5, -0.1, None, "").has("pond/20230510_080000.wav")
    True
    """

    name: str
    latitude: float | None
    longitude: float | None
    zone: tzinfo | None
    recordings: str

    def has(self, filename: str) -> bool:
        """Return whether a recording is of this site, by its name below the folder of recordings."""
        if self.recordings:
            return fnmatchcase(filename, self.recordings)
        return self.name == ALL_OTHERS or filename.startswith(f"{self.name}/")


def read_site_table(path: Path) -> list[Site]:
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
    >>> read_site_table(Path("sites.csv"))[0].latitude
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
            f"from -{most:g} to {most:g}"
        )
    return value
