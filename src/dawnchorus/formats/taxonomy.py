"""Names of species: tables of them, and the labels that a name stands for."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from dawnchorus.errors import DataError
from dawnchorus.formats.names import SpeciesNames, both_names, species_names
from dawnchorus.formats.text_tables import clean_label, read_text_table, some
from dawnchorus.wording import in_line

Taxonomy = Mapping[str, Mapping[str, str]]
"""By label, what is known of ``scientific_name``, ``common_name``, ``species_code`` and ``gbif_key``."""

LABEL_COLUMN = "primary_label"
_MISSPELT = 0.85  # similarity by difflib of names that differ in a letter or two
_COLUMNS = {
    "scientific_name": ("scientific_name", "sci_name"),
    "common_name": ("common_name", "primary_com_name", "english_name"),
    "species_code": ("species_code", "ebird_code"),
    "gbif_key": ("gbif_key", "gbif_id", "gbif_taxon_key", "taxonkey", "usagekey"),
}
"""The columns of a table that hold each name, in any case and with blanks or underscores."""


def read_taxonomy(
    path: Path, labels: Iterable[str], *, may_lack_names: bool = False, language: str | None = None
) -> dict[str, dict[str, str]]:
    """Return the names of the labels that a table knows.

    A row is about a label that it has as its ``primary_label``, species code, scientific or common name,
    whatever the case and with blanks or underscores.

    Parameters
    ----------
    path
        CSV table, such as BirdCLEF's ``taxonomy.csv`` or eBird's, with ``scientific_name`` or ``SCI_NAME``,
        and where known ``common_name`` or ``PRIMARY_COM_NAME``, ``species_code`` or ``ebird_code``, and
        ``gbif_key``.
    labels
        The model's classes.
    may_lack_names
        Whether a table without columns of names is legal, such as one that lists the classes alone.
    language
        Of the common names, whose column is then ``common_name_de``, or has the language's name, as in the
        IOC's multilingual list. Where a species has none, ``common_name`` stays.

    Raises
    ------
    DataError
        The table cannot be read, has no column of names, or of the language, or knows none of the labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("names.csv").write_text("scientific_name,common_name\\nStrix aluco,Tawny Owl\\n")
    >>> read_taxonomy(Path("names.csv"), ["Strix_aluco", "Engine"])
    {'Strix_aluco': {'scientific_name': 'Strix aluco', 'common_name': 'Tawny Owl'}}
    """
    given = read_text_table(path, required=())
    table = names_in(given)
    if language is not None:
        translated = _column_of(given, language, path).map(clean_label)
        table["common_name"] = translated.where(translated != "", table.get("common_name", ""))
    if table.columns.isin([LABEL_COLUMN]).all():
        if may_lack_names:
            return {}
        raise DataError(
            f"{path} has no names of species; legal columns are "
            f"{', '.join(sorted(name for names in _COLUMNS.values() for name in names))}"
        )
    rows: dict[str, int] = {}
    for column in (LABEL_COLUMN, "species_code", "scientific_name", "common_name"):
        for row, name in enumerate(table.get(column, ())):
            rows.setdefault(name_key(name), row)
    found = {label: rows[key] for label in labels if (key := name_key(label)) in rows}
    if not found:
        raise DataError(f"{path} knows none of the labels; give a table with the names of these species")
    columns = [column for column in _COLUMNS if column in table]
    named = table[columns].to_dict("records")
    return {
        label: {str(column): name for column, name in named[row].items() if name}
        for label, row in found.items()
    }


def _column_of(table: pd.DataFrame, language: str, path: Path) -> pd.Series:
    """Return the column of names in a language."""
    legal = {f"common_name_{language}".lower(), language.lower()}
    for column in table.columns:
        if str(column).lower().replace(" ", "_") in legal:
            return table[column]
    raise DataError(
        f"{path} has no names in the language {language!r}: neither a column common_name_{language} nor "
        f"{language}; its columns are {some([str(column) for column in table.columns])}"
    )


def names_in(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a table that hold labels and names, under our names for them.

    Examples
    --------
    >>> import pandas as pd
    >>> names_in(pd.DataFrame({"SCI_NAME": ["Strix aluco"], "ORDER": ["Strigiformes"]})).columns.tolist()
    ['scientific_name']
    """
    given = {str(column).lower().replace(" ", "_"): column for column in reversed(table.columns)}
    legal = {LABEL_COLUMN: (LABEL_COLUMN,), **_COLUMNS}
    chosen = {
        ours: next((given[name] for name in names if name in given), None) for ours, names in legal.items()
    }
    return pd.DataFrame(
        {ours: table[name].map(clean_label) for ours, name in chosen.items() if name is not None}
    )


def names_of(labels: Iterable[str], taxonomy: Taxonomy) -> dict[str, SpeciesNames]:
    """Return the two names of every label: those of the taxonomy, else those that the label itself holds.

    Examples
    --------
    >>> names_of(["tawowl1"], {"tawowl1": {"scientific_name": "Strix aluco"}})
    {'tawowl1': SpeciesNames(scientific='Strix aluco', common='tawowl1')}
    """
    known = {label: (taxonomy.get(label, {}), species_names(label)) for label in labels}
    return {
        label: SpeciesNames(
            given.get("scientific_name") or own.scientific, given.get("common_name") or own.common
        )
        for label, (given, own) in known.items()
    }


