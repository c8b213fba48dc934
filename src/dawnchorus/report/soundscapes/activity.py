"""Counts of detections by species, site, day and hour, against the hours that were recorded.

Detections are read a batch at a time; what is held is a row for each species, recording and hour in which the
species was detected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

import numpy as np
import pandas as pd

from dawnchorus.audio.recorder_times import Recorder
from dawnchorus.batch.segments import SegmentSettings, choose_detections
from dawnchorus.formats.sites import ALL_OTHERS, Site, site_among
from dawnchorus.report.soundscapes.prediction_source import PredictionSource, Recorded, RecordingList, began

_KEYS = ["label", "filename", "day", "hour"]
_NAMES = ["scientific_name", "common_name", "threshold"]
_HELD_PARTS = 16
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Activity:
    """What was detected when and where, and when and where was recorded. Days and hours are local.

    Attributes
    ----------
    species
        Index ``label``, the most detected first: ``scientific_name``, ``common_name``, ``n_detections``,
        ``n_recordings``, ``n_sites``, ``n_days``, ``first``, ``last`` (days), ``highest_probability``,
        ``threshold``.
    hours
        ``label``, ``site``, ``day``, ``hour``, ``n_detections``: where times are known.
    effort
        ``site``, ``day``, ``hour``, ``recorded_s``.
    recordings
        A row a recording, by time and name: ``filename``, ``site``, ``start`` (datetime or None),
        ``duration_s``, ``n_detections``, ``n_species``, ``latitude``, ``longitude``, ``device``.
    sites
        Index ``site``: ``latitude``, ``longitude``, ``n_recordings``, ``recorded_h``, ``n_days``,
        ``n_detections``, ``n_species``.
    accumulation
        ``recorded_h``, ``n_species``, after each recording with a new species, and at the end.
    surest, doubtful
        Some detections of each species, as ``dawnchorus segments`` chooses them.
    zones
        The time zone of each recorded day, where it is known.
    knows_silence
        Whether recordings without a detection are among the recordings.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> found = dc.load_model("model", n_threads=1).predict("night.wav").detections(threshold=0.0)
    >>> activity = measure_activity(open_source_of(found))
    >>> activity.species["n_detections"].tolist(), activity.n_detections
    ([3, 3, 3], 9)
    """

    species: pd.DataFrame
    hours: pd.DataFrame
    effort: pd.DataFrame
    recordings: pd.DataFrame
    sites: pd.DataFrame
    accumulation: pd.DataFrame
    surest: pd.DataFrame
    doubtful: pd.DataFrame
    zones: dict[date, tzinfo]
    knows_silence: bool

    @property
    def n_detections(self) -> int:
        """All detections."""
        return int(self.species["n_detections"].sum())

    @property
    def without_time(self) -> pd.DataFrame:
        """The recordings whose start is not known."""
        return self.recordings[self.recordings["start"].isna()]


def measure_activity(source: PredictionSource, sites: Sequence[Site] = (), *, n_clips: int = 3) -> Activity:
    """Return the activity of all detections of a source.

    Parameters
    ----------
    source
        The detections and recordings.
    sites
        Names, places and time zones of sites; they go before what metadata say.
    n_clips
        Detections of each species to choose, the surest and the most doubtful each.

    Raises
    ------
    DataError
        The detections cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> activity.hours[["label", "hour", "n_detections"]].values.tolist()
    [['owl', 22, 1]]
    """
    listed, tally = RecordingList(source), _Tally()
    surest, doubtful = (
        _Choice(SegmentSettings(per_species=max(1, n_clips), order=order)) for order in ("surest", "doubtful")
    )
    for batch in source.batches():
        starts = _see(listed, batch)
        since = starts.reindex(batch["filename"].astype(str)).to_numpy()
        from_start = since + pd.to_timedelta(batch["start_s"], unit="s").to_numpy()
        batch["time"] = batch["time"].where(batch["time"].notna(), pd.Series(from_start, index=batch.index))
        tally.add(batch)
        surest.add(batch)
        doubtful.add(batch)
    counts = tally.counts()
    ends = tally.ends()
    recorded = listed.all()
    for each in recorded:
        each.duration_s = max(each.duration_s, float(ends.get(each.filename, 0.0)))
    recordings = _recordings_table(recorded, sites, counts)
    site_of = recordings.set_index("filename")["site"]
    counts["site"] = site_of.reindex(counts["filename"]).to_numpy()
    effort = _effort(recordings)
    timed = counts[counts["day"].notna()]
    hours = timed.groupby(["label", "site", "day", "hour"], observed=True, as_index=False)[
        "n_detections"
    ].sum()
    return Activity(
        species=_species_table(counts, tally.names()),
        hours=hours.astype({"day": "datetime64[us]", "hour": int, "n_detections": int}),
        effort=effort,
        recordings=recordings,
        sites=_sites_table(recordings, counts),
        accumulation=_accumulation(recordings, counts),
        surest=surest.kept,
        doubtful=doubtful.kept,
        zones=_zones(recordings),
        knows_silence=source.recordings is not None,
    )


class _Tally:
    """Counts by species, recording, day and hour; the names of species, and where detections end."""

    def __init__(self) -> None:
        self._parts: list[pd.DataFrame] = []
        self._ends: list[pd.Series] = []
        self._names: dict[str, dict[str, object]] = {}

    def add(self, batch: pd.DataFrame) -> None:
        day, hour = batch["time"].dt.normalize(), batch["time"].dt.hour
        keys = {"label": batch["label"], "filename": batch["filename"], "day": day, "hour": hour}
        part = pd.DataFrame({**keys, "n_detections": 1, "highest_probability": batch["probability"]})
        self._parts.append(_summed(part))
        if len(self._parts) >= _HELD_PARTS:
            self._parts = [self.counts()]
        self._ends.append(batch.groupby("filename", observed=True)["end_s"].max())
        new = batch[~batch["label"].isin(self._names)].drop_duplicates("label")
        for row in new.to_dict("records"):
            self._names[str(row["label"])] = {name: row.get(name) for name in _NAMES}

    def counts(self) -> pd.DataFrame:
        empty = pd.DataFrame(columns=[*_KEYS, "n_detections", "highest_probability"])
        return _summed(pd.concat(self._parts)) if self._parts else empty.astype({"n_detections": int})

    def ends(self) -> dict[str, float]:
        if not self._ends:
            return {}
        ends = pd.concat([each.set_axis(each.index.astype(str)) for each in self._ends])
        return {str(name): float(end_s) for name, end_s in ends.groupby(level=0).max().items()}

    def names(self) -> dict[str, dict[str, object]]:
        return self._names


def _summed(part: pd.DataFrame) -> pd.DataFrame:
    grouped = part.groupby(_KEYS, observed=True, dropna=False, as_index=False)
    summed = grouped.agg(
        n_detections=("n_detections", "sum"), highest_probability=("highest_probability", "max")
    )
    return summed.astype({"label": str, "filename": str})


class _Choice:
    """Some detections of each species, whatever the batches."""

    def __init__(self, settings: SegmentSettings) -> None:
        self.settings = settings
        self.kept = pd.DataFrame(columns=["filename", "start_s", "end_s", "label", "probability"])

    def add(self, batch: pd.DataFrame) -> None:
        probability = batch["probability"]
        wanted = -probability if self.settings.order == "surest" else (probability - 0.5).abs()
        ranks = wanted.groupby(batch["label"], observed=True).rank(method="min")
        columns = [*self.kept.columns[:5], *(["channel"] if "channel" in batch else [])]
        rows = batch.loc[ranks <= self.settings.per_species, columns].astype({"filename": str, "label": str})
        self.kept = choose_detections(pd.concat([self.kept, rows]) if len(self.kept) else rows, self.settings)


def _see(listed: RecordingList, batch: pd.DataFrame) -> pd.Series:
    """Return the naive start of every recording of a batch, by its name."""
    starts: dict[str, object] = {}
    for row in batch.drop_duplicates("filename").to_dict("records"):
        place = [row.get(name) for name in ("device", "latitude", "longitude")]
        recorder = Recorder(*(None if pd.isna(each) else each for each in place))
        name = str(row["filename"])
        start = listed.see(name, began(row.get("time_text"), row["start_s"]), recorder).start
        starts[name] = pd.NaT if start is None else start.replace(tzinfo=None)
    return pd.Series(starts, dtype="datetime64[us]")


def _recordings_table(
    recorded: Sequence[Recorded], sites: Sequence[Site], counts: pd.DataFrame
) -> pd.DataFrame:
    grouped = counts.groupby("filename")
    n_detections, n_species = grouped["n_detections"].sum(), grouped["label"].nunique()
    rows = []
    for each in recorded:
        given = site_among(sites, each.filename)
        folder, slash, _ = each.filename.partition("/")
        start, (device, latitude, longitude) = each.start, each.recorder
        if given is not None:
            latitude = latitude if given.latitude is None else given.latitude
            longitude = longitude if given.longitude is None else given.longitude
            if start is not None and start.tzinfo is None and given.zone is not None:
                start = start.replace(tzinfo=given.zone)
        is_named = given is not None and given.name != ALL_OTHERS
        name = given.name if given is not None and is_named else (folder if slash else "")
        found = int(n_detections.get(each.filename, 0)), int(n_species.get(each.filename, 0))
        rows.append((each.filename, name, start, each.duration_s, *found, latitude, longitude, device))
    columns = ["filename", "site", "start", "duration_s", "n_detections", "n_species"]
    table = pd.DataFrame(rows, columns=[*columns, "latitude", "longitude", "device"])
    table["start"] = table["start"].astype(object).where(table["start"].notna(), None)
    for place in ("latitude", "longitude"):
        table[place] = pd.to_numeric(table[place])
    local = pd.Series([_naive(start) for start in table["start"]], dtype="datetime64[us]")
    return (
        table.assign(local=local)
        .sort_values(["local", "filename"], na_position="last")
        .reset_index(drop=True)
    )


def _naive(start: datetime | None) -> datetime | None:
    return None if start is None else start.replace(tzinfo=None)


def _effort(recordings: pd.DataFrame) -> pd.DataFrame:
    rows = [
        (row.site, day, hour, seconds)
        for row in recordings[recordings["start"].notna()].itertuples()
        for day, hour, seconds in hours_of(row.local.to_pydatetime(), row.duration_s)
    ]
    table = pd.DataFrame(rows, columns=["site", "day", "hour", "recorded_s"])
    table = table.astype({"day": "datetime64[us]", "hour": int, "recorded_s": float})
    return table.groupby(["site", "day", "hour"], as_index=False)["recorded_s"].sum()


def hours_of(start: datetime, duration_s: float) -> Iterator[tuple[date, int, float]]:
    """Yield the days and hours that a stretch of time lies in, and its seconds in each.

    Examples
    --------
    >>> from datetime import datetime
    >>> [(day.day, hour, seconds) for day, hour, seconds in hours_of(datetime(2024, 5, 4, 23, 30), 3600)]
    [(4, 23, 1800.0), (5, 0, 1800.0)]
    """
    end = start + timedelta(seconds=duration_s)
    while start < end:
        later = min(end, start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
        yield (
            start.replace(hour=0, minute=0, second=0, microsecond=0),
            start.hour,
            (later - start).total_seconds(),
        )
        start = later


def _species_table(counts: pd.DataFrame, names: dict[str, dict[str, object]]) -> pd.DataFrame:
    grouped = counts.groupby("label")
    table = pd.DataFrame(
        {
            **{name: pd.Series({label: each[name] for label, each in names.items()}) for name in _NAMES},
            "n_detections": grouped["n_detections"].sum(),
            "n_recordings": grouped["filename"].nunique(),
            "n_sites": grouped["site"].nunique(),
            "n_days": grouped["day"].nunique(),
            "first": grouped["day"].min(),
            "last": grouped["day"].max(),
            "highest_probability": grouped["highest_probability"].max(),
        }
    )
    table.index.name = "label"
    for name in ("scientific_name", "common_name"):
        table[name] = table[name].where(table[name].notna(), "").astype(str)
    ordered = table.reset_index().sort_values(["n_detections", "label"], ascending=[False, True])
    return ordered.set_index("label").astype({"n_detections": int})


def _sites_table(recordings: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    grouped = recordings.groupby("site")
    table = pd.DataFrame(
        {
            "latitude": grouped["latitude"].median(),
            "longitude": grouped["longitude"].median(),
            "n_recordings": grouped.size(),
            "recorded_h": grouped["duration_s"].sum() / _HOUR_S,
            "n_days": recordings["local"].dt.normalize().groupby(recordings["site"]).nunique(),
            "n_detections": grouped["n_detections"].sum(),
            "n_species": counts.groupby("site")["label"].nunique(),
        }
    )
    return table.fillna({"n_species": 0}).astype({"n_species": int, "n_recordings": int})


def _accumulation(recordings: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    rank = pd.Series(np.arange(len(recordings)), index=recordings["filename"])
    first = rank.reindex(counts["filename"]).groupby(counts["label"].to_numpy()).min()
    new = first.value_counts().sort_index()
    hours = recordings["duration_s"].cumsum().to_numpy() / _HOUR_S
    at = new.index.to_numpy(int)
    table = pd.DataFrame({"recorded_h": hours[at], "n_species": new.cumsum().to_numpy(int)})
    if len(hours) and not (len(at) and at[-1] == len(hours) - 1):
        last = pd.DataFrame({"recorded_h": [hours[-1]], "n_species": [int(new.sum())]})
        table = pd.concat([table, last], ignore_index=True)
    return table


def _zones(recordings: pd.DataFrame) -> dict[date, tzinfo]:
    zones: dict[date, tzinfo] = {}
    for start in recordings["start"]:
        if start is not None and start.tzinfo is not None:
            zones.setdefault(start.date(), start.tzinfo)
    return zones
