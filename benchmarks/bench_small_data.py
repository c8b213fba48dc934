"""What matters with little data, one change at a time: eight clips of each of ESC-10's classes.

Networks learn fold 3 and are scored on fold 2, so that what is chosen here has seen no other fold's score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accuracy import (
    Logistic,
    Trained,
    Trial,
    accuracy_arguments,
    chosen,
    esc10_few,
    rows_over_seeds,
    run_trials,
)

from dawnchorus.report.measurements import Measurement

START: dict[str, Any] = {
    "frontend": {"hop_length": 1024, "n_mels": 64},
    "n_epochs": 5,
    "clips_per_epoch": 320,
    "num_workers": 0,
}


def changed(name: str, **changes: Any) -> Trained:
    """Return the training that differs from the others by a change."""
    return Trained(name, {**START, **changes})


FINER = {"hop_length": 1024, "n_mels": 128}
METHODS = (
    Logistic("ImageNet"),
    changed("small_data, 100 steps"),
    changed("all layers trained", frozen_layers=()),
    changed("all layers trained, 128 mels", frozen_layers=(), frontend=FINER),
    changed(
        "all layers trained, 128 mels, cross-entropy", frozen_layers=(), frontend=FINER, loss="cross_entropy"
    ),
)


def rows_of(trials: Sequence[Trial]) -> list[Measurement]:
    """Return top-1 and macro ROC-AUC of each change."""
    return rows_over_seeds(trials, ("top-1 of all", "macro ROC-AUC"))


if __name__ == "__main__":
    arguments = accuracy_arguments(str(__doc__), n_seeds=1)
    run_trials("Little data", [esc10_few], chosen(METHODS, arguments), arguments, rows=rows_of)