def name_key(name: str) -> str:
    """Return a name as it is compared: in lower case, with blanks instead of underscores.

    Examples
    --------
    >>> name_key("Junco_hyemalis") == name_key("junco  hyemalis")
    True
    """
    return clean_label(name.replace("_", " ")).casefold()


class SpeciesIndex:
    """Lookup of the labels that a name stands for: the label itself, or any of the names of its species.

    Parameters
    ----------
    labels
        The model's classes.
    taxonomy
        Their names, where known. Labels such as ``Turdus merula_Eurasian Blackbird`` hold two themselves.

    Examples
    --------
    >>> index = SpeciesIndex(["Junco_hyemalis", "owl"], {"owl": {"species_code": "tawowl1"}})
    >>> index.labels_of("Junco hyemalis_Dark-eyed Junco"), index.labels_of("TAWOWL1"), index.labels_of("wren")
    (['Junco_hyemalis'], ['owl'], [])
    """

    def __init__(self, labels: Iterable[str], taxonomy: Taxonomy | None = None) -> None:
        self.labels, self.taxonomy = tuple(labels), taxonomy or {}
        self._exact = frozenset(self.labels)
        self._of: dict[str, list[str]] = {}
        for label in self.labels:
            names = (label, *species_names(label), *self.taxonomy.get(label, {}).values())
            for key in dict.fromkeys(map(name_key, names)):
                self._of.setdefault(key, []).append(label)

    def labels_of(self, name: str) -> list[str]:
        """Return the labels of a name, which may be BirdNET's ``Scientific name_Common name``."""
        if name in self._exact:
            return [name]
        scientific, _, common = name.partition("_")
        candidates = [name, scientific, common] if common and " " in scientific.strip() else [name]
        return next((found for each in candidates if (found := self._of.get(name_key(each)))), [])

    def label_of(self, name: str) -> str:
        """Return the one label that a name stands for.

        Raises
        ------
        DataError
            It stands for none, or for several; those, or the nearest, are named.

        Examples
        --------
        >>> index = SpeciesIndex(["Curruca undata"], {"Curruca undata": {"common_name": "Dartford Warbler"}})
        >>> index.label_of("dartford warbler")
        'Curruca undata'
        >>> index.label_of("Dartfort Warbler")
        Traceback (most recent call last):
            ...
        dawnchorus.errors.DataError: no species here is named Dartfort Warbler; did you mean Dartford Warbler
        (Curruca undata)?
        """
        found = self.labels_of(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{in_line(name)} is a name of {' and of '.join(found)}; write one of these")
        near = " or ".join(self.shown(label) for label in self.near(name))
        hint = f"; did you mean {near}?" if near else ""
        raise DataError(f"no species here is named {in_line(name)}{hint}")

    def shown(self, label: str) -> str:
        """Return the names of a label as people are shown them, ``Common name (Scientific name)``."""
        return both_names(names_of([label], self.taxonomy)[label])

    def near(self, name: str, n: int = 3) -> list[str]:
        """Return the labels that a name is most like, the likeliest first; none where it is like none.

        Examples
        --------
        >>> SpeciesIndex(["Strix aluco_Tawny Owl", "wren"]).near("Strix alucco")
        ['Strix aluco_Tawny Owl']
        """
        found = difflib.get_close_matches(name_key(name), list(self._of), n=n)
        return list(dict.fromkeys(label for key in found for label in self._of[key]))[:n]

    def misspelt(self, names: Iterable[str]) -> dict[str, str]:
        """Return, by name, the label that it differs from in a letter or two, where it is no name of any.

        Only labels that none of the names stands for are thought of, so that a species that the model does
        not know is not taken for its neighbour.

        Examples
        --------
        >>> index = SpeciesIndex(["Strix aluco", "Parus major"])
        >>> index.misspelt(["Strix alucco", "Parus major", "Parus minor"])
        {'Strix alucco': 'Strix aluco'}
        """
        given = list(names)
        known = {label for name in given for label in self.labels_of(name)}
        keys = defaultdict(list)
        for key, labels in self._of.items():
            if known.isdisjoint(labels):
                for mark in _marks(key):
                    keys[mark].append(key)
        found = {}
        for name in given:
            if self.labels_of(name):
                continue
            key = name_key(name)
            alike = {each for mark in _marks(key) for each in keys[mark] if abs(len(each) - len(key)) <= 2}
            if nearest := difflib.get_close_matches(key, sorted(alike), n=1, cutoff=_MISSPELT):
                found[name] = self._of[nearest[0]][0]
        return found


def _marks(key: str) -> tuple[str, str]:
    """Return what a name shares with its misspellings: the beginning, or the last word."""
    return f"{key[:3]}…", f"…{key.rpartition(' ')[2]}"
