"""Detections from the windows of a recording: thresholds, a list of species, the top k, merging.

Detection table of one recording: ``start_s``, ``end_s``, ``label``, ``probability``, one row a detection.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.taxonomy import SpeciesIndex, Taxonomy
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.wording import first_few, in_line

logger = logging.getLogger(__name__)

_HEADINGS = frozenset(
    {"label", "primary_label", "species", "species_code", "ebird_code", "scientific_name", "common_name"}
)
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class DetectionSettings:
    """Rules for what counts as a detection.

    Parameters
    ----------
    thresholds
        Shape (n_classes,), float32 in [0, 1]: a class is detected from there on; infinity for never.
    species
        Labels of the only classes to detect; all of them if not given.
    top_k
        Detect at most so many classes a window, the most probable; any number if not given.
    merge
        Join adjacent and overlapping windows of the same class into one detection.
    gap_s
        With ``merge``, also join windows that are at most so many seconds apart.
    longest_s
        With ``merge``, seconds of a detection at most: the next window begins another one. A single window
        may be longer.

    Raises
    ------
    ConfigError
        A value is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> settings = DetectionSettings(np.float32([0.5, 0.3]), merge=True)
    >>> settings.thresholds, settings.top_k
    (array([0.5, 0.3], dtype=float32), None)
    """

    thresholds: npt.NDArray[np.float32]
    species: tuple[str, ...] | None = None
    top_k: int | None = None
    merge: bool = False
    gap_s: float = 0.0
    longest_s: float | None = None

    def __post_init__(self) -> None:
        faulty = [value for value in np.ravel(self.thresholds).tolist() if not is_threshold(value)]
        if faulty:
            raise ConfigError(
                f"a threshold is {faulty[0]}; legal are 0 to 1, and infinity for never detecting a class"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}; it must be 1 or more; leave it out for all classes")
        if not 0 <= self.gap_s < math.inf:
            raise ConfigError(f"gap_s is {self.gap_s:g}; it must be 0 s or more")
        if self.longest_s is not None and not 0 < self.longest_s < math.inf:
            raise ConfigError(
                f"longest_s is {self.longest_s:g}; it must be above 0 s; leave it out for any length"
            )
        if not self.merge and (self.gap_s or self.longest_s is not None):
            raise ConfigError("gap_s and longest_s are for joined windows; set merge too, or leave them out")

    def thresholds_text(self) -> str:
        """Return the threshold of all classes, or the lowest and the highest.

        Examples
        --------
        >>> DetectionSettings(np.float32([0.5, 0.3])).thresholds_text()
        '0.3 to 0.5'
        """
        low, high = np.min(self.thresholds), np.max(self.thresholds)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    def __repr__(self) -> str:
        chosen = [
            f"thresholds {self.thresholds_text()}",
            *([f"species {first_few(self.species)}"] if self.species is not None else []),
            *([f"top {self.top_k}"] if self.top_k is not None else []),
            *(["merged"] if self.merge else []),
            *([f"over gaps of {self.gap_s:g} s"] if self.gap_s else []),
            *([f"to {self.longest_s:g} s at most"] if self.longest_s is not None else []),
        ]
        return f"DetectionSettings({', '.join(chosen)})"


class _Found(NamedTuple):
    """Detections: first and last sample, class, probability; each of shape (n_detections,)."""

    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> _Found:
        starts, stops, classes, probabilities = self
        return _Found(starts[rows], stops[rows], classes[rows], probabilities[rows])


def detect(
    predictions: WindowPredictions, labels: Sequence[str], settings: DetectionSettings
) -> pd.DataFrame:
    """Return the detections of one recording.

    Parameters
    ----------
    predictions
        The recording's windows; probabilities of shape (n_windows, n_classes) are compared as float32.
    labels
        The model's classes.
    settings
        What counts as a detection. Thresholds and species go first: ``top_k`` counts what they leave.

    Returns
    -------
    pandas.DataFrame
        ``start_s`` and ``end_s``, float64, whole samples divided by the sample rate; ``label``, str;
        ``probability``, float64, the largest one where windows are joined; and ``channel``, int64, where the
        windows have one. Sorted by channel, start, falling probability, label.

    Raises
    ------
    DataError
        One of the species is not a class of the model.
    ValueError
        Predictions, labels and thresholds are not of the same number of classes.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> starts, stops = np.array([0, 160_000]), np.array([160_000, 320_000])
    >>> windows = WindowPredictions(starts, stops, np.float32([[0.9, 0.1], [0.8, 0.75]]), 32_000)
    >>> detect(windows, ["owl", "wren"], DetectionSettings(np.float32([0.5, 0.5]), merge=True))
       start_s  end_s label  probability
    0      0.0   10.0   owl         0.90
    1      5.0   10.0  wren         0.75
    """
    if predictions.channels is not None:
        parts = [
            detect(part._replace(channels=None), labels, settings).assign(channel=part.channels[0])
            for part in predictions.by_channel()
            if part.channels is not None
        ]
        return pd.concat(parts, ignore_index=True)
    thresholds = _thresholds_of_asked(predictions, labels, settings)
    # Infinity is never reached by any number, but `inf >= inf` would be.
    windows, classes = np.nonzero((predictions.probabilities >= thresholds) & np.isfinite(thresholds))
    reached = predictions.probabilities[windows, classes]
    found = _Found(predictions.starts[windows], predictions.stops[windows], classes, reached)
    alphabetical = np.empty(len(labels), np.int64)
    alphabetical[np.argsort(np.array(labels, dtype=str))] = np.arange(len(labels))
    found = _sort(found, alphabetical)
    if settings.top_k is not None:
        found = found.take(_rank_in_run(found.starts) < settings.top_k)
    if settings.merge:
        rate = predictions.sample_rate
        longest = None if settings.longest_s is None else round(settings.longest_s * rate)
        found = _sort(_merge(found, round(settings.gap_s * rate), longest), alphabetical)
    return _table(found, labels, predictions.sample_rate)


def read_species(path: Path, labels: Sequence[str], taxonomy: Taxonomy | None = None) -> tuple[str, ...]:
    """Return the labels that a list of species names, in the model's order; others are told in a warning.

    Parameters
    ----------
    path
        Text file with a species a line; what follows a ``#`` is a comment. Of a ``.csv`` or ``.tsv`` file,
        the first column. A species is named by its label, its scientific or common name, its code, or
        ``Scientific name_Common name`` as BirdNET writes it, whatever the case.
    labels
        The model's classes.
    taxonomy
        Their names, as in the model card.

    Raises
    ------
    DataError
        The file cannot be read, or names no class of the model.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("species.txt").write_text("Strix aluco_Tawny Owl  # seen in May\\n")
    >>> read_species(Path("species.txt"), ["Strix_aluco", "wren"])
    ('Strix_aluco',)
    """
    names = list(dict.fromkeys(names_in_file(path)))
    if not names:
        raise DataError(f"{path} names no species; write one label a line")
    index = SpeciesIndex(labels, taxonomy)
    wanted = {label for name in names for label in index.labels_of(name)}
    unknown = [name for name in names if not index.labels_of(name)]
    shown = ", ".join(f"{in_line(name)}{_nearest(name, index)}" for name in unknown[:_SHOWN])
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    if not wanted:
        raise DataError(
            f"{path}: the model has no label {shown}{more}; write labels as the model has them, or their "
            "scientific or common names"
        )
    if unknown:
        logger.warning("%s: no label of this model, and left out: %s%s", path, shown, more)
    return tuple(label for label in labels if label in wanted)


def _thresholds_of_asked(
    predictions: WindowPredictions, labels: Sequence[str], settings: DetectionSettings
) -> npt.NDArray[np.float32]:
    """Return the thresholds, infinity for species that are not requested, shape (n_classes,), float32."""
    n_classes = predictions.probabilities.shape[1]
    if not n_classes == len(labels) == np.size(settings.thresholds):
        raise ValueError(
            f"probabilities of {n_classes} classes, {len(labels)} labels and {np.size(settings.thresholds)} "
            "thresholds: they must be as many"
        )
    thresholds = np.asarray(settings.thresholds, dtype=np.float32)
    if settings.species is None:
        return thresholds
    unknown = [name for name in settings.species if name not in labels]
    if unknown:
        near = _nearest(unknown[0], SpeciesIndex(labels))
        raise DataError(f"the model has no label {unknown[0]}{near}; ask for labels that it has")
    return np.where(np.isin(labels, settings.species), thresholds, np.float32(np.inf))


def _sort(found: _Found, alphabetical: npt.NDArray[np.int64]) -> _Found:
    """Return the detections sorted by start, falling probability, and label."""
    return found.take(np.lexsort((alphabetical[found.classes], -found.probabilities, found.starts)))


def _rank_in_run(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many equal values stand directly before each, shape (n,), int64."""
    rows = np.arange(len(values))
    begins = np.diff(values, prepend=-1) != 0
    return rows - np.maximum.accumulate(np.where(begins, rows, 0))


