"""The frames of a clip in which a model hears a species."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DawnchorusError


class AttendedFrames:
    """A model that says in which frames it hears a species; opened when it is first asked.

    Parameters
    ----------
    model
        Run directory or exported model with frames.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> frames = AttendedFrames(Path("logdirs/tiny"))
    >>> len(frames.of(np.zeros(32_000, np.float32), 32_000, "owl"))
    2
    """

    def __init__(self, model: Path) -> None:
        self.path = model
        self._lock = threading.Lock()
        self._model: Any = None

    def of(self, wave: npt.NDArray[np.float32], sample_rate: int, label: str) -> list[float]:
        """Return the probability of a species in each frame of a sound, in [0, 1], over its length.

        Empty where the model does not know the species, or cannot tell frames; the sound has shape
        (n_samples,).
        """
        from dawnchorus.predict.model import load_model

        with self._lock:  # one at a time: it is a picture beside the sound, and may wait
            if self._model is None:
                is_run = (self.path / "config.json").is_file()
                self._model = load_model(self.path, "torch" if is_run else None, n_threads=1)
            labels = list(self._model.labels)
            if label not in labels or not len(wave):
                return []
            try:
                logits = self._model.frame_logits(np.ascontiguousarray(wave), sample_rate=sample_rate)
            except DawnchorusError:
                return []
        own = logits[:, :, labels.index(label)].ravel().astype(np.float64)
        # The last window may be padded; what lies behind the sound is no part of the picture.
        padded = len(logits) * round(self._model.window_s * sample_rate)
        own = own[: max(1, round(len(own) * min(1.0, len(wave) / padded)))]
        return np.round(1 / (1 + np.exp(-np.clip(own, -50, 50))), 3).tolist()
