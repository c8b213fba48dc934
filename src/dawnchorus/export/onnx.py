"""The ensemble as ONNX: waves in, probabilities out, the model card inside; and the networks alone."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn.attention import SDPBackend, sdpa_kernel

from dawnchorus.engines.onnx_engine import NETWORKS_NAME
from dawnchorus.errors import ExportError
from dawnchorus.features.frontend import MatrixLogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import CARD_KEY, LOGMEL_NAME, OUTPUT_NAMES, ModelCard
from dawnchorus.models.ensemble import EnsembleModule

OPSET = 18
WEIGHTS_NAME = "weights.bin"
MIN_COMPRESSED = 1024
"""Fewest elements of a constant that is compressed: weights, not biases."""

_EXAMPLE_BATCH = 2
_LOUD_LIBRARIES = ("torch.onnx", "onnxscript", "onnx_ir")


def write_onnx(
    models: Sequence[torch.nn.Module], card: ModelCard, path: Path, *, frames: bool = False
) -> None:
    """Write ``path``, ``networks.onnx`` and ``weights.bin``, which both graphs read, into one folder.

    ``path`` has the input ``input`` (batch, n_samples) float32 and the outputs ``output`` (batch, n_classes)
    and ``embedding`` (batch, n_features), and with ``frames`` also ``frame_logits`` (batch, n_frames,
    n_classes), the mean of the networks' frame logits. The front-end is in it, once for all models; ONNX
    Runtime has no fast Fourier transform, so it is written as matrix products of the same numbers.
    ``networks.onnx`` is the rest of that graph behind the front-end: it takes ``logmel`` (batch, n_channels,
    n_mels, n_frames), so that a real transform can stand beside it.

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
    _export(models, card, path, frames=frames)
    graph = onnx.load(path)
    entry = graph.metadata_props.add()
    entry.key, entry.value = CARD_KEY, card.to_json()
    onnx.checker.check_model(graph)
    networks = _networks(graph, OUTPUT_NAMES if frames else OUTPUT_NAMES[:2])
    del graph.graph.output[2]  # the spectrogram, which was an output to get its name
    _save(graph, path)
    # Names and order of the weights are the same in both graphs, so both read the file of the first.
    _share_weights(networks, onnx.load(path, load_external_data=False))
    onnx.save(networks, path.with_name(NETWORKS_NAME))


def write_one_file(source: Path, path: Path) -> None:
    """Write the graph of :func:`write_onnx` as one file with its weights in it.

    Raises
    ------
    ExportError
        It exceeds 2 GB, the limit of such a file.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_one_file(Path("model/model.onnx"), Path("alone.onnx"))
    >>> Path("alone.onnx").stat().st_size > Path("model/weights.bin").stat().st_size
    True
    """
    _save_whole(onnx.load(source), path)


def write_onnx_fp16(source: Path, path: Path) -> None:
    """Write the same with the networks' weights in fp16, which are widened when the file is loaded.

    The arithmetic and the front-end stay in float32, as in :func:`dawnchorus.export.openvino.write_fp16`.
    ONNX Runtime has few kernels for fp16 on a CPU and would convert to and fro around the others.

    Raises
    ------
    ExportError
        It exceeds 2 GB.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_onnx_fp16(Path("model/model.onnx"), Path("half.onnx"))
    >>> Path("half.onnx").stat().st_size < Path("model/weights.bin").stat().st_size
    True
    """
    model = onnx.load(source)
    graph = model.graph
    frontend = _frontend_tensors(graph)
    widened = []
    for tensor in graph.initializer:
        is_float = tensor.data_type == onnx.TensorProto.FLOAT
        if not is_float or tensor.name in frontend or math.prod(tensor.dims) < MIN_COMPRESSED:
            continue
        name, narrow = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}_fp16"))
        widened.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    _save_whole(model, path)


def _save_whole(model: onnx.ModelProto, path: Path) -> None:
    n_bytes = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if n_bytes >= onnx.checker.MAXIMUM_PROTOBUF:
        raise ExportError(
            f"{path.name} would have {n_bytes / 1e9:.1f} GB, and one ONNX file holds less than 2 GB; export "
            "fewer folds, or leave --one-file and --onnx-fp16 out"
        )
    onnx.save(model, path)


def _frontend_tensors(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all tensors that the spectrogram is computed from."""
    maker = {output: node for node in graph.node for output in node.output}
    names: set[str] = set()
    waiting = [LOGMEL_NAME]
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += maker[name].input if name in maker else []
    return names


def _export(models: Sequence[torch.nn.Module], card: ModelCard, path: Path, *, frames: bool) -> None:
    frontend = MatrixLogMelFrontend(FrontendSettings(**card.frontend))
    ensemble = EnsembleModule(models, frontend, frames=frames).eval()
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
            output_names=[*OUTPUT_NAMES[:2], LOGMEL_NAME, *(OUTPUT_NAMES[2:] if frames else ())],
            dynamic_shapes={"wave": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _networks(graph: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return the graph behind the front-end, with the metadata of the whole."""
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    # Some backbones read the batch size from the waveform input; the networks' input is the spectrogram.
    for node in whole.graph.node:
        if node.op_type == "Shape" and list(node.input) == ["input"]:
            node.input[0] = LOGMEL_NAME
    networks = onnx.utils.Extractor(whole).extract_model([LOGMEL_NAME], list(outputs))
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
