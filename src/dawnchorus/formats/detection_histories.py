"""Detection histories: sites and visits, as the R packages for occupancy want them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from dawnchorus.files import inside, replacing
from dawnchorus.formats.detection_writer import DetectionWriter, open_text
from dawnchorus.formats.names import fitting, is_taxon
from dawnchorus.formats.recording import RecordingDetections
from dawnchorus.formats.survey_days import LeftOut, days_of, lacking, site_of

NOT_RECORDED = "NA"
EFFORT_NAME, SITES_NAME, SPECIES_NAME = "effort_hours.csv", "sites.csv", "species.csv"


class DetectionHistoryWriter(DetectionWriter):
    """``detection_history/``: for each species a table of sites × days with 1, 0, or NA.

    NA says that the site was not recorded on that day. ``effort_hours.csv`` is of the same shape, with the
    hours that were recorded and NA for none; ``sites.csv`` has the coordinates; ``species.csv`` the table of
    each species, its names, and at how many sites and visits it was found. Species that were asked for have a
    table even if they were never found. A visit is a day by the recorder's clock, and a detection is of the
    day in which it begins. Where people have listened, what they refused does not count. Recordings of
    unknown time or site are left out, and so are classes that are no taxa, such as an engine.

    In R: ``y <- as.matrix(read.csv("detection_history/owl.csv", row.names = 1))`` is the matrix of
    ``unmarked::unmarkedFrameOccu(y, obsCovs = list(effort = ...))``, and the ``y`` of ``spOccupancy``.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["detection_history"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     for name, day, rows in (("a", 4, detections), ("b", 4, detections[:0]), ("b", 5, detections)):
    ...         began = datetime(2024, 5, day)
    ...         writers.add(RecordingDetections(f"{name}/{day}.wav", Path("x.wav"), 60.0, began, rows))
    >>> print(Path("tables/detection_history/owl.csv").read_text().strip())
    site,2024-05-04,2024-05-05
    a,1,NA
    b,0,1
    """

    goal = "detection_history"
    states_length = taxa_only = needs_site = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._effort_s: dict[tuple[str, date], float] = defaultdict(float)
        asked = (
            label for label in self.settings.model.asked if is_taxon(self.settings.names(label).scientific)
        )
        self._found: dict[str, set[tuple[str, date]]] = {label: set() for label in asked}
        self._places: dict[str, tuple[float | None, float | None]] = {}
        with replacing(self.path) as folder:
            folder.mkdir()
            with LeftOut(folder, "a detection history") as self._left_out:
                yield
            self._write(folder)

    def add(self, recording: RecordingDetections) -> None:
        reason = lacking(recording, site=True)
        if reason is not None or recording.start is None:
            self._left_out.add(recording.filename, reason or "")
            return
        site = site_of(recording)
        place = (recording.recorder.latitude, recording.recorder.longitude)
        if self._places.get(site, (None, None)) == (None, None):
            self._places[site] = place
        for day, seconds in days_of(recording.start, recording.duration_s):
            self._effort_s[site, day] += seconds
        for row in recording.occurrences():
            moment = recording.time_of(row)
            assert moment is not None
            self._found.setdefault(row.label, set()).add((site, moment.date()))

    def _write(self, folder: Path) -> None:
        sites = sorted(self._places)
        days = sorted({day for _, day in self._effort_s})
        self._write_matrix(
            folder / EFFORT_NAME,
            sites,
            days,
            {key: f"{seconds / 3600:.4f}" for key, seconds in self._effort_s.items()},
        )
        with open_text(folder / SITES_NAME) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("site", "latitude", "longitude", "n_visits"))
            for site in sites:
                n_visits = sum((site, day) in self._effort_s for day in days)
                writer.writerow(self.cells((site, *self._places[site], n_visits)))
        taken = {EFFORT_NAME, SITES_NAME, SPECIES_NAME}
        with open_text(folder / SPECIES_NAME) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("label", "table", "scientific_name", "common_name", "n_sites", "n_visits"))
            order = {label: place for place, label in enumerate(self.settings.species)}
            for label, found in sorted(self._found.items(), key=lambda each: order.get(each[0], len(order))):
                name = _table_name(label, taken)
                taken.add(name.casefold())
                cells = {key: int(key in found) for key in self._effort_s}
                cells |= dict.fromkeys(found, 1)  # a window may begin where the recording of a day ends
                self._write_matrix(inside(folder, name, named_in=label), sites, days, cells)
                n_sites = len({site for site, _ in found})
                writer.writerow(self.cells((label, name, *self.settings.names(label), n_sites, len(found))))

    def _write_matrix(
        self, path: Path, sites: list[str], days: list[date], cells: Mapping[tuple[str, date], object]
    ) -> None:
        with open_text(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("site", *(day.isoformat() for day in days)))
            for site in sites:
                row = (site, *(cells.get((site, day), NOT_RECORDED) for day in days))
                writer.writerow(self.cells(row))


def _table_name(label: str, taken: set[str]) -> str:
    """Return the file of a class; characters that no file may have, and names that are taken, change."""
    plain = "".join(letter if letter.isalnum() or letter in " -'.()" else "_" for letter in label).strip(". ")
    name, number = fitting(plain or "class", ".csv"), 2
    while name.casefold() in taken:
        name, number = fitting(f"{plain}-{number}", ".csv"), number + 1
    return name
