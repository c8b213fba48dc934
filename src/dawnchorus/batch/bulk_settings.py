"""Settings of a bulk prediction, and those of them that its tables depend on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.batch.journaled import JournalSettings
from dawnchorus.batch.predicted_with import PLAUSIBLE
from dawnchorus.config.import_paths import import_path
from dawnchorus.formats import Format
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.region import Region

DEFAULT_FORMATS = ("csv", "effort", "raven")


@dataclass(frozen=True)
class BulkSettings:
    """Settings of a bulk prediction.

    Attributes
    ----------
    detection
        What counts as a detection.
    overlap_s
        Seconds that a window shares with the next one.
    postprocess
        Postprocessing of probabilities before detection.
    formats
        As for :func:`dawnchorus.formats.formats_of`: names, import paths, classes.
    with_windows, with_embeddings
        Whether to write the probabilities and the embedding of every window.
    n_workers
        Threads that make spectrograms; None chooses.
    times
        Sources of times where neither metadata nor known forms of names hold them.
    journal
        Whether the journal stays when all is done. None keeps it for all jobs but a single recording of at
        most :data:`SHORT_S`; one that is there already stays then too.
    escape_formulas
        As for :func:`dawnchorus.formats.open_writers`.
    channel
        Channel of the recordings; None takes the one that the model was trained with.
    salvage
        Whether damaged recordings are read as far as they go.
    region
        Which species are plausible where and when; it scales scores before detection, and leaves the tables
        of windows as they are.
    removed
        Table of the detections that the region takes away.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> settings = BulkSettings(DetectionSettings(np.float32([0.5, 0.5])), formats=("csv", "raven"))
    >>> settings.formats, settings.overlap_s
    (('csv', 'raven'), 0.0)
    """

    detection: DetectionSettings
    overlap_s: float = 0.0
    postprocess: PostprocessSettings = field(default_factory=PostprocessSettings)
    formats: tuple[Format, ...] = DEFAULT_FORMATS
    with_windows: bool = True
    with_embeddings: bool = False
    n_workers: int | None = None
    times: RecorderTimes = field(default_factory=RecorderTimes)
    journal: bool | None = None
    escape_formulas: bool = False
    channel: Channel | None = None
    salvage: bool = False
    region: Region | None = None
    removed: Path | None = None

    @property
    def journaled(self) -> JournalSettings:
        """Those of them that the journal depends on."""
        return JournalSettings(
            self.postprocess,
            self.overlap_s,
            self.with_embeddings,
            self.n_workers,
            self.channel,
            self.salvage,
        )


def table_settings(settings: BulkSettings) -> dict[str, Any]:
    """Return what the tables depend on beside the journal, in JSON's types.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.detections import DetectionSettings
    >>> table_settings(BulkSettings(DetectionSettings(np.float32([0.5, 0.5]), top_k=2)))["top-k"]
    2
    """
    detection, given = settings.detection, settings.times.name
    thresholds = [float(value) for value in np.asarray(detection.thresholds)]
    return {
        "threshold": thresholds[0] if len(set(thresholds)) == 1 else [str(value) for value in thresholds],
        "species": None if detection.species is None else list(detection.species),
        "top-k": detection.top_k,
        "merge": detection.merge,
        "gap": detection.gap_s,
        "longest": detection.longest_s,
        "overlap-average": settings.postprocess.overlap_average,
        "smooth": None if settings.postprocess.smoothing is None else list(settings.postprocess.smoothing),
        "scale-by-maximum": settings.postprocess.scale_exponent,
        "recorder name": None if given is None else given if isinstance(given, str) else import_path(given),
        "time zone": settings.times.time_zone,
        "escape-formulas": settings.escape_formulas,
        "region": None if settings.region is None else settings.region.digest,
        **({} if settings.region is None else {PLAUSIBLE: list(settings.region.plausible())}),
    }
