"""The tables behind the pictures of a report."""

from __future__ import annotations

import math

import pandas as pd

from dawnchorus.files import Failure, legible
from dawnchorus.report.soundscapes.activity import Activity
from dawnchorus.report.soundscapes.activity_pictures import calendar_of
from dawnchorus.report.soundscapes.prediction_source import PredictionSource
from dawnchorus.report.soundscapes.sun_times import SunHere

_KEYS = ["site", "day", "hour"]


def activity_tables(
    source: PredictionSource, activity: Activity, chosen: pd.DataFrame, sun: SunHere | None
) -> dict[str, pd.DataFrame]:
    """Return the tables of a report by name.

    Parameters
    ----------
    source
        For what was left out.
    activity
        The counts.
    chosen
        The detections that are shown as clips.
    sun
        Dawn and dusk; None where they are not known.

    Returns
    -------
    dict
        ``species``; ``hours``: species, site, day and hour, with detections and recorded seconds; ``effort``:
        recorded seconds of each site, day and hour; ``recordings``; ``sites``; ``accumulation``; ``clips``;
        ``left_out``; ``sun``.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> source = open_source_of(dc.load_model("model", n_threads=1).predict("night.wav").detections())
    >>> activity = measure_activity(source)
    >>> list(activity_tables(source, activity, activity.surest, None))[:3]
    ['species', 'hours', 'effort']
    """
    recordings = activity.recordings.drop(columns="local")
    recordings["start"] = ["" if start is None else start.isoformat() for start in recordings["start"]]
    tables = {
        "species": _with_days(activity.species.reset_index(), "first", "last"),
        "hours": _with_days(activity.hours.merge(activity.effort, on=_KEYS, how="left"), "day"),
        "effort": _with_days(activity.effort, "day"),
        "recordings": recordings,
        "sites": activity.sites.reset_index(),
        "accumulation": activity.accumulation,
        "clips": chosen,
        "left_out": pd.DataFrame(
            [(legible(str(each.path)), legible(each.reason)) for each in source.failures],
            columns=list(Failure._fields),
        ),
    }
    if sun is not None:
        times = {
            name: [_clock(hour) for hour in getattr(sun.times, name).tolist()] for name in sun.times._fields
        }
        days = [day.isoformat() for day in calendar_of(activity).days]
        tables["sun"] = pd.DataFrame({"site": sun.site, "day": days, **times})
    return tables


def _with_days(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    texts = {name: [f"{day:%Y-%m-%d}" if pd.notna(day) else "" for day in table[name]] for name in columns}
    return table.assign(**texts)


def _clock(hour: float) -> str:
    """Return an hour of a day as text, to the minute; empty where there is none."""
    if math.isnan(hour):
        return ""
    minutes = round(hour * 60) % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
