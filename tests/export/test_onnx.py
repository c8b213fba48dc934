"""The ONNX graphs of an export as files."""

from __future__ import annotations

import stat
import sys
from typing import Any

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_every_file_of_an_export_has_the_mode_that_the_umask_says(exported: Any) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in exported.onnx.parent.iterdir()}
    assert set(modes.values()) == {modes["model.onnx"]}, modes
    assert modes["weights.bin"] == modes["model.onnx"]
