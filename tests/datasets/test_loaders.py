"""Batches from workers, against PyTorch's own loader."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dawnchorus.config import DataSettings, LoaderSettings
from dawnchorus.datasets.loaders import ClipLoader
from dawnchorus.datasets.sampling import ClipSampler, class_weights
from dawnchorus.datasets.wave_all_file_dataset import WaveAllFileDataset, Window
from dawnchorus.datasets.wave_dataset import Clip, WaveDataset
from dawnchorus.errors import AudioError
from dawnchorus.recordings.recordings_table import label_map_of, load_recordings


@pytest.fixture
def datasets(data_factory: Any) -> tuple[WaveDataset, WaveAllFileDataset]:
    root = data_factory.recordings(n_species=2, n_per_species=4, duration_s=(3.0, 12.0))
    recordings = load_recordings(DataSettings(audio_dir=root)).table
    labels = label_map_of(recordings)
    settings = {"segment_len": 1.0}
    train = WaveDataset(recordings, labels, {**settings, "mixup": {"probability": 0.5}})
    return train, WaveAllFileDataset(recordings, labels, settings)


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_windows_come_as_pytorchs_loader_gives_them(datasets: Any, num_workers: int, batch_size: int) -> None:
    _, windows = datasets
    loader = ClipLoader(windows, LoaderSettings(batch_size=batch_size, num_workers=num_workers))
    expected = list(DataLoader(windows, batch_size=batch_size))
    assert len(loader) == len(expected)
    for _ in range(2):
        found = list(loader)
        assert len(found) == len(expected)
        for batch, other in zip(found, expected, strict=True):
            assert isinstance(batch, Window)
            assert all(map(torch.equal, batch, other))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_that_is_kept_is_never_written_over(datasets: Any, num_workers: int) -> None:
    train, _ = datasets
    sampler = ClipSampler(class_weights(train.item_labels, "inverse"), n_draws=90, seed=0, fold=0)
    loader = ClipLoader(train, LoaderSettings(batch_size=2, num_workers=num_workers), sampler=sampler)
    kept, copies = [], []
    for batch in loader:
        assert isinstance(batch, Clip)
        kept.append(batch.wave)
        copies.append(batch.wave.clone())
    assert all(map(torch.equal, kept, copies))
    plain = DataLoader(train, batch_size=2, sampler=sampler)
    assert all(torch.equal(wave, other.wave) for wave, other in zip(kept, plain, strict=True))


def test_an_epoch_that_was_left_early_does_not_disturb_the_next(datasets: Any) -> None:
    _, windows = datasets
    loader = ClipLoader(windows, LoaderSettings(batch_size=2, num_workers=2))
    for n_taken in (1, 4, 7):
        for _, batch in zip(range(n_taken), loader, strict=False):
            assert batch.wave.shape[1] == 32_000
    expected = list(DataLoader(windows, batch_size=2))
    assert all(torch.equal(batch.wave, other.wave) for batch, other in zip(loader, expected, strict=True))


def test_the_last_batch_may_be_dropped(datasets: Any) -> None:
    _, windows = datasets
    n_full = len(windows) // 7
    loader = ClipLoader(windows, LoaderSettings(batch_size=7), drop_last=True)
    assert len(list(loader)) == len(loader) == n_full


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_in_a_worker_is_told(datasets: Any, num_workers: int) -> None:
    _, windows = datasets
    Path(windows.audio.sources[0].path).unlink()
    with pytest.raises(AudioError, match="cannot be read") as caught:
        list(ClipLoader(windows, LoaderSettings(batch_size=2, num_workers=num_workers)))
    assert "Traceback" not in str(caught.value)


class Numbers(Dataset[Any]):
    """A dataset of somebody else."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((3,), float(index)), index


@pytest.mark.parametrize("num_workers", [0, 1])
def test_any_other_dataset_goes_through_pytorchs_loader(num_workers: int) -> None:
    batches = list(ClipLoader(Numbers(), LoaderSettings(batch_size=2, num_workers=num_workers)))
    assert [batch[1].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


class Slow(Numbers):
    """Takes 50 ms for an item, and 10 times as long for item 2."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(0.5 if index == 2 else 0.05)
        return super().__getitem__(index)


def test_the_wait_for_a_batch_is_measured_and_the_takers_own_time_is_not() -> None:
    loader = ClipLoader(Slow(), LoaderSettings(batch_size=1))
    assert loader.waited_s == 0
    waited_s = []
    for _ in loader:
        waited_s.append(loader.waited_s)
        time.sleep(0.2)
    assert len(waited_s) == 5
    assert all(wait_s >= 0.05 for wait_s in waited_s)
    assert waited_s[2] >= 0.5
    # One that counts the taker's time has at least 0.25 s for each of them, however fast the machine.
    assert min(waited_s[1:]) < 0.25


class Plain(WaveAllFileDataset):
    """Makes its items in a way of its own."""

    def __getitem__(self, index: int) -> Any:
        return {"wave": super().__getitem__(index).wave, "index": index}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_subclass_may_make_its_items_in_its_own_way(datasets: Any, num_workers: int) -> None:
    _, windows = datasets
    windows.__class__ = Plain
    batch = next(iter(ClipLoader(windows, LoaderSettings(batch_size=3, num_workers=num_workers))))
    assert batch["index"].tolist() == [0, 1, 2]


def test_a_closed_loader_leaves_no_workers_and_may_be_used_again(datasets: Any) -> None:
    _, windows = datasets
    loader = ClipLoader(windows, LoaderSettings(batch_size=4, num_workers=2))
    for _ in range(2):
        assert len(list(loader)) == len(loader)
        workers = loader.loader._iterator._workers
        loader.close()
        assert not any(worker.is_alive() for worker in workers)
    loader.close()
