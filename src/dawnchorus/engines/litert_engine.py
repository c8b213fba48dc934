"""TensorFlow Lite graphs that others have trained, such as BirdNET, in LiteRT on the CPU."""

from __future__ import annotations

import importlib
import struct
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.engines.engine_settings import EngineSettings
from dawnchorus.engines.graph_engine import GraphEngine, missing_name
from dawnchorus.errors import MissingExtraError, ModelError
from dawnchorus.models.graph_card import GraphCard
from dawnchorus.wording import install_extra

RUNTIME = "ai_edge_litert"
_SUBGRAPHS, _OUTPUTS = 8, 8  # places in the vtables of Model and SubGraph: tflite's schema.fbs, version 3


class LiteRtEngine(GraphEngine):
    """A ``.tflite`` file of anybody's, by its card.

    An interpreter serves one call at a time, so that there is one for each stream. The scores do not depend
    on how many clips are computed together, bit for bit.

    Parameters
    ----------
    path
        The file.
    graph
        Its card. An output may be any tensor of the graph, such as the layer before the last.
    settings
        Threads, streams and clips of a request.

    Raises
    ------
    MissingExtraError
        LiteRT is not installed.
    ModelError
        The file is no such graph, or its card does not fit it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.engine_settings import default_settings
    >>> from dawnchorus.engines.named_models import BIRDNET
    >>> file = BIRDNET.find()
    >>> if file is not None:  # the extra dawnchorus[birdnet] is installed
    ...     assert len(LiteRtEngine(file, BIRDNET.card, default_settings(n_threads=1)).card.labels) == 6522
    """

    def __init__(self, path: Path, graph: GraphCard, settings: EngineSettings) -> None:
        super().__init__(path, graph, settings)
        try:
            self._runtime: Any = importlib.import_module(f"{RUNTIME}.interpreter")
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{path} needs {error.name}, which is not installed: {install_extra('birdnet')}"
            ) from None
        self.n_streams = settings.n_streams
        try:
            content = path.read_bytes()
            tensors = self._runtime.Interpreter(model_content=content).get_tensor_details()
        except ValueError as error:
            raise ModelError(f"{path} is no TensorFlow Lite graph: {error}") from None
        numbers = {tensor["name"]: tensor["index"] for tensor in tensors}
        for name in graph.outputs.values():
            if name not in numbers:
                raise missing_name(path, "output", name, list(numbers)[::-1])
        self._numbers = {name: numbers[name] for name in graph.outputs.values()}
        self._content = with_outputs(content, list(self._numbers.values()))
        self._idle: deque[Any] = deque()
        self._check_graph()

    def resize(self, clips_per_request: int) -> None:
        """Set the number of clips that are computed at once."""
        self.clips_per_request = clips_per_request
        self._idle.clear()

    def compute(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the outputs of the graph, by name, for an input laid out as its card says."""
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = self._interpreter(inputs.shape)
        interpreter.set_tensor(self._input["index"], inputs)
        interpreter.invoke()
        found = {name: interpreter.get_tensor(number) for name, number in self._numbers.items()}
        self._idle.append(interpreter)
        return found

    def _interpreter(self, shape: Sequence[int]) -> Any:
        n_threads = max(1, self.settings.n_threads // self.n_streams)
        interpreter = self._runtime.Interpreter(model_content=self._content, num_threads=n_threads)
        if self.n_at_once is None:
            interpreter.resize_tensor_input(self._input["index"], list(shape))
        interpreter.allocate_tensors()
        return interpreter

    def _check_graph(self) -> None:
        """Find the input, and raise a ModelError where the card does not fit the graph."""
        interpreter = self._runtime.Interpreter(model_content=self._content)
        inputs = {one["name"]: one for one in interpreter.get_input_details()}
        name = self.graph.input.name or next(iter(inputs))
        if name not in inputs:
            raise missing_name(self.path, "input", name, list(inputs))
        self._input = inputs[name]
        shapes = {one["name"]: one["shape"].tolist() for one in interpreter.get_output_details()}
        scores = self.graph.outputs.get("scores")
        self._check_shapes(
            self._input["shape_signature"].tolist(), None if scores is None else shapes[scores]
        )


def with_outputs(content: bytes, numbers: Sequence[int]) -> bytes:
    """Return the content of a ``.tflite`` file whose graph has these tensors as its outputs.

    Only an output of a graph is kept when it has been computed; LiteRT's other way to inner layers keeps
    all of them, which for BirdNET takes several times the memory. A vector of the outputs is appended to the
    flatbuffer, and the graph's offset set to it.

    Parameters
    ----------
    content
        A valid file.
    numbers
        Numbers of the tensors.

    Raises
    ------
    ModelError
        The graph has no outputs, or several subgraphs.

    Examples
    --------
    >>> from dawnchorus.engines.named_models import BIRDNET
    >>> file = BIRDNET.find()
    >>> if file is not None:  # the extra dawnchorus[birdnet] is installed
    ...     assert len(with_outputs(file.read_bytes(), [546, 545])) - file.stat().st_size in range(12, 16)
    """
    from flatbuffers.table import Table

    buffer = bytearray(content)
    model = Table(buffer, struct.unpack_from("<I", buffer, 0)[0])
    subgraphs = model.Offset(_SUBGRAPHS)
    if not subgraphs or model.VectorLen(subgraphs) != 1:
        raise ModelError("the TensorFlow Lite graph has several subgraphs; only graphs of one are opened")
    graph = Table(buffer, model.Indirect(model.Vector(subgraphs)))
    outputs = graph.Offset(_OUTPUTS)
    if not outputs:
        raise ModelError("the TensorFlow Lite graph has no outputs")
    buffer += bytes(-len(buffer) % 4)
    struct.pack_into("<I", buffer, graph.Pos + outputs, len(buffer) - (graph.Pos + outputs))
    buffer += struct.pack(f"<I{len(numbers)}i", len(numbers), *numbers)
    return bytes(buffer)
