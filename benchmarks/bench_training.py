"""How many clips a second does a whole training step take, and what share of it is the network?

The winning recipe on recordings of two minutes, in a real ``lightning.Trainer``: loader, augmentation,
front-end, network, optimiser. Its parts are timed by hooks, on a GPU by events on its stream, which do not
make it wait. In turns with that, the network alone: forward, loss and backward on pictures that are ready.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from bench_loader import BATCH, LABELS, Places
from common import parse_arguments, report
from lightning.pytorch.callbacks import Callback

from dawnchorus.config import TrainConfig, merge, read_config_file, validate
from dawnchorus.datasets.loaders import ClipLoader
from dawnchorus.folds.assignment import FoldAssignment
from dawnchorus.recordings.recordings_table import load_recordings
from dawnchorus.report.measurements import Measurement
from dawnchorus.runs import Run
from dawnchorus.training.fold_training import FoldTraining
from dawnchorus.training.module import WaveClassifierModule
from dawnchorus.training.run_preparation import PreparedRun
from dawnchorus.training.trainer import ThroughputMeter

RECIPE = Path(__file__).resolve().parents[1] / "train_configs" / "winning.py"
CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
BACKBONES = ("tf_efficientnetv2_s_in21k", "eca_nfnet_l0") if CUDA else ("tf_efficientnetv2_b0",)
# On a CPU, workers take from the network the cores that it runs on: the curve shows it.
N_WORKERS = min(8, os.cpu_count() or 1) if CUDA else 0
WANTED_SHARE = 0.85 if CUDA else 0.90
WANTED_SPEED_UP = 2
N_FOLDS, N_EPOCHS, N_LEARNT = 5, 50, 24_000
"""Five folds of 30,000 recordings: each learns from four fifths of them, a clip of each an epoch."""

ENDLESS = 1_000_000
"""Clips of an epoch that no measurement reaches, so that the workers never run out of work."""

START, NETWORK, REST = "start of a step", "network", "Lightning, logging, copies, zeroing of gradients"
WAITING, OPTIMIZER = "waiting for the loader", "optimiser step"
WAVE, FRONTEND, PICTURE = "wave augmentation", "front-end", "spectrogram augmentation"

VARIANTS: dict[str, dict[str, Any]] = {
    "plain fp32": {},
    "bf16-mixed": {"precision_mode": "bf16-mixed"},
    "channels_last": {"channels_last": True},
    "compile": {"compile": True},
    "all together": {"precision_mode": "bf16-mixed", "channels_last": True, "compile": True},
}


class Plan(NamedTuple):
    """How much is measured.

    Attributes
    ----------
    batch
        Clips a step.
    n_runs
        Trainings, and as often the network alone.
    n_warm_up, n_steps
        Steps of each that are not counted, and that are.
    n_batches
        Batches that are counted of the loader alone.
    """

    batch: int
    n_runs: int
    n_warm_up: int
    n_steps: int
    n_batches: int


def plan_of(*, quick: bool) -> Plan:
    """Return how much is measured on this device."""
    if CUDA:
        # The warm-up must outlast the batches that eight workers have made in advance.
        return Plan(BATCH, n_runs=1 if quick else 3, n_warm_up=24, n_steps=16 if quick else 24, n_batches=32)
    return Plan(8, 2, 1, 3, 24) if quick else Plan(BATCH, 3, 1, 3, 12)


def training_of(places: Places, plan: Plan, *, backbone: str, n_workers: int, **args: Any) -> FoldTraining:
    """Return a fold of the winning recipe that is ready to be trained; ``args`` change its training."""
    data = {"audio_dir": places.audio.parent, "features_dir": places.stores}
    noise = {"folder": places.noise, "features_dir": places.noise_stores, "probability": 0.5}
    changes = {
        "exp_name": "bench_training",
        "data": data,
        "nn_model_config": {"backbone": backbone, "pretrained": False},
        "train_function_args": {
            "train_dataset_config": {"background": [noise, noise]},
            "train_loader": {"batch_size": plan.batch, "num_workers": n_workers},
            "val_loader": {"num_workers": 0},
            "clips_per_epoch": ENDLESS,
            **args,
        },
    }
    config = validate(TrainConfig, merge(read_config_file(RECIPE), changes), where=RECIPE.name)
    table = load_recordings(data).table
    table["primary_label"] = [LABELS.labels[k] for k in places.classes]
    n_recordings = len(table)
    folds = np.minimum(np.arange(n_recordings) // 2, 1)  # the first two are validated, or would be
    assignment = FoldAssignment(
        folds, np.ones(n_recordings, dtype=bool), 2, (), np.arange(n_recordings), ("filename",)
    )
    return FoldTraining(config, PreparedRun(config, Run(config.run_dir), table, LABELS, assignment), 0)


class StepClock(Callback):
    """Notes when each part of a training step ends, on the clock of the device.

    Parameters
    ----------
    loader
        What the batches come from.
    """

    def __init__(self, loader: ClipLoader) -> None:
        self.loader = loader
        self.marks: list[tuple[str, Any]] = []
        self.waits_s: list[float] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put a mark before and after each part."""
        module: Any = pl_module
        self._watch(module, "augment_wave", WAVE)
        self._watch(module.model, "frontend", FRONTEND)
        self._watch(module, "augment_spectrogram", PICTURE)
        self._watch(module.model, "forward_spectrogram", NETWORK)
        self._watch(module, "loss", NETWORK)
        trainer.optimizers[0].register_step_post_hook(lambda *_: self.mark(OPTIMIZER))

    def _watch(self, owner: Any, name: str, part: str) -> None:
        watched = getattr(owner, name)
        if isinstance(watched, torch.nn.Module):
            watched.register_forward_pre_hook(lambda *_: self.mark(REST))
            watched.register_forward_hook(lambda *_: self.mark(part))
            return

        def between_marks(*args: Any) -> Any:
            self.mark(REST)
            result = watched(*args)
            self.mark(part)
            return result

        setattr(owner, name, between_marks)

    def mark(self, part: str) -> None:
        """Note that ``part`` has gone on since the last mark, and ends here."""
        moment: Any = time.perf_counter()
        if CUDA:
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        self.marks.append((part, moment))

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin a step: the batch is there."""
        self.waits_s.append(self.loader.waited_s)
        self.mark(START)

    def on_before_backward(self, *_: Any) -> None:
        """Begin the backward pass."""
        self.mark(REST)

    def on_after_backward(self, *_: Any) -> None:
        """End it."""
        self.mark(NETWORK)

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Begin the optimiser's step."""
        self.mark(REST)

    def parts_s(self, *, n_warm_up: int) -> dict[str, float]:
        """Return the mean seconds of each part over the steps after the warm-up; their sum is a step.

        A step lasts until the next one begins, so that the last one is left out. A GPU works on while its
        process waits for the loader; only the time in which it had nothing left to do counts as waiting.
        """
        if CUDA:
            torch.cuda.synchronize()
        starts = [place for place, (part, _) in enumerate(self.marks) if part == START]
        n_steps = len(starts) - 1 - n_warm_up
        parts = dict.fromkeys((WAITING, WAVE, FRONTEND, PICTURE, NETWORK, OPTIMIZER, REST), 0.0)
        for place in range(starts[n_warm_up] + 1, starts[-1] + 1):
            part, moment = self.marks[place]
            lasted_s = _seconds_between(self.marks[place - 1][1], moment)
            if part == START:
                waited_s = min(self.waits_s[starts.index(place)], lasted_s)
                parts[WAITING] += waited_s
                part, lasted_s = REST, lasted_s - waited_s
            parts[part] += lasted_s
        return {part: total_s / n_steps for part, total_s in parts.items()}


