"""What the folds keep apart stays apart in training, in the out-of-fold score and in the baseline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dawnchorus.config import InferenceConfig, TrainConfig, merge, read_config_file, validate
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.engines.ensembles import Ensemble, WeightedModel
from dawnchorus.errors import ConfigError, DataError, RunError
from dawnchorus.evaluate.out_of_fold import OutOfFold, predict_out_of_fold, scored_columns
from dawnchorus.pipelines.run_compilation import compile_run
from dawnchorus.pipelines.run_pseudo_labels import pseudo_label
from dawnchorus.predict.recording_files import find_recordings
from dawnchorus.pseudo_labels.pseudo_label_settings import LabellingSettings
from dawnchorus.recordings.labels import LabelMap
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.report.run_tables import fold_numbers
from dawnchorus.runs import Run
from dawnchorus.training.baseline import baseline_macro_roc_auc
from dawnchorus.training.lightning_training import lightning_training
from dawnchorus.training.run_preparation import prepare_run

REPOSITORY = Path(__file__).resolve().parents[2]


def config_for(root: Path, logdir: Path, **folds: Any) -> TrainConfig:
    values = read_config_file(REPOSITORY / "train_configs" / "smoke.py")
    small = {
        "logdir": logdir,
        "data": {"audio_dir": root, "features_dir": None},
        "folds": folds,
        "nn_model_config": {"backbone": "test_resnet.r160_in1k"},
        "train_function_args": {"clips_per_epoch": 4, "n_epochs": 1, "train_loader": {"batch_size": 4}},
    }
    return validate(TrainConfig, merge(values, small), where="test")


class Seen(dict[type, list[set[str]]]):
    """The filenames that each dataset class was given, one set a dataset."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data_factory_in: Any) -> tuple[Run, TrainConfig, Seen]:
    """A run whose species_2 is rare: one recording by a busy recordist, one by a specialist."""
    root = data_factory_in(tmp_path_factory.mktemp("audio")).recordings(
        n_species=3, n_per_species=6, duration_s=(5.0, 5.5)
    )
    table = pd.read_csv(root / "recordings.csv")
    table = table.drop(index=table.index[table["primary_label"] == "species_2"][2:])
    table.loc[table.index[-1], "author"] = "specialist"
    table.to_csv(root / "recordings.csv", index=False)
    config = config_for(root, tmp_path_factory.mktemp("logdirs"), rare_up_to=2)
    seen = Seen({WaveDataset: [], WaveAllFileDataset: []})
    with pytest.MonkeyPatch.context() as patch:
        for dataset_class in seen:
            original = dataset_class.__init__  # type: ignore[misc]

            def remember(
                self: Any, recordings: Any, *args: Any, original: Any = original, **kwargs: Any
            ) -> None:
                seen[type(self)].append(set(recordings["filename"]))
                original(self, recordings, *args, **kwargs)

            patch.setattr(dataset_class, "__init__", remember)
        run = lightning_training(config)
    return run, config, seen


@pytest.fixture(scope="module")
def out_of_fold(trained: tuple[Run, TrainConfig, Seen]) -> OutOfFold:
    return predict_out_of_fold(*trained[:2])


def test_a_rare_recording_is_in_training_wherever_its_recordist_may_be(
    trained: tuple[Run, TrainConfig, Seen],
) -> None:
    run, _, seen = trained
    table = run.folds().set_index("filename")
    rare = table[table["primary_label"] == "species_2"]
    assert sorted(rare["fold"] >= 0) == [False, True]
    assert not rare["validated"].any()
    _, *trained_on = seen[WaveDataset]  # the first is made to check the config
    assert len(trained_on) == len(seen[WaveAllFileDataset]) == 2
    for fold, (train, val) in enumerate(zip(trained_on, seen[WaveAllFileDataset], strict=True)):
        assert train == set(table.index[table["fold"] != fold])
        assert val == set(table.index[(table["fold"] == fold) & table["validated"]])
        assert not set(table.loc[list(train), "author"]) & set(table.loc[list(val), "author"])
        assert "species_2" in set(table.loc[list(train), "primary_label"])
        assert "species_2" not in set(table.loc[list(val), "primary_label"])


def test_only_validated_recordings_are_predicted_out_of_fold(
    trained: tuple[Run, TrainConfig, Seen], out_of_fold: OutOfFold
) -> None:
    run, _, _ = trained
    table = run.folds()
    assert set(out_of_fold.predictions["filename"]) == set(table["filename"][table["validated"]])
    assert set(out_of_fold.predictions["fold"]) == {0, 1}
    assert out_of_fold.scored_labels == ("species_0", "species_1")
    assert json.loads((run.path / "oof_score.json").read_text())["n_recordings"] == 12


