"""Shared fixtures: the real recordings and golden values beside the repository, and synthetic birds."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def _shared(name: str) -> Path:
    root = Path(os.environ.get("DAWNCHORUS_SHARED", REPOSITORY.parent / "shared"))
    folder = root / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set DAWNCHORUS_SHARED to the folder that holds {name}/")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what is cached between runs out of the user's folders."""
    os.environ["DAWNCHORUS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    """Give PyTorch its threads back: sums over other threads have other bits, in every test that follows."""
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings: phoebe/, esc10/ and birdeep/."""
    return _shared("data")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the published system's outputs."""
    return _shared("golden")


class DataFactory:
    """Writes small synthetic recordings below ``root``; the same calls give the same sound."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(
        self, relative: str | Path, wave: np.ndarray, sample_rate: int = 32_000, **options: str
    ) -> Path:
        """Write ``wave``, shape (n_frames,) or (n_frames, n_channels), full scale ±1, and return its path."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, sample_rate, **options)
        return path

    def tone(
        self,
        relative: str | Path,
        duration_s: float = 1.0,
        frequency_hz: float = 2000.0,
        sample_rate: int = 32_000,
        n_channels: int = 1,
        noise: float = 0.02,
    ) -> Path:
        """Write a sine of amplitude 0.5 in white noise of standard deviation ``noise``; return its path."""
        rng = np.random.default_rng(round(frequency_hz))
        time_s = np.arange(round(duration_s * sample_rate))[:, None] / sample_rate
        wave = 0.5 * np.sin(2 * np.pi * frequency_hz * time_s)
        wave = wave + noise * rng.standard_normal((len(time_s), n_channels))
        return self.write(relative, wave, sample_rate)

    def recordings(
        self,
        n_species: int = 3,
        n_per_species: int = 6,
        duration_s: tuple[float, float] = (3.0, 8.0),
        *,
        seed: int = 0,
    ) -> Path:
        """Write one folder a species and ``recordings.csv`` (filename, primary_label, author); return root.

        Species k repeats a chirp of its own pitch, sweep and rhythm in noise. Suffixes and four
        recordists take turns, so that every species has several of each.
        """
        rng = np.random.default_rng(seed)
        rows = []
        for species in range(n_species):
            label = f"species_{species}"
            for k in range(n_per_species):
                filename = f"{label}/XC{100_000 * seed + 1000 * species + k}{SUFFIXES[k % len(SUFFIXES)]}"
                self.write(filename, _song(species, rng.uniform(*duration_s), rng))
                rows.append((filename, label, f"recordist_{(species + k) % 4}"))
        with (self.root / "recordings.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("filename", "primary_label", "author"), *rows])
        return self.root


def _song(species: int, duration_s: float, rng: np.random.Generator, sample_rate: int = 32_000) -> np.ndarray:
    """Return chirps of one species in noise, shape (n_samples,), within ±1."""
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    period_s = 0.35 + 0.15 * (species % 4)
    within_s = (time_s + rng.uniform(0, period_s)) % period_s
    base_hz = 1200 * 1.35 ** (species % 8)
    sweep_hz_per_s = 4000 * (-1) ** species
    song = np.sin(2 * np.pi * (base_hz * within_s + sweep_hz_per_s / 2 * within_s**2))
    envelope = np.exp(-(((within_s - period_s / 3) / (period_s / 6)) ** 2))
    return 0.6 * song * envelope + 0.02 * rng.standard_normal(len(time_s))


@pytest.fixture(scope="session")
def data_factory_in() -> type[DataFactory]:
    """Makes a writer of synthetic recordings for a given folder, for fixtures that serve a whole module."""
    return DataFactory


@pytest.fixture
def data_factory(tmp_path: Path) -> DataFactory:
    """A writer of synthetic recordings into a folder of the test's own."""
    return DataFactory(tmp_path / "recordings")
