"""What was recorded when and where: a row a recording, those without a detection too."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.headers import read_headers
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.audio.recorder_times import recorder_of, recorder_time
from dawnchorus.errors import DataError
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.wording import first_few

logger = logging.getLogger(__name__)

EFFORT_NAME = "effort.csv"
EFFORT_COLUMNS = ("filename", "start", "duration_s", "latitude", "longitude", "device")


class Place(NamedTuple):
    """Coordinates of a site, degrees north and east (WGS 84).

    Examples
    --------
    >>> Place(52.1, 5.2).latitude
    52.1
    """

    latitude: float
    longitude: float


def effort_of_audio(folder: Path, times: RecorderTimes | None = None) -> pd.DataFrame:
    """Return the recordings below a folder, by their headers, metadata and names.

    Columns: ``filename`` below the folder, ``path``, ``start`` (datetime or None), ``duration_s``,
    ``latitude``, ``longitude``, ``device``. Files that cannot be read are left out with a warning.

    Raises
    ------
    DataError
        There are no recordings.

    Examples
    --------
    >>> from pathlib import Path
    >>> effort_of_audio(Path("recordings"))[["filename", "duration_s"]].head(1).values.tolist()
    [['owl/XC1.wav', 1.0]]
    """
    times = times or RecorderTimes()
    paths = list_audio_files(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows, failed = [], []
    for path, name, header in zip(paths, names, read_headers(folder, names), strict=True):
        if isinstance(header, Exception):
            failed.append(name)
            continue
        known = recorder_time(path)
        device, latitude, longitude = recorder_of(path)
        start = times.start_of(path, None if known is None else known.start)
        rows.append((name, str(path), start, header.duration_s, latitude, longitude, device))
    if failed:
        logger.warning(
            f"{len(failed)} of the recordings cannot be read, and count for nothing: {first_few(failed)}"
        )
    columns = ["filename", "path", "start", "duration_s", "latitude", "longitude", "device"]
    return pd.DataFrame(rows, columns=columns).astype({"start": object})


def read_effort(table: Path) -> pd.DataFrame:
    """Return the recordings in ``effort.csv``, as ``dawnchorus predict --format effort`` writes it.

    Raises
    ------
    DataError
        The table lacks a column, or a length is no number.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("effort.csv").write_text("filename,start,duration_s\\nnight.wav,2024-05-04T22:00:00,60\\n")
    >>> read_effort(Path("effort.csv"))[["filename", "start", "duration_s"]].values.tolist()
    [['night.wav', '2024-05-04T22:00:00', 60.0]]
    """
    given = read_text_table(table, required=EFFORT_COLUMNS[:3], names=("filename", "site"))
    found = given.reindex(columns=list(EFFORT_COLUMNS), fill_value="").reset_index(drop=True)
    found["duration_s"] = pd.to_numeric(found["duration_s"], errors="coerce").astype(float)
    if found["duration_s"].isna().any():
        raise DataError(f"{table}: duration_s is no number in a row; write seconds")
    return found


def read_sites(table: Path) -> dict[str, Place]:
    """Return the coordinates of sites, from a table with ``site``, ``latitude`` and ``longitude``.

    Raises
    ------
    DataError
        The table lacks a column, or a coordinate is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("sites.csv").write_text("site,latitude,longitude\\npond,52.1,5.2\\n")
    >>> read_sites(Path("sites.csv"))
    {'pond': Place(latitude=52.1, longitude=5.2)}
    """
    given = read_text_table(table, required=("site", "latitude", "longitude"), names=("site",))
    places = {}
    for site, *cells in given[["site", "latitude", "longitude"]].itertuples(index=False):
        latitude, longitude = pd.to_numeric(pd.Series(cells), errors="coerce")
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            raise DataError(
                f"{table}: the coordinates of {site} are {', '.join(cells)}; write degrees north, -90 to 90, "
                "and east, -180 to 180"
            )
        places[site] = Place(float(latitude), float(longitude))
    return places


def at_sites(recordings: pd.DataFrame, sites: Mapping[str, Place]) -> pd.DataFrame:
    """Return recordings with the coordinates of their sites, which are the first folders of their names.

    Examples
    --------
    >>> import pandas as pd
    >>> recordings = pd.DataFrame({"filename": ["pond/a.wav", "b.wav"], "latitude": "", "longitude": ""})
    >>> at_sites(recordings, {"pond": Place(52.1, 5.2)})["latitude"].tolist()
    [52.1, '']
    """
    recordings = recordings.astype({"latitude": object, "longitude": object})
    site = recordings["filename"].str.partition("/")
    names = site[0].where(site[1] == "/", "")
    for name in Place._fields:
        given = names.map({each: getattr(place, name) for each, place in sites.items()})
        recordings[name] = given.astype(object).where(given.notna(), recordings[name])
    return recordings