def test_the_score_is_stated_pooled_of_each_fold_and_as_the_mean_of_the_folds(
    trained: tuple[Run, TrainConfig, Seen], out_of_fold: OutOfFold
) -> None:
    scored = list(out_of_fold.scored_labels)
    table, targets = out_of_fold.predictions, out_of_fold.targets[:, :2]
    assert out_of_fold.macro_roc_auc == pytest.approx(roc_auc_score(targets, table[scored]))
    of_folds = {
        fold: roc_auc_score(targets[table["fold"] == fold], table[scored][table["fold"] == fold])
        for fold in (0, 1)
    }
    assert out_of_fold.fold_macro_roc_auc == pytest.approx(of_folds)
    assert out_of_fold.mean_of_folds == pytest.approx(np.mean(list(of_folds.values())))
    saved = json.loads((trained[0].path / "oof_score.json").read_text())
    assert saved["oof_macro_roc_auc"] == out_of_fold.macro_roc_auc
    assert saved["oof_macro_roc_auc_mean_of_folds"] == out_of_fold.mean_of_folds
    assert saved["oof_macro_roc_auc_of_each_fold"] == pytest.approx(
        {str(fold): score for fold, score in of_folds.items()}
    )


def test_the_mean_of_the_published_folds_is_the_published_score(out_of_fold: OutOfFold) -> None:
    published = out_of_fold._replace(fold_macro_roc_auc={0: 0.873, 1: 0.772})
    assert published.mean_of_folds == pytest.approx(0.8225)
    assert np.isnan(out_of_fold._replace(fold_macro_roc_auc={}).mean_of_folds)


