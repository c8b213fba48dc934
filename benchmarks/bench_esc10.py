"""Accuracy on ESC-10 in its official five folds, from nothing and from ImageNet.

The spectrograms are half as fine as in ``small_data``, for their cost. ``small_data`` was chosen by networks
that learnt fold 3 and were scored on fold 2 (``bench_small_data.py``); folds 1, 4 and 5 were in no choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from accuracy import Logistic, Trained, Trial, accuracy_arguments, chosen, esc10, over_seeds, run_trials

from dawnchorus.report.measurements import Measurement

COARSE = {"frontend": {"hop_length": 1024}, "num_workers": 0}  # half the frames, half the time
FROM_IMAGENET = Trained("small_data from ImageNet", COARSE)
FROM_NOTHING = Trained(
    "from nothing",
    {
        "frontend": {"hop_length": 1536},
        "num_workers": 0,
        "weights": None,
        "pretrained": False,
        "backbone": "resnet10t",
        "backbone_config": {"channels": (32, 64, 128, 256), "stem_type": "", "stem_width": 16},
        "lr": 3e-3,
        "dropout": 0.2,
        "frozen_layers": (),
        "n_epochs": 24,
    },
)
METHODS = (Logistic("ImageNet"), FROM_IMAGENET, FROM_NOTHING)
WANTED = {FROM_NOTHING.name: 0.85, FROM_IMAGENET.name: 0.96}
PUBLISHED = {  # accuracy; K. J. Piczak, ESC (2015) and its list of results; Tokozume et al., ICLR 2018
    "random forest": 0.727,
    "Piczak's CNN": 0.8025,
    "EnvNet-v2, between-class": 0.914,
    "humans": 0.957,
}


def rows_of(trials: Sequence[Trial]) -> list[Measurement]:
    """Return the accuracy of each method, mean over folds and seeds, and of each fold."""
    rows = [
        Measurement(f"accuracy: {name}, {n} seeds, ±{half:.3f}", mean, target=WANTED.get(name))
        for name, (mean, half, n) in over_seeds(trials, "top-1").items()
    ]
    for fold in range(5):
        of_fold = over_seeds(trials, f"top-1 of fold {fold}")
        rows += [Measurement(f"fold {fold + 1}: {name}", mean) for name, (mean, *_) in of_fold.items()]
    return rows + [Measurement(f"accuracy: published, {name}", value) for name, value in PUBLISHED.items()]


if __name__ == "__main__":
    arguments = accuracy_arguments(str(__doc__), n_seeds=3)
    run_trials("ESC-10", [esc10], chosen(METHODS, arguments), arguments, rows=rows_of)
