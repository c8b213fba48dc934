"""The base of the engines for graphs that others have trained: levels, axes and outputs by their card."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from dawnchorus.engines.engine import Engine, KeyT, Outputs, filled_up, fingerprint_of
from dawnchorus.engines.engine_settings import EngineSettings
from dawnchorus.errors import DataError, ModelError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.files import inside
from dawnchorus.formats.names import species_names
from dawnchorus.formats.taxonomy import read_taxonomy
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.models.card import ModelCard
from dawnchorus.models.graph_card import Axis, GraphCard, GraphInput
from dawnchorus.recordings.labels import LabelMap, checked, read_labels
from dawnchorus.wording import counted, first_few

logger = logging.getLogger(__name__)

_AXES: tuple[Axis, ...] = ("batch", "channel", "samples")
_said: set[str] = set()  # names whose licence this process has logged


class Classes(NamedTuple):
    """The classes of a graph, in the order of its scores.

    Attributes
    ----------
    labels
        Their labels.
    species
        By label, what is known of ``scientific_name`` and ``common_name``.

    Examples
    --------
    >>> Classes(("Strix aluco",), {"Strix aluco": {"common_name": "Tawny Owl"}}).labels
    ('Strix aluco',)
    """

    labels: tuple[str, ...]
    species: dict[str, dict[str, str]]


class GraphEngine(Engine):
    """A graph that somebody else has trained, by its card.

    The licence is logged when the first of a name is opened in a process.

    Parameters
    ----------
    path
        The file of the graph; its labels lie in the same folder.
    graph
        Its card.
    settings
        Threads, streams and clips of a request.

    Raises
    ------
    DataError
        The labels cannot be read.

    Examples
    --------
    >>> from dawnchorus.engines.litert_engine import LiteRtEngine
    >>> from dawnchorus.engines.onnx_graph_engine import OnnxGraphEngine
    >>> issubclass(LiteRtEngine, GraphEngine), issubclass(OnnxGraphEngine, GraphEngine)
    (True, True)
    """

    n_streams = 1
    n_at_once: int | None = None
    """Clips that the graph takes at once; None where it takes any number."""

    def __init__(self, path: Path, graph: GraphCard, settings: EngineSettings) -> None:
        self.path, self.graph, self.settings = path, graph, settings
        labels = None if graph.scores is None else inside(path.parent, graph.scores.labels, named_in=path)
        self.card = _model_card(graph, Classes((), {}) if labels is None else read_classes(labels), path)
        card = hashlib.sha256(f"{graph!r} {self.card.labels}".encode()).hexdigest()[:16]
        self.fingerprint = f"{fingerprint_of('graph', [path])} {card}"
        self.has_embeddings = graph.embeddings is not None
        self.clips_per_request = settings.clips_per_request
        if graph.name not in _said:
            _said.add(graph.name)
            terms = ", ".join(text for text in (graph.terms, graph.source) if text)
            logger.info("%s: licence %s%s", graph.name, graph.licence, f" ({terms})" if terms else "")

    @abstractmethod
    def compute(self, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the outputs of the graph, by name, for an input laid out as its card says."""

    def prepare(self, waves: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the clips themselves: levels are set where the graph is computed."""
        return waves

    def stream(
        self, requests: Iterable[tuple[KeyT, npt.NDArray[np.float32]]]
    ) -> Iterator[tuple[KeyT, Outputs]]:
        """Yield the outputs of each request with its key, in order."""
        running: deque[tuple[KeyT, Future[Outputs]]] = deque()
        with ThreadPoolExecutor(self.n_streams) as pool:
            for key, waves in requests:
                if len(running) == self.n_streams:
                    done, future = running.popleft()
                    yield done, future.result()
                running.append((key, pool.submit(self._outputs_of, waves)))
            for done, future in running:
                yield done, future.result()

    def _outputs_of(self, waves: npt.NDArray[np.float32]) -> Outputs:
        size = self.n_at_once or len(waves)
        levelled = at_level(waves, self.graph.input)
        parts = []
        for start in range(0, len(waves), size):
            clips = levelled[start : start + size]
            named = self.compute(laid_out(filled_up(clips, size), self.graph.input.axes))
            parts.append(
                [self._checked_output(what, named, size)[: len(clips)] for what in self.graph.outputs]
            )
        by_name = dict(zip(self.graph.outputs, map(np.concatenate, zip(*parts, strict=True)), strict=True))
        none = np.zeros((len(waves), 0), np.float32)
        scores = by_name.get("scores")
        return Outputs(
            none if scores is None else self._probabilities(scores), by_name.get("embeddings", none)
        )

    def _checked_output(
        self, what: str, named: dict[str, npt.NDArray[np.float32]], n_clips: int
    ) -> npt.NDArray[np.float32]:
        """Return an output, shape (n_clips, n_classes or n_features), float32; raise where it has another."""
        name = self.graph.outputs[what]  # type: ignore[index]
        values = np.asarray(named[name], dtype=np.float32)
        if what == "embeddings":
            return values.reshape(n_clips, -1, values.shape[-1]).mean(axis=1)
        n_classes = values.size // n_clips
        if n_classes != len(self.card.labels):
            raise self._other_number(n_classes)
        return values.reshape(n_clips, n_classes)

    def _check_shapes(self, taken: Sequence[Any], given: Sequence[Any] | None) -> None:
        """Set ``n_at_once``; raise a ModelError where the card does not fit the input or the scores.

        Parameters
        ----------
        taken, given
            Sizes of the axes of the input, and of the output of scores where there is one; no whole number
            above 0 where any size is legal.
        """
        axes, n_samples = self.graph.input.axes, self.graph.n_samples
        sizes = [size if isinstance(size, int) and size > 0 else None for size in taken]
        size_of = dict(zip(axes, sizes, strict=False))
        legal: dict[Axis, int] = {"samples": n_samples, "channel": 1}
        if len(sizes) != len(axes) or any(size_of.get(axis) not in (None, n) for axis, n in legal.items()):
            raise ModelError(
                f"{self.path} takes the shape {list(taken)}, and its card says {', '.join(axes)}, with "
                f"{n_samples} samples ({self.graph.window_s:g} s at {self.graph.sample_rate} Hz) of one "
                "channel; correct input.axes, window_s or sample_rate"
            )
        self.n_at_once = size_of.get("batch") if "batch" in axes else 1
        n_classes = given[-1] if given else None
        if isinstance(n_classes, int) and n_classes > 0 and n_classes != len(self.card.labels):
            raise self._other_number(n_classes)

    def _other_number(self, n_classes: int) -> ModelError:
        assert self.graph.scores is not None
        return ModelError(
            f"{self.path} gives {counted(n_classes, 'score')} a clip in {self.graph.scores.output}, and "
            f"{self.graph.scores.labels} has {counted(len(self.card.labels), 'label')}; give a label a "
            "score, in their order"
        )

    def _probabilities(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        assert self.graph.scores is not None
        if not np.isfinite(scores).all():
            raise ModelError(
                f"{self.path} gives scores that are no finite numbers in {self.graph.scores.output}; "
                "compare input.remove_mean, input.peak and input.gain of its card with what the graph was "
                "trained on"
            )
        if self.graph.scores.activation == "sigmoid":
            return expit(scores)
        if self.graph.scores.activation == "softmax":
            return softmax(scores, axis=1)
        if scores.min() < 0 or scores.max() > 1:
            raise ModelError(
                f"{self.path} gives {scores.min():g} to {scores.max():g} in {self.graph.scores.output}, "
                "which are no probabilities; the card's activation is none, and sigmoid or softmax make some "
                "of logits"
            )
        return scores


def at_level(waves: npt.NDArray[np.float32], settings: GraphInput) -> npt.NDArray[np.float32]:
    """Return clips, shape (batch, n_samples), at the level that a graph takes; silence stays silence.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.models.graph_card import GraphInput
    >>> at_level(np.float32([[0.5, 1.5]]), GraphInput(remove_mean=True, peak=0.25))
    array([[-0.25,  0.25]], dtype=float32)
    """
    if settings.remove_mean:
        waves = waves - waves.mean(axis=1, keepdims=True)
    if settings.peak is not None:
        loudest = np.abs(waves).max(axis=1, keepdims=True)
        loudest[loudest == 0] = 1
        waves = waves / loudest * np.float32(settings.peak)  # peak / loudest may overflow
    return waves if settings.gain == 1 else waves * np.float32(settings.gain)


def laid_out(clips: npt.NDArray[np.float32], axes: Sequence[Axis]) -> npt.NDArray[np.float32]:
    """Return clips, shape (batch, n_samples), with the axes of a graph's input; without ``batch``, one clip.

    Examples
    --------
    >>> import numpy as np
    >>> laid_out(np.zeros((4, 100), np.float32), ("batch", "channel", "samples")).shape
    (4, 1, 100)
    >>> laid_out(np.zeros((1, 100), np.float32), ("samples",)).shape
    (100,)
    """
    left_out = [axis for axis in _AXES if axis not in axes]  # of length 1
    order = [_AXES.index(axis) for axis in (*axes, *left_out)]
    laid = clips[:, None, :].transpose(order)
    return np.ascontiguousarray(laid.reshape(laid.shape[: len(axes)]))


def read_classes(path: Path) -> Classes:
    """Return the classes in a file of labels.

    Labels such as ``Strix aluco_Tawny Owl`` are split into the label, which is the scientific name, and the
    common name. A CSV table is one with ``primary_label`` and where known columns of names, or has one column
    under any heading.

    Raises
    ------
    DataError
        The file cannot be read, or a label stands twice.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.txt").write_text("Strix aluco_Tawny Owl\\nEngine_Engine\\n")
    >>> read_classes(Path("labels.txt")).labels
    ('Strix aluco', 'Engine')
    """
    if path.suffix.lower() == ".csv":
        table = read_text_table(path, required=())
        if table.shape[1] > 1 or "primary_label" in table:
            labels = read_labels(path).labels
            return Classes(labels, read_taxonomy(path, labels, may_lack_names=True))
        given = read_labels(table.iloc[:, 0].tolist()).labels
    else:
        given = read_labels(path).labels
    names = [species_names(text) for text in given]
    try:
        labels = checked(LabelMap(tuple(name.scientific for name in names))).labels
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return Classes(
        labels,
        {
            name.scientific: {"scientific_name": name.scientific, "common_name": name.common}
            for name, text in zip(names, given, strict=True)
            if name.scientific != text
        },
    )


def missing_name(path: Path, kind: str, name: str, there: Sequence[str]) -> ModelError:
    """Return the error of a card that names an input or output that the graph lacks.

    Examples
    --------
    >>> from pathlib import Path
    >>> missing_name(Path("owls.onnx"), "output", "label", ["logits"])
    ModelError('owls.onnx has no output label, which its card names; it has logits')
    """
    return ModelError(f"{path} has no {kind} {name}, which its card names; it has {first_few(there, 8)}")


def _model_card(graph: GraphCard, classes: Classes, path: Path) -> ModelCard:
    """Return the card of ours; the front-end is for pictures, and no input of the graph."""
    rate = graph.sample_rate
    return ModelCard(
        exp_name=graph.name,
        model_class=f"{path.suffix.removeprefix('.')} graph",
        model_config={},
        labels=classes.labels,
        frontend=asdict(FrontendSettings.from_mapping({"sample_rate": rate, "f_max_hz": rate / 2})),
        sample_rate=rate,
        segment_len=graph.window_s,
        late_normalize=False,
        species=classes.species,
        licence=graph.licence,
        zeros_after=True,
    )
