"""What does a Ray cluster cost beside one process on the same cores, and what would 10^6 hours take on one?

Prediction by two workers of one core each, and by one process with two: of so many recordings more, so that
the beginning, which is measured by itself, is in neither. Then bytes that go through Ray, and the memory of
the job's process over a million names. The last rows are computed from these, for recordings of an hour: how
long 10, 100 and 1,000 machines of 8 cores need, how long the job's own process deals names in that time, and
the price at 0.04 a core-hour.
"""

from __future__ import annotations

import argparse
import math
import pickle
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import median_seconds, one_minute_recordings, parse_arguments, report

from dawnchorus.batch.bulk import predict_bulk
from dawnchorus.batch.bulk_settings import BulkSettings
from dawnchorus.batch.cluster_predictions import ClusterPrediction
from dawnchorus.batch.journal import JOURNAL_NAME, Journal
from dawnchorus.cluster.workers import Cluster, Work, spread
from dawnchorus.engines.ensembles import Ensemble, WeightedModel
from dawnchorus.export.onnx import write_onnx
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.models.card import ModelCard
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.predict.detections import DetectionSettings
from dawnchorus.predict.recording_files import RecordingFiles, find_recordings
from dawnchorus.report.measurements import Measurement

N_CLASSES, N_CORES, BLOCK = 206, 2, 16
HOURS, CORES_A_MACHINE, PRICE = 10**6, 8, 0.04
CLUSTER = Cluster("local", n_workers=N_CORES)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the backbone and the number of names."""
    parser.add_argument("--backbone", default="efficientnet_b0", help="of one untrained network")
    parser.add_argument("--names", type=int, default=None, help="dealt to workers that do nothing")


def write_model(folder: Path, backbone: str) -> Path:
    """Write one untrained network, and return its folder."""
    torch.manual_seed(0)
    model = WaveCNNAttenClassifier(n_classes=N_CLASSES, backbone=backbone, pretrained=False).eval()
    labels = tuple(f"species_{number}" for number in range(N_CLASSES))
    card = ModelCard("bench", "", {}, labels, vars(FrontendSettings()), 32_000, 5.0, True, (0,))
    folder.mkdir()
    write_onnx([model], card, folder / "model.onnx")
    return folder


def predict(found: RecordingFiles, out: Path, model: Path, *, on_cluster: bool) -> None:
    """Predict all recordings anew, by one process with two cores or by two workers with one each."""
    shutil.rmtree(out, ignore_errors=True)
    ensemble = Ensemble([WeightedModel(model)], n_threads=1 if on_cluster else N_CORES)
    settings = BulkSettings(DetectionSettings(np.full(N_CLASSES, 0.5, np.float32)), formats=("csv",))
    engine = ensemble.open()
    if on_cluster:
        predict_bulk(engine, found, out, settings, prediction=ClusterPrediction(ensemble, CLUSTER, out))
    else:
        predict_bulk(engine, found, out, settings)


def measured_predictions(folder: Path, backbone: str, *, quick: bool) -> list[Measurement]:
    """Return pace, efficiency and bytes of prediction."""
    sounds = one_minute_recordings(folder)
    (folder / "audio").mkdir()
    for number in range(48 if quick else 256):
        source = sounds[number % len(sounds)]
        shutil.copy(source, folder / "audio" / f"{number:03}{source.suffix}")
    everything = find_recordings([str(folder / "audio")])
    some = RecordingFiles(everything.root, everything.recordings[: len(everything.recordings) // 4])
    model, out = write_model(folder / "model", backbone), folder / "out"
    started = time.perf_counter()
    with CLUSTER.connected():
        begun = time.perf_counter() - started
        seconds = median_seconds(
            {
                (on_cluster, found is some): partial(predict, found, out, model, on_cluster=on_cluster)
                for found in (some, everything)
                for on_cluster in (False, True)
            },
            n_runs=1 if quick else 5,
        )
    hours = (len(everything.recordings) - len(some.recordings)) / 60
    alone, spread_over = (seconds[way, False] - seconds[way, True] for way in (False, True))
    journal = Journal(out / JOURNAL_NAME)
    with journal.opened({}, anew=False):
        n_bytes = len(pickle.dumps((everything.recordings, journal.index)))
    pace, ratio = hours * 3600 / alone / N_CORES, alone / spread_over
    opened = seconds[True, True] - spread_over * len(some.recordings) / 60 / hours
    return [
        Measurement("a cluster of this machine begins", begun, "s"),
        Measurement("a job of two workers begins and ends, beside predicting", opened, "s"),
        Measurement("one process, two cores, each core", pace, "h/h"),
        Measurement("two workers, one core each", pace * ratio, "h/h", "one process", ratio, 0.95),
        Measurement(
            "names and index entries, an hour of audio",
            n_bytes / len(everything.recordings) * 60 / 1000,
            "kB",
        ),
    ]


def _nothing() -> Work[int, int]:
    return len


def resident_mb() -> float:
    """Return the resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def measured_names(n_names: int) -> list[Measurement]:
    """Return pace and memory of a job whose workers do nothing."""
    with CLUSTER.connected():
        first = next(spread(CLUSTER, _nothing, range(BLOCK), n_items=BLOCK))
        assert first is not None
        before, started, largest = resident_mb(), time.perf_counter(), 0.0
        for number, _ in enumerate(spread(CLUSTER, _nothing, range(n_names), n_items=n_names)):
            if number % 100 == 0:
                largest = max(largest, resident_mb() - before)
        seconds = time.perf_counter() - started
    return [
        Measurement(f"{n_names:,} names, dealt to workers that do nothing", n_names / seconds, "names/s"),
        Measurement(f"{n_names:,} names, growth of the job's process", largest, "MB"),
    ]


def simulated(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return what 10^6 hours need, by the measured pace of a core and of the job's own process."""
    pace = next(float(row.value) for row in rows if "one core each" in row.name)
    names = next(float(row.value) for row in rows if row.unit == "names/s")
    found = []
    for n_machines in (10, 100, 1000):
        hours = HOURS / (pace * CORES_A_MACHINE * n_machines)
        dealt = HOURS / names / 3600
        found.append(Measurement(f"10⁶ h on {n_machines:,} machines, computed", max(hours, dealt), "h"))
        found.append(Measurement(f"10⁶ h on {n_machines:,} machines, of this dealing", dealt, "h"))
    most = math.floor(names * 3600 / (pace * CORES_A_MACHINE))
    found.append(Measurement("machines that one job can keep busy, hour-long recordings", most))
    found.append(Measurement("1,000 h at 0.04 a core-hour", 1000 / pace * PRICE))
    return found


def main() -> None:
    """Measure, compute and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0], add_options=add_options)
    with tempfile.TemporaryDirectory() as name:
        rows = measured_predictions(Path(name), arguments.backbone, quick=arguments.quick)
    rows += measured_names(arguments.names or (20_000 if arguments.quick else 10**6))
    rows += simulated(rows)
    report("A Ray cluster on one machine", rows, arguments)


if __name__ == "__main__":
    main()
