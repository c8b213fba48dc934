"""Thresholds of a trained run: from its own predictions, beside its exports, and only as often as needed."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from sklearn.metrics import precision_recall_curve, roc_auc_score
from typer.testing import CliRunner

from dawnchorus.cli import main
from dawnchorus.cli.calibrate_command import calibrate
from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.errors import DataError, RunError
from dawnchorus.evaluate.out_of_fold import predict_out_of_fold, saved_out_of_fold, scored_on
from dawnchorus.evaluate.score_fitting import folds_together
from dawnchorus.models.score_calibration import SCORE_CALIBRATION_NAME, ScoreCalibration
from dawnchorus.pipelines import run_calibration
from dawnchorus.pipelines.run_calibration import calibrate_run
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.runs import Run
from dawnchorus.training import lightning_training as training_module
from dawnchorus.training.lightning_training import lightning_training

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = ("species_0", "species_1")
BOTH_FOLDS = ["Fold 0, out of fold", "Fold 1, out of fold"]
Trained = tuple[Run, TrainConfig]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> Trained:
    """A run of two folds that has learnt next to nothing."""
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
    config = validate(TrainConfig, merge(values, small), where="test")
    return lightning_training(config), config


@pytest.fixture(autouse=True)
def _no_run_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out ``report.html``, which takes longer to draw than most tests here."""
    for module in (run_calibration, training_module):
        monkeypatch.setattr(module, "write_run_page", lambda run: None)


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


@pytest.fixture
def with_scores(trained: Trained) -> Iterator[Any]:
    """Writes scores in place of the run's own, which then counts them as predicted."""
    run, config = trained
    if saved_out_of_fold(run, config) is None:
        predict_out_of_fold(run, config)
    before = run.oof_file.read_bytes()

    def write(scores_of: Any) -> pd.DataFrame:
        table = pd.read_parquet(run.oof_file)
        for number, label in enumerate(LABELS):
            present = table["primary_label"].to_numpy() == label
            table[label] = np.asarray(scores_of(number, present), dtype=np.float32)
        table.to_parquet(run.oof_file, index=False)
        (run.path / SCORE_CALIBRATION_NAME).unlink(missing_ok=True)
        return table

    yield write
    run.oof_file.write_bytes(before)
    (run.path / SCORE_CALIBRATION_NAME).unlink(missing_ok=True)


