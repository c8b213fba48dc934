"""Training data from a review: a folder of clips that ``dawnchorus train`` takes as it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import pandas as pd

from dawnchorus.batch.segments import SegmentSettings, cut_segments
from dawnchorus.errors import DataError
from dawnchorus.files import Failure, write_failures
from dawnchorus.formats.annotations import ANNOTATIONS_NAME, TABLE_NAME
from dawnchorus.formats.text_tables import some
from dawnchorus.formats.whole_tables import write_csv
from dawnchorus.recordings.labels import NOCALL
from dawnchorus.review.agreement import CONFLICT
from dawnchorus.review.clip_order import site_of
from dawnchorus.review.reviewing import Review

logger = logging.getLogger(__name__)

Others = Literal["unknown", "absent"]

_WINDOW = ["filename", "start_s", "end_s", "channel"]
_CLIPS = "clips"  # folder of the clips


class TrainingData(NamedTuple):
    """A folder of training data.

    Attributes
    ----------
    folder
        With ``recordings.csv``, ``annotations.csv`` where boxes were drawn, and the clips.
    n_clips
        Clips in it.
    n_negative
        Of these, clips without any of the species that they were made for.
    failures
        Recordings that could not be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> TrainingData(Path("training"), 96, n_negative=20, failures=[]).n_clips
    96
    """

    folder: Path
    n_clips: int
    n_negative: int
    failures: list[Failure]


def write_training_data(
    review: Review, folder: Path, *, labels: Collection[str] | None = None, others: Others = "unknown"
) -> TrainingData:
    """Write the reviewed clips with their labels, negatives included, for training.

    A clip that is answered with no holds the species that were heard instead, or ``nocall``. Clips that
    reviewers disagree about, or are unsure of, are left out. All clips of a recording, and of a site where
    recordings lie in folders, have one ``site``, so that they come into one fold.

    Parameters
    ----------
    review
        The review.
    folder
        Where it goes; made if missing. Clips that are there are not cut again.
    labels
        The classes of the model, of which others are left out; all if not given.
    others
        What training is told of species that nobody was asked about in a clip: ``unknown``, by the column
        ``known_labels``, for losses that pass over them; or ``absent``.

    Raises
    ------
    DataError
        No clip has an answer that says something.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.review.reviewing import open_review
    >>> found = pd.DataFrame({"filename": "night.wav", "start_s": [0.0, 7.0], "end_s": [5.0, 12.0]})
    >>> found.assign(label="owl", probability=0.9).to_csv("detections.csv", index=False)
    >>> review = open_review("detections.csv", ".")
    >>> for clip, verdict in zip(review.queue("time").index, ["no", "yes"], strict=True):
    ...     review.answer(clip, "Ada", verdict)
    >>> made = write_training_data(review, Path("training"))
    >>> table = pd.read_csv("training/recordings.csv")
    >>> table["primary_label"].tolist(), table["known_labels"].tolist()
    (['nocall', 'owl'], ['["owl"]', '["owl"]'])
    """
    windows = _labelled_windows(review, None if labels is None else set(labels))
    if labels is not None:
        heard = {label for cell in review.verdicts()["heard"] for label in cell} - {NOCALL, *labels}
        if heard:
            logger.warning("Heard, but no class of the model, and left out: %s", some(sorted(heard)))
    if windows.empty:
        raise DataError(f"{review.folder} has no answer yet to train on; review some clips first")
    cut = _cut(review, windows, folder)
    table = windows.merge(cut.table, on=_WINDOW)
    rows = pd.DataFrame(
        {
            "filename": table["file"],
            "primary_label": [present[0] if present else NOCALL for present in table["present"]],
            "secondary_labels": [_as_list(present[1:]) for present in table["present"]],
            "known_labels": [
                "" if others == "absent" or is_complete else _as_list(dict.fromkeys([*present, *absent]))
                for present, absent, is_complete in zip(
                    table["present"], table["absent"], table["is_complete"], strict=True
                )
            ],
            "site": [_place_of(name) for name in table["filename"]],
            "source": table["filename"],
            "source_start_s": table["start_s"],
        }
    )
    write_csv(folder / TABLE_NAME, rows)
    _write_boxes(folder / ANNOTATIONS_NAME, table, labels)
    write_failures(folder, cut.failures)
    n_negative = sum(not present for present in table["present"])
    return TrainingData(folder, len(rows), n_negative, cut.failures)


class _Cut(NamedTuple):
    """The file of each window, and recordings that failed."""

    table: pd.DataFrame
    failures: list[Failure]


def _labelled_windows(review: Review, labels: set[str] | None) -> pd.DataFrame:
    """Return a row a window: species ``present`` and ``absent``, its ``boxes``, and whether that is all."""
    found = review.verdicts()
    found = found[~found["verdict"].isin([CONFLICT, "unsure"])]
    rows = []
    for keys, clips in found.groupby(_WINDOW, sort=True):
        is_yes = clips["verdict"] == "yes"
        heard = [label for cell in clips["heard"] for label in cell]
        given = dict.fromkeys([*clips["label"][is_yes], *(label for label in heard if label != NOCALL)])
        present = [label for label in given if labels is None or label in labels]
        absent = [label for label in dict.fromkeys(clips["label"][~is_yes]) if label and label not in given]
        boxes = list(dict.fromkeys(box for cell in clips["boxes"] for box in cell))
        is_complete = NOCALL in heard and not given
        if not (present or absent or is_complete):
            continue  # nothing that a model is told of
        rows.append((*keys, present, absent, boxes, is_complete))
    return pd.DataFrame(rows, columns=[*_WINDOW, "present", "absent", "boxes", "is_complete"])


def _cut(review: Review, windows: pd.DataFrame, folder: Path) -> _Cut:
    """Cut each window into a file of its own."""
    wanted = windows[_WINDOW].assign(label=_CLIPS, probability=1.0)
    failures: list[Failure] = []
    parts = []
    for has_channel, rows in wanted.groupby(wanted["channel"] != 0):
        settings = SegmentSettings(per_species=len(rows), channel=review.channel)
        given = rows if has_channel else rows.drop(columns="channel")
        report = cut_segments(given, review.audio_dir, folder, settings)
        failures += report.failures
        made = pd.read_csv(report.index, dtype={"filename": str, "file": str}, keep_default_na=False)
        parts.append(made if has_channel else made.assign(channel=0))
    return _Cut(pd.concat(parts, ignore_index=True)[["file", *_WINDOW]], failures)


def _write_boxes(path: Path, table: pd.DataFrame, labels: Collection[str] | None) -> None:
    """Write the drawn boxes, in seconds of their clips; clips without one keep their label as a whole."""
    boxes = []
    for row in table.itertuples():
        length_s = row.end_s - row.start_s
        for box in row.boxes:
            start_s, end_s = max(0.0, box.start_s - row.start_s), min(length_s, box.end_s - row.start_s)
            if end_s > start_s and (labels is None or box.label in labels):
                boxes.append(
                    (row.file, round(start_s, 3), round(end_s, 3), box.label, box.low_hz, box.high_hz)
                )
    columns = ["filename", "start_s", "end_s", "label", "low_hz", "high_hz"]
    if boxes:
        write_csv(path, pd.DataFrame(boxes, columns=columns))
    else:
        path.unlink(missing_ok=True)


def _as_list(labels: Collection[str]) -> str:
    return json.dumps(list(labels), ensure_ascii=False) if labels else ""


def _place_of(filename: str) -> str:
    """Return the site of a recording, or the recording itself where it lies in no folder."""
    return site_of(filename) or str(PurePosixPath(filename).with_suffix(""))
