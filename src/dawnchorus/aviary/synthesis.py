"""An aviary on disk: complete or absent, and the same files from the same settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from joblib import Parallel, delayed
from numpy.typing import NDArray

from dawnchorus.aviary.aviary_recordings import (
    RecordingPlan,
    make_recording,
    plan_recordings,
    recordings_table,
)
from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.aviary_soundscapes import COLUMNS, make_soundscape, soundscape_form
from dawnchorus.config import read_json
from dawnchorus.errors import DataError
from dawnchorus.files import replacing
from dawnchorus.progress import track

# Raised when the same settings begin to give other sounds, so that older aviaries are not taken for current.
GRAMMAR_VERSION = 3
CARD = "aviary.json"
# libsndfile's Vorbis encoder keeps a whole write on its stack and crashes on long ones.
FRAMES_PER_WRITE = 65536


@dataclass(frozen=True)
class Aviary:
    """The paths of an aviary's parts.

    Attributes
    ----------
    recordings_dir
        A folder per species.
    recordings_csv
        In it: filename, primary_label, secondary_labels, author.
    soundscapes_dir
        Soundscapes in flac and ogg.
    annotations_csv
        In it: filename, start_s, end_s, label, low_hz, high_hz.

    Examples
    --------
    >>> from pathlib import Path
    >>> Aviary.in_folder(Path("aviary")).recordings_csv.as_posix()
    'aviary/recordings/recordings.csv'
    """

    recordings_dir: Path
    recordings_csv: Path
    soundscapes_dir: Path
    annotations_csv: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Aviary:
        """Return the paths of an aviary that lies, or will lie, in ``folder``."""
        recordings, soundscapes = folder / "recordings", folder / "soundscapes"
        return cls(recordings, recordings / "recordings.csv", soundscapes, soundscapes / "annotations.csv")


def make_aviary(folder: str | Path, settings: AviarySettings | None = None, *, n_cores: int = 2) -> Aviary:
    """Return the aviary in ``folder``, after making it if it is not there.

    Everything is made in a folder beside it, which is renamed when the last file is written: a run that is
    killed leaves no incomplete aviary. Samples depend on the settings alone, not on ``n_cores``; wav and
    flac files are equal to the byte.

    Parameters
    ----------
    folder
        A new or empty folder, or one that holds this very aviary.
    settings
        Settings of the aviary; the defaults if not given.
    n_cores
        Number of files that are made at a time.

    Raises
    ------
    DataError
        If ``folder`` holds something else.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> settings = AviarySettings(
    ...     n_species=2, n_recordings=4, n_nocall=0, n_recordists=2, n_soundscapes=0, duration_s=(1.0, 2.0)
    ... )
    >>> aviary = make_aviary("aviary", settings, n_cores=1)
    >>> sorted(path.name for path in aviary.recordings_dir.iterdir())
    ['Trillator_rapidus', 'Trillator_tardus', 'recordings.csv']
    """
    folder, settings = Path(folder).absolute(), settings or AviarySettings()
    if is_made(folder, settings):
        return Aviary.in_folder(folder)
    with replacing(folder) as making:
        making.mkdir()
        write_aviary(Aviary.in_folder(making), settings, n_cores=n_cores)
        (making / CARD).write_text(json.dumps(card(settings), indent=2) + "\n", encoding="utf-8")
    return Aviary.in_folder(folder)


def card(settings: AviarySettings) -> dict[str, object]:
    """Return the content of ``aviary.json``: the settings and the version of the grammar.

    Examples
    --------
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> card(AviarySettings(seed=7))["seed"]
    7
    """
    return {"grammar_version": GRAMMAR_VERSION, **json.loads(json.dumps(asdict(settings)))}


def is_made(folder: Path, settings: AviarySettings) -> bool:
    """Return whether ``folder`` holds this aviary already; False where there is nothing yet.

    Raises
    ------
    DataError
        If it holds another aviary, a damaged one, or other files.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> is_made(Path("aviary"), AviarySettings())
    False
    """
    remedy = "name another folder, or delete this one"
    if folder.is_file():
        raise DataError(f"{folder}: is a file; name a folder for the aviary")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not (folder / CARD).is_file():
        raise DataError(f"{folder}: holds files but no aviary; {remedy}")
    found, wanted = read_card(folder / CARD, remedy), card(settings)
    differing = [
        f"{name} {found.get(name)} instead of {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if differing:
        raise DataError(f"{folder}: holds another aviary, with {', '.join(differing)}; {remedy}")
    missing = [path for path in expected_files(Aviary.in_folder(folder), settings) if not path.is_file()]
    if missing:
        count = "1 file of the aviary is" if len(missing) == 1 else f"{len(missing)} files of the aviary are"
        raise DataError(f"{folder}: {count} gone, {missing[0]} first; {remedy}")
    return True


def read_card(path: Path, remedy: str) -> dict[str, Any]:
    """Return the content of the card at ``path``.

    Raises
    ------
    DataError
        If it is no JSON object; the message ends with ``remedy``.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("aviary.json").write_text('{"seed": 42}')
    >>> read_card(Path("aviary.json"), "name another folder")["seed"]
    42
    """
    return read_json(path, dict[str, Any], error=DataError, remedy=remedy)


def expected_files(aviary: Aviary, settings: AviarySettings) -> Iterator[Path]:
    """Yield every file of an aviary but its card.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> settings = AviarySettings(n_recordings=30, n_nocall=0)
    >>> len(list(expected_files(Aviary.in_folder(Path("aviary")), settings)))  # 2 + 30 + 6 soundscapes
    38
    """
    yield aviary.recordings_csv
    yield aviary.annotations_csv
    for plan in plan_recordings(settings):
        yield aviary.recordings_dir / plan.filename
    for index in range(settings.n_soundscapes):
        yield aviary.soundscapes_dir / soundscape_form(index)[0]


def write_aviary(aviary: Aviary, settings: AviarySettings, *, n_cores: int) -> None:
    """Write all recordings and soundscapes and the two tables that describe them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> settings = AviarySettings(
    ...     n_species=2, n_recordings=4, n_nocall=0, n_soundscapes=0, duration_s=(1.0, 2.0)
    ... )
    >>> aviary = Aviary.in_folder(Path("aviary"))
    >>> write_aviary(aviary, settings, n_cores=1)
    >>> len(aviary.recordings_csv.read_text().splitlines())  # a heading and four recordings
    5
    """
    plans = plan_recordings(settings)
    for label in {plan.label for plan in plans}:
        (aviary.recordings_dir / label).mkdir(parents=True)
    aviary.soundscapes_dir.mkdir(parents=True)
    recordings_table(plans).to_csv(aviary.recordings_csv, index=False)
    jobs = [delayed(write_soundscape)(aviary, index, settings) for index in range(settings.n_soundscapes)]
    jobs += [delayed(write_recording)(aviary, plan, settings) for plan in plans]
    results = Parallel(n_jobs=n_cores, return_as="generator")(jobs)
    tables = [table for table in track(results, "Making an aviary", total=len(jobs)) if table is not None]
    annotations = pd.concat(tables) if tables else pd.DataFrame(columns=list(COLUMNS))
    annotations.to_csv(aviary.annotations_csv, index=False)


def write_recording(aviary: Aviary, plan: RecordingPlan, settings: AviarySettings) -> None:
    """Make and write one recording.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.aviary.aviary_recordings import plan_recordings
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> settings = AviarySettings(duration_s=(1.0, 2.0))
    >>> plan, aviary = plan_recordings(settings)[0], Aviary.in_folder(Path("aviary"))
    >>> (aviary.recordings_dir / plan.label).mkdir(parents=True)
    >>> write_recording(aviary, plan, settings)
    >>> (aviary.recordings_dir / plan.filename).is_file()
    True
    """
    write_audio(aviary.recordings_dir / plan.filename, make_recording(plan, settings), plan.sample_rate)


def write_soundscape(aviary: Aviary, index: int, settings: AviarySettings) -> pd.DataFrame:
    """Make and write one soundscape; return its annotations.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.aviary.aviary_settings import AviarySettings
    >>> aviary = Aviary.in_folder(Path("aviary"))
    >>> aviary.soundscapes_dir.mkdir(parents=True)
    >>> annotations = write_soundscape(aviary, 0, AviarySettings(soundscape_s=10.0))
    >>> list(annotations.columns)
    ['filename', 'start_s', 'end_s', 'label', 'low_hz', 'high_hz']
    """
    filename, sample_rate = soundscape_form(index)
    soundscape = make_soundscape(index, settings)
    write_audio(aviary.soundscapes_dir / filename, soundscape.waveform, sample_rate)
    return soundscape.annotations


def write_audio(path: Path, waveform: NDArray[np.float32], sample_rate: int) -> None:
    """Write ``waveform``, shape (n_samples, n_channels), float32 in [-1, 1], in the format of the suffix.

    Wav and flac hold 16 bits a sample.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import soundfile
    >>> write_audio(Path("silence.flac"), np.zeros((32_000, 1), np.float32), 32_000)
    >>> soundfile.info("silence.flac").duration
    1.0
    """
    with soundfile.SoundFile(path, "w", sample_rate, waveform.shape[1]) as file:
        for start in range(0, len(waveform), FRAMES_PER_WRITE):
            file.write(waveform[start : start + FRAMES_PER_WRITE])
