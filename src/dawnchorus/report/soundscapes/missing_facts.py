"""What a report cannot show, and what its reader can do about it."""

from __future__ import annotations

from dawnchorus.report.soundscapes.activity import Activity
from dawnchorus.report.soundscapes.detection_clips import Clips
from dawnchorus.report.soundscapes.prediction_source import PredictionSource
from dawnchorus.wording import counted


def missing_facts(
    source: PredictionSource, activity: Activity, clips: Clips, *, no_sun: str = ""
) -> list[str]:
    """Return a sentence for each thing that is missing, with the remedy.

    Parameters
    ----------
    source, activity, clips
        What the report is made from.
    no_sun
        The reason why dawn and dusk could not be computed.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.detection_clips import Clips
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> source = open_source_of(dc.load_model("model", n_threads=1).predict("night.wav").detections())
    >>> found = missing_facts(source, measure_activity(source), Clips({}, 0, 0, 0, []))
    >>> any("The start of 1 recording is not known" in sentence for sentence in found)
    True
    """
    found = []
    if not activity.n_detections:
        found.append(
            "There is no detection: no score reached its threshold. Lower it with dawnchorus predict "
            "--threshold."
        )
    if not activity.knows_silence:
        found.append(
            "Recordings without a detection are not known, so that silence looks like a gap, and rates per "
            "hour are too high. Run the same dawnchorus predict again with --format effort added: with its "
            "journal it takes seconds."
        )
    n_untimed = len(activity.without_time)
    if n_untimed:
        found.append(
            f"The start of {counted(n_untimed, 'recording')} is not known, so that they are in no picture "
            "over time; they are listed below. Say how their names hold it: dawnchorus predict "
            "--recorder-name REC_%Y%m%d-%H%M%S."
        )
    timed = activity.recordings[activity.recordings["start"].notna()]
    if len(timed) and not activity.zones:
        found.append(
            "The offset of the recorders' clocks from UTC is not known, so that there is no dawn and dusk. "
            "Give dawnchorus predict --time-zone Europe/Berlin, or a column time_zone in the table of "
            "--sites."
        )
    placed = activity.sites["latitude"].notna()
    if len(placed) and not placed.any():
        found.append(
            "The recordings' coordinates are not known, so that there is no dawn and dusk. Give --sites "
            "sites.csv with the columns site, latitude and longitude; the site * stands for all."
        )
    if no_sun:
        found.append(f"There is no dawn and dusk: {no_sun}.")
    if clips.n_missing:
        where = source.audio_dir or source.settings.get("folder of recordings") or "their folder"
        found.append(
            f"The recordings of {counted(clips.n_missing, 'clip')} are not in {where}. Where they were "
            "moved, give --audio DIR; the names in it are those of the tables."
        )
    found += [f"A clip could not be read: {failure.reason}." for failure in clips.failures]
    return found
