"""The jobs of an inference config: out-of-fold score, both exports, and predicted soundscapes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dawnchorus.batch.bulk import BulkPredictions, BulkSettings, predict_bulk
from dawnchorus.config import InferenceConfig
from dawnchorus.engines import Engine, open_engine
from dawnchorus.engines.calibrations import with_calibration
from dawnchorus.errors import ConfigError
from dawnchorus.evaluate.out_of_fold import OutOfFold
from dawnchorus.export.ensemble_export import export_ensemble
from dawnchorus.export.parity import Parity
from dawnchorus.formats import formats_of
from dawnchorus.models.card import ModelCard
from dawnchorus.pipelines.run_evaluation import evaluate_run
from dawnchorus.pipelines.run_score_calibration import calibrate_after_training
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.postprocess import PostprocessSettings
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.predict.thresholds import default_thresholds
from dawnchorus.runs import Run, open_run


class Compiled(NamedTuple):
    """A run's score, its exports' agreement with PyTorch, and the predictions, if there are any.

    Examples
    --------
    >>> from dawnchorus.pipelines.run_evaluation import evaluate_run
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> compiled = Compiled(run, evaluate_run(run, run.config()), parities=[], predictions=None)
    >>> compiled.out_of_fold.scored_labels
    ('owl', 'wren')
    """

    run: Run
    out_of_fold: OutOfFold | None
    parities: list[Parity]
    predictions: BulkPredictions | None


def compile_run(config: InferenceConfig, *, debug: bool = False) -> Compiled:
    """Return the out-of-fold score, the exports and the predictions that an inference config names.

    Raises
    ------
    ConfigError
        The config expects a run of another name.
    RunError
        There is no run, or its training config has changed.

    Examples
    --------
    >>> from dawnchorus.config import InferenceConfig
    >>> compile_run(InferenceConfig(run="logdirs/tiny", exp_name="owls"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: exp_name is 'owls' in the inference config and 'tiny' in the training
    config; make them the same, or leave it out of the inference config
    """
    run = open_run(config.train_config or config.run or "", debug=debug)
    train_config = run.config()
    if config.exp_name is not None and config.exp_name != train_config.exp_name:
        raise ConfigError(
            f"exp_name is {config.exp_name!r} in the inference config and {train_config.exp_name!r} in the "
            "training config; make them the same, or leave it out of the inference config"
        )
    _check_predictions(config, run.card())  # before the work, to fail early
    out_of_fold = None
    if run.folds()["validated"].any():
        out_of_fold = evaluate_run(run, train_config, folds=config.folds, batch_size=config.batch_size)
        calibrate_after_training(run, train_config)
    parities = export_ensemble(
        run,
        train_config,
        folds=config.folds,
        int8=config.int8,
        one_file=config.one_file,
        onnx_fp16=config.onnx_fp16,
        frames=config.frames,
        taxonomy=config.taxonomy,
    )
    predictions = None
    if config.soundscapes is not None:
        engine = with_calibration(open_engine(run.path))
        bulk = _bulk_settings(config, engine)
        found = find_recordings([str(config.soundscapes)])
        # With force, because the export that it predicts with has just been written.
        predictions = predict_bulk(engine, found, run.path / "soundscapes", bulk, force=True)
    return Compiled(run, out_of_fold, parities, predictions)


def _check_predictions(config: InferenceConfig, card: ModelCard) -> None:
    formats_of(config.formats)
    if config.overlap_s >= card.segment_len or (config.shift_s or 0) >= card.segment_len:
        raise ConfigError(
            f"overlap_s is {config.overlap_s} and shift_s {config.shift_s}; both must be below the model's "
            f"windows of {card.segment_len:g} s"
        )


def _bulk_settings(config: InferenceConfig, engine: Engine) -> BulkSettings:
    n_classes = len(engine.card.labels)
    if config.threshold is None:
        thresholds = default_thresholds(engine.thresholds, n_classes)
    else:
        thresholds = np.full(n_classes, config.threshold, dtype=np.float32)
    return BulkSettings(
        DetectionSettings(thresholds, top_k=config.top_k, merge=config.merge),
        overlap_s=config.overlap_s,
        postprocess=PostprocessSettings(
            config.shift_s, config.overlap_average, config.smoothing, config.scale_exponent
        ),
        formats=config.formats,
    )
