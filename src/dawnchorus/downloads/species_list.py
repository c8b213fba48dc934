"""Lists of requested species, and their labels in the table of recordings."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dawnchorus.errors import DataError
from dawnchorus.wording import first_few, shown

LIST_SUFFIXES = frozenset({".txt", ".csv"})

# One word or two, of letters and hyphens; no characters with a meaning in searches or paths.
_NAME = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*(?: [^\W\d_]+(?:-[^\W\d_]+)*)?")


class AskedSpecies(NamedTuple):
    """A species, or a larger group of them.

    Attributes
    ----------
    name
        Scientific name: two words, or one for a genus or more.
    code
        Its label, where a list gives one.

    Examples
    --------
    >>> AskedSpecies("Turdus merula", code="eurbla").code
    'eurbla'
    """

    name: str
    code: str | None = None


@dataclass(frozen=True)
class SpeciesList:
    """All requested species, each once, and their labels.

    Attributes
    ----------
    asked
        In the order in which they were named.

    Examples
    --------
    >>> species = read_species(["Turdus merula", "Strix"])
    >>> [asked.name for asked in species.asked], species.has_codes
    (['Turdus merula', 'Strix'], False)
    >>> species.label("Turdus merula", species.asked[0])
    'Turdus_merula'
    """

    asked: tuple[AskedSpecies, ...]
    _labels: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        labels = {asked.name.casefold(): asked.code or underscored(asked.name) for asked in self.asked}
        object.__setattr__(self, "_labels", labels)

    @property
    def has_codes(self) -> bool:
        """Whether a list gave labels of its own."""
        return any(species.code for species in self.asked)

    def label(self, name: str, asked: AskedSpecies | None) -> str:
        """Return the label of a recording of the species ``name`` that a search for ``asked`` found.

        A species that is itself on the list has its own label; one that the service lists under another name
        has that of the requested name, so that all services give the same. Species of a genus or a larger
        group are named themselves, unless the list gives the group a label.
        """
        own = self._labels.get(name.casefold())
        if own is not None:
            return own
        if asked is not None and (asked.code or is_species(asked.name)):
            return asked.code or underscored(asked.name)
        return underscored(name)

    def others(self, names: Iterable[str], primary: str) -> tuple[str, ...]:
        """Return the labels of other species heard: all of them, or of those on a list with labels."""
        has_codes = self.has_codes
        found = (
            self._labels.get(name.casefold(), None if has_codes else underscored(name))
            for name in names
            if _NAME.fullmatch(name)
        )
        return tuple(dict.fromkeys(label for label in found if label and label != primary))


def is_species(name: str) -> bool:
    """Return whether a scientific name is that of a species, not of a genus or more.

    Examples
    --------
    >>> is_species("Turdus merula"), is_species("Turdus")
    (True, False)
    """
    return " " in name


def underscored(name: str) -> str:
    """Return a scientific name as a label and the name of a folder: Turdus_merula.

    Examples
    --------
    >>> underscored("Turdus merula")
    'Turdus_merula'
    """
    return name.replace(" ", "_")


def plain_species(name: str) -> str | None:
    """Return the first two words of a scientific name; None for a hybrid, an unnamed species, or one word.

    Examples
    --------
    >>> plain_species("Turdus merula merula"), plain_species("Turdus")
    ('Turdus merula', None)
    """
    words = name.split()[:2]
    plain = " ".join(words)
    is_plain = len(words) == 2 and words[1] not in ("x", "sp", "sp.") and _NAME.fullmatch(plain)
    return plain if is_plain else None


def read_species(values: Sequence[str]) -> SpeciesList:
    """Return the species that are named directly, or listed in files.

    Parameters
    ----------
    values
        Scientific names such as ``Turdus merula``; text files with a name a line, where ``#`` begins a
        remark; and CSV files with the column ``scientific_name``, and ``primary_label`` for the labels, as
        BirdCLEF's ``taxonomy.csv``.

    Raises
    ------
    DataError
        A file cannot be read, lacks the column or names nothing, or a name is not that of a species.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("species.txt").write_text("Turdus merula\\nStrix aluco  # the tawny owl\\n")
    >>> [asked.name for asked in read_species(["species.txt"]).asked]
    ['Turdus merula', 'Strix aluco']
    """
    found: dict[str, AskedSpecies] = {}
    for value in values:
        for species in _named(value):
            earlier = found.get(species.name.casefold())
            if earlier is None or (species.code and not earlier.code):
                found[species.name.casefold()] = species
    return SpeciesList(tuple(found.values()))


def _named(value: str) -> Iterator[AskedSpecies]:
    path = Path(value)
    if path.suffix.lower() not in LIST_SUFFIXES and not path.is_file():
        yield AskedSpecies(_checked(value, "--species"))
        return
    n_named = 0
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _lines(path)
    for line, name, code in rows:
        n_named += 1
        yield AskedSpecies(_checked(name, f"{path}, line {line}"), code)
    if not n_named:
        raise DataError(f"{path}: no species; write a scientific name in each line")


def _lines(path: Path) -> Iterator[tuple[int, str, None]]:
    for line, text in enumerate(_text(path).splitlines(), start=1):
        name = text.partition("#")[0].strip()
        if name:
            yield line, name, None


def _csv_rows(path: Path) -> Iterator[tuple[int, str, str | None]]:
    rows = csv.DictReader(io.StringIO(_text(path), newline=""))
    columns = [str(name).strip() for name in rows.fieldnames or ()]
    rows.fieldnames = columns
    if "scientific_name" not in columns:
        raise DataError(
            f"{path} has no column scientific_name; its columns are {first_few(columns) or 'none'}; "
            "a list with a name a line ends with .txt"
        )
    for row in rows:
        yield rows.line_num, row["scientific_name"] or "", (row.get("primary_label") or "").strip() or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            f"the species list {path} does not exist; give a text or CSV file, or a name"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the species list {path} cannot be read as UTF-8; {error}") from None


def _checked(name: str, where: str) -> str:
    plain = " ".join(name.replace("_", " ").split())
    if not _NAME.fullmatch(plain):
        raise DataError(
            f"{where}: {shown(name)} is no scientific name; write genus and species, such as Turdus merula, "
            "or a genus"
        )
    return plain[0].upper() + plain[1:].lower()
