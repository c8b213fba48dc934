"""What the tests of this room share: a stub of an engine, and a tiny exported run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from dawnchorus.audio.decode import read_crop
from dawnchorus.audio.listing import list_audio_files
from dawnchorus.inference.runtimes.opening import EXPORTS
from dawnchorus.inference.runtimes.runtime import Inputs, KeyT, Outputs, Runtime
from dawnchorus.models.card import ModelCard
from dawnchorus.models.logmel import FrontendSettings

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


class StubRuntime(Runtime):
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
def stub() -> type[StubRuntime]:
    """The class of the stub."""
    return StubRuntime


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
