"""The out-of-fold part of a run's page: reliability, confusions, and recordings to look at and listen to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from dawnchorus.audio.decode import read_crop
from dawnchorus.audio.excerpts import Excerpt
from dawnchorus.config import DataSettings
from dawnchorus.errors import AudioError, DawnchorusError
from dawnchorus.evaluate.confusions import (
    CONFUSION_COLUMNS,
    CONFUSIONS_NAME,
    MOST_WRONG_NAME,
    RELIABILITY_NAME,
    WRONG_COLUMNS,
)
from dawnchorus.evaluate.reliability import reliability_of
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel
from dawnchorus.features.mel_axis import show_spectrogram
from dawnchorus.files import inside
from dawnchorus.report.excerpt_pictures import sound_of
from dawnchorus.report.reliability_picture import reliability_figure
from dawnchorus.report.run_tables import read_csv_table
from dawnchorus.runs import Run

N_CONFUSIONS = 30
_SHOWN_S = 10.0  # of a recording, from its beginning
_SIZE_INCHES = (6.0, 2.0)
_SOUND_BYTES = 300_000  # of one recording in the page; 10 s of mono Vorbis take about 100 kB


class WrongRecording(NamedTuple):
    """A recording that is most wrong: a sentence on it, its spectrogram, and its sound as Ogg Vorbis.

    Examples
    --------
    >>> WrongRecording("a.ogg: owl 0.20, taken for wren 0.60", None, None).sound is None
    True
    """

    sentence: str
    spectrogram: bytes | None
    sound: bytes | None


def confusion_table(run: Run) -> pd.DataFrame:
    """Return the most frequent confusions; no rows where ``dawnchorus evaluate`` has not found any.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> len(confusion_table(Run.open("logdirs/tiny")))  # it is not evaluated
    0
    """
    table = read_csv_table(run.path / CONFUSIONS_NAME, CONFUSION_COLUMNS, numbers=CONFUSION_COLUMNS[2:])
    return table.head(N_CONFUSIONS)


def draw_reliability(run: Run, name: str = RELIABILITY_NAME) -> Figure | None:
    """Return the reliability of the out-of-fold predictions, or None where it is not recorded.

    ``name`` is that of its table, for raw or for calibrated scores.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> draw_reliability(Run.open("logdirs/tiny"))
    """
    columns = ("from_score", "to_score", "n_pairs", "mean_score", "observed_fraction", "low", "high")
    table = read_csv_table(run.path / name, columns, numbers=columns)
    usable = len(table) > 0 and table["n_pairs"].notna().all() and table["n_pairs"].sum() > 0
    return reliability_figure(reliability_of(table)) if usable else None


def wrong_recordings(run: Run, *, with_sound: bool = True) -> list[WrongRecording]:
    """Return the recordings that are most wrong out of fold, with what can be shown and heard of them.

    Only recordings that lie in the run's own dataset roots are opened, and the first 10 s of them.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> wrong_recordings(Run.open("logdirs/tiny"))
    []
    """
    numbers = ("fold", "probability", "its_probability")
    table = read_csv_table(run.path / MOST_WRONG_NAME, WRONG_COLUMNS, numbers=numbers)
    shown = []
    for row in table.itertuples():
        sentence = (
            f"{row.filename}: labelled {row.primary_label}, present at most {row.probability:.2f}; taken for "
            f"{row.taken_for}, {row.its_probability:.2f}"
        )
        wave, frontend = _beginning(run, str(row.filename)) if with_sound else (None, None)
        if wave is None or frontend is None:
            shown.append(WrongRecording(sentence, None, None))
        else:
            sound = _ogg(wave, frontend.sample_rate)
            shown.append(WrongRecording(sentence, _spectrogram(wave, frontend), sound))
    return shown


def _beginning(run: Run, filename: str) -> tuple[npt.NDArray[np.float32] | None, FrontendSettings | None]:
    """Return the first seconds of a recording and the run's front-end; None where they cannot be read."""
    try:
        frontend = FrontendSettings.from_mapping(run.card().frontend)
        path = _found(run.data(), filename)
        if path is None:
            return None, None
        n_samples = round(_SHOWN_S * frontend.sample_rate)
        wave = read_crop(path, 0, n_samples, sample_rate=frontend.sample_rate)
    except (DawnchorusError, OSError, ValueError, KeyError, TypeError):
        return None, None
    return (wave, frontend) if len(wave) > frontend.n_fft else (None, None)


def _found(places: Sequence[DataSettings], filename: str) -> Path | None:
    paths = (inside(place.audio_dir, filename, named_in=MOST_WRONG_NAME) for place in places)
    return next((path for path in paths if path.is_file()), None)


def _spectrogram(wave: npt.NDArray[np.float32], frontend: FrontendSettings) -> bytes:
    logmel = NumpyLogMel(frontend)(wave[None])[0, 0]
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    darkest = float(np.quantile(logmel, 0.3))
    duration_s = len(wave) / frontend.sample_rate
    show_spectrogram(axes, logmel, frontend=frontend, duration_s=duration_s, darkest=darkest)
    axes.set_xlabel("s", loc="right", labelpad=-8)
    axes.set_ylabel("kHz")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()


def _ogg(wave: npt.NDArray[np.float32], sample_rate: int) -> bytes | None:
    """Return a sound as Ogg Vorbis, or None where libsndfile cannot write it or it is large."""
    try:
        content = sound_of(Excerpt(wave, sample_rate, 0.0, (0.0, 0.0)))
    except AudioError:
        return None
    return content if len(content) <= _SOUND_BYTES else None
