"""Heads on frozen embeddings as methods of benchmarks: the library's, and a plain logistic regression."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from accuracy import Array, Task
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dawnchorus.engines import open_engine
from dawnchorus.models.probe_head import HeadKind
from dawnchorus.pipelines.frozen_embeddings import WindowEmbeddings, embed_recordings
from dawnchorus.pipelines.probe_heads import Examples, fit_head

SHORTEST = 0.5  # of a window: what a recording's end cuts shorter is left out where there are longer ones
SHOWN = {"imagenet": "ImageNet", "birdnet": "BirdNET"}


class Frozen(NamedTuple):
    """A head on frozen embeddings; a recording's score is the mean over its windows' embeddings.

    Attributes
    ----------
    embedder
        ``imagenet`` or ``birdnet``.
    head
        A head of dawnchorus's probes, or ``plain``: logistic regression by scikit-learn as it comes, on
        standardised embeddings.
    """

    embedder: str
    head: HeadKind | str

    @property
    def name(self) -> str:
        """Name in the table."""
        what = {"plain": "logistic regression", "prototype": "prototypes", "linear": "our probe"}
        return f"{what.get(self.head, f'our {self.head} probe')} on frozen {SHOWN[self.embedder]}"

    def predict(self, task: Task, seed: int, work: Path) -> Array:
        """Return probabilities, shape (n_recordings, n_classes)."""
        recordings = embedded(self.embedder, task.paths, work)
        window_s = {"imagenet": 5.0, "birdnet": 3.0}[self.embedder]
        features = np.stack([mean_of(windows, window_s) for windows in recordings])
        folds, targets = task.table["fold"].to_numpy(), task.targets.astype(np.float32)
        groups = pd.factorize(task.table["group"])[0].astype(np.int64)
        numbers = np.arange(len(folds))
        examples = Examples(features, targets, numbers, numbers, groups, np.ones(len(folds)))
        found = np.zeros(targets.shape, np.float32)
        for fold in task.folds:
            tested = folds == fold
            found[tested] = self.fitted(examples.of(~tested), features[tested], seed)
        return found

    def fitted(self, learnt: Examples, tested: Array, seed: int) -> Array:
        """Return scores of embeddings, shape (n, n_classes), by a head that was fitted to examples."""
        if self.head != "plain":
            return fit_head(self.head, learnt, seed=seed).head.scores(tested)  # type: ignore[arg-type]
        scores = np.zeros((len(tested), learnt.targets.shape[1]), np.float32)
        if (learnt.targets.sum(1) == 1).all():
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            model.fit(learnt.features, learnt.targets.argmax(1))
            scores[:, model.classes_] = model.predict_proba(tested)
            return scores
        for column, target in enumerate(learnt.targets.T):
            known = target >= 0
            if len(np.unique(target[known])) == 2:
                model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
                model.fit(learnt.features[known], target[known])
                scores[:, column] = model.predict_proba(tested)[:, 1]
        return scores


def embedded(
    embedder: str, paths: list[Path], work: Path, *, overlap_s: float = 0.0
) -> list[WindowEmbeddings]:
    """Return the windows of recordings, kept in ``work``."""
    engine = open_engine(embedder, n_threads=1)
    found = embed_recordings(engine, paths, overlap_s=overlap_s, cache=work / "frozen").recordings
    return [windows for windows in found if windows is not None]


def mean_of(windows: WindowEmbeddings, window_s: float) -> npt.NDArray[np.float32]:
    """Return the mean embedding of a recording's windows, shape (n_features,), by the sound in each."""
    share = (windows.stop_s - windows.start_s) / window_s
    share = share * (share >= SHORTEST) if (share >= SHORTEST).any() else share
    return np.asarray(np.average(windows.features, axis=0, weights=share), np.float32)
