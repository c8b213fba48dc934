"""The images that ``Dockerfile`` builds and the job of KubeRay, tried as far as that goes without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile and their arguments, lines that go on joined."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def job() -> dict:
    return yaml.safe_load((REPOSITORY / "deploy" / "ray_job.yaml").read_text())


def test_each_image_ends_as_a_user_without_rights(instructions: list[tuple[str, str]]) -> None:
    stages: dict[str, str] = {}
    for name, rest in instructions:
        if name == "FROM":
            stage = rest.split()[-1]
        elif name == "USER":
            stages[stage] = rest
    assert stages == {"cuda": "dawnchorus", "cpu": "dawnchorus"}
    assert "useradd --uid 1000" in next(rest for name, rest in instructions if "useradd" in rest)


def test_what_is_copied_is_there_and_not_ignored(instructions: list[tuple[str, str]]) -> None:
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert all((REPOSITORY / name).exists() for name in kept)
    assert "constraints.txt" in kept
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= {*kept}
    assert {package.get("from", package["include"]) for package in project["tool"]["poetry"]["packages"]} <= {
        *kept
    }


def test_the_extras_of_the_images_exist(instructions: list[tuple[str, str]]) -> None:
    known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r"\.whl\)\[([a-z,]+)\]", " ".join(rest for _, rest in instructions))
    assert len(asked) == 2
    assert {extra for each in asked for extra in each.split(",")} <= known.keys()


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_the_wheel_of_the_image_answers_its_health_check(
    instructions: list[tuple[str, str]], tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "wheels")],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "wheels").glob("dawnchorus-*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, str(wheel)], check=True)
    (check,) = (rest for name, rest in instructions if name == "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    environment = {"PATH": f"{venv / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    # Not within the checkout, so that the wheel alone is imported; packages are those of the developer.
    environment["PYTHONPATH"] = next(path for path in sys.path if path.endswith("site-packages"))
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert re.search(r"\d+\.\d+\.\d+", found.stdout)


def test_the_job_of_kuberay_has_what_its_schema_requires(job: dict) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    cluster = job["spec"]["rayClusterSpec"]
    pinned = re.search(r"^ray==(.+)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert cluster["rayVersion"] == pinned[1]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_command_of_the_job_exists(job: dict) -> None:
    program, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert program == "dawnchorus"
    environment = {**os.environ, "COLUMNS": "200"}
    shown = subprocess.run(
        [sys.executable, "-m", "dawnchorus", command, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(option in shown for option in arguments if option.startswith("--"))
