"""Lightning's trainer, set up as a config asks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import lightning
import timm
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm

from dawnchorus.config import TrainConfig
from dawnchorus.datasets.loaders import ClipLoader
from dawnchorus.metrics import chosen_metrics
from dawnchorus.runs import Run
from dawnchorus.training.checkpoints import AverageOfSteps, LastCheckpoint, PatientStopping, SafetensorsIO
from dawnchorus.training.progress_bar import FoldProgressBar
from dawnchorus.training.run_loggers import make_loggers
from dawnchorus.training.throughput import ThroughputMeter

DEBUG_STEPS = 2


def make_trainer(
    config: TrainConfig, run: Run, fold: int, callbacks: Sequence[Callback], loader: ClipLoader
) -> lightning.Trainer:
    """Return Lightning's trainer for a fold.

    Parameters
    ----------
    config, run, fold
        What is trained.
    callbacks
        Callbacks beside those that the config asks for.
    loader
        The training loader, whose pace is logged.

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
    bar = FoldProgressBar(f"Fold {fold}", metrics[args.main_metric])
    chosen: list[Callback] = [*callbacks, ThroughputMeter(loader), bar]
    if args.ema_decay is not None:
        chosen.insert(0, AverageOfSteps(args.ema_decay))
    if args.early_stopping_epochs is not None:
        chosen.append(PatientStopping(args))
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
        use_distributed_sampler=False,  # our samplers share the clips out themselves
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

    They hold their activation, which PyTorch's own conversion would leave out without a word.

    Examples
    --------
    >>> import torch
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    >>> type(TimmSyncBatchNorm().apply(network)[1]).__name__
    'SyncBatchNorm'
    """

    def apply(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the network with normalisations that look at all devices."""
        return timm.layers.convert_sync_batchnorm(model)

    def revert(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the network as it is: the layers have the same weights under the same names."""
        return model


@contextmanager
def without_advice() -> Iterator[None]:
    """Ignore advice on worker counts and logging intervals, which the config has decided, and the like.

    Examples
    --------
    >>> import warnings
    >>> with without_advice():
    ...     warnings.warn("the dataloader does not have many workers", stacklevel=1)
    """
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*treespec, LeafSpec.*",
            ".*The number of training batches.*",
            ".*exists and is not empty.*",
            ".*non-leaf Tensor.*",  # what torch.compile looks at while it traces
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
