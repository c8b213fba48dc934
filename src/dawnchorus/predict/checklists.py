"""Which species occur where, and in which week: lists, tables of weeks, and eBird's bar charts."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import unescape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DataError
from dawnchorus.formats.text_tables import clean_label, refuse_other_kinds
from dawnchorus.predict.detections import names_in_file
from dawnchorus.wording import shown

QUARTERS = 48
N_PERIODS = (12, QUARTERS, 52, 53)
"""Columns that a table of weeks may have: months, eBird's quarters of months, or ISO weeks."""

_TAXON = re.compile(r"(?P<common>.+?)\s*\((?:<em[^>]*>)?(?P<scientific>[^()<>]+)(?:</em>)?\)")
_SAMPLE_SIZE = "sample size"
_LONG = ("week", "frequency")


class ChecklistEntry(NamedTuple):
    """A species on a checklist.

    Attributes
    ----------
    names
        Its names there, such as a common and a scientific one.
    frequencies
        Shape (n_periods,), float64, in [0, 1]: the share of lists, or of whatever the source counts, that
        have it; NaN where nothing was sampled.

    Examples
    --------
    >>> import numpy as np
    >>> ChecklistEntry(("Tawny Owl", "Strix aluco"), np.ones(1)).names[1]
    'Strix aluco'
    """

    names: tuple[str, ...]
    frequencies: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Checklist:
    """The species of a place.

    Attributes
    ----------
    source
        Name of the file, for messages.
    entries
        The species.
    n_periods
        Periods of a year that are told apart: 1, or one of :data:`N_PERIODS`.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("birds.txt").write_text("Strix aluco\\nTurdus merula\\n")
    >>> read_checklist(Path("birds.txt"))
    Checklist(birds.txt: 2 species)
    """

    source: str
    entries: tuple[ChecklistEntry, ...]
    n_periods: int = 1

    def __repr__(self) -> str:
        periods = f", {self.n_periods} periods of the year" if self.n_periods > 1 else ""
        return f"Checklist({self.source}: {len(self.entries)} species{periods})"


def read_checklist(path: Path) -> Checklist:
    """Return the checklist in a file, whose form is recognized.

    Parameters
    ----------
    path
        One of

        - a list of species, a line each, as for ``--species``;
        - a table with a species a row and 12, 48, 52 or 53 columns of frequencies behind its name;
        - a table with the columns ``species``, ``week`` and ``frequency``, whose weeks count from 1;
        - eBird's bar chart, the text that "Download Histogram Data" gives: tab-separated, 48 quarters of
          months. Quarters without a checklist are not sampled.

    Raises
    ------
    DataError
        The file cannot be read, names no species, or a frequency is not in [0, 1].

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("weeks.csv").write_text("species,week,frequency\\nStrix aluco,1,0.1\\nStrix aluco,48,0.3\\n")
    >>> read_checklist(Path("weeks.csv")).entries[0].frequencies[[0, 1, 47]]
    array([0.1, 0. , 0.3])
    """
    rows = _rows_of(path)
    header = [cell.casefold() for cell in rows[0]] if rows else []
    if set(_LONG) <= set(header):
        entries = _entries_of_long(rows, path)
    elif any(len(row) > min(N_PERIODS) for row in rows):
        entries = _entries_of_wide(rows, path)
    else:
        entries = [ChecklistEntry((name,), np.ones(1)) for name in dict.fromkeys(names_in_file(path))]
    if not entries:
        raise DataError(f"{path} names no species; write one a line, or a table of species and weeks")
    return Checklist(path.name, tuple(entries), len(entries[0].frequencies))


def checklist_of_names(names: Sequence[str], source: str) -> Checklist:
    """Return a checklist of species without weeks.

    Examples
    --------
    >>> checklist_of_names(["Strix aluco"], "area.geojson")
    Checklist(area.geojson: 1 species)
    """
    return Checklist(source, tuple(ChecklistEntry((name,), np.ones(1)) for name in names))