def test_labelled_recordings_are_pseudo_labelled_by_the_fold_that_was_not_trained_on_them(
    trained: tuple[Run, TrainConfig, Seen], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, config, _ = trained
    found = find_recordings([str(config.data[0].audio_dir)])
    ensemble = Ensemble([WeightedModel(run.path)], n_threads=1)
    settings = LabellingSettings(tmp_path / "own.parquet")
    assert pseudo_label(ensemble, found, tmp_path / "work", settings, out_of_fold=True).is_labelled
    table = pd.read_parquet(settings.table)
    fold_of = {Path(name).stem: fold for name, fold in run.folds()[["filename", "fold"]].to_numpy()}
    stems = table["row_id"].str.rpartition("_")[0]
    assert table["fold"].tolist() == [fold_of[stem] for stem in stems]
    always = {stem for stem, fold in fold_of.items() if fold == -1}
    assert always
    assert set(stems) == set(fold_of) - always
    n_others = len(found.recordings) - len(set(stems))
    assert f"{n_others} of 18 recordings are left out: the run has them always in training" in caplog.text
    own = {"out_of_fold_targets": {"table": settings.table, "min_prob": 0.0}}
    dataset = WaveDataset(load_recordings(config.data).table, run.card().labels, own, fold=0)
    first = dataset[0].target.tolist()  # of a recording of fold 1
    assert any(np.allclose(first, row) for row in table[list(run.card().labels)].to_numpy())


def test_runs_with_other_folds_cannot_label_labelled_recordings_together(
    trained: tuple[Run, TrainConfig, Seen], tmp_path: Path
) -> None:
    run, config, _ = trained
    other = Run(shutil.copytree(run.path, tmp_path / "other"))
    folds = other.folds_file.read_text()
    other.folds_file.write_text(folds.replace(",0,", ",x,").replace(",1,", ",0,").replace(",x,", ",1,"))
    ensemble = Ensemble([WeightedModel(run.path), WeightedModel(other.path)], n_threads=1)
    found = find_recordings([str(config.data[0].audio_dir)])
    with pytest.raises(RunError, match=r"is in fold \d of one run and in fold \d of .*other; label it with"):
        pseudo_label(ensemble, found, tmp_path, LabellingSettings(tmp_path / "own.csv"), out_of_fold=True)


def test_the_config_may_name_the_folds_that_are_trained(
    tmp_path: Path, data_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(1.0, 1.5))
    config = config_for(root, tmp_path, trained=[1])
    run = lightning_training(config)
    assert run.finished_folds() == [1]
    assert fold_numbers(run) == [1]
    with caplog.at_level("WARNING"):
        assert run.chosen_folds(None) == (1,)
    assert "not finished" not in caplog.text
    with pytest.raises(ConfigError, match="fold 7 does not exist; the run has the folds 0 to 1"):
        lightning_training(config_for(root, tmp_path / "other", trained=[7]))


def test_one_model_may_be_trained_on_all_recordings_without_validation(
    tmp_path: Path, data_factory: Any
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=4, duration_s=(1.0, 1.5))
    config = config_for(root, tmp_path, n_folds=1)
    run = lightning_training(config)
    report = run.finished(0)
    assert report is not None
    assert (run.finished_folds(), report["best_checkpoint"]) == ([0], "last.safetensors")
    assert not any(key.startswith("val_") for key in report)
    assert (run.folds()["fold"] == -1).all()
    assert not run.folds()["validated"].any()
    assert run.best_of_folds() == run.checkpoints_dir(0) / "last.safetensors"
    assert not run.load_model(0).training
    with pytest.raises(DataError, match="was trained on all recordings, so that none is left to score it on"):
        predict_out_of_fold(run, config)
    run.one_file.parent.mkdir()  # as an earlier export with --one-file left it
    compiled = compile_run(InferenceConfig(run=run.path, int8=True, onnx_fp16=True))
    assert not run.one_file.parent.exists()
    assert compiled.out_of_fold is None
    assert [parity.engine for parity in compiled.parities] == [
        "ONNX",
        "OpenVINO fp16",
        "OpenVINO int8",
        "ONNX fp16",
    ]
    stopping = config.train_function_args.model_copy(update={"early_stopping_epochs": 2})
    with pytest.raises(ConfigError, match="early_stopping_epochs is 2, and no recording is validated"):
        prepare_run(config.model_copy(update={"train_function_args": stopping}))


def test_a_column_of_train_and_valid_makes_one_fold(tmp_path: Path, data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(1.0, 1.5))
    table = pd.read_csv(root / "recordings.csv")
    parts = ["Valid" if author == table["author"][0] else "train" for author in table["author"]]
    table.assign(part=parts).to_csv(root / "recordings.csv", index=False)
    prepared = prepare_run(config_for(root, tmp_path, fold_column="part"))
    valid = prepared.recordings["part"] == "Valid"
    assert prepared.assignment.n_folds == 1
    assert (prepared.assignment.validation_rows(0) == valid).all()
    assert (prepared.assignment.training_rows(0) == ~valid).all()


def test_the_baseline_is_scored_on_the_same_recordings(
    trained: tuple[Run, TrainConfig, Seen], out_of_fold: OutOfFold
) -> None:
    run, config, _ = trained
    assert 0.0 <= baseline_macro_roc_auc(run, config, out_of_fold) <= 1.0


def test_a_class_that_is_always_in_training_is_learnt_elsewhere() -> None:
    recordings = pd.DataFrame({"primary_label": ["a", "a", "b", "b"], "fold": [0, -1, 0, 0]})
    targets, folds = np.array([[1, 0], [0, 1], [0, 1]]), np.array([0, 0, 0])
    assert scored_columns(targets, folds, recordings, LabelMap(("a", "b"))) == [0]


def test_a_change_of_what_is_validated_is_noticed(trained: tuple[Run, TrainConfig, Seen]) -> None:
    run, config, _ = trained
    before = run.folds_file.read_text()
    prepare_run(config)
    run.folds_file.write_text(before.replace(",false", ",true"))
    try:
        with pytest.raises(RunError, match="begun with other recordings, labels or folds"):
            prepare_run(config)
    finally:
        run.folds_file.write_text(before)


def test_a_debug_run_spares_no_recordings(tmp_path: Path, data_factory: Any) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(1.0, 1.5))
    config = config_for(root, tmp_path, rare_up_to=10, every_class_in_training=True)
    debug = config.train_function_args.model_copy(update={"debug": True})
    prepared = prepare_run(config.model_copy(update={"train_function_args": debug}))
    assert len(prepared.recordings) == 8
    assert prepared.assignment.validated.all()


def test_pseudo_labels_that_one_fold_alone_learns_from_must_not_be_of_labelled_recordings(
    tmp_path: Path, data_factory: Any
) -> None:
    root = data_factory.recordings(n_species=2, n_per_species=6, duration_s=(5.0, 5.5))
    config = config_for(root, tmp_path / "logdirs")
    data_factory.tone("nights/H1.flac", 6.0)
    (root / "nights" / "XC0.wav").symlink_to(root / "species_0" / "XC0.wav")
    table = tmp_path / "own.csv"
    table.write_text("row_id,species_0,fold\nXC0_5,0.9,0\nH1_5,0.9,1\nH1_6,0.9,0\n")
    pseudo = {"tables": [{"table": table, "audio_dir": root / "nights"}], "out_of_fold": True}
    args = config.train_function_args
    dataset = {**args.train_dataset_config, "soundscape_pseudo_config": pseudo}
    learning = args.model_copy(update={"train_dataset_config": dataset})
    with pytest.raises(DataError, match=r"XC0\.wav both a labelled recording and a pseudo-labelled"):
        prepare_run(config.model_copy(update={"train_function_args": learning}))
