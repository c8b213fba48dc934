"""What every benchmark shares: its two options, timing by medians, the table and the JSON file."""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import soundfile

from dawnchorus.aviary.making import make_aviary
from dawnchorus.aviary.settings import AviarySettings
from dawnchorus.report.measurements import (
    Measurement,
    machine_description,
    print_measurements,
    write_measurements,
)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def parse_arguments(description: str) -> argparse.Namespace:
    """Return the options ``quick`` (under 60 s on two cores) and ``json`` (a file, or None)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer runs, under a minute on two cores")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    return parser.parse_args()


def median_seconds(
    candidates: Mapping[str, Callable[[], object]],
    *,
    n_runs: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Return the median duration of each candidate, s, after one run that is not counted.

    The candidates take turns, so that a machine that changes its pace changes it for all. ``before`` is
    called before each run and not timed.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(n_runs + 1):
        for name, candidate in candidates.items():
            before()
            started = time.perf_counter()
            candidate()
            if run > 0:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def two_minute_recordings(folder: Path, *, n_files: int) -> list[Path]:
    """Return two-minute Ogg recordings in ``folder``: joined real clips, or synthetic soundscapes."""
    clips = sorted(SHARED_DATA.glob("birdeep/*.ogg"))
    if not clips:
        aviary = make_aviary(folder / "aviary", AviarySettings(n_recordings=20, n_soundscapes=4))
        clips = sorted(path for path in aviary.soundscapes_dir.iterdir() if path.suffix in (".ogg", ".flac"))
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


def report(title: str, rows: list[Measurement], json_file: Path | None) -> None:
    """Print the table with the machine's description, and write the JSON file where one is asked for."""
    print_measurements(f"{title} · {machine_description()}", rows)
    if json_file is not None:
        write_measurements(json_file, rows)
