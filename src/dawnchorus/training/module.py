"""The Lightning module: one training step, one validation epoch, one optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning
import numpy as np
import torch

from dawnchorus.augment.batch import ON_SPECTROGRAM, ON_WAVE, BatchAugmentations
from dawnchorus.config import OptimizerSettings, SchedulerSettings, TrainConfig
from dawnchorus.data.sampling import torch_seeds
from dawnchorus.errors import DataError
from dawnchorus.metrics import macro_roc_auc
from dawnchorus.training.losses import LOSSES


class WaveClassifierModule(lightning.LightningModule):
    """A network in training.

    The network is the attribute ``model``, so that a checkpoint's names begin with ``model.`` as
    in the published ones.

    Parameters
    ----------
    model
        A network with ``frontend`` and ``forward_spectrogram``.
    config
        The experiment: loss, optimiser, schedule, batch augmentations, seed.
    fold
        Fold that is left out; part of the random streams.
    val_targets
        Targets of the validation recordings, shape (n_recordings, n_classes).
    """

    def __init__(
        self, model: torch.nn.Module, config: TrainConfig, *, fold: int, val_targets: np.ndarray
    ) -> None:
        super().__init__()
        args = config.train_function_args
        self.model = model
        self.config = config
        self.fold = fold
        self.loss = LOSSES[args.loss]
        self.augment_wave = BatchAugmentations(args.batch_augmentations, ON_WAVE)
        self.augment_spectrogram = BatchAugmentations(args.batch_augmentations, ON_SPECTROGRAM)
        self.val_targets = val_targets
        self._val_outputs: list[tuple[np.ndarray, np.ndarray]] = []

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's own stream, so that a resumed run draws what an undisturbed one draws."""
        dropout_seed, augmentation_seed = torch_seeds(
            self.config.seed, self.fold, self.current_epoch, n_seeds=2
        )
        torch.manual_seed(dropout_seed)
        self._generator = torch.Generator(device=self.device).manual_seed(augmentation_seed)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_index: int) -> torch.Tensor:
        """Return the loss of one batch: wave (batch, n_samples), target (batch, n_classes)."""
        wave, target = batch
        with torch.no_grad():
            wave = self.augment_wave(wave, self._generator)
            logmel = self.augment_spectrogram(self.model.frontend(wave), self._generator)  # type: ignore[operator]
        output = self.model.forward_spectrogram(logmel)  # type: ignore[operator]
        loss = self.loss(output.clip_logits, target)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(wave))
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, ...], batch_index: int) -> None:
        """Keep the probabilities of a batch of windows."""
        wave, recording, _ = batch
        probabilities = self.model(wave).clip_probabilities
        self._val_outputs.append((recording.cpu().numpy(), probabilities.float().cpu().numpy()))

    def on_validation_epoch_end(self) -> None:
        """Log macro ROC-AUC of the maximum over each recording's windows."""
        best = np.zeros(self.val_targets.shape, dtype=np.float32)
        for recording, probabilities in self._val_outputs:
            np.maximum.at(best, recording, probabilities)
        self._val_outputs.clear()
        try:
            score = macro_roc_auc(self.val_targets, best)
        except DataError:
            if not self.config.train_function_args.debug:
                raise
            score = math.nan
        self.log("val_macro_roc_auc", score if not math.isnan(score) else 0.0)

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and the schedule stepped at every batch."""
        args = self.config.train_function_args
        optimizer = make_optimizer(self.model, args.optimizer)
        n_steps = int(self.trainer.estimated_stepping_batches)
        schedule = lr_multiplier(args.scheduler, lr=args.optimizer.lr, n_steps=n_steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def make_optimizer(model: torch.nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Return the optimiser of :mod:`torch.optim` that the settings name."""
    optimizer_class = getattr(torch.optim, settings.name)
    return optimizer_class(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)


def lr_multiplier(settings: SchedulerSettings, *, lr: float, n_steps: int) -> Callable[[int], float]:
    """Return the learning rate at a step, as a multiple of ``lr``.

    Cosine: ``floor + (1 − floor) · (1 + cos(π · step / n_steps)) / 2`` with ``floor = min_lr / lr``
    (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts). One-cycle rises
    linearly from the floor over the first ``warmup_share`` of the steps and then falls so.
    """
    floor = settings.min_lr / lr
    n_warmup = round(settings.warmup_share * n_steps) if settings.name == "one_cycle" else 0

    def multiplier(step: int) -> float:
        if settings.name == "constant":
            return 1.0
        if step < n_warmup:
            return floor + (1 - floor) * (step + 1) / n_warmup
        done = min((step - n_warmup) / max(n_steps - n_warmup, 1), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return multiplier
