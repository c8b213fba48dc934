"""Pictures of activity: species over days and hours, accumulation, sites and effort, with their findings.

Colour is detections per recorded hour. What was not recorded is hatched, what was recorded without a
detection is grey, so that a gap is never taken for silence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from dawnchorus.files import legible
from dawnchorus.report.soundscapes.activity import Activity
from dawnchorus.report.soundscapes.sun_times import SunTimes
from dawnchorus.wording import counted, first_few, in_line

MAX_ROWS = 40
MOST_COLUMNS = 370
"""Days drawn one by one; of longer times, several share a column."""

NO_SITE = "(no folder)"
_WIDTH_INCHES = 10.0
_BLUE, _SUN = "#0072b2", "#e69f00"
_HATCH = (0.5, 0.5, 0.5, 0.28)
_SILENT = (0.5, 0.5, 0.5, 0.22)
_LEAST = 1e-9
_HOUR_S = 3600.0
_NAME_LETTERS, _END_LETTERS = 40, 14


class Drawing(NamedTuple):
    """A figure: the name of its file, and what it shows in words.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> Drawing("effort", Figure(), "Two sites were recorded on one day.").name
    'effort'
    """

    name: str
    figure: Figure
    description: str


class Calendar(NamedTuple):
    """The columns of pictures over time: the first day of each, and how many days each holds.

    Examples
    --------
    >>> import pandas as pd
    >>> Calendar.of(pd.to_datetime(pd.Series(["2024-05-04", "2024-05-06"]))).n_columns
    3
    """

    first: date
    n_columns: int
    n_days: int

    @classmethod
    def of(cls, days: pd.Series) -> Calendar:
        """Return the calendar from the first of some days to the last."""
        first, last = days.min().date(), days.max().date()
        n_days = math.ceil(((last - first).days + 1) / MOST_COLUMNS)
        return cls(first, ((last - first).days) // n_days + 1, n_days)

    @property
    def days(self) -> list[date]:
        """The first day of each column."""
        return [self.first + timedelta(self.n_days * column) for column in range(self.n_columns)]

    def columns_of(self, days: pd.Series) -> npt.NDArray[np.int64]:
        """Return the column of each day, shape (n_rows,), int64."""
        since = (days - pd.Timestamp(self.first)).dt.days.to_numpy()
        return np.asarray(since // self.n_days, np.int64)


def grid_of(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], values: pd.Series, shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the sums of values by row and column, shape as given, float64.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> grid_of(np.array([0, 0]), np.array([1, 1]), pd.Series([2, 3]), (1, 2))
    array([[0., 5.]])
    """
    grid = np.zeros(shape)
    np.add.at(grid, (rows, columns), values.to_numpy(np.float64))
    return grid


