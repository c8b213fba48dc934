"""The frames of a clip in which a model hears a species."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DawnchorusError
from dawnchorus.formats.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

_WAITING = 4


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
        self._places = threading.Semaphore(_WAITING)
        self._model: Any = None

    def open_ahead(self) -> None:
        """Open the model in a thread, so that the first clip need not wait for it."""

        def work() -> None:
            try:
                with self._lock:
                    self._opened()
            except DawnchorusError as error:
                logger.warning("no frames are drawn: %s", error)

        threading.Thread(target=work, daemon=True).start()

    def taxonomy(self) -> Taxonomy:
        """Return the names of the model's classes, of none where it cannot be opened; it is open then."""
        try:
            with self._lock:
                return self._opened().card.species
        except DawnchorusError as error:
            logger.warning("no frames are drawn, and species have the names of the tables: %s", error)
            return {}

    def _opened(self) -> Any:
        from dawnchorus.predict.model import load_model

        if self._model is None:
            is_run = (self.path / "config.json").is_file()
            self._model = load_model(self.path, "torch" if is_run else None, n_threads=1)
        return self._model

    def of(self, wave: npt.NDArray[np.float32], sample_rate: int, label: str) -> list[float]:
        """Return the probability of a species in each frame of a sound, in [0, 1], over its length.

        Empty where the model does not know the species, cannot tell frames, or has enough to do with earlier
        clips; the sound has shape (n_samples,).
        """
        if not self._places.acquire(blocking=False):
            return []  # the threads are for the clips, not for what waits on a model
        try:
            return self._of(wave, sample_rate, label)
        finally:
            self._places.release()

    def _of(self, wave: npt.NDArray[np.float32], sample_rate: int, label: str) -> list[float]:
        with self._lock:  # one at a time: it is a picture beside the sound, and may wait
            model = self._opened()
            labels = list(model.labels)
            if label not in labels or not len(wave):
                return []
            try:
                logits = model.frame_logits(np.ascontiguousarray(wave), sample_rate=sample_rate)
            except DawnchorusError:
                return []
        own = logits[:, :, labels.index(label)].ravel().astype(np.float64)
        # The last window may be padded; what lies behind the sound is no part of the picture.
        padded = len(logits) * round(model.window_s * sample_rate)
        own = own[: max(1, round(len(own) * min(1.0, len(wave) / padded)))]
        return np.round(1 / (1 + np.exp(-np.clip(own, -50, 50))), 3).tolist()
