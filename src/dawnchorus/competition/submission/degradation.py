"""Degradation from the whole ensemble to a single network, in a stated order, where time is short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dawnchorus.competition.submission.form import ROW_S
from dawnchorus.engines import Engine
from dawnchorus.engines.combined import CombinedEngine, check_exponent
from dawnchorus.errors import ModelError
from dawnchorus.files import Failure
from dawnchorus.predict.birds_inference import BirdsInference, Predicted
from dawnchorus.predict.postprocess import PostprocessSettings, postprocess


@dataclass(frozen=True)
class Way:
    """A way of predicting windows: the networks averaged, and shifts.

    Attributes
    ----------
    networks
        Networks of each model that are still averaged; 0 for a model that is left out.
    shift
        Whether windows are averaged with those shifted against them.

    Examples
    --------
    >>> print(Way(networks=(5, 4), shift=True))
    5 + 4 networks, with shifted windows
    """

    networks: tuple[int, ...]
    shift: bool

    def __str__(self) -> str:
        """Return a text such as ``5 + 4 networks, with shifted windows``."""
        count = " + ".join(str(n) for n in self.networks if n)
        noun = "network" if count == "1" else "networks"
        return f"{count} {noun}{', with shifted windows' if self.shift else ''}"


def thinner_ways(way: Way) -> Iterator[Way]:
    """Yield ever cheaper ways: two networks a model, no shifts, one network a model, fewer models.

    Examples
    --------
    >>> [way.networks for way in thinner_ways(Way((3, 2), shift=False))]
    [(2, 2), (2, 1), (1, 1), (1, 0)]
    """
    networks, shift = list(way.networks), way.shift
    for fewest in (2, 1):
        while max(networks) > fewest:
            most = max(networks)
            last = max(index for index, n in enumerate(networks) if n == most)
            networks[last] -= 1
            yield Way(tuple(networks), shift)
        if shift:
            shift = False
            yield Way(tuple(networks), shift)
    for index in range(len(networks) - 1, 0, -1):
        if networks[index]:
            networks[index] = 0
            yield Way(tuple(networks), shift)


logger = logging.getLogger(__name__)


class ShrinkingEnsemble:
    """Models that predict the rows of soundscapes together, and fewer of them when time is short.

    Parameters
    ----------
    engines, weights
        The models; networks are left out of these engines themselves.
    settings
        Postprocessing of the probabilities of a soundscape's windows.
    exponent
        Of the mean over the models, as for :class:`.CombinedEngine`.
    n_workers
        Threads that make spectrograms; one for two cores if not given.

    Attributes
    ----------
    ways
        How windows were predicted so far: the whole ensemble first.

    Raises
    ------
    ModelError
        The models' windows are shorter than a row, or the exponent is below 0.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import open_engine
    >>> from dawnchorus.predict.postprocess import PostprocessSettings
    >>> models = [open_engine("model", n_threads=1), open_engine("model", n_threads=1)]
    >>> ensemble = ShrinkingEnsemble(models, [1.0, 1.0], PostprocessSettings())
    >>> str(ensemble.ways[0]), ensemble.labels
    ('1 + 1 networks', ('wren', 'robin', 'owl'))
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        weights: Sequence[float],
        settings: PostprocessSettings,
        *,
        exponent: float = 1.0,
        n_workers: int | None = None,
    ) -> None:
        check_exponent(exponent)
        self.exponent = exponent
        self.engines, self.weights = list(engines), list(weights)
        segment_s = self.engines[0].card.segment_len
        if segment_s < ROW_S:
            raise ModelError(
                f"the model hears {segment_s:g} s at a time, and a row of a submission is {ROW_S:g} s; give "
                f"a model with a segment_len of {ROW_S:g} s or more"
            )
        self.overlap_s = segment_s - ROW_S
        self.settings = replace(settings, overlap_average=settings.overlap_average or self.overlap_s > 0)
        self.n_workers = n_workers
        self.folds_per_network = [max(len(it.card.folds) / it.n_networks, 1) for it in self.engines]
        self.ways = [Way(tuple(it.n_networks for it in self.engines), settings.shift_s is not None)]
        self._open()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the models that are left."""
        return self.inference.card.labels

    def predict(self, paths: Sequence[Path], on_progress: Callable[[float], object]) -> Iterator[Predicted]:
        """Yield each recording with a window for each row, or with the reason why there are none."""
        plan = self.inference.plan
        settings = self.settings if self.ways[-1].shift else replace(self.settings, shift_s=None)
        for predicted in self.inference.predict_recordings(paths, on_progress=on_progress):
            outcome = predicted.outcome
            if not isinstance(outcome, Failure):
                segment = self.inference.card.n_segment
                outcome = postprocess(outcome, settings, window=segment, step=plan.step)
            yield Predicted(predicted.path, outcome)

    def shrink(self, needed_s: float, left_s: float) -> bool:
        """Shrink until ``needed_s`` of work take ``left_s``, as far as possible; return whether it shrank.

        The estimate counts the networks' work alone. Where other work matters, the next measurement shows it,
        and more is left out then.
        """
        now = self.ways[-1]
        if needed_s <= left_s:
            return False
        chosen = None
        for chosen in thinner_ways(now):
            if needed_s * self._cost(chosen) / self._cost(now) <= left_s:
                break
        if chosen is None:
            return False
        without = ", without shifted windows" if now.shift and not chosen.shift else ""
        logger.warning(
            f"{needed_s:.0f} s of work are left and {max(left_s, 0):.0f} s of what the budget allows: going "
            f"on with {chosen}{without} instead of {now}."
        )
        self.ways.append(chosen)
        self._open()
        return True

    def _cost(self, way: Way) -> float:
        """Return the forward passes that a row takes; rows share windows that are shifted by half a row."""
        passes = sum(n * folds for n, folds in zip(way.networks, self.folds_per_network, strict=True))
        windows = 1 if not way.shift else 2 if self.settings.shift_s == ROW_S / 2 else 3
        return passes * windows

    def _open(self) -> None:
        way = self.ways[-1]
        left = []
        for engine, weight, n_networks in zip(self.engines, self.weights, way.networks, strict=True):
            if n_networks:
                engine.keep_networks(n_networks)
                left.append((engine, weight))
        engines, weights = zip(*left, strict=True)
        self.inference = BirdsInference(
            engines[0] if len(engines) == 1 else CombinedEngine(engines, weights, exponent=self.exponent),
            overlap_s=self.overlap_s,
            shift_s=self.settings.shift_s if way.shift else None,
            n_workers=self.n_workers,
        )
