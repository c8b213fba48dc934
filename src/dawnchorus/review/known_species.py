"""The species of a review, by any of their names; others are added by a step of their own."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd

from dawnchorus.errors import ConfigError, DataError
from dawnchorus.formats.taxonomy import SpeciesIndex
from dawnchorus.formats.text_tables import clean_label
from dawnchorus.recordings.labels import NOCALL
from dawnchorus.review.answer_store import AnswerStore
from dawnchorus.wording import counted, first_few, in_line

UNNAMED = frozenset({"", "unknown"})
"""Labels of a table of clips of which nobody has said what they are."""


class KnownSpecies:
    """The species that can be heard in a review: those of the model, and those that people have added.

    Parameters
    ----------
    store
        Where what is added is kept.
    given
        Those of the model, with their names.
    detected
        Labels of the clips; the model may be another one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.formats.taxonomy import SpeciesIndex
    >>> from dawnchorus.review.answer_store import AnswerStore
    >>> store = AnswerStore(Path("review.sqlite"))
    >>> given = SpeciesIndex(["Curruca undata"], {"Curruca undata": {"common_name": "Dartford Warbler"}})
    >>> species = KnownSpecies(store, given)
    >>> species.label_of("dartford warbler"), species.add("Cuculus canorus")
    ('Curruca undata', 'Cuculus canorus')
    >>> species.label_of("cuculus canorus")
    'Cuculus canorus'
    >>> store.close()
    """

    def __init__(self, store: AnswerStore, given: SpeciesIndex, detected: tuple[str, ...] = ()) -> None:
        self._store = store
        own = dict.fromkeys(label for label in (*given.labels, *detected) if label not in UNNAMED)
        self._index = lru_cache(1)(lambda added: SpeciesIndex([*own, *added], given.taxonomy))

    @property
    def index(self) -> SpeciesIndex:
        """The labels and their names, with what was added until now."""
        return self._index(self._store.species())

    def label_of(self, name: str) -> str:
        """Return the label of a name, ``nocall`` for that of no species.

        Raises
        ------
        ConfigError
            The name is empty.
        DataError
            No species, or several, have it.
        """
        name = clean_label(name)
        if not name:
            raise ConfigError("a species that was heard is empty; name it or leave it out")
        return NOCALL if name.casefold() == NOCALL else self.index.label_of(name)

    def add(self, name: str) -> str:
        """Return the label of a name, which is a new species where it is that of none.

        Raises
        ------
        ConfigError
            The name is empty.
        """
        name = clean_label(name)
        if not self.index.labels_of(name):
            if not name:
                raise ConfigError("the species to add has no name; give one")
            self._store.add_species(name)
        return self.label_of(name)

    def named_in(self, table: pd.DataFrame, *, may_add: bool) -> pd.DataFrame:
        """Return a table of clips with the labels that its names stand for.

        Raises
        ------
        DataError
            Names are those of no species, and they are not to be added.
        """
        names = [str(name) for name in table["label"].unique() if name not in UNNAMED]
        unknown = [name for name in names if not self.index.labels_of(name)]
        if unknown and not may_add:
            near = [self.index.shown(label) for label in self.index.near(unknown[0])]
            hint = f"; for {in_line(unknown[0])}, did you mean {' or '.join(near)}?" if near else "."
            raise DataError(
                f"the table of clips names {counted(len(unknown), 'species', 'species')} that the model does "
                f"not know: {first_few(unknown)}{hint} Correct the table, or add them with --new-species"
            )
        labels = {name: self.add(name) for name in names}
        return table.assign(label=[labels.get(name, name) for name in table["label"]])
