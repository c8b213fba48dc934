"""All that predicts an ensemble here, each in its own way, on two cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from birdnet import BATCHES, BirdNet, predict_side_by_side
from bundles import Bundle
from published import BATCH, Predictor, PublishedGraph, predict_in_turn
from threadpoolctl import threadpool_limits

from dawnchorus.engines.engine_settings import EngineSettings, default_settings
from dawnchorus.engines.openvino_engine import OpenVinoEngine, openvino_core
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.engines.tuning import tune
from dawnchorus.files import Failure
from dawnchorus.predict.birds_inference import BirdsInference

N_THREADS = 2
OURS, BF16, INT8 = "ours, f32", "ours, bf16", "ours, int8"
PUBLISHED, FORCED, PYTORCH = "published way", "published graph, asked for f32", "plain PyTorch"
BIRDNET = "BirdNET v2.4, its default batch of 1"

Waves = npt.NDArray[np.float32]
Settings = Mapping[str, EngineSettings]
"""How the engine runs, for each of our three precisions."""


def limit_threads() -> None:
    """Leave this process two cores, so that what works beside an engine counts as well."""
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        # The second hardware thread of a core is not a second core.
        firsts = {_siblings(cpu): cpu for cpu in reversed(cpus)}.values()
        others = [cpu for cpu in cpus if cpu not in firsts]
        os.sched_setaffinity(0, [*sorted(firsts), *others][:N_THREADS])
    torch.set_num_threads(N_THREADS)
    threadpool_limits(N_THREADS)


def _siblings(cpu: int) -> str:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return path.read_text(encoding="utf-8") if path.is_file() else str(cpu)


def chosen_settings(bundle: Bundle, waves: Waves, *, quick: bool) -> dict[str, EngineSettings]:
    """Return how the engine runs each precision: tuned, or if ``quick`` as it does untuned."""
    if quick:
        default = default_settings(N_THREADS)
        return {OURS: default, BF16: replace(default, precision="bf16"), INT8: default}
    trials = sorted(tune(bundle.file, waves, n_threads=N_THREADS), key=lambda trial: trial.ms_per_clip)
    best = {trial.settings.precision: trial.settings for trial in reversed(trials)}
    found = {OURS: best["f32"], BF16: best.get("bf16", best["f32"])}
    if bundle.int8_file.is_file():
        found[INT8] = tune(bundle.int8_file, waves, n_threads=N_THREADS)[0].settings
    return found


def predictors_of(bundle: Bundle, settings: Settings) -> dict[str, Predictor]:
    """Return all that can predict this ensemble here; PyTorch last."""
    found: dict[str, Predictor] = {OURS: OpenVinoEngine(bundle.file, settings[OURS])}
    if "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        found[BF16] = OpenVinoEngine(bundle.file, settings[BF16])
    if bundle.int8_file.is_file():
        found[INT8] = OpenVinoEngine(bundle.int8_file, settings[INT8])
    found[PUBLISHED] = PublishedGraph(bundle.published_file, n_threads=N_THREADS)
    found[FORCED] = PublishedGraph(bundle.published_file, n_threads=N_THREADS, precision="f32")
    found[PYTORCH] = TorchEngine(bundle.models, bundle.card, device="cpu", clips_per_request=BATCH)
    return found


def predict_ahead(engine: OpenVinoEngine, paths: Sequence[Path]) -> None:
    """Predict recordings our way: decoded and transformed ahead of the engine."""
    for predicted in BirdsInference(engine).predict_recordings(paths):
        if isinstance(predicted.outcome, Failure):
            raise AssertionError(predicted.outcome.reason)


def ways_of(
    predictors: Mapping[str, Predictor], paths: Sequence[Path], bundle: Bundle
) -> dict[str, Callable[[], object]]:
    """Return what predicts the recordings with each predictor, in its own way."""
    return {
        name: partial(predict_ahead, predictor, paths)
        if isinstance(predictor, OpenVinoEngine)
        else partial(predict_in_turn, predictor, paths, bundle.card)
        for name, predictor in predictors.items()
    }


def birdnet_ways(path: Path, paths: Sequence[Path], *, quick: bool) -> dict[str, Callable[[], object]]:
    """Return what predicts the recordings with BirdNET: by default, and unless ``quick`` in faster ways."""

    def in_turn(batch: int) -> Callable[[], object]:
        return partial(BirdNet(path, batch=batch, n_threads=N_THREADS).predict_in_turn, paths)

    ways = {BIRDNET: in_turn(1)}
    if quick:
        return ways
    side_by_side = [BirdNet(path, batch=1, n_threads=1) for _ in range(N_THREADS)]
    ways |= {f"BirdNET v2.4, batch of {batch}": in_turn(batch) for batch in BATCHES}
    name = f"BirdNET v2.4, {N_THREADS} interpreters of a thread"
    return {**ways, name: partial(predict_side_by_side, side_by_side, paths)}
