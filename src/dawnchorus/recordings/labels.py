"""The label map between class names and indices, and the targets made with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.config.json_files import read_json
from dawnchorus.errors import DataError
from dawnchorus.formats.text_tables import clean_label, read_text_table, refuse_other_kinds, some
from dawnchorus.wording import counted, first_few

NOCALL = "nocall"
"""The label of a recording without any species: no class, a target of zeros."""

UNKNOWN = -1.0
"""The target of a species that may or may not be present. Any value below 0 means unknown."""

RESERVED_LABELS = frozenset({"filename", "start_s", "end_s", "label", "probability", "primary_label", "fold"})


@dataclass(frozen=True)
class LabelMap:
    """The classes of a model, in the order of its outputs.

    Examples
    --------
    >>> labels = LabelMap.of(["wren", "owl", "owl"])
    >>> labels.labels, labels.index("wren")
    (('owl', 'wren'), 1)
    >>> labels.multi_hot(["wren"])
    array([0., 1.], dtype=float32)
    """

    labels: tuple[str, ...]
    _index_of: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise DataError(f"labels stand twice in the label map: {some(twice)}; each may stand once")
        object.__setattr__(self, "_index_of", {label: index for index, label in enumerate(self.labels)})

    @classmethod
    def of(cls, labels: Iterable[str]) -> LabelMap:
        """Return the map of all distinct ``labels``, sorted."""
        return cls(tuple(sorted(set(labels))))

    def __len__(self) -> int:
        return len(self.labels)

    def __contains__(self, label: object) -> bool:
        return label in self._index_of

    def index(self, label: str) -> int:
        """Return the index of the output for ``label``."""
        try:
            return self._index_of[label]
        except KeyError:
            raise DataError(f"{label!r} is not one of the {len(self)} labels of this model") from None

    def indices(self, labels: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the indices of the outputs for ``labels``, each once, shape (at most n_labels,), int64.

        Labels that are not in the map, such as background species that are not trained on, are left out, and
        so is ``nocall``.
        """
        known = dict.fromkeys(self._index_of[label] for label in labels if label in self._index_of)
        return np.array(list(known), dtype=np.int64)

    def multi_hot(self, labels: Iterable[str]) -> npt.NDArray[np.float32]:
        """Return the target of a recording, shape (n_classes,), 1 for each of ``labels``, else 0.

        Labels that are not in the map are left out, as in :meth:`indices`.
        """
        target = np.zeros(len(self), dtype=np.float32)
        target[self.indices(labels)] = 1
        return target

    def __repr__(self) -> str:
        return f"LabelMap({counted(len(self), 'label')}: {first_few(self.labels)})"


def read_labels(given: Path | Iterable[str]) -> LabelMap:
    """Return the classes of a config's ``labels``: a list, or a file with a label a line.

    A CSV file has them in the column ``primary_label``, as a competition's ``taxonomy.csv`` does. A JSON file
    is a list of them, or gives each its number, ``{"owl": 0, "wren": 1}``, as the published system's do.

    Raises
    ------
    DataError
        The file cannot be read, is of another kind or lacks the column, there is no label, or one occurs
        twice.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.txt").write_text("wren\\nowl\\n")
    >>> read_labels(Path("labels.txt")).labels
    ('wren', 'owl')
    """
    labels = _labels_in_file(given) if isinstance(given, Path) else tuple(given)
    if not labels:
        raise DataError(f"{given}: no labels; name at least one class")
    try:
        return checked(LabelMap(labels))
    except DataError as error:
        raise DataError(f"{given}: {error}" if isinstance(given, Path) else str(error)) from None


def checked(labels: LabelMap) -> LabelMap:
    """Return the classes of a model unchanged, after checking their names.

    Raises
    ------
    DataError
        A class is ``nocall``, or named like a column of the tables that are written later.

    Examples
    --------
    >>> checked(LabelMap(("owl", "wren"))).labels
    ('owl', 'wren')
    >>> checked(LabelMap(("owl", "nocall")))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: nocall is no class but the target of zeros; leave it out of the labels
    """
    taken = sorted(RESERVED_LABELS.intersection(labels.labels))
    if taken:
        raise DataError(f"a species cannot be named {some(taken)}: tables have such a column")
    if NOCALL in labels:
        raise DataError(f"{NOCALL} is no class but the target of zeros; leave it out of the labels")
    return labels


def _labels_in_file(path: Path) -> tuple[str, ...]:
    if path.suffix.lower() == ".csv":
        return tuple(map(clean_label, read_text_table(path, required=("primary_label",))["primary_label"]))
    try:
        refuse_other_kinds(path, legal="a label a line")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the labels {path} cannot be read: {error}") from None
    if (first := "".join(lines).lstrip()[:1]) in ("{", "[") or path.suffix.lower() == ".json":
        return _labels_in_json(path, are_numbered=first == "{")
    return tuple(label for line in lines if (label := clean_label(line)))


def _labels_in_json(path: Path, *, are_numbered: bool) -> tuple[str, ...]:
    legal = 'give a list of labels, or each label with its number, {"owl": 0, "wren": 1}'
    if not are_numbered:
        return tuple(map(clean_label, read_json(path, list[str], error=DataError, remedy=legal)))
    numbers = read_json(path, dict[str, int], error=DataError, remedy=legal)
    if sorted(numbers.values()) != list(range(len(numbers))):
        raise DataError(f"{path}: the numbers must be 0 to {len(numbers) - 1}, each once; {legal}")
    return tuple(map(clean_label, sorted(numbers, key=numbers.__getitem__)))


def has_unknown(target: npt.NDArray[np.float32]) -> bool:
    """Return whether an entry of a target, of any shape, is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> has_unknown(np.float32([1, 0])), has_unknown(np.float32([1, UNKNOWN]))
    (False, True)
    """
    return bool(target.min(initial=0) < 0)


def scale_target(target: npt.NDArray[np.float32], factor: np.float32) -> npt.NDArray[np.float32]:
    """Return ``target · factor``, shape (n_classes,); unknown entries stay unknown.

    Examples
    --------
    >>> import numpy as np
    >>> scale_target(np.float32([1, 0, UNKNOWN]), np.float32(0.5))
    array([ 0.5,  0. , -1. ], dtype=float32)
    """
    scaled = target * factor
    if has_unknown(target):
        scaled[target < 0] = UNKNOWN
    return scaled


def smooth_target(target: npt.NDArray[np.float32], amount: float) -> npt.NDArray[np.float32]:
    """Return ``target · (1 − amount) + amount · sum(target) / n_classes``, shape (n_classes,).

    Unknown entries stay unknown and add nothing to the sum.

    Examples
    --------
    >>> import numpy as np
    >>> smooth_target(np.float32([1, 0]), 0.1)  # 0.9 + 0.1 / 2, and 0.1 / 2
    array([0.95, 0.05], dtype=float32)
    """
    if amount == 0:
        return target
    if has_unknown(target):
        smoothed = smooth_target(np.maximum(target, 0), amount)
        smoothed[target < 0] = UNKNOWN
        return smoothed
    return target * np.float32(1 - amount) + np.float32(amount * target.sum() / len(target))
