"""Settings of a prediction, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dawnchorus.batch.predicted_with import MODEL_NAME
from dawnchorus.report.soundscapes.prediction_source import PredictionSource

_MAX_TEXT = 300
_WHAT = {
    "model": "fingerprint of the model",
    "overlap or shift": "windows",
    "gap": "seconds between detections that are merged",
    "longest": "seconds of a merged detection at most",
}


def facts_of(source: PredictionSource) -> pd.DataFrame:
    """Return the settings of a prediction, whatever their names: ``what`` and ``is``, as text.

    Examples
    --------
    >>> from dawnchorus.report.soundscapes.prediction_source import PredictionSource
    >>> made = {"threshold": ["0.3", "0.5"], "overlap or shift": [144_000, None], "gap": 0.0, "model": "3f9a"}
    >>> for fact in facts_of(PredictionSource("night", lambda: iter(()), settings=made)).itertuples():
    ...     print(f"{fact.what}: {fact[2]}")
    threshold: 0.3 to 0.5, one a species
    windows: one every 144,000 samples
    fingerprint of the model: 3f9a
    """
    settings = {name: source.settings[name] for name in (MODEL_NAME,) if name in source.settings}
    rows = []
    for name, value in {**settings, **source.settings}.items():
        if name == "calibration" and value is None:
            value = "none: raw scores, no probabilities of presence"
        if name in ("gap", "longest") and not source.settings.get("merge"):
            continue
        if value is None or value is False or value == []:
            continue
        rows.append((_WHAT.get(str(name), str(name)), _fact(str(name), value)))
    return pd.DataFrame(rows, columns=["what", "is"])


def _fact(name: str, value: Any) -> str:
    if name == "threshold" and isinstance(value, list | Mapping):
        each = list(value.values() if isinstance(value, Mapping) else value)
        numbers = pd.to_numeric(pd.Series(each), errors="coerce")
        finite = numbers[np.isfinite(numbers)]
        if len(finite):
            return f"{finite.min():g} to {finite.max():g}, one a species"
    if name == "overlap or shift" and isinstance(value, list) and len(value) == 2:
        step, shift = value
        text = f"one every {step:,} samples"
        return text if shift is None else f"{text}, and another {shift:,} samples later"
    if value is True:
        return "yes"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
