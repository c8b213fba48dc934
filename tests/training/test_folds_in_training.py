"""What the folds keep apart stays apart in training, in the out-of-fold score and in the baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import RunError
from dawnchorus.evaluate.out_of_fold import OutOfFold, predict_out_of_fold, scored_columns
from dawnchorus.recordings.labels import LabelMap
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
