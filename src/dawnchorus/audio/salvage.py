"""Salvage of damaged recordings: they are read as far as they go, and a note says what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SALVAGE_REMEDY = "; --salvage, or salvage=True, reads it as far as it goes"
"""The end of an error's sentence where salvage helps."""

_SALVAGED = "salvaged; "


def salvage_note(path: Path | str, reason: str) -> str:
    """Return the note on a recording that was salvaged, from the reason or from the error without salvage.

    Examples
    --------
    >>> salvage_note("night.wav", f"night.wav: truncated{SALVAGE_REMEDY}")
    'night.wav: salvaged; truncated'
    """
    return f"{path}: {_SALVAGED}{reason.removeprefix(f'{path}: ').removesuffix(SALVAGE_REMEDY)}"


def is_salvage_note(note: str) -> bool:
    """Return whether a note on a recording says that it was salvaged.

    Examples
    --------
    >>> is_salvage_note("night.wav: salvaged; truncated"), is_salvage_note("night.wav: choose a channel")
    (True, False)
    """
    return f": {_SALVAGED}" in note


def finite(samples: np.ndarray) -> np.ndarray:
    """Return samples of any shape with 0 for those that are NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> finite(np.float32([0.5, np.nan, -np.inf]))
    array([0.5, 0. , 0. ], dtype=float32)
    """
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
