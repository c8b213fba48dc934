"""Exports to OpenVINO of networks that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from dawnchorus.engines import open_engine
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import read_onnx, write_fp16
from dawnchorus.features.frontend import LogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.head import ModelOutput


class Sliced(nn.Module):
    """A network that begins by taking the spectrogram apart."""

    def __init__(self, settings: FrontendSettings) -> None:
        super().__init__()
        self.frontend = LogMelFrontend(settings)
        self.classes = nn.Linear(settings.n_mels, 3)

    def forward(self, wave: Tensor) -> ModelOutput:
        return self.forward_spectrogram(self.frontend(wave))

    def forward_spectrogram(self, logmel: Tensor) -> ModelOutput:
        embedding = logmel[:, 0, :, ::8].mean(-1)
        logits = self.classes(embedding)
        return ModelOutput(logits, logits.sigmoid(), embedding=embedding)


def test_a_network_that_begins_with_a_slice_keeps_its_spectrogram(tmp_path: Path, card: Any) -> None:
    card = card()
    models = [Sliced(FrontendSettings(**card.frontend)).eval()] * 2
    write_onnx(models, card, tmp_path / "model.onnx")
    write_fp16(read_onnx(tmp_path / "model.onnx", card), tmp_path / "model.xml")
    waves = np.random.default_rng(0).uniform(-1, 1, (5, card.n_samples)).astype(np.float32)
    expected = TorchEngine(models, card).predict(waves)
    for file in ("model.onnx", "model.xml"):
        engine = open_engine(tmp_path / file, n_threads=1)
        assert engine.input_kind == "logmel"
        np.testing.assert_allclose(engine.predict(waves), expected, atol=1e-3)
