"""Names in tables: labels of two names, as BirdNET's, and file names that are not valid text."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

_MAX_NAME_BYTES = 255
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


class SpeciesNames(NamedTuple):
    """The two names of a class; the same one twice where its label holds only one.

    Examples
    --------
    >>> SpeciesNames("Turdus merula", "Eurasian Blackbird").common
    'Eurasian Blackbird'
    """

    scientific: str
    common: str


def both_names(names: SpeciesNames) -> str:
    """Return the two names as people are shown them; one where they are the same.

    Examples
    --------
    >>> both_names(SpeciesNames("Curruca undata", "Dartford Warbler"))
    'Dartford Warbler (Curruca undata)'
    """
    return names.common if names.common == names.scientific else f"{names.common} ({names.scientific})"


def species_names(label: str) -> SpeciesNames:
    """Return the names in ``Turdus merula_Eurasian Blackbird``; any other label stands for both.

    The part before the underscore must be a scientific name, that is capitalized and of several words, or
    equal the other one as in ``Engine_Engine``: labels such as ``Turdus_merula`` and ``robin_song`` hold
    one name.

    Examples
    --------
    >>> species_names("Turdus merula_Eurasian Blackbird")
    SpeciesNames(scientific='Turdus merula', common='Eurasian Blackbird')
    >>> species_names("robin_song").scientific
    'robin_song'
    """
    scientific, _, common = label.partition("_")
    is_scientific = scientific[:1].isupper() and " " in scientific
    if common and (is_scientific or scientific == common):
        return SpeciesNames(scientific, common)
    return SpeciesNames(label, label)


NO_TAXA = frozenset(
    (
        *("dog", "engine", "environmental", "fireworks", "gun", "human non-vocal", "human vocal"),
        *("human whistle", "noise", "power tools", "siren"),  # of BirdNET
        *("background", "human", "insect", "insects", "nocall", "rain", "silence", "speech", "traffic"),
        *("unknown", "voice", "water", "wind"),
    )
)
"""Names of classes that are no taxa, in small letters."""


def is_taxon(name: str) -> bool:
    """Return whether a scientific name, or a label that stands for one, may be a taxon's.

    Examples
    --------
    >>> is_taxon("Strix aluco"), is_taxon("Human vocal"), is_taxon("owl")
    (True, False, True)
    """
    return name.replace("_", " ").strip().casefold() not in NO_TAXA


def inert(cell: object) -> object:
    """Return a cell of a table, with ``'`` before a text that a spreadsheet would take for a formula.

    Those are the texts that begin with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return (OWASP, "CSV
    Injection").

    >>> inert("=1+1"), inert("wren"), inert(-0.5)
    ("'=1+1", 'wren', -0.5)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_BEGINS) else cell


def fitting(filename: str, ending: str) -> str:
    """Return ``filename`` with ``ending``; a name that is too long is cut and gets part of its hash.

    Examples
    --------
    >>> fitting("night.wav", ".selections.txt"), len(fitting("n" * 300, ".txt"))
    ('night.wav.selections.txt', 255)
    """
    folder, slash, name = filename.rpartition("/")
    n_room = _MAX_NAME_BYTES - len(ending.encode())
    encoded = os.fsencode(name)
    if len(encoded) > n_room:
        mark = hashlib.sha256(encoded).hexdigest()[:8]
        name = f"{os.fsdecode(encoded[: n_room - len(mark) - 1])}_{mark}"
    return f"{folder}{slash}{name}{ending}"
