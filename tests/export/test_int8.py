"""The export in 8 bits: what computes in bytes, what stays in float32, and when it is refused."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from openvino import opset13
from sklearn.metrics import roc_auc_score

from dawnchorus.engines.engine_settings import EngineSettings
from dawnchorus.engines.openvino_engine import OpenVinoEngine
from dawnchorus.errors import ExportError, MissingExtraError
from dawnchorus.export.int8 import ScoreClips, check_score, float_nodes, quantize
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import frontend_nodes, read_onnx, write_ir
from dawnchorus.models.card import ModelCard
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

LABELS = ("robin", "wren")
LOUDER = 200.0  # times as loud as its neighbours: a byte for all leaves those one value
SETTINGS = EngineSettings(n_threads=1, n_streams=1, clips_per_request=4)


class FixedEngine:
    """An engine that says what it was told to."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities

    def predict(self, waves: np.ndarray) -> np.ndarray:
        return self.probabilities


@pytest.fixture(scope="module")
def waves() -> np.ndarray:
    """Chirps of many pitches in noise, shape (12, 32_000)."""
    rng = np.random.default_rng(0)
    time_s = np.arange(32_000) / 32_000
    pitches_hz = rng.uniform(500, 8000, (12, 1)) + rng.uniform(-2000, 2000, (12, 1)) * time_s
    chirps = 0.4 * np.sin(2 * np.pi * pitches_hz * time_s)
    return (chirps + 0.05 * rng.standard_normal(chirps.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, waves: np.ndarray) -> tuple[Path, ModelCard]:
    """A small network as ONNX, one of whose channels is far louder than the others."""
    torch.manual_seed(0)
    frontend = {"n_mels": 64, "hop_length": 1024}
    model = WaveCNNAttenClassifier(n_classes=2, backbone="test_resnet.r160_in1k", frontend=frontend)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1)  # timm lets some branches begin at zero
        for _ in range(10):
            model(torch.from_numpy(waves))  # running means and variances of the batch norms
        block = model.backbone.layer1[0]
        # A ReLU lets factors through: the network's function stays the same.
        block.bn1.weight[0] *= LOUDER
        block.bn1.bias[0] *= LOUDER
        block.conv2.weight[:, 0] /= LOUDER
    settings = vars(model.frontend.settings)
    card = ModelCard("run", "", {}, LABELS, settings, 32_000, 1.0, late_normalize=False, folds=(0,))
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    write_onnx([model.eval()], card, path)
    return path, card


@pytest.fixture(scope="module")
def in_bytes(exported: tuple[Path, ModelCard], waves: np.ndarray, tmp_path_factory: Any) -> Path:
    """The same network in 8 bits, on disk."""
    path = tmp_path_factory.mktemp("int8") / "model.xml"
    write_ir(quantize(read_onnx(*exported), waves), path)
    return path


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_the_networks_are_in_bytes_and_the_front_end_is_not(in_bytes: Path) -> None:
    model = openvino.Core().read_model(in_bytes)
    frontend = frontend_nodes(model)
    inside = [node for node in model.get_ops() if node.get_friendly_name() in frontend]
    behind = [node for node in model.get_ops() if node.get_friendly_name() not in frontend]
    assert len(inside) > 10
    assert "FakeQuantize" not in {node.get_type_name() for node in inside}
    constants = {node.get_element_type() for node in inside if node.get_type_name() == "Constant"}
    assert constants <= {openvino.Type.f32, openvino.Type.i64, openvino.Type.i32}
    byte_weights = [
        node
        for node in behind
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.i8
    ]
    n_quantized = sum(node.get_type_name() == "FakeQuantize" for node in behind)
    assert len(byte_weights) >= 10
    assert n_quantized >= 10


def test_what_bytes_say_is_near_although_a_channel_is_loud(
    exported: tuple[Path, ModelCard], in_bytes: Path, waves: np.ndarray, tmp_path: Path
) -> None:
    write_ir(read_onnx(*exported), tmp_path / "model.xml")
    expected = OpenVinoEngine(tmp_path / "model.xml", SETTINGS).outputs(waves)
    found = OpenVinoEngine(in_bytes, SETTINGS).outputs(waves)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.01)
    # An untrained head says about the same of all clips; the embeddings tell more.
    assert 0 < distance(found.embeddings, expected.embeddings) < 0.05


OTHER_PROCESSOR = """
import sys
import numpy as np
from pathlib import Path
from dawnchorus.engines.openvino_engine import OpenVinoEngine
from dawnchorus.engines.engine_settings import EngineSettings
settings = EngineSettings(n_threads=1, n_streams=1, clips_per_request=4)
np.save(sys.argv[3], OpenVinoEngine(Path(sys.argv[1]), settings).outputs(np.load(sys.argv[2])).embeddings)
"""


