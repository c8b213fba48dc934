"""Camtrap DP 1.0.1, the Frictionless data package for camera traps, with recorders as its cameras."""

from __future__ import annotations

import csv
import json
import mimetypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

from dawnchorus.audio.recorder_times import time_at
from dawnchorus.files import legible, replacing, write_text
from dawnchorus.formats.detection_writer import DetectionWriter, open_text, probability_cell
from dawnchorus.formats.recording import Detection, RecordingDetections
from dawnchorus.formats.survey_days import LeftOut, lacking, site_of

STANDARD = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.1/"
"""Where profile and schemas of the version lie; nothing is fetched from there."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"


class Column(NamedTuple):
    """A column of a table, as the standard defines it.

    Attributes
    ----------
    name, kind
        Its name, and its type in Table Schema.
    constraints
        Those of Table Schema: ``required``, ``unique``, ``minimum``, ``maximum``, ``enum``, ``pattern``.

    Examples
    --------
    >>> Column("deploymentID", "string", {"required": True}).kind
    'string'
    """

    name: str
    kind: str = "string"
    constraints: dict[str, Any] = {}  # noqa: RUF012  a NamedTuple's default, which nobody changes


_KEY, _NEEDED, _NOT_NEGATIVE = {"required": True, "unique": True}, {"required": True}, {"minimum": 0}
_FRACTION = {"minimum": 0, "maximum": 1}
TABLES: dict[str, tuple[Column, ...]] = {
    "deployments": (
        Column("deploymentID", "string", _KEY),
        Column("locationID"),
        Column("locationName"),
        Column("latitude", "number", {"required": True, "minimum": -90, "maximum": 90}),
        Column("longitude", "number", {"required": True, "minimum": -180, "maximum": 180}),
        Column("coordinateUncertainty", "integer", {"minimum": 1}),
        Column("deploymentStart", "datetime", _NEEDED),
        Column("deploymentEnd", "datetime", _NEEDED),
        Column("setupBy"),
        Column("cameraID"),
        Column("cameraModel"),
        Column("cameraDelay", "integer", _NOT_NEGATIVE),
        Column("cameraHeight", "number", _NOT_NEGATIVE),
        Column("cameraDepth", "number", _NOT_NEGATIVE),
        Column("cameraTilt", "integer", {"minimum": -90, "maximum": 90}),
        Column("cameraHeading", "integer", {"minimum": 0, "maximum": 360}),
        Column("detectionDistance", "number", _NOT_NEGATIVE),
        Column("timestampIssues", "boolean"),
        Column("baitUse", "boolean"),
        Column("featureType"),
        Column("habitat"),
        Column("deploymentGroups"),
        Column("deploymentTags"),
        Column("deploymentComments"),
    ),
    "media": (
        Column("mediaID", "string", _KEY),
        Column("deploymentID", "string", _NEEDED),
        Column("captureMethod", "string", {"enum": ["activityDetection", "timeLapse"]}),
        Column("timestamp", "datetime", _NEEDED),
        Column("filePath", "string", {"required": True, "pattern": r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"}),
        Column("filePublic", "boolean", _NEEDED),
        Column("fileName"),
        Column("fileMediatype", "string", {"required": True, "pattern": "^(image|video|audio)/.*$"}),
        Column("exifData", "any"),
        Column("favorite", "boolean"),
        Column("mediaComments"),
    ),
    "observations": (
        Column("observationID", "string", _KEY),
        Column("deploymentID", "string", _NEEDED),
        Column("mediaID"),
        Column("eventID"),
        Column("eventStart", "datetime", _NEEDED),
        Column("eventEnd", "datetime", _NEEDED),
        Column("observationLevel", "string", {"required": True, "enum": ["media", "event"]}),
        Column(
            "observationType",
            "string",
            {
                "required": True,
                "enum": ["animal", "human", "vehicle", "blank", "unknown", "unclassified"],
            },
        ),
        Column("cameraSetupType", "string", {"enum": ["setup", "calibration"]}),
        Column("scientificName"),
        Column("count", "integer", {"minimum": 1}),
        Column("lifeStage", "string", {"enum": ["adult", "subadult", "juvenile"]}),
        Column("sex", "string", {"enum": ["female", "male"]}),
        Column("behavior"),
        Column("individualID"),
        Column("individualPositionRadius", "number", _NOT_NEGATIVE),
        Column("individualPositionAngle", "number", {"minimum": -90, "maximum": 90}),
        Column("individualSpeed", "number", _NOT_NEGATIVE),
        Column("bboxX", "number", _FRACTION),
        Column("bboxY", "number", _FRACTION),
        Column("bboxWidth", "number", _FRACTION),
        Column("bboxHeight", "number", _FRACTION),
        Column("classificationMethod", "string", {"enum": ["human", "machine"]}),
        Column("classifiedBy"),
        Column("classificationTimestamp", "datetime"),
        Column("classificationProbability", "number", _FRACTION),
        Column("observationTags"),
        Column("observationComments"),
    ),
}
"""All columns of each table of Camtrap DP 1.0.1, in its order (camtrap-dp.tdwg.org/data).

