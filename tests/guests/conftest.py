"""A foreign package with parts of its own, a tiny experiment, and the command line that meets both."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dawnchorus.config import TrainConfig, merge, read_config_file, validate

REPOSITORY = Path(__file__).resolve().parents[2]
RATE = 16_000
CLIP = {"segment_len": 1.0, "sample_rate": RATE, "use_h5py": False}
SMALL: dict[str, Any] = {
    "exp_name": "tiny",
    "nn_model_config": {
        "backbone": "test_resnet.r160_in1k",
        "frontend": {"sample_rate": RATE, "n_fft": 512, "hop_length": 256, "n_mels": 64, "f_max_hz": 8000.0},
    },
    "train_function_args": {
        "train_dataset_config": CLIP,
        "val_dataset_config": CLIP,
        "clips_per_epoch": 8,
        "n_epochs": 1,
        "train_loader": {"batch_size": 4},
        "val_loader": {"batch_size": 8},
        "scheduler": {"name": "constant"},
    },
}
"""What makes smoke.py an experiment of seconds: clips of 1 s, two folds of an epoch of two steps."""

CONFIG_FILE = """{imports}
CONFIG = {{
    "base": [{smoke!r}, "small.py"],
    {changes}
}}
"""


@pytest.fixture
def guest_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """A function (name, source) → the file of a new module that can be imported, here and by commands.

    A name with dots lies in packages.
    """
    root = tmp_path / "guests"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    written: set[str] = set()

    def write(name: str, source: str) -> Path:
        file = root.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
        written.add(name.split(".")[0])
        importlib.invalidate_caches()
        return file

    yield write
    for name in list(sys.modules):
        if name.split(".")[0] in written:
            del sys.modules[name]


@pytest.fixture
def tiny_recordings(data_factory: Any) -> Path:
    """Twelve recordings of 2 s of two species, with recordings.csv."""
    return data_factory.recordings(n_species=2, n_per_species=6, duration_s=(2.0, 2.5))


@pytest.fixture
def tiny_config(tiny_recordings: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A function (**changes) → an experiment that trains in seconds; dicts are laid over its own."""

    def make(**changes: Any) -> TrainConfig:
        values = merge(read_config_file(REPOSITORY / "train_configs" / "smoke.py"), SMALL)
        where = {"logdir": tmp_path / "logdirs", "data": _data(tiny_recordings)}
        return validate(TrainConfig, merge(merge(values, where), changes), where="test")

    return make


@pytest.fixture
def tiny_config_file(tiny_recordings: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function (changes, imports="") → a Python config of the same experiment.

    Parameters of the function: Python text of the dict's items, such as ``'"exp_name": "mine",'``, and of the
    lines above the dict.
    """

    def write(changes: str, imports: str = "") -> Path:
        where = {"logdir": str(tmp_path / "logdirs"), "data": _data(tiny_recordings)}
        (tmp_path / "small.py").write_text(f"CONFIG = {merge(SMALL, where)!r}\n", encoding="utf-8")
        file = tmp_path / "mine.py"
        smoke = str(REPOSITORY / "train_configs" / "smoke.py")
        file.write_text(CONFIG_FILE.format(imports=imports, smoke=smoke, changes=changes), encoding="utf-8")
        return file

    return write


@pytest.fixture
def dawnchorus_command(tmp_path: Path) -> Callable[..., str]:
    """A function (*arguments, code=0) → what the command prints; it can import the guests' modules."""

    def call(*arguments: str | Path, code: int = 0) -> str:
        found = [str(tmp_path / "guests"), str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))}
        command = [sys.executable, "-m", "dawnchorus", *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == code, result.stderr
        return result.stdout if code == 0 else result.stderr

    return call


def _data(recordings: Path) -> dict[str, str | None]:
    return {"audio_dir": str(recordings), "features_dir": None}
