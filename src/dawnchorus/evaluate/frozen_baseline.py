"""The score of a simple head on frozen features in the folds of a run, to stand beside the run's own."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import ConfigDict

from dawnchorus.config import Record, read_json_if_sound
from dawnchorus.runs import Run

BASELINE_NAME = "frozen_baseline.json"
"""The file in a run."""


class FrozenBaseline(Record):
    """The out-of-fold score of a logistic regression on frozen features, in the folds of a run.

    Attributes
    ----------
    embedder
        Name of the network whose features they are.
    fingerprint
        That of its weights.
    recordings
        Digest of the recordings, their labels and folds.
    macro_roc_auc
        Of all folds pooled.
    mean_of_folds
        Mean of the folds' macro ROC-AUC; None where no fold has one.
    n_recordings
        Recordings that were scored.

    Examples
    --------
    >>> found = FrozenBaseline(
    ...     embedder="EfficientNet-Lite0 of ImageNet",
    ...     fingerprint="packaged 0",
    ...     recordings="0",
    ...     macro_roc_auc=0.81,
    ...     mean_of_folds=0.83,
    ...     n_recordings=70,
    ... )
    >>> found.sentence()
    'A logistic regression on frozen features of EfficientNet-Lite0 of ImageNet reaches a macro ROC-AUC of
    0.8300 as mean of the same folds, 0.8100 pooled.'
    """

    model_config = ConfigDict(extra="ignore")

    embedder: str
    fingerprint: str
    recordings: str
    macro_roc_auc: float
    mean_of_folds: float | None
    n_recordings: int

    def sentence(self) -> str:
        """Return the score in a sentence."""
        mean = self.mean_of_folds
        of_folds = "" if mean is None or math.isnan(mean) else f"{mean:.4f} as mean of the same folds, "
        return (
            f"A logistic regression on frozen features of {self.embedder} reaches a macro ROC-AUC of "
            f"{of_folds}{self.macro_roc_auc:.4f} pooled."
        )


def read_baseline(run: Run | Path) -> FrozenBaseline | None:
    """Return the baseline of a run; None where there is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_baseline(Path("logdirs/owls")) is None
    True
    """
    folder = run if isinstance(run, Path) else run.path
    return read_json_if_sound(folder / BASELINE_NAME, FrozenBaseline)
