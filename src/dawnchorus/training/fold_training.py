"""Training of one fold: its datasets, its trainer, and its results."""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback

from dawnchorus.config import LoaderSettings, TrainConfig
from dawnchorus.datasets.labelled_audio import composition_untold
from dawnchorus.datasets.loaders import ClipLoader
from dawnchorus.datasets.sampling import ClipSampler, class_weights, shared_out, torch_seeds
from dawnchorus.engines.torch_engine import TorchEngine
from dawnchorus.errors import ConfigError, TrainingError
from dawnchorus.files import replacing, write_text
from dawnchorus.metrics import chosen_metrics
from dawnchorus.models.weights import load_weights
from dawnchorus.predict.birds_inference import BirdsInference
from dawnchorus.runs import Run
from dawnchorus.training.checkpoints import (
    AVERAGED_NAME,
    LAST_NAME,
    BestCheckpoints,
    average_checkpoints,
    epoch_metrics,
    epochs_done,
)
from dawnchorus.training.module import WaveClassifierModule
from dawnchorus.training.networks import new_model
from dawnchorus.training.processes import Process, this_process
from dawnchorus.training.run_loggers import closing_loggers
from dawnchorus.training.run_preparation import PreparedRun, check_made_so, train_dataset_config
from dawnchorus.training.trainer import make_trainer, without_advice
from dawnchorus.training.training_failures import NotFiniteError, not_finite, told_in_a_sentence
from dawnchorus.training.validation import Validation
from dawnchorus.wording import first_few

logger = logging.getLogger(__name__)

PER_CLASS_NAME = "per_class.csv"
_SHOWN_RECORDINGS = 5