def _merge(found: _Found, gap: int, longest: int | None) -> _Found:
    """Return detections of a class at most ``gap`` samples apart as one each, with the largest probability.

    One that would become longer than ``longest`` samples ends before, and another begins.
    """
    if not len(found.starts):
        return found
    found = found.take(np.lexsort((found.starts, found.classes)))
    apart = (found.starts[1:] > found.stops[:-1] + gap) | (found.classes[1:] != found.classes[:-1])
    begins = np.concatenate([[True], apart])
    if longest is not None:
        first = 0
        for row in range(len(begins)):
            begins[row] |= found.stops[row] - found.starts[first] > longest and row > first
            first = row if begins[row] else first
    first_rows = np.flatnonzero(begins)
    return _Found(
        found.starts[first_rows],
        np.maximum.reduceat(found.stops, first_rows),
        found.classes[first_rows],
        np.maximum.reduceat(found.probabilities, first_rows),
    )


def _table(found: _Found, labels: Sequence[str], sample_rate: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "start_s": found.starts / sample_rate,
            "end_s": found.stops / sample_rate,
            # Without astype, pandas would give an empty column another dtype than one with text.
            "label": pd.Series(np.array(labels, dtype=object)[found.classes]).astype(str),
            "probability": found.probabilities.astype(np.float64),
        }
    )


