"""The exported ensemble in ONNX Runtime, on the CPU, its front-end in NumPy beside the networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.engines.engine import Engine, KeyT, Outputs, fingerprint_of, named_outputs
from dawnchorus.engines.engine_settings import EngineSettings
from dawnchorus.errors import ModelError
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel
from dawnchorus.models.card import CARD_KEY, OUTPUT_NAMES, WITHOUT_CARD, ModelCard
from dawnchorus.privacy import disable_events

NETWORKS_NAME = "networks.onnx"


class OnnxEngine(Engine):
    """The exported ensemble in ONNX Runtime.

    Parameters
    ----------
    path
        ``model.onnx``. Where ``networks.onnx``, which begins behind the front-end, lies beside it, that
        is run: its spectrograms come from a real FFT in NumPy, for ONNX Runtime's is slow.
    settings
        Threads and clips of a request; there are no streams.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.engine_settings import default_settings
    >>> engine = OnnxEngine(Path("model/model.onnx"), default_settings(n_threads=1))
    >>> engine.card.labels, engine.input_kind
    (('wren', 'robin', 'owl'), 'logmel')
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        networks = path.with_name(NETWORKS_NAME)
        has_networks = networks.is_file()
        self.session = open_session(networks if has_networks else path, settings.n_threads)
        metadata = self.session.get_modelmeta().custom_metadata_map
        if CARD_KEY not in metadata:
            raise ModelError(f"{path} {WITHOUT_CARD}")
        self.card = ModelCard.from_json(metadata[CARD_KEY], where=str(path))
        self.fingerprint = fingerprint_of("onnx", [path, *sorted(path.parent.glob("*.bin"))])
        self.clips_per_request = settings.clips_per_request
        self.frontend = NumpyLogMel(FrontendSettings(**self.card.frontend)) if has_networks else None
        self.input_kind = "logmel" if has_networks else "wave"
        self.input_name = self.session.get_inputs()[0].name
        there = {output.name for output in self.session.get_outputs()}
        self.output_names = [name for name in OUTPUT_NAMES if name in there]
        self.has_embeddings = "embedding" in there

    def prepare(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return log-mel spectrograms, or the clips themselves for a graph that has the front-end in it."""
        return waves if self.frontend is None else self.frontend(waves)

    def stream(
        self, requests: Iterable[tuple[KeyT, npt.NDArray[np.float32]]]
    ) -> Iterator[tuple[KeyT, Outputs]]:
        """Yield the outputs of each request with its key, in order."""
        for key, inputs in requests:
            outputs = map(np.asarray, self.session.run(self.output_names, {self.input_name: inputs}))
            yield key, named_outputs(dict(zip(self.output_names, outputs, strict=True)))


def open_session(path: Path, n_threads: int) -> Any:
    """Return ONNX Runtime's session of a graph, on the CPU.

    Examples
    --------
    >>> from pathlib import Path
    >>> [output.name for output in open_session(Path("model/model.onnx"), 1).get_outputs()]
    ['output', 'embedding']
    """
    import onnxruntime

    disable_events(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    options.intra_op_num_threads = n_threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
