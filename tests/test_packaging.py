"""What is installed for what: predicting needs no PyTorch, and an exported model hardly anything."""

from __future__ import annotations

import hashlib
import json
import os
import re
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


def name_of(requirement: str) -> str:
    """Return the name of a package as package indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_everything_that_is_asked_for_is_pinned(project: dict) -> None:
    pinned = {name_of(line) for line in (REPOSITORY / "constraints.txt").read_text().split()}
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"]]
    for extra in extras.keys() - {"torchaudio"}:
        asked += extras[extra]
    assert {name_of(requirement) for requirement in asked} <= pinned


def test_no_package_stands_in_two_extras(project: dict) -> None:
    asked = [*project["project"]["dependencies"]]
    for packages in project["project"]["optional-dependencies"].values():
        asked += packages
    names = [name_of(requirement) for requirement in asked]
    assert len(names) == len(set(names))


def test_make_test_and_the_checks_install_every_extra_but_torchaudio(project: dict) -> None:
    text = (REPOSITORY / "Makefile").read_text()
    (few,) = re.findall(r"^EXTRAS := (.*)$", text, re.MULTILINE)
    (all_of_them,) = re.findall(r"^DEV_EXTRAS := (.*)$", text, re.MULTILINE)
    installed = all_of_them.replace("$(EXTRAS)", few)
    assert set(installed.split(",")) == project["project"]["optional-dependencies"].keys() - {"torchaudio"}
    assert f'".[{installed}]"' in (REPOSITORY / ".github" / "workflows" / "checks.yml").read_text()


def test_the_lock_is_that_of_pyproject(project: dict) -> None:
    lock = tomllib.loads((REPOSITORY / "poetry.lock").read_text())
    asked, poetry = project["project"], project["tool"]["poetry"]
    # As poetry.packages.locker.Locker does: what requirements follow from, as JSON with sorted keys.
    content = {
        "project": {key: asked[key] for key in ("requires-python", "dependencies", "optional-dependencies")},
        "tool": {"poetry": {key: poetry[key] for key in ("dependencies", "group")}},
    }
    expected = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert lock["metadata"]["content-hash"] == expected, "run poetry lock"
    assert lock["metadata"]["python-versions"] == poetry["dependencies"]["python"]


def test_the_lock_has_the_versions_of_constraints_and_no_address(project: dict) -> None:
    lock = tomllib.loads((REPOSITORY / "poetry.lock").read_text())
    packages = lock["package"]
    assert not [package["name"] for package in packages if "source" in package]
    descriptions = [package.pop("description") for package in packages]  # which may link to a project's page
    assert len(descriptions) == len(packages)
    assert "://" not in json.dumps(lock)
    assert all(file["hash"].startswith("sha256:") for package in packages for file in package["files"])
    locked: dict[str, set[str]] = {}
    for package in packages:
        locked.setdefault(package["name"], set()).add(package["version"])
    for line in (REPOSITORY / "constraints.txt").read_text().split():
        name, _, version = line.partition("==")
        assert version in locked[name_of(name)], line


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
