"""dawnchorus: bird-sound classification, from labelled recordings to tables of who sang when.

The names below serve configs and notebooks. They are imported when first used, so that
``import dawnchorus`` and ``dawnchorus --help`` stay fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dawnchorus.privacy import disable_telemetry

if TYPE_CHECKING:
    from dawnchorus.audio.sound import Sound
    from dawnchorus.config import DataSettings
    from dawnchorus.config.registry import register, registered
    from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
    from dawnchorus.datasets.wave_dataset import WaveDataset
    from dawnchorus.engines import open_engine
    from dawnchorus.errors import DawnchorusError
    from dawnchorus.features.spectrogram import Spectrogram
    from dawnchorus.models.head import ModelOutput
    from dawnchorus.models.wave_cnn import WaveCNNAttenClasifier, WaveCNNAttenClassifier
    from dawnchorus.pipelines.adoption import adopt
    from dawnchorus.pipelines.experiment import TrainedRun, open_run, train
    from dawnchorus.pipelines.probing import probe
    from dawnchorus.pipelines.retraining import retrain
    from dawnchorus.predict.birds_inference import BirdsInference
    from dawnchorus.predict.model import Model, load_model
    from dawnchorus.predict.predictions import Detections, Predictions
    from dawnchorus.recordings.labels import LabelMap
    from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
    from dawnchorus.report.soundscapes.soundscape_page import write_report
    from dawnchorus.review.reviewing import Review, open_review
    from dawnchorus.self_training.distillation import distill
    from dawnchorus.self_training.rounds import rounds
    from dawnchorus.training.lightning_training import lightning_training

__version__ = "0.1.0"

__all__ = [
    "BirdsInference",
    "DataSettings",
    "DawnchorusError",
    "Detections",
    "LabelMap",
    "Model",
    "ModelOutput",
    "Predictions",
    "Review",
    "Sound",
    "Spectrogram",
    "TrainedRun",
    "WaveAllFileDataset",
    "WaveCNNAttenClasifier",
    "WaveCNNAttenClassifier",
    "WaveDataset",
    "__version__",
    "adopt",
    "distill",
    "label_map_of",
    "lightning_training",
    "load_model",
    "load_recordings",
    "open_engine",
    "open_review",
    "open_run",
    "probe",
    "register",
    "registered",
    "retrain",
    "rounds",
    "train",
    "write_report",
]

_HOME = {
    "Detections": "dawnchorus.predict.predictions",
    "Model": "dawnchorus.predict.model",
    "Predictions": "dawnchorus.predict.predictions",
    "Sound": "dawnchorus.audio.sound",
    "Spectrogram": "dawnchorus.features.spectrogram",
    "load_model": "dawnchorus.predict.model",
    "DataSettings": "dawnchorus.config",
    "LabelMap": "dawnchorus.recordings.labels",
    "label_map_of": "dawnchorus.recordings.recordings_table",
    "load_recordings": "dawnchorus.recordings.recordings_table",
    "BirdsInference": "dawnchorus.predict.birds_inference",
    "DawnchorusError": "dawnchorus.errors",
    "ModelOutput": "dawnchorus.models.head",
    "WaveAllFileDataset": "dawnchorus.datasets.wave_all_file_dataset",
    "WaveCNNAttenClasifier": "dawnchorus.models.wave_cnn",
    "WaveCNNAttenClassifier": "dawnchorus.models.wave_cnn",
    "WaveDataset": "dawnchorus.datasets.wave_dataset",
    "lightning_training": "dawnchorus.training.lightning_training",
    "adopt": "dawnchorus.pipelines.adoption",
    "TrainedRun": "dawnchorus.pipelines.experiment",
    "open_run": "dawnchorus.pipelines.experiment",
    "probe": "dawnchorus.pipelines.probing",
    "open_engine": "dawnchorus.engines",
    "register": "dawnchorus.config.registry",
    "registered": "dawnchorus.config.registry",
    "train": "dawnchorus.pipelines.experiment",
    "write_report": "dawnchorus.report.soundscapes.soundscape_page",
    "retrain": "dawnchorus.pipelines.retraining",
    "distill": "dawnchorus.self_training.distillation",
    "rounds": "dawnchorus.self_training.rounds",
    "Review": "dawnchorus.review.reviewing",
    "open_review": "dawnchorus.review.reviewing",
}

disable_telemetry()  # before any engine is imported


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dawnchorus' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
