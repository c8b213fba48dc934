"""The exported ensemble in OpenVINO, on the CPU, its front-end in NumPy beside the networks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.engines.engine import (
    Engine,
    KeyT,
    Outputs,
    checked_n_networks,
    fingerprint_of,
    named_outputs,
)
from dawnchorus.engines.engine_settings import EngineSettings
from dawnchorus.errors import ModelError
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel
from dawnchorus.models.card import CARD_KEY, LOGMEL_NAME, OUTPUT_NAMES, WITHOUT_CARD, ModelCard


class OpenVinoEngine(Engine):
    """The exported ensemble in OpenVINO.

    The precision is set explicitly: OpenVINO's default is bfloat16 wherever a CPU has it, which changes the
    probabilities, and is slower than float32 on some.

    Parameters
    ----------
    path
        ``model.xml``; ``model.bin`` lies beside it.
    settings
        Precision, threads, streams and clips of a request.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.engines.engine_settings import default_settings
    >>> from dawnchorus.export.openvino import read_onnx, write_ir
    >>> card = open_engine("model", n_threads=1).card
    >>> write_ir(read_onnx(Path("model/model.onnx"), card), Path("model.xml"))
    >>> engine = OpenVinoEngine(Path("model.xml"), default_settings(n_threads=1))
    >>> engine.predict(np.zeros((1, 80_000), np.float32)).shape
    (1, 3)
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        model = openvino_core().read_model(path)
        if not model.has_rt_info([CARD_KEY]):
            raise ModelError(f"{path} {WITHOUT_CARD}")
        self.card = ModelCard.from_json(str(model.get_rt_info([CARD_KEY]).astype(str)), where=str(path))
        kind = f"openvino {settings.precision}"
        self.fingerprint = fingerprint_of(kind, [path, path.with_suffix(".bin")])
        networks = networks_of(model)
        self.frontend = None if networks is None else NumpyLogMel(FrontendSettings(**self.card.frontend))
        self.input_kind = "wave" if networks is None else "logmel"
        self.model, self.settings = networks or model, settings
        there = set().union(*(output.get_names() for output in self.model.outputs))
        self.output_names = [name for name in OUTPUT_NAMES if name in there]
        stack = _stack_of(self.model, "output")
        self.n_networks = 1 if stack is None else len(stack.inputs())
        self.has_embeddings = "embedding" in there
        self._compile(settings.clips_per_request)

    def resize(self, clips_per_request: int) -> None:
        """Set the number of clips that are computed at once."""
        if clips_per_request != self.clips_per_request:
            self._compile(clips_per_request)

    def keep_networks(self, n_networks: int) -> None:
        """Limit the mean to the first ``n_networks``; the others are no longer computed."""
        if checked_n_networks(n_networks, self.n_networks) < self.n_networks:
            _average_first(self.model, n_networks)
            self.n_networks = n_networks
            self._compile(self.clips_per_request)

    def _compile(self, clips_per_request: int) -> None:
        self.clips_per_request = clips_per_request
        # With a fixed shape OpenVINO plans its memory once; with a dynamic one, at every request.
        shape = self.model.input(0).get_partial_shape()
        shape[0] = clips_per_request
        self.model.reshape(shape)
        config = {
            "INFERENCE_PRECISION_HINT": self.settings.precision,
            "INFERENCE_NUM_THREADS": self.settings.n_threads,
            "NUM_STREAMS": self.settings.n_streams,
        }
        compiled = openvino_core().compile_model(self.model, "CPU", config)
        self._pool = _RequestPool(compiled, self.settings.n_streams)

    def prepare(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return log-mel spectrograms, or the clips where the graph's front-end cannot be cut off."""
        return waves if self.frontend is None else self.frontend(waves)

    def stream(
        self, requests: Iterable[tuple[KeyT, npt.NDArray[np.float32]]]
    ) -> Iterator[tuple[KeyT, Outputs]]:
        """Yield the outputs of each request with its key, in order."""
        pool = self._pool
        running: deque[tuple[KeyT, Any]] = deque()
        try:
            for key, inputs in requests:
                if len(running) == self.settings.n_streams:
                    yield self._finished(running, pool)
                request = pool.take()
                request.start_async([inputs])
                running.append((key, request))
            while running:
                yield self._finished(running, pool)
        finally:
            for _, request in running:  # of a caller that stopped early
                request.wait()
                pool.give_back(request)

    def _finished(self, running: deque[tuple[KeyT, Any]], pool: _RequestPool) -> tuple[KeyT, Outputs]:
        """Return the key and outputs of the oldest request, and return the request to the pool."""
        key, request = running.popleft()
        request.wait()
        outputs = named_outputs({name: request.get_tensor(name).data.copy() for name in self.output_names})
        pool.give_back(request)
        return key, outputs


class _RequestPool:
    """Requests of a compiled network, each used by one call at a time.

    Where all are in use, one more is made, without waiting: a half-read stream keeps its requests. OpenVINO
    computes no more of them at once than it has streams.

    Parameters
    ----------
    compiled
        The network.
    n_requests
        Number that is made at first.
    """

    def __init__(self, compiled: Any, n_requests: int) -> None:
        self._compiled = compiled
        self._idle = deque(compiled.create_infer_request() for _ in range(n_requests))

    def take(self) -> Any:
        """Return a request that is not in use."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()

    def give_back(self, request: Any) -> None:
        """Return a request to the pool, after its outputs were copied."""
        self._idle.append(request)


def networks_of(model: Any) -> Any | None:
    """Return the part of an ensemble's graph behind the front-end, or None where it is not marked.

    It shares its constants with ``model``, which cannot be used any more.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.export.openvino import read_onnx
    >>> card = open_engine("model", n_threads=1).card
    >>> networks = networks_of(read_onnx(Path("model/model.onnx"), card))
    >>> len(networks.inputs)  # the log-mel spectrogram
    1
    """
    import openvino
    from openvino import opset13

    for node in model.get_ops():
        for output in node.outputs():
            if LOGMEL_NAME in output.get_names():
                spectrogram = opset13.parameter(
                    output.get_partial_shape(), output.get_element_type(), LOGMEL_NAME
                )
                for target in output.get_target_inputs():
                    target.replace_source_output(spectrogram.output(0))
                _take_batch_size_from(spectrogram, model)
                return openvino.Model(model.get_results(), [spectrogram], "networks")
    return None


def _average_first(model: Any, n_networks: int) -> None:
    """Change the means of a graph with several networks to ones over the first of them."""
    from openvino import opset13

    stacks = [_stack_of(model, OUTPUT_NAMES[0]), _stack_of(model, OUTPUT_NAMES[-1])]
    for stack in [stack for stack in stacks if stack is not None]:
        first = [value.get_source_output() for value in stack.inputs()][:n_networks]
        smaller = opset13.concat(first, stack.get_attributes()["axis"])
        for target in stack.output(0).get_target_inputs():
            target.replace_source_output(smaller.output(0))
    model.validate_nodes_and_infer_types()


def _stack_of(model: Any, name: str) -> Any | None:
    """Return the node that stacks an output of the networks, None where there is one network or no output."""
    if not any(name in output.get_names() for output in model.outputs):
        return None
    mean = model.output(name).get_node().input_value(0).get_node()
    source = mean.input_value(0).get_node() if mean.get_type_name() == "ReduceMean" else None
    return source if source is not None and source.get_type_name() == "Concat" else None


def _take_batch_size_from(spectrogram: Any, model: Any) -> None:
    """Connect nodes that read the batch size from the waveform input to the spectrogram instead."""
    for parameter in model.get_parameters():
        for target in parameter.output(0).get_target_inputs():
            if target.get_node().get_type_name() == "ShapeOf":
                target.replace_source_output(spectrogram.output(0))


_core: Any = None
_core_lock = threading.Lock()


def openvino_core() -> Any:
    """Return the one core of this process, which lives as long as the process does.

    Its CPU plugin sets a stack for signal handlers in the main thread and unmaps it when the core is
    destroyed; the next handled signal, such as the end of a loader's worker, would then end the process.

    Examples
    --------
    >>> openvino_core() is openvino_core()
    True
    """
    import openvino

    global _core
    with _core_lock:
        if _core is None:
            _core = openvino.Core()
        return _core
