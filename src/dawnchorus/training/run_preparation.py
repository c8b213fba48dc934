"""Preparation of a run before its first step: the run directory, recordings, folds and model."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import platform
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from dawnchorus.augment.batch_augmentations import make_augmentations
from dawnchorus.config import (
    DataSettings,
    TableInMemory,
    TrainConfig,
    check_keywords,
    config_chain,
    to_jsonable,
    validate,
)
from dawnchorus.datasets.clip_settings import ClipSettings
from dawnchorus.datasets.labelled_audio import composition_untold
from dawnchorus.errors import ConfigError, RunError
from dawnchorus.files import write_failures, write_text
from dawnchorus.folds.assignment import FoldAssignment, assign_folds, save_folds
from dawnchorus.formats.annotations import TABLE_NAME
from dawnchorus.formats.faults import failures_of
from dawnchorus.formats.taxonomy import read_taxonomy
from dawnchorus.metrics import chosen_metrics
from dawnchorus.models.card import ModelCard
from dawnchorus.models.network import check_network
from dawnchorus.recordings.labels import LabelMap, read_labels
from dawnchorus.recordings.recordings_table import (
    digest_of_labels,
    label_map_of,
    leave_out_unreadable,
    load_recordings,
)
from dawnchorus.runs import Run, model_keywords
from dawnchorus.training.frozen_layers import frozen_layers
from dawnchorus.training.networks import new_model, write_starting_weights
from dawnchorus.training.processes import this_process, wait_for
from dawnchorus.training.run_locks import is_being_trained
from dawnchorus.training.setting_checks import check_known_labels, check_training_args

logger = logging.getLogger(__name__)

DEBUG_RECORDINGS_PER_CLASS = 4
_PACKAGES = ("dawnchorus", "torch", "timm", "lightning", "numpy", "soxr", "soundfile", "h5py")


class PreparedRun(NamedTuple):
    """The run, recordings, classes and folds, prepared before a fold is trained.

    Attributes
    ----------
    config
        The experiment as it was given, without values that are found in training, such as the batch size.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> prepared = prepare_run(load_train_config("train.py"))
    >>> prepared.labels.labels, len(prepared.recordings), prepared.assignment.n_folds
    (('owl', 'wren'), 8, 2)
    """

    config: TrainConfig
    run: Run
    recordings: pd.DataFrame
    labels: LabelMap
    assignment: FoldAssignment

    def __repr__(self) -> str:
        return f"PreparedRun({self.run.path}: {self.labels!r}, {self.assignment!r})"


def prepare_run(config: TrainConfig, *, config_file: Path | None = None) -> PreparedRun:
    """Return a run that is ready for its folds, newly made or found with the same config.

    Parameters
    ----------
    config
        The experiment.
    config_file
        The Python file it was read from; a copy is kept in the run.

    Raises
    ------
    RunError
        The directory holds a run of another config or of other recordings.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> prepared = prepare_run(load_train_config("train.py"))
    >>> prepared.run.path.as_posix(), prepared.run.card().labels
    ('logdirs/tiny', ('owl', 'wren'))
    """
    clip = check_train_config(config)
    given_labels = _given_labels(config)
    listed, faults = load_recordings(config.data, labels=given_labels)
    if config.train_function_args.debug:
        listed = few_of_each_class(listed)
    recordings, failures = leave_out_unreadable(
        listed, config.data, sample_rate=clip.sample_rate, channel=clip.channel
    )
    check_known_labels(recordings, config.train_function_args, where=config.exp_name)
    labels = given_labels or label_map_of(recordings)
    assignment = assign_folds(recordings, _fold_settings(config), seed=config.seed)
    _check_validation(config, assignment)
    prepared = PreparedRun(config, Run(config.run_dir), recordings, labels, assignment)
    if this_process(config.train_function_args).rank > 0:
        wait_for(prepared.run.config_file)  # the first process checks and writes everything
        return prepared
    if prepared.run.has_checkpoints() or is_being_trained(prepared.run):
        check_made_so(prepared)
    else:
        # All parts are made once before anything is written: a wrong key or a missing file raises here.
        started = new_model(config, labels.labels)
        check_network(started.model, n_samples=clip.n_samples, n_classes=len(labels.labels))
        frozen_layers(started.model, config.train_function_args.frozen_layers)
        card = _card(config, labels, clip, started.model)
        args = config.train_function_args
        unread = {key: value for key, value in train_dataset_config(config).items() if key != "precompute"}
        args.train_dataset_class(recordings, labels, unread)
        if any(unread.get(key) for key in ("soundscape_pseudo_config", "out_of_fold_targets")):
            with composition_untold():
                for fold in range(1, assignment.n_folds):  # each learns from other rows
                    args.train_dataset_class(recordings, labels, unread, fold=fold)
        _write_run(prepared, config, card, config_file)
        if started.weights is not None:
            write_starting_weights(prepared.run, config, started.weights)
    write_failures(prepared.run.path, [*failures_of(faults), *failures])
    return prepared


def check_made_so(prepared: PreparedRun) -> None:
    """Raise a RunError where the run on disk is not the one that was prepared.

    Raises
    ------
    RunError
        Its folder is gone, or holds a run of another config or of other recordings.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> check_made_so(prepare_run(load_train_config("train.py")))
    """
    if not prepared.run.config_file.is_file():
        raise RunError(f"{prepared.run.config_file} is gone, and with it the run; train it again")
    prepared.run.check_made_from(prepared.config)
    _refuse_other_recordings(prepared, prepared.config)


def check_train_config(config: TrainConfig) -> ClipSettings:
    """Return the settings of clips, which must agree in training and validation.

    Raises
    ------
    ConfigError
        A key of the model or of a dataset is unknown, or the settings of clips differ.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> check_train_config(load_train_config("train.py")).n_samples
    32000
    """
    where = config.exp_name
    if "n_classes" in config.nn_model_config:
        raise ConfigError(f"{where}: nn_model_config.n_classes is given by the recordings; leave it out")
    check_keywords(config.nn_model_class, model_keywords(config), where=f"{where}: nn_model_config")
    args = config.train_function_args
    make_augmentations(args.batch_augmentations, where=where)
    check_training_args(args, where=where)
    clips: list[Any] = []
    for role in ("train", "val"):
        dataset_class = getattr(args, f"{role}_dataset_class")
        values = getattr(args, f"{role}_dataset_config")
        settings = validate(dataset_class.settings_class, values, where=f"{where}: {role}_dataset_config")
        clips.append(settings)
    for key in ClipSettings.model_fields:
        train, val = (getattr(settings, key) for settings in clips)
        if train != val:
            raise ConfigError(
                f"{where}: {key} is {train} in train_dataset_config and {val} in val_dataset_config; "
                "they must agree"
            )
    return clips[1]


def few_of_each_class(recordings: pd.DataFrame) -> pd.DataFrame:
    """Return four recordings of every class, spread evenly over the table, for a debug run.

    Examples
    --------
    >>> import pandas as pd
    >>> recordings = pd.DataFrame({"filename": list("abcdefgh"), "primary_label": "owl"})
    >>> few_of_each_class(recordings)["filename"].tolist()
    ['a', 'c', 'e', 'g']
    """
    rank = recordings.groupby("primary_label").cumcount()
    size = recordings.groupby("primary_label")["filename"].transform("size")
    step = (size / DEBUG_RECORDINGS_PER_CLASS).clip(lower=1)
    chosen = (rank / step).astype(int) != ((rank - 1) / step).astype(int)
    return recordings[chosen | (rank == 0)].reset_index(drop=True)


def train_dataset_config(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of the training dataset; a debug run has no noise and no pseudo-labels.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> train_dataset_config(load_train_config("train.py"))
    {'segment_len': 1.0}
    """
    values = config.train_function_args.train_dataset_config
    if not config.train_function_args.debug:
        return values
    without = {
        "background": (),
        "empty_probability": 0.0,
        "soundscape_pseudo_config": None,
        "out_of_fold_targets": None,
    }
    return {key: without.get(key, value) for key, value in values.items()}


