"""Checkpoints of a fold: its best weights, the state to resume from, and averages of weights.

The best checkpoints hold weights alone; ``last.safetensors`` also holds optimiser, schedule, callbacks and
loops. All are safetensors files (:mod:`dawnchorus.models.checkpoint_file`) and none can run code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor

from dawnchorus.config import TrainFunctionArgs, parsed_json, validate
from dawnchorus.errors import RunError, WeightsError
from dawnchorus.files import inside
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import CARD_KEY, read_checkpoint, read_metadata, write_checkpoint

MODEL_PREFIX = "model."
"""Prefix of the network's tensors in the Lightning module, from its attribute ``model``."""

_BESIDE_MODEL = "beside_model"
"""Key in ``last.safetensors`` of the module's tensors outside the network: those of the loss."""

LAST = "last"
LAST_NAME = "last.safetensors"
AVERAGED_NAME = "averaged.safetensors"
METRICS = "metrics"
"""Key of the epoch's metrics in a checkpoint."""


class SafetensorsIO(CheckpointIO):
    """Input and output of Lightning's checkpoints as safetensors and JSON.

    Parameters
    ----------
    card
        Model card that is written into each of them.

    Examples
    --------
    >>> import torch
    >>> from dawnchorus.runs import Run
    >>> checkpoints = SafetensorsIO(Run.open("logdirs/tiny").card())
    >>> checkpoints.load_checkpoint("logdirs/tiny/fold_0/checkpoints/last.safetensors")["epoch"]
    0
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the weights of a checkpoint; the file named ``last`` also has everything else."""
        path = Path(path)
        state = {name: value for name, value in checkpoint.items() if name != "state_dict"}
        tensors = checkpoint["state_dict"]
        weights = {
            name.removeprefix(MODEL_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(MODEL_PREFIX)
        }
        beside = {name: tensor for name, tensor in tensors.items() if not name.startswith(MODEL_PREFIX)}
        if beside:
            state[_BESIDE_MODEL] = beside
        metadata = {
            CARD_KEY: self.card.to_json(),
            "epoch": str(checkpoint["epoch"]),
            METRICS: json.dumps(checkpoint.get(METRICS, {})),
        }
        write_checkpoint(path, weights, state=state if path.stem == LAST else None, metadata=metadata)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return a checkpoint in Lightning's form.

        Raises
        ------
        RunError
            The file is damaged, or holds weights alone.
        """
        path = Path(path)
        try:
            weights, state, _ = read_checkpoint(path)
        except WeightsError as error:
            raise RunError(f"{error}; delete it, and the fold is trained from its start") from error
        if state is None:
            raise RunError(f"{path} holds weights alone; delete it, and the fold is trained from its start")
        beside = state.pop(_BESIDE_MODEL, {}) if isinstance(state, dict) else None
        if not isinstance(beside, dict):
            raise RunError(f"{path} holds no state of a training; delete it, and the fold is trained again")
        named = {MODEL_PREFIX + name: tensor for name, tensor in weights.items()}
        return {**state, "state_dict": {**named, **beside}}

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint that is no longer among the best."""
        Path(path).unlink(missing_ok=True)


class _MovableCheckpoint(ModelCheckpoint):
    """A checkpoint callback that finds its files again in a run that was moved."""

    FILE_EXTENSION = ".safetensors"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, with its paths changed to the folder where the run lies now."""
        folder = Path(str(self.dirpath))

        def here(path: str) -> str:
            return str(inside(folder, Path(path).name, named_in=folder / LAST_NAME)) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})


class BestCheckpoints(_MovableCheckpoint):
    """The checkpoint callback that keeps the best epochs by the validation metric.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.config import load_train_config
    >>> best = BestCheckpoints(Path("checkpoints"), load_train_config("train.py").train_function_args)
    >>> best.monitor, best.ranked()
    ('val_macro_roc_auc', [])
    """

    def __init__(self, folder: Path, args: TrainFunctionArgs) -> None:
        super().__init__(
            dirpath=folder,
            filename=f"{{epoch:03d}}-{{{args.main_metric}:.4f}}",
            auto_insert_metric_name=False,
            monitor=args.main_metric,
            mode=args.main_mode,
            save_top_k=args.n_checkpoints,
            enable_version_counter=False,  # an epoch that is trained again replaces its checkpoint
            save_on_train_epoch_end=True,
        )

    def ranked(self) -> list[Path]:
        """Return the checkpoints that are kept, the best first."""
        return [Path(path) for path in sorted(self.best_k_models, key=self._score, reverse=True)]

    def _score(self, path: str) -> tuple[float, bool]:
        score = float(self.best_k_models[path])
        return score if self.mode == "max" else -score, path == self.best_model_path


class LastCheckpoint(_MovableCheckpoint):
    """The checkpoint callback that keeps the state to resume from after the last whole epoch.

    Examples
    --------
    >>> from pathlib import Path
    >>> LastCheckpoint(Path("checkpoints")).filename
    'last'
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            dirpath=folder,
            filename=LAST,
            enable_version_counter=False,
            # Not after validation, which is inside the epoch: a run resumed there would repeat the epoch.
            save_on_train_epoch_end=True,
        )


