"""Plausible species: scores held down where and when a checklist says that a species does not occur."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.files import inside
from dawnchorus.formats.names import species_names
from dawnchorus.formats.sites import Place, Site, site_among
from dawnchorus.formats.synonyms import Synonyms
from dawnchorus.formats.taxonomy import SpeciesIndex, Taxonomy, name_key
from dawnchorus.predict.areas import Area, read_areas
from dawnchorus.predict.checklists import (
    Checklist,
    checklist_of_names,
    period_of,
    read_checklist,
)
from dawnchorus.wording import counted, first_few, in_line, shown

logger = logging.getLogger(__name__)

AREA_SUFFIXES = (".geojson", ".json")
_PERIODS = {12: "month", 48: "quarter of a month", 52: "week", 53: "week"}


class Plausibility(NamedTuple):
    """How often a species is found at a place and time, and which checklist says so.

    Attributes
    ----------
    frequency
        In [0, 1]; NaN where no checklist is about the place, or nothing was sampled.
    name
        Its name there, empty where it is not on the list.
    reason
        What the checklist says.

    Examples
    --------
    >>> Plausibility(0.0, "", "no name of it is in birds.txt").frequency
    0.0
    """

    frequency: float
    name: str
    reason: str


@dataclass(frozen=True)
class RegionSettings:
    """Rules for what is plausible.

    Attributes
    ----------
    mode
        ``hard`` never detects a species that is rarer than ``minimum``; ``soft`` multiplies its scores by
        ``floor + (1 - floor) * min(1, frequency / full)``.
    minimum
        Frequency that a species must reach, with ``hard``; with 0, it must be above 0.
    full
        Frequency from which scores stay as they are, with ``soft``.
    floor
        Factor of species that are absent, with ``soft``.

    Raises
    ------
    ConfigError
        A value is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> RegionSettings("soft").factor_of(np.array([0.0, 0.025, 0.5, np.nan]))
    array([0.1 , 0.55, 1.  , 1.  ], dtype=float32)
    >>> RegionSettings("hard").factor_of(np.array([0.0, 0.025, 0.5, np.nan]))
    array([0., 1., 1., 1.], dtype=float32)
    """

    mode: Literal["hard", "soft"] = "hard"
    minimum: float = 0.0
    full: float = 0.05
    floor: float = 0.1

    def __post_init__(self) -> None:
        if self.mode not in ("hard", "soft"):
            raise ConfigError(f"mode is {self.mode!r}; legal are hard and soft")
        if not 0 <= self.minimum <= 1 or not 0 < self.full <= 1 or not 0 <= self.floor <= 1:
            raise ConfigError(
                f"minimum is {self.minimum:g}, full {self.full:g} and floor {self.floor:g}; legal are "
                "0 to 1, and above 0 for full"
            )

    def factor_of(self, frequency: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return what scores are multiplied by; 1 where the frequency is NaN."""
        if self.mode == "hard":
            factor = ((frequency > 0) & (frequency >= self.minimum)).astype(np.float64)
        else:
            factor = self.floor + (1 - self.floor) * np.minimum(1, frequency / self.full)
        return np.where(np.isnan(frequency), 1, factor).astype(np.float32)


class _Part(NamedTuple):
    """A checklist, the area that it is about, and its species under the model's labels.

    ``frequencies`` has the shape (n_classes, n_periods), ``names`` the name of each class there.
    """

    checklist: Checklist
    areas: tuple[Area, ...] | None
    frequencies: npt.NDArray[np.float64]
    names: tuple[str, ...]

    def is_about(self, place: Place | None) -> bool:
        if self.areas is None:
            return True
        return place is not None and any(area.contains(*place) for area in self.areas)

    def at(self, day: date | None) -> npt.NDArray[np.float64]:
        """Return the frequency of each class, shape (n_classes,); the highest of the year without a day."""
        if self.checklist.n_periods == 1:
            return self.frequencies[:, 0]
        if day is not None:
            return self.frequencies[:, period_of(day, self.checklist.n_periods)]
        return _highest(self.frequencies.T)


