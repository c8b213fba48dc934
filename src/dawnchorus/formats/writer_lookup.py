"""Several formats as one writer: looked up by name, and written together."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Self

import pandas as pd

from dawnchorus.config.import_paths import import_path
from dawnchorus.config.registry import FORMATS
from dawnchorus.errors import ConfigError
from dawnchorus.formats.detection_writer import DetectionWriter, ModelFacts, TableSettings
from dawnchorus.formats.names import is_taxon
from dawnchorus.formats.recording import RecordingDetections
from dawnchorus.formats.taxonomy import names_of
from dawnchorus.wording import first_few

logger = logging.getLogger(__name__)

Format = str | type[DetectionWriter]
"""A registered name, an import path ``package.module:Writer``, or the writer's class itself."""

_FIRST_TO_END = "parquet"
"""The format that begins last and so ends first: its end does most that may fail."""


class DetectionWriters:
    """Several formats as one writer: each recording goes to all; a failure leaves all as they were.

        Attributes
        ----------
        writers
            The writer of each format, by its name.
        paths
            The file or folder that will be written, by the name of the format.

        Examples
        --------
        >>> from pathlib import Path
        >>> import pandas as pd
    >>> from dawnchorus.formats.recording import RecordingDetections
    >>> detections = pd.DataFrame({"start_s": [0.0], "end_s": [5.0], "label": ["owl"], "probability": [0.9]})
        >>> night = RecordingDetections("night.wav", Path("night.wav"), 12.0, None, detections)
        >>> writers = open_writers(["csv", "audacity"], Path("tables"), labels=["owl"], high_hz=16_000)
        >>> with writers:
        ...     writers.add(night)
        >>> [path.as_posix() for path in writers.paths.values()]
        ['tables/detections.csv', 'tables/audacity']
    """

    def __init__(self, writers: dict[str, DetectionWriter]) -> None:
        self.writers = writers
        self.paths = {name: writer.path for name, writer in writers.items()}
        self._no_taxa: Counter[str] = Counter()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for writer in self.writers.values():
                stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if kind is None and self._no_taxa:
            names = [name for name, writer in self.writers.items() if writer.taxa_only]
            labels = [f"{label} ({n})" for label, n in self._no_taxa.most_common()]
            logger.warning(
                f"{' and '.join(names)} hold taxa alone, so that {first_few(labels)} "
                f"{'is' if len(labels) == 1 else 'are'} left out there"
            )
        return self._stack.__exit__(kind, error, traceback)

    def add(self, recording: RecordingDetections) -> None:
        """Write the detections of one more recording."""
        of_taxa = None
        for writer in self.writers.values():
            if writer.taxa_only and of_taxa is None:
                of_taxa = self._taxa_in(recording, writer.settings)
            writer.add(of_taxa if writer.taxa_only and of_taxa is not None else recording)

    def _taxa_in(self, recording: RecordingDetections, settings: TableSettings) -> RecordingDetections:
        """Return a recording without detections of what is no taxon, which are counted."""
        found = recording.detections
        labels = {*found["label"], *(name for names in found.get("heard", ()) for name in names)}
        others = {label for label in labels if not is_taxon(settings.names(label).scientific)}
        if not others:
            return recording
        is_other = found["label"].isin(others)
        self._no_taxa.update(found["label"][is_other])
        if "heard" in found:
            heard = [tuple(name for name in names if name not in others) for names in found["heard"]]
            # A row stays, as refused, for the taxa that people heard beside it.
            found = found.assign(heard=pd.Series(heard, found.index, dtype=object))
            found.loc[is_other, "verdict"] = "no"
            is_other &= ~found["heard"].map(bool)
        return recording._replace(detections=found[~is_other])


def formats_of(given: Format | Iterable[Format]) -> dict[str, type[DetectionWriter]]:
    """Return the writers by their names, in the order in which they begin.

    Parameters
    ----------
    given
        One format, several with commas between, or an iterable of formats. They come from a user's own code
        or command line: what an import path names is imported. A format without a registered name is
        called by its import path.

    Raises
    ------
    ConfigError
        A format is not known, is not a :class:`DetectionWriter`, writes outside of the folder of tables, or
        two write the same file.

    Examples
    --------
    >>> list(formats_of("raven,csv"))
    ['csv', 'raven']
    """
    several = [given] if isinstance(given, str | type) else list(given)
    wanted = [part for each in several for part in (each.split(",") if isinstance(each, str) else [each])]
    writers: dict[str, type[DetectionWriter]] = {}
    for each in wanted:
        writer = FORMATS.find(each.strip() if isinstance(each, str) else each, where="the format")
        _check_writer(writer)
        writers[_name_of(writer)] = writer
    names = [
        *(name for name in FORMATS if name in writers),
        *(name for name in writers if name not in FORMATS),
    ]
    names.sort(key=lambda name: name == _FIRST_TO_END)
    _check_goals({name: writers[name].goal for name in names})
    return {name: writers[name] for name in names}


