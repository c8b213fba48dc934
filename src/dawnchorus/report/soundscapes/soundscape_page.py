"""The report on detections: one page that needs no network, its pictures as files, a table behind each."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.batch.segments import safe_name
from dawnchorus.errors import ConfigError, DataError, DawnchorusError, OverwriteError
from dawnchorus.files import Failure, legible, replacing, write_text
from dawnchorus.formats.sites import read_sites, unmatched
from dawnchorus.formats.whole_tables import write_csv
from dawnchorus.predict.predictions import Detections, Predictions
from dawnchorus.progress import track
from dawnchorus.report.page_parts import Column, Picture, picture_of, shown_table
from dawnchorus.report.page_template import rendered
from dawnchorus.report.soundscapes import activity_pictures as pictures
from dawnchorus.report.soundscapes.activity import Activity, measure_activity
from dawnchorus.report.soundscapes.activity_tables import activity_tables
from dawnchorus.report.soundscapes.detection_clips import Clip, Clips, chosen_clips, cut_clips
from dawnchorus.report.soundscapes.missing_facts import missing_facts
from dawnchorus.report.soundscapes.prediction_facts import facts_of
from dawnchorus.report.soundscapes.prediction_source import PredictionSource, open_source_of
from dawnchorus.report.soundscapes.sun_times import SunHere, sun_of_sites
from dawnchorus.wording import counted

PAGE_NAME, PICTURES_NAME, TABLES_NAME = "report.html", "pictures", "tables"
GENERATOR = "dawnchorus report"
_TEMPLATE_NAME = "soundscape_page.html.jinja"
_MB = 1_000_000
_MAX_LISTED = 200
_MAX_TEXT = 300
_SPREAD_TOLD_MINUTES = 5.0


@dataclass(frozen=True)
class ReportSettings:
    """What a report shows.

    Parameters
    ----------
    n_species
        Species with a picture and clips of their own, the most detected ones; all are in the table.
    n_clips
        Clips of each of them, the surest and the most doubtful each; 0 for none.
    most_mb
        Megabytes that spectrograms and sounds may take together in the page.
    padding_s, longest_s
        Seconds of sound before and after a detection, and of a detection at most.

    Raises
    ------
    ConfigError
        A value is out of its range.

    Examples
    --------
    >>> ReportSettings(n_species=5).n_clips
    3
    """

    n_species: int = 20
    n_clips: int = 3
    most_mb: float = 12.0
    padding_s: float = 1.0
    longest_s: float = 10.0

    def __post_init__(self) -> None:
        for name, least in (("n_species", 0), ("n_clips", 0), ("most_mb", 0), ("padding_s", 0)):
            if not least <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name):g}; it must be {least} or more")
        if not 0 < self.longest_s < float("inf"):
            raise ConfigError(f"longest_s is {self.longest_s:g}; it must be above 0 s")


class SoundscapeReport(NamedTuple):
    """A report that was written.

    Attributes
    ----------
    page
        The HTML file.
    activity
        The counts that it shows.
    missing
        What could not be shown, and how to give it, a sentence each.
    failures
        Recordings of which a clip could not be read.
    n_bytes
        Size of the page.

    Examples
    --------
    >>> SoundscapeReport._fields[0]
    'page'
    """

    page: Path
    activity: Activity
    missing: list[str]
    failures: list[Failure]
    n_bytes: int


class _SpeciesPart(NamedTuple):
    name: str
    label: str
    sentence: str
    picture: Picture | None
    clips: list[Clip]


def write_report(
    predictions: Path | str | Predictions | Detections,
    folder: Path | str,
    *,
    audio_dir: Path | str | None = None,
    sites: Path | str | None = None,
    settings: ReportSettings | None = None,
    overwrite: bool = False,
) -> SoundscapeReport:
    """Write ``report.html``, ``pictures/`` and ``tables/`` on detections, and return what they show.

    Parameters
    ----------
    predictions
        A folder that ``dawnchorus predict`` wrote, a table of detections, or what a model of the library
        returned; of scores, those from 0.5 on are detections.
    folder
        Where the report goes; made if missing. An earlier report there is replaced.
    audio_dir
        Folder of the recordings, where they are no longer in the one that was predicted.
    sites
        Table of sites, as :func:`~dawnchorus.formats.sites.read_sites` takes it.
    settings
        How much is shown.
    overwrite
        Whether a ``report.html`` that is none of ours is replaced.

    Raises
    ------
    DataError
        There are no detections there, or a table cannot be read.
    OverwriteError
        ``folder`` holds a ``report.html`` that this did not write.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> found = dc.load_model("model", n_threads=1).predict("night.wav").detections(threshold=0.0)
    >>> report = dc.write_report(found, "report")
    >>> report.page.as_posix(), report.activity.n_detections
    ('report/report.html', 9)
    """
    settings, folder = settings or ReportSettings(), Path(folder)
    page = folder / PAGE_NAME
    _check_page(page, overwrite=overwrite)
    given = predictions.detections() if isinstance(predictions, Predictions) else predictions
    source = open_source_of(
        given if isinstance(given, Detections) else Path(given),
        audio_dir=None if audio_dir is None else Path(audio_dir),
    )
    if isinstance(predictions, Predictions):
        source.failures, source.notes = predictions.failures, predictions.notes
    table = [] if sites is None else read_sites(Path(sites))
    activity = measure_activity(source, table, n_clips=settings.n_clips)
    if activity.recordings.empty and isinstance(given, str | Path) and Path(given).is_file():
        raise DataError(
            f"{given} has no detection, and tells of no recording; give the folder that dawnchorus "
            "predict wrote"
        )
    labels = activity.species.index[: settings.n_species].tolist()
    chosen = chosen_clips(activity, labels if settings.n_clips else [])
    clips = cut_clips(
        source,
        activity,
        chosen,
        most_bytes=round(settings.most_mb * _MB),
        padding_s=settings.padding_s,
        longest_s=settings.longest_s,
    )
    sun, no_sun = _sun(activity)
    missing = missing_facts(source, activity, clips, no_sun=no_sun)
    strangers = unmatched(table, activity.recordings["filename"])
    missing += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in strangers]
    folder.mkdir(parents=True, exist_ok=True)
    tables = activity_tables(source, activity, chosen, sun)
    for name, table in tables.items():
        (folder / TABLES_NAME).mkdir(exist_ok=True)
        write_csv(folder / TABLES_NAME / f"{name}.csv", table)
    drawn, of_species = _draw(folder / PICTURES_NAME, activity, labels, sun)
    parts = [
        _SpeciesPart(
            species_name(activity, label),
            "" if _tells_nothing(activity.species.loc[label], label) else label,
            _sentence(activity, label, source.score_name),
            of_species.get(label),
            clips.of.get(label, []),
        )
        for label in labels
    ]
    content = rendered(
        _TEMPLATE_NAME,
        generator=GENERATOR,
        title=f"Who sang when: {source.title}",
        summary=_summary(source, activity),
        missing=missing,
        drawn=drawn,
        sun=_sun_sentence(sun),
        species_parts=parts,
        note_on_clips=_note_on_clips(clips, settings, source.score_name),
        score_name=source.score_name,
        tables=[f"{TABLES_NAME}/{name}.csv" for name in tables],
        **_table_parts(source, activity),
    )
    write_text(page, content)
    return SoundscapeReport(page, activity, missing, clips.failures, len(content.encode()))


def species_name(activity: Activity, label: str) -> str:
    """Return the common and the scientific name of a species, or its label where these are not known.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.report.soundscapes.activity import measure_activity
    >>> from dawnchorus.report.soundscapes.prediction_source import open_source_of
    >>> rows = ["filename,start_s,end_s,label,probability", "20240504_220000.wav,0,5,owl,0.9"]
    >>> _ = Path("detections.csv").write_text("\\n".join(rows))
    >>> activity = measure_activity(open_source_of(Path("detections.csv")))
    >>> species_name(activity, "owl")
    'owl'
    """
    row = activity.species.loc[label]
    names = [name for name in (row["common_name"], row["scientific_name"]) if name]
    distinct = list(dict.fromkeys(names)) or [label]
    return distinct[0] if len(distinct) == 1 else f"{distinct[0]} ({distinct[1]})"


def _tells_nothing(row: Mapping[str, Any], label: str) -> bool:
    """Return whether a label holds only names of its species, as BirdNET's does."""
    names = {row["common_name"], row["scientific_name"]} - {""}
    return (not names) or label.replace("_", " ") in names or set(label.split("_")) <= names