@dataclass(frozen=True, eq=False)
class Region:
    """Checklists, and the areas that they are about, for the classes of a model. Made by :meth:`of`.

    Attributes
    ----------
    labels
        The model's classes.
    settings
        What is plausible.
    sites
        Sites, for the coordinates of recordings that do not tell theirs.
    digest
        Of all that the scores depend on.

    Examples
    --------
    >>> from datetime import date
    >>> from pathlib import Path
    >>> _ = Path("weeks.csv").write_text(
    ...     "species,week,frequency\\nStrix aluco,1,0.1\\nTurdus merula,48,0.3\\n"
    ... )
    >>> region = Region.of([Path("weeks.csv")], ["Strix_aluco", "Turdus_merula", "Apus_apus"])
    >>> region.factors(date(2024, 1, 3))
    array([1., 0., 0.], dtype=float32)
    >>> region.why("Turdus_merula", date(2024, 1, 3)).reason
    'a frequency of 0 in quarter of a month 1 of 48 in weeks.csv'
    """

    labels: tuple[str, ...]
    settings: RegionSettings
    sites: tuple[Site, ...]
    digest: str
    _parts: tuple[_Part, ...] = field(repr=False)

    @classmethod
    def of(
        cls,
        files: Iterable[Path],
        labels: Sequence[str],
        settings: RegionSettings | None = None,
        *,
        taxonomy: Taxonomy | None = None,
        synonyms: Synonyms | None = None,
        sites: Sequence[Site] = (),
    ) -> Region:
        """Return a region for the classes of a model.

        Parameters
        ----------
        files
            Checklists, as for :func:`~dawnchorus.predict.checklists.read_checklist`, of which a species may
            be on any. A GeoJSON file among them is the area that they are about; recordings elsewhere, and of
            unknown place, are not judged. Its features may have checklists of their own, in a property
            ``checklist``: a file beside it, or a list of names.
        labels
            The model's classes.
        settings
            What is plausible.
        taxonomy
            Their names, as in the model card.
        synonyms
            Names that stand for one another.
        sites
            Sites, for the coordinates of recordings that do not tell theirs.

        Raises
        ------
        DataError
            A file cannot be read, an area has no checklist, or a checklist knows none of the classes.
        """
        settings, synonyms = settings or RegionSettings(), synonyms or Synonyms()
        found = _checklists_in([Path(file) for file in files])
        parts = tuple(
            _part_of(checklist, areas, tuple(labels), taxonomy or {}, synonyms) for checklist, areas in found
        )
        _check_known(parts)
        _tell_other_names(parts, labels)
        _tell_misspelt(parts, SpeciesIndex(labels, taxonomy))
        facts = [vars(settings), list(labels), [list(site) for site in sites]]
        text = json.dumps(facts, sort_keys=True, default=str).encode()
        digest = hashlib.sha256(text)
        for part in parts:
            digest.update(part.frequencies.tobytes())
            digest.update(
                repr([[r.tolist() for p in a.polygons for r in p] for a in part.areas or ()]).encode()
            )
        return cls(tuple(labels), settings, tuple(sites), digest.hexdigest()[:16], parts)

    def frequencies(self, day: date | None, place: Place | None = None) -> npt.NDArray[np.float64]:
        """Return how often each class is found, shape (n_classes,); NaN where nothing tells."""
        told = [part.at(day) for part in self._parts if part.is_about(place)]
        return _highest(np.array(told)) if told else np.full(len(self.labels), np.nan)

    def plausible(self) -> tuple[str, ...]:
        """Return the classes that some checklist has, anywhere and at any time of the year.

        Examples
        --------
        >>> from pathlib import Path
        >>> _ = Path("birds.txt").write_text("wren\\n")
        >>> Region.of([Path("birds.txt")], ["owl", "wren"]).plausible()
        ('wren',)
        """
        highest = _highest(np.array([_highest(part.frequencies.T) for part in self._parts]))
        least = self.settings.minimum if self.settings.mode == "hard" else 0.0
        is_plausible = np.isnan(highest) | ((highest > 0) & (highest >= least))
        return tuple(label for label, kept in zip(self.labels, is_plausible, strict=True) if kept)

    def factors(self, day: date | None, place: Place | None = None) -> npt.NDArray[np.float32]:
        """Return what the scores of each class are multiplied by, shape (n_classes,), float32 in [0, 1].

        Parameters
        ----------
        day
            When it was recorded; None counts a species that occurs in any week.
        place
            Where; None where that is not known.
        """
        return self.settings.factor_of(self.frequencies(day, place))

    def scaled(
        self, probabilities: npt.NDArray[np.float32], day: date | None = None, place: Place | None = None
    ) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (n_windows, n_classes), multiplied by their factors."""
        if probabilities.shape[-1:] != (len(self.labels),):
            raise DataError(
                f"the probabilities have the shape {probabilities.shape}, and the region {len(self.labels)} "
                "classes; give (n_windows, n_classes)"
            )
        return probabilities * self.factors(day, place)

    def why(self, label: str, day: date | None, place: Place | None = None) -> Plausibility:
        """Return how often a class is found, and which checklist says so."""
        row = self.labels.index(label)
        told = [(part.at(day)[row], part) for part in self._parts if part.is_about(place)]
        known = [each for each in told if not np.isnan(each[0])]
        if not known:
            return Plausibility(float("nan"), "", "no checklist is about this place and time")
        frequency, part = max(known, key=lambda each: each[0])
        source, name, n_periods = part.checklist.source, part.names[row], part.checklist.n_periods
        if not name:
            return Plausibility(0.0, "", f"no name of it is in {source}")
        if n_periods == 1:
            when = ""
        elif day is None:
            when = " in any part of the year"
        else:
            when = f" in {_PERIODS[n_periods]} {period_of(day, n_periods) + 1} of {n_periods}"
        return Plausibility(float(frequency), name, f"a frequency of {frequency:g}{when} in {source}")

    def place_of(self, filename: str, latitude: float | None, longitude: float | None) -> Place | None:
        """Return where a recording is from: its own coordinates, or those of its site."""
        if latitude is not None and longitude is not None:
            return Place(latitude, longitude)
        site = site_among(self.sites, filename)
        return None if site is None else site.place

    def __repr__(self) -> str:
        sources = first_few([part.checklist.source for part in self._parts])
        return f"Region({sources}, {counted(len(self.labels), 'class', 'classes')}, {self.settings.mode})"


def _checklists_in(files: Sequence[Path]) -> list[tuple[Checklist, tuple[Area, ...] | None]]:
    """Return the checklists of files, each with the areas that it is about, None for everywhere."""
    areas: list[Area] = []
    found: list[tuple[Checklist, tuple[Area, ...] | None]] = []
    geojson = [path for path in files if path.suffix.lower() in AREA_SUFFIXES]
    for path in geojson:
        for area in read_areas(path):
            given = area.properties.get("checklist")
            if given is None:
                areas.append(area)
            elif isinstance(given, str):
                checklist = read_checklist(inside(path.parent, given, named_in=path))
                found.append((checklist, (area,)))
            elif isinstance(given, list) and given and all(isinstance(name, str) for name in given):
                found.append((checklist_of_names(given, path.name), (area,)))
            else:
                raise DataError(
                    f"{path}: a checklist is {shown(given)}; give the name of a file beside it, or a list of "
                    "names"
                )
    everywhere = [read_checklist(path) for path in files if path not in geojson]
    if areas and not everywhere:
        raise DataError(
            f"{geojson[0]} has an area without a checklist; name the checklist too, as another --region, "
            "or in the area's property checklist"
        )
    return [*found, *((checklist, tuple(areas) or None) for checklist in everywhere)]


def _part_of(
    checklist: Checklist,
    areas: tuple[Area, ...] | None,
    labels: tuple[str, ...],
    taxonomy: Taxonomy,
    synonyms: Synonyms,
) -> _Part:
    """Find the classes on a checklist; one that was split has the highest frequency of its parts."""
    rows: dict[str, list[int]] = {}
    for row, entry in enumerate(checklist.entries):
        for key in dict.fromkeys(map(name_key, _spellings(entry.names))):
            rows.setdefault(key, []).append(row)
    frequencies = np.zeros((len(labels), checklist.n_periods))
    names = []
    for place, label in enumerate(labels):
        own = _spellings((label, *species_names(label), *taxonomy.get(label, {}).values()))
        wanted = [*own, *(other for name in own for other in synonyms.others(name))]
        matched = [row for name in wanted for row in rows.get(name_key(name), ())]
        matched = list(dict.fromkeys(matched))
        if matched:
            frequencies[place] = _highest(np.array([checklist.entries[row].frequencies for row in matched]))
        named = [name for row in matched for name in [_name_in(checklist.entries[row].names, wanted)]]
        names.append(" and ".join(dict.fromkeys(named)))
    return _Part(checklist, areas, frequencies, tuple(names))


def _spellings(names: Iterable[str]) -> list[str]:
    """Return names, and both parts of those that are of the form Scientific name_Common name."""
    return [each for name in names for each in dict.fromkeys((name, *species_names(name)))]


def _name_in(names: Sequence[str], wanted: Sequence[str]) -> str:
    """Return which of an entry's names was looked for, rather the scientific one, which stands behind."""
    keys = {name_key(name) for name in wanted}
    found = (name for given in reversed(names) for name in _spellings([given]) if name_key(name) in keys)
    return next(found, names[0])


