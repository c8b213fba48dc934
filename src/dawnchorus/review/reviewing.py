"""``Review``, the review of a folder of predictions: its queues, its answers, and what follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.excerpts import Excerpt, read_excerpt
from dawnchorus.batch.exchange import species_in
from dawnchorus.batch.predicted_with import PLAUSIBLE, PredictedWith, check_predicted
from dawnchorus.errors import DataError, UnsafePathError
from dawnchorus.evaluate.calibration import ReviewedThreshold, check_precision
from dawnchorus.files import from_legible, inside
from dawnchorus.formats.taxonomy import SpeciesIndex, Taxonomy
from dawnchorus.models.reviewed_calibration import ReviewedCalibration, ReviewedCurve
from dawnchorus.predict.window_tables import EMBEDDINGS_NAME, WINDOWS_NAME
from dawnchorus.review.agreement import CONFLICT, Agreement, agreement
from dawnchorus.review.answer_store import Answer, AnswerStore, Box, Verdict
from dawnchorus.review.clip_order import BY_SCORE, ClipOrder, Queue, ordered_clips, similar_clips
from dawnchorus.review.clip_pool import (
    LONGEST_S,
    POOL_COLUMNS,
    labels_of_windows,
    read_clip_table,
    read_pool,
)
from dawnchorus.review.clip_spectrograms import CONTEXT_S
from dawnchorus.review.known_species import KnownSpecies
from dawnchorus.review.queue_progress import Progress
from dawnchorus.review.reviewed_precision import (
    AnswerCalibration,
    PrecisionCurve,
    calibrate_scores,
    precision_curve,
    reviewed_thresholds,
)
from dawnchorus.wording import counted, first_few

STORE_NAME = "review.sqlite"
FOLDER_NAME = "review"
"""Folder beside the detections for the answers and what is made of them."""

_FAIR = "fair:"
"""Begins the queue of an answer whose clip was chosen by nothing but its score."""

_N_SUGGESTIONS = 9
_ORDERS_KEPT = 64


class Review:
    """The review of a folder of predictions.

    Made by :func:`open_review`.

    Attributes
    ----------
    pool
        The clips, by their number: ``filename``, ``start_s``, ``end_s``, ``label``, ``channel``,
        ``probability``.
    store
        The answers on disk.
    labels
        The classes of the model where the predictions name them, else the species of the pool.
    species
        Those, and what reviewers have added, by all their names.
    folder
        Where the answers are, and what is made of them.
    audio_dir
        Folder of the recordings.
    predictions
        The folder, or the table of detections, that is reviewed; None where there is none on disk.
    plausible
        Classes that occur in the region that was predicted with; None where there was none.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability\\nnight.wav,0.0,5.0,wren,0.9\\n"
    ... )
    >>> with open_review("detections.csv", ".") as review:
    ...     clip = review.queue("surest").index[0]
    ...     review.answer(clip, "Ada", "yes")
    ...     review.answers()[["filename", "label", "verdict", "reviewer"]].values.tolist()
    [['night.wav', 'wren', 'yes', 'Ada']]
    """

    def __init__(
        self,
        pool: pd.DataFrame,
        folder: Path,
        audio_dir: Path,
        *,
        windows: Path | None = None,
        embeddings: Path | None = None,
        table: pd.DataFrame | None = None,
        channel: Channel = "mean",
        predictions: Path | None = None,
        plausible: Collection[str] | None = None,
        named: SpeciesIndex | None = None,
        new_species: bool = False,
    ) -> None:
        self.predictions, self.plausible = predictions, plausible
        self.folder, self.audio_dir, self.channel = folder, audio_dir, channel
        self.windows, self.embeddings = windows, embeddings
        self.store = AnswerStore(folder / STORE_NAME)
        self.pool = pool.set_index(pd.Index(self.store.add_clips(pool), name="id"))
        own = () if windows is None else labels_of_windows(windows)
        detected = tuple(sorted(self.pool["label"].unique()))
        self.labels = own or detected
        known = SpeciesIndex(self.labels) if named is None else named
        self.species = KnownSpecies(self.store, known, (*self.labels, *detected))
        self.table_clips: list[int] = []
        if table is not None:
            table = self._named(table, may_add=new_species)
            self.table_clips = self.store.add_clips(table)
            extra = table.set_index(pd.Index(self.table_clips, name="id"))
            self.pool = pd.concat([self.pool, extra[~extra.index.isin(self.pool.index)]])
        self._ordered = lru_cache(_ORDERS_KEPT)(self._order_of)
        self._windows_of = lru_cache(32)(self._read_windows)
        self._curves = lru_cache(256)(self._curve)
        self._wholes = lru_cache(256)(lambda species, n_rows: self._curve(species, n_rows, at=[0.0]))

    def __enter__(self) -> Review:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def __repr__(self) -> str:
        species = counted(self.pool["label"].nunique(), "species", "species")
        clips, answers = counted(len(self.pool), "clip"), counted(self.store.n_rows(), "answer")
        return f"Review({clips} of {species}, {answers})"

    def queue(
        self, order: ClipOrder | Queue = "strata", *, reviewer: str = "", **choice: Any
    ) -> pd.DataFrame:
        """Return the clips that are left in a queue, the next first.

        Parameters
        ----------
        order
            The order, or a whole queue.
        reviewer
            For ``second`` and ``conflicts``, who asks.
        **choice
            ``species``, ``site``, ``per_species`` and ``like`` of a :class:`Queue`.

        Raises
        ------
        ConfigError, DataError
            The queue is not legal, or there is nothing to order it by.
        """
        queue = order if isinstance(order, Queue) else Queue(order, **choice)
        return self.pool.loc[self.left_in(queue, reviewer)]

    def left_in(self, queue: Queue, reviewer: str) -> list[int]:
        """Return the numbers of the clips that are left in a queue for a reviewer."""
        reviewers = self.store.reviewers_of()
        if queue.order == "conflicts":
            return [clip for clip in self._of(queue, sorted(reviewers)) if self._waits_for(clip, reviewer)]
        if queue.order == "second":
            waiting = [clip for clip, names in reviewers.items() if names and reviewer not in names]
            return self._of(queue, sorted(waiting))
        return [clip for clip in self._ordered(queue).tolist() if clip not in reviewers]

    def answer(
        self,
        clip: int,
        reviewer: str,
        verdict: Verdict,
        *,
        heard: Sequence[str] = (),
        boxes: Iterable[Box] = (),
        queue: Queue | None = None,
        session: str = "",
    ) -> None:
        """Write an answer; it is on disk when this returns.

        An answer without ``queue`` counts as one of a clip that was chosen by its score. Species are given by
        any of their names; ``review.species.add`` adds one that the model does not know.

        Raises
        ------
        ConfigError, DataError
            The reviewer has no name, the verdict or a species is none, or there is no such clip.
        """
        heard = tuple(dict.fromkeys(map(self.species.label_of, heard)))
        boxes = tuple(box._replace(label=self.species.label_of(box.label)) for box in boxes)
        chosen = Queue("random") if queue is None else queue
        text = f"{_FAIR * chosen.is_fair}{chosen.order}"
        found = Answer(int(clip), reviewer.strip(), verdict, heard, boxes, text)
        self.store.record(found, session=session)

    def answers(self) -> pd.DataFrame:
        """Return a row for what each reviewer says of each clip, with the clip.

        ``heard`` is a list of species, ``boxes`` one of (start_s, end_s, low_hz, high_hz, label), and
        ``answered_at`` a time in UTC.
        """
        rows = self.store.current()
        frame = pd.DataFrame(rows, columns=Answer._fields).set_index("clip")
        frame["answered_at"] = pd.to_datetime(frame["answered_at"], unit="s", utc=True)
        frame["queue"] = frame["queue"].str.removeprefix(_FAIR)
        return self._all_clips(sorted({row.clip for row in rows})).join(frame, how="right")

    def verdicts(self) -> pd.DataFrame:
        """Return a row a clip with what its reviewers say together: ``verdict``, ``heard``, ``boxes``, …

        ``is_fair`` says whether a precision is counted on it.
        """
        by_clip: dict[int, list[Answer]] = {}
        for answer in self.store.current():
            by_clip.setdefault(answer.clip, []).append(answer)
        together = {clip: agreement(found) for clip, found in by_clip.items()}
        frame = pd.DataFrame(list(together.values()), columns=Agreement._fields, index=list(together))
        frame["is_fair"] = [any(a.queue.startswith(_FAIR) for a in by_clip[clip]) for clip in together]
        return self._all_clips(list(together)).join(frame)

    def conflicts(self) -> pd.DataFrame:
        """Return the clips that as many reviewers say yes to as no."""
        found = self.verdicts()
        return found[found["verdict"] == CONFLICT]

    def precision(self, species: str) -> PrecisionCurve:
        """Return precision and recall of a species over the threshold, as far as the answers say.

        Counted on clips of the pool that were chosen by their scores alone; conflicts and those nobody is
        sure of are left out.
        """
        return self._curves(species, self.store.n_rows())

    def precision_at(self, species: str, threshold: float) -> PrecisionCurve:
        """Return precision and recall of a species at one threshold, shape (1,) each."""
        return self._curve(species, self.store.n_rows(), at=[threshold])

    def thresholds(self, precision: float = 0.9, species: str | None = None) -> list[ReviewedThreshold]:
        """Return the lowest threshold of each species, or of one, with a wanted precision.

        Raises
        ------
        DataError
            The precision is not in (0, 1].
        """
        check_precision(precision)
        return reviewed_thresholds(self.pool, self.counted(), precision, species=species)

    def calibration(self) -> list[AnswerCalibration]:
        """Return the probability of being right over the score, of each species with enough answers."""
        return calibrate_scores(self.pool, self.counted())

    def reviewed_calibration(self) -> ReviewedCalibration | None:
        """Return :meth:`calibration` as a model takes it, None where no species has enough answers.

        A species whose higher scores are not the better ones is left out.
        """
        classes = tuple(
            ReviewedCurve(label=each.label, slope=each.slope, offset=each.intercept, n_answers=each.n_answers)
            for each in self.calibration()
            if each.slope > 0
        )
        made = None if self.predictions is None else PredictedWith.of(self.predictions).settings
        scale = (made or {}).get("calibration")
        return ReviewedCalibration(classes=classes, scale=scale) if classes else None

    def counted(self) -> pd.DataFrame:
        """Return the clips that a precision is counted on, with ``is_right``."""
        found = self.verdicts()
        is_used = found["verdict"].isin(["yes", "no"]) & found["is_fair"] & found.index.isin(self.pool.index)
        found = found[is_used & found["probability"].notna()]
        return found.assign(is_right=found["verdict"] == "yes")

    def progress(self, queue: Queue, reviewer: str = "") -> Progress:
        """Return how far a queue is, and what more answers would improve."""
        left = len(self.left_in(queue, reviewer))
        all_clips = left if queue.order in ("second", "conflicts") else len(self._ordered(queue))
        whole = self._wholes(queue.species, self.store.n_rows())
        n = int(whole.n_reviewed[0])
        if not n:
            return Progress(left, all_clips, queue.species, math.nan, 0.0, 1.0, 0, math.nan)
        precision, low, high = (float(values[0]) for values in (whole.precision, whole.low, whole.high))
        half = (high - low) / 2
        more = left if queue.order in BY_SCORE else 0
        after = half * math.sqrt(n / (n + more))
        return Progress(left, all_clips, queue.species, precision, low, high, n, after)

    def excerpt(self, clip: int) -> Excerpt:
        """Return the sound of a clip with its context, at the recording's own sample rate.

        Raises
        ------
        DataError, AudioError, UnsafePathError
            There is no such clip, or its recording cannot be read.
        """
        row = self.clip(clip)
        channel: Channel = int(row["channel"]) or self.channel
        path = self._recording(row["filename"])
        start_s, end_s = float(row["start_s"]), float(row["end_s"])
        return read_excerpt(path, start_s, end_s, padding_s=CONTEXT_S, highest_rate=None, channel=channel)

    def missing_recordings(self) -> list[str]:
        """Return the recordings of the pool that are not below the folder of recordings.

        Raises
        ------
        DataError
            None is there.
        """

        def is_there(name: str) -> bool:
            try:
                return self._recording(name).is_file()
            except UnsafePathError:
                return False

        names = sorted(self.pool["filename"].unique())
        missing = [name for name in names if not is_there(name)]
        if len(missing) == len(names):
            raise DataError(
                f"of {counted(len(names), 'recording')}, none is below {self.audio_dir}, such as "
                f"{first_few(missing, 1)}; name the folder of the recordings with --audio"
            )
        return missing

    def _recording(self, name: str) -> Path:
        return inside(self.audio_dir, from_legible(name), named_in="the table of detections")

    def clip(self, clip: int) -> pd.Series:
        """Return the row of a clip.

        Raises
        ------
        DataError
            There is none of this number.
        """
        if clip not in self.pool.index:
            raise DataError(f"there is no clip {clip} in this review")
        return self.pool.loc[clip]

    def scores_of(self, clip: int) -> pd.Series:
        """Return the highest score of each class in the windows of a clip; empty where there are none."""
        row = self._all_clips([clip]).iloc[0]
        if self.windows is None:
            return pd.Series(dtype=float)
        windows = self._windows_of(row["filename"])
        of_channel = row["channel"] in (0, *([] if "channel" in windows else [row["channel"]]))
        is_here = (windows["start_s"] < row["end_s"]) & (windows["end_s"] > row["start_s"])
        if not of_channel:
            is_here &= windows["channel"] == row["channel"]
        return windows.loc[is_here, list(self.labels)].max().dropna()

    def suggestions(self, clip: int, n: int = _N_SUGGESTIONS) -> list[str]:
        """Return the likeliest other species in a clip: by the windows' scores, else the most frequent.

        Species that are plausible nowhere in the region that was predicted with are not suggested.
        """
        own = self.clip(clip)["label"]
        likely = self.scores_of(clip).sort_values(ascending=False, kind="stable").index
        found = dict.fromkeys([*map(str, likely), *map(str, self._frequent.index)])
        is_plausible = (self.plausible or found).__contains__
        return [label for label in found if label != own and is_plausible(label)][:n]

    @cached_property
    def _frequent(self) -> pd.Series:
        return self.pool["label"].value_counts()

    def write_answers(self, path: Path) -> None:
        """Write :meth:`answers` as CSV; lists are written as JSON."""
        from dawnchorus.formats.whole_tables import write_csv

        table = self.answers().reset_index(drop=True)
        for column in ("heard", "boxes"):
            table[column] = [json.dumps(list(cell), ensure_ascii=False) for cell in table[column]]
        write_csv(path, table)

    def _named(self, table: pd.DataFrame, *, may_add: bool) -> pd.DataFrame:
        try:
            return self.species.named_in(table, may_add=may_add)
        except DataError:
            self.store.close()
            raise

    def _all_clips(self, clips: list[int]) -> pd.DataFrame:
        """Return the rows of clips, those of earlier predictions too, with their present scores."""
        known = self.pool.index.intersection(clips)
        missing = np.setdiff1d(clips, known)
        earlier = self.store.clips().loc[missing] if len(missing) else self.pool[:0]
        return pd.concat([self.pool.loc[known], earlier[POOL_COLUMNS]]).sort_index().rename_axis("clip")

    def _of(self, queue: Queue, clips: list[int]) -> list[int]:
        is_species = queue.species is None or self.pool["label"].eq(queue.species)
        there = set(self.pool.index[is_species] if queue.species is not None else self.pool.index)
        return [clip for clip in clips if clip in there]

    def _waits_for(self, clip: int, reviewer: str) -> bool:
        """Return whether a clip is in conflict, and the last word was not this reviewer's."""
        found = self.store.of_clip(clip)
        if len(found) < 2 or agreement(found).verdict != CONFLICT:
            return False
        return max(found, key=lambda answer: answer.answered_at).reviewer != reviewer

    def _order_of(self, queue: Queue) -> npt.NDArray[np.int64]:
        if queue.order == "table":
            if not self.table_clips:
                raise DataError("this review was opened without a table of clips; give one with --queue")
            return np.array(self._of(queue, self.table_clips), np.int64)
        if queue.order == "similar":
            if self.embeddings is None:
                raise DataError("there are no embeddings; predict with --embeddings to find similar clips")
            return similar_clips(self.pool, queue, self.embeddings)
        return ordered_clips(self.pool, queue)

    def _read_windows(self, filename: str) -> pd.DataFrame:
        assert self.windows is not None
        return pq.read_table(self.windows, filters=[("filename", "==", filename)]).to_pandas()

    def _curve(
        self, species: str | None, n_rows: int, *, at: Sequence[float] | None = None
    ) -> PrecisionCurve:
        """Return the curve of a species, or at some thresholds alone; ``n_rows`` is there for the cache."""
        pool, reviewed = self.pool[self.pool["probability"].notna()], self.counted()
        if species is not None:
            pool, reviewed = (each[each["label"] == species] for each in (pool, reviewed))
        else:
            pool = pool[pool["label"].isin(reviewed["label"].unique())]
        scores = (pool["probability"], reviewed["probability"])
        return precision_curve(*scores, reviewed["is_right"], thresholds=at)