def _check_validation(config: TrainConfig, assignment: FoldAssignment) -> None:
    """Raise a ConfigError where a setting needs the scores of a validation that there is none of."""
    args = config.train_function_args
    for key, is_set in (
        ("early_stopping_epochs", args.early_stopping_epochs),
        ("average_best", args.average_best),
    ):
        if is_set and not assignment.validated.any():
            raise ConfigError(
                f"{config.exp_name}: {key} is {is_set}, and no recording is validated; leave it out, or take "
                "folds.n_folds 2 or more"
            )


def _given_labels(config: TrainConfig) -> LabelMap | None:
    """Return the classes of the config, or None; a debug run ignores a missing file of them."""
    labels = config.labels
    if labels is None or (
        config.train_function_args.debug and isinstance(labels, Path) and not labels.is_file()
    ):
        return None
    return read_labels(labels)


def _fold_settings(config: TrainConfig) -> Any:
    """Return the fold settings; a debug run may use fewer folds, and validates all of its few recordings."""
    if config.train_function_args.debug:
        few = {"fewer_if_needed": True, "every_class_in_training": False, "rare_up_to": 0}
        return config.folds.model_copy(update=few)
    return config.folds


def _write_run(prepared: PreparedRun, config: TrainConfig, card: ModelCard, config_file: Path | None) -> None:
    """Write the files that describe a run; the resolved config comes last and marks it as complete."""
    run = prepared.run
    for stale in (run.config_file, run.auto_batch_file):  # other processes wait for them
        stale.unlink(missing_ok=True)
    copies = run.path / "config_files"
    copies.mkdir(parents=True, exist_ok=True)
    for file in config_chain(config_file) if config_file is not None else ():
        shutil.copy(file, copies / file.name)
    save_folds(run.folds_file, prepared.recordings, prepared.assignment)
    write_text(run.labels_digest_file, digest_of_labels(prepared.recordings))
    write_text(run.path / "environment.json", json.dumps(_environment(), indent=2))
    write_text(run.card_file, card.to_json())
    args = config.train_function_args
    metrics = chosen_metrics(args.metrics, args.main_metric)
    shown = {metric.name: {"heading": metric.heading, "format": metric.format} for metric in metrics}
    write_text(run.metrics_file, json.dumps(shown, indent=2))
    saved = config.model_copy(update={"data": _kept_roots(run, config)})
    write_text(run.config_file, json.dumps(to_jsonable(saved), indent=2))


