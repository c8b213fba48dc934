"""What earlier calls wrote into a folder of predictions: nothing is overwritten or outdated unasked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawnchorus.errors import RunError
from dawnchorus.files import write_text

SETTINGS_NAME = "predictions.json"


@dataclass(frozen=True)
class EarlierTables:
    """The tables in a folder, as ``predictions.json`` there tells.

    Attributes
    ----------
    folder
        Where they are.
    made
        What they depend on beside the journal.
    goals
        The file or folder of each, below ``folder``, by what it is.
    is_known
        False where the note is damaged; then whatever is there is taken for ours.
    """

    folder: Path
    made: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, str] = field(default_factory=dict)
    is_known: bool = True

    @classmethod
    def of(cls, folder: Path) -> EarlierTables:
        """Return what is known of a folder; nothing where it was never predicted into."""
        try:
            found = json.loads((folder / SETTINGS_NAME).read_text(encoding="utf-8"))
            return cls(folder, dict(found["made"]), dict(found["goals"]))
        except FileNotFoundError:
            return cls(folder)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls(folder, is_known=False)

    @property
    def written(self) -> frozenset[str]:
        """What was written, such as ``raven`` and ``windows``."""
        return frozenset(self.goals)

    def check(self, made: Mapping[str, Any], goals: Mapping[str, str]) -> None:
        """Refuse to replace tables that were made otherwise, or that somebody else put there.

        Raises
        ------
        RunError
            One is in the way.
        """
        for name, goal in goals.items():
            if self.is_known and name not in self.written and (self.folder / goal).exists():
                raise RunError(
                    f"{self.folder / goal} exists; choose another --out, or overwrite it with --force"
                )
        differing = [key for key in made if self.made.get(key, made[key]) != made[key]]
        if differing:
            raise RunError(
                f"{self.folder} holds tables made with another {' and '.join(differing)}; choose another "
                "--out, or make them anew with --force (what was predicted is kept)"
            )

    def begin(self, made: Mapping[str, Any], goals: Mapping[str, str]) -> None:
        """Note what is about to be written, and remove what earlier calls wrote and this one does not."""
        for name in self.written - set(goals):
            path = self.folder / self.goals[name]
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        noted = json.dumps({"made": made, "goals": goals}, indent=2, ensure_ascii=False)
        write_text(self.folder / SETTINGS_NAME, noted)
