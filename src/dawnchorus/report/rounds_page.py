"""A page on rounds of self-training side by side: scores, rows of each class, and how labels moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.audio.excerpts import read_excerpt
from dawnchorus.errors import AudioError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.files import write_text
from dawnchorus.formats.whole_tables import read_whole_table
from dawnchorus.models.card import ModelCard
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.pseudo_labels.pseudo_label_table import PRIMARY_LABEL, ROW_ID
from dawnchorus.report.excerpt_pictures import sound_of, spectrogram_of
from dawnchorus.report.page_parts import Column, shown_table
from dawnchorus.report.page_template import rendered
from dawnchorus.report.pseudo_label_page import clock
from dawnchorus.report.pseudo_label_survey import (
    MAIN_THRESHOLD,
    THRESHOLDS,
    LabelledWindow,
    survey_table,
)

N_MOVES, N_WINDOWS = 40, 6
_TEMPLATE_NAME = "rounds_page.html.jinja"


class HeardWindow(NamedTuple):
    """A window to look at and to hear, with the model's label.

    Examples
    --------
    >>> HeardWindow(b"...", b"...", "owl", "0.93", "night.wav", "0:05–0:10").label
    'owl'
    """

    picture: bytes
    sound: bytes
    label: str
    probability: str
    filename: str
    time: str


def write_rounds_page(
    page: Path,
    rounds: pd.DataFrame,
    tables: Mapping[int, Path],
    soundscapes: Mapping[str, RecordingFile],
    card: ModelCard,
    *,
    summary: Sequence[str] = (),
) -> None:
    """Write a self-contained HTML file on rounds.

    Parameters
    ----------
    page
        File to write.
    rounds
        One row a round: round, run, parent, exponent, value, out_of_fold, soundscapes, agreement, best.
    tables
        The table of pseudo-labels of each round that has one, by its number.
    soundscapes
        The recordings by the names that rows have for them.
    card
        The model, for its clip and its front-end.
    summary
        Sentences at the top.

    Raises
    ------
    DataError
        A table cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import pandas as pd
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
    >>> card, table = open_engine("model", n_threads=1).card, Path("round_1.parquet")
    >>> with pseudo_label_table(table, card.labels, has_folds=False) as rows:
    ...     rows.add("night", np.array([5.0]), np.float32([[0.9, 0.1, 0.2]]))
    >>> scores = {"exponent": None, "value": 0.8, "out_of_fold": 0.8, "soundscapes": None, "agreement": 0.8}
    >>> done = pd.DataFrame([{"round": 0, "run": "owls_round_0", "parent": None, "best": True, **scores}])
    >>> night = {"night": RecordingFile(Path("night.wav"), "night.wav")}
    >>> write_rounds_page(Path("rounds.html"), done, {1: table}, night, card)
    >>> "data:audio/ogg" in Path("rounds.html").read_text()
    True
    """
    surveys = {number: survey_table(table) for number, table in tables.items()}
    main = THRESHOLDS.index(MAIN_THRESHOLD)
    kept = pd.DataFrame(
        {
            f"round {number}": dict(zip(found.labels, found.n_above[:, main].tolist(), strict=True))
            for number, found in surveys.items()
        }
    )
    kept = kept.fillna(0).rename_axis("class").reset_index()
    counts = {name: Column(name, "{:,.0f}".format) for name in kept.columns[1:]}
    last = surveys[max(surveys)] if surveys else None
    write_text(
        page,
        rendered(
            _TEMPLATE_NAME,
            title="Rounds of self-training",
            summary=list(summary),
            rounds=shown_table(_numbers(rounds), _ROUND_COLUMNS),
            kept=shown_table(kept, {"class": Column("class"), **counts}),
            moves=shown_table(label_moves(tables), _MOVE_COLUMNS),
            surest=[] if last is None else _heard(last.surest, soundscapes, card),
            doubtful=[] if last is None else _heard(last.doubtful, soundscapes, card),
        ),
    )


_SCORE = "{:.4f}".format
_ROUND_COLUMNS = {
    "round": Column("round", "{:.0f}".format),
    "run": Column("run"),
    "parent": Column("labelled by"),
    "exponent": Column("power", "{:.3g}".format),
    "value": Column("score", _SCORE),
    "out_of_fold": Column("out of fold", _SCORE),
    "soundscapes": Column("labelled soundscapes", _SCORE),
    "agreement": Column("agreement of folds", _SCORE),
    "best": Column("kept"),
}
_MOVE_COLUMNS = {
    "round": Column("round", "{:.0f}".format),
    "before": Column("before"),
    "after": Column("now"),
    "n_rows": Column("rows", "{:,.0f}".format),
}


def _numbers(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return the rounds with NaN for missing numbers, and words for the rest."""
    numbers = {
        name: pd.to_numeric(rounds[name]) for name in ("exponent", "out_of_fold", "soundscapes", "agreement")
    }
    words = {
        "parent": rounds["parent"].fillna("nobody: labels alone"),
        "best": rounds["best"].map({True: "best", False: ""}),
    }
    return rounds.assign(**numbers, **words)


def label_moves(tables: Mapping[int, Path]) -> pd.DataFrame:
    """Return how often the primary label of a row changed from one to another, between tables of rounds.

    Columns: round (the later one), before, after, n_rows; at most :data:`N_MOVES` of a round, the most
    frequent first.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.pseudo_labels.pseudo_label_table import pseudo_label_table
    >>> for number, owl in ((1, 0.9), (2, 0.1)):
    ...     with pseudo_label_table(Path(f"round_{number}.csv"), ["owl", "wren"], has_folds=False) as table:
    ...         table.add("night", np.array([5.0]), np.float32([[owl, 0.5]]))
    >>> label_moves({number: Path(f"round_{number}.csv") for number in (1, 2)})
       round before after  n_rows
    0      2    owl  wren       1
    """
    found, before = [], None
    for number in sorted(tables):
        labels = read_whole_table(tables[number]).set_index(ROW_ID)[PRIMARY_LABEL]
        if before is not None:
            both = pd.DataFrame({"before": before, "after": labels}).dropna()
            counts = both[both["before"] != both["after"]].value_counts().head(N_MOVES)
            found.append(counts.rename("n_rows").reset_index().assign(round=number))
        before = labels
    columns = ["round", "before", "after", "n_rows"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def _heard(
    windows: Sequence[LabelledWindow], soundscapes: Mapping[str, RecordingFile], card: ModelCard
) -> list[HeardWindow]:
    frontend, heard = FrontendSettings(**card.frontend), []
    for window in windows[:N_WINDOWS]:
        recording = soundscapes[window.soundscape]
        start_s = max(window.end_s - card.segment_len, 0.0)
        try:
            excerpt = read_excerpt(recording.path, start_s, window.end_s, padding_s=0.0)
            sound = sound_of(excerpt)
        except AudioError:
            continue  # it is listed among the failures, or too short to be heard
        times = "–".join((clock(start_s), clock(window.end_s)))
        heard.append(
            HeardWindow(
                spectrogram_of(excerpt, frontend),
                sound,
                window.label,
                f"{window.probability:.3f}",
                recording.name,
                times,
            )
        )
    return heard