Validators want them all, also those that nothing is known for and that stay empty.
"""

_MISSING = ["", "NA", "NaN", "nan"]


@dataclass
class _Deployment:
    """A recorder at a place, and when it recorded first and last."""

    identifier: str
    site: str
    latitude: float
    longitude: float
    device: str
    start: datetime
    end: datetime


class CamtrapDpWriter(DetectionWriter):
    """``camtrap_dp/``: a data package of deployments, media and observations, as Camtrap DP 1.0.1 has them.

    A deployment is a recorder at a place, a medium a recording, and an observation a detection, with the
    probability, the model and, where people have listened, who has confirmed it; what they refused is left
    out. A recording without any is ``blank``. The standard has only recordings whose time, offset from UTC
    and coordinates are known; ``left_out.csv`` lists the others. Contributors, licences and the design of the
    sampling are for you to fill into ``datapackage.json``, which ``created`` dates to the day.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.audio.recorder_times import Recorder
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> began, placed = datetime(2024, 5, 4, 22, tzinfo=UTC), Recorder(None, 52.1, 5.2)
    >>> with open_writers(["camtrap_dp"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     night = RecordingDetections("pond/1.wav", Path("1.wav"), 60.0, began, detections, placed)
    ...     writers.add(night)
    >>> table = pd.read_csv("tables/camtrap_dp/observations.csv")
    >>> table[["eventStart", "scientificName", "classificationMethod"]].values.tolist()
    [['2024-05-04T22:00:07+00:00', 'owl', 'machine']]
    """

    goal = "camtrap_dp"
    states_length = taxa_only = needs_offset = needs_place = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._deployments: dict[tuple[str, str, float, float], _Deployment] = {}
        self._species: dict[str, str] = {}
        self._n_observations = 0
        with replacing(self.path) as folder:
            folder.mkdir()
            with ExitStack() as stack:
                self._left_out = stack.enter_context(LeftOut(folder, "Camtrap DP"))
                self._tables = {}
                for name, columns in TABLES.items():
                    file = stack.enter_context(open_text(folder / f"{name}.csv"))
                    names = [column.name for column in columns]
                    self._tables[name] = csv.DictWriter(file, names, lineterminator="\n")
                    self._tables[name].writeheader()
                yield
                for deployment in self._deployments.values():
                    self._write_deployment(deployment)
            write_text(
                folder / "datapackage.json", json.dumps(self._package(), indent=2, ensure_ascii=False) + "\n"
            )

    def add(self, recording: RecordingDetections) -> None:
        reason = lacking(recording, offset=self.needs_offset, place=self.needs_place)
        if reason is None and (recording.filename[:1] in "./~" or ".." in recording.filename):
            reason = "its name begins with one of . / ~, or has two dots in it"
        if reason is not None or recording.start is None:
            self._left_out.add(recording.filename, reason or "")
            return
        deployment = self._deployment_of(recording, recording.start)
        name = legible(recording.filename)
        self._write(
            "media",
            mediaID=name,
            deploymentID=deployment.identifier,
            captureMethod="timeLapse",
            timestamp=_moment(recording.start),
            filePath=name,
            filePublic="false",
            fileName=name.rpartition("/")[2],
            fileMediatype=mimetypes.guess_type(recording.filename)[0] or "audio/x-unknown",
        )
        found = list(recording.occurrences())
        for row in found:
            self._write_observation(recording, deployment, row)
        if not found:
            self._write_observation(recording, deployment, None)

    def _write(self, table: str, **cells: object) -> None:
        """Write a row of a table; columns that are not given stay empty."""
        self._tables[table].writerow(dict(zip(cells, self.cells(cells.values()), strict=True)))

    def _deployment_of(self, recording: RecordingDetections, start: datetime) -> _Deployment:
        site, (device, latitude, longitude) = site_of(recording), recording.recorder
        assert latitude is not None
        assert longitude is not None
        end = time_at(start, recording.duration_s)
        key = (site, device or "", latitude, longitude)
        if key not in self._deployments:
            n_there = sum(each.site == site for each in self._deployments.values())
            identifier = legible(site if n_there == 0 else f"{site}-{n_there + 1}")
            self._deployments[key] = _Deployment(
                identifier, site, latitude, longitude, device or "", start, end
            )
        deployment = self._deployments[key]
        deployment.start, deployment.end = min(deployment.start, start), max(deployment.end, end)
        return deployment

    def _write_deployment(self, deployment: _Deployment) -> None:
        site = legible(deployment.site)
        self._write(
            "deployments",
            deploymentID=deployment.identifier,
            locationID=site,
            locationName=site,
            latitude=deployment.latitude,
            longitude=deployment.longitude,
            deploymentStart=_moment(deployment.start),
            deploymentEnd=_moment(deployment.end),
            cameraID=deployment.device,
            deploymentComments="autonomous sound recorder",
        )

    def _write_observation(
        self, recording: RecordingDetections, deployment: _Deployment, row: Detection | None
    ) -> None:
        """Write a detection, or that there is none."""
        assert recording.start is not None
        self._n_observations += 1
        begin_s, end_s = (0.0, recording.duration_s) if row is None else (row.start_s, row.end_s)
        by_person = row is not None and row.verdict == "yes"
        model = self.settings.model.name
        names = None if row is None else self.settings.names(row.label)
        if row is not None and names is not None:
            self._species.setdefault(names.scientific, row.label)
        start, end = (_moment(time_at(recording.start, second)) for second in (begin_s, end_s))
        self._write(
            "observations",
            observationID=f"{self._n_observations:08}",
            deploymentID=deployment.identifier,
            mediaID=legible(recording.filename),
            eventStart=start,
            eventEnd=end,
            observationLevel="media",
            observationType="blank" if row is None else "animal",
            scientificName="" if names is None else names.scientific,
            classificationMethod="human" if by_person else "machine",
            classifiedBy=" | ".join(row.reviewers) if row is not None and by_person else model,
            classificationProbability="" if row is None or by_person else probability_cell(row.probability),
            observationTags="" if row is None else f"label:{row.label}",
            observationComments=_comment(row),
        )

    def _package(self) -> dict[str, Any]:
        deployments = list(self._deployments.values())
        starts = [each.start for each in deployments]
        ends = [each.end for each in deployments]
        points = [[each.longitude, each.latitude] for each in deployments]
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return {
            "profile": f"{STANDARD}camtrap-dp-profile.json",
            "name": "detections",
            "created": today.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "version": "1.0",
            "contributors": [{"title": "fill in", "role": "contact"}],
            "sources": [{"title": "dawnchorus", "version": version("dawnchorus")}],
            "project": {
                "title": self.settings.model.name or "fill in",
                "samplingDesign": "opportunistic",
                "captureMethod": ["timeLapse"],
                "individualAnimals": False,
                "observationLevel": ["media"],
            },
            "spatial": {"type": "MultiPoint", "coordinates": points},
            "temporal": {
                "start": min(starts).date().isoformat() if starts else today.date().isoformat(),
                "end": max(ends).date().isoformat() if ends else today.date().isoformat(),
            },
            "taxonomic": [self._taxon(name, label) for name, label in sorted(self._species.items())],
            "resources": [
                {
                    "name": name,
                    "path": f"{name}.csv",
                    "profile": "tabular-data-resource",
                    "format": "csv",
                    "mediatype": "text/csv",
                    "encoding": "utf-8",
                    "schema": f"{STANDARD}{name}-table-schema.json",
                }
                for name in TABLES
            ],
        }

    def _taxon(self, scientific: str, label: str) -> dict[str, Any]:
        key, common = self.settings.code(label, "gbif_key"), self.settings.common_name(label)
        taxon: dict[str, Any] = {"scientificName": scientific}
        if key:
            taxon["taxonID"] = f"https://www.gbif.org/species/{key}"
        if common != scientific:
            taxon["vernacularNames"] = {"eng": common}
        return taxon


def table_schema(name: str) -> dict[str, Any]:
    """Return the Table Schema of a table, for validators that cannot fetch the standard's.

    Examples
    --------
    >>> [field["name"] for field in table_schema("media")["fields"]][:2]
    ['mediaID', 'deploymentID']
    """
    fields = [
        {
            "name": column.name,
            "type": column.kind,
            **({"format": TIME_FORMAT} if column.kind == "datetime" else {}),
            "constraints": column.constraints,
        }
        for column in TABLES[name]
    ]
    to = {"deployments": [], "media": ["deployments"], "observations": ["deployments", "media"]}[name]
    keys = {"deployments": "deploymentID", "media": "mediaID"}
    foreign = [{"fields": keys[each], "reference": {"resource": each, "fields": keys[each]}} for each in to]
    return {
        "fields": fields,
        "missingValues": _MISSING,
        "primaryKey": TABLES[name][0].name,
        "foreignKeys": foreign,
    }


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _comment(row: Detection | None) -> str:
    if row is None or not row.verdict:
        return ""
    return f"verdict of reviewers: {row.verdict}"
