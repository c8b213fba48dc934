"""Search for the batch size that a device trains fastest with, and the learning rate for it."""

from __future__ import annotations

import logging
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from dawnchorus.config import Record, TrainConfig, read_json
from dawnchorus.errors import RunError, TrainingError
from dawnchorus.files import write_text
from dawnchorus.training.frozen_layers import frozen_layers
from dawnchorus.training.losses import make_loss
from dawnchorus.training.networks import new_model
from dawnchorus.training.optimizer import make_optimizer, scaled_lr
from dawnchorus.training.processes import this_process, wait_for
from dawnchorus.training.run_preparation import PreparedRun

logger = logging.getLogger(__name__)

SMALLEST, LARGEST = 8, 1024
FAST_ENOUGH = 0.95
"""The smallest batch with this fraction of the best throughput is taken: larger ones only cost memory and
steps."""

_MEMORY_FRACTION = 0.85  # of the free memory; the rest is for the loader and validation
_WARM_UPS, _TIMED_STEPS = 1, 3
_N_SPEEDS_WITHOUT_GAIN = 2


class FoundBatch(Record):
    """The content of ``auto_batch.json``: the batch size, its learning rate, and the throughput of each size.

    Examples
    --------
    >>> FoundBatch(batch_size=64, lr=1e-3, clips_per_s={"64": 210.5}).batch_size
    64
    """

    batch_size: int = Field(ge=1, le=1_000_000)
    lr: float = Field(gt=0, allow_inf_nan=False)
    clips_per_s: dict[str, float] = Field(default_factory=dict)


def with_found_batch(config: TrainConfig, prepared: PreparedRun) -> TrainConfig:
    """Return the config with the batch size that was found for this device, if ``auto_batch`` is set.

    It is kept in the run as ``auto_batch.json``, and a run that is resumed goes on with it. Each of several
    devices takes a batch of the size that was found for one.

    Raises
    ------
    TrainingError
        Not even the smallest batch fits.
    RunError
        ``auto_batch.json`` is damaged, or the devices cannot divide the batch.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> with_found_batch(config, prepare_run(config)) is config  # it does not ask for auto_batch
    True
    """
    args = config.train_function_args
    if not args.auto_batch or args.debug:
        return config
    file = prepared.run.auto_batch_file
    if this_process(args).rank > 0:
        wait_for(file)
    elif not prepared.run.has_checkpoints():
        write_text(file, _found(config, prepared).model_dump_json(indent=2))
    found = read_json(file, FoundBatch, remedy="delete the run and train again")
    batch_size, lr = found.batch_size, found.lr
    if batch_size % args.n_devices:
        raise RunError(
            f"batches of {batch_size} clips, found for this run ({file}), cannot be shared by "
            f"{args.n_devices} devices; go on with as many as before"
        )
    loader = args.train_loader.model_copy(update={"batch_size": batch_size})
    optimizer = args.optimizer.model_copy(update={"lr": lr})
    changed = args.model_copy(update={"train_loader": loader, "optimizer": optimizer})
    logger.info("Batches of %d clips at a learning rate of %.3g (%s)", batch_size, lr, file)
    return config.model_copy(update={"train_function_args": changed})


def _found(config: TrainConfig, prepared: PreparedRun) -> FoundBatch:
    args = config.train_function_args
    n_draws = args.n_clips_per_epoch(len(prepared.recordings))
    throughputs = measure_throughput(config, prepared, largest=min(LARGEST, n_draws // args.n_devices))
    enough = FAST_ENOUGH * max(throughputs.values())
    batch_size = args.n_devices * min(
        size for size, throughput in throughputs.items() if throughput >= enough
    )
    return FoundBatch(
        batch_size=batch_size,
        lr=scaled_lr(args.optimizer, batch_size / args.train_loader.batch_size),
        clips_per_s={str(size): round(throughput, 2) for size, throughput in throughputs.items()},
    )


def measure_throughput(config: TrainConfig, prepared: PreparedRun, *, largest: int) -> dict[int, float]:
    """Return clips per second of whole training steps on one device, by batch size.

    Sizes are doubled until memory runs out, ``largest`` is passed, or two in a row gain less than about 5 %.

    Raises
    ------
    TrainingError
        Not even the smallest batch fits.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> list(measure_throughput(config, prepare_run(config), largest=1))  # clips per second, by size of batch
    [1]
    """
    step: _TrialStep | None = None
    throughputs: dict[int, float] = {}
    size, without_gain = min(SMALLEST, max(largest, 1)), 0
    while size <= max(largest, 1) and without_gain < _N_SPEEDS_WITHOUT_GAIN:
        try:
            step = step or _TrialStep(config, prepared)
            throughput = step.clips_per_s(size)
        except (torch.OutOfMemoryError, MemoryError):
            break
        without_gain = (
            without_gain + 1 if throughput * FAST_ENOUGH < max(throughputs.values(), default=0.0) else 0
        )
        throughputs[size] = throughput
        if step.next_would_not_fit():
            break
        size *= 2
    if not throughputs:
        raise TrainingError(
            f"a batch of {size} clips does not fit into memory; take a smaller backbone, or precision_mode "
            "bf16-mixed"
        )
    return throughputs


class _TrialStep:
    """One training step on clips of noise: front-end, network, loss, optimiser, in the config's precision.

    Loader, augmentations, averages and compilation are left out.
    """

    def __init__(self, config: TrainConfig, prepared: PreparedRun) -> None:
        args = config.train_function_args
        on_gpu = args.accelerator != "cpu" and torch.cuda.is_available()
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.half = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(args.precision_mode)
        self.card = prepared.run.card()
        self.free_bytes = _free_bytes(self.device)
        self.held_bytes = _peak_bytes(self.device)
        self.model: Any = new_model(config, prepared.labels.labels).model.train().to(self.device)
        self.memory_format = torch.channels_last if args.channels_last else torch.contiguous_format
        if args.channels_last:
            self.model.to(memory_format=torch.channels_last)
        frozen_layers(self.model, args.frozen_layers).begin(self.model)
        self.loss = make_loss(args.loss, args.loss_args, where=config.exp_name).to(self.device)
        trained = torch.nn.ModuleList([self.model, self.loss])
        self.optimizer = make_optimizer(trained, args.optimizer, where=config.exp_name)

    def clips_per_s(self, batch_size: int) -> float:
        """Return the throughput of a batch size, from the median time of a few steps."""
        wave = torch.rand(batch_size, self.card.n_samples, device=self.device) - 0.5
        target = (torch.rand(batch_size, len(self.card.labels), device=self.device) < 0.1).float()
        times = [self._seconds(wave, target) for _ in range(_WARM_UPS + _TIMED_STEPS)]
        return batch_size / statistics.median(times[_WARM_UPS:])

    def _seconds(self, wave: torch.Tensor, target: torch.Tensor) -> float:
        started = time.perf_counter()
        with torch.no_grad():
            logmel = self.model.frontend(wave).contiguous(memory_format=self.memory_format)
        with torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None):
            loss = self.loss.of_output(self.model.forward_spectrogram(logmel), target)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def next_would_not_fit(self) -> bool:
        """Return whether twice the memory that the sizes so far took is more than was free."""
        return 2 * (_peak_bytes(self.device) - self.held_bytes) > _MEMORY_FRACTION * self.free_bytes


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # half is assumed to be free


def _peak_bytes(device: torch.device) -> int:
    """Return the peak memory in use, of the device or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
