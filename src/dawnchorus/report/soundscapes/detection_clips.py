"""Clips of the surest and the most doubtful detections, for a page whose size has a limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.excerpts import read_excerpt
from dawnchorus.batch.segments import shorten_detections
from dawnchorus.errors import DawnchorusError
from dawnchorus.files import Failure
from dawnchorus.formats import absolute_time
from dawnchorus.progress import track
from dawnchorus.report.excerpt_pictures import sound_of, spectrogram_of
from dawnchorus.report.pseudo_label_page import clock
from dawnchorus.report.soundscapes.activity import Activity
from dawnchorus.report.soundscapes.prediction_source import PredictionSource

_KEY = ["filename", "start_s", "end_s", "label"]


class Clip(NamedTuple):
    """A detection to look at and listen to.

    Attributes
    ----------
    kind
        ``surest`` or ``doubtful``.
    probability
        Of the detection.
    when
        Its local time, as text; empty where unknown.
    where
        The recording, and the clip's begin and end in it.
    spectrogram, sound
        JPEG, and Ogg Vorbis.

    Examples
    --------
    >>> Clip("surest", 0.93, "", "night.wav, 0:05 to 0:10", b"...", b"...").kind
    'surest'
    """

    kind: str
    probability: float
    when: str
    where: str
    spectrogram: bytes
    sound: bytes


class Clips(NamedTuple):
    """The clips of a page.

    Attributes
    ----------
    of
        By label, the surest first and then the most doubtful.
    n_bytes
        Of all pictures and sounds.
    n_left_out
        Clips for which there was no room.
    n_missing
        Clips whose recordings are not there.
    failures
        Recordings of which some clip could not be read, each with the first reason.

    Examples
    --------
    >>> Clips({}, 0, n_left_out=0, n_missing=2, failures=[]).n_missing
    2
    """

    of: dict[str, list[Clip]]
    n_bytes: int
    n_left_out: int
    n_missing: int
    failures: list[Failure]


def chosen_clips(activity: Activity, labels: Sequence[str]) -> pd.DataFrame:
    """Return the detections of some species to show: those that come first find room first.

    Each species has its surest before any has its most doubtful, and so on; ``kind`` is the reason of each. A
    detection that is among the surest is not among the doubtful too.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> found = dc.load_model("model", n_threads=1).predict("night.wav").detections(threshold=0.0)
    >>> len(chosen_clips(measure_activity(open_source_of(found)), ["owl"]))
    3
    """
    parts = []
    for turn, (kind, table) in enumerate((("surest", activity.surest), ("doubtful", activity.doubtful))):
        chosen = table[table["label"].isin(labels)]
        doubt = -chosen["probability"] if kind == "surest" else (chosen["probability"] - 0.5).abs()
        place = doubt.groupby(chosen["label"]).rank(method="first")
        parts.append(chosen.assign(kind=kind, place=place, turn=turn))
    both = pd.concat(parts, ignore_index=True).drop_duplicates(_KEY)
    rank = {label: number for number, label in enumerate(labels)}
    both = both.assign(rank=both["label"].map(rank)).sort_values(["place", "turn", "rank"], kind="stable")
    return both.drop(columns=["place", "turn", "rank"]).reset_index(drop=True)


def cut_clips(
    source: PredictionSource,
    activity: Activity,
    chosen: pd.DataFrame,
    *,
    most_bytes: int,
    padding_s: float,
    longest_s: float,
) -> Clips:
    """Return the sound and spectrogram of detections, as many as there is room for.

    Parameters
    ----------
    source
        Where the recordings are.
    activity
        The recordings and their times.
    chosen
        Detections as :func:`chosen_clips` returns them.
    most_bytes
        Bytes that pictures and sounds may take together.
    padding_s, longest_s
        Seconds before and after a detection, and of a detection at most, around its surest window.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> source = open_source_of(Path("detections.csv"))
    >>> chosen = chosen_clips(activity, ["owl"])
    >>> cut_clips(source, activity, chosen, most_bytes=9, padding_s=1.0, longest_s=9.0).n_missing
    1
    """
    starts = dict(zip(activity.recordings["filename"], activity.recordings["start"], strict=True))
    of: dict[str, list[Clip]] = {}
    failures: dict[str, Failure] = {}
    n_bytes = n_left_out = n_missing = 0
    shortened = _shortened(chosen, longest_s, source)
    for row in track(list(shortened.to_dict("records")), "Cutting clips"):
        path = source.path_of(row["filename"])
        if path is None:
            n_missing += 1
            continue
        if n_bytes >= most_bytes:
            n_left_out += 1
            continue
        channel = row.get("channel")
        try:
            excerpt = read_excerpt(
                path,
                row["start_s"],
                row["end_s"],
                padding_s=padding_s,
                channel="mean" if channel is None or pd.isna(channel) else int(channel),
                salvage=True,
            )
            spectrogram, sound = spectrogram_of(excerpt), sound_of(excerpt)
        except (DawnchorusError, OSError) as error:
            failures.setdefault(row["filename"], Failure(path, str(error)))
            continue
        size = len(spectrogram) + len(sound)
        if n_bytes + size > most_bytes:
            n_left_out += 1
            continue
        n_bytes += size
        where = f"{row['filename']}, {clock(excerpt.start_s)} to {clock(excerpt.end_s)}"
        when = _when(starts.get(row["filename"]), row["start_s"])
        of.setdefault(row["label"], []).append(
            Clip(row["kind"], float(row["probability"]), when, where, spectrogram, sound)
        )
    for clips in of.values():
        clips.sort(key=lambda clip: clip.kind != "surest")
    return Clips(of, n_bytes, n_left_out, n_missing, list(failures.values()))


def _shortened(chosen: pd.DataFrame, longest_s: float, source: PredictionSource) -> pd.DataFrame:
    try:
        return shorten_detections(chosen, longest_s, source.windows)
    except DawnchorusError:  # the windows are not those of these labels
        return shorten_detections(chosen, longest_s, None)


def _when(start: datetime | None, start_s: float) -> str:
    moment = absolute_time(start, start_s)
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
