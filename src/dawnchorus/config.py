"""Config files: a Python file with a ``CONFIG`` dict → one frozen, checked object.

A config states only what differs from its base::

    CONFIG = {
        "base": "base.py",              # read first, relative to this file
        "exp_name": "my_birds",
        "train_function_args": {"n_epochs": 30},
    }

Dicts are merged key by key; every other value replaces the base's. Unknown keys are errors that
name the nearest legal one. What a run was made with is kept beside it as ``config.json``, which is
read back without running any code.
"""

from __future__ import annotations

import difflib
import importlib
import json
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dawnchorus.errors import ConfigError

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base of every settings object: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class DataSettings(Settings):
    """Where the labelled recordings are.

    Attributes
    ----------
    audio_dir
        Folder of recordings, a folder per species unless a table says otherwise.
    recordings
        Table of the recordings. Without one, ``recordings.csv`` in ``audio_dir`` is taken where it
        exists, else the folder names are the labels.
    features_dir
        Folder of HDF5 files that ``dawnchorus precompute`` made of ``audio_dir``.
    """

    audio_dir: Path
    recordings: Path | None = None
    features_dir: Path | None = None

    def absolute(self) -> DataSettings:
        """Return the same places, whatever the working directory will be."""
        places = {name: path.absolute() for name, path in self if path is not None}
        return self.model_copy(update=places)


class FoldSettings(Settings):
    """How recordings are dealt to folds.

    Attributes
    ----------
    n_folds
        Number of folds, at least 2.
    group_column
        Recordings with the same value here stay on one side of every fold. A recording without a
        value is a group of its own.
    fold_column
        Column of official folds; where the table has it, it is used as it is and ``n_folds`` is ignored.
    fewer_if_needed
        Lower ``n_folds`` where the groups are too few, and say so, instead of refusing.
    """

    n_folds: int = Field(default=5, ge=2)
    group_column: str = "author"
    fold_column: str = "fold"
    fewer_if_needed: bool = False


class LoaderSettings(Settings):
    """Settings of a data loader: clips per batch, and worker processes (0 reads in this process)."""

    batch_size: int = Field(default=64, ge=1)
    num_workers: int = Field(default=0, ge=0)


class OptimizerSettings(Settings):
    """Optimiser of :mod:`torch.optim` by name, its learning rate and weight decay."""

    name: Literal["AdamW", "RAdam", "Adam", "SGD"] = "AdamW"
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)


class SchedulerSettings(Settings):
    """Learning rate over the run, stepped at every batch.

    ``cosine`` falls from the optimiser's rate to ``min_lr``; ``one_cycle`` rises over the first
    ``warmup_share`` of the steps and then falls along a cosine; ``constant`` stays.
    """

    name: Literal["cosine", "one_cycle", "constant"] = "cosine"
    min_lr: float = Field(default=1e-6, ge=0)
    warmup_share: float = Field(default=0.2, gt=0, lt=1)


class BatchAugmentationSettings(Settings):
    """Augmentations that run on the whole batch, on its device. None of them by default."""

    random_filtering: dict[str, Any] | None = None
    spectrogram_masks: dict[str, Any] | None = None
    power_scaling: dict[str, Any] | None = None


class TrainFunctionArgs(Settings):
    """What the training function needs beside the model and the data.

    Attributes
    ----------
    train_dataset_class, train_dataset_config, val_dataset_class, val_dataset_config
        Dataset classes, and the keys of their settings.
    clips_per_epoch
        Crops drawn in one epoch; None draws as many as there are training recordings.
    class_balance
        ``none`` draws every recording alike, ``inverse`` by 1 / (recordings of its class),
        ``inverse_sqrt`` by 1 / sqrt of it. Drawn with replacement.
    repeat_rare_to
        Weigh a class with fewer recordings as if they were repeated to this number.
    main_metric
        The validation metric, larger is better, that ranks checkpoints.
    n_checkpoints
        How many of the best checkpoints of a fold are kept.
    precision_mode
        Lightning's precision.
    accelerator
        Lightning's accelerator; ``auto`` takes a GPU where there is one.
    debug
        A few recordings, two steps an epoch, random weights: the whole line in seconds.
    """

    train_dataset_class: Any
    train_dataset_config: dict[str, Any] = {}
    val_dataset_class: Any
    val_dataset_config: dict[str, Any] = {}
    train_loader: LoaderSettings = LoaderSettings()
    val_loader: LoaderSettings = LoaderSettings()
    batch_augmentations: BatchAugmentationSettings = BatchAugmentationSettings()
    class_balance: Literal["none", "inverse", "inverse_sqrt"] = "none"
    repeat_rare_to: int = Field(default=0, ge=0)
    clips_per_epoch: int | None = Field(default=None, ge=1)
    loss: Literal["bce_focal", "bce", "focal"] = "bce_focal"
    optimizer: OptimizerSettings = OptimizerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    n_epochs: int = Field(default=50, ge=1)
    main_metric: Literal["val_macro_roc_auc"] = "val_macro_roc_auc"
    n_checkpoints: int = Field(default=3, ge=1)
    precision_mode: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    debug: bool = False


