"""What every benchmark shares: its two options, timing by medians, the table and the JSON file."""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
import torch
from results import write_result

from dawnchorus.aviary.aviary_settings import AviarySettings
from dawnchorus.aviary.synthesis import make_aviary
from dawnchorus.features.frontend import log_scale
from dawnchorus.features.logmel import FrontendSettings, mel_filters
from dawnchorus.report.measurements import Measurement, machine_description, print_measurements

T = TypeVar("T")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


class DenseFrontend(torch.nn.Module):
    """The DFT as a product of every frame with all of its sines and cosines: it can be exported anywhere."""

    def __init__(self, settings: FrontendSettings) -> None:
        super().__init__()
        self.settings = settings
        n_fft = settings.n_fft
        angle = 2 * np.pi / n_fft * np.outer(np.arange(n_fft), np.arange(n_fft // 2 + 1))
        window = np.hanning(n_fft + 1)[:-1, None]
        window = window / np.sqrt((window**2).sum())
        self.cos = torch.from_numpy((window * np.cos(angle)).astype(np.float32))
        self.sin = torch.from_numpy((window * np.sin(angle)).astype(np.float32))
        self.filters = torch.from_numpy(mel_filters(settings))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        """Return the log-mel picture, shape (batch, 1, n_mels, n_frames)."""
        n_fft, hop = self.settings.n_fft, self.settings.hop_length
        padded = torch.nn.functional.pad(wave[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
        frames = padded.unfold(1, n_fft, hop)
        power = (frames @ self.cos).square() + (frames @ self.sin).square()
        return log_scale(power @ self.filters, self.settings.top_db)


def parse_arguments(
    description: str, *, add_options: Callable[[argparse.ArgumentParser], object] = lambda parser: None
) -> argparse.Namespace:
    """Return the options ``quick`` (under 60 s on two cores) and ``json`` (a file, or None).

    ``add_options`` is given the parser, to add what one benchmark has beyond these.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer runs, under a minute on two cores")
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    add_options(parser)
    return parser.parse_args()


def median_seconds(
    candidates: Mapping[T, Callable[[], object]],
    *,
    n_runs: int,
    before: Callable[[], object] = lambda: None,
) -> dict[T, float]:
    """Return the median duration of each candidate, s, after one run that is not counted.

    The candidates take turns, so that a machine that changes its throughput changes it for all. ``before`` is
    called before each run and not timed.
    """
    times: dict[T, list[float]] = {name: [] for name in candidates}
    for run in range(n_runs + 1):
        for name, candidate in candidates.items():
            before()
            started = time.perf_counter()
            candidate()
            if run > 0:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def one_minute_recordings(folder: Path) -> list[Path]:
    """Return one-minute recordings: real ones where they are, else synthetic soundscapes in ``folder``."""
    clips = sorted(SHARED_DATA.glob("birdeep/*.ogg"))
    if not clips:
        aviary = make_aviary(folder / "aviary", AviarySettings(n_recordings=20, n_soundscapes=4))
        clips = sorted(path for path in aviary.soundscapes_dir.iterdir() if path.suffix in (".ogg", ".flac"))
    return clips


def two_minute_recordings(folder: Path, *, n_files: int) -> list[Path]:
    """Return two-minute Ogg recordings in ``folder``: joined real clips, or synthetic soundscapes."""
    clips = one_minute_recordings(folder)
    paths = [folder / f"long_{number:03d}.ogg" for number in range(n_files)]
    for number, path in enumerate(paths):
        if number >= len(clips):
            shutil.copy(paths[number - len(clips)], path)
            continue
        waves, rates = zip(
            *(soundfile.read(clips[(number + k) % len(clips)], dtype="float32") for k in (0, 1)), strict=True
        )
        with soundfile.SoundFile(path, "w", rates[0], 1) as file:
            for wave in waves:
                mono = wave if wave.ndim == 1 else wave.mean(axis=1)
                # libsndfile's Vorbis encoder keeps a whole write on its stack.
                for start in range(0, len(mono), 1 << 16):
                    file.write(mono[start : start + (1 << 16)])
    return paths


def report(
    title: str, rows: list[Measurement], arguments: argparse.Namespace, *, seeds: Sequence[int] = (0,)
) -> None:
    """Print the table with the machine's description, and write the JSON file where one is asked for."""
    print_measurements(f"{title} · {machine_description()}", rows)
    if arguments.json is not None:
        write_result(arguments.json, title, rows, quick=arguments.quick, seeds=seeds)