class FoldTraining:
    """A fold that is ready to be trained.

    Parameters
    ----------
    config
        The experiment.
    prepared
        Its run, recordings and folds.
    fold
        The fold that is left out.

    Raises
    ------
    DataError
        No class can be scored on the fold's validation recordings; where there are none at all, nothing is
        validated.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> fold = FoldTraining(config, prepare_run(config), 0)
    >>> len(fold.train_set), len(fold.val_set)
    (4, 4)
    """

    def __init__(self, config: TrainConfig, prepared: PreparedRun, fold: int) -> None:
        self.config, self.run, self.fold = config, prepared.run, fold
        self.labels = prepared.labels
        self.args = args = config.train_function_args
        self.process = this_process(args)
        self.last = self.run.checkpoints_dir(fold) / LAST_NAME
        assignment = prepared.assignment
        train_rows = prepared.recordings[assignment.training_rows(fold)].reset_index(drop=True)
        val_rows = prepared.recordings[assignment.validation_rows(fold)].reset_index(drop=True)
        self.filenames = list(train_rows["filename"])
        self.val_set: Any = None
        self.validation: Validation | None = None
        with composition_untold():
            if assignment.validated.any():
                self.val_set = args.val_dataset_class(val_rows, self.labels, args.val_dataset_config)
            self.train_set = args.train_dataset_class(
                train_rows, self.labels, train_dataset_config(config), seed=config.seed, fold=fold
            )
        if self.val_set is not None:
            n_windows = len(range(self.process.rank, len(self.val_set), self.process.n_processes))
            self.validation = Validation(
                self.val_set, self.labels, fold=fold, n_windows=n_windows, lenient=args.debug,
                metrics=chosen_metrics(args.metrics, args.main_metric, where=config.exp_name),
                main=args.main_metric,
            )  # fmt: skip
        if unknown := sorted(set(args.extra_recordings) - set(self.labels.labels)):
            raise ConfigError(
                f"{config.exp_name}: extra_recordings names {first_few(unknown)}, and the classes are "
                f"{first_few(self.labels.labels)}; take it out"
            )
        self.sampler = ClipSampler(
            class_weights(
                self.train_set.item_labels,
                args.class_balance,
                repeat_rare_to=args.repeat_rare_to,
                extra_recordings=args.extra_recordings,
            ),
            n_draws=args.n_clips_per_epoch(len(self.train_set)),
            seed=config.seed,
            fold=fold,
            rank=self.process.rank,
            n_processes=self.process.n_processes,
        )

    def loaders(self) -> tuple[ClipLoader, ClipLoader | None]:
        """Return the loaders of this process, for training and for validation if there is any."""
        mine, validated = (
            _divided_by_processes(settings, self.process)
            for settings in (self.args.train_loader, self.args.val_loader)
        )
        drop_last = len(self.sampler) > mine.batch_size
        training = ClipLoader(self.train_set, mine, sampler=self.sampler, drop_last=drop_last)
        if self.val_set is None:
            return training, None
        windows = shared_out(len(self.val_set), **self.process._asdict())
        return training, ClipLoader(self.val_set, validated, sampler=windows)

    def module(self) -> WaveClassifierModule:
        """Return the Lightning module, with starting weights unless it goes on from a checkpoint."""
        torch.manual_seed(*torch_seeds(self.config.seed, self.fold, n_seeds=1))
        is_new = not self.last.is_file()
        model = new_model(self.config, self.labels.labels, with_weights=is_new, fold=self.fold).model
        return WaveClassifierModule(model, self.config, fold=self.fold, validation=self.validation)

    def fit(self) -> BestCheckpoints:
        """Train to the end, from the last whole epoch where there is one; return the best checkpoints.

        Raises
        ------
        TrainingError
            It cannot go on: out of memory, disk full, a NaN loss.
        """
        best = BestCheckpoints(self.run.checkpoints_dir(self.fold), self.args)
        if self.last.is_file():
            # Lightning draws the first batch of a resumed run before it calls the sampler's set_epoch.
            self.sampler.set_epoch(epochs_done(self.last))
        train_loader, val_loader = self.loaders()
        with (
            closing(train_loader),
            closing(val_loader) if val_loader is not None else nullcontext(),
            told_in_a_sentence(self.args, fold=self.fold, folder=self.run.fold_dir(self.fold)),
            without_advice(),
        ):
            callbacks: list[Callback] = []
            if self.validation is not None:
                callbacks = [best, PerClassTable(best, self.validation, self.per_class_file)]
            trainer = make_trainer(self.config, self.run, self.fold, callbacks, train_loader)
            try:
                with closing_loggers(trainer.loggers):
                    trainer.fit(
                        self.module(), train_loader, val_loader,
                        ckpt_path=self.last if self.last.is_file() else None, weights_only=True,
                    )  # fmt: skip
            except NotFiniteError as error:
                raise self._not_finite(error) from error
        return best

    @property
    def per_class_file(self) -> Path:
        """File of the scores of each class at the best epoch."""
        return self.run.fold_dir(self.fold) / PER_CLASS_NAME

    def _not_finite(self, error: NotFiniteError) -> TrainingError:
        names: list[str] = []
        if error.batch is not None and hasattr(self.train_set, "items"):
            size = self.args.train_loader.batch_size
            draws = self.sampler.draws_of(error.epoch)[error.batch * size : (error.batch + 1) * size]
            rows = [self.train_set.items[draw.item][0] for draw in draws]
            names = [self.filenames[row] for row in dict.fromkeys(rows)]
            names[_SHOWN_RECORDINGS:] = ["…"] if len(names) > _SHOWN_RECORDINGS else []
        return not_finite(error, fold=self.fold, recordings=names, last=self.last, args=self.args)

    def averaged(self, best: BestCheckpoints) -> tuple[str, dict[str, float]]:
        """Write the mean of the best checkpoints; return its file name and its scores."""
        assert self.validation is not None
        card = self.run.card()
        out = self.run.checkpoints_dir(self.fold) / AVERAGED_NAME
        with told_in_a_sentence(self.args, fold=self.fold, folder=self.run.fold_dir(self.fold)):
            average_checkpoints(best.ranked()[: self.args.average_best], out, card)
            scores = score_checkpoint(self.run, self.config, self.fold, out, self.val_set, self.validation)
        return out.name, scores


def score_checkpoint(
    run: Run, config: TrainConfig, fold: int, checkpoint: Path, val_set: Any, validation: Validation
) -> dict[str, float]:
    """Return the scores of a checkpoint on a fold's validation windows, and write those of each class.

    Metrics that are not defined are left out.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> fold = FoldTraining(config, prepare_run(config), 0)
    >>> best = Path(fold.fit().best_model_path)
    >>> list(score_checkpoint(fold.run, config, 0, best, fold.val_set, fold.validation))
    ['val_macro_roc_auc', 'val_cmap']
    """
    card = run.card()
    model = new_model(config, card.labels, with_weights=False).model
    load_weights(model, checkpoint)
    engine = TorchEngine([model], card, clips_per_request=config.train_function_args.val_loader.batch_size)
    description = f"Fold {fold}, {checkpoint.stem}"
    scores = validation.score(BirdsInference(engine).predict_dataset(val_set, description=description))
    write_per_class(run.fold_dir(fold) / PER_CLASS_NAME, validation)
    return {name: value for name, value in scores.items() if not math.isnan(value)}