def _check_page(page: Path, *, overwrite: bool) -> None:
    if overwrite or not page.exists():
        return
    try:
        with page.open("rb") as file:
            is_ours = f'content="{GENERATOR}"'.encode() in file.read(2000)
    except OSError:
        is_ours = False
    if not is_ours:
        raise OverwriteError(
            f"{page} exists and is no report of dawnchorus; choose another folder with --out, or replace it "
            "with --force"
        )


def _sun(activity: Activity) -> tuple[SunHere | None, str]:
    """Return the sun over the columns of the pictures, and the reason where it cannot be computed."""
    if activity.effort.empty and activity.hours.empty:
        return None, ""
    try:
        return sun_of_sites(activity.sites, pictures.calendar_of(activity).days, activity.zones), ""
    except DawnchorusError as error:
        return None, str(error)


def _sun_sentence(sun: SunHere | None) -> str:
    if sun is None:
        return ""
    text = "Lines: civil dawn and dusk, dotted: sunrise and sunset" + (f", at {sun.site}" if sun.site else "")
    if sun.spread_minutes > _SPREAD_TOLD_MINUTES:
        text += f"; at other sites they differ by up to {sun.spread_minutes:.0f} minutes"
    return f"{text}."


def _draw(
    folder: Path, activity: Activity, labels: list[str], sun: SunHere | None
) -> tuple[dict[str, Picture | None], dict[str, Picture]]:
    """Return the pictures by name, and those of species by label, and write all as PNG, in light colours."""
    names = [(label, species_name(activity, label)) for label in activity.species.index]
    drawings = {
        "all_species": pictures.draw_all_species(activity, names[: pictures.MAX_ROWS]),
        "accumulation": pictures.draw_accumulation(activity),
        "sites": pictures.draw_sites(activity),
        "effort": pictures.draw_effort(activity),
    }
    shown: dict[str, Picture | None] = dict.fromkeys(drawings)
    with warnings.catch_warnings(), replacing(folder) as temporary:
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a script that the font lacks
        temporary.mkdir()
        for name, drawing in drawings.items():
            if drawing is not None:
                shown[name] = picture = picture_of(drawing.figure, drawing.description)
                (temporary / f"{name}.png").write_bytes(picture.light)
        of_species: dict[str, Picture] = {}
        (temporary / "species").mkdir()
        for number, (label, name) in enumerate(track(names[: len(labels)], "Drawing species"), 1):
            drawing = pictures.draw_species_hours(activity, label, name, None if sun is None else sun.times)
            if drawing is not None:
                of_species[label] = picture_of(drawing.figure, drawing.description)
                file = temporary / "species" / f"{number:03}_{safe_name(label)}.png"
                file.write_bytes(of_species[label].light)
    return shown, of_species


