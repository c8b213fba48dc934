"""One bar a fold: steps done, time left, the last loss and validation score."""

from __future__ import annotations

from typing import Any

import lightning
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dawnchorus.metrics import Metric
from dawnchorus.progress import progress_console

_REFRESH_STEPS = 4


class FoldProgressBar(lightning.pytorch.callbacks.ProgressBar):
    """Draws a fold's training on stderr, over all its epochs.

    Parameters
    ----------
    description
        What it says first.
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
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("epoch {task.fields[epoch]}"),
            TextColumn("{task.fields[scores]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=progress_console(),
        )

    def disable(self) -> None:
        """Lightning calls this on all processes but the first."""
        self._progress.disable = True

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the bar, at the step where a resumed run goes on."""
        self._progress.start()
        self._task = self._progress.add_task(
            self._description,
            total=int(trainer.estimated_stepping_batches),
            completed=trainer.global_step,
            epoch=_epoch(trainer),
            scores="",
        )

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any) -> None:
        """Move on."""
        if trainer.global_step % _REFRESH_STEPS == 0 or trainer.is_last_batch:
            self._progress.update(self._task, completed=trainer.global_step, epoch=_epoch(trainer))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the epoch's loss and score."""
        metrics, metric = trainer.callback_metrics, self._metric
        shown = (("train_loss", "loss", ".3f"), (metric.log_name, metric.heading, metric.format))
        scores = (f"{head} {float(metrics[name]):{how}}" for name, head, how in shown if name in metrics)
        self._progress.update(self._task, scores="  ".join(scores))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Close the bar."""
        self._progress.stop()

    def on_exception(self, *args: Any) -> None:
        """Close the bar before an error is printed."""
        self._progress.stop()


def _epoch(trainer: lightning.Trainer) -> str:
    return f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
