"""A simple baseline for a network: logistic regression on each clip's mean log-mel spectrum."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dawnchorus.config import LoaderSettings, TrainConfig
from dawnchorus.datasets.loaders import ClipLoader
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.evaluate.out_of_fold import OutOfFold
from dawnchorus.evaluate.validated_recordings import recordings_with_folds
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.folds.assignment import training_rows, validation_rows
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.progress import track
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.runs import Run


def baseline_macro_roc_auc(run: Run, config: TrainConfig, network: OutOfFold) -> float:
    """Return the baseline's out-of-fold macro ROC-AUC: the same folds, windows, targets and classes.

    Parameters
    ----------
    run, config
        The run whose folds and front-end are used.
    network
        The network's out-of-fold result, whose recordings and classes are scored.

    Examples
    --------
    >>> from dawnchorus.evaluate.out_of_fold import predict_out_of_fold
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> network = predict_out_of_fold(run, run.config())
    >>> baseline_macro_roc_auc(run, run.config(), network) > 0.5
    True
    """
    recordings = recordings_with_folds(run, config)
    labels = LabelMap(run.card().labels)
    args = config.train_function_args
    dataset = args.val_dataset_class(recordings, labels, args.val_dataset_config)
    features, recording = _mean_spectra(dataset, FrontendSettings(**run.card().frontend))
    columns = [labels.index(label) for label in network.scored_labels]
    folds = recordings["fold"].to_numpy()
    scores = np.zeros((len(recordings), len(columns)))
    for fold in np.unique(network.predictions["fold"]):
        train = training_rows(folds, fold)[recording]
        tested = validation_rows(folds, recordings["validated"].to_numpy(), fold)[recording]
        for number, column in enumerate(columns):
            target = dataset.targets[recording, column] > 0.5
            probability = _fit_and_predict(features[train], target[train], features[tested])
            np.maximum.at(scores[:, number], recording[tested], probability)
    rows = pd.Index(recordings["filename"]).get_indexer(pd.Index(network.predictions["filename"]))
    return macro_roc_auc(dataset.targets[rows][:, columns], scores[rows])


def _mean_spectra(
    dataset: WaveAllFileDataset, frontend_settings: FrontendSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return each window's mean spectrum, (n_windows, n_mels), and its recording, (n_windows,)."""
    frontend = LogMelFrontend(frontend_settings)
    loader = ClipLoader(dataset, LoaderSettings(batch_size=32))
    spectra, recordings = [], []
    with torch.inference_mode():
        for waves, recording, _ in track(loader, "Baseline spectra", total=len(loader)):
            spectra.append(frontend(waves).mean(dim=(1, 3)).numpy())
            recordings.append(recording.numpy())
    return np.concatenate(spectra), np.concatenate(recordings)


def _fit_and_predict(features: np.ndarray, target: np.ndarray, new_features: np.ndarray) -> np.ndarray:
    """Return the probability of one class for ``new_features``; 0 for a class without training examples."""
    if not target.any() or target.all():
        return np.full(len(new_features), float(target.all()))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, target)
    return model.predict_proba(new_features)[:, 1]