def rounded_thresholds(labels: Sequence[str], thresholds: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the threshold of each label for tables, to six decimals.

    Examples
    --------
    >>> import numpy as np
    >>> rounded_thresholds(["owl"], np.float32([0.3]))
    {'owl': 0.3}
    """
    rounded = np.round(np.asarray(thresholds, np.float64), 6)
    return dict(zip(labels, map(float, rounded), strict=True))


def is_threshold(value: float) -> bool:
    """Return whether ``value`` is a threshold: 0 to 1, or infinity for never.

    Examples
    --------
    >>> is_threshold(0.5), is_threshold(float("inf")), is_threshold(50)
    (True, True, False)
    """
    return 0 <= value <= 1 or value == math.inf


def names_in_file(path: Path) -> list[str]:
    """Return the names in a list of species, as :func:`read_species` takes it.

    Raises
    ------
    DataError
        The file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("species.csv").write_text("species,seen\\nStrix aluco,2\\n")
    >>> names_in_file(Path("species.csv"))
    ['Strix aluco']
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"the list of species {path} cannot be read; {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"the list of species {path} is no text in UTF-8; save it as UTF-8") from None
    names = [name for line in lines if (name := line.partition("#")[0].strip())]
    if names and path.suffix.lower() in (".csv", ".tsv"):
        rows = csv.reader(names, delimiter=max(",;\t", key=names[0].count))
        names = [row[0].strip() for row in rows if row and row[0].strip()]
        if names and names[0].lower().replace(" ", "_") in _HEADINGS:
            del names[0]
    return names


def _nearest(name: str, index: SpeciesIndex) -> str:
    """Return the labels nearest to ``name`` in brackets; nothing if none is near."""
    near = index.near(name, _SHOWN)
    return f" (nearest: {', '.join(near)})" if near else ""
