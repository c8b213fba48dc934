"""Folders with one table a recording, for Raven, Audacity and readers of BirdNET's results."""

from __future__ import annotations

import csv
import os
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar

from dawnchorus.audio.container import AudioInfo, read_info
from dawnchorus.errors import AudioError
from dawnchorus.files import inside, replacing
from dawnchorus.formats.detection_writer import (
    DetectionWriter,
    TableSettings,
    open_text,
    probability_cell,
    probability_text,
    verdict_cells,
)
from dawnchorus.formats.names import fitting
from dawnchorus.formats.recording import RecordingDetections, nearest_millisecond

_BREAKS = str.maketrans("\t\r\n", "   ")


class FolderWriter(DetectionWriter):
    """A folder with a file a recording: subclasses have its name, an ending, and write one file.

    A recording without detections gets a table too, and sub-folders are kept. The whole folder is replaced,
    so that no table of an earlier run stays in it.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from dawnchorus.formats import write_detections
    >>> class Lines(FolderWriter):
    ...     goal, ending = "lines", ".lines.txt"
    ...
    ...     def write(self, file, recording):
    ...         file.writelines(f"{row.start_s:g} s: {row.label}\\n" for row in recording.rows())
    >>> detections = pd.DataFrame(
    ...     [("site/a.wav", 65.0, 70.0, "wren", 0.9)],
    ...     columns=["filename", "start_s", "end_s", "label", "probability"],
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path] = write_detections(detections, Lines, folder).values()
    ...     print((path / "site" / "a.wav.lines.txt").read_text(), end="")
    65 s: wren
    """

    ending: ClassVar[str]
    """The part of a table's name after that of its recording."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        with replacing(self.path) as self._folder:
            self._folder.mkdir()
            yield

    def add(self, recording: RecordingDetections) -> None:
        with self._open_new(recording.filename) as file:
            self.write(file, recording)

    def _open_new(self, filename: str) -> IO[str]:
        """Open the table of a recording, under another name where one is taken: none is overwritten."""
        names = chain(self.names(filename), (f"{filename}-{number}" for number in count(2)))
        while True:
            path = inside(self._folder, fitting(next(names), self.ending), named_in=filename)
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                return open_text(path, "x")

    def table_of(self, filename: str) -> str:
        """Return the preferred path of a recording's table, below the folder."""
        return fitting(self.names(filename)[0], self.ending)

    def names(self, filename: str) -> list[str]:
        """Return possible names of the table, without its ending, the preferred first."""
        return [filename]

    @abstractmethod
    def write(self, file: IO[str], recording: RecordingDetections) -> None:
        """Write one recording's table into an open text file (UTF-8, no newlines translated)."""


class RavenWriter(FolderWriter):
    """``raven/<recording>.selections.txt``: selection tables, tab-separated, as Raven Pro and Lite open them.

    Where a recording's time is known, ``Begin Date Time`` is a column, and where people have listened,
    ``Verdict``, ``Heard`` and ``Reviewers`` are. Boxes end at the highest
    frequency of the model, or half the recording's sample rate, beyond which Raven refuses them.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [0.0], "end_s": [5.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["raven"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, None, detections))
    >>> Path("tables/raven/night.wav.selections.txt").read_text().split("\\t")[:4]
    ['Selection', 'View', 'Channel', 'Begin Time (s)']
    """

    goal = "raven"
    ending = ".selections.txt"
    columns = (
        *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)"),
        *("High Freq (Hz)", "Species", "Confidence", "Begin File"),
    )

    def write(self, file: IO[str], recording: RecordingDetections) -> None:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        time = () if recording.start is None else ("Begin Date Time",)
        verdict = ("Verdict", "Heard", "Reviewers") if self.settings.has_verdicts else ()
        writer.writerow((*self.columns, *time, *verdict))
        name = PurePosixPath(recording.filename).name.translate(_BREAKS)
        high_hz = _high_hz(recording, self.settings)
        for number, row in enumerate(recording.rows(), start=1):
            moment = recording.time_of(row)
            cells = (
                *(number, "Spectrogram 1", row.channel or 1, row.start_s, row.end_s, 0.0, high_hz),
                *(row.label.translate(_BREAKS), probability_cell(row.probability), name),
                *([nearest_millisecond(moment).strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]] if moment else []),
                *(cell.translate(_BREAKS) for cell in (verdict_cells(row) if verdict else ())),
            )
            writer.writerow(self.cells(cells))


def _high_hz(recording: RecordingDetections, settings: TableSettings) -> float:
    """Return the model's highest frequency, or half the recording's sample rate where that is lower."""
    sample_rate = recording.sample_rate
    if sample_rate is None and not recording.detections.empty and (info := _info_of(recording.path)):
        sample_rate = info.sample_rate
    return settings.high_hz if sample_rate is None else min(settings.high_hz, sample_rate / 2)