def train_fold(config: TrainConfig, prepared: PreparedRun, fold: int) -> dict[str, Any] | None:
    """Train on all folds but one, and return the content of ``finished.json``.

    Only the first process of a data-parallel training writes and returns it; the others return None.

    Parameters
    ----------
    config
        The experiment.
    prepared
        Its run, recordings and folds.
    fold
        The fold that is left out.

    Raises
    ------
    DataError
        No class can be scored on the fold's validation recordings.
    RunError
        The run on disk was replaced by another one meanwhile.
    TrainingError
        The training cannot go on: out of memory, disk full, a NaN loss.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> report = train_fold(config, prepare_run(config), 0)
    >>> report["n_epochs"], 0 <= report["val_macro_roc_auc"] <= 1
    (1, True)
    """
    started = time.perf_counter()
    training = FoldTraining(config, prepared, fold)
    best = training.fit()
    if training.process.rank > 0:
        return None
    validation = training.validation
    best_path = training.last if validation is None else Path(best.best_model_path)
    metrics = epoch_metrics(best_path)
    kept = [] if validation is None else [metric.log_name for metric in validation.metrics] + ["val_loss"]
    report = {
        "best_checkpoint": best_path.name,
        **{name: metrics[name] for name in kept if name in metrics},
        "best_epoch": metrics["epoch"],
        "n_epochs": epochs_done(training.last),
        "seconds": round(time.perf_counter() - started, 1),
    }
    if config.train_function_args.average_best:
        name, scores = training.averaged(best)
        report |= {
            "best_checkpoint": name,
            "best_single": report[config.train_function_args.main_metric],
            **scores,
        }
        report.pop("val_loss", None)
    check_made_so(prepared)  # the weights must be of the config that lies beside them
    write_text(prepared.run.finished_file(fold), json.dumps(report, indent=2))
    return report


class PerClassTable(Callback):
    """Callback that writes the scores of each class whenever an epoch is the best so far.

    Parameters
    ----------
    best
        Callback with the best score before this epoch.
    validation
        Scores of the epoch.
    path
        CSV file to write.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.checkpoints import BestCheckpoints
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> fold = FoldTraining(config, prepare_run(config), 0)
    >>> best = BestCheckpoints(Path("checkpoints"), config.train_function_args)
    >>> PerClassTable(best, fold.validation, Path("per_class.csv")).path.name
    'per_class.csv'
    """

    def __init__(self, best: BestCheckpoints, validation: Validation, path: Path) -> None:
        self.best, self.validation, self.path = best, validation, path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the table; checkpoints are saved after this."""
        before, now = self.best.best_model_score, trainer.callback_metrics[str(self.best.monitor)]
        if before is not None:
            before = before.to(now.device)
        better = before is None or (now > before if self.best.mode == "max" else now < before)
        if trainer.is_global_zero and better:
            write_per_class(self.path, self.validation)


def write_per_class(path: Path, validation: Validation) -> None:
    """Write the scores of each class: label, n_positive, roc_auc, average_precision.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> from dawnchorus.training.run_preparation import prepare_run
    >>> config = load_train_config("train.py")
    >>> validation = FoldTraining(config, prepare_run(config), 0).validation
    >>> _ = validation.score(validation.targets)  # the truth itself
    >>> write_per_class(Path("per_class.csv"), validation)
    >>> print(Path("per_class.csv").read_text())
    label,n_positive,roc_auc,average_precision
    owl,2,1.0,1.0
    wren,2,1.0,1.0
    """
    with replacing(path) as temporary:
        pd.DataFrame(validation.per_class).to_csv(temporary, index=False)


def _divided_by_processes(settings: LoaderSettings, process: Process) -> LoaderSettings:
    size = max(settings.batch_size // process.n_processes, 1)
    return settings.model_copy(update={"batch_size": size})
