"""``lightning_training``: the folds of an experiment, one after the other, with PyTorch Lightning."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from dawnchorus.config import TrainConfig
from dawnchorus.data.loading import ClipLoader
from dawnchorus.data.sampling import ClipSampler, class_weights, torch_seeds
from dawnchorus.errors import ConfigError
from dawnchorus.files import write_text
from dawnchorus.inference.runs import Run
from dawnchorus.training.module import WaveClassifierModule
from dawnchorus.training.preparing import PreparedRun, new_model, prepare_run, train_dataset_config
from dawnchorus.training.progress_bar import FoldProgressBar

logger = logging.getLogger(__name__)

DEBUG_STEPS = 2


def lightning_training(
    config: TrainConfig, *, folds: Sequence[int] | None = None, config_file: Path | None = None
) -> Run:
    """Return the run with its folds trained.

    A finished fold is not trained again; one that was interrupted goes on after its last whole
    epoch and ends as if it had not been.

    Parameters
    ----------
    config
        The experiment.
    folds
        Folds to train; None trains all.
    config_file
        The Python file that the config was read from; a copy is kept in the run.

    Raises
    ------
    ConfigError
        A key is unknown or a fold does not exist.
    RunError
        The run directory belongs to another config.
    """
    prepared = prepare_run(config, config_file=config_file)
    for note in prepared.assignment.notes:
        logger.info(note)
    for fold in _chosen_folds(folds, prepared.assignment.n_folds):
        report = prepared.run.finished(fold)
        if report is None:
            report = train_fold(config, prepared, fold)
        logger.info(
            "Fold %d: best validation macro ROC-AUC %.4f (%s)",
            fold,
            report["val_macro_roc_auc"],
            report["best_checkpoint"],
        )
    return prepared.run


def train_fold(config: TrainConfig, prepared: PreparedRun, fold: int) -> dict[str, Any]:
    """Train on all folds but one, and return what ``finished.json`` then holds."""
    started = time.perf_counter()
    args = config.train_function_args
    assignment = prepared.assignment
    train_rows = prepared.recordings[assignment.training_rows(fold)].reset_index(drop=True)
    val_rows = prepared.recordings[assignment.validation_rows(fold)].reset_index(drop=True)
    train_set = args.train_dataset_class(
        train_rows, prepared.labels, train_dataset_config(config), seed=config.seed, fold=fold
    )
    val_set = args.val_dataset_class(val_rows, prepared.labels, args.val_dataset_config)
    sampler = ClipSampler(
        class_weights(train_set.item_labels, args.class_balance, repeat_rare_to=args.repeat_rare_to),
        n_draws=args.clips_per_epoch or len(train_set),
        seed=config.seed,
        fold=fold,
    )
    torch.manual_seed(*torch_seeds(config.seed, fold, n_seeds=1))
    module = WaveClassifierModule(
        new_model(config, len(prepared.labels)), config, fold=fold, val_targets=val_set.targets
    )
    trainer, checkpoints = _trainer(config, prepared.run, fold)
    last = prepared.run.checkpoints_dir(fold) / "last.ckpt"
    if last.is_file():
        # Lightning draws the first batch of a resumed run before it tells the sampler the epoch.
        sampler.set_epoch(_epochs_done(last))
    drop_last = len(sampler) > args.train_loader.batch_size
    train_loader = ClipLoader(train_set, args.train_loader, sampler=sampler, drop_last=drop_last)
    val_loader = ClipLoader(val_set, args.val_loader)
    with closing(train_loader), closing(val_loader), warnings.catch_warnings():
        _silence_lightning_advice()
        ckpt_path = last if last.is_file() else None
        trainer.fit(module, train_loader, val_loader, ckpt_path=ckpt_path, weights_only=True)
    for run_logger in trainer.loggers:
        if isinstance(run_logger, WandbLogger):
            run_logger.experiment.finish()  # otherwise the next fold would write into this one's
    report = {
        "best_checkpoint": Path(checkpoints.best_model_path).name,
        "val_macro_roc_auc": float(checkpoints.best_model_score),  # type: ignore[arg-type]
        "n_epochs": trainer.current_epoch,
        "seconds": round(time.perf_counter() - started, 1),
    }
    write_text(prepared.run.finished_file(fold), json.dumps(report, indent=2))
    return report


def _epochs_done(checkpoint: Path) -> int:
    return int(torch.load(checkpoint, weights_only=True, map_location="cpu", mmap=True)["epoch"]) + 1


def _chosen_folds(folds: Sequence[int] | None, n_folds: int) -> list[int]:
    if folds is None:
        return list(range(n_folds))
    for fold in folds:
        if not 0 <= fold < n_folds:
            raise ConfigError(f"fold {fold} does not exist; the run has the folds 0 to {n_folds - 1}")
    return list(folds)


def _trainer(config: TrainConfig, run: Run, fold: int) -> tuple[lightning.Trainer, ModelCheckpoint]:
    args = config.train_function_args
    checkpoints = ModelCheckpoint(
        dirpath=run.checkpoints_dir(fold),
        filename="{epoch:03d}-{val_macro_roc_auc:.4f}",
        auto_insert_metric_name=False,
        monitor=args.main_metric,
        mode="max",
        save_top_k=args.n_checkpoints,
        save_last=True,
        enable_version_counter=False,  # an epoch that is trained again replaces its checkpoint
        # Not after validation, which is inside the epoch: a run resumed there would begin it again.
        save_on_train_epoch_end=True,
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = lightning.Trainer(
        max_epochs=args.n_epochs if not args.debug else 1,
        limit_train_batches=DEBUG_STEPS if args.debug else 1.0,
        accelerator=args.accelerator,
        devices=1,
        precision=args.precision_mode,
        logger=_loggers(run, fold),
        callbacks=[checkpoints, FoldProgressBar(f"Fold {fold}")],
        num_sanity_val_steps=0,
        enable_model_summary=False,
        log_every_n_steps=10,
        gradient_clip_val=None,
    )
    return trainer, checkpoints


def _loggers(run: Run, fold: int) -> list[Logger]:
    """Return the CSV logger, and Weights & Biases where it is installed and not switched off."""
    import importlib.util
    import os

    loggers: list[Logger] = [CSVLogger(run.fold_dir(fold), name="logs")]
    if importlib.util.find_spec("wandb") and os.environ.get("WANDB_MODE", "disabled") != "disabled":
        offline = os.environ["WANDB_MODE"] == "offline"
        loggers.append(
            WandbLogger(
                project="dawnchorus", group=run.path.name, name=f"{run.path.name}-fold_{fold}",
                save_dir=run.fold_dir(fold), offline=offline,
            )
        )  # fmt: skip
    return loggers


def _silence_lightning_advice() -> None:
    """Ignore Lightning's advice on worker counts and logging intervals, which the config has decided."""
    for message in (
        ".*does not have many workers.*",
        ".*treespec, LeafSpec.*",
        ".*The number of training batches.*",
        ".*exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", message=message)