def calibrated_scores(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with scores as the run's own calibration makes them."""
    calibration = ScoreCalibration.read(run.path / SCORE_CALIBRATION_NAME)
    scores = table[list(LABELS)].to_numpy(np.float64)
    if calibration.folds_together:
        scores = folds_together(scores, table["fold"].to_numpy())
    made = table.copy()
    made[list(LABELS)] = calibration.apply(scores)
    return made


def test_predictions_are_made_once_and_again_for_a_fold_that_is_trained_again(
    trained: Trained, predicted: list[str]
) -> None:
    run, config = trained
    run.oof_file.unlink(missing_ok=True)
    first = calibrate_run(run, config, precision=0.5)
    assert predicted == BOTH_FOLDS
    again = calibrate_run(run, config, precision=0.5)
    calibrate_run(run, config, precision=0.9, folds=[1])
    assert predicted == BOTH_FOLDS
    assert str(again) == str(first)  # NaN is not equal to itself
    shutil.rmtree(run.fold_dir(1))
    lightning_training(config)
    calibrate_run(run, config, precision=0.5)
    assert predicted == BOTH_FOLDS * 2


def test_predictions_that_are_not_of_this_run_are_not_taken(trained: Trained, with_scores: Any) -> None:
    run, config = trained
    table = pd.read_parquet(run.oof_file)
    others = [
        table.rename(columns={"species_1": "other"}),
        table[table["fold"] == 0],
        table.assign(filename=table["filename"].str.replace("XC0", "XC9")),
        pd.concat([table, table[:1]]),
    ]
    for other in others:
        other.to_parquet(run.oof_file, index=False)
        assert saved_out_of_fold(run, config) is None
    run.oof_file.write_bytes(b"no table")
    assert saved_out_of_fold(run, config) is None
    table.iloc[::-1].to_parquet(run.oof_file, index=False)
    saved = saved_out_of_fold(run, config)
    assert saved is not None, "the order of the rows is of no matter"
    pd.testing.assert_frame_equal(saved.predictions, table, check_dtype=False)


def test_predictions_are_outdated_where_a_checkpoint_is_as_new(trained: Trained, with_scores: Any) -> None:
    run, config = trained
    checkpoint = run.best_checkpoint(0)
    before = checkpoint.stat()
    assert saved_out_of_fold(run, config) is not None
    saved_at = run.oof_file.stat().st_mtime_ns
    os.utime(checkpoint, ns=(saved_at, saved_at))
    try:
        assert saved_out_of_fold(run, config) is None
        assert saved_out_of_fold(run, config, folds=[1]) is not None, "fold 1 is as it was"
    finally:
        os.utime(checkpoint, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_saved_predictions_are_scored_as_they_were(trained: Trained) -> None:
    run, config = trained
    run.oof_file.unlink(missing_ok=True)
    assert saved_out_of_fold(run, config) is None
    predict_out_of_fold(run, config)
    saved = saved_out_of_fold(run, config)
    assert saved is not None
    pd.testing.assert_frame_equal(saved.predictions, pd.read_parquet(run.oof_file), check_dtype=False)
    summary = json.loads((run.path / "oof_score.json").read_text())
    assert saved.macro_roc_auc == pytest.approx(summary["oof_macro_roc_auc"], abs=1e-12)
    assert list(saved.scored_labels) == summary["scored_labels"]
    expected = saved.predictions["primary_label"].to_numpy()[:, None] == np.array(LABELS)
    np.testing.assert_array_equal(saved.targets, expected)


def test_the_table_the_picture_and_the_summary_hold_the_same_run(trained: Trained, with_scores: Any) -> None:
    run, config = trained
    # species_0 is found at once; of species_1, one stranger sounds like its third best recording.
    good = iter([0.9, 0.85, 0.8, 0.75, 0.7, 0.65])
    mixed = iter([0.99, 0.9, 0.8, 0.6, 0.5, 0.4])

    def scores(number: int, present: np.ndarray) -> list[float]:
        order = iter([0.8, 0.1, 0.1, 0.1, 0.1, 0.1])
        if number == 0:
            return [next(good) if here else 0.2 for here in present]
        return [next(mixed) if here else next(order) for here in present]

    table = with_scores(scores)
    calibrated = calibrate_run(run, config, precision=0.9)
    raw_order = table[list(LABELS)].rank().to_numpy()
    table = calibrated_scores(run, table)
    rows = pd.read_csv(run.path / "thresholds.csv").set_index("label")
    assert list(rows.index) == list(LABELS)
    for label in LABELS:
        precision, _, thresholds = precision_recall_curve(table["primary_label"] == label, table[label])
        expected = thresholds[np.flatnonzero(precision[:-1] >= 0.9)[0]]
        assert rows["threshold"][label] == pytest.approx(expected, abs=1e-6)
        assert rows["precision"][label] >= 0.9
        assert (table[label] >= rows["threshold"][label] - 1e-6).sum() == rows["n_above"][label]
    for label in LABELS:
        positive = table["primary_label"] == label
        found = (table[label][positive] >= rows["threshold"][label] - 1e-6).mean()
        assert rows["recall"][label] == pytest.approx(found, abs=1e-4)
    assert rows["how"].tolist() == ["class", "class"]
    summary = json.loads((run.path / "calibration.json").read_text())
    assert summary["precision"] == 0.9
    assert calibrated.scores is not None
    assert summary["calibration"] == calibrated.scores.digest
    if not calibrated.scores.folds_together:
        np.testing.assert_array_equal(table[list(LABELS)].rank().to_numpy(), raw_order)
    assert summary["n_recordings"] == 12
    assert summary["folds"] == [0, 1]
    assert summary["n_classes_by_how"] == {"class": 2, "pooled": 0, "never": 0}
    assert summary["ece"] == calibrated.reliability.expected_calibration_error
    assert summary["pooled_threshold"] == calibrated.pooled_threshold
    assert calibrated.reliability.n_pairs.sum() == 24
    assert (run.path / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_every_export_has_the_same_table_and_summary(trained: Trained, with_scores: Any) -> None:
    run, config = trained
    names = ["onnx_ensem_5first_folds", "onnx_ensem_5first_folds_openvino_fp16"]
    for name in [*names, "soundscapes"]:
        (run.path / name).mkdir()
    (run.path / "onnx_ensem_5first_folds.txt").write_text("no folder")
    (run.path / names[0] / "thresholds.csv").write_text("of an earlier time")
    (run.path / names[0] / "model.onnx").write_text("stays")
    try:
        calibrated = calibrate_run(run, config, precision=0.5)
        assert [folder.name for folder in calibrated.export_dirs] == names
        for name in names:
            for file in ("thresholds.csv", "calibration.json", SCORE_CALIBRATION_NAME):
                assert (run.path / name / file).read_bytes() == (run.path / file).read_bytes()
        assert len(list((run.path / names[0]).iterdir())) == 4
        assert len(list((run.path / names[1]).iterdir())) == 3
        assert not list((run.path / "soundscapes").iterdir())
    finally:
        for name in [*names, "soundscapes"]:
            shutil.rmtree(run.path / name)
        (run.path / "onnx_ensem_5first_folds.txt").unlink()


def test_a_fold_alone_is_counted_alone(trained: Trained, with_scores: Any) -> None:
    run, config = trained
    calibrate_run(run, config, precision=0.5, folds=[1])
    summary = json.loads((run.path / "calibration.json").read_text())
    assert summary["folds"] == [1]
    assert summary["n_recordings"] == (run.folds()["fold"] == 1).sum()


def test_classes_without_a_leak_free_score_are_not_counted(
    trained: Trained, with_scores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = trained
    saved = saved_out_of_fold(run, config)
    assert saved is not None
    one_scored = saved._replace(scored_labels=("species_1",))
    monkeypatch.setattr(run_calibration, "saved_out_of_fold", lambda *_, **__: one_scored)
    calibrated = calibrate_run(run, config, precision=0.1)
    assert [row.how for row in calibrated.thresholds] == ["pooled: not scored without a leak", "class"]
    assert calibrated.thresholds[0].threshold == calibrated.thresholds[1].threshold
    assert calibrated.reliability.n_pairs.sum() == 12
    assert calibrated.n_by_how == {"class": 1, "pooled": 1, "never": 0}


def test_a_precision_or_fold_that_cannot_be_is_refused_before_any_work(
    trained: Trained, predicted: list[str]
) -> None:
    run, config = trained
    run.oof_file.unlink(missing_ok=True)
    with pytest.raises(DataError, match="precision is 0; legal"):
        calibrate_run(run, config, precision=0)
    with pytest.raises(RunError, match="has no finished fold 7"):
        calibrate_run(run, config, precision=0.5, folds=[7])
    assert predicted == []


def command(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(calibrate)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result


def test_the_command_says_where_the_thresholds_are(trained: Trained, with_scores: Any) -> None:
    run, _ = trained
    with_scores(lambda number, present: np.where(present, 0.75, 0.25 - 0.05 * number))
    printed = command(str(run.path))
    pooled = json.loads((run.path / "calibration.json").read_text())["pooled_threshold"]
    assert printed.stdout.splitlines() == [
        "precision 0.9 of recordings: 2 of 2 classes with a threshold of their own, 0 with the pooled one "
        f"of {pooled:.3f}, 0 never reach it",
        f"thresholds: {run.path / 'thresholds.csv'}",
        f"picture: {run.path / 'reliability.png'}",
    ]
    assert "inf" not in printed.stderr


def test_the_command_warns_of_classes_that_are_never_detected(trained: Trained, with_scores: Any) -> None:
    run, _ = trained
    with_scores(lambda number, present: np.where(present, 0.25, 0.75))
    printed = command(str(run.path), "--precision", "0.8")
    assert "0 of 2 classes with a threshold of their own" in printed.stdout
    assert "2 never reach it" in printed.stdout
    assert "2 classes have the threshold inf and are never detected" in printed.stderr
    assert printed.stderr.count("\n") == 1
    rows = pd.read_csv(run.path / "thresholds.csv")
    assert rows["threshold"].tolist() == [math.inf, math.inf]
    assert json.loads((run.path / "calibration.json").read_text())["pooled_threshold"] is None


def test_evaluate_and_calibrate_renew_the_page_and_an_ensemble_is_weighed(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, config = trained
    monkeypatch.undo()
    page = run.path / "report.html"
    file = tmp_path / "mine.py"
    values = {"logdir": str(run.path.parent), "data": {"audio_dir": str(config.data[0].audio_dir)}}
    file.write_text(f"CONFIG = { ({'base': 'smoke', **values})!r}")

    def told(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([*arguments])
        printed = capsys.readouterr()
        assert stopped.value.code == code, printed.err
        return printed.err if code else printed.out

    changes = ("data.features_dir=None", "n_epochs=1", "clips_per_epoch=4", "train_loader.batch_size=4")
    given = [part for change in changes for part in ("--set", change)]
    page.unlink()
    printed = told("evaluate", str(run.path), "--config", str(file), *given)
    assert "out-of-fold macro ROC-AUC" in printed
    assert "predicted by the fold that was not trained on it" in page.read_text()
    assert {path.name for path in run.path.glob("oof_*.csv")} == {
        "oof_scores.csv", "oof_confusions.csv", "oof_most_wrong.csv", "oof_reliability.csv",
        "oof_reliability_calibrated.csv",
    }  # fmt: skip
    assert "seed: 42 → 7" in told("evaluate", str(file), *given, "--set", "seed=7", code=1)
    page.unlink()
    told("calibrate", str(file), *given, "--precision", "0.5")
    assert "Thresholds at a precision of 0.5" in page.read_text()
    weighed = told("ensemble", str(run.path), str(run.path))
    assert "12 recordings and 2 classes that all runs have, mean of probabilities" in weighed
    assert f"1 × {run.path}, chosen on these predictions" in weighed
    assert f"dawnchorus predict {run.path} RECORDINGS --weight 1\n" in weighed
    geometric = told("ensemble", str(run.path), "--combination", "geometric")
    assert "RECORDINGS --weight 1 --exponent 0\n" in geometric
    power = told("ensemble", str(run.path), "--combination", "power", "--exponent", "1.5")
    assert "RECORDINGS --weight 1 --exponent 1.5\n" in power
    assert "predict joins no ranks" in told("ensemble", str(run.path), "--combination", "rank")


def test_scores_are_of_windows_and_of_a_subset_of_the_classes(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, config = trained
    (tmp_path / "classes.txt").write_text("species_1\nspecies_9\n")
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(run.path), "--per", "window", "--classes", str(tmp_path / "classes.txt")])
    printed = capsys.readouterr()
    assert not stopped.value.code
    assert "The run has no class species_9, which is left out." in caplog.messages
    windows = pd.read_parquet(run.path / "oof_windows.parquet")
    assert set(windows["start_s"]) == {0.0, 5.0}

    best = windows.groupby("filename")[list(LABELS)].max()
    saved = predict_out_of_fold(run, config)
    of_recordings = saved.predictions.set_index("filename")[list(LABELS)]
    np.testing.assert_array_equal(best.loc[of_recordings.index], of_recordings)

    def area(rows: pd.DataFrame) -> float:
        return float(roc_auc_score(rows["primary_label"] == "species_1", rows["species_1"]))

    each = [area(rows) for _, rows in windows.groupby("fold")]
    alone = f"macro ROC-AUC {area(windows):.4f} over 1 of 2 species, {len(windows)} windows of all"
    assert alone in printed.out.partition("of the classes in")[2]
    assert f"mean of the folds' macro ROC-AUC {np.mean(each):.4f}: fold 0 {each[0]:.4f}" in printed.out
    with pytest.raises(DataError, match="none of the classes owl can be scored; those that can are"):
        scored_on(saved, ["owl"], config)
