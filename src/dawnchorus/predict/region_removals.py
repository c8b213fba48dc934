"""Detections that a region takes away, each with its reason."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dawnchorus.files import replacing
from dawnchorus.formats.detection_writer import PROBABILITY_DECIMALS, open_text
from dawnchorus.formats.sites import Place
from dawnchorus.predict.detections import DetectionSettings, detect
from dawnchorus.predict.region import Region
from dawnchorus.predict.window_predictions import WindowPredictions

REMOVAL_COLUMNS = (
    *("filename", "start_s", "end_s", "label", "probability", "scaled", "name_there", "frequency", "reason"),
)


class JudgedRecording(NamedTuple):
    """The windows of a recording before a region is applied, and when and where they are from.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([5]), np.float32([[0.9]]), 1)
    >>> JudgedRecording("night.wav", windows, None, None).filename
    'night.wav'
    """

    filename: str
    windows: WindowPredictions
    start: datetime | None
    place: Place | None


def applied(region: Region, recording: JudgedRecording) -> WindowPredictions:
    """Return the windows of a recording with the scores that a region leaves.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.predict.region import Region
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> _ = Path("birds.txt").write_text("wren\\n")
    >>> windows = WindowPredictions(np.array([0]), np.array([5]), np.float32([[0.9, 0.8]]), 1)
    >>> region = Region.of([Path("birds.txt")], ["owl", "wren"])
    >>> applied(region, JudgedRecording("night.wav", windows, None, None)).probabilities
    array([[0. , 0.8]], dtype=float32)
    """
    day = None if recording.start is None else recording.start.date()
    windows = recording.windows
    return windows._replace(probabilities=region.scaled(windows.probabilities, day, recording.place))


def removals(region: Region, recording: JudgedRecording, settings: DetectionSettings) -> pd.DataFrame:
    """Return what would be detected in a recording without a region, and is not with it.

    Parameters
    ----------
    region, recording
        The region, and the windows before it is applied.
    settings
        What counts as a detection; ``top_k`` is left out, as a class does not fail for the region by it.

    Returns
    -------
    pandas.DataFrame
        ``filename``, ``start_s``, ``end_s``, ``label``, ``probability`` without the region, ``scaled`` with
        it, ``name_there`` of the class on the checklist, its ``frequency`` there, and the ``reason``.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> from dawnchorus.predict.region import Region
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> _ = Path("birds.txt").write_text("wren\\n")
    >>> windows = WindowPredictions(np.array([0]), np.array([5]), np.float32([[0.9, 0.8]]), 1)
    >>> region = Region.of([Path("birds.txt")], ["owl", "wren"])
    >>> settings = DetectionSettings(np.float32([0.5, 0.5]))
    >>> found = removals(region, JudgedRecording("night.wav", windows, None, None), settings)
    >>> found[["label", "probability", "reason"]].values.tolist()
    [['owl', 0.8999999761581421, 'no name of it is in birds.txt']]
    """
    day = None if recording.start is None else recording.start.date()
    before = recording.windows
    after = applied(region, recording).probabilities
    thresholds = np.asarray(settings.thresholds)
    is_removed = (before.probabilities >= thresholds) & ~(after >= thresholds)
    masked = before._replace(probabilities=np.where(is_removed, before.probabilities, np.float32(-1)))
    found = detect(masked, region.labels, replace(settings, top_k=None))
    told = {label: region.why(label, day, recording.place) for label in found["label"].unique()}
    factors = dict(zip(region.labels, region.factors(day, recording.place).tolist(), strict=True))
    found.insert(0, "filename", recording.filename)
    found["scaled"] = found["probability"] * found["label"].map(factors).astype(float)
    for column, attribute in (("name_there", "name"), ("frequency", "frequency"), ("reason", "reason")):
        found[column] = found["label"].map({label: getattr(each, attribute) for label, each in told.items()})
    return found[list(REMOVAL_COLUMNS)]


def write_removals(
    path: Path, region: Region, recordings: Iterable[JudgedRecording], settings: DetectionSettings
) -> int:
    """Write a CSV table of all removals, and return their number; an earlier one is replaced.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> from dawnchorus.predict.region import Region
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> _ = Path("birds.txt").write_text("wren\\n")
    >>> windows = WindowPredictions(np.array([0]), np.array([5]), np.float32([[0.9, 0.8]]), 1)
    >>> region = Region.of([Path("birds.txt")], ["owl", "wren"])
    >>> settings = DetectionSettings(np.float32([0.5, 0.5]))
    >>> write_removals(
    ...     Path("removed.csv"), region, [JudgedRecording("night.wav", windows, None, None)], settings
    ... )
    1
    """
    n_removed = 0
    with replacing(path) as temporary, open_text(temporary) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(REMOVAL_COLUMNS)
        for recording in recordings:
            found = removals(region, recording, settings)
            found[["probability", "scaled"]] = found[["probability", "scaled"]].round(PROBABILITY_DECIMALS)
            writer.writerows(found.itertuples(index=False, name=None))
            n_removed += len(found)
    return n_removed
