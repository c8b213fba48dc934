"""Calibration after training: made once, the same after a kill, the same scores wherever a run is opened."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dawnchorus as dc
from dawnchorus.cli import main
from dawnchorus.competition.bundle import bundle_runs
from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.engines import open_engine
from dawnchorus.engines.ensembles import Ensemble, WeightedModel
from dawnchorus.errors import DataError, ModelError
from dawnchorus.evaluate import out_of_fold
from dawnchorus.evaluate.out_of_fold import saved_out_of_fold
from dawnchorus.evaluate.score_fitting import cross_fitted, folds_together
from dawnchorus.export.ensemble_export import export_ensemble
from dawnchorus.files import locked
from dawnchorus.inference.__main__ import main as infer
from dawnchorus.models.score_calibration import ScoreCalibration
from dawnchorus.pipelines import run_score_calibration
from dawnchorus.pipelines.run_calibration import calibrate_run
from dawnchorus.pipelines.run_score_calibration import calibrate_after_training, fit_run_scores
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.runs import Run
from dawnchorus.training import lightning_training as training_module
from dawnchorus.training.lightning_training import lightning_training

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "score_calibration.json"


@pytest.fixture(scope="module")
def _no_run_page() -> Any:
    """Leave out ``report.html``, which takes longer to draw than most tests here."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (run_score_calibration, training_module):
            patch.setattr(module, "write_run_page", lambda run: None)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any, _no_run_page: Any) -> TrainConfig:
    root = data_factory_in(tmp_path_factory.mktemp("audio")).recordings(
        n_species=2, n_per_species=6, duration_s=(5.0, 5.5)
    )
    values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
    small = {
        "logdir": tmp_path_factory.mktemp("logdirs"),
        "data": {"audio_dir": root, "features_dir": None},
        "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
        "train_function_args": {"clips_per_epoch": 4, "n_epochs": 1, "train_loader": {"batch_size": 4}},
    }
    return validate(TrainConfig, merge(values, small), where="test")


