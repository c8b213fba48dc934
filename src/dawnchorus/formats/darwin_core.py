"""Darwin Core archives: recordings as sampling events, and what was detected in them as occurrences."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from dawnchorus.files import legible, replacing
from dawnchorus.formats.detection_writer import DetectionWriter, open_text, probability_text
from dawnchorus.formats.recording import Detection, RecordingDetections
from dawnchorus.formats.survey_days import interval, site_of

_DWC, _TEXT = "http://rs.tdwg.org/dwc/terms/", "http://rs.tdwg.org/dwc/text/"
EVENT_TERMS = (
    *("eventID", "eventType", "samplingProtocol", "sampleSizeValue", "sampleSizeUnit", "samplingEffort"),
    *("eventDate", "locationID", "decimalLatitude", "decimalLongitude", "geodeticDatum", "eventRemarks"),
)
OCCURRENCE_TERMS = (
    *("eventID", "occurrenceID", "basisOfRecord", "occurrenceStatus", "eventDate", "scientificName"),
    *("vernacularName", "taxonID", "taxonConceptID", "verbatimIdentification", "identifiedBy"),
    *("identificationVerificationStatus", "identificationRemarks"),
)
"""Terms of Darwin Core (dwc.tdwg.org/terms); the first of both is the key that joins them."""

_STATUS = {"": "unverified", "yes": "verified", "unsure": "uncertain", "conflict": "disputed"}


class DarwinCoreWriter(DetectionWriter):
    """``darwin_core/``: an archive with ``event.csv``, ``occurrence.csv`` and ``meta.xml``, as GBIF takes it.

    A recording is a sampling event, also one in which nothing was detected, with its length as the size of
    the sample. A detection is an occurrence by ``MachineObservation``, with the probability in
    ``identificationRemarks``, and who has confirmed it. What reviewers refused is left out. Codes of eBird
    and keys of GBIF stand in ``taxonConceptID`` and ``taxonID`` where the names' table has them.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> began = datetime(2024, 5, 4, 22)
    >>> with open_writers(["darwin_core"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("pond/1.wav", Path("1.wav"), 60.0, began, detections))
    >>> table = pd.read_csv("tables/darwin_core/occurrence.csv")
    >>> table[["eventID", "eventDate", "scientificName"]].values.tolist()
    [['pond/1.wav', '2024-05-04T22:00:07/2024-05-04T22:00:10', 'owl']]
    """

    goal = "darwin_core"
    states_length = taxa_only = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        with replacing(self.path) as folder:
            folder.mkdir()
            with (
                open_text(folder / "event.csv") as events,
                open_text(folder / "occurrence.csv") as occurrences,
            ):
                self._events = csv.writer(events, lineterminator="\n")
                self._occurrences = csv.writer(occurrences, lineterminator="\n")
                self._events.writerow(EVENT_TERMS)
                self._occurrences.writerow(OCCURRENCE_TERMS)
                yield
            _write_meta(folder / "meta.xml")

    def add(self, recording: RecordingDetections) -> None:
        name, start = legible(recording.filename), recording.start
        device, latitude, longitude = recording.recorder
        is_placed = latitude is not None and longitude is not None
        duration = f"{recording.duration_s:g}"
        row = (
            *(name, "Survey", "passive acoustic monitoring", duration, "second", f"{duration} s of sound"),
            "" if start is None else interval(start, 0.0, recording.duration_s),
            *(legible(site_of(recording)), latitude, longitude, "EPSG:4326" if is_placed else ""),
            f"recorded by {device}" if device else "",
        )
        self._events.writerow(self.cells(row))
        for number, occurrence in enumerate(recording.occurrences(), start=1):
            self._occurrences.writerow(self.cells(self._occurrence(recording, name, number, occurrence)))

    def _occurrence(
        self, recording: RecordingDetections, name: str, number: int, row: Detection
    ) -> tuple[object, ...]:
        names = self.settings.names(row.label)
        gbif, code = (self.settings.code(row.label, key) for key in ("gbif_key", "species_code"))
        when = recording.start and interval(recording.start, row.start_s, row.end_s)
        identified_by = row.reviewers if row.verdict == "yes" else (self.settings.model.name,)
        return (
            *(name, f"{name}#{number}", "MachineObservation", "present", when or "", names.scientific),
            names.common if names.common != names.scientific else "",
            f"gbif:{gbif}" if gbif else "",
            f"ebird:{code}" if code else "",
            row.label,
            " | ".join(filter(None, identified_by)),
            _STATUS.get(row.verdict, ""),
            _remarks(row),
        )


def _remarks(row: Detection) -> str:
    probability = probability_text(row.probability)
    return f"{row.start_s:g} to {row.end_s:g} s{f'; probability {probability}' if probability else ''}"


def _write_meta(path: Path) -> None:
    """Write the description of both tables, as the Darwin Core text guide defines it."""
    archive = ElementTree.Element("archive", {"xmlns": _TEXT})
    tables: list[tuple[str, str, str, tuple[str, ...], str]] = [
        ("core", "Event", "event.csv", EVENT_TERMS, "id"),
        ("extension", "Occurrence", "occurrence.csv", OCCURRENCE_TERMS, "coreid"),
    ]
    for kind, row_type, file, terms, key in tables:
        table = ElementTree.SubElement(
            archive,
            kind,
            {
                "encoding": "UTF-8",
                "fieldsTerminatedBy": ",",
                "linesTerminatedBy": "\\n",
                "fieldsEnclosedBy": '"',
                "ignoreHeaderLines": "1",
                "rowType": f"{_DWC}{row_type}",
            },
        )
        ElementTree.SubElement(ElementTree.SubElement(table, "files"), "location").text = file
        ElementTree.SubElement(table, key, {"index": "0"})
        for index, term in enumerate(terms):
            ElementTree.SubElement(table, "field", {"index": str(index), "term": f"{_DWC}{term}"})
    ElementTree.indent(archive)
    ElementTree.ElementTree(archive).write(path, encoding="utf-8", xml_declaration=True)