def open_review(
    predictions: Path | str,
    audio_dir: Path | str | None = None,
    *,
    folder: Path | str | None = None,
    min_probability: float | None = None,
    table: Path | str | pd.DataFrame | None = None,
    longest_s: float = LONGEST_S,
    channel: Channel = "mean",
    taxonomy: Taxonomy | None = None,
    new_species: bool = False,
) -> Review:
    """Return the review of a folder of predictions, with the answers that it has so far.

    Parameters
    ----------
    predictions
        Folder that ``dawnchorus predict`` wrote, or a table of detections.
    audio_dir
        Folder of the recordings; if not given, the one that was predicted, else the working directory.
    folder
        Where the answers are kept; ``review`` beside the detections if not given.
    min_probability
        Review every window and class with at least this score, instead of the detections alone: precision
        and recall are then known below the threshold of the detections too.
    table
        Clips in an order of its own, such as the result of a search: see :func:`read_clip_table`.
    longest_s
        Seconds of a clip at most; of a longer detection, the stretch around its surest window.
    channel
        Channel of recordings with several, where a detection names none.
    taxonomy
        Names of the model's classes, as in its card, beside those in the table of detections.
    new_species
        Whether ``table`` may name species that the model does not know.

    Raises
    ------
    DataError
        There are no detections, the answers cannot be read, or ``table`` names a species that is not known.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("detections.csv").write_text(
    ...     "filename,start_s,end_s,label,probability\\nnight.wav,0.0,5.0,wren,0.9\\n"
    ... )
    >>> open_review("detections.csv", ".")
    Review(1 clip of 1 species, 0 answers)
    """
    predictions = Path(predictions)
    check_predicted(predictions)
    made = PredictedWith.of(predictions)
    audio = (made.audio_dir or Path()) if audio_dir is None else Path(audio_dir)
    audio = audio.parent if audio.is_file() else audio  # predict takes a single recording too
    if not audio.is_dir():
        raise DataError(f"{audio}: no such folder; name the folder of the recordings")
    beside = predictions if predictions.is_dir() else predictions.parent
    pool = read_pool(predictions, audio, min_probability=min_probability, longest_s=longest_s)
    given = read_clip_table(Path(table)) if isinstance(table, str | Path) else table
    windows, embeddings = beside / WINDOWS_NAME, beside / EMBEDDINGS_NAME
    return Review(
        pool,
        beside / FOLDER_NAME if folder is None else Path(folder),
        audio,
        windows=windows if windows.is_file() else None,
        embeddings=embeddings if embeddings.is_file() else None,
        table=given,
        channel=channel,
        predictions=predictions,
        plausible=_plausible(made),
        named=species_in(predictions, taxonomy),
        new_species=new_species,
    )


def _plausible(made: PredictedWith) -> frozenset[str] | None:
    """Return the classes that predict has noted as plausible, None where it has noted none."""
    noted = made.settings.get(PLAUSIBLE)
    return frozenset(map(str, noted)) if isinstance(noted, list) else None
