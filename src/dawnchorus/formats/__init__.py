"""Writers of detection tables, one recording at a time, and readers of tables of labels.

Every output takes its place only when all recordings are in it; until then, that of an earlier run stays.
A format of one's own is a :class:`TableWriter`, a :class:`FolderWriter`, or any other
:class:`DetectionWriter`.
"""

from dawnchorus.config.registry import FORMATS
from dawnchorus.formats.detection_tables import read_detections, write_detections
from dawnchorus.formats.detection_writer import DetectionWriter, ModelFacts, TableSettings
from dawnchorus.formats.folder_tables import FolderWriter
from dawnchorus.formats.recording import Detection, RecordingDetections, absolute_time
from dawnchorus.formats.single_tables import TableWriter
from dawnchorus.formats.writer_lookup import DetectionWriters, Format, formats_of, open_writers, own_goals

__all__ = [
    "FORMATS",
    "Detection",
    "DetectionWriter",
    "DetectionWriters",
    "FolderWriter",
    "Format",
    "ModelFacts",
    "RecordingDetections",
    "TableSettings",
    "TableWriter",
    "absolute_time",
    "formats_of",
    "open_writers",
    "own_goals",
    "read_detections",
    "write_detections",
]
