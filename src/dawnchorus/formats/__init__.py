"""The files that people open, written while the recordings come in, one at a time.

Every output takes its place only when all recordings are in it; until then, what an earlier run wrote stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dawnchorus.config.settings import nearest
from dawnchorus.errors import ConfigError
from dawnchorus.formats.folder_tables import AudacityWriter, BirdnetWriter, RavenWriter
from dawnchorus.formats.names import species_names
from dawnchorus.formats.parquet import ParquetWriter
from dawnchorus.formats.recording import RecordingDetections, absolute_time
from dawnchorus.formats.single_tables import CsvWriter, KaleidoscopeWriter
from dawnchorus.formats.writer import DetectionWriter, TableSettings

__all__ = [
    "FORMATS",
    "DetectionWriters",
    "RecordingDetections",
    "absolute_time",
    "check_formats",
    "open_writers",
]

FORMATS: dict[str, type[DetectionWriter]] = {
    "csv": CsvWriter,
    "raven": RavenWriter,
    "audacity": AudacityWriter,
    "birdnet": BirdnetWriter,
    "kaleidoscope": KaleidoscopeWriter,
    "parquet": ParquetWriter,  # the last to begin is the first to end: it has most to do then that may fail
}


class DetectionWriters:
    """Several formats as one: a recording is added to all, and a failure leaves all as they were.

    Attributes
    ----------
    paths
        What will be written, by the name of the format: a file or a folder.
    """

    def __init__(self, writers: dict[str, DetectionWriter]) -> None:
        self._writers = writers
        self.paths = {name: writer.path for name, writer in writers.items()}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)

    def add(self, recording: RecordingDetections) -> None:
        """Write the detections of one more recording."""
        for writer in self._writers.values():
            writer.add(recording)


def check_formats(names: Iterable[str]) -> set[str]:
    """Return the names as a set.

    Raises
    ------
    ConfigError
        A name is none of :data:`FORMATS`.
    """
    wanted = set(names)
    for name in sorted(wanted - set(FORMATS)):
        raise ConfigError(f"the format {name!r} is not known{nearest(name, list(FORMATS), kind='formats')}")
    return wanted


def open_writers(
    names: Iterable[str], out_dir: Path, *, labels: Sequence[str], high_hz: float, overlap_s: float = 0.0
) -> DetectionWriters:
    """Return one context manager that writes several formats; nothing is opened before its block begins.

    Parameters
    ----------
    names
        Of :data:`FORMATS`.
    out_dir
        Where all of them go; made if missing.
    labels
        Every class of the model.
    high_hz
        Upper edge of Raven's boxes; a window has no frequency limits of its own.
    overlap_s
        By how much consecutive windows overlap.

    Raises
    ------
    ConfigError
        A name is not known.
    """
    wanted = check_formats(names)
    species = {label: species_names(label) for label in labels}
    settings = TableSettings(species, float(high_hz), float(overlap_s))
    return DetectionWriters({name: FORMATS[name](out_dir, settings) for name in FORMATS if name in wanted})
