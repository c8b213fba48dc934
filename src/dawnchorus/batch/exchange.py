"""What was predicted, and reviewed, handed on in the formats of other programs and standards."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from dawnchorus.audio.recorder_names import RecorderTimes, time_in_name
from dawnchorus.batch.predicted_with import PredictedWith, check_predicted
from dawnchorus.errors import DataError
from dawnchorus.formats import Format, ModelFacts, formats_of, read_detections, write_detections
from dawnchorus.formats.detection_tables import DETECTIONS_NAME, moment_of
from dawnchorus.formats.detection_writer import DetectionWriter
from dawnchorus.formats.recorded_effort import (
    EFFORT_NAME,
    effort_of_audio,
    effort_of_windows,
    read_effort,
)
from dawnchorus.formats.sites import at_sites, read_sites, unmatched
from dawnchorus.formats.taxonomy import SpeciesIndex, Taxonomy, read_taxonomy
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.formats.verdicts import with_verdicts
from dawnchorus.predict.detections import read_species
from dawnchorus.predict.window_tables import WINDOWS_NAME, read_taxonomy_of_windows

logger = logging.getLogger(__name__)

_KEYS = frozenset({"filename", "start_s", "end_s", "channel"})


@dataclass(frozen=True)
class ExchangeSettings:
    """What beside the detections goes into what is handed on.

    Attributes
    ----------
    audio
        Folder of the recordings, which tells their times, places and lengths where no ``effort.csv`` does.
    verified
        ``verified.csv`` of a review.
    names
        Table of the names of species, as for :func:`dawnchorus.formats.taxonomy.read_taxonomy`.
    language
        Of the common names.
    sites
        Table of sites, as for :func:`dawnchorus.formats.sites.read_sites`.
    species
        List of the only species to hand on, as for :func:`dawnchorus.predict.detections.read_species`; a
        detection history has them even where they were never found.
    times
        Where the times of recordings come from, where neither metadata nor known names have them; what is not
        given is as it was predicted with.

    Examples
    --------
    >>> ExchangeSettings(language="de").times.name is None
    True
    """

    audio: Path | None = None
    verified: Path | None = None
    names: Path | None = None
    language: str | None = None
    sites: Path | None = None
    species: Path | None = None
    times: RecorderTimes = field(default_factory=RecorderTimes)


def exchange(
    predictions: Path | str,
    formats: Format | Iterable[Format],
    out_dir: Path | str,
    settings: ExchangeSettings | None = None,
) -> dict[str, Path]:
    """Write detections in the formats of other programs, and return the paths by format.

    Recordings without a detection are in them too, where ``effort.csv`` or ``windows.parquet`` of the folder,
    or the folder of the recordings, tells of them.

    Parameters
    ----------
    predictions
        As for :func:`dawnchorus.formats.read_detections`.
    formats
        As for :func:`dawnchorus.formats.formats_of`.
    out_dir
        Where they go; made if missing. Existing output of these formats is replaced.
    settings
        Verdicts, names and places.

    Raises
    ------
    DataError
        A table cannot be read or lacks a column, a format states how long was recorded, and nothing tells, or
        one is of species that people have heard, or of sites, and there are no verdicts, or no sites.
    ConfigError
        A format is not known.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability\\nowl/XC1.wav,0.0,1.0,owl,0.9\\n"
    ... )
    >>> made = exchange("detections.csv", "darwin_core", "out", ExchangeSettings(audio=Path("recordings")))
    >>> len(pd.read_csv(made["darwin_core"] / "event.csv"))
    8
    """
    settings = settings or ExchangeSettings()
    predictions = Path(predictions)
    check_predicted(predictions)
    unheard = [name for name, writer in formats_of(formats).items() if writer.needs_verdicts]
    if unheard and settings.verified is None:
        raise DataError(
            f"{' and '.join(unheard)} takes species that people have heard alone, and nobody has confirmed "
            "these detections; listen with dawnchorus review, and give its table with --verified verified.csv"
        )
    detections = read_detections(predictions, settings.audio, missing=math.nan)
    if settings.verified is not None:
        detections = with_verdicts(detections, settings.verified)
    return hand_on(detections, predictions, formats, out_dir, settings)


def hand_on(
    detections: pd.DataFrame,
    predictions: Path,
    formats: Format | Iterable[Format],
    out_dir: Path | str,
    settings: ExchangeSettings | None = None,
) -> dict[str, Path]:
    """Write detections with what the tables beside them tell of recordings, classes and model.

    Parameters
    ----------
    detections
        As for :func:`dawnchorus.formats.write_detections`.
    predictions
        The folder, or the table, that they are from.
    formats, out_dir, settings
        As for :func:`exchange`; ``verified`` is not looked at.

    Raises
    ------
    DataError, ConfigError
        As for :func:`exchange`.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability,time,common_name\\n"
    ...     "night.wav,5.0,10.0,owl,0.9,2024-05-04T22:00:05,Tawny Owl\\n"
    ... )
    >>> found = pd.DataFrame({"filename": ["night.wav"], "start_s": [20.0], "end_s": [25.0]})
    >>> found = found.assign(label="owl", probability=float("nan"))
    >>> made = hand_on(found, Path("detections.csv"), "csv", "confirmed")
    >>> pd.read_csv(made["csv"])[["time", "common_name"]].values.tolist()
    [['2024-05-04T22:00:20.000', 'Tawny Owl']]
    """
    settings = settings or ExchangeSettings()
    folder = predictions if predictions.is_dir() else predictions.parent
    facts = _facts_of(predictions)
    recordings = _recordings_of(predictions, folder, facts, settings)
    writers = formats_of(formats)
    _check_lengths(writers, recordings, folder)
    _check_sites(writers, recordings)
    labels = list(dict.fromkeys([*_labels_in(folder), *detections["label"]]))
    model = _model_of(facts, read_taxonomy_of_windows(folder / WINDOWS_NAME), labels, settings)
    asked = PredictedWith.of(predictions).settings.get("species") or ()
    if settings.species is not None:
        asked = read_species(settings.species, labels, model.taxonomy)
        detections = detections[detections["label"].isin(asked)]
    model = replace(model, asked=tuple(label for label in labels if label in set(asked)))
    return write_detections(
        detections, writers.values(), out_dir, recordings=recordings, labels=labels or None, model=model
    )


def species_in(predictions: Path, taxonomy: Taxonomy | None = None) -> SpeciesIndex:
    """Return the classes of a folder of predictions, or of the folder of a table, by all their names.

    Parameters
    ----------
    predictions
        The folder, or a table in it.
    taxonomy
        More names than the table of detections holds, such as those of the model's card.

    Returns
    -------
    SpeciesIndex
        Of all classes where there is a table of windows, else of those that were detected; of none where
        there is neither.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability,common_name\\n"
    ...     "night.wav,5.0,10.0,Strix aluco,0.9,Tawny Owl\\n"
    ... )
    >>> species_in(Path(".")).label_of("tawny owl")
    'Strix aluco'
    """
    facts = _facts_of(predictions)
    folder = predictions if predictions.is_dir() else predictions.parent
    labels = _labels_in(folder)
    of_model = read_taxonomy_of_windows(folder / WINDOWS_NAME)
    named = _model_of(facts, of_model, labels, ExchangeSettings()).taxonomy
    given = taxonomy or {}
    merged = {label: {**given.get(label, {}), **named.get(label, {})} for label in {*given, *named}}
    return SpeciesIndex(labels or list(named), merged)


def _facts_of(predictions: Path) -> pd.DataFrame:
    """Return the rows of our own table of detections, with all columns; none where there is no such table."""
    table = predictions / DETECTIONS_NAME if predictions.is_dir() else predictions
    if not table.is_file() or table.suffix != ".csv":
        return pd.DataFrame({"filename": [], "start_s": []}, dtype=str)
    try:
        return read_text_table(table, required=("filename", "start_s"), names=("filename", "site"))
    except DataError:
        return pd.DataFrame({"filename": [], "start_s": []}, dtype=str)


def _recordings_of(
    predictions: Path, folder: Path, facts: pd.DataFrame, settings: ExchangeSettings
) -> pd.DataFrame:
    """Return the recordings, from the first of: ``effort.csv``, the sound files, the tables."""
    made = PredictedWith.of(predictions)
    given = settings.times
    times = RecorderTimes(given.name or made.times.name, given.time_zone or made.times.time_zone)
    detected = _recordings_detected(facts)
    if (folder / EFFORT_NAME).is_file():
        recordings = read_effort(folder / EFFORT_NAME)
        if settings.audio is not None:
            recordings["path"] = [str(settings.audio / name) for name in recordings["filename"]]
    elif settings.audio is not None:
        recordings = effort_of_audio(settings.audio, times)
    elif len(windows := effort_of_windows(folder / WINDOWS_NAME)):
        recordings = windows.merge(_places_of(made, times, detected), how="left", on="filename")
    elif made.audio_dir is not None:
        recordings = effort_of_audio(made.audio_dir, times)
    else:
        logger.warning(
            f"beside {predictions} is neither {EFFORT_NAME} nor {WINDOWS_NAME}, so that recordings without a "
            "detection are not known; name the folder of the recordings with --audio, or predict with "
            "--format effort"
        )
        recordings = detected
    recordings["start"] = [
        times.start_of(Path(name), moment_of(start, name) or time_in_name(Path(name)))
        for name, start in zip(recordings["filename"], recordings["start"], strict=True)
    ]
    recordings = recordings.astype({"start": object})
    if settings.sites is None:
        return recordings
    sites = read_sites(settings.sites)
    for sentence in unmatched(sites, recordings["filename"]):
        logger.warning(sentence)
    return at_sites(recordings, sites)


def _places_of(made: PredictedWith, times: RecorderTimes, detected: pd.DataFrame) -> pd.DataFrame:
    """Return time, place and device of recordings: of the sound files where they are still there.

    Detections know them of recordings with a detection alone, and the others would stand at no place.
    """
    if made.audio_dir is None:
        return detected
    try:
        return effort_of_audio(made.audio_dir, times).drop(columns=["path", "duration_s"])
    except DataError:  # the folder holds none any more
        return detected


def _recordings_detected(facts: pd.DataFrame) -> pd.DataFrame:
    """Return the recordings of a table of detections, each with the time and place of its first row."""
    first = facts.drop_duplicates("filename")
    seconds = pd.to_timedelta(pd.to_numeric(first["start_s"], errors="coerce"), unit="s")
    times = first["time"] if "time" in first else pd.Series("", first.index)
    starts = [
        (pd.Timestamp(time) - second).isoformat() if time and not pd.isna(second) else ""
        for time, second in zip(times, seconds, strict=True)
    ]
    columns = {name: first.get(name, "") for name in ("filename", "latitude", "longitude", "device")}
    return pd.DataFrame({**columns, "start": starts}).reset_index(drop=True)


def _check_lengths(
    writers: Mapping[str, type[DetectionWriter]], recordings: pd.DataFrame, folder: Path
) -> None:
    """Refuse formats that state how long was recorded, where that is not known.

    Raises
    ------
    DataError
        A length would be made up.
    """
    wanted = [name for name, writer in writers.items() if writer.states_length]
    if wanted and "duration_s" not in recordings:
        raise DataError(
            f"{' and '.join(wanted)} state how long was recorded, and {folder} does not tell: it has neither "
            f"{EFFORT_NAME} nor {WINDOWS_NAME}; name the folder of the recordings with --audio, or write "
            f"{EFFORT_NAME} there with the columns filename, start and duration_s"
        )


def _check_sites(writers: Mapping[str, type[DetectionWriter]], recordings: pd.DataFrame) -> None:
    """Refuse formats of sites where no recording has one.

    Raises
    ------
    DataError
        All recordings would be left out.
    """
    wanted = [name for name, writer in writers.items() if writer.needs_site]
    known = recordings.reindex(columns=["site", "device", "latitude"]).replace("", None).notna().any(axis=1)
    known |= recordings["filename"].str.contains("/", regex=False)
    if wanted and len(recordings) and not known.any():
        raise DataError(
            f"{' and '.join(wanted)} hold what was found at sites, and no recording tells its own: give a "
            "table with --sites; where all are of one site, its column recordings holds *"
        )


def _labels_in(folder: Path) -> list[str]:
    """Return the model's classes, where the table of windows tells them."""
    try:
        return [name for name in pq.read_schema(folder / WINDOWS_NAME).names if name not in _KEYS]
    except (OSError, ValueError):
        return []


def _model_of(
    facts: pd.DataFrame, of_model: Taxonomy, labels: list[str], settings: ExchangeSettings
) -> ModelFacts:
    name = next(iter(facts["model"]), "") if "model" in facts else ""
    rows = facts.drop_duplicates("label").to_dict("records") if "label" in facts else []
    own = {
        row["label"]: {key: row[key] for key in ("scientific_name", "common_name") if row.get(key)}
        for row in rows
    }
    given = (
        {} if settings.names is None else read_taxonomy(settings.names, labels, language=settings.language)
    )
    taxonomy = {
        label: {**of_model.get(label, {}), **own.get(label, {}), **given.get(label, {})}
        for label in {*of_model, *own, *given}
    }
    return ModelFacts(name, taxonomy)
