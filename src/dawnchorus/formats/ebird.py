"""eBird's record format: a table that its importer takes, with a stationary count a recording."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dawnchorus.formats.detection_writer import probability_text
from dawnchorus.formats.recording import RecordingDetections
from dawnchorus.formats.single_tables import TableWriter
from dawnchorus.formats.survey_days import site_of
from dawnchorus.wording import counted, first_few

logger = logging.getLogger(__name__)

RECORD_FORMAT = (
    *("Common Name", "Genus", "Species", "Number", "Species Comments", "Location Name", "Latitude"),
    *("Longitude", "Date", "Start Time", "State/Province", "Country Code", "Protocol"),
    *("Number of Observers", "Duration", "All observations reported?", "Effort Distance Miles"),
    *("Effort area acres", "Submission Comments"),
)
"""Columns of "eBird Record Format (Extended)", eBird Help Center, "Upload spreadsheet data to eBird"."""


class EbirdWriter(TableWriter):
    """``ebird_checklists.csv``: eBird's record format (extended), which its importer takes.

    A recording is a checklist, a stationary count of its length that does not report all species. A species
    is present (``X``) in it once; the comment has how often it was detected, how surely, and who has
    confirmed it. Where people have listened, only what they have confirmed is written. Recordings of unknown
    time or site are left out, as eBird takes none. As the importer
    wants it, the table has no header: :data:`RECORD_FORMAT` has the columns.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> began = datetime(2024, 5, 4, 22)
    >>> label = "Strix aluco_Tawny Owl"
    >>> with open_writers(["ebird"], Path("tables"), labels=[label], high_hz=16_000) as writers:
    ...     detections = detections.assign(label=label)
    ...     writers.add(RecordingDetections("pond/night.wav", Path("night.wav"), 60.0, began, detections))
    >>> Path("tables/ebird_checklists.csv").read_text().split(",")[:6]
    ['Tawny Owl', 'Strix', 'aluco', 'X', '1 detection of at most 0.9000', 'pond']
    """

    goal = "ebird_checklists.csv"
    states_length = taxa_only = needs_site = needs_verdicts = True
    columns = RECORD_FORMAT
    has_header = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._left_out: list[str] = []
        with super().writing():
            yield
        if self._left_out:
            logger.warning(
                f"eBird has no place for {counted(len(self._left_out), 'recording')} with detections, whose "
                f"time or site is not known: {first_few(self._left_out)}; give their names' pattern with "
                "--recorder-name, or a table of --sites"
            )

    def rows(self, recording: RecordingDetections) -> Iterator[Sequence[object]]:
        found = [
            row for row in recording.occurrences() if not self.settings.has_verdicts or row.verdict == "yes"
        ]
        if recording.start is None or not site_of(recording):
            if found:
                self._left_out.append(recording.filename)
            return
        minutes = max(1, math.ceil(recording.duration_s / 60))
        _, latitude, longitude = recording.recorder
        for label in dict.fromkeys(row.label for row in found):
            rows = [row for row in found if row.label == label]
            scores = [row.probability for row in rows if not math.isnan(row.probability)]
            surest = f" of at most {probability_text(max(scores))}" if scores else ""
            reviewers = ", ".join(dict.fromkeys(name for row in rows for name in row.reviewers))
            detections = "1 detection" if len(rows) == 1 else f"{len(rows)} detections"
            names = self.settings.names(label)
            genus, _, species = names.scientific.replace("_", " ").partition(" ")
            yield [
                *(names.common, genus, species, "X"),
                f"{detections}{surest}" + (f"; confirmed by {reviewers}" if reviewers else ""),
                *(site_of(recording), latitude, longitude),
                *(f"{recording.start:%m/%d/%Y}", f"{recording.start:%H:%M}", "", ""),
                *("Stationary", 1, minutes, "N", "", ""),
                f"Recording {recording.filename}, classified by {self.settings.model.name or 'a network'}",
            ]
