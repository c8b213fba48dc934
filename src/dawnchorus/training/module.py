"""The Lightning module: training step, validation epoch and optimiser of a network."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch

from dawnchorus.augment.batch_augmentations import ON_SPECTROGRAM, ON_WAVE, BatchAugmentations
from dawnchorus.config import TrainConfig
from dawnchorus.datasets.sampling import torch_seeds
from dawnchorus.models.head import ModelOutput
from dawnchorus.training.checkpoints import METRICS
from dawnchorus.training.frozen_layers import frozen_layers
from dawnchorus.training.losses import make_loss
from dawnchorus.training.optimizer import make_optimizer, make_schedule
from dawnchorus.training.training_failures import NotFiniteError
from dawnchorus.training.validation import Validation


class PendingLoss(NamedTuple):
    """The loss of a batch, which a GPU may not have computed yet.

    Attributes
    ----------
    value
        Scalar on the CPU, not finite where the loss of any device is not.
    arrived
        Event after which a GPU has written it; None on a CPU.
    batch_index
        Index of the batch in the epoch.

    Examples
    --------
    >>> import torch
    >>> loss = PendingLoss.of(torch.tensor(0.7), batch_index=3, n_processes=1)
    >>> loss.check(epoch=0)
    """

    value: torch.Tensor
    arrived: torch.cuda.Event | None
    batch_index: int

    @classmethod
    def of(cls, loss: torch.Tensor, batch_index: int, n_processes: int) -> PendingLoss:
        """Return the loss while it is copied to the CPU, the largest over all devices."""
        if n_processes > 1:
            # A maximum keeps infinity, but may drop NaN.
            loss = torch.where(loss.isfinite(), loss.abs(), torch.inf)
            torch.distributed.all_reduce(loss, torch.distributed.ReduceOp.MAX)
        if loss.device.type != "cuda":
            return cls(loss, None, batch_index)
        value, arrived = loss.to("cpu", non_blocking=True), torch.cuda.Event()
        arrived.record()
        return cls(value, arrived, batch_index)

    def check(self, epoch: int) -> None:
        """Raise a NotFiniteError where the loss is not finite."""
        if self.arrived is not None:
            self.arrived.synchronize()
        if not torch.isfinite(self.value):
            raise NotFiniteError(epoch, self.batch_index, float(self.value))


class WaveClassifierModule(lightning.LightningModule):
    """A network in training.

    The network is the attribute ``model``, so that names in a checkpoint begin with ``model.`` as
    in the published ones.

    Parameters
    ----------
    model
        A network with ``frontend`` and ``forward_spectrogram``.
    config
        The experiment: loss, optimiser, schedule, batch augmentations, seed.
    fold
        Fold that is left out; part of the random streams.
    validation
        The validation recordings, and the predictions for them; None where nothing is validated.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.fold_training import FoldTraining
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> module = FoldTraining(config, prepare_run(config), 0).module()
    >>> type(module).__name__, type(module.model).__name__
    ('WaveClassifierModule', 'WaveCNNAttenClassifier')
    """

    def __init__(
        self, model: torch.nn.Module, config: TrainConfig, *, fold: int, validation: Validation | None
    ) -> None:
        super().__init__()
        args = config.train_function_args
        self.model: Any = model
        self.config = config
        self.fold = fold
        self.loss = make_loss(args.loss, args.loss_args, where=config.exp_name)
        self.augment_wave, self.augment_spectrogram = (
            BatchAugmentations(args.batch_augmentations, domain, where=config.exp_name)
            for domain in (ON_WAVE, ON_SPECTROGRAM)
        )
        self.validation: Any = validation
        self.frozen = frozen_layers(model, args.frozen_layers, n_epochs=args.frozen_epochs)
        self.frozen.begin(model)
        self._last_loss: PendingLoss | None = None
        self._memory_format = torch.channels_last if args.channels_last else torch.contiguous_format
        if args.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if args.compile:  # in place, so that names stay as they are
            for name, part in model.named_children():
                if name != "frontend":
                    part.compile()

    def on_train_epoch_start(self) -> None:
        """Seed the epoch's random streams, so that a resumed run has the draws of an uninterrupted one."""
        self.frozen.begin_epoch(self.model, self.current_epoch)
        # Dropout and augmentation of each device have a stream of their own.
        dropout_seed, augmentation_seed = torch_seeds(
            self.config.seed, self.fold, self.current_epoch, *self._stream_of_device(), n_seeds=2
        )
        torch.manual_seed(dropout_seed)
        self._generator = torch.Generator(device=self.device).manual_seed(augmentation_seed)

    def _stream_of_device(self) -> tuple[int, ...]:
        return (self.global_rank,) if self.global_rank > 0 else ()

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_index: int) -> torch.Tensor:
        """Return the loss of one batch: wave (batch, n_samples), target (batch, n_classes).

        Raises
        ------
        NotFiniteError
            The loss is NaN or infinite.
        """
        wave, target = batch
        output = self.model.forward_spectrogram(self.spectrogram(wave))
        loss = self.loss.of_output(output, target)
        self._check_finite(loss.detach(), batch_index)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(wave), sync_dist=True)
        return loss

    @torch.no_grad()
    def spectrogram(self, wave: torch.Tensor) -> torch.Tensor:
        """Return augmented log-mel spectrograms of waveforms, shape (batch, 1, n_mels, n_frames)."""
        wave = self.augment_wave(wave, self._generator)
        logmel = self.augment_spectrogram(self.model.frontend(wave), self._generator)
        return logmel.contiguous(memory_format=self._memory_format)

    def _check_finite(self, loss: torch.Tensor, batch_index: int) -> None:
        """Raise a NotFiniteError on all devices where the loss of any is not finite.

        On a GPU this checks the loss of the batch before, which has been copied to the CPU meanwhile, so as
        not to wait for the GPU.
        """
        before, self._last_loss = self._last_loss, PendingLoss.of(loss, batch_index, self.trainer.world_size)
        checked = self._last_loss if loss.device.type == "cpu" else before
        if checked is not None:
            checked.check(self.current_epoch)

    def on_validation_epoch_start(self) -> None:
        """Reset the validation loss, and check the loss of the epoch's last training batch.

        Raises
        ------
        NotFiniteError
            That loss is not finite.
        """
        self._val_loss = torch.zeros(2, device=self.device)  # sum over the windows, and their number
        self._check_last()

    def on_train_epoch_end(self) -> None:
        """Check the loss of the epoch's last batch, before its checkpoint, where no validation has done so.

        Raises
        ------
        NotFiniteError
            That loss is not finite.
        """
        self._check_last()

    def _check_last(self) -> None:
        last, self._last_loss = self._last_loss, None
        if last is not None:
            last.check(self.current_epoch)

    def validation_step(self, batch: tuple[torch.Tensor, ...], batch_index: int) -> None:
        """Add the probabilities of a batch of windows, computed in float32 as in inference."""
        wave, recording, start = batch
        with torch.autocast(wave.device.type, enabled=False):
            output = self.model(wave)
        rows, starts = recording.cpu().numpy(), start.cpu().numpy()
        self.validation.add(rows, output.clip_probabilities.float().cpu().numpy())
        n_counted = self.validation.n_counted(len(wave))
        if n_counted > 0:
            targets = self.validation.window_targets(rows[:n_counted], starts[:n_counted])
            target = torch.from_numpy(targets).to(wave.device)
            counted = (part if part is None else part[:n_counted] for part in output)
            loss = self.loss.of_output(ModelOutput._make(counted), target)
            self._val_loss += torch.stack([loss * n_counted, torch.full_like(loss, n_counted)])

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the maximum over each recording's windows.

        Raises
        ------
        NotFiniteError
            The network's probabilities are not finite.
        """
        best, several = self.validation.take(), self.trainer.world_size > 1
        if several:
            # NaN becomes infinite, which a maximum over devices keeps.
            gathered = torch.from_numpy(np.where(np.isfinite(best), best, best.dtype.type(np.inf))).to(
                self.device
            )
            torch.distributed.all_reduce(gathered, torch.distributed.ReduceOp.MAX)
            torch.distributed.all_reduce(self._val_loss)
            best = gathered.cpu().numpy()
        if not np.isfinite(best).all():
            raise NotFiniteError(self.current_epoch, None, float("nan"))
        scores = self.validation.score(best)
        self.log("val_loss", self._val_loss[0] / self._val_loss[1], sync_dist=several)
        for name, value in scores.items():
            self.log(name, value, sync_dist=several)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the epoch's metrics to its checkpoint."""
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        checkpoint[METRICS] = {name: value for name, value in metrics.items() if not math.isnan(value)}

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and the schedule stepped with it."""
        args = self.config.train_function_args
        trained = torch.nn.ModuleList([self.model, self.loss])
        optimizer = make_optimizer(trained, args.optimizer, where=self.config.exp_name)
        n_steps = int(self.trainer.estimated_stepping_batches)
        schedule = make_schedule(
            optimizer, args.scheduler, n_steps=n_steps, monitor=args.main_metric, where=self.config.exp_name
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}
