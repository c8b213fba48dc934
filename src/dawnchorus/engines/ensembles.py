"""Ensembles by the paths and weights of their models, opened together or fold by fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dawnchorus.config import TrainConfig
from dawnchorus.engines import Engine, EngineName, open_engine
from dawnchorus.engines.calibrations import calibrations_of, with_calibration
from dawnchorus.engines.combined import CombinedEngine, check_exponent, combined_card
from dawnchorus.engines.opening import holds_model, is_run
from dawnchorus.errors import ModelError, RunError
from dawnchorus.files import mend
from dawnchorus.models.card import ModelCard
from dawnchorus.runs import Run, open_run


class WeightedModel(NamedTuple):
    """A run, an exported bundle or a model file, and its weight in an ensemble.

    Attributes
    ----------
    path
        As for :func:`dawnchorus.engines.open_engine`; a training config (``.py``) means its run.
    weight
        Above 0.
    config
        The training config of a run directory with parts of one's own.

    Examples
    --------
    >>> from pathlib import Path
    >>> WeightedModel(Path("model"), weight=2.0).weight
    2.0
    """

    path: Path
    weight: float = 1.0
    config: Path | TrainConfig | None = None

    def is_run(self) -> bool:
        """Return whether it is a run, by its directory or its training config."""
        return self.path.suffix == ".py" or is_run(self.path)

    def open_run(self) -> Run:
        """Return the run, as :func:`dawnchorus.runs.open_run` does, with its errors."""
        return open_run(self.path, config=self.config)


def models_in(path: Path) -> list[Path]:
    """Return the models in the subfolders of a folder, by name, or the path itself where it is one model.

    Raises
    ------
    RunError
        A subfolder beside models holds none, so that a model missing from an ensemble is noticed.

    Examples
    --------
    >>> from pathlib import Path
    >>> [path.name for path in models_in(Path("model"))]
    ['model']
    """
    if not path.exists():
        mend(path.parent)  # a bundle that was killed while it was moved into place
    if holds_model(path) or not path.is_dir():
        return [path]
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    models = [folder for folder in folders if holds_model(folder)]
    if models and (empty := [folder for folder in folders if folder not in models]):
        raise RunError(
            f"{empty[0]} holds no model, and {models[0]} beside it does; bundle the runs again, or remove it"
        )
    return models or [path]


def bundled_models(path: Path) -> list[Path]:
    """Return the exported models in the subfolders of a bundle; of any other path, the path itself.

    A folder of runs is none: runs of one folder are seldom one ensemble.

    Raises
    ------
    RunError
        As for :func:`models_in`.

    Examples
    --------
    >>> from pathlib import Path
    >>> [path.as_posix() for path in bundled_models(Path("logdirs"))]
    ['logdirs']
    """
    if path.is_dir() and any(is_run(entry) for entry in path.iterdir()):
        return [path]
    return models_in(path)


@dataclass(frozen=True)
class Ensemble:
    """Models that predict together.

    Attributes
    ----------
    models
        One or more.
    engine, n_threads, clips_per_request, folds
        As for :func:`dawnchorus.engines.open_engine`.
    exponent
        Of the mean over the models, as for :class:`.CombinedEngine`.

    Examples
    --------
    >>> from pathlib import Path
    >>> ensemble = Ensemble([WeightedModel(Path("model"))], n_threads=1)
    >>> ensemble.open().card.labels
    ('wren', 'robin', 'owl')
    """

    models: Sequence[WeightedModel]
    engine: EngineName | None = None
    n_threads: int | None = None
    clips_per_request: int | None = None
    folds: Sequence[int] | None = None
    exponent: float = 1.0

    def open(self, *, calibrated: bool = False) -> Engine:
        """Return the engine of all models, with all their folds.

        Parameters
        ----------
        calibrated
            Whether its scores become probabilities of presence: a single model gets its ``calibration``, and
            several are calibrated before their mean. Where a model has no calibration, the scores of all stay
            raw, and ``thresholds`` of the engine is None.

        Raises
        ------
        ModelError
            A calibration is damaged or of another model.
        """
        return self._combined(self.engine, self.folds, calibrated=calibrated)

    def open_each(self) -> list[Engine]:
        """Return the engines of the models one by one, with all their folds."""
        return self._engines(self.engine, self.folds)

    def open_fold(self, fold: int) -> Engine:
        """Return the engine of one fold's checkpoints alone, of each model."""
        return self._combined("torch", [fold])

    def common_folds(self) -> list[int]:
        """Return the folds that every model has finished.

        Raises
        ------
        RunError
            A model is no run, or they have finished different folds, or the engine is not ``torch``.
        """
        if self.engine not in (None, "torch"):
            raise RunError(
                f"the engine is {self.engine}, but out of fold each fold predicts alone, from its "
                "checkpoint; leave the engine out"
            )
        for model in self.models:
            if not model.is_run():
                raise RunError(
                    f"{model.path} is no run, but out of fold each fold predicts alone, from its checkpoint; "
                    "give run directories, or leave --out-of-fold out"
                )
        folds = [model.open_run().finished_folds() for model in self.models]
        for model, its_folds in zip(self.models, folds, strict=True):
            if its_folds != folds[0]:
                raise RunError(
                    f"{self.models[0].path} has finished the folds {folds[0]} and {model.path} {its_folds}; "
                    "out of fold, all runs need the same ones: train what is missing"
                )
        return folds[0]

    def card_of_runs(self) -> ModelCard:
        """Return the combined card of models of runs, without opening any network."""
        return combined_card([model.open_run().card() for model in self.models])

    def _combined(
        self, engine: EngineName | None, folds: Sequence[int] | None, *, calibrated: bool = False
    ) -> Engine:
        engines = self._engines(engine, folds)
        weights = [model.weight for model in self.models]
        if not 0 < weights[0] < float("inf"):
            raise ModelError(f"the weight of {self.models[0].path} is {weights[0]:g}; legal: above 0")
        check_exponent(self.exponent)
        if len(engines) == 1:
            return with_calibration(engines[0]) if calibrated else engines[0]
        calibrations = calibrations_of(engines) if calibrated else None
        return CombinedEngine(engines, weights, exponent=self.exponent, calibrations=calibrations)

    def _engines(self, engine: EngineName | None, folds: Sequence[int] | None) -> list[Engine]:
        return [
            open_engine(
                model.path,
                engine,
                config=model.config,
                folds=folds,
                n_threads=self.n_threads,
                clips_per_request=self.clips_per_request,
            )
            for model in self.models
        ]
