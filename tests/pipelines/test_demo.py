"""The demo from end to end, on an aviary and a network small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from sklearn.metrics import roc_auc_score

from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.config import TrainConfig, merge
from dawnchorus.errors import DataError, MissingExtraError
from dawnchorus.evaluate.out_of_fold import scored_columns
from dawnchorus.pipelines import demo
from dawnchorus.pipelines.demo import DemoResult, DemoSettings, run_demo
from dawnchorus.recordings.labels import LabelMap


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoSettings, DemoResult, DemoResult]:
    """A demo that ran, and its result when it is run again."""
    small = {"folds": {"n_folds": 2}, "train_function_args": {"clips_per_epoch": 64, "n_epochs": 1}}
    aviary = AviarySettings(n_species=2, n_recordings=24, n_nocall=2, n_soundscapes=2, soundscape_s=20.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TRAINING", merge(demo.TRAINING, small))
        patch.setattr(demo, "AviarySettings", lambda seed: aviary)
        settings = DemoSettings(out=tmp_path_factory.mktemp("demo") / "out")
        return settings, run_demo(settings), run_demo(settings)


def values(result: DemoResult) -> dict[str, Any]:
    return {row.name: row.value for row in result.measurements}


def test_all_files_that_it_names_are_there(finished: Any) -> None:
    _, result, _ = finished
    paths = [Path(str(row.value)) for row in result.measurements if row.unit == "path"]
    assert len(paths) == 10
    assert all(path.exists() for path in paths)


def test_the_score_is_computed_from_the_saved_predictions(finished: Any) -> None:
    settings, result, _ = finished
    predictions = pd.read_parquet(values(result)["out_of_fold_predictions"])
    table = pd.read_csv(settings.out / "aviary" / "recordings" / "recordings.csv", keep_default_na=False)
    table = table.set_index("filename").loc[predictions["filename"]]
    areas = [
        roc_auc_score(
            (table["primary_label"] == label) | table["secondary_labels"].str.contains(label),
            predictions[label],
        )
        for label in predictions.columns[3:]
    ]
    assert values(result)["oof_macro_roc_auc"] == pytest.approx(np.mean(areas), abs=1e-4)


def test_the_rival_is_scored_beside_it_and_the_soundscapes_too(finished: Any) -> None:
    _, result, _ = finished
    for name in ("logistic_regression_oof_macro_roc_auc", "soundscape_macro_roc_auc"):
        assert 0.0 < values(result)[name] <= 1.0
    assert values(result)["onnx_largest_difference"] < 1e-4
    assert values(result)["openvino_fp16_largest_difference"] < 1e-3


def test_the_picture_is_a_picture(finished: Any) -> None:
    settings, _, _ = finished
    picture = imread(settings.out / "soundscape.png")
    assert picture.shape[1] > 1000
    assert picture.std() > 0.05


def test_a_second_run_takes_what_is_there_and_says_so(finished: Any) -> None:
    _, first, again = finished
    assert values(again)["oof_macro_roc_auc"] == values(first)["oof_macro_roc_auc"]
    assert any("earlier run" in note for note in again.notes)
    assert not any("earlier run" in note for note in first.notes)


def test_unusable_soundscapes_are_told_before_the_training(data_factory: Any, tmp_path: Path) -> None:
    audio = data_factory.recordings(n_species=2, n_per_species=4)
    soundscapes = tmp_path / "soundscapes"
    soundscapes.mkdir()
    settings = DemoSettings(out=tmp_path / "out", audio=audio, soundscapes=soundscapes)
    with pytest.raises(DataError, match="no recordings here or below"):
        run_demo(settings)
    data_factory.tone("../soundscapes/a.wav")
    (soundscapes / "annotations.csv").write_text("filename,start_s\n")
    with pytest.raises(DataError, match="has no column end_s, label"):
        run_demo(settings)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("is_installed", [True, False])
def test_own_recordings_begin_where_small_data_does(
    data_factory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    begun: list[TrainConfig] = []
    results: list[DemoResult] = []

    def begin(config: TrainConfig) -> None:
        begun.append(config)
        raise DataError("far enough")

    def check(name: str) -> None:
        if not is_installed:
            raise MissingExtraError(f"{name} is not installed: pip install {name}")

    def result() -> DemoResult:
        results.append(DemoResult())
        return results[-1]

    for name, part in (("lightning_training", begin), ("check_installed", check), ("DemoResult", result)):
        monkeypatch.setattr(demo, name, part)
    audio = data_factory.recordings(n_species=2, n_per_species=2)
    with pytest.raises(DataError, match="far enough"):
        run_demo(DemoSettings(out=tmp_path / "out", audio=audio, n_cores=1))
    expected = "tf_efficientnet_lite0" if is_installed else "test_resnet.r160_in1k"
    assert begun[0].nn_model_config["backbone"] == expected
    assert begun[0].run_dir == tmp_path / "out" / "logdirs" / "demo"
    assert [("pip install" in note) for note in results[0].notes] == [True] * (not is_installed)


def test_a_species_counts_only_where_a_fold_has_it_on_both_sides() -> None:
    recordings = pd.DataFrame({"primary_label": ["a", "a", "b", "b"], "fold": [0, 1, 1, 1]})
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    assert scored_columns(targets, recordings["fold"].to_numpy(), recordings, LabelMap(("a", "b"))) == [0]
