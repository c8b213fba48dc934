"""Batches of clips from worker processes, without new memory for each.

PyTorch's own loader transfers every batch in a new piece of shared memory. A batch of 64 clips is 41 MB, and
the system must first make its ten thousand pages (``benchmarks/bench_loader.py`` compares). Here each
worker writes in turn into a few pieces that are shared with it from the start, and batches are copied from
there into ordinary memory with large pages.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from mmap import mmap
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    Sampler,
    SequentialSampler,
    default_collate,
    get_worker_info,
)

from dawnchorus.config import LoaderSettings
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset
from dawnchorus.datasets.wave_dataset import WaveDataset
from dawnchorus.errors import DawnchorusError
from dawnchorus.machine import usable_cores

_MAKERS = (WaveDataset.__getitem__, WaveAllFileDataset.__getitem__)
_PREFETCH = 2  # batches that a worker prefetches
_CAN_SHARE = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()


class ClipLoader:
    """Loader of a dataset's clips in batches, the same as those of PyTorch's ``DataLoader``.

    Parameters
    ----------
    dataset
        :class:`~dawnchorus.datasets.wave_dataset.WaveDataset` or
        :class:`~dawnchorus.datasets.wave_all_file_dataset.WaveAllFileDataset`; one with another
        ``__getitem__`` is read by PyTorch's loader.
    settings
        Clips in a batch, and worker processes, at most one a core, which persist from epoch to epoch.
    sampler
        Sampler of the items of an epoch; all in their order if not given.
    drop_last
        Leave out a last batch that is not full.

    Attributes
    ----------
    waited_s
        Time that the last batch was waited for, seconds.

    Examples
    --------
    >>> from dawnchorus import WaveDataset, label_map_of, load_recordings
    >>> from dawnchorus.config import LoaderSettings
    >>> recordings = load_recordings("recordings").table
    >>> dataset = WaveDataset(recordings, label_map_of(recordings), {"segment_len": 1.0})
    >>> wave, target = next(iter(ClipLoader(dataset, LoaderSettings(batch_size=4))))
    >>> wave.shape, target.shape
    (torch.Size([4, 32000]), torch.Size([4, 2]))
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        settings: LoaderSettings,
        *,
        sampler: Sampler[Any] | Sequence[int] | None = None,
        drop_last: bool = False,
    ) -> None:
        self.dataset = dataset
        self.waited_s = 0.0
        clip = dataset.settings if type(dataset).__getitem__ in _MAKERS else None  # type: ignore[attr-defined]
        n_workers = min(settings.num_workers, usable_cores())
        collate: _Batches | _SharedBatches | None = None
        self._buffers: _SharedBatches | None = None
        if isinstance(clip, ClipSettings) and n_workers == 0:
            collate = _Batches(settings.batch_size, clip.n_samples)
        elif isinstance(clip, ClipSettings) and _CAN_SHARE:
            collate = self._buffers = _SharedBatches(settings.batch_size, clip.n_samples, n_workers=n_workers)
        self.loader: DataLoader[Any] = DataLoader(
            dataset if collate is None else _OneByOne(dataset),
            batch_size=settings.batch_size,
            num_workers=n_workers,
            sampler=sampler or SequentialSampler(dataset),  # type: ignore[arg-type]
            drop_last=drop_last,
            persistent_workers=n_workers > 0,
            prefetch_factor=_PREFETCH if n_workers > 0 else None,
            multiprocessing_context="fork" if self._buffers is not None else None,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            # A generator of its own, whose draws do not shift those of others.
            generator=torch.Generator(),
        )

    @property
    def sampler(self) -> Any:
        """The sampler, whose ``set_epoch`` Lightning calls."""
        return self.loader.sampler

    @property
    def batch_sampler(self) -> Any:
        """The sampler of batches, which Lightning reads."""
        return self.loader.batch_sampler

    def __len__(self) -> int:
        return len(self.loader)

    def close(self) -> None:
        """Stop the workers.

        Without this call, Python's garbage collector may close their queues before PyTorch can stop them;
        PyTorch then waits five seconds for each of them, and kills it.
        """
        iterator: Any = getattr(self.loader, "_iterator", None)
        if hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
            self.loader._iterator = None

    def __iter__(self) -> Iterator[Any]:
        asked = time.perf_counter()
        for batch in self.loader:
            taken = batch if self._buffers is None else self._buffers.taken(batch)
            self.waited_s = time.perf_counter() - asked
            yield taken
            asked = time.perf_counter()


class _OneByOne(Dataset[Any]):
    """A dataset that makes the clips of a batch lazily: only one of them is in memory at a time."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitems__(self, indices: Iterable[Any]) -> Iterator[Any]:
        return (self.dataset[index] for index in indices)


class _Batches:
    """Collation of batches in memory with large pages, which NumPy requests of the system, unlike PyTorch."""

    def __init__(self, batch_size: int, n_samples: int) -> None:
        self.shape = (batch_size, n_samples)

    def __call__(self, items: Iterable[Any]) -> Any:
        """Return the same batch as ``default_collate``."""
        waves = np.empty(self.shape, np.float32)
        batch_type, n_clips, rest = _write(items, waves)
        return batch_type(torch.from_numpy(waves[:n_clips]), *rest)


class _SharedBatches:
    """Memory that workers write batches into and the main process copies them from.

    A worker has one piece more than the batches that it prefetches. When the main process takes a batch, the
    worker is at most that many batches ahead, and does not yet write to the same piece.
    """

    def __init__(self, batch_size: int, n_samples: int, *, n_workers: int) -> None:
        self.n_made = 0  # by the worker that this copy is in
        n_bytes = 4 * batch_size * n_samples
        self.waves = [
            [
                np.frombuffer(mmap(-1, n_bytes), np.float32).reshape(batch_size, n_samples)
                for _ in range(_PREFETCH + 1)
            ]
            for _ in range(n_workers)
        ]

    def __call__(self, items: Iterable[Any]) -> Any:
        """Write a batch in a worker; return it with the position of its waves in their place.

        A DawnchorusError is returned as well: PyTorch would bury its sentence in a traceback.
        """
        info = get_worker_info()
        assert info is not None
        piece = self.n_made % (_PREFETCH + 1)
        self.n_made += 1
        try:
            batch_type, n_clips, rest = _write(items, self.waves[info.id][piece])
        except DawnchorusError as error:
            return error
        return batch_type((info.id, piece, n_clips), *rest)

    def taken(self, batch: Any) -> Any:
        """Return the batch with its waves, in the main process; raise the error that was returned instead."""
        if isinstance(batch, DawnchorusError):
            raise batch
        worker, piece, n_clips = batch[0]
        waves = self.waves[worker][piece][:n_clips]
        if torch.cuda.is_available():
            return type(batch)(torch.from_numpy(waves).pin_memory(), *batch[1:])
        return type(batch)(torch.from_numpy(waves.copy()), *batch[1:])


def _write(items: Iterable[Any], waves: npt.NDArray[np.float32]) -> tuple[type, int, list[Any]]:
    """Write the waves of the items into rows; return their type, their number, and the rest as a batch."""
    rest = []
    for row, item in enumerate(items):
        waves[row] = item[0].numpy()
        rest.append(item[1:])
    return type(item), len(rest), [default_collate(list(column)) for column in zip(*rest, strict=True)]
