"""Dawn and dusk: against published tables, and in the hours of the recorder."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from dawnchorus.errors import DawnchorusError
from dawnchorus.report.soundscapes.sun_times import sun_of_sites, sun_times

MINUTE = 1 / 60
LONDON, GREENWICH = (51.5085, -0.1257), ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("day", "dawn", "sunrise", "sunset", "dusk"),
    [
        (date(2015, 12, 1), "07:04", "07:43", "15:55", "16:34"),
        (date(2015, 12, 12), "07:16", "07:56", "15:51", "16:31"),
        (date(2015, 12, 25), "07:25", "08:05", "15:55", "16:36"),
    ],
)
def test_the_sun_rises_and_sets_as_in_the_almanac_of_london(
    day: date, dawn: str, sunrise: str, sunset: str, dusk: str
) -> None:
    found = sun_times(*LONDON, {day: GREENWICH})
    for got, published in zip(found, (dawn, sunrise, sunset, dusk), strict=True):
        hour, minute = map(int, published.split(":"))
        assert abs(got[0] - (hour + minute / 60)) <= 2 * MINUTE


def test_hours_follow_the_recorders_clock() -> None:
    day = date(2024, 6, 21)
    utc, summer = (sun_times(*LONDON, {day: zone}).sunrise[0] for zone in (UTC, GREENWICH))
    assert summer - utc == pytest.approx(1)
    assert summer == pytest.approx(4 + 43 / 60, abs=2 * MINUTE)  # 04:43 in all almanacs


def test_far_from_greenwich_the_event_is_that_of_the_local_day() -> None:
    zone = timezone(timedelta(hours=12))  # Auckland's winter
    days = {date(2024, 6, 20) + timedelta(day): zone for day in range(3)}
    found = sun_times(-36.85, 174.76, days)
    assert np.allclose(found.sunrise, 7 + 33 / 60, atol=3 * MINUTE)
    assert np.allclose(found.sunset, 17 + 11 / 60, atol=3 * MINUTE)


def test_dusk_after_midnight_is_found_and_a_polar_summer_has_none() -> None:
    helsinki = sun_times(60.17, 24.94, {date(2024, 6, 21): ZoneInfo("Europe/Helsinki")})
    assert 0 <= helsinki.dusk[0] < 1 or helsinki.dusk[0] > 23
    tromso = sun_times(69.65, 18.96, {date(2024, 6, 21): ZoneInfo("Europe/Oslo")})
    assert np.isnan(np.concatenate(tromso)).all()


def test_the_most_recorded_site_counts_and_others_are_compared() -> None:
    sites = pd.DataFrame(
        {"latitude": [51.5, 52.5, np.nan], "longitude": [-0.1, 13.4, np.nan], "recorded_h": [5.0, 9.0, 99.0]},
        index=["london", "berlin", "nowhere"],
    )
    days = [date(2024, 5, 1) + timedelta(day) for day in range(10)]
    sun = sun_of_sites(sites, days, {days[0]: UTC})
    assert sun is not None
    assert sun.site == "berlin"
    assert len(sun.times.dawn) == 10
    assert 50 < sun.spread_minutes < 70  # 13.5 degrees of longitude are 54 minutes
    assert sun_of_sites(sites, days, {}) is None
    assert sun_of_sites(sites[2:], days, {days[0]: UTC}) is None


def test_clocks_that_change_shift_the_later_days() -> None:
    sites = pd.DataFrame({"latitude": [51.5], "longitude": [0.0], "recorded_h": [1.0]}, index=["a"])
    days = [date(2024, 3, 30), date(2024, 3, 31), date(2024, 4, 1)]
    summer = datetime(2024, 3, 31, tzinfo=timezone(timedelta(hours=1))).tzinfo
    assert summer is not None
    sun = sun_of_sites(sites, days, {days[0]: UTC, days[1]: summer})
    assert sun is not None
    assert np.allclose(np.diff(sun.times.sunrise), [1, 0], atol=0.05)


def test_without_astral_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "astral", None)
    with pytest.raises(
        DawnchorusError, match=r"dawn and dusk need the package astral: pip install .*\[report\]"
    ):
        sun_times(*LONDON, {date(2024, 5, 1): UTC})