def period_of(day: date, n_periods: int) -> int:
    """Return the period of the year that a day lies in, from 0.

    Of 48, the first three quarters of a month are its first 21 days, a week each, as eBird has them.

    Examples
    --------
    >>> from datetime import date
    >>> period_of(date(2024, 5, 31), 48), period_of(date(2024, 5, 31), 52), period_of(date(2024, 5, 31), 12)
    (19, 21, 4)
    """
    if n_periods == QUARTERS:
        return 4 * (day.month - 1) + min((day.day - 1) // 7, 3)
    if n_periods == min(N_PERIODS):
        return day.month - 1
    return min(day.isocalendar().week, n_periods) - 1


def _rows_of(path: Path) -> list[list[str]]:
    """Return the cells of a table, or of a list, that are not empty lines."""
    try:
        refuse_other_kinds(path, legal="a list of species, or a table of species and weeks")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"the checklist {path} cannot be read; {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"the checklist {path} is no text in UTF-8; save it as UTF-8") from None
    lines = [line for line in text.splitlines() if line.strip()]
    widest = max(lines, key=len, default="")
    separator = max("\t;,", key=widest.count)
    rows = csv.reader(lines, delimiter=separator)
    return [[cell.strip() for cell in row] for row in rows]


def _entries_of_wide(rows: list[list[str]], path: Path) -> list[ChecklistEntry]:
    """Return the species of a table with a column a period, such as eBird's bar chart."""
    numbers = [(row[0], _numbers_behind(row)) for row in rows]
    counts = [len(found) for _, found in numbers if len(found) in N_PERIODS]
    if not counts:
        raise DataError(
            f"{path}: no row has a name and then 12, 48, 52 or 53 frequencies; give eBird's bar chart as "
            "it was downloaded, or a table of that form"
        )
    n_periods = max(set(counts), key=counts.count)
    sampled = np.ones(n_periods, bool)
    entries = []
    for name, found in numbers:
        if len(found) != n_periods or not name:
            continue
        if name.casefold().startswith(_SAMPLE_SIZE):
            sampled = np.array(found) > 0
            continue
        if _is_header(found):
            continue
        entries.append(ChecklistEntry(_names_of(name), _checked(found, name, path)))
    return [entry._replace(frequencies=np.where(sampled, entry.frequencies, np.nan)) for entry in entries]


def _is_header(numbers: Sequence[float]) -> bool:
    """Return whether numbers are those of the columns: 1, 2, 3, …"""
    return list(numbers) == list(range(1, len(numbers) + 1))


def _numbers_behind(row: Sequence[str]) -> list[float]:
    """Return the numbers behind a name, without empty cells at the end; none where a cell is no number."""
    cells = list(row[1:])
    while cells and not cells[-1]:
        cells.pop()
    try:
        return [float(cell or "nan") for cell in cells]
    except ValueError:
        return []


def _entries_of_long(rows: list[list[str]], path: Path) -> list[ChecklistEntry]:
    header = [cell.casefold() for cell in rows[0]]
    week_at, frequency_at = (header.index(name) for name in _LONG)
    name_at = next(place for place in range(len(header)) if place not in (week_at, frequency_at))
    found: dict[str, dict[int, float]] = {}
    for row in rows[1:]:
        try:
            week, frequency = int(row[week_at]), float(row[frequency_at])
        except (ValueError, IndexError):
            raise DataError(
                f"{path}: {shown(row)} has no week and frequency; write whole weeks from 1, and 0 to 1"
            ) from None
        if not 1 <= week <= max(N_PERIODS):
            raise DataError(f"{path}: the week is {week}; legal are 1 to {max(N_PERIODS)}")
        found.setdefault(clean_label(row[name_at]), {})[week - 1] = frequency
    last = max((week for weeks in found.values() for week in weeks), default=0) + 1
    n_periods = next(n for n in N_PERIODS[1:] if last <= n)
    entries = []
    for name, weeks in found.items():
        frequencies = [weeks.get(week, 0.0) for week in range(n_periods)]
        entries.append(ChecklistEntry((name,), _checked(frequencies, name, path)))
    return entries


def _checked(numbers: Sequence[float], name: str, path: Path) -> npt.NDArray[np.float64]:
    frequencies = np.array(numbers, np.float64)
    wrong = frequencies[~np.isnan(frequencies) & ~((frequencies >= 0) & (frequencies <= 1))]
    if len(wrong):
        raise DataError(f"{path}: a frequency of {name} is {wrong[0]:g}; legal are 0 to 1")
    return frequencies


def _names_of(text: str) -> tuple[str, ...]:
    """Return the names in ``Tawny Owl (<em class="sci">Strix aluco</em>)``, or the text as one name."""
    text = clean_label(unescape(text))
    match = _TAXON.fullmatch(text)
    return (match["common"], clean_label(match["scientific"])) if match else (text,)
