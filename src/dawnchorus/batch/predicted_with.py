"""Settings of a folder of predictions, from its ``predictions.json``: recordings and sources of times."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.audio.recorder_names import RecorderTimes
from dawnchorus.batch.earlier_tables import SETTINGS_NAME
from dawnchorus.config import read_json_if_sound
from dawnchorus.errors import ConfigError, DataError

PLAUSIBLE = "plausible species"
"""The setting that lists the classes which occur in the region that was predicted with."""

MODEL_NAME = "name of the model"
"""The setting that names the model; the setting ``model`` is its fingerprint."""

_FOLDER, _NAME, _ZONE = "folder of recordings", "recorder name", "time zone"
_OF_TABLES = ("made", "goals", "guests", "tables")


class PredictedWith(NamedTuple):
    """How the tables in a folder were made.

    Attributes
    ----------
    settings
        What is noted of the model, thresholds and calibration; empty where there is no note.
    audio_dir
        Folder of the recordings, None where it is not known, or no longer there.
    times
        Sources of times; a function of the user's own is not imported here.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("predictions.json").write_text('{"made": {"time zone": "+02:00"}}')
    >>> PredictedWith.of(Path(".")).times.time_zone
    '+02:00'
    """

    settings: Mapping[str, Any]
    audio_dir: Path | None
    times: RecorderTimes

    @classmethod
    def of(cls, predictions: Path) -> PredictedWith:
        """Return what is noted beside a table, or in a folder."""
        folder = predictions if predictions.is_dir() else predictions.parent
        note = read_json_if_sound(folder / SETTINGS_NAME, dict[str, Any]) or {}
        made = note.get("made")
        settings = {**(made if isinstance(made, dict) else {})}
        settings |= {key: value for key, value in note.items() if key not in _OF_TABLES}
        root = settings.get(_FOLDER)
        audio_dir = Path(root) if isinstance(root, str) and Path(root).is_dir() else None
        return cls(settings, audio_dir, _times_of(settings))


def check_predicted(predictions: Path) -> None:
    """Refuse a folder of predictions, or a table, that is not there.

    Raises
    ------
    DataError
        It is not there.

    Examples
    --------
    >>> from pathlib import Path
    >>> check_predicted(Path("nights"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: nights: no such file or folder; give a folder that dawnchorus predict wrote
    """
    if not predictions.exists():
        raise DataError(f"{predictions}: no such file or folder; give a folder that dawnchorus predict wrote")


def _times_of(settings: Mapping[str, Any]) -> RecorderTimes:
    name, zone = settings.get(_NAME), settings.get(_ZONE)
    try:
        return RecorderTimes(
            name if isinstance(name, str) and "%" in name else None, zone if isinstance(zone, str) else None
        )
    except ConfigError:
        return RecorderTimes()
