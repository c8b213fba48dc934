"""Privacy: engines are imported and used without a connection and without a file in the home folder."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dawnchorus
from dawnchorus.privacy import OFF_SWITCHES, TELEMETRY_VARIABLE

REPOSITORY = Path(__file__).resolve().parents[1]
HIDING = ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV", "PYTEST_CURRENT_TEST")
"""Variables under which OpenVINO and NNCF send nothing, which would hide what they do elsewhere."""

AUDIT = """
import sys
SENDING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg",
           "urllib.Request", "http.client.connect")
def heard(event, arguments):
    if event in SENDING:
        print("SENT", event, arguments[1:] if event.startswith("socket.") else arguments, flush=True)
sys.addaudithook(heard)
"""

PREDICT = """
import numpy as np
from dawnchorus.engines.opening import open_engine
for path in sys.argv[1:]:
    engine = open_engine(path)
    engine.predict(np.zeros((2, engine.card.n_samples), np.float32))
"""

EXPORT = """
from pathlib import Path
import dawnchorus.export.ensemble_export, dawnchorus.export.int8
import nncf.telemetry
import dawnchorus.training.lightning_training
from dawnchorus.engines.opening import open_engine
from dawnchorus.export.openvino import read_onnx, write_fp16
onnx = Path(sys.argv[1])
write_fp16(read_onnx(onnx, open_engine(onnx).card), onnx.parent.parent / "again" / "model.xml")
assert "openvino_telemetry" not in str(type(nncf.telemetry.telemetry))
"""


def run_in_fresh_home(home: Path, program: str, *arguments: object, **changes: str) -> str:
    """Return what a program prints in a process with an empty home folder and no variable of a CI service."""
    home.mkdir()
    hidden = (*HIDING, *OFF_SWITCHES, TELEMETRY_VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    environment |= {"HOME": str(home), "PYTHONPATH": str(Path(dawnchorus.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AUDIT + program, *map(str, arguments)],
        env=environment | changes,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_in(home: Path) -> list[str]:
    """Return the files below a home folder, but for caches of matplotlib, which are pictures of fonts."""
    files = [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]
    return [file for file in files if "matplotlib" not in file]


def test_predicting_sends_nothing_and_leaves_nothing_in_the_home_folder(exported, tmp_path):
    home = tmp_path / "home"
    assert "SENT" not in run_in_fresh_home(home, PREDICT, exported.fp16, exported.onnx)
    assert files_in(home) == []


def test_exporting_sends_nothing_and_leaves_nothing_in_the_home_folder(exported, tmp_path):
    pytest.importorskip("nncf")
    home = tmp_path / "home"
    copy = tmp_path / "run" / "export" / "model.onnx"
    copy.parent.mkdir(parents=True)
    for file in exported.onnx.parent.iterdir():
        (copy.parent / file.name).write_bytes(file.read_bytes())
    assert "SENT" not in run_in_fresh_home(home, EXPORT, copy)
    assert (tmp_path / "run" / "again" / "model.xml").is_file()
    assert files_in(home) == []


def test_the_audit_hears_a_connection(tmp_path):
    program = "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass"
    assert "SENT socket.connect" in run_in_fresh_home(tmp_path / "home", program)


def test_every_switch_is_off_after_the_import_and_inherited(tmp_path):
    program = f"import os, dawnchorus\nprint([os.environ.get(name) for name in {list(OFF_SWITCHES)}])"
    assert run_in_fresh_home(tmp_path / "home", program).strip() == str(list(OFF_SWITCHES.values()))


def test_a_switch_that_the_user_set_stays(tmp_path):
    program = "import os, dawnchorus\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run_in_fresh_home(tmp_path / "home", program, ORT_DISABLE_TELEMETRY="0").strip() == "0"


@pytest.mark.parametrize("answer", ["1", "true", " Yes "])
def test_telemetry_is_left_to_the_engines_where_the_user_asks_for_it(tmp_path, answer):
    program = (
        "import os, sys, dawnchorus\n"
        "print('openvino_telemetry' in sys.modules, 'ORT_DISABLE_TELEMETRY' in os.environ)"
    )
    found = run_in_fresh_home(tmp_path / "home", program, **{TELEMETRY_VARIABLE: answer})
    assert found.strip() == "False False"


def test_no_benchmark_or_script_imports_an_engine_before_dawnchorus():
    files = [*(REPOSITORY / "benchmarks").glob("*.py"), *(REPOSITORY / "scripts").glob("*.py")]
    assert files
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {"openvino", "onnxruntime", "nncf"} & set(names), f"{file.name} imports {names} first"
