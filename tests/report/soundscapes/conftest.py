"""Folders as ``dawnchorus predict`` leaves them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.audio.recorder_times import Recorder
from dawnchorus.formats import RecordingDetections, open_writers
from dawnchorus.formats.detection_writer import ModelFacts

COLUMNS = ["start_s", "end_s", "label", "probability"]


class PredictedFolder:
    """Writes tables of detections below ``path``, a recording at a time, with the writers of predict."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recordings: list[RecordingDetections] = []

    def add(
        self,
        name: str,
        start: str | None,
        rows: Sequence[tuple[float, float, str, float]],
        *,
        duration_s: float = 3600.0,
        place: tuple[float, float] | None = None,
    ) -> None:
        began = None if start is None else datetime.fromisoformat(start)
        recorder = Recorder(None, *(place or (None, None)))
        detections = pd.DataFrame(list(rows), columns=COLUMNS)
        self.recordings.append(
            RecordingDetections(name, Path("/card") / name, duration_s, began, detections, recorder)
        )

    def write(self, *formats: str, made: dict[str, Any] | None = None) -> Path:
        labels = sorted({label for each in self.recordings for label in each.detections["label"]})
        facts = ModelFacts("tiny", {}, dict.fromkeys(labels, 0.5))
        with open_writers(
            formats or ("csv", "effort"), self.path, labels=labels, high_hz=8000, model=facts
        ) as writers:
            for recording in self.recordings:
                writers.add(recording)
        if made is not None:
            (self.path / "predictions.json").write_text(json.dumps({"made": made, "goals": {}}))
        return self.path


@pytest.fixture
def predicted(tmp_path: Path) -> PredictedFolder:
    """An empty folder of predictions."""
    return PredictedFolder(tmp_path / "tables")


@pytest.fixture
def season(predicted: PredictedFolder) -> PredictedFolder:
    """Two sites on 20 days with a gap, some 2000 detections of 7 species, and silent recordings."""
    rng = np.random.default_rng(0)
    for site in ("pond", "wood"):
        for day in range(1, 21):
            if site == "wood" and 8 <= day <= 12:
                continue
            for hour in (0, 4, 5, 21, 23):
                n = 0 if hour == 21 else int(rng.poisson(10))
                starts = np.sort(rng.choice(718, n, replace=False)) * 5.0
                species = rng.choice(7, n, p=np.array([8, 4, 2, 1, 0.5, 0.3, 0.2]) / 16)
                rows = [
                    (start, start + 5, f"species_{which}", round(float(p), 4))
                    for start, which, p in zip(starts.tolist(), species, rng.uniform(0.5, 1, n), strict=True)
                ]
                time = f"2024-05-{day:02}T{hour:02}:20:00+02:00"
                predicted.add(f"{site}/{day:02}_{hour:02}.wav", time, rows, place=(51.5, -0.1))
    return predicted
