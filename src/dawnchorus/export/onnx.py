"""The ensemble as one ONNX graph: waves in, probabilities out, the model card inside."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch

from dawnchorus.inference.runtimes import CARD_KEY
from dawnchorus.models.card import ModelCard
from dawnchorus.models.ensemble import Ensemble
from dawnchorus.models.frontend import FrontendSettings, MatrixLogMelFrontend

OPSET = 18
_EXAMPLE_BATCH = 2


def write_onnx(models: Sequence[torch.nn.Module], card: ModelCard, path: Path) -> None:
    """Write the graph: ``input`` (batch, n_samples) float32, ``output`` (batch, n_classes) float32.

    The front-end is in the graph, once for all models. ONNX Runtime and OpenVINO have no fast
    Fourier transform for it, so it is written as matrix products of the same numbers.
    """
    frontend = MatrixLogMelFrontend(FrontendSettings(**card.frontend))
    ensemble = Ensemble(models, frontend).eval()
    example = torch.zeros(_EXAMPLE_BATCH, card.n_samples)
    with warnings.catch_warnings():
        # The exporter warns of its own and its libraries' deprecations, which nobody here can mend.
        warnings.simplefilter("ignore")
        for name in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(name).setLevel(logging.ERROR)
        torch.onnx.export(
            ensemble,
            (example,),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes={"wave": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    graph = onnx.load(path)
    entry = graph.metadata_props.add()
    entry.key, entry.value = CARD_KEY, card.to_json()
    onnx.checker.check_model(graph)
    onnx.save(graph, path)
