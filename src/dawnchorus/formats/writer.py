"""The shell of every writer: a context manager to which recordings are added, one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from dawnchorus.formats.names import SpeciesNames
from dawnchorus.formats.recording import RecordingDetections

PROBABILITY_DECIMALS = 4


@dataclass(frozen=True)
class TableSettings:
    """What the tables say of the model and its windows.

    Attributes
    ----------
    species
        The two names of every class, by its label.
    high_hz
        Upper edge of the boxes; a window has no frequency limits of its own.
    overlap_s
        By how much consecutive windows overlap.
    """

    species: Mapping[str, SpeciesNames]
    high_hz: float
    overlap_s: float


class DetectionWriter(ABC):
    """Writes one format; nothing is at its place before the ``with`` block ends well.

    Parameters
    ----------
    out_dir
        Where the file or the folder ``goal`` goes.
    settings
        What the tables say of the model.
    """

    goal: ClassVar[str]

    def __init__(self, out_dir: Path, settings: TableSettings) -> None:
        self.path = out_dir / self.goal
        self.settings = settings

    def __enter__(self) -> Self:
        self._context = self._writing()
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._context.__exit__(kind, error, traceback)

    @abstractmethod
    def _writing(self) -> AbstractContextManager[None]:
        """Return a context that begins the output, and puts it at its place when it ends well."""

    @abstractmethod
    def add(self, recording: RecordingDetections) -> None:
        """Write the detections of one more recording."""


def open_text(path: Path, mode: str = "w") -> IO[str]:
    """Open a text file for writing; a file name that is no UTF-8 is written as the bytes that it has."""
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")
