"""The settings of training: loaders, loss, optimiser, schedule, devices, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, field_validator, model_validator

from dawnchorus.config.registry import CALLBACKS, SCHEDULES
from dawnchorus.config.settings import Settings

VALIDATION_LOSS = "val_loss"
"""The main metric that is better the smaller it is."""


class LoaderSettings(Settings):
    """Settings of a data loader.

    Attributes
    ----------
    batch_size
        Clips in a batch. Several devices divide it among themselves, so that the same config trains the same
        way on any number of them.
    num_workers
        Worker processes of each device; 0 reads in the training process.

    Examples
    --------
    >>> LoaderSettings(batch_size=32)
    LoaderSettings(batch_size=32, num_workers=0)
    """

    batch_size: int = Field(default=64, ge=1)
    num_workers: int = Field(default=0, ge=0)


class OptimizerSettings(Settings):
    """The optimiser.

    Attributes
    ----------
    name
        ``AdamW``, ``RAdam``, ``Adam`` or ``SGD``, the import path of another (``torch.optim:NAdam``,
        ``my_package.optimizers:MyOptimizer``), or its class.
    lr
        Learning rate at its highest.
    weight_decay
        Fraction of each weight that is taken off at each step, times the learning rate. For an optimiser
        without weight decay the default is ignored, and a given fraction above 0 is refused.
    args
        Its further keyword arguments, such as ``momentum`` of ``SGD``.

    Examples
    --------
    >>> OptimizerSettings(name="SGD", lr=0.01)
    OptimizerSettings(name='SGD', lr=0.01, weight_decay=0.01, args={})
    """

    name: str | Any = "AdamW"
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    args: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _is_a_part(cls, value: Any) -> Any:
        return _part(value, "optimizer.name")


OWN_SCHEDULES = ("cosine", "one_cycle", "constant")


class SchedulerSettings(Settings):
    """The schedule of the learning rate, stepped with the optimiser.

    Attributes
    ----------
    name
        ``cosine`` falls from the optimiser's rate to ``min_lr``; ``one_cycle`` rises over the first
        ``warmup_share`` of the steps, its warm-up, and then falls along a cosine; ``constant`` keeps the
        rate. Or the import path of another (``torch.optim.lr_scheduler:StepLR``), or its class.
    min_lr
        Rate at the end of a cosine.
    warmup_share
        Fraction of the steps in which ``one_cycle`` rises.
    restarts
        How often a cosine begins anew at the optimiser's rate, after equal numbers of steps.
    args
        Keyword arguments of a schedule by import path or class.
    interval
        When such a schedule is stepped: after each ``step`` of the optimiser or each ``epoch``.

    Examples
    --------
    >>> SchedulerSettings(name="one_cycle").warmup_share
    0.2
    """

    name: str | Any = "cosine"
    min_lr: float = Field(default=1e-6, ge=0)
    warmup_share: float = Field(default=0.2, gt=0, lt=1)
    restarts: int = Field(default=0, ge=0)
    args: dict[str, Any] = Field(default_factory=dict)
    interval: Literal["step", "epoch"] = "step"

    @property
    def is_own(self) -> bool:
        """Whether it is one of dawnchorus's own schedules."""
        return isinstance(self.name, str) and self.name in OWN_SCHEDULES

    @model_validator(mode="after")
    def _is_known(self) -> SchedulerSettings:
        if isinstance(self.name, str) and not (self.is_own or ":" in self.name or self.name in SCHEDULES):
            raise ValueError(
                f"scheduler.name is {self.name!r}; legal are {', '.join(OWN_SCHEDULES)}, and the import path "
                "package.module:name of another"
            )
        if self.is_own and self.args:
            raise ValueError(f"scheduler.args is {self.args!r}, and {self.name} takes none; leave it out")
        return self


class BatchAugmentationSettings(Settings):
    """Augmentations that run on the whole batch, on its device. None of them by default.

    A key is a name or an import path, and its value a dict of keyword arguments; None switches it off. An
    object of your own stands under a key of any name; :mod:`dawnchorus.augment.batch_augmentations` shows how
    to write one.

    Examples
    --------
    >>> settings = BatchAugmentationSettings(spectrogram_masks={"max_mels": 20})
    >>> settings.switched_on()
    {'spectrogram_masks': {'max_mels': 20}}
    """

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _are_arguments_or_objects(self) -> BatchAugmentationSettings:
        for name, value in self:
            if value is not None and not isinstance(value, Mapping) and not callable(value):
                raise ValueError(
                    f"batch_augmentations.{name} is {value!r}; give a dict of its keyword arguments, None to "
                    "switch it off, or an object of your own"
                )
        return self

    def switched_on(self) -> dict[str, Any]:
        """Return the augmentations that are not None, in the order of the config."""
        return {name: value for name, value in self if value is not None}


