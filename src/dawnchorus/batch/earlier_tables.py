"""Tables of earlier calls in a folder of predictions, and the checks before they are replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from dawnchorus.config import read_json_if_sound
from dawnchorus.config.json_files import Record
from dawnchorus.errors import RunError
from dawnchorus.files import inside, refuse_existing, write_text
from dawnchorus.formats import own_goals
from dawnchorus.predict.window_tables import EMBEDDINGS_NAME, WINDOWS_NAME
from dawnchorus.wording import shown

SETTINGS_NAME = "predictions.json"
_GOALS = {**own_goals(), "windows": WINDOWS_NAME, "embeddings": EMBEDDINGS_NAME}
"""Every file and folder that a call writes tables to, by format; a note with others is refused."""
_CHUNK_BYTES = 1 << 20


class _Note(Record, extra="ignore"):
    """What ``predictions.json`` holds; a later release may write more."""

    made: dict[str, Any]
    goals: dict[str, Any]
    guests: dict[str, str] = Field(default_factory=dict)
    tables: dict[str, tuple[str, ...]] | None = None


@dataclass(frozen=True)
class EarlierTables:
    """The tables in a folder, as ``predictions.json`` there lists them.

    Attributes
    ----------
    folder
        Where they are.
    made
        The settings that they depend on beside the journal.
    goals
        The file or folder of each, below ``folder``, by format.
    guests
        The same for formats that are not dawnchorus's own.
    digests
        Of every file of the tables, by its path below ``folder``: those that it may have, two while it is
        being replaced, none where a person has changed it. None in a note of an earlier release.
    is_known
        False where the note is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("tables").mkdir()
    >>> EarlierTables.of(Path("tables")).begin({"threshold": 0.5}, {"csv": "detections.csv"}, {}).made
    {'threshold': 0.5}
    >>> Path("tables/detections.csv").touch()
    >>> EarlierTables.of(Path("tables")).written
    frozenset({'csv'})
    >>> EarlierTables.of(Path("tables")).check(
    ...     {"threshold": 0.3}, {"csv": "detections.csv"}, has_journal=True
    ... )
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: tables holds tables made with another threshold; choose another --out, or make
    them anew with --force (what was predicted is kept)
    """

    folder: Path
    made: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, str] = field(default_factory=dict)
    guests: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, Sequence[str]] | None = field(default_factory=dict)
    is_known: bool = True

    @classmethod
    def of(cls, folder: Path) -> EarlierTables:
        """Return the tables of a folder; none where it was never predicted into.

        Raises
        ------
        RunError
            The note there names a file that no call writes, and that must not be removed.
        """
        note = folder / SETTINGS_NAME
        if not note.exists():
            return cls(folder, digests=None)
        found = read_json_if_sound(note, _Note)
        if found is None:
            return cls(folder, is_known=False)
        earlier = cls(
            folder,
            found.made | {"calibration": found.made.get("calibration")},
            found.goals,
            found.guests,
            found.tables,
        )
        unknown = [goal for name, goal in earlier.goals.items() if _GOALS.get(name) != goal]
        if unknown:
            raise RunError(
                f"{note} names {shown(min(unknown, key=str))} as a table, which dawnchorus predict does not "
                f"write; delete {SETTINGS_NAME} there, or choose another --out"
            )
        return earlier

    @property
    def written(self) -> frozenset[str]:
        """Names of the tables that were written and are still there, such as ``raven`` and ``windows``."""
        return frozenset(
            name for name, goal in {**self.goals, **self.guests}.items() if (self.folder / goal).exists()
        )

    def check(self, made: Mapping[str, Any], goals: Mapping[str, str], *, has_journal: bool) -> None:
        """Refuse to replace tables made with other settings, and files that are not ours.

        Parameters
        ----------
        made, goals
            Settings and paths of this call's tables.
        has_journal
            Whether predictions are kept; only the message depends on it.

        Raises
        ------
        RunError
            A table or file is in the way.
        """
        for name, goal in goals.items():
            is_ours = goal in (self.goals.get(name), self.guests.get(name))
            if self.is_known and not is_ours:
                refuse_existing(self.folder / goal, force=False)
        differing = [key for key in made if self.made.get(key, made[key]) != made[key]]
        if differing:
            kept = " (what was predicted is kept)" if has_journal else ""
            raise RunError(
                f"{self.folder} holds tables made with another {' and '.join(differing)}; choose another "
                f"--out, or make them anew with --force{kept}"
            )

    def begin(
        self, made: Mapping[str, Any], goals: Mapping[str, str], guests: Mapping[str, str]
    ) -> EarlierTables:
        """Note the tables to be written, where they are others than before, and return the note."""
        made = json.loads(json.dumps(made))
        if self.is_known and (self.made, self.goals, self.guests) == (made, goals, guests):
            return self
        begun = replace(self, made=made, goals=goals, guests=guests, is_known=True)
        begun._write()
        return begun

    def withdraw(self) -> None:
        """Remove the note where none of its tables has been written, as after a call that failed."""
        if not self.written:
            (self.folder / SETTINGS_NAME).unlink(missing_ok=True)

    def _write(self) -> None:
        note = {"made": self.made, "goals": self.goals, "guests": self.guests}
        if self.digests is not None:
            note["tables"] = self.digests
        # Names of files need not be UTF-8, so that escapes stand for what is not ASCII.
        write_text(self.folder / SETTINGS_NAME, json.dumps(note, indent=1))

    def files_of(self, goals: Iterable[str]) -> set[str]:
        """Return the paths of all files that belong to tables, below the folder."""
        goals = set(goals)
        if self.digests is None:
            return {
                path.relative_to(self.folder).as_posix()
                for goal in goals
                if goal in (*self.goals.values(), *self.guests.values())
                for path in (self.folder / goal).rglob("*")
                if path.is_file()
            }
        return {path for path in self.digests if path.split("/")[0] in goals}

    def replace_files(
        self, new: Path, outdated: Iterable[str], changed: Iterable[str]
    ) -> tuple[EarlierTables, list[str]]:
        """Move files from ``new`` to their places and remove outdated ones; return the note, and what stays.

        A file that a person has changed stays as it is, be it one of ``changed`` or found to be so. From the
        note of a call that is killed meanwhile the next one knows which files are ours.
        """
        staged = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
        made = {path: digest_of(new / path) for path in staged}
        found = {path: digest_of(self.folder / path) for path in {*made, *outdated}}
        changed = set(changed) | {
            path
            for path, digest in found.items()
            if self.digests is not None and digest not in (None, made.get(path), *self.digests.get(path, ()))
        }
        made = {path: digest for path, digest in made.items() if path not in changed}
        kept = {path: list(ours) for path, ours in (self.digests or {}).items() if path not in found}
        kept |= {path: [] for path in changed}
        before = {path: [digest] for path, digest in found.items() if digest and path not in changed}
        during = {path: [*before.get(path, ()), *filter(None, [made.get(path)])] for path in {*before, *made}}
        begun = replace(self, digests={**kept, **during})
        begun._write()
        for goal in new.iterdir():
            if goal.is_dir():
                (self.folder / goal.name).mkdir(exist_ok=True)
        for path, digest in made.items():
            if digest != found[path]:
                target = inside(self.folder, path, named_in=new)
                target.parent.mkdir(parents=True, exist_ok=True)
                (new / path).replace(target)
        for path in set(before) - set(made):
            self._remove(path)
        after = {path: [digest] for path, digest in made.items() if digest}
        ended = replace(self, digests=dict(sorted({**kept, **after}.items())))
        ended._write()
        return ended, sorted(changed)

    def _remove(self, path: str) -> None:
        """Remove a file of a table, and the folders that are empty without it."""
        file = inside(self.folder, path, named_in=self.folder / SETTINGS_NAME)
        file.unlink(missing_ok=True)
        for parent in list(file.parents)[: path.count("/")]:
            if not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def digest_of(file: Path) -> str | None:
    """Return a digest of a whole file, 16 hexadecimal digits; None where there is no such file.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("detections.csv").write_text("filename,start_s\\n")
    >>> digest_of(Path("detections.csv")), digest_of(Path("missing.csv"))
    ('e7bcb3a327a042ae', None)
    """
    digest = hashlib.blake2b(digest_size=8)
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                digest.update(chunk)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return digest.hexdigest()
