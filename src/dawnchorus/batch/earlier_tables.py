"""Tables of earlier calls in a folder of predictions, and the checks before they are replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawnchorus.errors import RunError
from dawnchorus.files import inside, refuse_existing, write_text
from dawnchorus.formats import own_goals
from dawnchorus.predict.window_tables import EMBEDDINGS_NAME, WINDOWS_NAME

SETTINGS_NAME = "predictions.json"
_GOALS = {**own_goals(), "windows": WINDOWS_NAME, "embeddings": EMBEDDINGS_NAME}
"""Every file and folder that a call writes tables to, by format; a note with others is refused."""


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
        The same for formats that are not dawnchorus's own. They are never removed: a note cannot prove that a
        file of any name is a table.
    is_known
        False where the note is damaged; all that is there is then taken for ours.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("tables").mkdir()
    >>> EarlierTables.of(Path("tables")).begin({"threshold": 0.5}, {"csv": "detections.csv"}, {})
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
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
            earlier = cls(folder, dict(found["made"]), dict(found["goals"]), dict(found.get("guests", {})))
            unknown = [goal for name, goal in earlier.goals.items() if _GOALS.get(name) != goal]
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls(folder, is_known=False)
        if unknown:
            raise RunError(
                f"{note} names {min(unknown, key=str)!r} as a table, which dawnchorus predict does not "
                f"write; delete {SETTINGS_NAME} there, or choose another --out"
            )
        return earlier

    @property
    def written(self) -> frozenset[str]:
        """Names of the tables that were written, such as ``raven`` and ``windows``."""
        return frozenset(self.goals) | frozenset(self.guests)

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

    def begin(self, made: Mapping[str, Any], goals: Mapping[str, str], guests: Mapping[str, str]) -> None:
        """Note the tables to be written, and remove earlier ones that this call does not write."""
        for name in set(self.goals) - set(goals):
            path = inside(self.folder, self.goals[name], named_in=self.folder / SETTINGS_NAME)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        noted = json.dumps({"made": made, "goals": goals, "guests": guests}, indent=2, ensure_ascii=False)
        write_text(self.folder / SETTINGS_NAME, noted)
