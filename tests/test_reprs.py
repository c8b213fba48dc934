"""What public objects say of themselves is one short line that tells what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus import WaveAllFileDataset, WaveCNNAttenClassifier, WaveDataset, lightning_training
from dawnchorus.config import FoldSettings, TrainConfig, load_train_config
from dawnchorus.datasets.labelled_audio import LabelledAudio, LabelledAudioSettings
from dawnchorus.engines.engine import Outputs
from dawnchorus.evaluate.out_of_fold import OutOfFold
from dawnchorus.evaluate.reliability import reliability
from dawnchorus.folds.assignment import assign_folds
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.predict.window_predictions import WindowPredictions
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import label_map_of, load_recordings
from dawnchorus.recordings.time_labels import Boxes
from dawnchorus.runs import Run
from dawnchorus.training.run_preparation import PreparedRun


@pytest.fixture
def recordings(data_factory: Any) -> pd.DataFrame:
    data_factory.recordings(n_species=2, n_per_species=3, duration_s=(3.0, 3.0))
    return load_recordings(data_factory.root).table


def test_a_label_map_names_its_first_labels_only() -> None:
    assert repr(LabelMap.of(f"species_{k:03d}" for k in range(206))) == (
        "LabelMap(206 labels: species_000, species_001, species_002, …)"
    )
    assert repr(LabelMap(("owl",))) == "LabelMap(1 label: owl)"


def test_datasets_tell_how_much_they_hold(recordings: pd.DataFrame) -> None:
    labels, settings = label_map_of(recordings), {"segment_len": 2.0}
    assert repr(WaveDataset(recordings, labels, settings)) == (
        "WaveDataset(6 recordings, 2 labels, clips of 2 s at 32000 Hz)"
    )
    assert repr(WaveAllFileDataset(recordings, labels, settings)) == (
        "WaveAllFileDataset(12 windows of 6 recordings, 2 labels)"
    )
    audio = LabelledAudio(recordings, labels, LabelledAudioSettings(segment_len=2.0))
    assert repr(audio) == "LabelledAudio(6 recordings, 2 classes, clips of 2 s)"


def test_recordings_and_folds_tell_their_numbers(recordings: pd.DataFrame, data_factory: Any) -> None:
    assert repr(load_recordings(data_factory.root)) == "Recordings(6 recordings)"
    found = find_recordings([str(data_factory.root)])
    assert repr(found) == f"Recordings(6 recordings below {data_factory.root})"
    assignment = assign_folds(recordings, FoldSettings(n_folds=2), seed=0)
    assert repr(assignment) == "FoldAssignment(2 folds of 6 recordings in 4 groups)"
    prepared = PreparedRun(
        load_train_config("smoke"), Run(Path("tiny")), recordings, label_map_of(recordings), assignment
    )
    assert repr(prepared) == (
        "PreparedRun(tiny: LabelMap(2 labels: species_0, species_1), "
        "FoldAssignment(2 folds of 6 recordings in 4 groups))"
    )


def test_models_tell_their_name_classes_and_clip(stub: Any, card: Any) -> None:
    assert repr(card()) == "ModelCard(tiny: 3 classes, clips of 2 s at 16000 Hz)"
    engine = stub(card())
    assert repr(engine) == "StubEngine(tiny: 3 classes, clips of 2 s at 16000 Hz)"
    assert repr(BirdsInference(engine)) == "BirdsInference(tiny: 3 classes, windows of 2 s)"
    assert repr(BirdsInference(engine, overlap_s=1.5)) == (
        "BirdsInference(tiny: 3 classes, windows of 2 s that overlap by 1.5 s)"
    )
    outputs = Outputs(np.zeros((4, 3), np.float32), np.zeros((4, 8), np.float32))
    assert repr(outputs) == "Outputs(4 clips, 3 classes)"


def test_arrays_are_not_written_out() -> None:
    scores, stops = np.zeros((2, 300), np.float32), np.array([5, 10])
    assert repr(WindowPredictions(stops - 5, stops, scores, 1)) == "WindowPredictions(2 windows, 300 classes)"
    embedded = WindowPredictions(stops - 5, stops, scores, 1, np.zeros((2, 8), np.float32))
    assert repr(embedded) == "WindowPredictions(2 windows, 300 classes, with embeddings)"
    assert repr(Boxes.of([(0.0, 1.0, "owl")], LabelMap(("owl",)))) == "Boxes(1 box)"
    found = OutOfFold(
        pd.DataFrame(index=range(3)),
        np.zeros((3, 2)),
        macro_roc_auc=0.91,
        scored_labels=("owl",),
        scores={},
        fold_macro_roc_auc={0: 0.85, 1: 0.95},
    )
    assert repr(found) == (
        "OutOfFold(3 recordings, macro ROC-AUC 0.9100 pooled over 1 class, 0.9000 as mean of 2 folds)"
    )
    calibration = reliability([1, 0], [0.75, 0.25], n_bins=2)
    assert repr(calibration) == "Reliability(2 bins, expected calibration error 0.2500)"


def test_detection_settings_tell_what_was_chosen() -> None:
    assert repr(DetectionSettings(np.full(206, 0.5, np.float32))) == "DetectionSettings(thresholds 0.5)"
    chosen = DetectionSettings(np.float32([0.25, 0.5]), species=("owl",), top_k=3, merge=True)
    assert repr(chosen) == "DetectionSettings(thresholds 0.25 to 0.5, species owl, top 3, merged)"


def test_a_config_tells_the_experiment() -> None:
    datasets = {"train_dataset_class": WaveDataset, "val_dataset_class": WaveAllFileDataset}
    config = TrainConfig(
        exp_name="owls",
        data={"audio_dir": "audio"},
        nn_model_class=WaveCNNAttenClassifier,
        train_function=lightning_training,
        train_function_args={**datasets, "n_epochs": 1},
    )
    assert repr(config) == "TrainConfig(owls: WaveCNNAttenClassifier, 5 folds, 1 epoch)"


def test_a_run_tells_its_finished_folds_and_a_notebook_their_scores(tmp_path: Path) -> None:
    run = Run(tmp_path / "<tiny>")
    assert repr(run) == f"Run({run.path}: 0 finished folds)"
    assert "<table" not in run._repr_html_()
    for fold in (0, 1):
        run.fold_dir(fold).mkdir(parents=True)
        run.finished_file(fold).write_text(
            json.dumps({"best_checkpoint": "best.ckpt", "val_macro_roc_auc": 0.5 + fold / 8})
        )
    assert repr(run) == f"Run({run.path}: 2 finished folds)"
    page = run._repr_html_()
    assert "&lt;tiny&gt;" in page
    assert "val_macro_roc_auc" in page
    assert "0.625" in page
