"""Experiments in Python: training on recordings, and score, export and prediction of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawnchorus import runs
from dawnchorus.config import TrainConfig, find_config, read_config_file, resolve_config, validate
from dawnchorus.config.changes import TABLE_BASE, changed, with_data
from dawnchorus.errors import ConfigError
from dawnchorus.files import read_failures
from dawnchorus.recordings.recordings_table import DatasetRoot, dataset_root
from dawnchorus.runs import Run

if TYPE_CHECKING:
    from dawnchorus.engines.opening import EngineName
    from dawnchorus.evaluate.out_of_fold import OutOfFold
    from dawnchorus.export.parity import Parity
    from dawnchorus.pipelines.run_calibration import Calibrated
    from dawnchorus.predict.model import Model

Experiment = TrainConfig | Mapping[str, Any] | str | Path
"""A whole config: an object, a ``CONFIG`` dict, or a ``.py`` file."""


@dataclass(frozen=True, repr=False)
class TrainedRun(Run):
    """A run, with score, export, calibration and model after training.

    Examples
    --------
    >>> run = open_run("logdirs/tiny")
    >>> run
    TrainedRun('logdirs/tiny': 2 labels, 2 of 2 folds, val_macro_roc_auc ...)
    >>> run.finished_folds(), run.left_out
    ([0, 1], [])
    """

    def __repr__(self) -> str:
        folds = [number for number in range(self._n_folds()) if self.finished(number)]
        metric = self.main_metric()
        scores = [self.score(fold) for fold in folds]
        score = f", {metric} {sum(scores) / len(scores):.3f} as mean of folds" if scores else ""
        return (
            f"TrainedRun({str(self.path)!r}: {len(self.card().labels)} labels, {len(folds)} of "
            f"{self._n_folds()} folds{score})"
        )

    @property
    def report_path(self) -> Path:
        """The page on the run, ``report.html``."""
        return self.path / "report.html"

    @property
    def left_out(self) -> list[str]:
        """Reasons why recordings were left out, a sentence each."""
        return [failure.reason for failure in read_failures(self.path)]

    def config(self) -> TrainConfig:
        """Return the config of the run, with the present paths of its recordings."""
        if self.experiment is None:
            return super().config()
        data = self.data()
        still_there = all(root.audio_dir.is_dir() for root in data)
        return self.experiment.model_copy(update={"data": data}) if still_there else self.experiment

    def model(self, engine: EngineName | None = None, **options: Any) -> Model:
        """Return the ensemble of the finished folds, ready to predict.

        Parameters
        ----------
        engine
            The engine; the fastest available if not given.
        **options
            Further options of :func:`dawnchorus.load_model`.
        """
        from dawnchorus.predict.model import load_model

        return load_model(self.path, engine, config=self.experiment, **options)

    def out_of_fold(self, *, folds: Sequence[int] | None = None, batch_size: int = 16) -> OutOfFold:
        """Return every recording as predicted by the fold that was not trained on it, and the score.

        Earlier predictions are read where they are still those of these folds.

        Raises
        ------
        RunError
            A fold is not finished, or recordings are gone.
        DataError
            No class can be scored without a leak.
        """
        from dawnchorus.evaluate.out_of_fold import saved_out_of_fold
        from dawnchorus.pipelines.run_evaluation import evaluate_run

        config = self.config()
        saved = saved_out_of_fold(self, config, folds=folds)
        return saved or evaluate_run(self, config, folds=folds, batch_size=batch_size)

    def export(
        self,
        *,
        folds: Sequence[int] | None = None,
        int8: bool = False,
        one_file: bool = False,
        onnx_fp16: bool = False,
        frames: bool = False,
        taxonomy: str | Path | None = None,
    ) -> list[Parity]:
        """Write the ensemble for ONNX Runtime and OpenVINO; return the difference of each from PyTorch.

        Parameters
        ----------
        folds
            Folds of the ensemble; None takes all that are finished.
        int8, one_file, onnx_fp16
            Whether to write it in 8 bits too, as one ONNX file, and as one with weights in fp16.
        frames
            Whether the exports give frame logits too.
        taxonomy
            Table with names of the classes for the model card.

        Raises
        ------
        DataError
            The taxonomy cannot be read, or knows none of the classes.
        ExportError
            An export differs from PyTorch by more than the tolerance, one file would exceed 2 GB, or frames
            are wanted of heads that have none.
        MissingExtraError
            8 bits are wanted and nncf is not installed.
        """
        from dawnchorus.export.ensemble_export import export_ensemble

        return export_ensemble(
            self,
            self.config(),
            folds=folds,
            int8=int8,
            one_file=one_file,
            onnx_fp16=onnx_fp16,
            frames=frames,
            taxonomy=None if taxonomy is None else Path(taxonomy),
        )

    def calibrate(self, *, precision: float = 0.9) -> Calibrated:
        """Return the lowest threshold of each class at a wanted precision, and write it for predictions.

        Raises
        ------
        DataError
            The precision is not in (0, 1], or no class can be scored without a leak.
        """
        from dawnchorus.pipelines.run_calibration import calibrate_run

        return calibrate_run(self, self.config(), precision=precision)

    def _n_folds(self) -> int:
        return int(self.folds()["fold"].max()) + 1


def train(
    data: DatasetRoot | Experiment,
    *,
    base: str | Path | Mapping[str, Any] = TABLE_BASE,
    labels: str | Path | Sequence[str] | None = None,
    exp_name: str | None = None,
    logdir: str | Path | None = None,
    audio_dir: str | Path | None = None,
    folds: int | Sequence[int] | None = None,
    **changes: Any,
) -> TrainedRun:
    """Return the run of an experiment, trained to its end; a run that was interrupted goes on.

    Its scores are then calibrated, as
    :func:`dawnchorus.pipelines.run_score_calibration.calibrate_after_training` does it.

    Parameters
    ----------
    data
        The recordings: a DataFrame with ``filename`` and ``primary_label``, such a table as a CSV file, a
        folder of species folders or with ``recordings.csv``, or keys of ``DataSettings``. Or a whole
        config, as an object, a ``CONFIG`` dict, or a ``.py`` file, which then has its own ``base``.
    base
        The config that the recordings are put into: the name of one that comes with dawnchorus
        (``dawnchorus configs`` lists them), a ``.py`` file, or a dict.
    labels
        The classes and their order, as a list or a file; those of the recordings if not given.
    exp_name
        Name of the run; that of the config if not given. The same call with the same name goes on with the
        run; for other recordings or settings it needs another name.
    logdir
        Folder of the runs; ``logdirs`` unless the config says otherwise.
    audio_dir
        Folder that the file names of a table are relative to; it replaces the ``data`` of a whole config.
        Without it, those of a DataFrame are relative to the working directory, and those of a CSV file to its
        folder.
    folds
        Folds to train; all if not given.
    **changes
        Keys of the config with other values. A key stands alone where only one section has it: ``seed``,
        ``n_epochs``, ``backbone``, ``n_folds``, ``lr``, ``mixup``, ``faulty``. ``batch_size`` and
        ``num_workers`` mean both loaders, and keys of the clip, such as ``segment_len``, both datasets.
        ``name`` is in several sections; write ``optimizer={"name": "SGD"}``. Dicts are merged, as configs
        are.

    Raises
    ------
    ConfigError
        A key is unknown, a value is not legal, or a fold does not exist.
    DataError
        The recordings cannot be trained on, or a fold cannot be scored.
    MissingExtraError
        The starting weights are in a package that is not installed.
    RunError
        The folder of the run holds a run of another config or other recordings.
    TrainingError
        The training cannot go on: no memory, no disk, a loss that is not a number.

    Examples
    --------
    >>> import dawnchorus as dc
    >>> tiny = {"n_folds": 2, "n_epochs": 1, "clips_per_epoch": 8, "segment_len": 1.0}
    >>> run = dc.train("recordings", base="smoke", exp_name="owls", **tiny)
    >>> run.finished_folds(), len(run.out_of_fold().predictions)
    ([0, 1], 8)
    """
    if isinstance(folds, Mapping):
        raise ConfigError(
            f"folds are the folds to train, such as [0, 2], and not {folds!r}; write n_folds=..."
        )
    values, config_file, name = _base_values(data, base)
    if not _is_experiment(data):
        values = {**values, "data": dataset_root(data, audio_dir=audio_dir)}
    elif audio_dir is not None:
        values = {**values, "data": {"audio_dir": audio_dir}}
    given = {"labels": labels, "exp_name": exp_name, "logdir": logdir}
    values = {"exp_name": name, **values, **{key: value for key, value in given.items() if value is not None}}
    config = validate(TrainConfig, changed(values, changes), where="dawnchorus.train")
    _check_packages(config)
    from dawnchorus.pipelines.frozen_baseline import baseline_after_training
    from dawnchorus.pipelines.run_score_calibration import calibrate_after_training
    from dawnchorus.training.processes import this_process

    chosen = [folds] if isinstance(folds, int) else folds
    run = config.train_function(config, folds=chosen, config_file=config_file)
    trained = TrainedRun(run.path, config)
    if this_process(config.train_function_args).rank == 0:
        baseline_after_training(trained, config)
        calibrate_after_training(trained, config)
    return trained


def open_run(source: Experiment, *, config: Experiment | None = None) -> TrainedRun:
    """Return a run that exists.

    Parameters
    ----------
    source
        Its folder, or the config that it was made with, which a run with parts of one's own needs: a ``.py``
        file, a ``CONFIG`` dict or a ``TrainConfig``.
    config
        The config of a folder that was moved or renamed, where the run has parts of one's own.

    Raises
    ------
    RunError
        There is no run, or the config is no longer the one that the run was made with.

    Examples
    --------
    >>> open_run("logdirs/owls")
    Traceback (most recent call last):
    dawnchorus.errors.RunError: logdirs/owls holds no run (it has no model_card.json); train it first with ...
    """
    if isinstance(source, Mapping):
        source = validate(TrainConfig, resolve_config(source), where="the config")
    if isinstance(config, Mapping):
        config = validate(TrainConfig, resolve_config(config), where="the config")
    run = runs.open_run(source, config=config)
    return TrainedRun(run.path, run.experiment)


def whole_config(source: Experiment, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """Return a whole config as a checked object, with changes laid over it.

    Parameters
    ----------
    source
        An object, a ``CONFIG`` dict, a ``.py`` file, or the name of a config.
    changes
        Keys of the config with other values, as in :func:`train`.

    Raises
    ------
    ConfigError
        A key is unknown or a value is not legal.

    Examples
    --------
    >>> whole_config("train.py", {"n_epochs": 3}).train_function_args.n_epochs
    3
    """
    if isinstance(source, str | Path):
        source = find_config(source)
    values, _, name = _base_values(source, TABLE_BASE)
    return validate(TrainConfig, changed({"exp_name": name, **values}, changes or {}), where=f"config {name}")


def _is_experiment(data: Any) -> bool:
    """Return whether a whole config is given, and not recordings."""
    if isinstance(data, Mapping):
        return bool({"base", "train_function", "train_function_args", "data"} & set(data))
    return isinstance(data, TrainConfig) or (isinstance(data, str | Path) and Path(data).suffix == ".py")


def _base_values(data: Any, base: Any) -> tuple[dict[str, Any], Path | None, str]:
    """Return the values that recordings and changes are laid over, their file, and a name for the run."""
    whole = _is_experiment(data)
    if whole and base != TABLE_BASE:
        raise ConfigError(
            "base is for recordings, and a whole config is given, which has its own; leave it out"
        )
    source = data if whole else base
    if isinstance(source, TrainConfig):
        return with_data(source), None, source.exp_name
    if isinstance(source, Mapping):
        return resolve_config(source), None, "experiment"
    file = find_config(source)
    return read_config_file(file), file, file.stem


def _check_packages(config: TrainConfig) -> None:
    from dawnchorus.models.packaged_weights import PREFIX, check_installed

    weights = str(config.nn_model_config.get("weights"))
    if weights.startswith(PREFIX):
        check_installed(weights.removeprefix(PREFIX))
