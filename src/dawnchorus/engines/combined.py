"""Several experiments as one ensemble: a weighted power mean, joined by label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.engines.engine import Engine, Inputs, KeyT, Outputs
from dawnchorus.errors import ModelError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard
from dawnchorus.models.score_calibration import ScoreCalibration, Thresholds

_HEARD = (
    *("sample_rate", "segment_len", "look_back_s", "look_ahead_s"),
    *("late_normalize", "channel", "zeros_after"),
)
"""What models of one ensemble must have in common, for each clip is read once."""


_SMALLEST = float(np.finfo(np.float32).tiny)  # in place of a probability of 0, which has no logarithm


def check_exponent(exponent: float) -> None:
    """Refuse the exponent of a power mean that is below 0 or infinite.

    Raises
    ------
    ModelError
        It is.

    Examples
    --------
    >>> check_exponent(0)
    """
    if not 0 <= exponent < float("inf"):
        raise ModelError(
            f"the exponent of the models' mean is {exponent:g}; legal: 0 or above, 1 is the arithmetic mean, "
            "0 the geometric one"
        )


def raised(probabilities: npt.NDArray[Any], exponent: float) -> npt.NDArray[Any]:
    """Return what a power mean averages: the powers of probabilities, or with exponent 0 their logarithms.

    ``(Σ w·pᵉ / Σ w)^(1/e)``, whose limit for e = 0 is the geometric mean ``exp(Σ w·log p / Σ w)`` (Hardy,
    Littlewood and Pólya, 1934, "Inequalities", chapter II). A probability of 0 counts as 1.2e-38 there, so
    that one model alone does not decide.

    Parameters
    ----------
    probabilities
        Any shape, in [0, 1].
    exponent
        0 or above; 1 gives the probabilities back.

    Examples
    --------
    >>> import numpy as np
    >>> raised(np.array([0.5, 1.0]), 2).tolist(), raised(np.array([1.0]), 0).tolist()
    ([0.25, 1.0], [0.0])
    """
    if exponent == 1:
        return probabilities
    wide = probabilities.astype(np.float64)
    powers: npt.NDArray[Any] = np.log(wide.clip(_SMALLEST)) if exponent == 0 else wide**exponent
    return powers


def lowered(means: npt.NDArray[Any], exponent: float) -> npt.NDArray[Any]:
    """Return the probabilities whose :func:`raised` are means.

    Parameters
    ----------
    means
        Any shape.
    exponent
        As there.

    Examples
    --------
    >>> import numpy as np
    >>> lowered(np.array([0.25, 1.0]), 2).tolist(), lowered(np.array([0.0]), 0).tolist()
    ([0.5, 1.0], [1.0])
    """
    if exponent == 1:
        return means
    probabilities: npt.NDArray[Any] = np.exp(means) if exponent == 0 else means ** (1 / exponent)
    return probabilities


class CombinedEngine(Engine):
    """The weighted mean of several engines.

    The classes are those of all models, those of the first one first. A class's probability is the weighted
    mean over the models that have the class. Embeddings are the first model's.

    Parameters
    ----------
    engines
        Ensembles for clips of one kind.
    weights
        One for each engine, above 0.
    exponent
        Of the mean, as for :func:`raised`: 1 is the arithmetic mean, 0 the geometric one.
    calibrations
        Of each engine, applied before the mean, which brings them to one scale; None takes raw scores.

    Raises
    ------
    ModelError
        The models take clips of different kinds, a weight is not above 0, or the exponent is below 0.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus import open_engine
    >>> both = CombinedEngine([open_engine("model", n_threads=1) for _ in range(2)], weights=[1.0, 2.0])
    >>> both.card.exp_name, both.predict(np.zeros((1, 80_000), np.float32)).shape
    ('tiny+tiny', (1, 3))
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        weights: Sequence[float],
        *,
        exponent: float = 1.0,
        calibrations: Sequence[ScoreCalibration] | None = None,
    ) -> None:
        check_exponent(exponent)
        self.engines, self.exponent = list(engines), exponent
        self.calibrations = None if calibrations is None else list(calibrations)
        self.card = combined_card([engine.card for engine in self.engines])
        labels = self.card.labels
        for engine, weight in zip(self.engines, weights, strict=True):
            if not 0 < weight < float("inf"):
                raise ModelError(f"the weight of {engine.card.exp_name} is {weight:g}; legal: above 0")
        column_of = {label: column for column, label in enumerate(labels)}
        self.columns = [
            np.array([column_of[label] for label in engine.card.labels]) for engine in self.engines
        ]
        self.weights = np.array(weights, dtype=np.float32)
        self.total = np.zeros(len(labels), np.float32)
        for columns, share in zip(self.columns, self.weights, strict=True):
            self.total[columns] += share
        parts = zip(weights, self.engines, strict=True)
        self.fingerprint = " + ".join(f"{float(weight)!r} {engine.fingerprint}" for weight, engine in parts)
        if exponent != 1:
            self.fingerprint += f", exponent {float(exponent)!r}"
        if self.calibrations is not None:
            self.fingerprint += f" calibrated {' '.join(each.digest for each in self.calibrations)}"
            aims = dict.fromkeys(each.aim for each in self.calibrations)
            means = self._mean([each.thresholds()[None] for each in self.calibrations])[0]
            self.thresholds = Thresholds(means, " and ".join(aims))
        self.has_embeddings = self.engines[0].has_embeddings
        self.clips_per_request = max(engine.clips_per_request for engine in self.engines)
        for engine in self.engines:
            engine.resize(self.clips_per_request)

    def prepare(self, waves: npt.NDArray[np.float32]) -> Inputs:
        """Return the inputs of each model; models with the same front-end share them."""
        made: dict[str, Inputs] = {}
        inputs = []
        for engine in self.engines:
            kind = f"{engine.input_kind} {FrontendSettings(**engine.card.frontend)}"
            if kind not in made:
                made[kind] = engine.prepare(waves)
            inputs.append(made[kind])
        return inputs

    def stream(self, requests: Iterable[tuple[KeyT, Inputs]]) -> Iterator[tuple[KeyT, Outputs]]:
        """Yield the outputs of each request with its key, in order."""
        flow: Iterator[tuple[Any, tuple[Outputs, ...]]] = (((key, inputs), ()) for key, inputs in requests)
        for index, engine in enumerate(self.engines):
            flow = _through(engine, index, flow)
        for (key, _), outputs in flow:
            scores = [output.probabilities for output in outputs]
            if self.calibrations is not None:
                scores = [each.apply(raw) for each, raw in zip(self.calibrations, scores, strict=True)]
            yield key, Outputs(self._mean(scores), outputs[0].embeddings)

    def resize(self, clips_per_request: int) -> None:
        """Set the number of clips that are computed at once."""
        self.clips_per_request = clips_per_request
        for engine in self.engines:
            engine.resize(clips_per_request)

    def _mean(self, scores: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        shape = (len(scores[0]), len(self.card.labels))
        total = np.zeros(shape, np.float32 if self.exponent == 1 else np.float64)
        for each, columns, weight in zip(scores, self.columns, self.weights, strict=True):
            total[:, columns] += weight * raised(each, self.exponent)
        return lowered(total / self.total, self.exponent).astype(np.float32)


def _through(
    engine: Engine, index: int, flow: Iterator[tuple[Any, tuple[Outputs, ...]]]
) -> Iterator[tuple[Any, tuple[Outputs, ...]]]:
    """Yield each request with the outputs of one more model."""
    requests = ((carried, carried[0][1][index]) for carried in flow)
    for (origin, outputs), output in engine.stream(requests):
        yield origin, (*outputs, output)


def combined_card(cards: Sequence[ModelCard]) -> ModelCard:
    """Return the card of several models together: the classes of all, those of the first one first.

    Raises
    ------
    ModelError
        The models take clips of different kinds.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from dawnchorus import open_engine
    >>> card = open_engine("model", n_threads=1).card
    >>> combined_card([card, replace(card, exp_name="warblers", labels=("robin", "blackcap"))]).labels
    ('wren', 'robin', 'owl', 'blackcap')
    """
    first = cards[0]
    for other in cards[1:]:
        for name in _HEARD:
            ours, theirs = getattr(first, name), getattr(other, name)
            if ours != theirs:
                raise ModelError(
                    f"{first.exp_name} has {name} {ours} and {other.exp_name} {theirs}; models of one "
                    "ensemble must hear the same clips"
                )
    labels = tuple(dict.fromkeys(label for card in cards for label in card.labels))
    species = {label: names for card in reversed(cards) for label, names in card.species.items()}
    name = "+".join(card.exp_name for card in cards)
    licence = ", ".join(dict.fromkeys(card.licence for card in cards if card.licence))
    return replace(first, exp_name=name, labels=labels, species=species, licence=licence)
