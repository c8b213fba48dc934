"""What a review writes: its answers, verified detections in any format, precision and thresholds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dawnchorus.batch.exchange import hand_on
from dawnchorus.evaluate.calibration import POOLED, ReviewedThreshold, write_thresholds
from dawnchorus.files import write_text
from dawnchorus.formats import Format
from dawnchorus.formats.detection_tables import DETECTION_COLUMNS
from dawnchorus.formats.whole_tables import write_csv
from dawnchorus.models.reviewed_calibration import REVIEWED_CALIBRATION_NAME
from dawnchorus.predict.thresholds import ALL_OTHERS, THRESHOLDS_NAME
from dawnchorus.recordings.labels import NOCALL
from dawnchorus.review.reviewed_precision import MIN_ANSWERS, AnswerCalibration
from dawnchorus.review.reviewing import Review
from dawnchorus.wording import counted

ANSWERS_NAME, VERIFIED_NAME = "answers.csv", "verified.csv"
PRECISION_NAME, SCORES_NAME = "precision.csv", "score_probability.csv"
TABLES_FOLDER = "verified"
DEFAULT_FORMATS = ("csv", "raven")
OTHERWISE = 0.5
"""Threshold of classes that were not reviewed."""


class Results(NamedTuple):
    """The files that a review has written.

    Attributes
    ----------
    folder
        Where they are.
    files
        The files and folders.
    n_clips
        Clips with an answer.
    n_confirmed
        Rows of the verified tables.
    thresholds
        Those in ``thresholds.csv``.
    notes
        Sentences on what the answers do not suffice for.

    Examples
    --------
    >>> from pathlib import Path
    >>> Results(Path("review"), [], n_clips=96, n_confirmed=80, thresholds=[]).n_confirmed
    80
    """

    folder: Path
    files: list[Path]
    n_clips: int
    n_confirmed: int
    thresholds: list[ReviewedThreshold]
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Return how many clips and detections there are, and the notes."""
        made = f"{counted(self.n_clips, 'clip')} with an answer, {counted(self.n_confirmed, 'detection')}"
        return " ".join([f"{made} confirmed.", *self.notes])


def write_results(
    review: Review,
    folder: Path | None = None,
    *,
    precision: float = 0.9,
    formats: Format | Iterable[Format] = DEFAULT_FORMATS,
    otherwise: float = OTHERWISE,
) -> Results:
    """Write the tables of a review into its folder, or another; earlier ones are replaced.

    ``answers.csv`` has a row for each reviewer and clip, ``verified.csv`` one for each clip, ``verified/``
    the confirmed detections and what was heard beside them in other programs' formats, ``precision.csv`` the
    curve of each species, ``score_probability.csv`` its probability of being right over the score,
    ``reviewed_calibration.json`` the same for ``dawnchorus predict --calibration``, where a species has
    enough answers, and ``thresholds.csv`` what ``dawnchorus predict --threshold`` reads.

    Parameters
    ----------
    review
        The review.
    folder
        The review's own if not given.
    precision
        Wanted, for the thresholds.
    formats
        Of the verified detections.
    otherwise
        Threshold of the classes of which no clip is in the review.

    Raises
    ------
    DataError
        The precision is not in (0, 1].

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.review.reviewing import open_review
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability\\nnight.wav,0.0,5.0,wren,0.9\\n"
    ... )
    >>> review = open_review("detections.csv", ".")
    >>> review.answer(review.queue().index[0], "Ada", "yes")
    >>> [path.name for path in write_results(review, formats="csv").files][:2]
    ['answers.csv', 'verified.csv']
    """
    folder = review.folder if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    thresholds = review.thresholds(precision)
    verdicts = review.verdicts()
    files = [folder / name for name in (ANSWERS_NAME, VERIFIED_NAME, PRECISION_NAME, SCORES_NAME)]
    review.write_answers(files[0])
    lists = {name: [_json(cell) for cell in verdicts[name]] for name in ("heard", "boxes", "reviewers")}
    write_csv(files[1], verdicts.assign(**lists).reset_index(drop=True))
    write_csv(files[2], _curves(review))
    write_csv(files[3], pd.DataFrame(review.calibration(), columns=AnswerCalibration._fields))
    notes = _notes_on_pooled(thresholds)
    if (calibration := review.reviewed_calibration()) is not None:
        files.append(folder / REVIEWED_CALIBRATION_NAME)
        write_text(files[-1], calibration.model_dump_json(indent=2) + "\n")
    else:
        (folder / REVIEWED_CALIBRATION_NAME).unlink(missing_ok=True)
        notes.append(_why_not_calibrated(review))
    nan = math.nan
    rest = ReviewedThreshold(ALL_OTHERS, otherwise, nan, nan, 0, 0, "not reviewed", 0, nan, nan)
    files.append(folder / THRESHOLDS_NAME)
    write_thresholds(files[-1], [*thresholds, rest])
    confirmed = verified_detections(verdicts, review.scores_of)
    paths = hand_on(confirmed, review.predictions or folder, formats, folder / TABLES_FOLDER)
    return Results(folder, [*files, *paths.values()], len(verdicts), len(confirmed), thresholds, tuple(notes))