def test_bytes_say_the_same_on_a_processor_that_adds_products_in_16_bits(
    in_bytes: Path, waves: np.ndarray, tmp_path: Path
) -> None:
    files = [str(in_bytes), str(tmp_path / "waves.npy"), str(tmp_path / "embeddings.npy")]
    np.save(files[1], waves)
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}  # no VNNI
    subprocess.run([sys.executable, "-c", OTHER_PROCESSOR, *files], env=environment, check=True)
    found = OpenVinoEngine(in_bytes, SETTINGS).outputs(waves)
    # Where the sums overflow, they are 0.03 apart.
    assert distance(np.load(files[2]), found.embeddings) < 1e-3


def test_quantizing_says_one_line_and_leaves_logging_as_it_was(
    exported: tuple[Path, ModelCard], waves: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    import nncf

    nncf.set_log_level(logging.INFO)
    quantize(read_onnx(*exported), waves[:4])
    printed = capfd.readouterr()
    assert printed.out == ""
    assert [line.split(" ━")[0] for line in printed.err.splitlines()] == ["Calibrating 8 bits"]
    assert logging.getLogger("nncf").level == logging.INFO


def test_first_products_gates_and_heads_stay_in_float32() -> None:
    rng = np.random.default_rng(0)

    def product(name: str, source: Any, n_in: int, n_out: int) -> Any:
        weights = opset13.constant(rng.standard_normal((n_out, n_in, 1, 1)).astype(np.float32))
        return opset13.convolution(source, weights, [1, 1], [0, 0], [0, 0], [1, 1], name=name)

    picture = opset13.parameter([-1, 1, 8, 6], np.float32, name="picture")
    results = []
    for fold in "ab":
        first = product(f"{fold}_first", picture, 1, 4)
        wide = product(f"{fold}_wide", first, 4, 8)
        pooled = opset13.reduce_mean(wide, [2, 3], keep_dims=True)
        gate = opset13.sigmoid(product(f"{fold}_gate", pooled, 8, 8))
        last = product(f"{fold}_last", opset13.multiply(wide, gate), 8, 4)
        frames = opset13.transpose(opset13.reduce_mean(last, [2], keep_dims=False), [0, 2, 1])
        head = opset13.matmul(frames, rng.standard_normal((4, 2)).astype(np.float32), False, False)
        head.set_friendly_name(f"{fold}_head")
        results.append(opset13.result(head))
    networks = openvino.Model(results, [picture], "networks")

    in_float = float_nodes(networks)
    products = {
        node.get_friendly_name()
        for node in networks.get_ops()
        if node.get_type_name() in ("Convolution", "MatMul")
    }
    assert products - in_float == {"a_wide", "a_last", "b_wide", "b_last"}
    everything = {node.get_friendly_name() for node in networks.get_ops()}
    assert everything - in_float == products - in_float


def test_a_missing_nncf_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"8 bits needs nncf; .*pip install -e '\.\[nncf\]'"):
        quantize(None, np.zeros((1, 32_000), np.float32))


@pytest.fixture
def scored() -> tuple[ScoreClips, np.ndarray]:
    """Clips with targets, and probabilities that go along with them by and large."""
    rng = np.random.default_rng(1)
    targets = np.tile(np.eye(2, dtype=np.float32), (50, 1))
    probabilities = (0.25 * targets + 0.75 * rng.random(targets.shape)).astype(np.float32)
    return ScoreClips(np.zeros((100, 8), np.float32), targets), probabilities


def test_a_change_that_costs_no_score_is_accepted(scored: tuple[ScoreClips, np.ndarray]) -> None:
    clips, probabilities = scored
    shrunken: Any = FixedEngine(0.9 * probabilities)  # the same order
    reference: Any = FixedEngine(probabilities)
    parity = check_score(shrunken, reference, clips)
    assert parity.engine == "OpenVINO int8"
    assert parity.largest_difference == pytest.approx(0.1 * probabilities.max())
    assert parity.filename == "+0.00000 macro ROC-AUC lost"


def test_a_change_that_costs_score_is_refused(scored: tuple[ScoreClips, np.ndarray]) -> None:
    clips, probabilities = scored
    noise = np.random.default_rng(2).standard_normal(probabilities.shape).astype(np.float32)
    harmful: Any = FixedEngine(probabilities + 0.5 * noise)
    reference: Any = FixedEngine(probabilities)
    loss = roc_auc_score(clips.targets, probabilities) - roc_auc_score(clips.targets, harmful.probabilities)
    assert loss > 0.01
    with pytest.raises(
        ExportError, match=rf"refused: .* over 100 clips is {loss:.4f} below .*PyTorch.* 0\.002"
    ):
        check_score(harmful, reference, clips)


def test_clips_that_allow_no_score_refuse_the_export(scored: tuple[ScoreClips, np.ndarray]) -> None:
    clips, probabilities = scored
    engine: Any = FixedEngine(probabilities)
    silent = ScoreClips(clips.waves, np.zeros_like(clips.targets))
    with pytest.raises(ExportError, match="refused: its score cannot be compared"):
        check_score(engine, engine, silent)
