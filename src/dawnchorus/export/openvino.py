"""The ensemble as OpenVINO IR, weights in fp16, made of the ONNX graph."""

from __future__ import annotations

from pathlib import Path

import openvino

from dawnchorus.inference.runtimes import CARD_KEY
from dawnchorus.models.card import ModelCard


def write_openvino(onnx_path: Path, card: ModelCard, path: Path) -> None:
    """Write ``path`` (.xml) and its ``.bin``; weights are kept in fp16, the arithmetic is float32."""
    model = openvino.convert_model(onnx_path)
    model.set_rt_info(card.to_json(), [CARD_KEY])
    openvino.save_model(model, path, compress_to_fp16=True)
