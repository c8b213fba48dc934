"""Shared fixtures: real recordings and golden values, synthetic birds, a stub engine, a tiny exported run."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch

from dawnchorus.audio.decode import read_crop
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.config.registry import REGISTRIES
from dawnchorus.engines.engine import Engine, Inputs, KeyT, Outputs
from dawnchorus.engines.opening import EXPORTS
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard

REPOSITORY = Path(__file__).resolve().parents[1]
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def _shared(name: str) -> Path:
    root = Path(os.environ.get("DAWNCHORUS_SHARED", REPOSITORY.parent / "shared"))
    folder = root / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set DAWNCHORUS_SHARED to the folder that holds {name}/")
    return folder


@pytest.fixture(autouse=True)
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test what it registered."""
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))


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


BACKBONE = "test_resnet.r160_in1k"
RATE = 16_000
FRONTEND = FrontendSettings(sample_rate=RATE, n_fft=512, hop_length=256, n_mels=64, f_max_hz=8000.0)


def _card(**changes: Any) -> ModelCard:
    """Return the card of a small model: clips of 2 s at 16 kHz, three species."""
    card = ModelCard(
        exp_name="tiny",
        model_class="dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
        model_config={"backbone": BACKBONE},
        labels=("wren", "robin", "owl"),
        frontend=dataclasses.asdict(FRONTEND),
        sample_rate=RATE,
        segment_len=2.0,
        late_normalize=True,
        folds=(0, 1),
    )
    return dataclasses.replace(card, **changes)


class StubEngine(Engine):
    """An engine whose answers can be told from the samples: three of them are the probabilities.

    Attributes
    ----------
    n_clips
        Clips that it was asked for, those included that fill up a request.
    """

    def __init__(self, card: ModelCard, clips_per_request: int = 4, fingerprint: str = "stub") -> None:
        self.card, self.clips_per_request, self.fingerprint = card, clips_per_request, fingerprint
        self.n_clips = 0

    def prepare(self, waves: np.ndarray) -> Outputs:
        assert waves.shape == (self.clips_per_request, self.card.n_samples)
        assert waves.dtype == np.float32
        middle = waves.shape[1] // 2
        chosen = np.stack([np.abs(waves).mean(axis=1), np.abs(waves[:, 0]), np.abs(waves[:, middle])], axis=1)
        return Outputs(chosen.clip(0, 1), waves[:, :: middle - 1].copy())

    def stream(self, requests: Iterable[tuple[KeyT, Inputs]]) -> Iterator[tuple[KeyT, Outputs]]:
        for key, outputs in requests:
            self.n_clips += len(outputs.probabilities)
            yield key, Outputs(outputs.probabilities[:, : len(self.card.labels)], outputs.embeddings)


class Exported(NamedTuple):
    """Two networks of random weights as PyTorch has them, and their exports, laid out as in a run."""

    models: list[Any]
    card: ModelCard
    run: Path
    float32: Path

    @property
    def onnx(self) -> Path:
        return self.run / EXPORTS["onnx"]

    @property
    def fp16(self) -> Path:
        return self.run / EXPORTS["openvino"]


def _sounds(rng: np.random.Generator, n_clips: int) -> np.ndarray:
    """Return sweeps in noise, shape (n_clips, 32_000), float32."""
    time_s = np.arange(2 * RATE) / RATE
    sweeps = np.sin(2 * np.pi * np.outer(rng.uniform(300, 3000, n_clips), time_s + 0.3 * time_s**2))
    noise = rng.uniform(0.001, 0.1, (n_clips, 1)) * rng.normal(size=sweeps.shape)
    return (0.4 * sweeps + noise).astype(np.float32)


def _settle(model: Any, waves: np.ndarray) -> None:
    """Let a network of random weights tell clips apart, as a trained one does, and leave it evaluating."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics are those of the sounds, and nothing else
    with torch.no_grad():
        model.train()(torch.from_numpy(waves))
        model.head.fix_scale.weight *= 3
    model.eval()


@pytest.fixture(scope="session")
def card() -> Any:
    """A function (changes) → the card of a small model."""
    return _card


@pytest.fixture(scope="session")
def stub() -> type[StubEngine]:
    """The class of the stub."""
    return StubEngine


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A run with exports of two networks of random weights; nobody may change it."""
    import torch

    from dawnchorus.export.onnx import write_onnx
    from dawnchorus.export.openvino import read_onnx, write_fp16, write_ir
    from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

    root = tmp_path_factory.mktemp("exported")
    card = _card()
    models = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = WaveCNNAttenClassifier(
                n_classes=3, backbone=BACKBONE, pretrained=False, dropout=0.0, frontend=card.frontend
            )
            _settle(model, _sounds(np.random.default_rng(seed), 32))
        models.append(model)
    found = Exported(models, card, root / "run", root / "float32" / "model.xml")
    for file in (found.onnx, found.fp16, found.float32):
        file.parent.mkdir(parents=True)
    (found.run / "model_card.json").write_text(card.to_json())
    write_onnx(models, card, found.onnx)
    whole = read_onnx(found.onnx, card)
    write_ir(whole, found.float32)
    write_fp16(whole, found.fp16)
    return found


@pytest.fixture(scope="session")
def clips(request: pytest.FixtureRequest) -> np.ndarray:
    """Clips of 2 s at 16 kHz, shape (70, 32_000): sweeps in noise, silence, real sounds where there are."""
    waves = _sounds(np.random.default_rng(0), 70)
    waves[3] = 0
    try:
        recordings = list_audio_files(request.getfixturevalue("shared_data"))
    except pytest.skip.Exception:
        recordings = []
    for place, path in zip(range(10, 40), recordings[:: max(1, len(recordings) // 30)], strict=False):
        crop = read_crop(path, 0, 2 * RATE, sample_rate=RATE)
        waves[place] = np.pad(crop, (2 * RATE - len(crop), 0))
    return waves
