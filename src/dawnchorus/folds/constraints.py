"""What every split of folds owes to the settings: who is always in training, and who is validated.

It is about whole groups, never about single recordings, so that nothing can leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from dawnchorus.config import FoldSettings
from dawnchorus.folds.groups import GroupedRecordings, learnt_labels
from dawnchorus.recordings.labels import NOCALL

ALWAYS_IN_TRAINING = -1
"""The fold of what every model learns and none is tested on."""


class FoldSplit(NamedTuple):
    """The fold of every group, the number of folds, and sentences on how it came to that.

    Examples
    --------
    >>> import numpy as np
    >>> split = FoldSplit(fold_of_group=np.array([0, 1, -1]), n_folds=2, notes=[])
    >>> split.n_folds, split.fold_of_group == ALWAYS_IN_TRAINING
    (2, array([False, False,  True]))
    """

    fold_of_group: np.ndarray
    n_folds: int
    notes: list[str]


@dataclass(frozen=True)
class FoldConstraints:
    """What the settings ask of a split.

    Attributes
    ----------
    settings
        The settings themselves.
    grouped
        The recordings that are split.
    rare
        Which classes are rare, shape (n_classes,), bool.
    promised
        Which classes every training fold must have, shape (n_classes,), bool.
    heard
        All the species in each recording as one text, shape (n_recordings,): a fold that validates only
        one such text has no ROC-AUC.

    Examples
    --------
    >>> import pandas as pd
    >>> from dawnchorus.config import FoldSettings
    >>> from dawnchorus.folds.groups import group_recordings
    >>> recordings = pd.DataFrame({"filename": list("abc"), "primary_label": ["owl", "owl", "wren"]})
    >>> recordings["author"] = ["Ada", "Bea", "Bea"]
    >>> grouped, settings = group_recordings(recordings, ("author",)), FoldSettings(rare_up_to=1)
    >>> constraints = FoldConstraints.of(recordings, grouped, settings)
    >>> constraints.grouped.names, constraints.rare
    (array(['owl', 'wren'], dtype=object), array([False,  True]))
    """

    settings: FoldSettings
    grouped: GroupedRecordings
    rare: np.ndarray
    promised: np.ndarray
    heard: np.ndarray

    @classmethod
    def of(
        cls, recordings: pd.DataFrame, grouped: GroupedRecordings, settings: FoldSettings
    ) -> FoldConstraints:
        """Return what ``settings`` ask of these recordings; ``nocall`` is no class to promise anything to."""
        species = grouped.names != NOCALL
        rare = species & (grouped.counts.sum(axis=0) <= settings.rare_up_to)
        promised = species if settings.every_class_in_training else rare
        return cls(settings, grouped, rare, promised, _heard(recordings, set(grouped.names)))

    def validated(self, folds: np.ndarray) -> np.ndarray:
        """Return which recordings are validated, shape (n_recordings,), bool."""
        return (folds != ALWAYS_IN_TRAINING) & ~self.rare[self.grouped.classes]

    def only_rare(self) -> np.ndarray:
        """Return which groups hold nothing but rare classes: in training they cost no validation."""
        return np.asarray(self.grouped.counts[:, ~self.rare].sum(axis=1) == 0)

    def always_in_training(self) -> np.ndarray:
        """Return the groups to set apart: of rare classes only, or the only one of a promised class."""
        alone = self.promised & (self.grouped.groups_of_class == 1)
        return self.only_rare() | self.grouped.counts[:, alone].any(axis=1)

    def learnt_in_every_fold(self, fold_of_group: np.ndarray) -> np.ndarray:
        """Return the folds after moving the smallest group of each promised class that lies in one fold.

        It is moved to where it is always in training. Classes with the fewest groups come first: what is
        moved for them may serve the others. No move takes a class out of a training fold that had it, so
        that one pass is enough.
        """
        counts = self.grouped.counts
        moved, size = fold_of_group.copy(), self.grouped.sizes
        classes = np.flatnonzero(self.promised)
        for number in classes[np.argsort(self.grouped.groups_of_class[classes], kind="stable")]:
            members = np.flatnonzero(counts[:, number])
            folds = np.unique(moved[members])
            if len(folds) == 1 and folds[0] != ALWAYS_IN_TRAINING:
                moved[members[np.argmin(size[members])]] = ALWAYS_IN_TRAINING
        return moved

    def unmet(self, fold_of_group: np.ndarray, n_folds: int) -> str | None:
        """Return what is wrong with the first fold that cannot be scored, or None where all can."""
        folds = fold_of_group[self.grouped.groups]
        validated = self.validated(folds)
        for fold in range(n_folds):
            heard = set(self.heard[validated & (folds == fold)])
            if not heard:
                return f"fold {fold} would have nothing to validate"
            if len(heard) == 1:
                return (
                    f"fold {fold} would validate recordings of {heard.pop()} only, and a score needs some "
                    "with a species and some without"
                )
        return None

    def remedy(self, *ways: str) -> str:
        """Return ``ways`` and what else could be given up or done, as the end of a message."""
        rare = [f"lower rare_up_to from {self.settings.rare_up_to}"] if self.settings.rare_up_to else []
        every = ["set every_class_in_training to False"] if self.settings.every_class_in_training else []
        return ", or ".join([*ways, *rare, *every, "add recordings"])


def _heard(recordings: pd.DataFrame, names: set[str]) -> np.ndarray:
    secondary = recordings["secondary_labels"] if "secondary_labels" in recordings else [()] * len(recordings)
    sets = [
        {*learnt, *names.intersection(others)} - {NOCALL}
        for learnt, others in zip(learnt_labels(recordings), secondary, strict=True)
    ]
    return np.array([" and ".join(sorted(species)) or NOCALL for species in sets], dtype=object)