def _summary(source: PredictionSource, activity: Activity) -> list[str]:
    recordings = activity.recordings
    hours = recordings["duration_s"].sum() / 3600
    n_species = int((activity.species["n_detections"] > 0).sum())
    first = (
        f"{counted(activity.n_detections, 'detection')} of {counted(n_species, 'species', 'species')} in "
        f"{counted(len(recordings), 'recording')}, {hours:,.2f} h of sound"
    )
    n_sites = int((activity.sites.index != "").sum())
    first += f", at {counted(n_sites, 'site')}." if n_sites else "."
    sentences = [first]
    timed = recordings[recordings["start"].notna()]
    if len(timed):
        days = timed["local"].dt.normalize()
        sentences.append(
            f"Recorded from {days.min():%Y-%m-%d} to {days.max():%Y-%m-%d}, on "
            f"{counted(days.nunique(), 'day')}. {_zone_sentence(timed)}"
        )
    if source.failures:
        sentences.append(
            f"{counted(len(source.failures), 'recording')} could not be read, and are listed below."
        )
    return sentences


def _zone_sentence(timed: pd.DataFrame) -> str:
    offsets = {start.isoformat()[-len("+02:00") :] if start.tzinfo else "" for start in timed["start"]}
    known = sorted(offsets - {""})
    text = "Times are the local times of the recorders"
    if known:
        text += f", UTC{' and UTC'.join(known)}"
    return f"{text}." if offsets <= set(known) else f"{text}; of some, the offset from UTC is not known."