def _kept_roots(run: Run, config: TrainConfig) -> tuple[DataSettings, ...]:
    """Return the dataset roots to save; a table that was given as a DataFrame is written into the run."""
    kept = []
    for number, root in enumerate((root.absolute() for root in config.data), start=1):
        if isinstance(root.recordings, TableInMemory):
            name = TABLE_NAME if number == 1 else f"recordings_{number}.csv"
            write_text(run.path / name, root.recordings.csv)
            root = root.model_copy(update={"recordings": Path(name)})  # relative, so that a run can move
        kept.append(root)
    return tuple(kept)


def _card(config: TrainConfig, labels: LabelMap, clip: ClipSettings, model: Any) -> ModelCard:
    return ModelCard(
        exp_name=config.exp_name,
        model_class=to_jsonable(config.nn_model_class),
        model_config=to_jsonable(model_keywords(config)),
        labels=labels.labels,
        frontend=_checked_frontend(config, clip, model),
        **{key: getattr(clip, key) for key in ClipSettings.model_fields},
        versions=package_versions(),
        species=_species(config, labels),
    )


def _species(config: TrainConfig, labels: LabelMap) -> dict[str, dict[str, str]]:
    """Return the names of the classes, from the config's taxonomy or its table of labels."""
    if config.taxonomy is not None:
        return read_taxonomy(config.taxonomy, labels.labels)
    table = config.labels
    if isinstance(table, Path) and table.suffix.lower() == ".csv" and table.is_file():
        return read_taxonomy(table, labels.labels, may_lack_names=True)
    return {}


def _checked_frontend(config: TrainConfig, clip: ClipSettings, model: Any) -> dict[str, Any]:
    settings = asdict(model.frontend.settings)
    if settings["sample_rate"] != clip.sample_rate:
        raise ConfigError(
            f"{config.exp_name}: sample_rate is {clip.sample_rate} in the datasets and "
            f"{settings['sample_rate']} in nn_model_config.frontend; they must agree"
        )
    return settings


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on.

    Examples
    --------
    >>> {"dawnchorus", "torch"} <= package_versions().keys()
    True
    """
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _environment() -> dict[str, Any]:
    return {"python": platform.python_version(), "packages": package_versions(), "git": _git_state()}


def _git_state() -> str:
    """Return the commit of dawnchorus's own checkout, with ``-dirty`` where it has changes."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return result.stdout.strip()


def _refuse_other_recordings(prepared: PreparedRun, config: TrainConfig) -> None:
    before_dirs = [root.audio_dir for root in prepared.run.data()]
    for before, now in itertools.zip_longest(before_dirs, (root.audio_dir for root in config.data)):
        moved = before is not None and not before.is_dir()
        if not moved and (before is None or now is None or before.resolve() != now.resolve()):
            raise RunError(
                f"{prepared.run.path} was begun with the recordings in {before or 'fewer folders'}, not "
                f"{now or 'fewer folders'}; choose another exp_name, or delete the folder"
            )
    fold, validated = prepared.assignment.folds, prepared.assignment.validated
    compared = ["filename", "primary_label", "fold", "validated"]
    table = prepared.recordings.assign(fold=fold, validated=validated)
    dealt = table[compared].set_index("filename").sort_index()
    saved = prepared.run.folds()[compared].set_index("filename").sort_index()
    same_rows = dealt.index.equals(saved.index) and (dealt.to_numpy() == saved.to_numpy()).all()
    if not (same_rows and _has_same_labels(prepared)):
        raise RunError(
            f"{prepared.run.path} was begun with other recordings, labels or folds than there are now; "
            "restore them, choose another exp_name, or delete the folder"
        )


def _has_same_labels(prepared: PreparedRun) -> bool:
    """Return whether the classes, and the labels of the recordings, are the same as in the run."""
    file = prepared.run.labels_digest_file
    same_digest = not file.is_file() or file.read_text() == digest_of_labels(prepared.recordings)
    return same_digest and prepared.labels.labels == prepared.run.card().labels
