"""``python -m dawnchorus.inference BUNDLE RECORDINGS...``: detections as CSV on standard output.

For servers and small computers: it needs NumPy, pydantic, soundfile and one engine (ONNX Runtime or
OpenVINO), and soxr for recordings of another sample rate than the model's. ``dawnchorus predict`` does much
more.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np

from dawnchorus.engines import open_engine
from dawnchorus.engines.calibrations import with_calibration
from dawnchorus.engines.engine_settings import frontend_threads
from dawnchorus.errors import DawnchorusError, describe_os_error
from dawnchorus.files import Failure
from dawnchorus.models.score_calibration import RAW_THRESHOLD
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.predict.recording_files import find_recordings, names_from_stdin
from dawnchorus.wording import USED_WRONGLY


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USED_WRONGLY, f"error: {message}\n")


def main() -> int:
    """Print the detections and return the exit code.

    0: all went well; 1: an error; 2: recordings failed; 64: used wrongly.
    """
    parser = _Parser(prog="python -m dawnchorus.inference", description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder that dawnchorus export has made")
    parser.add_argument("recordings", nargs="+", help="recordings, folders, patterns, or -")
    parser.add_argument(
        "--threshold",
        type=_probability,
        help="probability that makes a detection; otherwise that of the best F1, and 0.5 for raw scores",
    )
    parser.add_argument(
        "--raw-scores", action="store_true", help="the networks' own scores, not probabilities of presence"
    )
    parser.add_argument("--overlap", type=float, default=0.0, help="seconds that windows share")
    parser.add_argument("--threads", type=_count, help="cores to use; otherwise all")
    arguments = parser.parse_args()
    try:
        return _predict(arguments)
    except BrokenPipeError:  # whoever reads the table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except DawnchorusError as error:
        sys.stderr.write(f"error: {error}\n")
    except OSError as error:
        sys.stderr.write(f"error: {describe_os_error(error)}\n")
    return 1


def _predict(arguments: argparse.Namespace) -> int:
    found = find_recordings(arguments.recordings, names=names_from_stdin())
    engine = open_engine(arguments.bundle, n_threads=arguments.threads)
    if not arguments.raw_scores:
        with_calibration(engine)
        if engine.thresholds is None:
            sys.stderr.write(f"{arguments.bundle} has no calibration; its scores are raw\n")
    thresholds = np.full(len(engine.card.labels), RAW_THRESHOLD, np.float32)
    if arguments.threshold is not None:
        thresholds[:] = arguments.threshold
    elif engine.thresholds is not None:
        thresholds = engine.thresholds.values
    n_workers = frontend_threads(arguments.threads)
    inference = BirdsInference(engine, overlap_s=arguments.overlap, n_workers=n_workers)
    names = {recording.path: recording.name for recording in found.recordings}
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["filename", "start_s", "end_s", "label", "probability"])
    failed = False
    for path, outcome in inference.predict_recordings(names):
        if isinstance(outcome, Failure):
            sys.stderr.write(f"failed: {outcome.reason}\n")
            failed = True
            continue
        probabilities = outcome.calibrated(engine.calibration).probabilities
        for start, stop, row in zip(outcome.starts, outcome.stops, probabilities, strict=True):
            times = start / outcome.sample_rate, stop / outcome.sample_rate
            for column in (row >= thresholds).nonzero()[0]:
                table.writerow([names[path], *times, engine.card.labels[column], f"{row[column]:.4f}"])
    return 2 if failed else 0


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no probability; legal: 0 to 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few; legal: 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
