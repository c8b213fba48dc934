"""Samplers of the recordings of an epoch, and the random streams that they draw from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

Balance: TypeAlias = Literal["none", "inverse", "inverse_sqrt"]
"""Weighting of the classes when drawing, see :func:`class_weights`."""


class Draw(NamedTuple):
    """One draw of an epoch, from which a dataset can make the same clip again.

    Attributes
    ----------
    epoch
        Epoch, from 0.
    position
        Position in the epoch, from 0.
    item
        Index of the item in the dataset.

    Examples
    --------
    >>> Draw(epoch=0, position=3, item=17).item
    17
    """

    epoch: int
    position: int
    item: int


def generator(seed: int, fold: int, *stream: int) -> np.random.Generator:
    """Return a generator that depends on its arguments alone.

    The arguments are mixed by NumPy's ``SeedSequence``, so that neighbouring numbers give
    unrelated streams. Their count is mixed in, because the ``SeedSequence`` of (1, 2) is that of (1, 2, 0).

    Examples
    --------
    >>> first, again = generator(42, 0, 3), generator(42, 0, 3)
    >>> first.random() == again.random(), first.random() == generator(42, 1, 3).random()
    (True, False)
    """
    return np.random.default_rng(np.random.SeedSequence([seed, fold, *stream, 1 + len(stream)]))


def torch_seeds(seed: int, fold: int, *stream: int, n_seeds: int) -> tuple[int, ...]:
    """Return seeds for PyTorch's generators, unrelated to those of :func:`generator`.

    Examples
    --------
    >>> seeds = torch_seeds(42, 0, 3, n_seeds=2)
    >>> len(seeds), seeds == torch_seeds(42, 0, 3, n_seeds=2)
    (2, True)
    """
    sequence = np.random.SeedSequence([seed, fold, *stream, 1 + len(stream)], spawn_key=(1,))
    return tuple(int(word) for word in sequence.generate_state(n_seeds))


def class_weights(
    labels: list[str],
    balance: Balance,
    *,
    repeat_rare_to: int = 0,
    extra_recordings: Mapping[str, int] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the probability of drawing each recording, shape (n_recordings,), sum 1.

    ``inverse`` draws all classes equally often (weight 1 / count), ``none`` all recordings, and
    ``inverse_sqrt`` lies in between (weight count^-0.5 each, the recipe's setting for eca_nfnet_l0).
    A class with fewer than ``repeat_rare_to`` recordings weighs as if they were repeated to that number, and
    one in ``extra_recordings`` as if it had that many more.

    Examples
    --------
    >>> class_weights(["owl", "owl", "owl", "wren"], "inverse").round(3)
    array([0.167, 0.167, 0.167, 0.5  ])
    >>> class_weights(["owl", "owl", "owl", "wren"], "none", extra_recordings={"wren": 5}).round(3)
    array([0.111, 0.111, 0.111, 0.667])
    """
    power = {"none": 0.0, "inverse": 1.0, "inverse_sqrt": 0.5}[balance]
    names, classes = np.unique(labels, return_inverse=True)
    counts = np.bincount(classes, minlength=len(names))
    added = [(extra_recordings or {}).get(name, 0) for name in names.tolist()]
    repeated = (np.maximum(counts, repeat_rare_to) + added).astype(np.float64)
    weights = (repeated ** (1 - power) / counts)[classes]
    return weights / weights.sum()


