"""The settings of an experiment: its recordings, folds, network and training; and those of inference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dawnchorus.config.registry import NETWORKS, TRAIN_FUNCTIONS
from dawnchorus.config.settings import Settings
from dawnchorus.config.tables_in_memory import TableInMemory, is_dataframe
from dawnchorus.config.training_settings import TrainFunctionArgs
from dawnchorus.wording import counted


class DataSettings(Settings):
    """One dataset root: a folder of labelled recordings.

    Attributes
    ----------
    audio_dir
        Folder of recordings, with a folder for each species unless there is a table.
    recordings
        Table of the recordings, such as BirdCLEF's ``train.csv``: a file, or in Python a DataFrame. Without
        one, ``recordings.csv`` in ``audio_dir`` is taken where it exists, else the folder names are the
        labels.
    root_column
        Column of the table with the name of each row's dataset root, for one table over several, such as
        ``data_root_id``. Only the rows with ``name``, or with the name of ``audio_dir``, are read; the others
        are no faults. None takes all rows.
    folds_array
        NumPy file, ``.npy``, with the fold of each row of the whole table, in its order, or with the numbers
        of the rows for training and validation of each fold: it becomes the column ``fold``.
    annotations
        Labels in time: a CSV table of boxes, a Raven or Audacity table, or a folder of such. Without
        one, the column ``boxes`` of the recordings table is taken, or else ``annotations.csv`` in
        ``audio_dir``, where they exist. Recordings that neither table lists are then left out.
    features_dir
        Folder of HDF5 files that ``dawnchorus precompute`` made of ``audio_dir``.
    label_column
        Column of Raven tables that holds the label.
    ignored_labels
        Labels in time that are no species, such as ``Unk``: their boxes are ignored, as if no species were
        there.
    faulty
        Handling of recordings with faulty rows, or boxes: ``refuse`` stops and lists them all,
        ``leave_out`` goes on without them and lists them all.
    name
        Name of the dataset root, with which its file names begin where there are several. The name of
        ``audio_dir`` if not given.

    Examples
    --------
    >>> place = DataSettings(audio_dir="recordings", ignored_labels=("Unk",))
    >>> place.audio_dir.name, place.faulty
    ('recordings', 'refuse')
    """

    audio_dir: Path
    recordings: Path | TableInMemory | None = None
    root_column: str | None = None
    folds_array: Path | None = None
    annotations: Path | None = None
    features_dir: Path | None = None
    label_column: str | None = None
    ignored_labels: tuple[str, ...] = ()
    faulty: Literal["refuse", "leave_out"] = "refuse"
    name: str | None = Field(default=None, pattern=r"^[^/\\]+$", description="text without / and \\")

    @field_validator("recordings", mode="plain")
    @classmethod
    def _file_or_table(cls, value: Any) -> Path | TableInMemory | None:
        if value is None or isinstance(value, Path | TableInMemory):
            return value
        if isinstance(value, str):
            return Path(value)
        if is_dataframe(value):
            return TableInMemory.of(value)
        raise ValueError(f"recordings is {value!r}; give the path of a table, or a DataFrame")

    def absolute(self) -> DataSettings:
        """Return the same dataset root with absolute paths."""
        paths = {name: path.absolute() for name, path in self if isinstance(path, Path)}
        return self.model_copy(update=paths)


class FoldSettings(Settings):
    """Settings of the split into folds.

    Attributes
    ----------
    n_folds
        Number of folds. 1 trains one model on all recordings: nothing is validated, there is no score, and
        the weights after the last epoch are taken.
    group_column
        Column whose equal values stay on one side of every fold; several, as a list or with commas
        between them, link recordings that share a value in any of them. Case and spaces tell no values
        apart; an empty value and ``unknown``, ``anonymous`` and the like link nothing. None takes
        ``author``, and ``site`` too where the table has it.
    fold_column
        Column of official folds, numbers or names, with -1 for what is always in training, or ``train`` and
        ``valid`` for a single fold. Where the table has it, it is used as it is and ``n_folds`` is ignored;
        None ignores such a column. The default, ``fold``, takes ``fold_id`` too.
    fewer_if_needed
        Lower ``n_folds`` where the groups are too few, with a note, instead of refusing.
    every_class_in_training
        Keep the smallest group of a class always in training, and never validate it, where the class
        would otherwise be missing in the training of a fold.
    rare_up_to
        Classes with at most this many recordings are rare: never validated, and in every training fold.
        0 makes no class rare; the winning EfficientNetV2-S has 10.
    trained
        Folds that are trained, such as ``(0,)`` of twenty for pretraining; None trains all.

    Examples
    --------
    >>> FoldSettings(n_folds=4, group_column="author, site").group_column
    ('author', 'site')
    """

    n_folds: int = Field(default=5, ge=1)
    group_column: tuple[str, ...] | None = None
    fold_column: str | None = "fold"
    fewer_if_needed: bool = False
    every_class_in_training: bool = False
    rare_up_to: int = Field(default=0, ge=0)
    trained: tuple[int, ...] | None = Field(default=None, min_length=1)

    @field_validator("group_column", mode="before")
    @classmethod
    def _names_between_commas(cls, value: Any) -> Any:
        names = tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
        if names is not None and not names:
            raise ValueError("group_column names no column; leave it out for author and site")
        return names


class TrainConfig(Settings):
    """Settings of an experiment.

    ``nn_model_class`` and ``nn_model_config`` stand either at the top or inside ``train_function_args``.

    Attributes
    ----------
    exp_name
        Name of the experiment, and of the folder of its run.
    seed
        Seed of all random draws.
    logdir
        Folder of the runs.
    data
        One dataset root, or a list of several.
    labels
        The classes and their order, as a list or as a file (a CSV table with the column ``primary_label``,
        a text file with a label a line, or a list or map of numbers in JSON); without it, the classes are the
        labels of the recordings, sorted.
    taxonomy
        CSV table with scientific and common names of the classes, for the tables of ``dawnchorus predict``;
        without it, ``labels`` where that is a table with such columns.
    folds
        Settings of the split into folds.
    nn_model_class, nn_model_config
        The network as a class, a registered name or ``package.module:Class``, and its keyword arguments
        (:mod:`dawnchorus.models.network` describes the interface for one of your own); ``weights`` and
        ``weights_labels`` name a file to start from and its classes. ``{fold}`` in ``weights`` stands for the
        number of the fold, for a file each.
    train_function, train_function_args
        The training function, and its settings.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> config = load_train_config("train.py")
    >>> config.exp_name, config.folds.n_folds, config.train_function_args.n_epochs
    ('tiny', 2, 1)
    >>> config.run_dir.as_posix()
    'logdirs/tiny'
    """

    exp_name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=200,
        description="at most 200 letters and digits of English, with . _ or - after the first",
    )
    seed: int = Field(default=42, ge=0)
    logdir: Path = Path("logdirs")
    data: tuple[DataSettings, ...]
    labels: Path | tuple[str, ...] | None = None
    taxonomy: Path | None = None
    folds: FoldSettings = FoldSettings()
    nn_model_class: Any
    nn_model_config: dict[str, Any] = Field(default_factory=dict)
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

    @field_validator("nn_model_class", "train_function")
    @classmethod
    def _found(cls, value: Any, info: ValidationInfo) -> Any:
        """Return the part that a name or import path stands for; saved configs never reach this with one."""
        registry = NETWORKS if info.field_name == "nn_model_class" else TRAIN_FUNCTIONS
        found = registry.find(value, where=info.field_name)
        if not callable(found):
            raise ValueError(f"{info.field_name} is {value!r}; give a class or function, or its import path")
        return found

    @field_validator("data", mode="before")
    @classmethod
    def _one_place_is_a_list_of_one(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and not value:
            raise ValueError("data names no place of recordings; give one, or a list of them")
        return (value,) if isinstance(value, Mapping | DataSettings) else value

    @property
    def run_dir(self) -> Path:
        """Folder of the run's folds, tables and exports: ``logdir / exp_name``.

        A debug run has a folder of its own, so that it never blocks the real one.
        """
        return self.logdir / (self.exp_name + "-debug" * self.train_function_args.debug)

    def __repr__(self) -> str:
        folds, epochs = (
            counted(self.folds.n_folds, "fold"),
            counted(self.train_function_args.n_epochs, "epoch"),
        )
        network = getattr(self.nn_model_class, "__name__", self.nn_model_class)
        return f"TrainConfig({self.exp_name}: {network}, {folds}, {epochs})"


class InferenceConfig(Settings):
    """Settings of inference with a trained run. They name the run and never repeat its settings.

    Attributes
    ----------
    train_config
        Training config of the run, relative to this file.
    run
        The run directory itself, instead of ``train_config``.
    exp_name
        The expected name of the run; a different one is an error.
    folds
        Folds of the ensemble; None takes all that are finished.
    batch_size
        Clips per forward pass.
    int8, one_file, onnx_fp16, frames, taxonomy
        As the options of ``dawnchorus export``: exports that are written too, and what they hold.
    soundscapes
        Folder to predict with the exported ensemble at the end; None predicts nothing.
    threshold
        Probability from which a window counts as a detection; None takes that of the best F1, and 0.5 for
        scores that are not calibrated.
    overlap_s, shift_s, overlap_average, smoothing, scale_exponent, merge, top_k, formats
        As the options of ``dawnchorus predict``: windows, processing of their probabilities, tables. A
        format may also be the class of a writer of your own.

    Examples
    --------
    >>> config = InferenceConfig(run="logdirs/owls", threshold=0.3)
    >>> config.threshold, config.formats
    (0.3, ('csv', 'raven'))
    """

    train_config: Path | None = None
    run: Path | None = None
    exp_name: str | None = None
    folds: list[int] | None = None
    batch_size: int = Field(default=16, ge=1)
    soundscapes: Path | None = None
    threshold: float | None = Field(default=None, gt=0, lt=1)
    int8: bool = False
    one_file: bool = False
    onnx_fp16: bool = False
    frames: bool = False
    taxonomy: Path | None = None
    overlap_s: float = Field(default=0.0, ge=0)
    shift_s: float | None = Field(default=None, gt=0)
    overlap_average: bool = False
    smoothing: tuple[float, ...] | None = None
    scale_exponent: float | None = Field(default=None, ge=0)
    merge: bool = False
    top_k: int | None = Field(default=None, ge=1)
    formats: tuple[str | type, ...] = ("csv", "raven")

    @model_validator(mode="after")
    def _one_source(self) -> InferenceConfig:
        if (self.train_config is None) == (self.run is None):
            raise ValueError("give either train_config or run, one of the two")
        return self