@pytest.fixture(scope="module")
def one_fold(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run when fold 0 alone was trained and calibrated."""
    run = lightning_training(config, folds=[0])
    assert calibrate_after_training(run, config) is not None
    return Path(shutil.copytree(run.path, tmp_path_factory.mktemp("one_fold") / "run"))


@pytest.fixture(scope="module")
def trained(config: TrainConfig, one_fold: Path) -> Run:
    """The run with both folds, calibrated and exported."""
    run = lightning_training(config)
    calibrate_after_training(run, config)
    export_ensemble(run, config)
    return run


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was predicted, one line a fold."""
    lines: list[str] = []
    original = BirdsInference.predict_dataset

    def remember(self: BirdsInference, *args: Any, description: str, **options: Any) -> Any:
        lines.append(description)
        return original(self, *args, description=description, **options)

    monkeypatch.setattr(BirdsInference, "predict_dataset", remember)
    return lines


def night(config: TrainConfig) -> Path:
    return sorted(config.data[0].audio_dir.rglob("*.wav"))[0]


def test_a_single_fold_is_calibrated_on_its_own_recordings_and_tested_by_groups(one_fold: Path) -> None:
    found = ScoreCalibration.read(one_fold / NAME)
    assert list(found.weights) == ["0"]
    assert found.held_out.by == "group"
    assert 2 <= found.held_out.n_parts <= 5
    assert found.held_out.n_recordings == (Run(one_fold).folds()["fold"] == 0).sum()


def test_more_folds_are_calibrated_with_what_was_predicted_before(
    config: TrainConfig, one_fold: Path, trained: Run, tmp_path: Path, predicted: list[str]
) -> None:
    run = Run(Path(shutil.copytree(trained.path, tmp_path / "run")))
    (run.path / NAME).unlink()
    shutil.copy2(one_fold / "oof_predictions.parquet", run.oof_file)
    shutil.copy2(one_fold / NAME, run.path / NAME)
    before = run.oof_file.stat()
    assert before.st_mtime_ns > run.best_checkpoint(0).stat().st_mtime_ns
    found = calibrate_after_training(run, config)
    assert predicted == ["Fold 1, out of fold"], "fold 0 is as it was"
    assert found == ScoreCalibration.read(trained.path / NAME)
    assert (run.path / NAME).read_bytes() == (trained.path / NAME).read_bytes()
    assert found is not None
    assert found.held_out.by == "fold"
    assert list(found.weights) == ["0", "1"]


def test_a_killed_calibration_ends_as_if_it_had_not_been(
    config: TrainConfig, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predicted: list[str]
) -> None:
    run = Run(Path(shutil.copytree(trained.path, tmp_path / "run")))
    wanted = (run.path / NAME).read_bytes()
    for name in (NAME, "oof_predictions.parquet"):
        (run.path / name).unlink()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for place in ("_write", "calibrated_at_once"):
        with monkeypatch.context() as patch:
            if place == "_write":
                patch.setattr(out_of_fold, "_write", killed)
            else:
                patch.setattr(run_score_calibration, "write_csv", killed)
            with pytest.raises(KeyboardInterrupt):
                calibrate_after_training(run, config)
        assert not (run.path / NAME).exists()
    calibrate_after_training(run, config)
    assert (run.path / NAME).read_bytes() == wanted
    predicted.clear()
    calibrate_after_training(run, config)
    assert predicted == []


def test_the_numbers_are_of_recordings_that_it_was_not_fitted_to(config: TrainConfig, trained: Run) -> None:
    result = saved_out_of_fold(trained, config)
    assert result is not None
    labels, found = trained.card().labels, ScoreCalibration.read(trained.path / NAME)
    scores, folds = result.predictions[list(labels)].to_numpy(), result.predictions["fold"].to_numpy()
    if found.folds_together:
        scores = folds_together(scores, folds)
    held = cross_fitted(result.targets, scores, folds, labels)
    above = held >= found.threshold
    assert found.held_out.n_above == above.sum()
    assert found.held_out.n_right == (above & (result.targets > 0.5)).sum()
    table = pd.read_csv(trained.path / "oof_reliability_calibrated.csv")
    error = (table["n_pairs"] * (table["mean_score"] - table["observed_fraction"]).abs()).sum() / held.size
    assert found.held_out.ece == pytest.approx(error, abs=1e-9)


def test_a_model_that_knows_nothing_does_not_detect_everything(config: TrainConfig, trained: Run) -> None:
    result = saved_out_of_fold(trained, config)
    assert result is not None
    labels = list(trained.card().labels)
    noise = np.random.default_rng(0).uniform(0.4, 0.6, (len(result.predictions), len(labels)))
    guesses = result._replace(
        predictions=result.predictions.assign(**dict(zip(labels, noise.T, strict=True)))
    )
    share = float((result.targets > 0.5).mean())
    fitted = fit_run_scores(trained, config, guesses)
    assert fitted.calibration.threshold == pytest.approx(2 * share / (1 + share), abs=1e-3)
    assert (fitted.held_out < fitted.calibration.threshold).mean() > 0.9


def test_scores_are_the_same_in_all_engines_and_forms_of_the_model(
    config: TrainConfig, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, calibration = night(config), ScoreCalibration.read(trained.path / NAME)
    raw = dc.load_model(trained.path, "torch", calibrated=False)
    assert not raw.is_calibrated
    expected = calibration.apply(raw.predict(sound).probabilities)
    bundle_runs([trained.path], tmp_path / "bundle")
    onnx = trained.onnx_file.parent
    for path, engine, tolerance in (
        (trained.path, "torch", 1e-5),
        (onnx, None, 1e-4),
        (trained.path, "openvino", 2e-2),
        (tmp_path / "bundle", None, 2e-2),
    ):
        for size in (1, 3):
            model = dc.load_model(path, engine, clips_per_request=size)  # type: ignore[arg-type]
            assert model.is_calibrated
            scores = model.predict(sound)
            np.testing.assert_allclose(scores.probabilities, expected, atol=tolerance)
            streamed = np.concatenate([part.probabilities for part in model.stream(sound)])
            np.testing.assert_allclose(streamed, scores.probabilities, atol=1e-5)
    found = dc.load_model(onnx).predict(sound)
    assert len(found.detections()) == (found.probabilities >= np.float32(calibration.threshold)).sum()
    with pytest.MonkeyPatch.context() as patch:
        for options, scores in (([], expected), (["--raw-scores"], raw.predict(sound).probabilities)):
            patch.setattr("sys.argv", ["inference", str(onnx), str(sound), "--threshold", "0", *options])
            assert infer() == 0
            rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
            told = np.array([float(row["probability"]) for row in rows]).reshape(scores.shape)
            np.testing.assert_allclose(told, scores, atol=2e-4)


def test_the_journal_has_raw_scores_so_that_either_are_written_without_predicting(
    config: TrainConfig, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx, sounds = trained.onnx_file.parent, config.data[0].audio_dir

    def run(*options: str) -> Any:
        with pytest.raises(SystemExit) as stopped:
            main(["predict", str(onnx), str(sounds), "--out", str(tmp_path / "out"), *options])
        assert stopped.value.code in (0, None, 1)
        return capsys.readouterr()

    printed = run()
    calibration = ScoreCalibration.read(trained.path / NAME)
    assert f"thresholds {calibration.threshold:g}" in printed.out
    assert "scores are calibrated probabilities of presence, the best F1 on recordings held" in printed.err
    first = pd.read_parquet(tmp_path / "out" / "windows.parquet")
    refused = run("--raw-scores").err
    assert "holds tables made with another calibration and threshold" in refused
    printed = run("--raw-scores", "--force")
    assert "12 of them were predicted before" in printed.err
    assert "raw scores of the networks, no probabilities of presence" in printed.err
    raw = pd.read_parquet(tmp_path / "out" / "windows.parquet")
    labels = list(calibration.labels)
    np.testing.assert_allclose(calibration.apply(raw[labels].to_numpy()), first[labels], atol=1e-6)
    printed = run("--threshold", "1", "--force")
    assert "0 detections" in printed.out
    assert "no score reaches its threshold; the surest of each species:" in printed.err
    proposed = printed.err.split("--threshold ")[1].split()[0]
    printed = run("--threshold", proposed, "--force")
    assert not printed.out.startswith("0 detections")


def test_a_submission_ranks_by_raw_scores_as_the_published_ones(
    config: TrainConfig, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = night(config)
    folder = tmp_path / "soundscapes"
    folder.mkdir()
    shutil.copy2(sound, folder / "night.wav")
    out = tmp_path / "submission.csv"
    with pytest.raises(SystemExit) as stopped:
        main(["submit-kaggle", str(trained.onnx_file.parent), str(folder), "--out", str(out)])
    assert stopped.value.code == 0, capsys.readouterr().err
    raw = dc.load_model(trained.onnx_file, calibrated=False).predict(sound)
    submitted = pd.read_csv(out)[list(raw.labels)].to_numpy()
    assert len(submitted), "a row for each whole window"
    np.testing.assert_allclose(submitted, raw.probabilities[: len(submitted)], atol=1e-6)
    calibrated = ScoreCalibration.read(trained.path / NAME).apply(raw.probabilities)
    np.testing.assert_array_equal(np.argsort(calibrated, axis=0), np.argsort(raw.probabilities, axis=0))


def test_models_are_calibrated_before_they_are_averaged(
    config: TrainConfig, trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    onnx = trained.onnx_file.parent
    other = Path(shutil.copytree(onnx, tmp_path / "other"))
    values = json.loads((other / NAME).read_text())
    values["threshold"] = 0.9
    values["classes"][0] |= {"slope": 0.5, "offset": 1.0, "knots": []}
    (other / NAME).write_text(json.dumps(values))
    both = Ensemble([WeightedModel(onnx), WeightedModel(other, 3.0)]).open(calibrated=True)
    raw = open_engine(onnx)
    clips = np.random.default_rng(0).normal(0, 0.1, (2, raw.card.n_samples)).astype(np.float32)
    one, two = (ScoreCalibration.read(folder / NAME) for folder in (onnx, other))
    scores = raw.predict(clips)
    expected = (one.apply(scores) + 3 * two.apply(scores)) / 4
    np.testing.assert_allclose(both.predict(clips), expected, atol=1e-6)
    assert both.thresholds is not None
    np.testing.assert_allclose(both.thresholds.values, (one.threshold + 3 * 0.9) / 4, rtol=1e-6)
    (other / NAME).unlink()
    caplog.clear()
    mixed = Ensemble([WeightedModel(onnx), WeightedModel(other)]).open(calibrated=True)
    np.testing.assert_allclose(mixed.predict(clips), scores, atol=1e-6)
    assert mixed.thresholds is None
    assert "is not calibrated, so that the raw scores of all models are averaged" in caplog.text


def test_a_calibration_of_other_weights_is_not_used(
    config: TrainConfig, trained: Run, one_fold: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(Path(shutil.copytree(trained.path, tmp_path / "run")))
    shutil.copy2(one_fold / NAME, run.path / NAME)
    shutil.copy2(one_fold / NAME, run.onnx_file.parent / NAME)
    for path in (run.path, run.onnx_file.parent):
        caplog.clear()
        model = dc.load_model(path, "torch" if path == run.path else None)
        assert not model.is_calibrated
        assert "is of other weights than the model has now, and not used" in caplog.text
    assert dc.load_model(run.path, "torch", folds=[0]).is_calibrated
    (run.path / NAME).write_text("{}")
    with pytest.raises(ModelError, match=r"score_calibration\.json: classes is missing"):
        dc.load_model(run.path, "torch")
    assert not dc.load_model(run.path, "torch", calibrated=False).is_calibrated


def test_thresholds_of_a_precision_stay_and_are_of_calibrated_scores(
    config: TrainConfig, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawnchorus.pipelines.run_calibration.write_run_page", lambda run: None)
    run = Run(Path(shutil.copytree(trained.path, tmp_path / "run")))
    calibrate_run(run, config, precision=0.3)
    written = (run.path / "thresholds.csv").read_bytes()
    (run.path / NAME).unlink()
    calibration = calibrate_after_training(run, config)
    assert calibration is not None
    assert (run.path / "thresholds.csv").read_bytes() == written, "what calibrate wrote is not replaced"
    scores = dc.load_model(run.path, "torch").predict(night(config))
    own = pd.read_csv(run.path / "thresholds.csv")["threshold"].to_numpy(np.float32)
    assert len(scores.detections("calibrated")) == (scores.probabilities >= own).sum()
    raw = dc.load_model(run.path, "torch", calibrated=False).predict(night(config))
    with pytest.raises(DataError, match="is of calibrated scores, and these are raw"):
        raw.detections("calibrated")
    # A table of an earlier release is of raw scores.
    summary = json.loads((run.path / "calibration.json").read_text())
    del summary["calibration"]
    (run.path / "calibration.json").write_text(json.dumps(summary))
    assert len(raw.detections("calibrated")) == (raw.probabilities >= own).sum()
    finite = np.isfinite(own)
    mapped = np.where(finite, calibration.apply(np.where(finite, own, 0)), own)
    assert len(scores.detections("calibrated")) == (scores.probabilities >= mapped).sum()


def test_what_cannot_be_calibrated_is_told_and_stays_raw(
    config: TrainConfig, trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    run = Run(Path(shutil.copytree(trained.path, tmp_path / "run")))
    (run.path / NAME).unlink()

    def refuse(*_: Any, **__: Any) -> None:
        raise DataError("no class can be scored")

    with monkeypatch.context() as patch:
        patch.setattr(run_score_calibration, "fit_run_scores", refuse)
        assert calibrate_after_training(run, config) is None
    assert "is not calibrated, and its scores stay raw: no class can be scored" in caplog.text
    with locked(run.path / ".calibration.lock") as is_ours:
        assert is_ours
        assert calibrate_after_training(run, config) is None
    assert "Another process calibrates" in caplog.text or not (run.path / NAME).exists()


def test_a_training_in_python_ends_calibrated(
    config: TrainConfig, trained: Run, predicted: list[str]
) -> None:
    run = dc.train(config)
    assert replace(run).path == trained.path
    assert predicted == [], "it was calibrated before"
    assert run.model("onnx").is_calibrated
