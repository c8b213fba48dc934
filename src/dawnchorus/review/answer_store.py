"""The answers of reviewers in an SQLite file: written through at once, added to and never changed.

An answer is a row of clip, reviewer and time. What a reviewer says of a clip is the latest of the rows;
taking an answer back is a row too. A clip that is shown to someone is leased, so that two pages are given
different ones. Several processes may use one file.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.review.clip_pool import KEY_COLUMNS, POOL_COLUMNS

Verdict = Literal["yes", "no", "unsure", "withdrawn"]
WITHDRAWN: Verdict = "withdrawn"
VERDICTS = get_args(Verdict)
LEASE_S = 600.0
"""Seconds for which a clip is kept for the page that it was given to."""

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS clips (
  id INTEGER PRIMARY KEY, filename TEXT NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL,
  label TEXT NOT NULL, channel INTEGER NOT NULL, probability REAL,
  UNIQUE (filename, start_s, end_s, label, channel));
CREATE TABLE IF NOT EXISTS answers (
  id INTEGER PRIMARY KEY, clip INTEGER NOT NULL REFERENCES clips (id), reviewer TEXT NOT NULL,
  verdict TEXT NOT NULL, heard TEXT NOT NULL, boxes TEXT NOT NULL, queue TEXT NOT NULL,
  session TEXT NOT NULL, answered_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS species (label TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS leases (clip INTEGER PRIMARY KEY, session TEXT NOT NULL, until REAL NOT NULL);
"""


class Box(NamedTuple):
    """A box that a reviewer has drawn: seconds of the recording, Hz, and its species.

    Examples
    --------
    >>> Box(7.2, 8.0, 400.0, 900.0, "owl").label
    'owl'
    """

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float
    label: str


class Answer(NamedTuple):
    """What a reviewer says of a clip.

    Attributes
    ----------
    clip
        Number of the clip.
    reviewer
        Name of the person.
    verdict
        Whether the clip's species is in it: ``yes``, ``no``, ``unsure``; ``withdrawn`` takes an answer back.
    heard
        Other species that are in it; ``nocall`` alone for no species at all.
    boxes
        Where in time and frequency.
    queue
        Order in which the clip was chosen.
    answered_at
        Seconds since 1970.

    Examples
    --------
    >>> Answer(1, "Ada", "no", heard=("wren",)).heard
    ('wren',)
    """

    clip: int
    reviewer: str
    verdict: Verdict
    heard: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    queue: str = ""
    answered_at: float = 0.0


