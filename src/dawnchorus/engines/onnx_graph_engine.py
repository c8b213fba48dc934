"""ONNX graphs that others have trained, in ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.engines.engine_settings import EngineSettings
from dawnchorus.engines.graph_engine import GraphEngine, missing_name
from dawnchorus.engines.onnx_engine import open_session
from dawnchorus.errors import ModelError
from dawnchorus.models.graph_card import GraphCard


class OnnxGraphEngine(GraphEngine):
    """An ``.onnx`` file of anybody's, by its card.

    Parameters
    ----------
    path
        The file.
    graph
        Its card.
    settings
        Threads and clips of a request; there are no streams.

    Raises
    ------
    ModelError
        The card does not fit the graph: its names, axes, samples or labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.engines.engine_settings import default_settings
    >>> from dawnchorus.models.graph_card import GraphCard, GraphScores
    >>> _ = Path("model/names.txt").write_text("wren\\nrobin\\nowl\\n")
    >>> card = GraphCard(
    ...     name="A model of ours as if it were another's",
    ...     licence="CC0-1.0",
    ...     sample_rate=16_000,
    ...     window_s=5,
    ...     scores=GraphScores(output="output", activation="none", labels="names.txt"),
    ...     embeddings="embedding",
    ... )
    >>> engine = OnnxGraphEngine(Path("model/model.onnx"), card, default_settings(n_threads=1))
    >>> engine.card.labels, engine.has_embeddings
    (('wren', 'robin', 'owl'), True)
    """

    def __init__(self, path: Path, graph: GraphCard, settings: EngineSettings) -> None:
        super().__init__(path, graph, settings)
        self.session = open_session(path, settings.n_threads)
        inputs = {one.name: one for one in self.session.get_inputs()}
        outputs = {one.name: one for one in self.session.get_outputs()}
        if graph.input.name is None and len(inputs) > 1:
            raise ModelError(
                f"{path} has the inputs {', '.join(inputs)}; its card must say which: input.name"
            )
        self.input_name = graph.input.name or next(iter(inputs))
        if self.input_name not in inputs:
            raise missing_name(path, "input", self.input_name, list(inputs))
        for name in graph.outputs.values():
            if name not in outputs:
                raise missing_name(path, "output", name, list(outputs))
        taken = inputs[self.input_name]
        if taken.type != "tensor(float)":
            raise ModelError(f"{path} takes {taken.type} in {self.input_name}; only tensor(float) is given")
        self._check_shapes(taken.shape, None if graph.scores is None else outputs[graph.scores.output].shape)

    def compute(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the outputs of the graph, by name, for an input laid out as its card says."""
        names = list(self.graph.outputs.values())
        return dict(zip(names, self.session.run(names, {self.input_name: inputs}), strict=True))