class PatientStopping(EarlyStopping):
    """Early stopping of a fold that no longer improves, also after it was resumed.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> args = load_train_config("train.py").train_function_args
    >>> PatientStopping(args.model_copy(update={"early_stopping_epochs": 3})).patience
    3
    """

    def __init__(self, args: TrainFunctionArgs) -> None:
        super().__init__(
            args.main_metric,
            mode=args.main_mode,
            patience=args.early_stopping_epochs or 0,
            check_on_train_epoch_end=True,
            check_finite=False,  # non-finite values raise NotFiniteError
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once where the fold had already been stopped before it was interrupted."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class AverageOfSteps(EMAWeightAveraging):
    """The exponential moving average of the weights, which is validated and saved.

    Examples
    --------
    >>> from lightning.pytorch.callbacks import EMAWeightAveraging
    >>> isinstance(AverageOfSteps(decay=0.999), EMAWeightAveraging)
    True
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)


def epochs_done(last: Path) -> int:
    """Return the number of epochs that a ``last.safetensors`` was trained for.

    Examples
    --------
    >>> from pathlib import Path
    >>> epochs_done(Path("logdirs/tiny/fold_0/checkpoints/last.safetensors"))
    1
    """
    try:
        return _epoch_of(last, read_metadata(last)) + 1
    except WeightsError as error:
        raise RunError(f"{error}; delete it to train the fold from its start") from error


def _epoch_of(path: Path, metadata: Mapping[str, str]) -> int:
    found = {"epoch": metadata.get("epoch")}
    return validate(dict[str, int], found, where=f"{path}, header", error=WeightsError)["epoch"]


def epoch_metrics(checkpoint: Path) -> dict[str, float]:
    """Return the metrics of the epoch after which a checkpoint was written, and ``epoch``.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> metrics = epoch_metrics(Run.open("logdirs/tiny").best_checkpoint(0))
    >>> metrics["epoch"], "val_macro_roc_auc" in metrics
    (0, True)
    """
    metadata = read_metadata(checkpoint)
    where = f"{checkpoint}, {METRICS}"
    noted = parsed_json(metadata.get(METRICS, "{}"), dict[str, float], where=where, error=WeightsError)
    return {"epoch": _epoch_of(checkpoint, metadata), **noted}


def average_checkpoints(paths: Sequence[Path], out: Path, card: ModelCard) -> None:
    """Write the mean of the weights of checkpoints of one run (Izmailov et al. 2018,
    https://arxiv.org/abs/1803.05407, without their pass over the data for batch normalisation).

    Statistics of batch normalisation are averaged like weights; counters are the first checkpoint's.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.models.checkpoint_file import read_checkpoint
    >>> from dawnchorus.runs import Run
    >>> run = Run.open("logdirs/tiny")
    >>> paths = [run.best_checkpoint(0), run.best_checkpoint(1)]
    >>> average_checkpoints(paths, Path("mean.safetensors"), run.card())
    >>> len(read_checkpoint(Path("mean.safetensors")).weights) == len(run.load_model(0).state_dict())
    True
    """
    tensors = [read_checkpoint(path).weights for path in paths]
    averaged = {name: _mean([weights[name] for weights in tensors]) for name in tensors[0]}
    write_checkpoint(out, averaged, metadata={CARD_KEY: card.to_json()})


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
