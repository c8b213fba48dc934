"""How long does a 5-s clip take from waveform to log-mel picture?

Rivals: librosa's mel spectrogram, and the dense DFT as one matrix product, the usual way to make a
front-end exportable. All give the same picture; the largest difference is printed.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from common import DenseFrontend, median_seconds, parse_arguments, report

from dawnchorus.features.frontend import LogMelFrontend, MatrixLogMelFrontend
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.report.measurements import Measurement

BATCH = 12
N_SAMPLES = 160_000


def librosa_logmel(waves: np.ndarray, settings: FrontendSettings) -> np.ndarray:
    """Return librosa's mel spectrogram in dB of each wave."""
    import librosa

    mel = librosa.feature.melspectrogram(
        y=waves,
        sr=settings.sample_rate,
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        n_mels=settings.n_mels,
        fmin=settings.f_min_hz,
        fmax=settings.f_max_hz,
        htk=True,
        norm=None,
        pad_mode="reflect",
    )
    return librosa.power_to_db(mel, top_db=settings.top_db)


def main() -> None:
    """Time the front-ends and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0])
    warnings.simplefilter("ignore")
    settings = FrontendSettings()
    waves = np.random.default_rng(0).uniform(-1, 1, (BATCH, N_SAMPLES)).astype(np.float32)
    tensor = torch.from_numpy(waves)
    modules = {
        "real FFT": LogMelFrontend(settings),
        "folded matrices": MatrixLogMelFrontend(settings),
        "dense DFT": DenseFrontend(settings),
    }
    with torch.inference_mode():
        seconds = median_seconds(
            {name: lambda module=module: module(tensor) for name, module in modules.items()}
            | {"librosa": lambda: librosa_logmel(waves, settings)},
            n_runs=5 if arguments.quick else 25,
        )
        reference = modules["real FFT"](tensor)
        differences = {
            name: float((module(tensor) - reference).abs().max()) for name, module in modules.items()
        }
    rows = [Measurement(f"{name}, per clip", 1000 * value / BATCH, "ms") for name, value in seconds.items()]
    for name, rival, target in (
        ("real FFT", "librosa", None),
        ("real FFT", "dense DFT", 2.0),
        ("folded matrices", "dense DFT", 2.0),
    ):
        ratio = seconds[rival] / seconds[name]
        rows.append(Measurement(name, 1000 * seconds[name] / BATCH, "ms", rival, ratio, target))
    for name in ("folded matrices", "dense DFT"):
        rows.append(Measurement(f"{name}, largest difference from the FFT", differences[name]))
    report("Front-end", rows, arguments)


if __name__ == "__main__":
    main()