class ClipSampler(Sampler[Draw]):
    """Sampler of an epoch's recordings: weighted, with replacement, or shuffled where all weights are equal.

    Parameters
    ----------
    weights
        Probability of each recording, shape (n_recordings,).
    n_draws
        Draws in an epoch.
    seed, fold
        The random stream. Lightning calls :meth:`set_epoch` before every epoch, also after a resume, so
        that an epoch always has the same draws.
    rank, n_processes
        This process takes every ``n_processes``-th draw from position ``rank`` on: together, the processes
        take at each step the draws that a single process takes as one batch.

    Examples
    --------
    >>> import numpy as np
    >>> sampler = ClipSampler(np.full(4, 0.25), n_draws=4, seed=42, fold=0)
    >>> sorted(draw.item for draw in sampler)
    [0, 1, 2, 3]
    >>> sampler.set_epoch(1)
    >>> [draw.epoch for draw in sampler]
    [1, 1, 1, 1]
    """

    def __init__(
        self,
        weights: npt.NDArray[np.float64],
        *,
        n_draws: int,
        seed: int,
        fold: int,
        rank: int = 0,
        n_processes: int = 1,
    ) -> None:
        self.weights = weights
        self.n_draws = n_draws
        self.rank = rank
        self.n_processes = n_processes
        self.seed = seed
        self.fold = fold
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_draws // self.n_processes

    def __iter__(self) -> Iterator[Draw]:
        draws = self.draws_of(self.epoch)
        return islice(draws[self.rank :: self.n_processes], len(self))

    def draws_of(self, epoch: int) -> list[Draw]:
        """Return the draws of an epoch, of all processes."""
        rng = generator(self.seed, self.fold, epoch)
        return [Draw(epoch, position, int(index)) for position, index in enumerate(self._indices(rng))]

    def _indices(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        n_items = len(self.weights)
        if np.ptp(self.weights) == 0:
            rounds = -(-self.n_draws // n_items)
            return np.concatenate([rng.permutation(n_items) for _ in range(rounds)])[: self.n_draws]
        return rng.choice(n_items, size=self.n_draws, p=self.weights)


class EpochSampler(ClipSampler):
    """A :class:`ClipSampler` that draws the next epoch each time it is iterated.

    The draws are made in the main process, so that they do not depend on the number of workers of a loader,
    nor on whether these persist from epoch to epoch.

    Examples
    --------
    >>> sampler = EpochSampler(class_weights(["wren", "robin"], "none"), n_draws=2, seed=0, fold=0)
    >>> [[draw.epoch for draw in sampler] for _ in range(3)]
    [[0, 0], [1, 1], [2, 2]]
    >>> sampler.set_epoch(0)  # begins anew
    >>> next(iter(sampler)).epoch
    0
    """

    def __iter__(self) -> Iterator[Draw]:
        draws = super().__iter__()
        self.epoch += 1
        return draws


class EpochOfIntegers:
    """The epoch of items that a loader requests by plain integers.

    It lies in memory shared with the workers, which may outlive an epoch.

    Parameters
    ----------
    n_items
        Number of items of the dataset.

    Examples
    --------
    >>> epoch = EpochOfIntegers(n_items=8)
    >>> epoch.begin(3)
    >>> epoch.now
    3
    """

    def __init__(self, n_items: int) -> None:
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._asked_for = torch.zeros(n_items, dtype=torch.bool).share_memory_()
        self._has_warned = torch.zeros((), dtype=torch.bool).share_memory_()

    @property
    def now(self) -> int:
        """The epoch."""
        return int(self._epoch)

    def begin(self, epoch: int) -> None:
        """Begin another epoch."""
        self._epoch.fill_(epoch)
        self._asked_for.zero_()

    def notice(self, items: Sequence[int]) -> None:
        """Record the items that a loader requests; warn, once, where it requests one twice in an epoch."""
        if not items or self._has_warned:
            return
        asked = torch.tensor(items)
        if len(set(items)) < len(items) or bool(self._asked_for[asked].any()):
            self._has_warned.fill_(True)
            warnings.warn(
                f"a loader asks for items again that it had in epoch {self.now}, and gets the same crops; "
                "draw with sampler=dataset.sampler(), or call dataset.set_epoch(epoch) before each epoch",
                stacklevel=3,
            )
        self._asked_for[asked] = True


def shared_out(n_items: int, *, rank: int, n_processes: int) -> list[int]:
    """Return the items of one of several processes: the same number for each, and together all items.

    Where the items do not divide evenly, the last processes take the first ones again.

    Examples
    --------
    >>> shared_out(5, rank=0, n_processes=2), shared_out(5, rank=1, n_processes=2)
    ([0, 2, 4], [1, 3, 0])
    """
    n_each = -(-n_items // n_processes)
    return [(rank + n_processes * number) % n_items for number in range(n_each)]
