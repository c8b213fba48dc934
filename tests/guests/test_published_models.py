"""Runs and exports of the published system, in miniature, through the commands."""

from __future__ import annotations

import csv
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch

from dawnchorus import adopt, load_model
from dawnchorus.cli import main
from dawnchorus.engines import open_engine
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import (
    ConfigError,
    DataError,
    ModelError,
    OverwriteError,
    RunError,
    UnsafePathError,
    WeightsError,
)
from dawnchorus.pipelines.adoption import AdoptionSettings
from dawnchorus.runs import Run

EXPERIMENT = f"test_resnet_{'Exp_noamp_64bs_5sec_' * 8}PseudoI2"  # as long as the published names
CONFIG = """
import torch
from code_base.models import WaveCNNAttenClasifier

CONFIG = {{
    "exp_name": {name!r},
    "train_function_args": {{
        "val_dataset_config": {{"segment_len": 2, "late_normalize": True}},
        "nn_model_class": WaveCNNAttenClasifier,
        "nn_model_config": dict(
            backbone="test_resnet.r160_in1k",
            mel_spec_paramms={{
                "sample_rate": 16_000, "n_mels": 64, "f_min": 20, "n_fft": 512, "hop_length": 256,
                "normalized": True,
            }},
            head_config={{"p": 0.5, "num_class": 3}},
            exportable=True,
            fixed_amplitude_to_db=True,
        ),
        "optimizer_init": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-4),
    }},
}}
"""
CLIP = AdoptionSettings(sample_rate=16_000, segment_len=2.0)


def lightning_checkpoint(model: Any, path: Path) -> None:
    """Write a checkpoint as Lightning does in the published training: constants beside the network."""
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    constants = {
        "model.logmelspec_extractor.0.window": torch.hann_window(512),
        "_forward.batch_aug.hann_window": torch.hann_window(1024),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 3, "global_step": 40, "state_dict": {**state, **constants}}, path)