def rates_of(
    n_detections: npt.NDArray[np.float64], recorded_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return detections per recorded hour, NaN where nothing was recorded.

    Where there are detections at a time that is not known to be recorded, one hour stands for the effort.

    Examples
    --------
    >>> import numpy as np
    >>> rates_of(np.array([3.0, 0.0, 0.0, 2.0]), np.array([1800.0, 60.0, 0.0, 0.0]))
    array([ 6.,  0., nan,  2.])
    """
    hours = np.where((recorded_s <= 0) & (n_detections > 0), 1.0, recorded_s / _HOUR_S)
    return np.divide(n_detections, hours, out=np.full(hours.shape, np.nan), where=hours > 0)


def draw_species_hours(activity: Activity, label: str, name: str, sun: SunTimes | None) -> Drawing | None:
    """Return one species by hour and day; None where no time is known.

    Parameters
    ----------
    activity
        The counts.
    label
        The species.
    name
        Its name in the title.
    sun
        Dawn and dusk of each column of the calendar.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> draw_species_hours(activity, "owl", "Tawny Owl", None).description[:25]
    'Tawny Owl: 1 detection on'
    """
    hours = activity.hours[activity.hours["label"] == label]
    if activity.effort.empty and hours.empty:
        return None
    calendar = calendar_of(activity)
    shape = (24, calendar.n_columns)
    found = grid_of(
        hours["hour"].to_numpy(int), calendar.columns_of(hours["day"]), hours["n_detections"], shape
    )
    effort = activity.effort
    recorded = grid_of(
        effort["hour"].to_numpy(int), calendar.columns_of(effort["day"]), effort["recorded_s"], shape
    )
    rates = rates_of(found, recorded)
    figure = Figure(figsize=(_WIDTH_INCHES, 3.0), layout="constrained")
    axes = figure.subplots()
    image = _show_rates(axes, rates, (0, calendar.n_columns, 0, 24))
    if sun is not None:
        _draw_sun(axes, sun)
    axes.set_yticks(range(0, 25, 6), [f"{hour}:00" for hour in range(0, 25, 6)])
    _finish_days(axes, calendar)
    axes.set_title(f"{_short(name)}: hours and days", loc="left", fontsize="medium")
    figure.colorbar(
        image, ax=axes, label="detections\nper recorded hour", pad=0.01, aspect=12, ticks=MaxNLocator(4)
    )
    return Drawing(f"hours {label}", figure, _describe_species(name, hours, found, recorded, calendar))


def draw_all_species(activity: Activity, names: Sequence[tuple[str, str]]) -> Drawing | None:
    """Return the most detected species by day and by hour of the day; None where no time is known.

    Parameters
    ----------
    activity
        The counts.
    names
        Labels and names of the species to show, one a row.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> draw_all_species(activity, [("owl", "Tawny Owl")]).description[:9]
    '1 species'
    """
    if activity.hours.empty:
        return None
    calendar, rows = calendar_of(activity), {label: row for row, (label, _) in enumerate(names)}
    hours = activity.hours[activity.hours["label"].isin(rows)]
    row = hours["label"].map(rows).to_numpy(int)
    effort, n = activity.effort, len(rows)
    panels = (
        (calendar.columns_of(hours["day"]), calendar.columns_of(effort["day"]), calendar.n_columns),
        (hours["hour"].to_numpy(int), effort["hour"].to_numpy(int), 24),
    )
    figure = Figure(figsize=(_WIDTH_INCHES, 1.3 + 0.21 * n), layout="constrained")
    width = min(2.6, max(0.8, calendar.n_columns / 24))
    by_day, by_hour = figure.subplots(1, 2, sharey=True, width_ratios=[width, 1])
    grids = []
    for columns, effort_columns, n_columns in panels:
        recorded = grid_of(np.zeros(len(effort), int), effort_columns, effort["recorded_s"], (1, n_columns))
        found = grid_of(row, columns, hours["n_detections"], (n, n_columns))
        grids.append(rates_of(found, np.repeat(recorded, n, axis=0)))
    for axes, rates, n_columns in zip((by_day, by_hour), grids, (calendar.n_columns, 24), strict=True):
        image = _show_rates(axes, rates, (0, n_columns, n, 0))
        figure.colorbar(
            image,
            ax=axes,
            location="bottom",
            shrink=0.7,
            aspect=30,
            label="detections per recorded hour",
            ticks=MaxNLocator(3),
        )
    by_day.set_yticks(np.arange(n) + 0.5, [_short(name) for _, name in names], fontsize="small")
    _finish_days(by_day, calendar, n_shown=6)
    by_hour.set_xticks(range(0, 25, 6), [f"{hour}:00" for hour in range(0, 25, 6)])
    by_day.set_title("by day", loc="left", fontsize="medium")
    by_hour.set_title("by hour of the day", loc="left", fontsize="medium")
    best_hour = hours.groupby("hour")["n_detections"].sum().idxmax()
    description = (
        f"{counted(n, 'species', 'species')} by day and by hour of the day, the most detected first: "
        f"{first_few([name for _, name in names], 5)}. Most detections of all of them are from "
        f"{best_hour}:00 to {best_hour + 1}:00."
    )
    return Drawing("all species", figure, description)


def draw_accumulation(activity: Activity) -> Drawing | None:
    """Return the number of species over the hours recorded; None where nothing was recorded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> draw_accumulation(activity).name
    'accumulation'
    """
    table = activity.accumulation
    if table.empty:
        return None
    figure = Figure(figsize=(_WIDTH_INCHES, 2.6), layout="constrained")
    axes = figure.subplots()
    edges = [0.0, *table["recorded_h"]]
    heights = [0, *table["n_species"]]
    axes.plot(edges, heights, drawstyle="steps-post", color=_BLUE, linewidth=1.8)
    axes.plot(edges[-1], heights[-1], "o", color=_BLUE, markersize=5)
    axes.set_xlim(0, edges[-1] * 1.01 or 1)
    axes.set_ylim(0, max(1, heights[-1]) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("recorded hours, in order of time")
    axes.set_title("Species detected so far", loc="left", fontsize="medium")
    _finish_grid(axes, "y")
    total, hours = heights[-1], edges[-1]
    half = next((x for x, y in zip(edges, heights, strict=True) if y >= total / 2), 0.0)
    description = (
        f"{counted(total, 'species', 'species')} in {_rounded(hours)} recorded hours; half of them within "
        f"the first {_rounded(half)}, and the last new one after {_rounded(_last_new(table))}."
    )
    return Drawing("accumulation", figure, description)


def draw_sites(activity: Activity) -> Drawing | None:
    """Return detections per recorded hour at each site; None where there is no site.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> draw_sites(activity).description
    '(no folder) has 720 detections per recorded hour; it is the only site.'
    """
    sites = activity.sites[activity.sites["recorded_h"] > 0]
    if sites.empty:
        return None
    rates = (sites["n_detections"] / sites["recorded_h"]).sort_values(ascending=False)
    shown = rates.head(MAX_ROWS)
    figure = Figure(figsize=(_WIDTH_INCHES, 1.0 + 0.27 * len(shown)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(shown))
    axes.barh(place, shown, height=0.7, color=_BLUE)
    for row, (site, rate) in enumerate(shown.items()):
        of = sites.loc[site]
        text = f"  {_rounded(rate)} per hour · {counted(int(of['n_species']), 'species', 'species')}"
        axes.text(rate, row, text, va="center", fontsize="small")
    axes.set_yticks(place, [_short(site_name(site)) for site in shown.index], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(0, float(shown.max()) * 1.3 or 1)
    axes.set_title("Detections per recorded hour at each site", loc="left", fontsize="medium")
    _finish_grid(axes, "x")
    first, last = rates.index[0], rates.index[-1]
    description = f"{site_name(first)} has {_rounded(rates.iloc[0])} detections per recorded hour" + (
        f", the most of {len(rates)} sites; {site_name(last)} has {_rounded(rates.iloc[-1])}, the fewest."
        if len(rates) > 1
        else "; it is the only site."
    )
    return Drawing("sites", figure, legible(description))


def draw_effort(activity: Activity) -> Drawing | None:
    """Return the recorded hours of each site and day; None where no time is known.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> draw_effort(activity).name
    'effort'
    """
    if activity.effort.empty:
        return None
    calendar, effort = calendar_of(activity), activity.effort
    by_site = effort.groupby("site")["recorded_s"].sum().sort_values(ascending=False)
    shown = sorted(by_site.head(MAX_ROWS).index)
    rows = {site: row for row, site in enumerate(shown)}
    kept = effort[effort["site"].isin(rows)]
    recorded = grid_of(
        kept["site"].map(rows).to_numpy(int),
        calendar.columns_of(kept["day"]),
        kept["recorded_s"] / _HOUR_S,
        (len(rows), calendar.n_columns),
    )
    figure = Figure(figsize=(_WIDTH_INCHES, 1.2 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = _show_rates(axes, np.where(recorded > 0, recorded, np.nan), (0, calendar.n_columns, len(rows), 0))
    axes.set_yticks(np.arange(len(rows)) + 0.5, [_short(site_name(site)) for site in shown], fontsize="small")
    _finish_days(axes, calendar)
    axes.set_title("Recorded hours; hatched: not recorded", loc="left", fontsize="medium")
    figure.colorbar(image, ax=axes, label="hours", pad=0.01, aspect=8, ticks=MaxNLocator(4))
    n_columns = int((recorded.sum(axis=0) > 0).sum())
    unit = "day" if calendar.n_days == 1 else f"stretch of {calendar.n_days} days"
    gap = _longest_gap(recorded.sum(axis=0) > 0, calendar)
    description = (
        f"{counted(len(by_site), 'site')}, recorded for {_rounded(by_site.sum() / _HOUR_S)} hours on "
        f"{n_columns} of {counted(calendar.n_columns, unit)}"
        + (f"; the longest gap is {gap}." if gap else ", without a gap of whole days.")
    )
    return Drawing("effort", figure, description)


def calendar_of(activity: Activity) -> Calendar:
    """Return the columns of pictures over all days that were recorded or have a detection.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> calendar_of(activity).days
    [datetime.date(2024, 5, 4)]
    """
    return Calendar.of(pd.concat([activity.effort["day"], activity.hours["day"]]))


def site_name(site: object) -> str:
    """Return the name of a site for people; recordings in no folder of a site have none.

    Examples
    --------
    >>> site_name("pond"), site_name("")
    ('pond', '(no folder)')
    """
    return str(site) or NO_SITE


def _show_rates(
    axes: Axes, rates: npt.NDArray[np.float64], extent: tuple[float, float, float, float]
) -> AxesImage:
    """Draw a grid: hatched where NaN, grey where 0, else in colours that rise with the square root."""
    shades = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.18, 0.97, 256)))
    colours = shades.with_extremes(bad=(0, 0, 0, 0), under=_SILENT)
    highest = np.nanmax(rates, initial=0.0) if np.isfinite(rates).any() else 0.0
    low, high, bottom, top = extent
    for row, is_recorded in enumerate(np.isfinite(rates)):
        gaps = [(float(column), 1.0) for column in np.flatnonzero(~is_recorded)]
        axes.broken_barh(gaps, (row, 1), hatch="////", facecolor="none", edgecolor=_HATCH, linewidth=0)
    # The first row of the grid is at the end of the axis that the extent names third.
    is_rising = top > bottom
    image = axes.imshow(
        rates,
        origin="lower" if is_rising else "upper",
        extent=extent,
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        norm=PowerNorm(0.5, vmin=_LEAST, vmax=max(float(highest), 1e-6)),
    )
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)
    axes.tick_params(length=0)
    return image


def _draw_sun(axes: Axes, sun: SunTimes) -> None:
    casing = [withStroke(linewidth=2.6, foreground=(0, 0, 0, 0.55))]
    for hours, style in ((sun.dawn, "-"), (sun.dusk, "-"), (sun.sunrise, ":"), (sun.sunset, ":")):
        jumps = np.abs(np.diff(hours, prepend=hours[:1])) > 12  # past midnight
        y = np.repeat(np.where(jumps, np.nan, hours), 2)
        x = np.repeat(np.arange(len(hours) + 1), 2)[1:-1]
        axes.plot(x, y, style, color=_SUN, linewidth=1.4, path_effects=casing)


def _finish_days(axes: Axes, calendar: Calendar, *, n_shown: int = 8) -> None:
    """Label some days; the year stands where it begins to hold."""
    days = calendar.days
    step = max(1, math.ceil(calendar.n_columns / n_shown))
    places = list(range(0, calendar.n_columns, step))
    years = [days[place].year for place in places]
    texts = [
        f"{days[place].day} {days[place]:%b}" + (f"\n{year}" if year != before else "")
        for place, year, before in zip(places, years, [0, *years], strict=False)
    ]
    axes.set_xticks([place + 0.5 for place in places], texts, fontsize="small")
    axes.tick_params(axis="x", pad=5)


def _finish_grid(axes: Axes, axis: Any) -> None:
    axes.grid(axis=axis, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _describe_species(
    name: str,
    hours: pd.DataFrame,
    found: npt.NDArray[np.float64],
    recorded: npt.NDArray[np.float64],
    calendar: Calendar,
) -> str:
    n = int(found.sum())
    if not n:
        return f"{in_line(name)}: no detection at a known time."
    by_hour, recorded_by_hour = found.sum(axis=1), recorded.sum(axis=1)
    rates = np.nan_to_num(rates_of(by_hour, recorded_by_hour))
    best = int(rates.argmax())
    n_days, n_recorded = hours["day"].nunique(), int((recorded.sum(axis=0) > 0).sum())
    of_days = f"of {n_recorded} recorded days" if calendar.n_days == 1 else "days"
    return (
        f"{in_line(name)}: {counted(n, 'detection')} on {n_days} {of_days}, {hours['day'].min():%Y-%m-%d} to "
        f"{hours['day'].max():%Y-%m-%d}; most per recorded hour from {best}:00 to {best + 1}:00, "
        f"{_rounded(rates[best])}."
    )


def _last_new(table: pd.DataFrame) -> float:
    last = table["n_species"].iloc[-1]
    return float(table.loc[table["n_species"] == last, "recorded_h"].iloc[0])


def _longest_gap(is_recorded: npt.NDArray[np.bool_], calendar: Calendar) -> str:
    """Return the longest time without a recording, as text; empty where there is none."""
    edges = np.flatnonzero(is_recorded)
    if len(edges) < 2 or (np.diff(edges) == 1).all():
        return ""
    longest = int(np.diff(edges).argmax())
    days = calendar.days
    first, last = days[edges[longest] + 1], days[edges[longest + 1]] - timedelta(1)
    return f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _rounded(value: float) -> str:
    """Return a number with three digits, or all those before the point."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _short(name: str) -> str:
    """Return a name for a picture; a dollar in it begins no formula."""
    line = "".join(letter if letter.isprintable() else "�" for letter in " ".join(legible(name).split()))
    if len(line) > _NAME_LETTERS:  # both ends, for names differ at either
        line = f"{line[: _NAME_LETTERS - _END_LETTERS - 1].rstrip()}…{line[-_END_LETTERS:].lstrip()}"
    return line.replace("$", r"\$")
