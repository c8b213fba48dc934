"""A miniature competition in the layout of BirdCLEF 2025, with the truth that the real one hides.

::

    train.csv  taxonomy.csv  sample_submission.csv  recording_location.txt
    train_audio/{primary_label}/AV00001.ogg      labelled recordings
    train_soundscapes/H00_20230503_050000.ogg    unlabelled
    test_soundscapes/soundscape_1000000.ogg      to be predicted
    soundscapes_nocall/AV00090.ogg             without birds: noise for training
    solution.csv                                 the truth of test_soundscapes
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dawnchorus.aviary.aviary_recordings import RecordingPlan, make_recording, plan_recordings, recordist_name
from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.aviary_soundscapes import make_soundscape
from dawnchorus.aviary.songs import Species
from dawnchorus.aviary.synthesis import GRAMMAR_VERSION, read_card, write_audio
from dawnchorus.errors import DataError
from dawnchorus.files import is_file, replacing
from dawnchorus.progress import track

CARD = "miniature.json"
SOLUTION = "solution.csv"
ROW_S = 5
"""Seconds of a row of the submission."""

_SAMPLE_RATE = 32_000  # Hz, as all of BirdCLEF's sound
_MIN_OVERLAP_S = 0.25  # of a song with a row, for the species to count as present in it


@dataclass(frozen=True)
class MiniatureSettings:
    """Sizes and seed of a miniature competition.

    Attributes
    ----------
    seed, n_species, n_recordings, n_nocall, n_recordists, soundscape_s
        As in :class:`~dawnchorus.aviary.aviary_settings.AviarySettings`.
    n_train_soundscapes, n_test_soundscapes
        Soundscapes without labels, and those to be predicted.

    Examples
    --------
    >>> MiniatureSettings(n_species=4, n_recordings=32).aviary().n_species
    4
    """

    seed: int = 42
    n_species: int = 8
    n_recordings: int = 128
    n_nocall: int = 8
    n_recordists: int = 12
    n_train_soundscapes: int = 6
    n_test_soundscapes: int = 6
    soundscape_s: float = 60.0

    def aviary(self) -> AviarySettings:
        """Return the aviary that it is recorded in.

        Raises
        ------
        ConfigError
            A number is out of its range.
        """
        return AviarySettings(
            seed=self.seed,
            n_species=self.n_species,
            n_recordings=self.n_recordings,
            n_nocall=self.n_nocall,
            n_recordists=self.n_recordists,
            soundscape_s=self.soundscape_s,
            n_soundscapes=self.n_train_soundscapes + self.n_test_soundscapes,
        )


def make_competition(
    folder: Path | str, settings: MiniatureSettings | None = None, *, n_cores: int = 2
) -> Path:
    """Return the folder of a miniature competition, after making it if it is not there.

    Everything is made beside it and takes its place when the last file is written, so that a killed run
    leaves no half of it.

    Raises
    ------
    DataError
        The folder holds something else.

    Examples
    --------
    >>> settings = MiniatureSettings(
    ...     n_species=2, n_recordings=4, n_nocall=0, n_recordists=2,
    ...     n_train_soundscapes=0, n_test_soundscapes=1, soundscape_s=20.0,
    ... )
    >>> folder = make_competition("data", settings, n_cores=1)
    >>> sorted(path.name for path in folder.glob("*.csv"))
    ['sample_submission.csv', 'solution.csv', 'taxonomy.csv', 'train.csv']
    """
    folder, settings = Path(folder).absolute(), settings or MiniatureSettings()
    if _is_made(folder, settings):
        return folder
    with replacing(folder) as making:
        making.mkdir()
        _write_competition(making, settings, n_cores=n_cores)
        files = sorted(path.relative_to(making).as_posix() for path in making.rglob("*") if path.is_file())
        card = {**_card(settings), "files": files}
        (making / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return folder


def code_of(name: str) -> str:
    """Return a species' label in the manner of eBird's codes: ``trirap1`` of ``Trillator_rapidus``.

    Examples
    --------
    >>> code_of("Trillator_rapidus")
    'trirap1'
    """
    genus, epithet = name.lower().split("_")
    return f"{genus[:3]}{epithet[:3]}1"


def _card(settings: MiniatureSettings) -> dict[str, object]:
    return {"grammar_version": GRAMMAR_VERSION, **asdict(settings)}


def _is_made(folder: Path, settings: MiniatureSettings) -> bool:
    remedy = "name another folder, or delete this one"
    if folder.is_file():
        raise DataError(f"{folder}: is a file; name a folder for the miniature")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not (folder / CARD).is_file():
        raise DataError(f"{folder}: holds files but no miniature competition; {remedy}")
    found = read_card(folder / CARD, remedy)
    files = found.pop("files", [])
    if found != _card(settings) or not isinstance(files, list):
        raise DataError(f"{folder}: holds a miniature competition of other settings; {remedy}")
    gone = [str(name) for name in files if not is_file(folder / str(name))]
    if gone:
        raise DataError(f"{folder}: files of the miniature competition are gone, {gone[0]} first; {remedy}")
    return True


def _write_competition(folder: Path, settings: MiniatureSettings, *, n_cores: int) -> None:
    aviary = settings.aviary()
    plans = [
        replace(plan, extension="ogg", sample_rate=_SAMPLE_RATE, n_channels=1)
        for plan in plan_recordings(aviary)
    ]
    train = [_train_soundscape_name(number) for number in range(settings.n_train_soundscapes)]
    test = [f"soundscape_{1_000_000 + number}" for number in range(settings.n_test_soundscapes)]
    files = [_recording_file(folder, plan) for plan in plans]
    for path in {*(file.parent for file in files), folder / "train_soundscapes", folder / "test_soundscapes"}:
        path.mkdir(parents=True, exist_ok=True)
    jobs = [delayed(_write_recording)(*job, aviary) for job in zip(files, plans, strict=True)]
    # Every other soundscape of an aviary is at BirdCLEF's sample rate.
    for number, name in enumerate([*train, *test]):
        kind = "train_soundscapes" if number < len(train) else "test_soundscapes"
        jobs.append(delayed(_write_soundscape)(folder / kind / f"{name}.ogg", 2 * number, aviary))
    results = Parallel(n_jobs=n_cores, return_as="generator")(jobs)
    songs = [songs for songs in track(results, "Making a competition", total=len(jobs)) if songs is not None]
    labels = sorted(code_of(species.name) for species in aviary.species)
    _train_table([plan for plan in plans if plan.primary]).to_csv(folder / "train.csv", index=False)
    _taxonomy(aviary.species).to_csv(folder / "taxonomy.csv", index=False)
    n_rows = int(settings.soundscape_s // ROW_S)
    solution = pd.concat(
        [_truth(name, found, labels, n_rows) for name, found in zip(test, songs[len(train) :], strict=True)]
    )
    solution.to_csv(folder / SOLUTION, index=False)
    solution.assign(**dict.fromkeys(labels, 1 / len(labels))).to_csv(
        folder / "sample_submission.csv", index=False
    )
    (folder / "recording_location.txt").write_text("An invented marsh, 0.0, 0.0\n", encoding="utf-8")


def _recording_file(folder: Path, plan: RecordingPlan) -> Path:
    name = f"AV{plan.index:05d}.ogg"
    if plan.primary is None:
        return folder / "soundscapes_nocall" / name
    return folder / "train_audio" / code_of(plan.primary.name) / name


def _train_soundscape_name(number: int) -> str:
    return f"H{number:02d}_202305{3 + number % 25:02d}_{5 + number % 3:02d}0000"


def _write_recording(path: Path, plan: RecordingPlan, settings: AviarySettings) -> None:
    write_audio(path, make_recording(plan, settings), plan.sample_rate)


def _write_soundscape(path: Path, index: int, settings: AviarySettings) -> pd.DataFrame:
    soundscape = make_soundscape(index, settings)
    write_audio(path, soundscape.waveform, _SAMPLE_RATE)
    return soundscape.annotations


def _train_table(plans: Sequence[RecordingPlan]) -> pd.DataFrame:
    """Return ``train.csv`` with the columns of 2025."""
    rows = [
        {
            "primary_label": code_of(plan.primary.name),
            "secondary_labels": str([code_of(species.name) for species in plan.secondary] or [""]),
            "type": "['song']",
            "filename": f"{code_of(plan.primary.name)}/AV{plan.index:05d}.ogg",
            "collection": "AV",
            "rating": 5.0,
            "url": "",
            "latitude": 0.0,
            "longitude": 0.0,
            "scientific_name": plan.primary.name.replace("_", " "),
            "common_name": plan.primary.name.replace("_", " "),
            "author": recordist_name(plan.recordist),
            "license": "cc0",
        }
        for plan in plans
        if plan.primary is not None
    ]
    return pd.DataFrame(rows)


def _taxonomy(species: Sequence[Species]) -> pd.DataFrame:
    rows = [
        {
            "primary_label": code_of(one.name),
            "inat_taxon_id": number,
            "scientific_name": one.name.replace("_", " "),
            "common_name": one.name.replace("_", " "),
            "class_name": "Aves",
        }
        for number, one in enumerate(species, start=1)
    ]
    return pd.DataFrame(rows).sort_values("primary_label")


def _truth(soundscape: str, songs: pd.DataFrame, labels: Sequence[str], n_rows: int) -> pd.DataFrame:
    """Return a row for each 5 s of a soundscape, 1 for the species that sing in it."""
    ends = ROW_S * np.arange(1, n_rows + 1)
    table = pd.DataFrame({"row_id": [f"{soundscape}_{end}" for end in ends]} | dict.fromkeys(labels, 0))
    for song in songs.itertuples():
        overlap_s = np.minimum(ends, song.end_s) - np.maximum(ends - ROW_S, song.start_s)
        table.loc[overlap_s >= _MIN_OVERLAP_S, code_of(str(song.label))] = 1
    return table
