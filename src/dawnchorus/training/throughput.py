"""How fast a fold trains, and how long its device waits for clips."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dawnchorus.datasets.loaders import ClipLoader


class ThroughputMeter(Callback):
    """Logs for each epoch the learning rate, ``clips_per_s`` and ``loader_wait_share``.

    Clips a second are those of all devices, from the first batch of an epoch to its last, validation left
    out. The share is of that time. A GPU works on while its process waits for the loader; only the time in
    which it had nothing left to do counts as waiting, the copy of the batch to it included.

    Parameters
    ----------
    loader
        What the batches come from.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.fold_training import FoldTraining
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> loader, _ = FoldTraining(config, prepare_run(config), 0).loaders()
    >>> ThroughputMeter(loader).loader is loader
    True
    """

    def __init__(self, loader: ClipLoader) -> None:
        self.loader = loader

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._started = self._ended = time.perf_counter()
        self._n_clips = 0
        self._waits_s: list[float] = []
        self._events: list[torch.cuda.Event] = []  # a GPU's: the end of a step, the start of the next, ...

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Note how long the batch was waited for."""
        self._waits_s.append(self.loader.waited_s)
        if len(self._waits_s) > 1:
            self._mark(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the clips of the batch."""
        self._n_clips += len(batch[0])
        if trainer.is_last_batch and pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        elif not trainer.is_last_batch:
            self._mark(pl_module.device)
        self._ended = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what was counted."""
        duration_s = self._ended - self._started
        if duration_s <= 0:
            return
        pl_module.log_dict(
            {
                "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
                "clips_per_s": self._n_clips * trainer.world_size / duration_s,
                "loader_wait_share": self._waited_s() / duration_s,
            },
            sync_dist=trainer.world_size > 1,
        )

    def _mark(self, device: torch.device) -> None:
        if device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(device))
            self._events.append(event)

    def _waited_s(self) -> float:
        idle_s = [
            ended.elapsed_time(started) / 1000
            for ended, started in zip(self._events[::2], self._events[1::2], strict=False)
        ]
        if not idle_s:
            return sum(self._waits_s)
        later = zip(self._waits_s[1:], idle_s, strict=False)
        return self._waits_s[0] + sum(min(waited, idle) for waited, idle in later)
