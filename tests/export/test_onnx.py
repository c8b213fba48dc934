"""The ONNX graphs of an export as files, and what they give with unusual front-ends, heads and outputs."""

from __future__ import annotations

import dataclasses
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from scipy.special import expit
from torch import nn

from dawnchorus.engines import Engine, open_engine
from dawnchorus.engines.engine import Outputs
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import ExportError, ModelError
from dawnchorus.export.onnx import write_one_file, write_onnx, write_onnx_fp16
from dawnchorus.export.openvino import read_onnx, write_ir
from dawnchorus.export.parity import TOLERANCE, TOLERANCE_FP16
from dawnchorus.models.card import ModelCard
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.predict.model import Model

FRONTEND = {
    "sample_rate": 16_000,
    "n_fft": 512,
    "hop_length": 256,
    "n_mels": 32,
    "f_max_hz": 8000.0,
    "win_length": [100, 512],
    "mel_scale": "slaney",
    "mel_norm": "slaney",
}
HEAD = {"hidden_features": 16, "prediction": "maximum", "middle": 0.34}


def small_backbone() -> nn.Module:
    """Return a backbone of two channels whose feature map has a fifth of the frames."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 64, 9, stride=16)
    )


class Unusual(NamedTuple):
    """Two networks, what PyTorch gives for some clips, and the folder of their exports."""

    card: ModelCard
    models: list[Any]
    clips: np.ndarray
    expected: Outputs
    folder: Path


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory, card: Any, clips: np.ndarray) -> Unusual:
    folder = tmp_path_factory.mktemp("unusual")
    models = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = WaveCNNAttenClassifier(
                n_classes=3, backbone=small_backbone, frontend=FRONTEND, head="gru", head_config=HEAD
            )
            model.train()(torch.from_numpy(clips[:16]))
        models.append(model.eval())
    card = card(frontend=dataclasses.asdict(models[0].frontend.settings))
    write_onnx(models, card, folder / "model.onnx", frames=True)
    write_ir(read_onnx(folder / "model.onnx", card), folder / "model.xml")
    for name, write in (("one_file", write_one_file), ("fp16", write_onnx_fp16)):
        (folder / name).mkdir()
        write(folder / "model.onnx", folder / name / "model.onnx")
    return Unusual(
        card, models, clips[:9], TorchEngine(models, card, device="cpu").outputs(clips[:9]), folder
    )


@pytest.mark.parametrize(
    ("file", "input_kind", "tolerance"),
    [
        ("model.onnx", "logmel", TOLERANCE),
        ("model.xml", "logmel", TOLERANCE),
        ("one_file/model.onnx", "wave", TOLERANCE),
        ("fp16/model.onnx", "wave", TOLERANCE_FP16),
    ],
)
def test_every_export_gives_what_pytorch_gives(
    unusual: Unusual, file: str, input_kind: str, tolerance: float
) -> None:
    engine = open_engine(unusual.folder / file, n_threads=1)
    assert engine.input_kind == input_kind
    outputs, expected = engine.outputs(unusual.clips), unusual.expected
    np.testing.assert_allclose(outputs.probabilities, expected.probabilities, atol=tolerance, rtol=0)
    np.testing.assert_allclose(outputs.embeddings, expected.embeddings, atol=20 * tolerance, rtol=0)
    assert outputs.frame_logits is not None
    assert expected.frame_logits is not None
    assert outputs.frame_logits.shape == (9, 4, 3)
    np.testing.assert_allclose(
        expit(outputs.frame_logits), expit(expected.frame_logits), atol=tolerance, rtol=0
    )


def test_the_frames_of_several_networks_are_their_mean(unusual: Unusual) -> None:
    with torch.inference_mode():
        each = [model(torch.from_numpy(unusual.clips)).frame_logits.numpy() for model in unusual.models]
    np.testing.assert_allclose(unusual.expected.frame_logits, np.mean(each, axis=0), atol=1e-5)
    for engine in (
        open_engine(unusual.folder / "model.xml", n_threads=1),
        TorchEngine(unusual.models, unusual.card, device="cpu"),
    ):
        engine.keep_networks(1)
        np.testing.assert_allclose(engine.outputs(unusual.clips).frame_logits, each[0], atol=1e-3)


def test_a_model_gives_the_frames_of_each_window(unusual: Unusual) -> None:
    model = Model(open_engine(unusual.folder / "one_file", n_threads=1))
    found = model.frame_logits(np.concatenate([unusual.clips[0], unusual.clips[1]]))
    normalised = unusual.clips[:2] / np.abs(unusual.clips[:2]).max(axis=1, keepdims=True)
    expected = TorchEngine(unusual.models, unusual.card, device="cpu").outputs(normalised).frame_logits
    assert found.shape == (2, 4, 3)
    np.testing.assert_allclose(expit(found), expit(expected), atol=TOLERANCE)


def test_without_frames_an_export_gives_none_and_the_remedy(exported: Any) -> None:
    engine: Engine = open_engine(exported.onnx, n_threads=1)
    assert engine.outputs(np.zeros((1, 32_000), np.float32)).frame_logits is None
    with pytest.raises(ModelError, match=r"tiny gives no frame logits; .*with --frames"):
        Model(engine).frame_logits(np.zeros(32_000))


def test_one_file_stands_alone_and_weights_in_fp16_take_half_of_it(unusual: Unusual) -> None:
    sizes = []
    for name in ("one_file", "fp16"):
        (file,) = (unusual.folder / name).iterdir()
        sizes.append(file.stat().st_size)
    n_weights = 2 * sum(weight.numel() for weight in unusual.models[0].parameters() if weight.numel() >= 1024)
    assert sizes[0] - sizes[1] == pytest.approx(2 * n_weights, rel=0.05)


def test_the_front_end_keeps_its_digits_in_fp16(unusual: Unusual) -> None:
    graph = onnx.load(unusual.folder / "fp16" / "model.onnx").graph
    narrow = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    wide = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    assert {f"models.{number}.backbone.3.weight_fp16" for number in (0, 1)} <= narrow
    # The front-end's cosines, sines and filters are the only matrices left.
    large = {tuple(tensor.dims) for tensor in wide if len(tensor.dims) == 2 and np.prod(tensor.dims) >= 1024}
    assert large == {(128, 128), (128, 129), (128, 32), (129, 32)}


def test_more_than_2_gb_are_refused_for_one_file(
    unusual: Unusual, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", 1000)
    with pytest.raises(ExportError, match=r"model\.onnx would have .* GB, .*less than 2 GB; export fewer"):
        write_one_file(unusual.folder / "model.onnx", tmp_path / "model.onnx")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_every_file_of_an_export_has_the_mode_that_the_umask_says(exported: Any) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in exported.onnx.parent.iterdir()}
    assert set(modes.values()) == {modes["model.onnx"]}, modes
    assert modes["weights.bin"] == modes["model.onnx"]