class AnswerStore:
    """Clips, answers and leases in one SQLite file.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> clips = pd.DataFrame({"filename": ["night.wav"], "start_s": [0.0], "end_s": [5.0], "label": ["wren"]})
    >>> store = AnswerStore(Path("review.sqlite"))
    >>> ids = store.add_clips(clips.assign(channel=0, probability=0.9))
    >>> store.record(Answer(ids[0], "Ada", "yes"))
    >>> [answer.verdict for answer in store.of_clip(ids[0])]
    ['yes']
    >>> store.close()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._current: dict[int, dict[str, Answer]] = {}
        self._last_id = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # an answer is on disk when it is committed
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version > _VERSION:
                raise DataError(f"{path} is of a later version of dawnchorus; open it with that one")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path} cannot be opened as the answers of a review; {error}: move it away to begin anew"
            ) from None
        self.refresh()

    def close(self) -> None:
        """Close the file; all answers are in it already."""
        with self._lock:
            self._db.close()

    def add_clips(self, clips: pd.DataFrame) -> list[int]:
        """Return the number of each clip, which is that of earlier times where it is known.

        ``clips`` has the columns of :func:`dawnchorus.review.clip_pool.read_pool`.
        """
        columns = ", ".join(POOL_COLUMNS)
        known = clips["probability"].notna()
        rows = clips[POOL_COLUMNS].astype({"probability": object}).where(known, None, axis=0)
        rows[KEY_COLUMNS] = clips[KEY_COLUMNS]
        with self._transaction() as db:
            db.executemany(
                f"INSERT INTO clips ({columns}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "probability = coalesce(excluded.probability, probability)",
                zip(*(rows[column].tolist() for column in POOL_COLUMNS), strict=True),
            )
        stored = self.clips()
        ids = stored.reset_index().set_index(KEY_COLUMNS)["id"]
        return [int(number) for number in ids.reindex(pd.MultiIndex.from_frame(clips[KEY_COLUMNS]))]

    def clips(self) -> pd.DataFrame:
        """Return all clips that were ever in the review, by their number."""
        with self._lock:
            rows = self._db.execute(f"SELECT id, {', '.join(POOL_COLUMNS)} FROM clips").fetchall()
        return (
            pd.DataFrame(rows, columns=["id", *POOL_COLUMNS]).set_index("id").astype({"probability": float})
        )

    def record(self, answer: Answer, *, session: str = "") -> None:
        """Write an answer; it is on disk when this returns.

        Raises
        ------
        ConfigError
            The reviewer has no name, or the verdict is none.
        DataError
            There is no such clip.
        """
        if not answer.reviewer.strip():
            raise ConfigError("an answer needs the name of its reviewer; give one")
        if answer.verdict not in VERDICTS:
            raise ConfigError(f"verdict is {answer.verdict!r}; legal: {', '.join(VERDICTS)}")
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM clips WHERE id = ?", (answer.clip,)).fetchone() is None:
                raise DataError(f"there is no clip {answer.clip} in {self.path}")
            db.execute(
                "INSERT INTO answers (clip, reviewer, verdict, heard, boxes, queue, session, answered_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(answer.clip, answer.reviewer, answer.verdict),
                    *(json.dumps(answer.heard), json.dumps(answer.boxes)),
                    *(answer.queue, session, answer.answered_at or time.time()),
                ),
            )
            db.execute("DELETE FROM leases WHERE clip = ?", (answer.clip,))
        self.refresh()

    def withdraw_last(self, reviewer: str, session: str) -> int | None:
        """Take the last answer of a session back, lease its clip to it, and return it; None for none."""
        with self._lock:
            self.refresh()
            rows = self._db.execute(
                "SELECT clip FROM answers WHERE session = ? AND reviewer = ? AND verdict <> ? "
                "ORDER BY id DESC LIMIT 500",
                (session, reviewer, WITHDRAWN),
            ).fetchall()
            clip = next((row[0] for row in rows if reviewer in self._current.get(row[0], {})), None)
            if clip is not None:
                self.record(Answer(clip, reviewer, WITHDRAWN), session=session)
                self.lease([clip], session, 1)
            return clip

    def refresh(self) -> None:
        """Read what other processes have written."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id, clip, reviewer, verdict, heard, boxes, queue, answered_at FROM answers "
                "WHERE id > ? ORDER BY id",
                (self._last_id,),
            ).fetchall()
            for number, clip, reviewer, verdict, heard, boxes, queue, answered_at in rows:
                self._last_id = number
                of_clip = self._current.setdefault(clip, {})
                if verdict == WITHDRAWN:
                    of_clip.pop(reviewer, None)
                    continue
                drawn = tuple(Box(*box) for box in json.loads(boxes))
                heard = tuple(json.loads(heard))
                of_clip[reviewer] = Answer(clip, reviewer, verdict, heard, drawn, queue, answered_at)

    def current(self) -> list[Answer]:
        """Return what each reviewer says of each clip, by clip and reviewer."""
        with self._lock:
            self.refresh()
            return [
                answers[reviewer]
                for _, answers in sorted(self._current.items())
                for reviewer in sorted(answers)
            ]

    def of_clip(self, clip: int) -> list[Answer]:
        """Return what each reviewer says of a clip."""
        with self._lock:
            return list(self._current.get(clip, {}).values())

    def reviewers_of(self) -> dict[int, frozenset[str]]:
        """Return the reviewers of each clip that has an answer."""
        with self._lock:
            self.refresh()
            return {clip: frozenset(answers) for clip, answers in self._current.items() if answers}

    def add_species(self, label: str) -> None:
        """Keep a species that the model does not know."""
        with self._transaction() as db:
            db.execute("INSERT INTO species (label) VALUES (?) ON CONFLICT DO NOTHING", (label,))

    def species(self) -> tuple[str, ...]:
        """Return the species that were added, in alphabetical order."""
        with self._lock:
            return tuple(row[0] for row in self._db.execute("SELECT label FROM species ORDER BY label"))

    def n_rows(self) -> int:
        """Return how many rows of answers there are, those that were taken back included."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def lease(self, order: Iterable[int], session: str, n: int, *, lease_s: float = LEASE_S) -> list[int]:
        """Return the first ``n`` clips of an order that no other session holds, and keep them for it."""
        now = time.time()
        with self._transaction() as db:
            held = db.execute("SELECT clip FROM leases WHERE until > ? AND session <> ?", (now, session))
            elsewhere = {row[0] for row in held}
            free = (int(clip) for clip in order if clip not in elsewhere)
            chosen = [clip for clip, _ in zip(free, range(n), strict=False)]
            db.executemany(
                "INSERT INTO leases (clip, session, until) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
                "session = excluded.session, until = excluded.until",
                [(clip, session, now + lease_s) for clip in chosen],
            )
        return chosen

    def release(self, session: str, *, but: Sequence[int] = ()) -> None:
        """Give back the clips that a session holds, but some."""
        with self._transaction() as db:
            held = db.execute("SELECT clip FROM leases WHERE session = ?", (session,)).fetchall()
            given_back = np.setdiff1d([row[0] for row in held], but).tolist()
            db.executemany(
                "DELETE FROM leases WHERE clip = ? AND session = ?", [(int(c), session) for c in given_back]
            )

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise DataError(f"{self.path} cannot be written; {error}") from None
