"""Run the code blocks of a page one after the other, as a reader would: ``pytest docs/tutorial.md``.

Blocks of bash and Python are run, unless ``no-run`` stands behind the language, which no renderer shows.
All run in one fresh folder that holds what a page may name: the repository's configs and scripts. A bash
block is a shell of its own. The Python blocks of a page share their names, as the cells of a notebook do. One
that begins with the name of a file, such as ``# my_parts.py``, is not run but added to this file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

REPOSITORY = Path(__file__).resolve().parents[1]
REACHABLE = ("train_configs", "inference_configs", "scripts", "rock_that_bird.sh")
"""What of the repository a page may name; copied, so that no block can change it."""

_python = PythonEvaluator()


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in a new folder with the commands of this Python, as after `source .venv/bin/activate`."""
    folder = tmp_path_factory.mktemp("page")
    for name in REACHABLE:
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy2
        copy(REPOSITORY / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield folder


def run_bash(example: Example) -> None:
    """Run a block in a shell that stops at the first error."""
    shell = ["bash", "-euo", "pipefail", "-c", example.parsed]
    subprocess.run(shell, check=True, stdin=subprocess.DEVNULL)


def run_python(example: Example) -> None:
    """Run a block, or add it to the file that its first line names."""
    named = re.match(r"# ([\w./-]+\.py)\n", example.parsed)
    if named is None:
        _python(example)
        return
    file = Path(named[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(example.parsed)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser("bash", run_bash), CodeBlockParser("python", run_python)],
    pattern="*.md",
    setup=lambda names: names.update(__name__="__main__"),
    fixtures=["page_folder"],
).pytest()
