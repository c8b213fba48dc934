"""How near the networks come to what the machine can compute at all."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from bundles import Bundle
from common import median_seconds
from torch.utils.flop_counter import FlopCounterMode
from ways import OURS, Waves

from dawnchorus.engines.openvino_engine import OpenVinoEngine
from dawnchorus.features.logmel import FrontendSettings, NumpyLogMel
from dawnchorus.report.measurements import Measurement

_SIZE = 4096  # of the matrices


def machine_limit(n_products: int) -> float:
    """Return the throughput of the fastest of some float32 matrix products in NumPy, GFLOP/s."""
    first, second = np.random.default_rng(0).random((2, _SIZE, _SIZE), dtype=np.float32)
    times = []
    for _ in range(n_products + 1):
        started = time.perf_counter()
        first @ second
        times.append(time.perf_counter() - started)
    return 2 * _SIZE**3 / min(times) / 1e9


def limit_rows(
    backbone: str, bundle: Bundle, engine: OpenVinoEngine, waves: Waves, limit: float
) -> list[Measurement]:
    """Return the work of a clip, how long the network takes for it, and how near that is to the limit."""
    model: Any = bundle.models[0]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.forward_spectrogram(model.frontend(torch.from_numpy(waves[:1])))
    giga = counter.get_total_flops() / 1e9
    ms = network_ms(engine, waves)
    settings = engine.settings
    how = f"{settings.n_streams} streams, {settings.clips_per_request} clips a request"
    return [
        Measurement(f"{backbone}: multiply-adds of a clip", giga / 2, "G"),
        Measurement(f"{backbone}: network alone, {OURS}, {how}", ms, "ms/clip"),
        Measurement(f"{backbone}: of the machine's limit", 100 * giga / (ms / 1000) / limit, "%"),
    ]


def network_ms(engine: OpenVinoEngine, waves: Waves) -> float:
    """Return the milliseconds a clip of the networks on pictures that are ready, the best of some rounds."""
    size = engine.clips_per_request
    n_requests = max(2 * engine.settings.n_streams, -(-24 // size))
    pictures = engine.prepare(np.take(waves, range(size), axis=0, mode="wrap"))
    times = []
    for _ in range(4):
        started = time.perf_counter()
        list(engine.stream((number, pictures) for number in range(n_requests)))
        times.append(time.perf_counter() - started)
    return 1000 * min(times) / (n_requests * size)


def frontend_row(waves: Waves) -> Measurement:
    """Return the milliseconds a clip of the front-end in NumPy, in one thread."""
    frontend = NumpyLogMel(FrontendSettings())
    (seconds,) = median_seconds({"": lambda: frontend(waves)}, n_runs=9).values()
    return Measurement("front-end in NumPy, a thread", 1000 * seconds / len(waves), "ms/clip")
