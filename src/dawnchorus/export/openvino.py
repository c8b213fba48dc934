"""The ensemble as OpenVINO IR, the networks' weights in fp16, made of the ONNX graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from openvino import opset13

from dawnchorus.inference.runtimes import CARD_KEY
from dawnchorus.models.card import ModelCard

MIN_COMPRESSED = 1024
"""Elements from which a constant is worth compressing: weights, not biases."""


def write_openvino(onnx_path: Path, card: ModelCard, path: Path) -> None:
    """Write ``path`` (.xml) and its ``.bin``: the networks' weights in fp16, the arithmetic in float32.

    The front-end's constants stay in float32. OpenVINO's own compression rounds those too, and a
    Fourier transform with 11-bit sines has a noise floor inside the 80 dB that the picture shows: on
    real clips it moved the probabilities by 2e-3, ten times as far as the networks' weights do.
    """
    model = openvino.convert_model(onnx_path)
    frontend = _frontend_nodes(model)
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.f32:
            users = [target.get_node().get_friendly_name() for target in node.output(0).get_target_inputs()]
            if frontend.isdisjoint(users) and np.prod(list(node.shape)) >= MIN_COMPRESSED:
                _keep_as_fp16(node)
    model.set_rt_info(card.to_json(), [CARD_KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


def _frontend_nodes(model: openvino.Model) -> set[str]:
    """Return the names of all nodes between the input and the networks' first convolutions."""
    names: set[str] = set()
    waiting = [model.input(0).get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in names or node.get_type_name() == "Convolution":
            continue
        names.add(node.get_friendly_name())
        outputs = (node.output(index) for index in range(node.get_output_size()))
        waiting += [target.get_node() for output in outputs for target in output.get_target_inputs()]
    return names


def _keep_as_fp16(constant: openvino.Node) -> None:
    """Put an fp16 constant, widened when the model is loaded, in the place of a float32 one."""
    narrow = opset13.constant(constant.data.astype(np.float16))
    widened = opset13.convert(narrow, "f32")
    widened.get_rt_info()["decompression_0"] = ""  # OpenVINO's own mark of compressed weights
    for target in constant.output(0).get_target_inputs():
        target.replace_source_output(widened.output(0))
