"""Measurement of the fastest engine settings for a model on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dawnchorus.config import read_json_if_sound
from dawnchorus.engines.engine import Engine, Inputs, filled_up
from dawnchorus.engines.engine_settings import TUNED_NAME, EngineSettings, with_tuned
from dawnchorus.engines.opening import engine_of, open_file
from dawnchorus.errors import ModelError
from dawnchorus.files import write_text
from dawnchorus.machine import usable_cores
from dawnchorus.progress import track

TOLERANCE = 1e-3
"""Largest difference of a probability from float32's at which a lower precision is taken."""

_CLIPS_PER_REQUEST = (1, 2, 4, 8)
_ROUNDS = 3
_LEAST_CLIPS = 16  # in a round, and at least two requests for each stream


class Trial(NamedTuple):
    """One choice of settings, with its measured time and difference.

    Attributes
    ----------
    settings
        Settings of the engine.
    ms_per_clip
        The best of some rounds, without the front-end: slower rounds are due to other programs.
    largest_difference
        Largest difference of a probability from float32.

    Examples
    --------
    >>> from dawnchorus.engines.engine_settings import default_settings
    >>> Trial(default_settings(n_threads=1), ms_per_clip=12.5, largest_difference=0.0).ms_per_clip
    12.5
    """

    settings: EngineSettings
    ms_per_clip: float
    largest_difference: float


def tune(
    file: Path,
    waves: npt.NDArray[np.float32],
    *,
    n_threads: int | None = None,
    tolerance: float = TOLERANCE,
) -> list[Trial]:
    """Return trials of an exported model's settings, best first; write the best to ``tuned.json`` beside it.

    Parameters
    ----------
    file
        ``model.onnx`` or ``model.xml``.
    waves
        Real clips, shape (n_clips, n_samples). Where there are none, noise is used, and no lower precision
        is tried: its effect on birds could not be measured.
    n_threads
        Threads of the engine; all usable cores if not given.
    tolerance
        Differences up to which a lower precision is taken.

    Raises
    ------
    ModelError
        The model gives NaN.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> best, *others = tune(Path("model/model.onnx"), np.zeros((2, 80_000), np.float32), n_threads=1)
    >>> best.settings.n_threads, Path("model/tuned.json").is_file()
    (1, True)
    """
    n_threads = n_threads or usable_cores()
    candidates = list(_candidates(file, n_threads, lower_precision=len(waves) > 0))
    if not len(waves):
        shape = (_LEAST_CLIPS, waves.shape[1])
        waves = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    reference: npt.NDArray[np.float32] | None = None
    trials = []
    for settings in track(candidates, f"Tuning {file.name}"):
        engine = open_file(file, settings)
        probabilities = engine.predict(waves)
        if reference is None:
            reference = probabilities
        difference = float(np.abs(probabilities - reference).max())
        trials.append(Trial(settings, _ms_per_clip(engine, waves, settings), difference))
    # A NaN is not within any tolerance.
    good = [trial for trial in trials if trial.largest_difference <= tolerance]
    if not good:
        raise ModelError(f"{file} gives probabilities that are no numbers; train and export it again")
    good.sort(key=lambda trial: trial.ms_per_clip)
    _keep(file, good[0])
    return good + [trial for trial in trials if trial not in good]


def _candidates(file: Path, n_threads: int, *, lower_precision: bool) -> Iterator[EngineSettings]:
    """Yield settings worth a trial, float32 with one stream first."""
    if engine_of(file) != "openvino":
        several = engine_of(file) == "litert" and n_threads > 1
        for n_streams in (1, n_threads) if several else (1,):
            for n_clips in _CLIPS_PER_REQUEST:
                yield EngineSettings(n_threads, n_streams, n_clips)
        return
    from dawnchorus.engines.openvino_engine import openvino_core

    capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precisions: list[Literal["f32", "bf16"]] = ["f32"]
    if lower_precision and "BF16" in capabilities:
        precisions.append("bf16")
    for precision in precisions:
        for n_streams in sorted({1, max(1, n_threads // 2), n_threads}):
            for n_clips in _CLIPS_PER_REQUEST:
                yield EngineSettings(n_threads, n_streams, n_clips, precision)


def _ms_per_clip(engine: Engine, waves: npt.NDArray[np.float32], settings: EngineSettings) -> float:
    """Return the milliseconds that the networks take for a clip."""
    size = settings.clips_per_request
    n_requests = -(-max(_LEAST_CLIPS, 2 * size * settings.n_streams) // size)
    inputs: Sequence[Inputs] = [
        engine.prepare(filled_up(np.take(waves, range(start, start + size), axis=0, mode="wrap"), size))
        for start in range(0, min(n_requests * size, len(waves)), size)
    ]
    requests = [(number, inputs[number % len(inputs)]) for number in range(n_requests)]
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in engine.stream(requests):
            pass
        times.append(time.perf_counter() - started)
    return 1000 * min(times) / (n_requests * size)


def _keep(file: Path, best: Trial) -> None:
    path = file.parent / TUNED_NAME
    earlier = read_json_if_sound(path, dict[str, dict[str, Any]]) or {}
    tuned = with_tuned(earlier, engine_of(file), best.settings, best.ms_per_clip)
    write_text(path, json.dumps(tuned, indent=2))
