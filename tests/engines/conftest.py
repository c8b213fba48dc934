"""A stand-in for Perch 2: a real graph with its inputs and outputs, and weights made by chance."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

N_SAMPLES, N_FRAMES, N_FEATURES = 160_000, 500, 1536
LABELS = ("Strix aluco", "Turdus merula", "Engine")


@dataclass
class PerchStandIn:
    """The graph's file, and its outputs once more in NumPy."""

    file: Path
    features: np.ndarray
    classes: np.ndarray

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return embeddings and logits of clips, shape (batch, n_samples), computed in float64."""
        frames = np.sqrt((clips.astype(np.float64).reshape(len(clips), N_FRAMES, -1) ** 2).sum(axis=2))
        embeddings = np.maximum(frames @ self.features, 0)
        return embeddings, embeddings @ self.classes


def _graph(features: np.ndarray, classes: np.ndarray, batch: str | int, rank: int) -> Any:
    shapes = {"frames": [-1, N_FRAMES, N_SAMPLES // N_FRAMES], "grid": [-1, 1, 1, N_FEATURES]}
    axes = [batch, N_SAMPLES] if rank == 2 else [N_SAMPLES] if rank == 1 else [batch, 1, N_SAMPLES]
    constants = [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]
    constants += [
        numpy_helper.from_array(features.astype(np.float32), "features"),
        numpy_helper.from_array(classes.astype(np.float32), "classes"),
        numpy_helper.from_array(np.array([1, 16, 4, 1], np.int64), "times"),
    ]
    nodes = [
        helper.make_node("Reshape", ["inputs", "frames"], ["framed"]),
        helper.make_node("ReduceL2", ["framed"], ["levels"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["levels", "features"], ["product"]),
        helper.make_node("Relu", ["product"], ["embedding"]),
        helper.make_node("Reshape", ["embedding", "grid"], ["one_place"]),
        helper.make_node("Tile", ["one_place", "times"], ["spatial_embedding"]),
        helper.make_node("MatMul", ["embedding", "classes"], ["label"]),
    ]
    n = batch if rank > 1 else 1
    outputs = {
        "embedding": [n, N_FEATURES],
        "spatial_embedding": [n, 16, 4, N_FEATURES],
        "label": [n, len(LABELS)],
    }
    graph = helper.make_graph(
        nodes,
        "perch",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in outputs.items()],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def perch_in() -> Any:
    """Writes the stand-in into a folder, with the labels of Perch and no card."""

    def write(folder: Path, *, batch: str | int = "batch", rank: int = 2) -> PerchStandIn:
        rng = np.random.default_rng(0)
        features = rng.standard_normal((N_FRAMES, N_FEATURES)) * 0.05
        classes = rng.standard_normal((N_FEATURES, len(LABELS))) * 0.05
        folder.mkdir(exist_ok=True)
        made = PerchStandIn(folder / "perch_v2.onnx", features.astype(np.float32), classes.astype(np.float32))
        onnx.save(_graph(features, classes, batch, rank), made.file)
        lines = ("inat2024_fsd50k", *LABELS)
        (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return made

    return write


@pytest.fixture
def card_values() -> dict[str, Any]:
    """The card of Perch 2, as a person writes it."""
    return {
        "name": "Perch 2",
        "licence": "Apache-2.0",
        "sample_rate": 32_000,
        "window_s": 5,
        "input": {"name": "inputs", "remove_mean": True, "peak": 0.25},
        "scores": {"output": "label", "activation": "softmax", "labels": "labels.csv"},
        "embeddings": "embedding",
    }


@pytest.fixture
def write_card() -> Any:
    """Writes a card as JSON beside a graph."""

    def write(graph: Path, values: dict[str, Any]) -> Path:
        card = graph.with_name(f"{graph.stem}.card.json")
        card.write_text(json.dumps(values), encoding="utf-8")
        return card

    return write