def _check_known(parts: Sequence[_Part]) -> None:
    for part in parts:
        if not any(part.names):
            examples = [entry.names[0] for entry in part.checklist.entries]
            raise DataError(
                f"{part.checklist.source} knows none of the model's classes, and has {first_few(examples)}; "
                "give names that the model has, or join them by a table of synonyms"
            )


def _tell_other_names(parts: Sequence[_Part], labels: Sequence[str]) -> None:
    """Log which classes a checklist has only under other names."""
    for part in parts:
        pairs = zip(labels, part.names, strict=True)
        other = [
            f"{in_line(label)} is {in_line(name)}"
            for label, name in pairs
            if name and name_key(name) not in map(name_key, _spellings((label,)))
        ]
        if other:
            logger.info(
                f"{part.checklist.source} has other names for {counted(len(other), 'class', 'classes')}: "
                f"{first_few(other)}"
            )


def _tell_misspelt(parts: Sequence[_Part], index: SpeciesIndex) -> None:
    """Warn of names on a checklist that are no class's, and nearly that of a class which it has not."""
    for part in parts:
        entries = [entry for entry in part.checklist.entries if not any(map(index.labels_of, entry.names))]
        has = {label for label, name in zip(index.labels, part.names, strict=True) if name}
        names = [name for entry in entries for name in entry.names]
        found = {name: near for name, near in index.misspelt(names).items() if near not in has}
        if found:
            told = [f"{in_line(name)} ({in_line(near)}?)" for name, near in found.items()]
            logger.warning(
                f"{part.checklist.source} has names that no class has, and that are nearly those of classes; "
                f"correct them, or join them by --region-synonyms: {first_few(told)}"
            )


def _highest(frequencies: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the highest of each column, NaN where all of it is NaN."""
    highest = np.where(np.isnan(frequencies), -1, frequencies).max(axis=0)
    return np.where(highest < 0, np.nan, highest)
