"""Would the winning ensembles make a competition's submission in its 90 minutes on two cores?

``dawnchorus submit-kaggle`` as a process of its own over one-minute soundscapes: five folds of
EfficientNetV2-S, and with five of eca_nfnet_l0 beside them, windows shifted by half a window averaged in. A
few soundscapes and thirty of them give what one more costs, and so what 700 take, start-up and decoding
included. The networks are untrained, of 206 classes: their speed is that of trained ones.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs
from bundles import Bundle, untrained_bundle
from common import one_minute_recordings, parse_arguments, report

from dawnchorus.engines.engine_settings import TUNED_NAME, default_settings, with_tuned
from dawnchorus.report.measurements import Measurement

BACKBONES = {"EfficientNetV2-S": "tf_efficientnetv2_s_in21k", "eca_nfnet_l0": "eca_nfnet_l0"}
N_THREADS, N_FOLDS = 2, 5
N_SOUNDSCAPES = 700
ALLOWED_MIN = {1: 35.0, 2: 85.0}
"""Minutes wanted for five folds of EfficientNetV2-S, and for both ensembles."""

FEW, MANY = 6, 30
PRECISIONS = ("f32", "bf16", "int8")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark has."""
    work = Path(platformdirs.user_cache_dir("dawnchorus")) / "bench_inference"
    parser.add_argument("--work", type=Path, default=work, help=f"kept exports ({work})")
    parser.add_argument("--runs", type=int, default=3, help="timed runs, of which the median is taken")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)


def write_soundscapes(folder: Path, recordings: Sequence[Path], n_soundscapes: int) -> Path:
    """Copy one-minute recordings until there are enough, each under a name of its own."""
    folder.mkdir()
    for number in range(n_soundscapes):
        source = recordings[number % len(recordings)]
        shutil.copy(source, folder / f"soundscape_{1_000_000 + number}{source.suffix}")
    return folder


def write_bundle(folder: Path, bundles: Sequence[Bundle], precision: str) -> Path:
    """Lay exports out as ``dawnchorus bundle`` does, with the precision that ``tune`` would have kept."""
    for bundle in bundles:
        target = folder / bundle.card.exp_name
        target.mkdir(parents=True)
        source = bundle.int8_file if precision == "int8" else bundle.file
        for suffix in (".xml", ".bin"):
            shutil.copy(source.with_suffix(suffix), target / f"model{suffix}")
        settings = default_settings(N_THREADS)
        if precision == "bf16":
            settings = replace(settings, precision="bf16")
        tuned = with_tuned({}, "openvino", settings, 0.0)
        (target / TUNED_NAME).write_text(json.dumps(tuned), encoding="utf-8")
    return folder


def seconds_of(bundle: Path, soundscapes: Path, out: Path) -> float:
    """Return how long a whole submission takes as a command."""
    command = [sys.executable, "-m", "dawnchorus", "submit-kaggle", str(bundle), str(soundscapes)]
    options = ["--out", str(out), "--force", "--shift", "2.5", "--smooth", "--threads", str(N_THREADS)]
    started = time.perf_counter()
    subprocess.run([*command, *options], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure, extrapolate, and print the table."""
    arguments = parse_arguments(__doc__, add_options=add_options)
    few, many = (2, 4) if arguments.quick else (FEW, MANY)
    n_runs = 1 if arguments.quick else arguments.runs
    precisions = ("f32",) if arguments.quick else arguments.precisions
    names = list(BACKBONES)[:1] if arguments.quick else list(BACKBONES)
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recordings = one_minute_recordings(folder)
        bundles = [
            untrained_bundle(BACKBONES[name], N_FOLDS, recordings[0], arguments.work) for name in names
        ]
        small = write_soundscapes(folder / "few", recordings, few)
        large = write_soundscapes(folder / "many", recordings, many)
        for precision in precisions:
            for n_models in range(1, len(bundles) + 1):
                chosen = bundles[:n_models]
                if precision == "int8" and not all(bundle.int8_file.is_file() for bundle in chosen):
                    print("8 bits are left out: nncf was not installed when the exports were made")
                    continue
                made = write_bundle(folder / f"{precision}_{n_models}", chosen, precision)
                times = [
                    (
                        seconds_of(made, small, folder / "few.csv"),
                        seconds_of(made, large, folder / "many.csv"),
                    )
                    for _ in range(n_runs)
                ]
                rows += rows_of(" + ".join(names[:n_models]), precision, times, few, many)
                print(rows[-1], flush=True)
    title = f"A submission of {N_SOUNDSCAPES} one-minute soundscapes, five folds each, one shift"
    report(f"{title}, {N_THREADS} threads", rows, arguments, seeds=range(N_FOLDS))


def rows_of(
    models: str, precision: str, times: Sequence[tuple[float, float]], few: int, many: int
) -> list[Measurement]:
    """Return what one more soundscape costs and what all of them take, the medians of some runs."""
    each_s = statistics.median((long_s - short_s) / (many - few) for short_s, long_s in times)
    whole_s = statistics.median(
        long_s + (N_SOUNDSCAPES - many) * (long_s - short_s) / (many - few) for short_s, long_s in times
    )
    allowed = ALLOWED_MIN[models.count("+") + 1]
    where = f"{models}, {precision}"
    return [
        Measurement(f"{where}: one more soundscape", each_s, "s"),
        Measurement(where, whole_s / 60, "min", f"{allowed:g} min", allowed / (whole_s / 60), 1.0),
    ]


if __name__ == "__main__":
    main()
