"""The ensemble as ONNX: waves in, probabilities out, the model card inside; and the networks alone."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dawnchorus.engines.onnx_engine import NETWORKS_NAME
from dawnchorus.features.frontend import MatrixLogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import CARD_KEY, LOGMEL_NAME, ModelCard
from dawnchorus.models.ensemble import EnsembleModule

OPSET = 18
WEIGHTS_NAME = "weights.bin"
_EXAMPLE_BATCH = 2
_LOUD_LIBRARIES = ("torch.onnx", "onnxscript", "onnx_ir")


def write_onnx(models: Sequence[torch.nn.Module], card: ModelCard, path: Path) -> None:
    """Write ``path``, ``networks.onnx`` and ``weights.bin``, which both graphs read, into one folder.

    ``path`` has the input ``input`` (batch, n_samples) float32 and the outputs ``output`` (batch, n_classes)
    and ``embedding`` (batch, n_features). The front-end is in it, once for all models; ONNX Runtime has no
    fast Fourier transform, so it is written as matrix products of the same numbers. ``networks.onnx`` is the
    rest of that graph behind the front-end: it takes ``logmel`` (batch, 1, n_mels, n_frames), so that a real
    transform can stand beside it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> Path("exported").mkdir()
    >>> write_onnx([run.load_model(0)], run.card(), Path("exported/model.onnx"))
    >>> sorted(path.name for path in Path("exported").iterdir())
    ['model.onnx', 'networks.onnx', 'weights.bin']
    """
    _export(models, card, path)
    graph = onnx.load(path)
    entry = graph.metadata_props.add()
    entry.key, entry.value = CARD_KEY, card.to_json()
    onnx.checker.check_model(graph)
    networks = _networks(graph)
    del graph.graph.output[2]  # the spectrogram, which was an output to get its name
    _save(graph, path)
    # Names and order of the weights are the same in both graphs, so both read the file of the first.
    _share_weights(networks, onnx.load(path, load_external_data=False))
    onnx.save(networks, path.with_name(NETWORKS_NAME))


def _export(models: Sequence[torch.nn.Module], card: ModelCard, path: Path) -> None:
    ensemble = EnsembleModule(models, MatrixLogMelFrontend(FrontendSettings(**card.frontend))).eval()
    example = torch.zeros(_EXAMPLE_BATCH, card.n_samples)
    # Attention as matrix products: the exporter gets the memory layout of a fused one's result wrong.
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # The exporter warns of its own and its libraries' deprecations, which have no remedy here.
        warnings.simplefilter("ignore")
        for name in _LOUD_LIBRARIES:
            logging.getLogger(name).setLevel(logging.ERROR)
        torch.onnx.export(
            ensemble,
            (example,),
            str(path),
            input_names=["input"],
            output_names=["output", "embedding", LOGMEL_NAME],
            dynamic_shapes={"wave": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _networks(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph behind the front-end, with the metadata of the whole."""
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    # Some backbones read the batch size from the waveform input; the networks' input is the spectrogram.
    for node in whole.graph.node:
        if node.op_type == "Shape" and list(node.input) == ["input"]:
            node.input[0] = LOGMEL_NAME
    networks = onnx.utils.Extractor(whole).extract_model([LOGMEL_NAME], ["output", "embedding"])
    networks.metadata_props.extend(graph.metadata_props)
    return networks


def _save(graph: onnx.ModelProto, path: Path) -> None:
    onnx.save_model(
        graph,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=WEIGHTS_NAME,
    )
    # onnx makes the file readable by its owner alone; services under another user must read it too.
    shutil.copymode(path, path.with_name(WEIGHTS_NAME))


def _share_weights(networks: onnx.ModelProto, whole: onnx.ModelProto) -> None:
    """Replace the networks' weights by references to those of the whole graph on disk."""
    on_disk = {tensor.name: tensor for tensor in whole.graph.initializer}
    for tensor in networks.graph.initializer:
        tensor.CopyFrom(on_disk[tensor.name])