def _seconds_between(earlier: Any, later: Any) -> float:
    return earlier.elapsed_time(later) / 1000 if CUDA else later - earlier


class Steps(NamedTuple):
    """The steps of a training.

    Attributes
    ----------
    parts_s
        Seconds of each part of a step.
    peak_gb
        Largest memory of the GPU, GiB; 0 without one.
    """

    parts_s: dict[str, float]
    peak_gb: float

    @property
    def step_s(self) -> float:
        """Seconds of a whole step."""
        return sum(self.parts_s.values())


def whole_steps(training: FoldTraining, plan: Plan) -> Steps:
    """Return what the steps of a training with Lightning took, from new weights on."""
    args = training.config.train_function_args
    train_loader, _ = training.loaders()
    clock = StepClock(train_loader)
    trainer = lightning.Trainer(
        max_epochs=1, limit_train_batches=plan.n_warm_up + plan.n_steps + 1, accelerator=args.accelerator,
        devices=1, precision=args.precision_mode, use_distributed_sampler=False,
        callbacks=[clock, ThroughputMeter(train_loader)], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    torch.compiler.reset()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with closing(train_loader):
        trainer.fit(training.module(), train_loader)
    peak_gb = torch.cuda.max_memory_allocated() / 2**30 if CUDA else 0.0
    return Steps(clock.parts_s(n_warm_up=plan.n_warm_up), peak_gb)


def network_alone(training: FoldTraining, plan: Plan) -> float:
    """Return the seconds of forward, loss and backward on pictures that are ready, in plain float32."""
    module = training.module().to(DEVICE).train()
    pictures, targets = _ready_batch(training, module)
    seconds = []
    for step in range(plan.n_warm_up + plan.n_steps):
        module.zero_grad()
        _wait_for_device()
        started = time.perf_counter()
        module.loss(module.model.forward_spectrogram(pictures).clip_logits, targets).backward()
        _wait_for_device()
        if step >= plan.n_warm_up:
            seconds.append(time.perf_counter() - started)
    return statistics.mean(seconds)


def _ready_batch(training: FoldTraining, module: WaveClassifierModule) -> tuple[torch.Tensor, torch.Tensor]:
    args = training.config.train_function_args
    in_this_process = args.train_loader.model_copy(update={"num_workers": 0})
    waves, targets = next(iter(ClipLoader(training.train_set, in_this_process, sampler=training.sampler)))
    generator = torch.Generator(DEVICE)
    with torch.no_grad():
        logmel = module.model.frontend(module.augment_wave(waves.to(DEVICE), generator))
        return module.augment_spectrogram(logmel, generator), targets.to(DEVICE)


def _wait_for_device() -> None:
    if CUDA:
        torch.cuda.synchronize()


def measure_shares(places: Places, plan: Plan, *, backbone: str) -> list[Measurement]:
    """Return the throughput of whole steps, the network's share of them, and what the rest is."""
    training = training_of(places, plan, backbone=backbone, n_workers=N_WORKERS)
    runs = [(whole_steps(training, plan), network_alone(training, plan)) for _ in range(plan.n_runs)]
    step_s = statistics.median(steps.step_s for steps, _ in runs)
    alone_s = statistics.median(alone for _, alone in runs)
    share = statistics.median(steps.parts_s[NETWORK] / steps.step_s for steps, _ in runs)
    alone_share = statistics.median(alone / steps.step_s for steps, alone in runs)
    where = f"{backbone}, {DEVICE}, batch {plan.batch}"
    rows = [
        Measurement(f"whole training steps, {where}, {N_WORKERS} workers", plan.batch / step_s, "clips/s"),
        Measurement(f"a whole training step, {where}", step_s, "s"),
        Measurement(f"forward, loss and backward alone, {where}", alone_s, "s"),
        Measurement(
            "the same / the whole step (by turns, so that the machine's throughput is in it)", alone_share
        ),
        Measurement("share of the step: forward, loss and backward", share, target=WANTED_SHARE),
    ]
    for part in (WAITING, WAVE, FRONTEND, PICTURE, OPTIMIZER, REST):
        of_step = statistics.median(steps.parts_s[part] / steps.step_s for steps, _ in runs)
        rows.append(Measurement(f"share of the step: {part}", of_step))
    return [*rows, hours_row(plan.batch / step_s, backbone)]


def hours_row(clips_per_s: float, backbone: str) -> Measurement:
    """Return how long the whole of a competition's training takes at this throughput."""
    hours = N_FOLDS * N_EPOCHS * N_LEARNT / clips_per_s / 3600
    what = f"{N_FOLDS} folds x {N_EPOCHS} epochs x {N_LEARNT} clips (30000 recordings) at this throughput"
    return Measurement(f"{what}, {backbone}, without validation", hours, "h")


def measure_workers(places: Places, plan: Plan, *, backbone: str) -> list[Measurement]:
    """Return the throughput of whole steps and of the loader alone, for numbers of workers."""
    n_cores = os.cpu_count() or 1
    rows = []
    for n_workers in (n for n in (0, 1, 2, 4, 8) if n <= n_cores):
        training = training_of(places, plan, backbone=backbone, n_workers=n_workers)
        clips_per_s = plan.batch / whole_steps(training, plan).step_s
        alone = loader_alone(training, plan, n_workers=n_workers)
        by = "in the training process" if n_workers == 0 else f"workers: {n_workers}"
        rows.append(Measurement(f"whole training steps, {by}", clips_per_s, "clips/s"))
        rows.append(Measurement(f"the loader alone, {by}", alone, "clips/s"))
    return rows


def loader_alone(training: FoldTraining, plan: Plan, *, n_workers: int) -> float:
    """Return the clips a second of a loader whose batches are thrown away."""
    train_loader, _ = training.loaders()
    with closing(train_loader):
        batches: Iterator[Any] = iter(train_loader)
        for _ in range(2 * n_workers + 1):  # what workers have made in advance comes at once
            next(batches)
        started = time.perf_counter()
        for _ in range(plan.n_batches):
            next(batches)
        return plan.n_batches * plan.batch / (time.perf_counter() - started)


def measure_variants(places: Places, plan: Plan, *, backbone: str) -> list[Measurement]:
    """Return what reduced precision, memory format and compilation bring on a GPU, and their memory."""
    trainings = {
        name: training_of(places, plan, backbone=backbone, n_workers=N_WORKERS, **changes)
        for name, changes in VARIANTS.items()
    }
    runs = [
        {name: whole_steps(training, plan) for name, training in trainings.items()}
        for _ in range(min(plan.n_runs, 2))
    ]
    plain = next(iter(VARIANTS))
    rows = []
    for name in VARIANTS:
        throughput = statistics.median(plan.batch / run[name].step_s for run in runs)
        ratio = statistics.median(run[plain].step_s / run[name].step_s for run in runs)
        wanted = WANTED_SPEED_UP if name == "all together" else None
        row = Measurement(f"whole steps, {backbone}, {name}", throughput, "clips/s")
        rows.append(row if name == plain else row._replace(rival=plain, ratio=ratio, target=wanted))
        peak_gb = max(run[name].peak_gb for run in runs)
        rows.append(Measurement(f"peak GPU memory, {backbone}, {name}", peak_gb, "GiB"))
        if name == "all together":
            rows.append(hours_row(throughput, f"{backbone}, {name}"))
    return rows


def main() -> None:
    """Time training steps, and print the table."""
    arguments = parse_arguments(str(__doc__).splitlines()[0])
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    plan = plan_of(quick=arguments.quick)
    rows: list[Measurement] = []
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder), n_recordings=12 if arguments.quick else 60, n_noises=40)
        for backbone in BACKBONES:
            rows += measure_shares(places, plan, backbone=backbone)
        rows += measure_workers(places, plan, backbone=BACKBONES[0])
        for backbone in BACKBONES if CUDA else ():
            rows += measure_variants(places, plan, backbone=backbone)
    title = f"Training, {torch.cuda.get_device_name()}" if CUDA else "Training"
    report(title, rows, arguments, seeds=(read_config_file(RECIPE)["seed"],))


if __name__ == "__main__":
    main()
