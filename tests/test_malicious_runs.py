"""Runs from strangers: what their cards and configs name is never imported, unpickled or fetched."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dawnchorus.augment.batch_augmentations import make_augmentations
from dawnchorus.cli import main
from dawnchorus.config import from_json_file
from dawnchorus.engines import open_engine
from dawnchorus.errors import ConfigError, DawnchorusError, ModelError
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import write_checkpoint
from dawnchorus.runs import Run, build_model

CANARY = """
from pathlib import Path
Path({sung!r}).touch()
Net = Head = factory = None
"""
WATCHED = ("socket.connect", "socket.getaddrinfo", "pickle.find_class", "os.system", "subprocess.Popen")
_watching: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is not None and event in WATCHED:
        _watching.append(f"{event} {arguments}")


sys.addaudithook(_watch)


class _Sings:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


class Canary:
    """A module and a pickle that leave a file when they run."""

    def __init__(self, root: Path) -> None:
        self.sung = root / "sung"
        (root / "canary_of_a_stranger.py").write_text(CANARY.format(sung=str(self.sung)))
        self.pickle = root / "evil.pth"
        torch.save({"state_dict": _Sings(self.sung)}, self.pickle)


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    """A canary that must be silent at the end of the test, with no hub asked and no pickle opened."""
    global _watching
    monkeypatch.syspath_prepend(str(tmp_path))
    found = Canary(tmp_path)
    _watching = []
    yield found
    happened, _watching = _watching, None
    assert happened == []
    assert not found.sung.exists()
    assert "canary_of_a_stranger" not in sys.modules


@pytest.fixture
def run(tmp_path: Path, card: Any) -> Run:
    """A run with one finished fold of random weights."""
    made = Run(tmp_path / "run")
    made.checkpoints_dir(0).mkdir(parents=True)
    made.card_file.write_text(card().to_json())
    write_checkpoint(made.checkpoints_dir(0) / "best.safetensors", build_model(card()).state_dict())
    made.finished_file(0).write_text(json.dumps({"best_checkpoint": "best.safetensors"}))
    return made


def attack(run: Run, **changes: Any) -> None:
    values = json.loads(run.card_file.read_text())
    run.card_file.write_text(json.dumps({**values, **changes}))


def test_the_canary_sings_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    found = Canary(tmp_path)
    __import__("canary_of_a_stranger")
    assert found.sung.exists()
    found.sung.unlink()
    torch.load(found.pickle, weights_only=False)
    assert found.sung.exists()
    del sys.modules["canary_of_a_stranger"]


@pytest.mark.parametrize(
    "model_class",
    [
        "canary_of_a_stranger:Net",
        "os:system",
        "dawnchorus.models.backbone:_create",
        "dawnchorus.models.backbone:create_backbone",
        "dawnchorus.config.registry:imported",
        "dawnchorus.models.wave_cnn:nn.Module",
    ],
)
def test_a_card_names_no_class_that_is_not_registered(
    canary: Canary, run: Run, model_class: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attack(
        run, model_class=model_class, model_config={"name": "resnet18", "checkpoint_path": str(canary.pickle)}
    )
    message = "which is no network of dawnchorus; a model card imports no code: open the run by the training"
    with pytest.raises(ConfigError, match=message):
        run.load_model(0)
    with pytest.raises(ConfigError, match=message):
        open_engine(run.path, "torch")
    with pytest.raises(SystemExit):
        main(["predict", str(run.path), str(run.path), "--out", str(run.path / "out")])
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "model_config",
    [
        {"backbone": "canary_of_a_stranger:factory"},
        {"backbone": "hf-hub:stranger/network"},
        {"backbone": "hf_hub:stranger/network"},
        {"backbone": "local-dir:{folder}"},
        {"backbone": "{pickle}"},
        {"head": "canary_of_a_stranger:Head"},
        {"checkpoint_path": "{pickle}"},
        {"backbone_config": {"checkpoint_path": "{pickle}"}},
        {"backbone_config": {"pretrained": True}},
        {"backbone_config": {"pretrained_cfg": {"file": "{pickle}"}}},
        {"backbone_config": {"pretrained_cfg_overlay": {"file": "{pickle}"}}},
        {"backbone_config": {"cache_dir": "x"}},
        {"backbone_config": {"act_layer": "canary_of_a_stranger:factory"}},
        {"backbone_config": {"pos_embed": ["a/b"]}},
        {"head_config": {"weights": "{pickle}"}},
        {"frontend": {"n_mels": "{pickle}"}},
        {"n_classes": 4},
        {"dropout": {"a": 1}},
    ],
    ids=str,
)
def test_a_card_gives_no_path_no_part_and_no_source(
    canary: Canary, run: Run, model_config: dict[str, Any], tmp_path: Path
) -> None:
    text = json.dumps({"backbone": "test_resnet", **model_config})
    told = text.replace("{pickle}", str(canary.pickle)).replace("{folder}", str(tmp_path))
    attack(run, model_config=json.loads(told))
    for opened in (lambda: run.load_model(0), lambda: open_engine(run.path, "torch")):
        with pytest.raises((ConfigError, ModelError), match=r"model_card\.json: model_config"):
            opened()


def test_weights_that_a_card_names_are_neither_read_nor_fetched(canary: Canary, run: Run) -> None:
    values = {"backbone": "test_resnet.r160_in1k", "pretrained": True, "weights": str(canary.pickle)}
    attack(run, model_config=values)
    assert run.load_model(0).training is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nn_model_class", "canary_of_a_stranger:Net"),
        ("train_function", "os:system"),
        ("train_dataset_class", "canary_of_a_stranger:Net"),
        ("val_dataset_class", "dawnchorus.models.backbone:_create"),
    ],
)
def test_a_saved_config_names_nothing_that_is_not_registered(
    canary: Canary, run: Run, key: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = {name: f"dawnchorus:{name}" for name in ("train_dataset_class", "val_dataset_class")}
    dataset["train_dataset_class"] = dataset["val_dataset_class"] = (
        "dawnchorus.datasets.wave_dataset:WaveDataset"
    )
    values: dict[str, Any] = {
        "exp_name": "x",
        "data": {"audio_dir": "."},
        "nn_model_class": "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
        "train_function": "dawnchorus.training.lightning_training:lightning_training",
        "train_function_args": dataset,
    }
    run.config_file.write_text(json.dumps(values))
    assert run.config().exp_name == "x"
    (values["train_function_args"] if "dataset" in key else values)[key] = value
    run.config_file.write_text(json.dumps(values))
    with pytest.raises(
        ConfigError, match=f"{key} is '{value}', which is no .*; a saved config imports no code"
    ):
        run.config()
    for command in ("evaluate", "export", "calibrate"):
        with pytest.raises(SystemExit):
            main([command, str(run.path)])
        assert "error:" in capsys.readouterr().err


def test_an_exported_model_is_opened_whatever_its_card_names(
    canary: Canary, exported: Any, tmp_path: Path
) -> None:
    import onnx

    graph = onnx.load(exported.onnx)
    for entry in graph.metadata_props:
        values = json.loads(entry.value)
        values |= {"model_class": "canary_of_a_stranger:Net", "model_config": {"backbone": "hf-hub:a/b"}}
        entry.value = json.dumps(values)
    onnx.save(graph, tmp_path / "model.onnx")
    card: ModelCard = open_engine(tmp_path / "model.onnx").card
    assert card.model_class == "canary_of_a_stranger:Net"


def test_weights_of_a_stranger_are_refused(canary: Canary, run: Run) -> None:
    run.finished_file(0).write_text(json.dumps({"best_checkpoint": "evil.pth"}))
    (run.checkpoints_dir(0) / "evil.pth").write_bytes(canary.pickle.read_bytes())
    with pytest.raises(DawnchorusError, match="refused because it holds code"):
        run.load_model(0)


@pytest.mark.parametrize(
    "part",
    [
        {
            "val_dataset_class": "WaveDataset",
            "val_dataset_config": {"early_transforms": [{"name": "canary_of_a_stranger:factory"}]},
        },
        {"loss": "canary_of_a_stranger:factory"},
        {"metrics": ["canary_of_a_stranger:factory"]},
        {"optimizer": {"name": "canary_of_a_stranger:factory"}},
        {"batch_augmentations": {"canary_of_a_stranger:factory": {}}},
    ],
    ids=str,
)
def test_no_part_that_a_saved_config_names_is_ever_imported(
    canary: Canary, tmp_path: Path, data_factory: Any, part: dict[str, Any]
) -> None:
    from dawnchorus import label_map_of, load_recordings
    from dawnchorus.config import load_train_config, to_jsonable
    from dawnchorus.metrics import known_metrics
    from dawnchorus.training.setting_checks import check_training_args

    saved = to_jsonable(load_train_config("smoke"))
    saved["train_function_args"] |= part
    file = tmp_path / "config.json"
    file.write_text(json.dumps(saved))
    args = from_json_file(file).train_function_args
    known_metrics(args.metrics)
    recordings = load_recordings(data_factory.recordings(2, 2, (1.0, 1.5))).table

    def used() -> None:
        check_training_args(args, where="mine")
        args.val_dataset_class(recordings, label_map_of(recordings), args.val_dataset_config)
        make_augmentations(args.batch_augmentations)

    with pytest.raises(ConfigError, match=r"'canary_of_a_stranger:factory' in a saved config, which imports"):
        used()
