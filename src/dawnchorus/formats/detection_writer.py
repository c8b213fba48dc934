"""The base class of every writer: a context manager to which recordings are added one by one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from dawnchorus.formats.names import SpeciesNames, inert, species_names
from dawnchorus.formats.recording import Detection, RecordingDetections
from dawnchorus.formats.taxonomy import Taxonomy

PROBABILITY_DECIMALS = 4


def probability_cell(probability: float) -> float | str:
    """Return a probability as tables have it; empty where it is not known (NaN).

    Examples
    --------
    >>> probability_cell(0.123456), probability_cell(float("nan"))
    (0.1235, '')
    """
    return "" if math.isnan(probability) else round(probability, PROBABILITY_DECIMALS)


def probability_text(probability: float) -> str:
    """Return a probability with all its decimals; empty where it is not known (NaN).

    Examples
    --------
    >>> probability_text(0.5), probability_text(float("nan"))
    ('0.5000', '')
    """
    return "" if math.isnan(probability) else f"{probability:.{PROBABILITY_DECIMALS}f}"


@dataclass(frozen=True)
class ModelFacts:
    """What tables tell of the model that made the detections.

    Attributes
    ----------
    name
        Its experiment, empty where unknown.
    taxonomy
        By label, what is known of ``scientific_name``, ``common_name``, ``species_code`` and ``gbif_key``.
    thresholds
        By label, the probability from which it was detected, where known.
    asked
        The labels that were asked for, whose absence tells something too; empty where all were.

    Examples
    --------
    >>> ModelFacts("owls", thresholds={"owl": 0.5}).name
    'owls'
    """

    name: str = ""
    taxonomy: Taxonomy = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    asked: Collection[str] = ()


@dataclass(frozen=True)
class TableSettings:
    """Facts about the model and its windows that tables hold.

    Attributes
    ----------
    species
        The two names of every class, by its label.
    high_hz
        Upper edge of the boxes; a window has no frequency limits of its own.
    overlap_s
        By how much consecutive windows overlap.
    escape_formulas
        Whether names that a spreadsheet would take for formulas are written as text.
    has_channels
        Whether rows have the number of a channel.
    has_verdicts
        Whether rows have the answers of reviewers.
    model
        The model that made the detections.

    Examples
    --------
    >>> from dawnchorus.formats.names import species_names
    >>> settings = TableSettings({"owl": species_names("owl")}, high_hz=16_000.0, overlap_s=0.0)
    >>> settings.species["owl"].common
    'owl'
    """

    species: Mapping[str, SpeciesNames]
    high_hz: float
    overlap_s: float
    escape_formulas: bool = False
    has_channels: bool = False
    has_verdicts: bool = False
    model: ModelFacts = ModelFacts()

    def names(self, label: str) -> SpeciesNames:
        """Return the two names of a class, or of a label that a reviewer has written."""
        return self.species.get(label) or species_names(label)

    def common_name(self, label: str) -> str:
        """Return the common name of a class, or of a label that a reviewer has written."""
        return self.names(label).common

    def code(self, label: str, key: str) -> str:
        """Return ``species_code`` or ``gbif_key`` of a class, empty where it is not known."""
        return self.model.taxonomy.get(label, {}).get(key, "")


class DetectionWriter(ABC):
    """A writer of one format; the output takes its place only when the ``with`` block ends well.

    A format of one's own that is a table of all recordings is a subclass of
    :class:`dawnchorus.formats.TableWriter`, and one with a file a recording one of
    :class:`dawnchorus.formats.FolderWriter`; both are a few lines. Any other is a subclass of this class
    with ``goal``, ``writing`` and ``add``. A format is used by its name after
    ``dawnchorus.register("format", "tally")``, by its import path, as in
    ``dawnchorus predict ... --format my_package.formats:Tally``, or as the class itself in a config.

    Parameters
    ----------
    out_dir
        Where the file or the folder ``goal`` goes.
    settings
        Facts about the model for the tables.

    Examples
    --------
    A whole writer, which counts detections in JSON:

    >>> import json, tempfile
    >>> import pandas as pd
    >>> from collections import Counter
    >>> from contextlib import contextmanager
    >>> from dawnchorus.files import replacing
    >>> from dawnchorus.formats import write_detections
    >>> class Counts(DetectionWriter):
    ...     goal = "counts.json"
    ...
    ...     @contextmanager
    ...     def writing(self):
    ...         self.counts = Counter()
    ...         with replacing(self.path) as temporary:
    ...             yield
    ...             temporary.write_text(json.dumps(self.counts))
    ...
    ...     def add(self, recording):
    ...         self.counts.update(row.label for row in recording.rows())
    >>> detections = pd.DataFrame(
    ...     [("a.wav", 0.0, 5.0, "wren", 0.9), ("b.wav", 5.0, 10.0, "wren", 0.8)],
    ...     columns=["filename", "start_s", "end_s", "label", "probability"],
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path] = write_detections(detections, Counts, folder).values()
    ...     path.name, path.read_text()
    ('counts.json', '{"wren": 2}')
    """

    goal: ClassVar[str]
    """Name of the file or the folder in the folder of tables."""

    states_length: ClassVar[bool] = False
    """Whether it states how long a recording is, so that the length must be known."""

    taxa_only: ClassVar[bool] = False
    """Whether it holds taxa alone, so that classes such as an engine are left out."""

    needs_offset: ClassVar[bool] = False
    """Whether it leaves out recordings of whose time the offset from UTC is not known."""

    needs_place: ClassVar[bool] = False
    """Whether it leaves out recordings whose coordinates are not known."""

    needs_site: ClassVar[bool] = False
    """Whether it leaves out recordings whose site is not known."""

    needs_verdicts: ClassVar[bool] = False
    """Whether it is for species that people have heard, so that a review must have been."""

    def __init__(self, out_dir: Path, settings: TableSettings) -> None:
        self.path = out_dir / self.goal
        self.settings = settings

    def __enter__(self) -> Self:
        self._context = self.writing()
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._context.__exit__(kind, error, traceback)

    def cells(self, row: Iterable[object]) -> list[object]:
        """Return the cells of a row that spreadsheets may open, escaped where the settings say so."""
        return [inert(cell) for cell in row] if self.settings.escape_formulas else list(row)

    @abstractmethod
    def writing(self) -> AbstractContextManager[None]:
        """Return a context that begins the output, and puts it at ``self.path`` when it ends well."""

    @abstractmethod
    def add(self, recording: RecordingDetections) -> None:
        """Write the detections of one more recording; it may have none."""


VERDICT_COLUMNS = ("verdict", "heard", "reviewers")


def verdict_cells(row: Detection) -> tuple[str, str, str]:
    """Return the cells of :data:`VERDICT_COLUMNS`.

    Examples
    --------
    >>> from dawnchorus.formats.recording import Detection
    >>> verdict_cells(Detection(0.0, 5.0, "owl", 0.9, None, "no", ("wren", "robin"), ("Ada",)))
    ('no', 'wren|robin', 'Ada')
    """
    return row.verdict, "|".join(row.heard), "|".join(row.reviewers)


def open_text(path: Path, mode: str = "w") -> IO[str]:
    """Open a text file for writing; file names in it that are not UTF-8 keep their bytes.

    Examples
    --------
    >>> from pathlib import Path
    >>> with open_text(Path("notes.txt")) as file:
    ...     _ = file.write("an owl at dusk")
    >>> Path("notes.txt").read_text()
    'an owl at dusk'
    """
    return path.open(mode, encoding="utf-8", errors="surrogateescape", newline="")