def _info_of(path: Path) -> AudioInfo | None:
    """Return the header of a recording, None where it is not at hand or is an HDF5 file."""
    try:
        return read_info(path)
    except AudioError:
        return None


class CombinedRavenWriter(DetectionWriter):
    """``raven_combined/``: one selection table of all recordings, and the list of them to open in Raven.

    ``recordings.list.txt`` opens the recordings as one sequence, and ``detections.selections.txt`` is its
    table: ``Begin Time (s)`` and ``End Time (s)`` count through all recordings in that order, ``Begin Path``
    names the recording, and ``File Offset (s)`` counts from its beginning.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [1.0], "end_s": [5.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["raven_combined"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     for name in ("one.wav", "two.wav"):
    ...         writers.add(RecordingDetections(name, Path(name), 12.0, None, detections))
    >>> table = pd.read_csv("tables/raven_combined/detections.selections.txt", sep="\\t")
    >>> table[["Begin Time (s)", "File Offset (s)"]].values.tolist()
    [[1.0, 1.0], [13.0, 1.0]]
    """

    goal = "raven_combined"
    columns = (*RavenWriter.columns, "Begin Path", "File Offset (s)")

    @contextmanager
    def writing(self) -> Iterator[None]:
        with replacing(self.path) as folder:
            folder.mkdir()
            self._number, self._begin_s = count(1), 0.0
            with (
                open_text(folder / f"detections{RavenWriter.ending}") as table,
                open_text(folder / "recordings.list.txt") as self._list,
            ):
                self._writer = csv.writer(table, delimiter="\t", lineterminator="\n")
                self._writer.writerow(self.columns)
                yield

    def add(self, recording: RecordingDetections) -> None:
        path = os.path.abspath(recording.path).translate(_BREAKS)  # noqa: PTH100  links stay as they are
        name = PurePosixPath(recording.filename).name.translate(_BREAKS)
        high_hz = _high_hz(recording, self.settings)
        for row in recording.rows():
            begin_s, end_s = (round(self._begin_s + each, 6) for each in (row.start_s, row.end_s))
            cells = (
                *(next(self._number), "Spectrogram 1", 1, begin_s, end_s, 0.0, high_hz),
                *(row.label.translate(_BREAKS), probability_cell(row.probability), name),
                *(path, row.start_s),
            )
            self._writer.writerow(self.cells(cells))
        self._list.write(f"{path}\n")
        info = _info_of(recording.path)
        self._begin_s += recording.duration_s if info is None else info.duration_s


class AudacityWriter(FolderWriter):
    """``audacity/<recording>.txt``: label tracks, with the probability behind the label, and the verdict.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [0.0], "end_s": [5.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["audacity"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, None, detections))
    >>> Path("tables/audacity/night.wav.txt").read_text().split()
    ['0.000000', '5.000000', 'owl', '0.9000']
    """

    goal = "audacity"
    ending = ".txt"

    def write(self, file: IO[str], recording: RecordingDetections) -> None:
        for row in recording.rows():
            label = row.label.translate(_BREAKS)  # Audacity does not parse quotes
            probability = probability_text(row.probability)
            heard = f": {', '.join(row.heard)}" if row.heard else ""
            verdict = f" ({row.verdict}{heard})".translate(_BREAKS) if row.verdict else ""
            named = f"{label} {probability}" if probability else label
            file.write(f"{row.start_s:.6f}\t{row.end_s:.6f}\t{named}{verdict}\n")


class BirdnetWriter(FolderWriter):
    """``birdnet/<recording without suffix>.BirdNET.results.csv``: the columns of BirdNET-Analyzer's CSV.

    The suffix stays where two recordings would share a table without it.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [0.0], "end_s": [5.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["birdnet"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, None, detections))
    >>> print(Path("tables/birdnet/night.BirdNET.results.csv").read_text())
    Start (s),End (s),Scientific name,Common name,Confidence,File
    0.0,5.0,owl,owl,0.9000,night.wav
    """

    goal = "birdnet"
    ending = ".BirdNET.results.csv"
    columns = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")

    def table_of(self, filename: str) -> str:
        """Return the preferred path of a recording's table, below the folder."""
        return fitting(self.names(filename)[0], self.ending)

    def names(self, filename: str) -> list[str]:
        return [str(PurePosixPath(filename).with_suffix("")), filename]

    def write(self, file: IO[str], recording: RecordingDetections) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        for row in recording.rows():
            names = self.settings.species[row.label]
            probability = probability_text(row.probability)
            writer.writerow(self.cells((row.start_s, row.end_s, *names, probability, str(recording.path))))
