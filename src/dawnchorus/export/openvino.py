"""The ensemble as OpenVINO IR, made of the ONNX graph: weights in fp16, or everything in 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
from openvino import opset13

from dawnchorus.errors import ExportError
from dawnchorus.export.onnx import MIN_COMPRESSED
from dawnchorus.models.card import CARD_KEY, LOGMEL_NAME, ModelCard


def read_onnx(onnx_path: Path, card: ModelCard) -> Any:
    """Return the graph as an OpenVINO model in float32, with the card in it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> model = read_onnx(Path("model/model.onnx"), open_engine("model", n_threads=1).card)
    >>> len(model.inputs), len(model.outputs)
    (1, 2)
    """
    # The spectrogram is an output while the graph is converted: otherwise its name is lost before a slice.
    graph = onnx.load(onnx_path, load_external_data=False)
    shape: list[str | int | None] = ["batch", "n_channels", "n_mels", "n_frames"]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(LOGMEL_NAME, onnx.TensorProto.FLOAT, shape))
    with_output = onnx_path.with_name("with_logmel.onnx")
    onnx.save(graph, with_output)
    try:
        model = openvino.convert_model(with_output)
    finally:
        with_output.unlink()
    for result in model.get_results():
        if LOGMEL_NAME in result.output(0).get_names():
            model.remove_result(result)
    if not any(LOGMEL_NAME in output.get_names() for node in model.get_ops() for output in node.outputs()):
        raise ExportError(f"{onnx_path}: OpenVINO has lost the spectrogram of the graph; nothing was written")
    model.set_rt_info(card.to_json(), [CARD_KEY])
    return model


def write_fp16(model: Any, path: Path) -> None:
    """Write ``path`` (.xml) and its ``.bin``: the networks' weights in fp16, the arithmetic in float32.

    The front-end's constants stay in float32. OpenVINO's own compression rounds those too, and a
    Fourier transform with 11-bit sines has a noise floor inside the 80 dB of the spectrogram: on
    real clips it moved the probabilities by 2e-3, ten times as far as the networks' weights do.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> model = read_onnx(Path("model/model.onnx"), open_engine("model", n_threads=1).card)
    >>> write_fp16(model, Path("model.xml"))
    >>> Path("model.bin").stat().st_size < Path("model/weights.bin").stat().st_size
    True
    """
    frontend = frontend_nodes(model)
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.f32:
            users = [target.get_node().get_friendly_name() for target in node.output(0).get_target_inputs()]
            if frontend.isdisjoint(users) and np.prod(list(node.shape)) >= MIN_COMPRESSED:
                _keep_as_fp16(node)
    write_ir(model, path)


def write_ir(model: Any, path: Path) -> None:
    """Write ``path`` (.xml) and its ``.bin`` as the model is.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import openvino
    >>> from openvino import opset13
    >>> wave = opset13.parameter([1, 4], np.float32, name="input")
    >>> write_ir(openvino.Model([opset13.relu(wave)], [wave], "tiny"), Path("model.xml"))
    >>> Path("model.xml").is_file(), Path("model.bin").is_file()
    (True, True)
    """
    openvino.save_model(model, path, compress_to_fp16=False)


def frontend_nodes(model: Any) -> set[str]:
    """Return the names of all nodes up to the one that makes the spectrogram.

    Examples
    --------
    >>> import numpy as np
    >>> import openvino
    >>> from openvino import opset13
    >>> wave = opset13.parameter([1, 4], np.float32, name="input")
    >>> logmel = opset13.relu(wave)
    >>> logmel.output(0).set_names({"logmel"})
    >>> len(frontend_nodes(openvino.Model([opset13.sigmoid(logmel)], [wave], "tiny")))  # up to the relu
    2
    """
    names: set[str] = set()
    waiting = [
        node
        for node in model.get_ops()
        if any(LOGMEL_NAME in output.get_names() for output in node.outputs())
    ]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in names:
            names.add(node.get_friendly_name())
            waiting += [value.get_source_output().get_node() for value in node.inputs()]
    return names


def _keep_as_fp16(constant: Any) -> None:
    """Replace a float32 constant by an fp16 one, which is widened when the model is loaded."""
    narrow = opset13.constant(constant.data.astype(np.float16))
    widened = opset13.convert(narrow, "f32")
    widened.get_rt_info()["decompression_0"] = ""  # OpenVINO's own mark of compressed weights
    for target in constant.output(0).get_target_inputs():
        target.replace_source_output(widened.output(0))