def simplify(exported: Path, file: Path) -> Path:
    """Write an export as the published code leaves it, with one output, no card and no second file."""
    graph = onnx.load(exported)
    del graph.graph.output[1], graph.metadata_props[:]
    for tensor in graph.graph.initializer:
        tensor.ClearField("data_location")
    file.parent.mkdir(parents=True)
    onnx.save(graph, file)
    return file


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A taxonomy in the order of the outputs."""
    file = tmp_path / "taxonomy.csv"
    rows = ["wren,Troglodytes troglodytes", "robin,Erithacus rubecula", "owl,Strix aluco"]
    file.write_text("\n".join(["primary_label,scientific_name", *rows]))
    return file


@pytest.fixture
def published_run(exported: Any, tmp_path: Path) -> Path:
    """A run of two folds with three checkpoints each, and its config among the code."""
    run = tmp_path / "published" / EXPERIMENT
    for fold, model in enumerate(exported.models):
        checkpoints = run / f"fold_{fold}" / "checkpoints"
        other = exported.models[1 - fold]
        lightning_checkpoint(other, checkpoints / "epoch=1-step=20-valid_roc_auc=0.812.ckpt")
        lightning_checkpoint(model, checkpoints / "epoch=3-step=40-valid_roc_auc=0.931.ckpt")
        lightning_checkpoint(other, checkpoints / "last.ckpt")
    (run / "code").mkdir()
    (run / "code" / "train_configs___ebs.py").write_text(CONFIG.format(name=EXPERIMENT))
    (run / "code" / "code_base___models.py").write_text("raise SystemExit('this was run')")
    return run


@pytest.fixture
def simplified_onnx(exported: Any, tmp_path: Path) -> Path:
    """An exported network with one output and no card, as the published export leaves it."""
    return simplify(
        exported.onnx, tmp_path / "published" / "solo" / "onnx_ensem_5first_folds" / "model_simpl.onnx"
    )


@pytest.fixture
def published_ensemble(simplified_onnx: Path, tmp_path: Path) -> Path:
    """Two experiments in OpenVINO, one of them in ONNX too."""
    root = simplified_onnx.parents[1].with_name("models")
    model = openvino.convert_model(simplified_onnx)
    for name in (EXPERIMENT, "eca"):
        folder = root / name / "onnx_ensem_5first_folds_openvino_fp16"
        openvino.save_model(model, folder / "model_simpl.xml", compress_to_fp16=True)
    shutil.copytree(simplified_onnx.parent, root / "eca" / "onnx_ensem_5first_folds")
    return root


@pytest.fixture
def soundscape(data_factory: Any) -> Path:
    return data_factory.tone("soundscapes/H1_001.wav", duration_s=6.0)


def command(*arguments: str | Path, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == code


def test_a_published_run_predicts_as_its_checkpoints(
    published_run: Path, labels: Path, exported: Any, clips: np.ndarray, tmp_path: Path
) -> None:
    (adopted,) = adopt(published_run, tmp_path / "run", labels=labels)
    run = Run.open(tmp_path / "run")
    expected = TorchEngine(exported.models, exported.card, device="cpu").predict(clips[:8])
    np.testing.assert_allclose(open_engine(run.path, "torch").predict(clips[:8]), expected, atol=1e-6)
    assert [source.name for source in adopted.sources] == ["epoch=3-step=40-valid_roc_auc=0.931.ckpt"] * 2
    assert run.card() == adopted.card
    assert (adopted.card.exp_name, adopted.card.sample_rate, adopted.card.segment_len) == (
        EXPERIMENT,
        16_000,
        2,
    )
    assert adopted.card.species["owl"] == {"scientific_name": "Strix aluco"}
    assert run.score(1) == 0.931
    assert not list(run.path.rglob("*.ckpt"))


def test_a_published_run_goes_through_the_commands(
    published_run: Path, labels: Path, soundscape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command("adopt", published_run, "--labels", labels, "--out", "logdirs/guest", "--segment-len", "5")
    command("export", "logdirs/guest")
    command("predict", "logdirs/guest", soundscape.parent, "--out", "tables")
    command("bundle", "logdirs/guest")
    command("submit-kaggle", "bundle", soundscape.parent)
    command("extract-backbone", "logdirs/guest", "backbone.safetensors")
    command("runs", "logdirs")
    with Path("submission.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"wren", "robin", "owl"} <= rows[0].keys()
    assert Path("tables/windows.parquet").is_file()
    # What the published export makes of the same networks gives the same submission.
    published = Path("models/ebs/onnx_ensem_5first_folds_openvino_fp16/model_simpl.xml")
    simplified = simplify(Run.open("logdirs/guest").onnx_file, Path("onnx/model_simpl.onnx"))
    openvino.save_model(openvino.convert_model(simplified), published, compress_to_fp16=True)
    command("adopt", "models", "--labels", labels, "--sample-rate", "16000")
    command("submit-kaggle", "adopted", soundscape.parent, "--out", "again.csv", "--budget-minutes", "5")
    with Path("again.csv").open() as file:
        again = list(csv.DictReader(file))
    assert [row["row_id"] for row in again] == [row["row_id"] for row in rows]
    # Its Fourier transform has sines in 16 bits, and ours has not.
    np.testing.assert_allclose(
        [float(row["owl"]) for row in again], [float(row["owl"]) for row in rows], atol=0.02
    )


def test_the_last_checkpoint_is_taken_on_request(
    published_run: Path, labels: Path, exported: Any, clips: np.ndarray, tmp_path: Path
) -> None:
    command("adopt", published_run, "--labels", labels, "--out", tmp_path / "run", "--checkpoint", "last")
    expected = TorchEngine(exported.models[::-1], exported.card, device="cpu").predict(clips[:2])
    np.testing.assert_allclose(open_engine(tmp_path / "run", "torch").predict(clips[:2]), expected, atol=1e-6)


def test_what_no_config_says_is_given_by_options(published_run: Path, labels: Path, tmp_path: Path) -> None:
    shutil.rmtree(published_run / "code")
    given = ("--backbone", "test_resnet.r160_in1k", "--sample-rate", "16000", "--segment-len", "2")
    frontend = [f"--frontend={text}" for text in ("n_fft=512", "hop_length=256", "n_mels=64")]
    command("adopt", published_run, "--labels", labels, "--out", tmp_path / "run", *given, *frontend)
    card = Run.open(tmp_path / "run").card()
    assert card.frontend["f_max_hz"] == 8000
    assert (card.n_samples, card.frontend["n_mels"], card.late_normalize) == (32_000, 64, True)
    with pytest.raises(WeightsError, match="do not fit the model"):  # the winner's backbone is another
        adopt(published_run, tmp_path / "other", labels=labels)


def test_a_checkpoint_with_code_is_refused(published_run: Path, labels: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "code": CONFIG.format}, published_run / "fold_1/checkpoints/last.ckpt")
    with pytest.raises(WeightsError, match="holds code or objects"):
        adopt(published_run, tmp_path / "run", labels=labels, checkpoint="last")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("n_labels", [2, 4])
def test_labels_of_another_number_are_refused(
    published_run: Path, simplified_onnx: Path, tmp_path: Path, n_labels: int
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\n".join("abcd"[:n_labels]))
    with pytest.raises(ModelError, match=f"has 3 classes and the labels are {n_labels}"):
        adopt(published_run, tmp_path / "out", labels=file)
    with pytest.raises(ModelError, match=f"has 3 classes and the labels are {n_labels}"):
        adopt(simplified_onnx, tmp_path / "out", labels=file, settings=CLIP)


def test_an_ensemble_of_openvino_goes_through_the_commands(
    published_ensemble: Path,
    labels: Path,
    soundscape: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Any,
    clips: np.ndarray,
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = ("--sample-rate", "16000", "--segment-len", "2")
    command("adopt", published_ensemble, "--labels", labels, *clip)
    assert sorted(path.name for path in Path("adopted").iterdir()) == sorted([EXPERIMENT, "eca"])
    assert sorted(path.name for path in Path("adopted/eca").iterdir()) == [
        "bundle.json",
        "model.bin",
        "model.xml",
    ]
    expected = open_engine(exported.fp16).predict(clips[:8])
    np.testing.assert_allclose(open_engine("adopted/eca").predict(clips[:8]), expected, atol=2e-3)
    np.testing.assert_allclose(load_model("adopted").engine.predict(clips[:8]), expected, atol=2e-3)
    command("predict", "adopted", soundscape.parent, "--out", "tables")
    command("bundle", "adopted", "--out", "again")
    assert sorted(path.name for path in Path("again").iterdir()) == sorted([EXPERIMENT, "eca"])


def test_a_single_onnx_file_becomes_an_export(
    simplified_onnx: Path, labels: Path, exported: Any, clips: np.ndarray, tmp_path: Path
) -> None:
    (adopted,) = adopt(simplified_onnx.parent, tmp_path / "adopted", labels=labels, settings=CLIP)
    assert adopted.path == tmp_path / "adopted"
    expected = open_engine(exported.onnx).predict(clips[:8])
    np.testing.assert_allclose(open_engine(adopted.path).predict(clips[:8]), expected, atol=1e-4)
    facts = json.loads((adopted.path / "bundle.json").read_text())
    assert (facts["adopted_from"], facts["sample_rate"]) == ("model_simpl.onnx", 16_000)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_adopted_export_says_that_it_has_no_embeddings(
    published_ensemble: Path, simplified_onnx: Path, labels: Path, tmp_path: Path, engine: str
) -> None:
    source = simplified_onnx if engine == "onnx" else published_ensemble / EXPERIMENT
    adopt(source, tmp_path / "adopted", labels=labels, settings=CLIP)
    model = load_model(tmp_path / "adopted")
    assert model.engine.outputs(np.zeros((5, 32_000), np.float32)).embeddings.shape == (5, 0)
    with pytest.raises(ModelError, match="was exported without embeddings; leave them out"):
        model.embed(np.zeros(32_000, np.float32))


def test_a_clip_of_another_length_is_refused(
    published_ensemble: Path, simplified_onnx: Path, labels: Path, tmp_path: Path
) -> None:
    for source in (published_ensemble, simplified_onnx):
        with pytest.raises(
            ModelError, match="32000 samples, and 5 s at 32000 Hz are 160000; give --segment-len"
        ):
            adopt(source, tmp_path / "adopted", labels=labels)


def rewritten(file: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """Change an ONNX file and return it."""
    graph = onnx.load(file, load_external_data=False)
    change(graph)
    file.write_bytes(graph.SerializeToString())
    return file


def test_a_network_that_gives_logits_is_refused(simplified_onnx: Path, labels: Path, tmp_path: Path) -> None:
    def to_logits(graph: onnx.ModelProto) -> None:
        graph.graph.output[0].name = "logits"
        (last,) = [node for node in graph.graph.node if "output" in node.output]
        graph.graph.node.append(onnx.helper.make_node("Log", ["output"], ["logits"]))
        assert last

    file = rewritten(simplified_onnx, to_logits)
    with pytest.raises(ModelError, match=r"no output of the name output; it has \['logits'\]"):
        adopt(file, tmp_path / "adopted", labels=labels, settings=CLIP)

    def renamed(graph: onnx.ModelProto) -> None:
        for node in graph.graph.node:
            node.output[:] = [{"output": "inner", "logits": "output"}.get(name, name) for name in node.output]
            node.input[:] = ["inner" if name == "output" else name for name in node.input]
        graph.graph.output[0].name = "output"

    with pytest.raises(ModelError, match=r"values from .* which are no probabilities"):
        adopt(rewritten(file, renamed), tmp_path / "adopted", labels=labels, settings=CLIP)
    assert not (tmp_path / "adopted").exists()


def test_weights_outside_the_folder_are_refused(simplified_onnx: Path, labels: Path, tmp_path: Path) -> None:
    def leading_out(graph: onnx.ModelProto) -> None:
        tensor = graph.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../secret.bin")

    with pytest.raises(UnsafePathError, match=r"names '\.\./\.\./secret\.bin', which does not lie below"):
        adopt(rewritten(simplified_onnx, leading_out), tmp_path / "adopted", labels=labels, settings=CLIP)


def test_networks_that_take_spectrograms_are_refused(exported: Any, labels: Path, tmp_path: Path) -> None:
    networks = exported.onnx.with_name("networks.onnx")
    with pytest.raises(ModelError, match="and not waveforms"):
        adopt(networks, tmp_path / "adopted", labels=labels, settings=CLIP)


def test_what_is_no_model_is_told(labels: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    (tmp_path / "broken.xml").write_text("<net")
    (tmp_path / "broken.bin").touch()
    with pytest.raises(RunError, match="does not exist; give a published run"):
        adopt(tmp_path / "nowhere", tmp_path / "out", labels=labels)
    with pytest.raises(RunError, match="empty holds no published model"):
        adopt(tmp_path / "empty", tmp_path / "out", labels=labels)
    with pytest.raises(ModelError, match=r"broken\.onnx is no ONNX file"):
        adopt(tmp_path / "broken.onnx", tmp_path / "out", labels=labels)
    with pytest.raises(ModelError, match=r"broken\.xml cannot be opened as a model"):
        adopt(tmp_path / "broken.xml", tmp_path / "out", labels=labels)
    with pytest.raises(OverwriteError, match="empty exists"):
        adopt(tmp_path / "broken.onnx", tmp_path / "empty", labels=labels)


def test_checkpoints_that_cannot_be_told_apart_are_refused(
    published_run: Path, labels: Path, tmp_path: Path
) -> None:
    for file in published_run.rglob("*.ckpt"):
        file.rename(
            file.with_name(f"{file.stem.replace('valid_roc_auc', 'other').replace('last', 'x')}.ckpt")
        )
    with pytest.raises(RunError, match="several checkpoints, and none is the best by its name"):
        adopt(published_run, tmp_path / "run", labels=labels)


def test_a_checkpoint_of_another_network_is_refused(
    published_run: Path, labels: Path, tmp_path: Path
) -> None:
    for file in published_run.rglob("*.ckpt"):
        torch.save({"state_dict": {"model.backbone.conv1.weight": torch.zeros(1)}}, file)
    with pytest.raises(ModelError, match="holds no network with the published head"):
        adopt(published_run, tmp_path / "run", labels=labels)


def test_several_configs_that_differ_are_told_and_so_is_the_one_that_is_taken(
    published_run: Path, labels: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = CONFIG.format(name="another")
    (published_run / "code" / "train_configs___ebs.py").write_text(text)
    (published_run / "code" / "train_configs___eca.py").write_text(text.replace("r160", "r161"))
    with pytest.raises(ConfigError, match=r"has several configs.*give one with --config"):
        adopt(published_run, tmp_path / "run", labels=labels)
    (published_run / "code" / "train_configs___ebs.py").unlink()
    (published_run / "code" / "train.py").write_text("import torch")
    with (
        caplog.at_level(logging.INFO, logger="dawnchorus"),
        pytest.raises(DataError, match="does not exist; give a CSV file"),
    ):
        adopt(published_run, tmp_path / "run", labels=tmp_path / "none.csv")
    assert re.search(r"settings are those of .*train_configs___eca\.py\.$", caplog.text, re.MULTILINE)


def test_eight_bits_of_an_adopted_run_are_refused(
    published_run: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adopt(published_run, tmp_path / "run", labels=labels)
    command("export", tmp_path / "run", "--int8", code=1)
    assert "no config and no recordings, which 8 bits need; leave --int8 out" in capsys.readouterr().err


def test_the_golden_checkpoint_is_adopted(golden: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "published" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(golden / "model_mobilenetv4_conv_small.ckpt", checkpoint)
    names = tmp_path / "labels.json"
    names.write_text(json.dumps({f"species_{number}": number for number in range(10)}))
    settings = AdoptionSettings(backbone="mobilenetv4_conv_small")
    adopt(tmp_path / "published", tmp_path / "run", labels=names, settings=settings)
    expected = np.load(golden / "model_mobilenetv4_conv_small.npz")
    waves = np.load(golden / "frontend.npz")["wave"]
    found = open_engine(tmp_path / "run", "torch").predict(waves)
    key = next(name for name in expected.files if expected[name].shape == found.shape and "log" not in name)
    np.testing.assert_allclose(found, expected[key], atol=1e-4)
