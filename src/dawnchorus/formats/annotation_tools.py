"""Files of annotation tools in Python: soundevent, which whombat reads, and crowsetta."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any
from uuid import NAMESPACE_URL, uuid5

from dawnchorus.audio.container import AudioInfo, read_info
from dawnchorus.errors import AudioError
from dawnchorus.files import legible, replacing, temporary_folder
from dawnchorus.formats.detection_writer import PROBABILITY_DECIMALS, DetectionWriter, open_text
from dawnchorus.formats.recording import Detection, RecordingDetections

AOEF_VERSION = "1.1.0"
_PARTS = ("recordings", "sound_events", "clips", "sound_event_predictions", "clip_predictions")
_CREATED = "1970-01-01T00:00:00"  # so that the same detections give the same bytes
_NAMESPACE = uuid5(NAMESPACE_URL, "dawnchorus")


class SoundeventWriter(DetectionWriter):
    """``soundevent.json``: a set of predictions in AOEF 1.1, the format of soundevent and whombat.

    A recording is a clip of its length, and a detection a sound event in it, with the species as a tag
    (``dwc:scientificName``) and the probability as its score. Where people have listened, ``verdict`` and
    ``heard`` are tags too. Sample rate and channels are those of the sound file; where it is not at hand, the
    model's rate and one channel. Identifiers are made of names and times, so that the same detections have
    the same ones again.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["soundevent"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, None, detections))
    >>> json.loads(Path("tables/soundevent.json").read_text())["data"]["sound_events"][0]["geometry"]
    {'type': 'TimeInterval', 'coordinates': [7.5, 10.0]}
    """

    goal = "soundevent.json"
    states_length = True

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._tags: dict[tuple[str, str], int] = {}
        with replacing(self.path) as temporary, temporary_folder(self.path.parent) as aside:
            with ExitStack() as stack:
                self._parts = {name: stack.enter_context(open_text(aside / name)) for name in _PARTS}
                yield
            with open_text(temporary) as whole:
                self._join(aside, whole)

    def add(self, recording: RecordingDetections) -> None:
        name = legible(recording.filename)
        identifier, clip = _identifier("recording", name), _identifier("clip", name)
        self._write("recordings", uuid=identifier, path=name, **self._facts_of(recording))
        self._write("clips", uuid=clip, recording=identifier, start_time=0.0, end_time=recording.duration_s)
        predicted = []
        for row in recording.rows():
            key = f"{name} {row.start_s} {row.end_s} {row.label} {row.channel}"
            event, prediction = _identifier("event", key), _identifier("prediction", key)
            geometry = {"type": "TimeInterval", "coordinates": [row.start_s, row.end_s]}
            self._write("sound_events", uuid=event, recording=identifier, geometry=geometry)
            score = 1.0 if math.isnan(row.probability) else round(row.probability, PROBABILITY_DECIMALS)
            tags = self._tags_of(row, score)
            self._write("sound_event_predictions", uuid=prediction, sound_event=event, score=score, tags=tags)
            predicted.append(prediction)
        whole = _identifier("clip prediction", name)
        self._write("clip_predictions", uuid=whole, clip=clip, sound_events=predicted, tags=[], features={})

    def _write(self, part: str, **item: Any) -> None:
        """Write an item of a part of the file, whose items go aside until all are known."""
        file = self._parts[part]
        file.write(f"{',' if file.tell() else ''}{_json(item)}")

    def _join(self, aside: Path, whole: IO[str]) -> None:
        """Write the file, of which no more than a piece is in memory."""
        tags = [{"id": number, "key": key, "value": value} for (key, value), number in self._tags.items()]
        data = {
            "uuid": _identifier("set", self.settings.model.name),
            "name": self.settings.model.name or "detections",
            "created_on": _CREATED,
            "collection_type": "prediction_set",
            "tags": tags,
        }
        head = _json({"version": AOEF_VERSION, "created_on": _CREATED, "data": data})
        whole.write(head.removesuffix("}}"))
        for part in _PARTS:
            whole.write(f",{_json(part)}:[")
            with (aside / part).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                shutil.copyfileobj(file, whole)
            whole.write("]")
        whole.write("}}")

    def _facts_of(self, recording: RecordingDetections) -> dict[str, Any]:
        try:
            info: AudioInfo | None = read_info(recording.path)
        except AudioError:
            info = None
        start, (_, latitude, longitude) = recording.start, recording.recorder
        facts: dict[str, Any] = {
            "duration": recording.duration_s,
            "channels": 1 if info is None else info.n_channels,
            "samplerate": round(2 * self.settings.high_hz) if info is None else info.sample_rate,
            "owners": [],
        }
        if start is not None:
            facts |= {"date": start.date().isoformat(), "time": start.time().isoformat()}
        if latitude is not None and longitude is not None:
            facts |= {"latitude": latitude, "longitude": longitude}
        return facts

    def _tags_of(self, row: Detection, score: float) -> list[tuple[int, float]]:
        """Return the tags of a detection, by their numbers, each with its score."""
        wanted = [("dwc:scientificName", self.settings.names(row.label).scientific, score)]
        wanted += [("verdict", row.verdict, 1.0)] if row.verdict else []
        wanted += [("heard", self.settings.names(label).scientific, 1.0) for label in row.heard]
        return [(self._tags.setdefault((key, value), len(self._tags)), sure) for key, value, sure in wanted]


class CrowsettaWriter(DetectionWriter):
    """``crowsetta.csv``: all detections in crowsetta's format ``generic-seq``, an annotation a recording.

    Its segments are in seconds. Where people have listened, what they refused is left out, and what they
    heard beside or instead is a segment.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from dawnchorus.formats import RecordingDetections, open_writers
    >>> detections = pd.DataFrame({"start_s": [7.5], "end_s": [10.0], "label": ["owl"], "probability": [0.9]})
    >>> with open_writers(["crowsetta"], Path("tables"), labels=["owl"], high_hz=16_000) as writers:
    ...     writers.add(RecordingDetections("night.wav", Path("night.wav"), 12.0, None, detections))
    >>> Path("tables/crowsetta.csv").read_text().splitlines()[1]
    'owl,7.5,10.0,night.wav,crowsetta.csv,0,0'
    """

    goal = "crowsetta.csv"
    columns = ("label", "onset_s", "offset_s", "notated_path", "annot_path", "sequence", "annotation")

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._numbers = count()
        with replacing(self.path) as temporary, open_text(temporary) as file:
            self._writer = csv.writer(file, lineterminator="\n")
            self._writer.writerow(self.columns)
            yield

    def add(self, recording: RecordingDetections) -> None:
        rows = list(recording.occurrences())
        if not rows:
            return
        number = next(self._numbers)
        for row in rows:
            cells = (row.label, row.start_s, row.end_s, str(recording.path), self.goal, 0, number)
            self._writer.writerow(self.cells(cells))


def _identifier(kind: str, key: str) -> str:
    return str(uuid5(_NAMESPACE, f"{kind} {key}"))


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
