"""What is installed for what: predicting needs no PyTorch, and an exported model hardly anything."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.export.ensemble_export import BUNDLE_NAME
from dawnchorus.export.onnx import write_onnx
from dawnchorus.export.openvino import read_onnx, write_fp16
from dawnchorus.models.card import ModelCard
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.predict.birds_inference import BirdsInference

REPOSITORY = Path(__file__).resolve().parents[1]
FRONTEND = {"n_mels": 32, "hop_length": 2000}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, TorchEngine]:
    """A small random ensemble: its ONNX and OpenVINO bundles, and itself."""
    torch.manual_seed(0)
    models = [
        WaveCNNAttenClassifier(n_classes=3, backbone="test_resnet.r160_in1k", frontend=FRONTEND).eval()
        for _ in range(2)
    ]
    frontend = models[0].frontend.settings
    card = ModelCard("tiny", "", {}, ("a", "b", "c"), vars(frontend), 32_000, 5.0, True, (0, 1))
    root = tmp_path_factory.mktemp("bundles")
    onnx_dir, openvino_dir = root / "onnx", root / "openvino"
    for folder in (onnx_dir, openvino_dir):
        folder.mkdir()
        (folder / BUNDLE_NAME).write_text(card.to_json())
    write_onnx(models, card, onnx_dir / "model.onnx")
    write_fp16(read_onnx(onnx_dir / "model.onnx", card), openvino_dir / "model.xml")
    return onnx_dir, openvino_dir, TorchEngine(models, card)


def test_poetry_and_pip_install_the_same_training_stack(project: dict) -> None:
    group = project["tool"]["poetry"]["group"]["train"]["dependencies"]
    assert sorted(name + version for name, version in group.items()) == sorted(
        project["project"]["optional-dependencies"]["train"]
    )


def test_everything_that_is_asked_for_is_pinned(project: dict) -> None:
    pinned = {
        line.partition("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().split()
    }
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"]]
    for extra in ("train", "download", "docs", "test", "check"):
        asked += extras[extra]
    names = {requirement.partition(">")[0].partition("=")[0].lower() for requirement in asked}
    assert names <= pinned


def test_predicting_with_a_bundle_imports_nothing_of_the_training_stack(
    bundles: tuple[Path, Path, TorchEngine], tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "night.wav", np.random.default_rng(0).normal(0, 0.1, 400_000), 32_000)
    code = (
        "import sys\n"
        "for name in ('torch', 'lightning', 'timm', 'onnx', 'onnxscript', 'safetensors', 'torchvision'):\n"
        "    sys.modules[name] = None\n"
        "from dawnchorus.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    for bundle in bundles[:2]:
        arguments = [
            "predict",
            str(bundle),
            str(tmp_path / "night.wav"),
            "--out",
            str(tmp_path / bundle.name),
        ]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / bundle.name / "raven" / "night.wav.selections.txt").is_file()
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(REPOSITORY / "train_configs" / "smoke.py")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "which is not installed: pip install -e '.[train]' in the checkout" in done.stderr


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.stress)])
def test_a_bundle_predicts_with_numpy_pydantic_soundfile_and_one_engine(
    engine: str, bundles: tuple[Path, Path, TorchEngine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundles[0] if engine == "onnxruntime" else bundles[1]
    python = _bare_environment(tmp_path / "bare", engine)
    wave = np.random.default_rng(0).normal(0, 0.1, 400_000)
    soundfile.write(tmp_path / "night.wav", wave, 32_000, subtype="FLOAT")
    done = subprocess.run(
        [python, "-m", "dawnchorus.inference", bundle, tmp_path / "night.wav", "--threshold", "0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in done.stdout.splitlines()[1:]]
    found = np.array([float(row[-1]) for row in rows]).reshape(3, 3)
    expected = BirdsInference(bundles[2]).predict_recording(tmp_path / "night.wav")
    np.testing.assert_allclose(found, expected.probabilities, atol=1e-3)
    assert [row[1] for row in rows[::3]] == ["0.0", "5.0", "10.0"]
    n_bytes = sum(path.stat().st_size for path in (tmp_path / "bare" / "lib").rglob("*") if path.is_file())
    with capsys.disabled():
        size = f"{n_bytes / 2**20:.0f} MiB"
        print(f"\nNumPy, pydantic, soundfile, {engine}, dawnchorus and pip take {size}")  # noqa: T201


def _wheel(folder: Path) -> Path:
    """Return the wheel that is built from the sdist, which must therefore be whole."""
    build = [sys.executable, "-m", "build", "--outdir", folder, REPOSITORY]
    subprocess.run(build, check=True, capture_output=True)
    (sdist,) = folder.glob("dawnchorus-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "src/dawnchorus/py.typed", "train_configs/base.py"} <= names
    (wheel,) = folder.glob("dawnchorus-*.whl")
    return wheel


def _bare_environment(folder: Path, engine: str) -> Path:
    """Return the Python of a new environment: NumPy, pydantic, soundfile, one engine and dawnchorus."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", REPOSITORY / "constraints.txt"]
    needed = subprocess.run(
        [*pip, *constraints, "numpy", "pydantic", "soundfile", engine], capture_output=True, text=True
    )
    if needed.returncode:
        pytest.skip(f"no packages can be installed here: {needed.stderr.strip().splitlines()[-1]}")
    subprocess.run([*pip, "--no-deps", _wheel(folder / "dist")], check=True)
    listed = subprocess.run([*pip[:3], "list", "--format=freeze"], capture_output=True, text=True, check=True)
    assert "torch" not in listed.stdout
    return folder / "bin" / "python"
