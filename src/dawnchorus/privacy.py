"""Switches that keep the engines from sending usage data; set when ``dawnchorus`` is imported.

OpenVINO and NNCF report to an analytics service when they are imported, and ONNX Runtime when it opens a
model; each writes a lasting identifier into the home folder. ``DAWNCHORUS_TELEMETRY=1`` leaves all of them
at their defaults.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

TELEMETRY_VARIABLE = "DAWNCHORUS_TELEMETRY"

OFF_SWITCHES: Mapping[str, str] = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime reads it when its library is loaded
    "HF_HUB_DISABLE_TELEMETRY": "1",  # the hub that timm takes published weights from
    "WANDB_ERROR_REPORTING": "false",  # crash reports of Weights & Biases
}
"""Environment variables with the values that switch reporting off; child processes inherit them."""

_REPORTER = "openvino_telemetry"  # the package through which OpenVINO and NNCF report


def is_telemetry_wanted() -> bool:
    """Return whether the user asked for telemetry, by ``DAWNCHORUS_TELEMETRY=1``.

    >>> is_telemetry_wanted()
    False
    """
    return os.environ.get(TELEMETRY_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def disable_telemetry() -> None:
    """Switch off the reports of OpenVINO, NNCF, ONNX Runtime and the hubs, unless the user asked for them.

    A variable that the user has set keeps its value. OpenVINO has no such variable: its reporting package
    counts as not installed from now on, a case that both it and NNCF handle.

    Examples
    --------
    >>> import os
    >>> disable_telemetry()
    >>> os.environ["HF_HUB_DISABLE_TELEMETRY"]
    '1'
    """
    if is_telemetry_wanted():
        return
    for name, off in OFF_SWITCHES.items():
        os.environ.setdefault(name, off)
    sys.modules[_REPORTER] = None  # type: ignore[assignment]  # an import of it raises ModuleNotFoundError


def disable_events(onnxruntime: Any) -> None:
    """Switch off the trace events of ONNX Runtime on Windows, for which there is no variable.

    Examples
    --------
    >>> import onnxruntime
    >>> disable_events(onnxruntime)
    """
    if not is_telemetry_wanted():
        onnxruntime.disable_telemetry_events()
