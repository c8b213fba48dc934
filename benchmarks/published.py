"""The way in which the published system predicts, as a rival: one graph, OpenVINO's own choices.

The graph has the same networks as ours and a dense DFT before them, all constants are rounded to fp16, and
OpenVINO is told nothing but the number of threads. A minute is decoded, then predicted as a batch of twelve
clips, one recording after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from common import DenseFrontend

from dawnchorus.audio.clips import make_clip
from dawnchorus.audio.decode import load_audio
from dawnchorus.engines.openvino_engine import openvino_core
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard

BATCH = 12  # clips of 5 s in a minute


class Predictor(Protocol):
    """Anything that predicts clips."""

    def predict(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (n_clips, n_classes), of clips, shape (n_clips, n_samples)."""
        ...


class PublishedGraph:
    """The published graph in OpenVINO.

    Parameters
    ----------
    path
        Its ``.xml``.
    n_threads
        Threads that compute.
    precision
        What OpenVINO is asked for; None leaves it its choice.
    """

    def __init__(self, path: Path, *, n_threads: int, precision: str | None = None) -> None:
        asked = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
        config = {"INFERENCE_NUM_THREADS": n_threads, **asked}
        self.compiled = openvino_core().compile_model(path, "CPU", config)
        self.request = self.compiled.create_infer_request()

    @property
    def precision(self) -> str:
        """The precision that OpenVINO computes in."""
        return str(self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    def predict(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, shape (n_clips, n_classes), of clips, shape (n_clips, n_samples)."""
        parts = [waves[start : start + BATCH] for start in range(0, len(waves), BATCH)]
        return np.concatenate([self.request.infer([part])[0].copy() for part in parts])


def write_published(networks: Path, card: ModelCard, path: Path) -> None:
    """Write the graph of ``networks.onnx`` behind a dense DFT, all constants in fp16, to ``path`` (.xml)."""
    import openvino  # after dawnchorus, which keeps it from sending usage data

    frontend = _dense_frontend(card)
    model: Any = openvino_core().read_model(networks)
    picture = frontend.output(0).get_node().input_value(0)
    for target in model.input(0).get_target_inputs():
        target.replace_source_output(picture)
    results = [result for result in model.get_results() if "output" in result.output(0).get_names()]
    whole = openvino.Model(results, frontend.get_parameters(), "published")
    openvino.save_model(whole, path, compress_to_fp16=True)


def _dense_frontend(card: ModelCard) -> Any:
    import openvino

    module = DenseFrontend(FrontendSettings(**card.frontend)).eval()
    model = openvino.convert_model(module, example_input=torch.zeros(2, card.n_samples))
    model.reshape([-1, card.n_samples])
    return model


def clips_of(path: Path, card: ModelCard) -> npt.NDArray[np.float32]:
    """Return a recording as clips, shape (n_clips, n_samples), decoded as a whole."""
    wave = load_audio(path, sample_rate=card.sample_rate)
    starts = range(0, len(wave), card.n_segment)
    return np.stack([make_clip(wave[start : start + card.n_segment], card) for start in starts])


def predict_in_turn(predictor: Predictor, paths: Iterable[Path], card: ModelCard) -> None:
    """Decode a recording, predict it, and go on to the next."""
    for path in paths:
        predictor.predict(clips_of(path, card))
