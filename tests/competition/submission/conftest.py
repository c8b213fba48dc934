"""Stub ensembles for submissions: 5-s clips at 1 kHz, whose answers can be told from the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dawnchorus.engines.engine import Engine, Inputs, KeyT, Outputs, checked_n_networks
from dawnchorus.models.card import ModelCard

RATE = 1000
LABELS = ("wren", "robin", "owl")


class Folds(Engine):
    """Networks that all say how loud a clip is; each of them adds a thousandth, so that they can be told.

    Every network advances the clock by ``network_s`` a clip.
    """

    def __init__(
        self, n_networks: int, clock: Clock, labels: tuple[str, ...] = LABELS, *, can_shrink: bool = True
    ) -> None:
        self.card = ModelCard(
            exp_name=f"folds_{n_networks}",
            model_class="x:y",
            model_config={},
            labels=labels,
            frontend={},
            sample_rate=RATE,
            segment_len=5.0,
            late_normalize=False,
            folds=tuple(range(n_networks)),
        )
        self.n_networks = n_networks if can_shrink else 1
        self.n_computed = n_networks
        self.clips_per_request, self.fingerprint, self.clock = 4, "folds", clock

    def keep_networks(self, n_networks: int) -> None:
        if n_networks != self.n_networks:
            self.n_computed = self.n_networks = checked_n_networks(n_networks, self.n_networks)

    def prepare(self, waves: np.ndarray) -> np.ndarray:
        return np.abs(waves).max(axis=1)

    def stream(self, requests: Iterable[tuple[KeyT, Inputs]]) -> Iterator[tuple[KeyT, Outputs]]:
        for key, peaks in requests:
            self.clock.now += self.clock.pace_s * self.n_computed * len(peaks)
            columns = [peaks * share + 0.001 * self.n_computed for share in (1.0, 0.5, 0.25)]
            chosen = np.stack(columns[: len(self.card.labels)], axis=1).astype(np.float32)
            yield key, Outputs(chosen, np.zeros((len(peaks), 2), np.float32))


class Clock:
    """Seconds that only the networks' work moves; ``slower_s`` is what it costs from ``slow_from_s`` on."""

    def __init__(self, network_s: float = 0.0) -> None:
        self.now, self.network_s = 0.0, network_s
        self.slow_from_s, self.slower_s = float("inf"), 0.0

    @property
    def pace_s(self) -> float:
        return self.network_s if self.now < self.slow_from_s else self.slower_s

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def folds() -> Callable[..., Folds]:
    """The class of the stub: (n_networks, clock, labels)."""
    return Folds


@pytest.fixture
def soundscapes(tmp_path: Path) -> Callable[..., dict[str, Path]]:
    """A function (names, seconds) → soundscapes in which row k peaks at (k + 1) / 100."""

    def write(*names: str, duration_s: float = 20.0) -> dict[str, Path]:
        folder = tmp_path / "test_soundscapes"
        folder.mkdir(exist_ok=True)
        times = np.arange(round(duration_s * RATE))
        wave = (times // (5 * RATE) + 1) / 100 * np.sign(np.sin(times))
        for name in names:
            soundfile.write(folder / f"{name}.wav", wave, RATE, subtype="FLOAT")
        return {name: folder / f"{name}.wav" for name in names}

    return write


def peaks(n_rows: int) -> Any:
    return np.arange(1, n_rows + 1) / 100