def own_goals() -> dict[str, str]:
    """Return the files and folders of dawnchorus's own formats, by their names, without those of users.

    Examples
    --------
    >>> own_goals()["csv"]
    'detections.csv'
    """
    writers = {name: FORMATS.find(name) for name in FORMATS}
    ours = f"{__name__.partition('.')[0]}."
    return {name: writer.goal for name, writer in writers.items() if writer.__module__.startswith(ours)}


def open_writers(
    formats: Format | Iterable[Format],
    out_dir: Path,
    *,
    labels: Sequence[str],
    high_hz: float,
    overlap_s: float = 0.0,
    escape_formulas: bool = False,
    has_channels: bool = False,
    has_verdicts: bool = False,
    model: ModelFacts | None = None,
) -> DetectionWriters:
    """Return one context manager that writes several formats; nothing is opened before its block begins.

    Parameters
    ----------
    formats
        As for :func:`formats_of`.
    out_dir
        Where all of them go; made if missing.
    labels
        Every class of the model.
    high_hz
        Upper edge of Raven's boxes; a window has no frequency limits of its own.
    overlap_s
        By how much consecutive windows overlap, seconds.
    escape_formulas
        Whether names that a spreadsheet would take for formulas get a ``'`` before them.
    has_channels
        Whether detections have a column ``channel``, which ``csv`` and ``parquet`` then have too.
    has_verdicts
        Whether detections have columns ``verdict``, ``heard`` and ``reviewers``, which the tables that people
        open then have too.
    model
        Name, taxonomy and thresholds of the model, for the tables that have such columns.

    Raises
    ------
    ConfigError
        As :func:`formats_of`.

    Examples
    --------
    >>> from pathlib import Path
    >>> with open_writers(["csv"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     pass  # writers.add(...) for each recording
    >>> Path("tables/detections.csv").read_text().split(",")[:4]
    ['filename', 'start_s', 'end_s', 'label']
    """
    model = model or ModelFacts()
    species = names_of(labels, model.taxonomy)
    settings = TableSettings(
        species, float(high_hz), float(overlap_s), escape_formulas, has_channels, has_verdicts, model
    )
    return DetectionWriters({name: writer(out_dir, settings) for name, writer in formats_of(formats).items()})


def _name_of(writer: type[DetectionWriter]) -> str:
    """Return the name under which a writer is registered, else its import path."""
    path = import_path(writer)
    parts = ((name, FORMATS.part(name)) for name in FORMATS)
    return next((name for name, part in parts if part is writer or part == path), path)


def _check_writer(writer: Any) -> None:
    if not (isinstance(writer, type) and issubclass(writer, DetectionWriter)):
        raise ConfigError(
            f"the format {import_path(writer)} is no writer; make it a subclass of "
            "dawnchorus.formats.TableWriter, FolderWriter or DetectionWriter"
        )
    if inspect.isabstract(writer):
        raise ConfigError(
            f"the format {import_path(writer)} lacks {', '.join(sorted(writer.__abstractmethods__))}"
        )
    goal: Any = getattr(writer, "goal", "")
    is_plain = isinstance(goal, str) and goal == PurePath(goal).name != "" and goal.isprintable()
    if not is_plain or goal.startswith(".") or {"\\", ":"} & set(goal):
        raise ConfigError(
            f"the format {import_path(writer)} has the goal {goal!r}; name one file or folder in the folder "
            "of tables, such as tally.csv"
        )


def _check_goals(goals: Mapping[str, str]) -> None:
    name_of: dict[str, str] = {}
    for name, goal in goals.items():
        if goal.casefold() in name_of:
            raise ConfigError(
                f"the formats {name_of[goal.casefold()]} and {name} both write {goal}; leave one out"
            )
        name_of[goal.casefold()] = name
