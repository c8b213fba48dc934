"""Names of species that stand for one another: synonyms, and what species were split into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dawnchorus.errors import DataError
from dawnchorus.formats.taxonomy import name_key
from dawnchorus.formats.text_tables import clean_label, read_text_table


@dataclass(frozen=True)
class Synonyms:
    """Pairs of names; a name may be in several, as one that was split is.

    Attributes
    ----------
    pairs
        By :func:`~dawnchorus.formats.taxonomy.name_key`, the names that a name is paired with. Pairs count
        both ways, and no further: the two species that one was split into are no synonyms of each other.

    Examples
    --------
    >>> split = [("Larus argentatus", "Larus smithsonianus"), ("Larus argentatus", "Larus vegae")]
    >>> names = Synonyms.of(split)
    >>> names.others("larus_argentatus"), names.others("Larus vegae")
    (('Larus smithsonianus', 'Larus vegae'), ('Larus argentatus',))
    """

    pairs: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Synonyms:
        """Return the synonyms in pairs of names."""
        found: dict[str, tuple[str, ...]] = {}
        for one, other in pairs:
            for name, also in ((one, other), (other, one)):
                key = name_key(name)
                if name_key(also) != key:
                    found[key] = tuple(dict.fromkeys((*found.get(key, ()), also)))
        return cls(found)

    @classmethod
    def read(cls, path: Path) -> Synonyms:
        """Return the synonyms in a table, whose first two columns are paired, a pair a row.

        Raises
        ------
        DataError
            The table cannot be read, or has a single column.
        """
        table = read_text_table(path, required=())
        if table.shape[1] < 2:
            raise DataError(f"{path} has a single column; write two names of a species a line, as name,also")
        rows = table.iloc[:, :2].map(clean_label).itertuples(index=False, name=None)
        return cls.of((one, other) for one, other in rows if one and other)

    def others(self, name: str) -> tuple[str, ...]:
        """Return the names that a name is paired with."""
        return self.pairs.get(name_key(name), ())
