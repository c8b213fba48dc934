"""``python -m dawnchorus.inference BUNDLE RECORDINGS...``: detections as CSV on standard output.

For servers and small computers: it needs NumPy, soundfile and one engine (ONNX Runtime or OpenVINO), and
soxr for recordings of another sample rate than the model's. ``dawnchorus predict`` does much more.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

from dawnchorus.errors import DawnchorusError
from dawnchorus.files import Failure
from dawnchorus.inference.birds_inference import BirdsInference
from dawnchorus.inference.runtimes import open_runtime
from dawnchorus.inference.sources import find_recordings


def main() -> int:
    """Print the detections and return the exit code: 0, 1 for an error, 2 where recordings failed."""
    parser = argparse.ArgumentParser(prog="python -m dawnchorus.inference", description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder that dawnchorus export has made")
    parser.add_argument("recordings", nargs="+", help="recordings, folders, patterns, or -")
    parser.add_argument("--threshold", type=float, default=0.5, help="probability that makes a detection")
    parser.add_argument("--overlap", type=float, default=0.0, help="seconds that windows share")
    parser.add_argument("--threads", type=int, help="cores to use; otherwise all")
    arguments = parser.parse_args()
    try:
        return _predict(arguments)
    except DawnchorusError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except BrokenPipeError:  # whoever reads the table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _predict(arguments: argparse.Namespace) -> int:
    found = find_recordings(arguments.recordings, names=map(os.fsdecode, sys.stdin.buffer))
    runtime = open_runtime(arguments.bundle, n_threads=arguments.threads)
    inference = BirdsInference(runtime, overlap_s=arguments.overlap)
    names = {recording.path: recording.name for recording in found.recordings}
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["filename", "start_s", "end_s", "label", "probability"])
    failed = False
    for path, outcome in inference.predict_recordings(names):
        if isinstance(outcome, Failure):
            sys.stderr.write(f"failed: {outcome.reason}\n")
            failed = True
            continue
        for start, stop, row in zip(outcome.starts, outcome.stops, outcome.probabilities, strict=True):
            times = start / outcome.sample_rate, stop / outcome.sample_rate
            for column in (row >= arguments.threshold).nonzero()[0]:
                table.writerow([names[path], *times, runtime.card.labels[column], f"{row[column]:.4f}"])
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
