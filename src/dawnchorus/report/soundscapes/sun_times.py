"""Dawn, sunrise, sunset and dusk at a place, for each day, in hours of the local day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DawnchorusError
from dawnchorus.wording import install_extra

_LINES = ("dawn", "sunrise", "sunset", "dusk")


class SunTimes(NamedTuple):
    """Hours of the local day, each of shape (n_days,), float64 in [0, 24); NaN where the sun does not get there.

    Dawn and dusk are civil: the sun is 6° below the horizon.

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