class TrainFunctionArgs(Settings):
    """Settings of the training function, apart from the model and the data.

    Attributes
    ----------
    train_dataset_class, train_dataset_config, val_dataset_class, val_dataset_config
        Dataset classes, and the keys of their settings.
    train_loader, val_loader
        Settings of the loaders of clips.
    batch_augmentations
        Augmentations of a training batch on its device.
    clips_per_epoch
        Crops drawn in one epoch; None draws as many as there are training recordings, or boxes of those
        with labels in time.
    min_clips_per_epoch
        Smallest number of crops in an epoch where ``clips_per_epoch`` is None: fewer recordings are drawn
        several times, so that little data is not trained for a few steps only.
    class_balance
        ``none`` draws every recording equally often, ``inverse`` by 1 / (recordings of its class),
        ``inverse_sqrt`` by 1 / sqrt of it. Weighted draws are with replacement.
    repeat_rare_to
        Weigh a class with fewer recordings as if they were repeated to this number.
    extra_recordings
        Weigh a class as if it had so many recordings more, by label: ``{"turvul": 96}``.
    loss, loss_args
        A loss by name, an import path ``package.module:name``, a function of logits and targets, a class or
        an object; and the keyword arguments of the function or class. See :mod:`dawnchorus.training.losses`.
    optimizer, scheduler
        The optimiser, and its learning rate over the run.
    accumulate_batches
        Batches whose gradients are added up before the optimiser steps.
    clip_gradient_norm
        Largest Euclidean norm of all gradients together; longer ones are scaled down to it.
    ema_decay
        Fraction that an exponential moving average of the weights keeps at each step, such as 0.999. The
        average is validated and saved. None validates and saves the weights themselves.
    average_best
        Average the weights of this many of the best checkpoints of a fold into its model, at most
        ``n_checkpoints``; 0 takes the best alone.
    frozen_layers
        Beginnings of parameter names that are not trained, such as ``backbone`` or ``backbone.blocks.0``.
        Their batch normalisation keeps its statistics too.
    frozen_epochs
        Epochs after which the frozen layers are trained with the rest; None never trains them.
    early_stopping_epochs
        Stop a fold when this many epochs in a row did not improve ``main_metric``; None never does.
    n_epochs
        Epochs of a fold.
    metrics
        Validation metrics that are computed after every epoch: names, import paths, functions of ``y_true``
        and ``y_score``, or objects of :class:`dawnchorus.metrics.Metric`.
    main_metric
        Name of the metric that ranks checkpoints, larger is better; with or without ``val_``. A registered
        one that ``metrics`` lacks is computed with them. ``loss`` ranks by the validation loss, smaller is
        better.
    n_checkpoints
        How many of the best checkpoints of a fold are kept.
    precision_mode
        Lightning's precision.
    channels_last
        Keep spectrograms and weights with their channels innermost, which is faster on tensor cores.
    compile
        Compile backbone and head with ``torch.compile``.
    deterministic
        Restrict PyTorch to algorithms that give the same bits every time; it raises where it has none.
    accelerator, devices, num_nodes
        Lightning's accelerator (``auto`` takes a GPU where there is one), devices a machine, and machines.
        With more than one device in all, training is data-parallel (DDP): each device takes its part of
        every batch, and losses that do not weigh all clips equally weigh within a part.
    sync_batchnorm
        Batch normalisation over the clips of all devices, on GPUs; nothing changes on one.
    auto_batch
        Find the batch size that the device trains fastest with, and scale the learning rate.
    callbacks
        Callbacks of Lightning in addition to dawnchorus's: import paths, classes, or objects, of which each
        fold has a copy.
    loggers
        Loggers beside the CSV files: ``tensorboard``, ``wandb``.
    frozen_baseline
        Whether a logistic regression on frozen features of the starting weights, where these are a package's,
        is scored in the same folds after training.
    debug
        Train on a few recordings, two steps an epoch, from random weights: all stages in seconds.

    Examples
    --------
    >>> from dawnchorus import WaveAllFileDataset, WaveDataset
    >>> datasets = {"train_dataset_class": WaveDataset, "val_dataset_class": WaveAllFileDataset}
    >>> args = TrainFunctionArgs(**datasets, n_epochs=20)
    >>> args.n_epochs, args.loss, args.train_loader.batch_size
    (20, 'bce_focal', 64)
    """

    train_dataset_class: Any
    train_dataset_config: dict[str, Any] = Field(default_factory=dict)
    val_dataset_class: Any
    val_dataset_config: dict[str, Any] = Field(default_factory=dict)
    train_loader: LoaderSettings = LoaderSettings()
    val_loader: LoaderSettings = LoaderSettings()
    batch_augmentations: BatchAugmentationSettings = BatchAugmentationSettings()
    class_balance: Literal["none", "inverse", "inverse_sqrt"] = "none"
    repeat_rare_to: int = Field(default=0, ge=0)
    extra_recordings: dict[str, NonNegativeInt] = Field(default_factory=dict)
    clips_per_epoch: int | None = Field(default=None, ge=1)
    min_clips_per_epoch: int = Field(default=0, ge=0)
    loss: str | Any = "bce_focal"
    loss_args: dict[str, Any] = Field(default_factory=dict)
    optimizer: OptimizerSettings = OptimizerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    accumulate_batches: int = Field(default=1, ge=1)
    clip_gradient_norm: float | None = Field(default=None, gt=0)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    average_best: int = Field(default=0, ge=0)
    frozen_layers: tuple[str, ...] = ()
    frozen_epochs: int | None = Field(default=None, ge=1)
    early_stopping_epochs: int | None = Field(default=None, ge=1)
    n_epochs: int = Field(default=50, ge=1)
    metrics: tuple[str | Any, ...] = ("macro_roc_auc", "cmap")
    main_metric: str = "val_macro_roc_auc"
    n_checkpoints: int = Field(default=3, ge=1)
    precision_mode: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1)
    num_nodes: int = Field(default=1, ge=1)
    sync_batchnorm: bool = False
    auto_batch: bool = False
    callbacks: tuple[str | Any, ...] = ()
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    frozen_baseline: bool = True
    debug: bool = False

    @field_validator("loss")
    @classmethod
    def _is_a_loss(cls, value: Any) -> Any:
        return _part(value, "loss")

    @field_validator("metrics")
    @classmethod
    def _are_metrics(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(_part(value, f"metrics.{index}") for index, value in enumerate(values))

    @field_validator("callbacks")
    @classmethod
    def _are_callbacks(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        for index, value in enumerate(values):
            if isinstance(value, str) and ":" not in value and value not in CALLBACKS:
                raise ValueError(
                    f"callbacks.{index} is {value!r}; give an import path package.module:name, a class or an "
                    "object"
                )
        return values

    @field_validator("main_metric")
    @classmethod
    def _as_it_is_logged(cls, value: str) -> str:
        return value if value.startswith("val_") else f"val_{value}"

    @property
    def main_mode(self) -> Literal["min", "max"]:
        """Which value of the main metric is best."""
        return "min" if self.main_metric == VALIDATION_LOSS else "max"

    def n_clips_per_epoch(self, n_recordings: int) -> int:
        """Return the number of crops in an epoch of so many recordings, or boxes of those with some."""
        return self.clips_per_epoch or max(n_recordings, self.min_clips_per_epoch)

    @property
    def n_devices(self) -> int:
        """Number of devices of all machines together."""
        return self.devices * self.num_nodes

    @model_validator(mode="after")
    def _fits_together(self) -> TrainFunctionArgs:
        rules = (
            (
                self.average_best <= self.n_checkpoints,
                f"average_best is {self.average_best} and n_checkpoints {self.n_checkpoints}; only what is "
                "kept can be averaged: raise n_checkpoints",
            ),
            (
                self.average_best == 0 or self.main_metric != VALIDATION_LOSS,
                f"average_best is {self.average_best}, and an average of checkpoints has scores but no "
                "validation loss; name another main_metric",
            ),
            (
                self.frozen_epochs is None or bool(self.frozen_layers),
                f"frozen_epochs is {self.frozen_epochs} and frozen_layers names none; name some, or leave it "
                "out",
            ),
            (
                self.frozen_epochs is None or self.n_devices == 1,
                "frozen_epochs needs a single device, for data-parallel training fixes at its start what is "
                "trained; leave it out, or take devices 1",
            ),
            (
                self.train_loader.batch_size % self.n_devices == 0,
                f"train_loader.batch_size is {self.train_loader.batch_size}, which {self.n_devices} devices "
                "cannot share evenly; take a multiple",
            ),
            (
                not (self.auto_batch and self.num_nodes > 1),
                "auto_batch needs a single machine; find the batch size on one, and write it into the config",
            ),
        )
        for holds, message in rules:
            if not holds:
                raise ValueError(message)
        return self


def _part(value: Any, key: str) -> Any:
    """Return the value of a part unchanged if it may be one; it is looked up or imported by training."""
    if isinstance(value, str) or callable(value):
        return value
    raise ValueError(
        f"{key} is {value!r}; give a name, an import path package.module:name, a class, a function or an "
        "object"
    )
