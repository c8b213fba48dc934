"""What the examples in docstrings find in their working directory, made where one of them names it.

====================  =====================================================================================
``night.wav``         12 s at 32 kHz: a wren until 5 s, an owl from 7 s on
``recordings/``       four recordings of 1 s of each of two species, and ``recordings.csv``
``train.py``          a config that trains a tiny network on them
``model/``            an exported network with random weights, for clips of 5 s of a wren, a robin or an owl
``logdirs/tiny/``     the run of ``train.py``, trained for one epoch in two folds
====================  =====================================================================================

An example works on copies in an empty folder of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dawnchorus.files import locked

SAMPLE_RATE = 32_000
PITCH_HZ = {"owl": 600, "wren": 5000}
SONG_S = {"owl": 0.8, "wren": 0.25}
NETWORK: dict[str, Any] = {"backbone": "test_resnet.r160_in1k"}
FRONTEND = {"sample_rate": 16_000, "n_fft": 512, "hop_length": 256, "n_mels": 32, "f_max_hz": 8000.0}
RECORDISTS = ("Ada", "Bea", "Cleo", "Dora")
CLIP = {"segment_len": 1.0}
TRAIN_CONFIG = f"""\
from dawnchorus import WaveAllFileDataset, WaveCNNAttenClassifier, WaveDataset, lightning_training

CONFIG = {{
    "exp_name": "tiny",
    "data": {{"audio_dir": "recordings"}},
    "folds": {{"n_folds": 2}},
    "nn_model_class": WaveCNNAttenClassifier,
    "nn_model_config": {NETWORK},
    "train_function": lightning_training,
    "train_function_args": {{
        "train_dataset_class": WaveDataset,
        "train_dataset_config": {CLIP},
        "val_dataset_class": WaveAllFileDataset,
        "val_dataset_config": {CLIP},
        "train_loader": {{"batch_size": 4}},
        "n_epochs": 1,
        "accelerator": "cpu",
    }},
}}
"""


def _song(species: str, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Return notes of one species in faint noise, shape (n_samples,)."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    note = np.sin(np.pi * time_s / SONG_S[species]) ** 4 * np.sin(2 * np.pi * PITCH_HZ[species] * time_s)
    return 0.5 * note + 0.005 * rng.standard_normal(len(time_s))


def _make_night(path: Path) -> None:
    rng = np.random.default_rng(0)
    silence = np.zeros(2 * SAMPLE_RATE)
    soundfile.write(path, np.concatenate([_song("wren", 5, rng), silence, _song("owl", 5, rng)]), SAMPLE_RATE)


def _make_recordings(folder: Path) -> None:
    rng = np.random.default_rng(1)
    lines = ["filename,primary_label,author"]
    for species in PITCH_HZ:
        (folder / species).mkdir(parents=True)
        for number in range(4):
            name = f"{species}/XC{len(lines)}.wav"
            soundfile.write(folder / name, _song(species, 1, rng), SAMPLE_RATE)
            lines.append(f"{name},{species},{RECORDISTS[number]}")
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _make_config(path: Path) -> None:
    path.write_text(TRAIN_CONFIG, encoding="utf-8")


def _make_model(folder: Path) -> None:
    import torch

    from dawnchorus.export.onnx import write_onnx
    from dawnchorus.models.card import ModelCard
    from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier

    card = ModelCard(
        exp_name="tiny",
        model_class="dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
        model_config=NETWORK,
        labels=("wren", "robin", "owl"),
        frontend=FRONTEND,
        sample_rate=16_000,
        segment_len=5.0,
        late_normalize=True,
        folds=(0,),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = WaveCNNAttenClassifier(n_classes=3, frontend=FRONTEND, **NETWORK).eval()
    folder.mkdir()
    write_onnx([model], card, folder / "model.onnx")


def _make_run(folder: Path) -> None:
    from dawnchorus.config import load_train_config
    from dawnchorus.training.lightning_training import lightning_training

    lightning_training(load_train_config(folder.parents[1] / "train.py"))


MAKERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "night.wav": (_make_night, ()),
    "recordings": (_make_recordings, ()),
    "train.py": (_make_config, ("recordings",)),
    "model": (_make_model, ()),
    "logdirs/tiny": (_make_run, ("train.py",)),
}
"""What makes each of them, and which of the others it needs."""


@pytest.fixture(scope="session")
def kit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files are made; processes that test at the same time share it."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "kit"
    folder.mkdir(exist_ok=True)
    return folder


def _made(name: str, folder: Path) -> list[Path]:
    """Return a file or folder by its name, and what it needs; each is made by one process, once."""
    make, needs = MAKERS[name]
    needed = [path for one in needs for path in _made(one, folder)]
    path, whole = folder / name, folder / f".{name.replace('/', '_')}.whole"
    while not whole.exists():
        with locked(folder / ".lock") as is_ours, pytest.MonkeyPatch.context() as patch:
            if is_ours and not whole.exists():
                patch.chdir(folder)
                make(path)
                whole.touch()
        if not whole.exists():
            time.sleep(0.1)
    return [*needed, path]


@pytest.fixture(autouse=True)
def _own_folder(
    request: pytest.FixtureRequest, kit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Run an example in a folder that holds what it names, and leave no trace in the process."""
    from dawnchorus.config.registry import REGISTRIES

    monkeypatch.setenv("DAWNCHORUS_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setattr("dawnchorus.progress._silent", False)
    code = "".join(example.source for example in request.node.dtest.examples)
    for name in MAKERS:
        if re.search(rf"""["']{re.escape(name)}["'/]""", code):
            for source in _made(name, kit_folder):
                _copy(source, tmp_path / source.relative_to(kit_folder))
    monkeypatch.chdir(tmp_path)
    registered = {kind: dict(registry._parts) for kind, registry in REGISTRIES.items()}
    threads = _torch_threads()
    yield
    for kind, parts in registered.items():
        REGISTRIES[kind]._parts = parts
    if threads is not None:
        _torch_threads(threads)


def _copy(source: Path, goal: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, goal, dirs_exist_ok=True)
    else:
        shutil.copy2(source, goal)


def _torch_threads(n_threads: int | None = None) -> int | None:
    """Return PyTorch's threads, after setting them where a number is given; None where it is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    return int(torch.get_num_threads())
