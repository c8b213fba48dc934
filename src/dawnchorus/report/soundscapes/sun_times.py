"""Dawn, sunrise, sunset and dusk at a place, for each day, in hours of the local day."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.errors import DawnchorusError
from dawnchorus.wording import install_extra

_LINES = ("dawn", "sunrise", "sunset", "dusk")
_SITES_COMPARED = 50


class SunTimes(NamedTuple):
    """Hours of the local day, each of shape (n_days,), float64 in [0, 24).

    Dawn and dusk are civil: the sun is 6° below the horizon. NaN is where it does not get there.

    Examples
    --------
    >>> import numpy as np
    >>> SunTimes(*np.full((4, 1), 6.0)).dawn
    array([6.])
    """

    dawn: npt.NDArray[np.float64]
    sunrise: npt.NDArray[np.float64]
    sunset: npt.NDArray[np.float64]
    dusk: npt.NDArray[np.float64]


def sun_times(latitude: float, longitude: float, days: Mapping[date, tzinfo]) -> SunTimes:
    """Return when the sun rises and sets, by the package astral (the formulas of NOAA's solar calculator).

    Parameters
    ----------
    latitude, longitude
        Degrees north and east.
    days
        The local days, and the time zone of the hours of each.

    Raises
    ------
    DawnchorusError
        The package astral is not installed.

    Examples
    --------
    >>> from datetime import UTC, date
    >>> times = sun_times(51.5, -0.1, {date(2015, 12, 1): UTC})
    >>> round(float(times.dawn[0]), 1), round(float(times.dusk[0]), 1)
    (7.1, 16.6)
    """
    try:
        from astral import Observer
        from astral.sun import dawn, dusk, sunrise, sunset
    except ModuleNotFoundError:
        raise DawnchorusError(f"dawn and dusk need the package astral: {install_extra('report')}") from None
    observer = Observer(latitude, longitude)
    hours = [
        [_hour(event, observer, day, zone) for event in (dawn, sunrise, sunset, dusk)]
        for day, zone in days.items()
    ]
    return SunTimes(*np.array(hours, np.float64).reshape(-1, len(_LINES)).T)


def _hour(event: Callable[..., datetime], observer: object, day: date, zone: tzinfo) -> float:
    """Return the hour of an event on a local day; NaN where there is none, as in a polar summer."""
    # astral counts days in UTC: far from Greenwich, the event of a local day may be that of its neighbour.
    for shift in (0, -1, 1):
        try:
            moment = event(observer, date=day + timedelta(shift))
        except ValueError:
            continue
        local = moment.astimezone(zone)
        if local.date() == day:
            return local.hour + local.minute / 60 + local.second / 3600
    return float("nan")


class SunHere(NamedTuple):
    """The sun at the site that was recorded most.

    Attributes
    ----------
    site
        The site.
    times
        Its sun times, for each day that was asked for.
    spread_minutes
        By how much dawn and dusk of the other sites differ from them at most, in the middle of the time.

    Examples
    --------
    >>> import numpy as np
    >>> SunHere("pond", SunTimes(*np.full((4, 1), 6.0)), 0.0).site
    'pond'
    """

    site: str
    times: SunTimes
    spread_minutes: float


def sun_of_sites(sites: pd.DataFrame, days: Sequence[date], zones: Mapping[date, tzinfo]) -> SunHere | None:
    """Return the sun at the most recorded site with coordinates; None where no place or time zone is known.

    Parameters
    ----------
    sites
        As in :class:`~dawnchorus.report.soundscapes.activity.Activity`.
    days
        Local days.
    zones
        The time zone of some days; another day has that of the last one before it.

    Raises
    ------
    DawnchorusError
        The package astral is not installed.

    Examples
    --------
    >>> from datetime import UTC, date
    >>> import pandas as pd
    >>> sites = pd.DataFrame({"latitude": [51.5], "longitude": [-0.1], "recorded_h": [2.0]}, index=["pond"])
    >>> sun_of_sites(sites, [date(2024, 5, 4)], {date(2024, 5, 4): UTC}).site
    'pond'
    """
    placed = sites[sites["latitude"].notna() & sites["longitude"].notna()]
    placed = placed.sort_values("recorded_h", ascending=False, kind="stable")
    if placed.empty or not zones or not days:
        return None
    known = sorted(zones)
    of_days = {day: zones[known[max(0, bisect_right(known, day) - 1)]] for day in days}
    times = sun_times(placed["latitude"].iloc[0], placed["longitude"].iloc[0], of_days)
    middle = days[len(days) // 2]
    edges = [
        [each[0] for each in sun_times(row.latitude, row.longitude, {middle: of_days[middle]})]
        for row in placed.head(_SITES_COMPARED).itertuples()
    ]
    apart = np.abs(np.array(edges) - np.array(edges[0]))
    apart = np.minimum(apart, 24 - apart)
    spread = 0.0 if np.isnan(apart).all() else float(np.nanmax(apart)) * 60
    return SunHere(str(placed.index[0]), times, spread)