class TrainConfig(Settings):
    """A whole experiment.

    ``nn_model_class`` and ``nn_model_config`` stand at the top or inside ``train_function_args``,
    whichever the author prefers, but not in both.
    """

    exp_name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    seed: int = Field(default=42, ge=0)
    logdir: Path = Path("logdirs")
    data: DataSettings
    folds: FoldSettings = FoldSettings()
    nn_model_class: Any
    nn_model_config: dict[str, Any] = {}
    train_function: Any
    train_function_args: TrainFunctionArgs

    @model_validator(mode="before")
    @classmethod
    def _model_keys_to_the_top(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(values.get("train_function_args"), Mapping):
            return values
        top, args = dict(values), dict(values["train_function_args"])
        for key in ("nn_model_class", "nn_model_config"):
            if key in args and key in top:
                raise ValueError(f"{key} is given both at the top and in train_function_args; keep one")
            if key in args:
                top[key] = args.pop(key)
        return {**top, "train_function_args": args}

    @property
    def run_dir(self) -> Path:
        """Where the run's folds, tables and exports lie: ``logdir / exp_name``.

        A debug run has a folder of its own, so that it never stands in the way of the real one.
        """
        return self.logdir / (self.exp_name + "-debug" * self.train_function_args.debug)


class InferenceConfig(Settings):
    """What to do with a trained run. It names the run and never repeats its settings.

    Attributes
    ----------
    train_config
        Training config whose run is meant, relative to this file.
    run
        The run directory itself, instead of ``train_config``.
    exp_name
        The name that is expected of the run; a different one is an error.
    folds
        Folds of the ensemble; None takes all that are finished.
    batch_size
        Clips per forward pass.
    soundscapes
        Folder to predict with the exported ensemble at the end; None predicts nothing.
    threshold
        Probability from which a window counts as a detection.
    """

    train_config: Path | None = None
    run: Path | None = None
    exp_name: str | None = None
    folds: list[int] | None = None
    batch_size: int = Field(default=16, ge=1)
    soundscapes: Path | None = None
    threshold: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_source(self) -> InferenceConfig:
        if (self.train_config is None) == (self.run is None):
            raise ValueError("give either train_config or run, one of the two")
        return self


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` on top: dicts key by key, any other value replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both_dicts = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both_dicts else value  # type: ignore[arg-type]
    return merged


def read_config_file(path: Path | str) -> dict[str, Any]:
    """Return the ``CONFIG`` dict of a Python file, laid over the file that its ``base`` key names.

    Raises
    ------
    ConfigError
        The file is missing, is not Python, fails while it runs, has no ``CONFIG`` dict, or names
        itself as a base.
    """
    return _read_config_file(Path(path), seen=())


def config_chain(path: Path | str) -> list[Path]:
    """Return a config file and the bases below it, in the order in which they are named."""
    base = _run_config_file(Path(path)).get("base")
    return [Path(path), *(config_chain(Path(path).parent / base) if base is not None else ())]


def _read_config_file(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: its base leads back to itself; end the chain in a file without a base")
    config = _run_config_file(path)
    base = config.pop("base", None)
    if base is None:
        return config
    if not isinstance(base, str | Path):
        raise ConfigError(f"{path}: base is {base!r}; give the path of another config file")
    return merge(_read_config_file(path.parent / base, seen=(*seen, path.resolve())), config)


def _run_config_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"{path} is not a file; give the path of a Python config file")
    if path.suffix != ".py":
        raise ConfigError(f"{path} is not a Python file; a config is a .py file that defines a dict CONFIG")
    try:
        names = runpy.run_path(str(path))
    except Exception as error:  # a config is the user's own code and may raise anything
        raise ConfigError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    config = names.get("CONFIG")
    if not isinstance(config, dict):
        raise ConfigError(f"{path} defines no dict named CONFIG; see train_configs/base.py for one")
    return dict(config)


def validate(settings_class: type[SettingsT], values: Mapping[str, Any], *, where: str) -> SettingsT:
    """Return ``values`` as a checked, frozen object.

    Parameters
    ----------
    settings_class
        What to make of them.
    values
        Keys and values from a config.
    where
        What a message should begin with: a file, or a file and a key.

    Raises
    ------
    ConfigError
        Every problem at once, each with the key, the value and what would be legal.
    """
    try:
        return settings_class.model_validate(dict(values))
    except ValidationError as error:
        problems = [_explain(settings_class, problem) for problem in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(problems)) from None


def check_keywords(function: Callable[..., Any], values: Mapping[str, Any], *, where: str) -> None:
    """Raise a ConfigError where ``values`` has a key that ``function`` does not take."""
    import inspect

    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in values:
        if key not in parameters:
            raise ConfigError(f"{where}.{key} is not known{_nearest(key, list(parameters))}")


def load_train_config(path: Path | str, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """Return the experiment that a config file describes, with ``changes`` laid over it."""
    return validate(TrainConfig, merge(read_config_file(path), changes or {}), where=str(path))


def load_inference_config(path: Path | str) -> InferenceConfig:
    """Return the inference config of a file; its ``train_config`` is relative to the file's folder."""
    config = validate(InferenceConfig, read_config_file(path), where=str(path))
    if config.train_config is None:
        return config
    return config.model_copy(update={"train_config": Path(path).parent / config.train_config})


def to_jsonable(value: Any) -> Any:
    """Return a settings object as plain JSON types; classes and functions become ``module:name``."""
    if isinstance(value, BaseModel):
        return {name: to_jsonable(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if callable(value):
        return f"{value.__module__}:{value.__qualname__}"
    return value


def from_json_file(path: Path) -> TrainConfig:
    """Return the experiment saved in a run's ``config.json``. No code of the run is executed.

    Raises
    ------
    ConfigError
        The file is missing or damaged, or names a class from outside dawnchorus: such a run is
        loaded through its Python config.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a saved config: {error}") from error
    args = values.get("train_function_args", {})
    for owner, keys in ((values, ("nn_model_class", "train_function")), (args, _DATASET_CLASS_KEYS)):
        for key in keys:
            owner[key] = own_name(str(owner.get(key)), where=f"{path}: {key}")
    return validate(TrainConfig, values, where=str(path))


_DATASET_CLASS_KEYS = ("train_dataset_class", "val_dataset_class")
_MAY_CHANGE = {"logdir", "data", "accelerator", "num_workers"}
"""Keys that say where and how fast a run is made, not what it is; its recordings are compared by name."""


def differing_keys(old: Any, new: Any, path: str = "") -> list[str]:
    """Return ``key: old → new`` for every value in which two resolved configs differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            difference
            for key in sorted(set(old) | set(new))
            if key not in _MAY_CHANGE
            for difference in differing_keys(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if old == new else [f"{path}: {old!r} → {new!r}"]


def own_name(reference: str, *, where: str) -> Any:
    """Return the class or function that ``module:name`` names, if it is dawnchorus's own.

    Raises
    ------
    ConfigError
        The name lies outside dawnchorus, whose import could run anyone's code, or is not there.
    """
    module, _, name = reference.partition(":")
    if module.split(".")[0] != "dawnchorus":
        raise ConfigError(
            f"{where} is {reference!r}, from outside dawnchorus; name the Python config instead"
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where} is {reference!r}, which this version of dawnchorus lacks") from error


def _explain(settings_class: type[Settings], problem: Any) -> str:
    """Return one pydantic problem as a sentence: the key, what is wrong, the value."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "CONFIG"
    if problem["type"] == "extra_forbidden":
        owner = _settings_at(settings_class, location[:-1])
        legal = list(owner.model_fields) if owner else []
        return f"{key} is not known{_nearest(location[-1], legal)}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key} is {problem['input']!r}; {message}"


def _settings_at(settings_class: type[Settings], location: list[str]) -> type[Settings] | None:
    """Return the settings class that a key lies in, through ``X | None`` and ``tuple[X, ...]``."""
    for part in location:
        if part.isdigit():
            continue
        field = settings_class.model_fields.get(part)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inside = [c for c in candidates if isinstance(c, type) and issubclass(c, Settings)]
        if not inside:
            return None
        settings_class = inside[0]
    return settings_class


def _nearest(key: str, legal: list[str]) -> str:
    close = difflib.get_close_matches(key, legal, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; legal keys are {', '.join(sorted(legal))}" if legal else ""
