"""A folder with one table a recording: what Raven, Audacity and readers of BirdNET's results open."""

from __future__ import annotations

import csv
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import PurePosixPath
from typing import IO, ClassVar

from dawnchorus.files import replacing
from dawnchorus.formats.names import fitting
from dawnchorus.formats.recording import (
    RecordingDetections,
    absolute_time,
    detections_in,
    nearest_millisecond,
)
from dawnchorus.formats.writer import PROBABILITY_DECIMALS, DetectionWriter, open_text

_BREAKS = str.maketrans("\t\r\n", "   ")


class _FolderWriter(DetectionWriter):
    """A silent recording gets a table too, and sub-folders are kept.

    The whole folder is replaced, so that no table of an earlier run stays in it.
    """

    ending: ClassVar[str]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with replacing(self.path) as self._folder:
            self._folder.mkdir()
            yield

    def add(self, recording: RecordingDetections) -> None:
        with self._open_new(recording.filename) as file:
            self._write(file, recording)

    def _open_new(self, filename: str) -> IO[str]:
        """Open the table of a recording, under another name where one is taken: none is written over."""
        names = chain(self._names(filename), (f"{filename}-{number}" for number in count(2)))
        while True:
            path = self._folder / fitting(next(names), self.ending)
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                return open_text(path, "x")

    def _names(self, filename: str) -> list[str]:
        """Return what the table may be called, without its ending, the best first."""
        return [filename]

    @abstractmethod
    def _write(self, file: IO[str], recording: RecordingDetections) -> None:
        """Write one recording's table."""


class RavenWriter(_FolderWriter):
    """``raven/<recording>.selections.txt``: selection tables, tab-separated, as Raven Pro and Lite open them.

    Where a recording's time is known, ``Begin Date Time`` is the last column.
    """

    goal = "raven"
    ending = ".selections.txt"
    columns = (
        *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)"),
        *("High Freq (Hz)", "Species", "Confidence", "Begin File"),
    )

    def _write(self, file: IO[str], recording: RecordingDetections) -> None:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(self.columns if recording.start is None else (*self.columns, "Begin Date Time"))
        name = PurePosixPath(recording.filename).name.translate(_BREAKS)
        for number, row in enumerate(detections_in(recording), start=1):
            moment = absolute_time(recording.start, row.start_s)
            writer.writerow(
                (
                    *(number, "Spectrogram 1", 1, row.start_s, row.end_s, 0.0, self.settings.high_hz),
                    *(row.label.translate(_BREAKS), round(row.probability, PROBABILITY_DECIMALS), name),
                    *([nearest_millisecond(moment).strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]] if moment else []),
                )
            )


class AudacityWriter(_FolderWriter):
    """``audacity/<recording>.txt``: label tracks, with the probability behind the label."""

    goal = "audacity"
    ending = ".txt"

    def _write(self, file: IO[str], recording: RecordingDetections) -> None:
        for row in detections_in(recording):
            label = row.label.translate(_BREAKS)  # Audacity knows no quotes
            probability = f"{row.probability:.{PROBABILITY_DECIMALS}f}"
            file.write(f"{row.start_s:.6f}\t{row.end_s:.6f}\t{label} {probability}\n")


class BirdnetWriter(_FolderWriter):
    """``birdnet/<recording without suffix>.BirdNET.results.csv``: the columns of BirdNET-Analyzer's CSV.

    The suffix stays where two recordings would share a table without it.
    """

    goal = "birdnet"
    ending = ".BirdNET.results.csv"
    columns = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")

    def _names(self, filename: str) -> list[str]:
        return [str(PurePosixPath(filename).with_suffix("")), filename]

    def _write(self, file: IO[str], recording: RecordingDetections) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        for row in detections_in(recording):
            names = self.settings.species[row.label]
            probability = f"{row.probability:.{PROBABILITY_DECIMALS}f}"
            writer.writerow((row.start_s, row.end_s, *names, probability, str(recording.path)))
