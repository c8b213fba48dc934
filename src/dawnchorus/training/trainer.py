"""Lightning's trainer for a config, with a progress bar and a measure of throughput."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning
import timm
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dawnchorus.config import TrainConfig
from dawnchorus.config.import_paths import made_part
from dawnchorus.config.registry import CALLBACKS
from dawnchorus.datasets.loaders import ClipLoader
from dawnchorus.errors import ConfigError
from dawnchorus.metrics import Metric, chosen_metrics
from dawnchorus.progress import progress_console
from dawnchorus.report.run_page import duration_text, write_run_page
from dawnchorus.runs import Run
from dawnchorus.training.checkpoints import AverageOfSteps, LastCheckpoint, PatientStopping, SafetensorsIO
from dawnchorus.training.run_loggers import make_loggers

_REFRESH_STEPS = 4
_PAGE_EVERY_S = 5.0  # a page that a browser shows need not change more often
_PAGE_REST = 50  # times as long as the page took to write, before the next one


class FoldProgressBar(lightning.pytorch.callbacks.ProgressBar):
    """Progress of a fold's training on stderr: a bar on a terminal, elsewhere a line an epoch.

    Parameters
    ----------
    description
        Text at the left of the bar.
    metric
        The validation metric that it shows.

    Examples
    --------
    >>> from dawnchorus.metrics import MACRO_ROC_AUC
    >>> bar = FoldProgressBar("Fold 0", MACRO_ROC_AUC)
    >>> bar.disable()  # as Lightning does in all processes but the first
    """

    def __init__(self, description: str, metric: Metric) -> None:
        super().__init__()
        self._metric = metric
        self._description = description
        self._console = progress_console()
        self._is_shown = True
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}"),
            TextColumn("{task.fields[scores]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def disable(self) -> None:
        """Show nothing; Lightning calls this on all processes but the first."""
        self._progress.disable, self._is_shown = True, False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the bar, at the step where a resumed run goes on."""
        self._progress.start()
        self._started, self._n_done_before = time.monotonic(), trainer.current_epoch
        self._task = self._progress.add_task(
            self._description,
            total=int(trainer.estimated_stepping_batches),
            completed=trainer.global_step,
            epoch=_epoch(trainer),
            scores="",
        )

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Advance the bar by a step."""
        if trainer.global_step % _REFRESH_STEPS == 0 or trainer.is_last_batch:
            self._progress.update(self._task, completed=trainer.global_step, epoch=_epoch(trainer))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the epoch's loss and score."""
        metrics, metric = trainer.callback_metrics, self._metric
        shown = (("train_loss", "loss", ".3f"), (metric.log_name, metric.heading, metric.format))
        scores = [f"{head} {float(metrics[name]):{how}}" for name, head, how in shown if name in metrics]
        self._progress.update(self._task, scores="  ".join(scores))
        if self._is_shown and not self._console.is_terminal:
            self._console.print(
                ", ".join([f"{self._description}: epoch {_epoch(trainer)}", *scores, self._left(trainer)]),
                soft_wrap=True,
                highlight=False,
            )

    def _left(self, trainer: lightning.Trainer) -> str:
        """Return the time that the fold still takes at most, from the epochs of this process."""
        n_done, max_epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        mean_s = (time.monotonic() - self._started) / (n_done - self._n_done_before)
        return f"{duration_text(mean_s * max(max_epochs - n_done, 0))} left"

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the bar."""
        self._progress.stop()

    def on_exception(self, *args: Any) -> None:
        """Close the bar before an error is printed."""
        self._progress.stop()


def _epoch(trainer: lightning.Trainer) -> str:
    return f"{trainer.current_epoch + 1}/{trainer.max_epochs}"


class PageRenewal(Callback):
    """Callback that writes the page of the run anew after an epoch.

    Not after every one where epochs are short: at least 5 s apart, and at most a fiftieth of the time.

    Parameters
    ----------
    run
        The run.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> PageRenewal(Run.open("logdirs/tiny")).run.path.name
    'tiny'
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._next = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the page, now that the epoch before this one is in the log."""
        if not trainer.is_global_zero or trainer.current_epoch == 0 or time.monotonic() < self._next:
            return
        started = time.monotonic()
        write_run_page(self.run, with_recordings=False)
        ended = time.monotonic()
        self._next = ended + max(_PAGE_EVERY_S, _PAGE_REST * (ended - started))


class ThroughputMeter(Callback):
    """Callback that logs for each epoch the learning rate, ``clips_per_s`` and ``loader_wait_share``.

    Clips a second are those of all devices, from the first batch of an epoch to its last, without validation.
    ``loader_wait_share`` is a fraction of that time. A GPU works on while its process waits for the loader;
    only the time in which it is idle counts as waiting, the copy of the batch to it included.

    Parameters
    ----------
    loader
        The training loader.

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
        """Reset the counts."""
        self._started = self._ended = time.perf_counter()
        self._n_clips = 0
        self._waits_s: list[float] = []
        self._events: list[torch.cuda.Event] = []  # a GPU's: the end of a step, the start of the next, ...

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Record the time that the batch was waited for."""
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
        """Log the learning rate, the throughput and the fraction of waiting."""
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


def make_callbacks(given: Sequence[Any], *, where: str | None = None) -> list[Callback]:
    """Return the callbacks of a config, new ones of classes and copies of objects.

    Raises
    ------
    ConfigError
        One cannot be imported or made, or is no callback of Lightning.

    Examples
    --------
    >>> [type(each).__name__ for each in make_callbacks(["lightning.pytorch.callbacks:TQDMProgressBar"])]
    ['TQDMProgressBar']
    """
    made = []
    for index, each in enumerate(given):
        key = f"{where}: callbacks.{index}" if where else f"callbacks.{index}"
        found = CALLBACKS.find(each, where=key)
        callback = copy.deepcopy(found) if isinstance(found, Callback) else made_part(found, {}, where=key)
        if not isinstance(callback, Callback):
            raise ConfigError(f"{key} is {each!r}; it must be a lightning.pytorch.callbacks.Callback")
        made.append(callback)
    return made


DEBUG_STEPS = 2


def make_trainer(
    config: TrainConfig, run: Run, fold: int, callbacks: Sequence[Callback], loader: ClipLoader
) -> lightning.Trainer:
    """Return Lightning's trainer for a fold.

    Parameters
    ----------
    config, run, fold
        The experiment, its run, and the fold to train.
    callbacks
        Callbacks in addition to those of the config.
    loader
        The training loader, whose throughput is logged.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.fold_training import FoldTraining
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> prepared = prepare_run(config)
    >>> loader, _ = FoldTraining(config, prepared, 0).loaders()
    >>> make_trainer(config, prepared.run, 0, [], loader).max_epochs
    1
    """
    args = config.train_function_args
    metrics = {metric.log_name: metric for metric in chosen_metrics(args.metrics, args.main_metric)}
    shown = metrics.get(args.main_metric) or next(iter(metrics.values()))
    bar = FoldProgressBar(f"Fold {fold}", shown)
    chosen: list[Callback] = [*callbacks, ThroughputMeter(loader), bar, PageRenewal(run)]
    if args.ema_decay is not None:
        chosen.insert(0, AverageOfSteps(args.ema_decay))
    if args.early_stopping_epochs is not None:
        chosen.append(PatientStopping(args))
    chosen.extend(make_callbacks(args.callbacks, where=config.exp_name))
    chosen.append(LastCheckpoint(run.checkpoints_dir(fold)))
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return lightning.Trainer(
        max_epochs=args.n_epochs if not args.debug else 1,
        limit_train_batches=DEBUG_STEPS if args.debug else 1.0,
        accelerator=args.accelerator,
        devices=args.devices,
        num_nodes=args.num_nodes,
        strategy="ddp" if args.n_devices > 1 else "auto",
        use_distributed_sampler=False,  # our samplers split the clips among processes
        precision=args.precision_mode,
        deterministic=args.deterministic or None,
        accumulate_grad_batches=args.accumulate_batches,
        gradient_clip_val=args.clip_gradient_norm,
        logger=make_loggers(args, run.fold_dir(fold)),
        callbacks=chosen,
        plugins=[SafetensorsIO(run.card()), *([TimmSyncBatchNorm()] if args.sync_batchnorm else [])],
        num_sanity_val_steps=0,
        enable_model_summary=False,
        log_every_n_steps=10,
    )


class TimmSyncBatchNorm(TorchSyncBatchNorm):
    """Batch normalisation over all devices, for timm's layers too.

    Their normalisation layers include the activation, which PyTorch's own conversion silently drops.

    Examples
    --------
    >>> import torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    >>> type(TimmSyncBatchNorm().apply(network)[1]).__name__
    'SyncBatchNorm'
    """

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the network with normalisation over all devices."""
        return timm.layers.convert_sync_batchnorm(model)

    def revert(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the network unchanged: the layers have the same weights under the same names."""
        return model


@contextmanager
def without_advice() -> Iterator[None]:
    """Ignore Lightning's warnings on worker counts, logging intervals and the like, which the config sets.

    Examples
    --------
    >>> import warnings
    >>> with without_advice():
    ...     warnings.warn("the dataloader does not have many workers", stacklevel=1)
    """
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*but have no `val_dataloader`.*",  # where all recordings are trained on
            ".*treespec, LeafSpec.*",
            ".*The number of training batches.*",
            ".*exists and is not empty.*",
            ".*non-leaf Tensor.*",  # from torch.compile while it traces
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