def _sentence(activity: Activity, label: str, score_name: str) -> str:
    row = activity.species.loc[label]
    n_detections, n_recordings = int(row["n_detections"]), int(row["n_recordings"])
    text = f"{counted(n_detections, 'detection')} in {counted(n_recordings, 'recording')}"
    if row["n_days"]:
        text += f" on {counted(int(row['n_days']), 'day')}"
    text += f"; highest {score_name} {row['highest_probability']:.3f}"
    if pd.notna(row["threshold"]):
        text += f", threshold {row['threshold']:.3g}"
    return f"{text}."


def _note_on_clips(clips: Clips, settings: ReportSettings, score_name: str) -> str:
    if not settings.n_clips:
        return "Sounds and spectrograms were not asked for."
    n = sum(len(each) for each in clips.of.values())
    text = (
        f"{counted(n, 'clip')}, {clips.n_bytes / _MB:.1f} MB of at most {settings.most_mb:g} MB. Below each: "
        f"its {score_name}, when it was, and where it is. A white bar above a spectrogram marks the "
        "detection; frequencies are in kHz."
    )
    if clips.n_left_out:
        text += f" {counted(clips.n_left_out, 'clip')} found no room."
    return text


def _number(how: str, value: Any) -> str:
    return f"{value:{how}}"


_COUNT = partial(_number, ",.0f")


def _table_parts(source: PredictionSource, activity: Activity) -> dict[str, Any]:
    species = activity.species.reset_index()
    for name in ("first", "last"):
        species[name] = [f"{day:%Y-%m-%d}" if pd.notna(day) else "" for day in species[name]]
    for name in ("threshold", "highest_probability"):
        species[name] = pd.to_numeric(species[name])
    without = activity.without_time
    tells = [
        not (row["common_name"] and _tells_nothing(row, row["label"])) for row in species.to_dict("records")
    ]
    return {
        "species": shown_table(
            species,
            {
                **({"label": Column("label")} if any(tells) or species.empty else {}),
                "common_name": Column("name"),
                "scientific_name": Column("scientific name"),
                "n_detections": Column("detections", _COUNT),
                "n_recordings": Column("recordings", _COUNT),
                "n_sites": Column("sites", _COUNT),
                "n_days": Column("days", _COUNT),
                "first": Column("first"),
                "last": Column("last"),
                "highest_probability": Column("highest", partial(_number, ".3f")),
                "threshold": Column("threshold", partial(_number, ".3g")),
            },
        ),
        "without_time": without["filename"].head(_MAX_LISTED).tolist(),
        "n_without_time": len(without),
        "failures": _listed(source.failures),
        "n_failures": len(source.failures),
        "notes": _listed(source.notes),
        "n_notes": len(source.notes),
        "facts": shown_table(facts_of(source), {"what": Column("setting"), "is": Column("value")}),
    }


def _listed(failures: Iterable[Failure]) -> Any:
    table = pd.DataFrame(
        [(legible(str(each.path)), legible(each.reason)) for each in failures][:_MAX_LISTED],
        columns=["path", "reason"],
    )
    return shown_table(table, {"path": Column("recording"), "reason": Column("reason")})