def _notes_on_pooled(thresholds: list[ReviewedThreshold]) -> list[str]:
    """Return a sentence where most species have the threshold of all together."""
    pooled = [row for row in thresholds if row.how.startswith(POOLED)]
    if 2 * len(pooled) <= len(thresholds):
        return []
    first = pooled[0]
    return [
        f"{len(pooled)} of {counted(len(thresholds), 'species', 'species')} have one pooled threshold, "
        f"{first.threshold:.3f}, which rests on {counted(first.n_answers, 'answer')} to all species together "
        f"(precision {100 * first.low:.0f} to {100 * first.high:.0f} %); from {MIN_ANSWERS} answers on, a "
        "species has its own."
    ]


def _why_not_calibrated(review: Review) -> str:
    counts = review.counted().groupby("label")["is_right"].agg(["size", "sum"])
    found = f"{REVIEWED_CALIBRATION_NAME} was left out: "
    if review.calibration():
        return f"{found}in no species are higher scores the better ones."
    if counts.empty:
        most = "there are no answers that count"
    else:
        label, row = counts["size"].idxmax(), counts.loc[counts["size"].idxmax()]
        most = f"most has {label}, {row['sum']} right and {row['size'] - row['sum']} wrong"
    return f"{found}no species has {MIN_ANSWERS} answers with right and wrong ones among them ({most})."


def verified_detections(
    verdicts: pd.DataFrame, scores_of: Callable[[int], pd.Series] | None = None
) -> pd.DataFrame:
    """Return the confirmed detections, and a row for each other species that was heard, as a table.

    Parameters
    ----------
    verdicts
        As of :meth:`dawnchorus.review.reviewing.Review.verdicts`.
    scores_of
        The scores of all classes in a clip, by its number: the probability of a species that was heard
        beside, or whose clip came from a table of clips. Without one it is not known (NaN).

    Examples
    --------
    >>> import pandas as pd
    >>> verdicts = pd.DataFrame({"filename": ["a.wav"], "start_s": [0.0], "end_s": [5.0], "label": ["owl"]})
    >>> verdicts = verdicts.assign(channel=0, probability=0.8, verdict="no", heard=[("wren",)])
    >>> verified_detections(verdicts)[["label", "probability"]].values.tolist()
    [['wren', nan]]
    """
    right = verdicts[verdicts["verdict"] == "yes"]
    columns = [*DETECTION_COLUMNS, "channel"]
    heard = verdicts.explode("heard")
    heard = heard[heard["heard"].notna() & (heard["heard"] != NOCALL)]
    others = heard.assign(label=heard["heard"], probability=math.nan)
    found = pd.concat([right[columns], others[columns]]).astype({"probability": float})
    for place, (clip, row) in enumerate(found.iterrows()):
        if scores_of is not None and math.isnan(row["probability"]):
            score = scores_of(int(clip)).get(row["label"], math.nan)
            found.iloc[place, found.columns.get_loc("probability")] = score
    keys = ["filename", "start_s", "end_s", "label", "channel"]
    found = found.sort_values([*keys, "probability"]).drop_duplicates(keys)
    if not (found["channel"] != 0).any():
        found = found.drop(columns="channel")
    return found.reset_index(drop=True)


def _curves(review: Review) -> pd.DataFrame:
    species = sorted(review.counted()["label"].unique())
    parts = [review.precision(label).to_frame().assign(label=label) for label in species]
    columns = ["label", "thresholds", "precision", "low", "high", "recall", "n_above", "n_reviewed"]
    found = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
    return found.rename(columns={"thresholds": "threshold"}).round(6)


def _json(cell: Iterable[object]) -> str:
    return json.dumps(list(cell), ensure_ascii=False)
