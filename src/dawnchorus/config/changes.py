"""Changes to a config by single keys, each in the section of the config that has the key."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from dawnchorus.config.config_files import merge
from dawnchorus.config.experiment_settings import DataSettings, FoldSettings, TrainConfig
from dawnchorus.config.settings import Settings, nearest
from dawnchorus.config.training_settings import (
    LoaderSettings,
    OptimizerSettings,
    SchedulerSettings,
    TrainFunctionArgs,
)
from dawnchorus.errors import ConfigError

TABLE_BASE = "small_data"
"""The shipped config for a few hundred recordings."""

_ARGS = "train_function_args"
_BOTH = ("_loader", "_dataset_config")
"""Endings of the names of train and val sections; a key that both sections have changes both."""


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with changes laid over it.

    Parameters
    ----------
    values
        The whole config, resolved.
    changes
        New values, by keys of any of its sections: of the config itself, its ``data``, ``folds``,
        ``nn_model_config`` or ``train_function_args``, or of the loaders, datasets, optimiser and scheduler
        in these.

    Raises
    ------
    ConfigError
        A key is in no section, or in several that are not a train and val pair.

    Examples
    --------
    >>> changed({"exp_name": "owls", "train_function_args": {}}, {"seed": 1, "n_epochs": 3, "lr": 0.1})
    {'exp_name': 'owls', 'train_function_args': {'n_epochs': 3, 'optimizer': {'lr': 0.1}}, 'seed': 1}
    """
    sections = _sections(values)
    result = dict(values)
    for key, value in changes.items():
        found = [section for section, keys in sections.items() if key in keys]
        if not found:
            legal = {name for keys in sections.values() for name in keys}
            raise ConfigError(f"{key} is no key of a training config{nearest(key, sorted(legal))}")
        if ("",) in found:
            found = [("",)]
        if len(found) > 1 and not _are_a_pair(found):
            owners = " and ".join(".".join(section) for section in found)
            raise ConfigError(
                f"{key} stands in {owners}; say which, as in {found[0][-1]}={{{key!r}: {value!r}}}"
            )
        for section in found:
            result = _laid_over(result, section, key, value)
    return result


def with_data(config: Settings) -> dict[str, Any]:
    """Return the values of a settings object, nested settings included, as the dict of a config file.

    Examples
    --------
    >>> from dawnchorus.config import FoldSettings
    >>> with_data(FoldSettings(n_folds=4))["n_folds"]
    4
    """
    return {
        name: with_data(value) if isinstance(value := getattr(config, name), Settings) else value
        for name in type(config).model_fields
    }


def _sections(values: Mapping[str, Any]) -> dict[tuple[str, ...], set[str]]:
    """Return the keys of each section of a config; ``("",)`` is the config itself."""
    args = values.get(_ARGS) or {}
    sections = {
        ("",): set(TrainConfig.model_fields) - {"data"},
        ("data",): set(DataSettings.model_fields) - {"audio_dir", "recordings", "name"},
        ("folds",): set(FoldSettings.model_fields),
        ("nn_model_config",): _keywords(values.get("nn_model_class") or args.get("nn_model_class")),
        (_ARGS,): set(TrainFunctionArgs.model_fields),
        (_ARGS, "optimizer"): set(OptimizerSettings.model_fields),
        (_ARGS, "scheduler"): set(SchedulerSettings.model_fields),
    }
    for role in ("train", "val"):
        sections[_ARGS, f"{role}_loader"] = set(LoaderSettings.model_fields)
        settings = getattr(args.get(f"{role}_dataset_class"), "settings_class", None)
        sections[_ARGS, f"{role}_dataset_config"] = set(settings.model_fields) if settings else set()
    return sections


def _keywords(network: Any) -> set[str]:
    """Return the legal keys of ``nn_model_config``."""
    known = {"weights", "weights_labels"}
    if not callable(network):
        return known
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(network).parameters.values()
    return known | {one.name for one in parameters if one.kind in kinds} - {"n_classes"}


def _are_a_pair(found: Iterable[tuple[str, ...]]) -> bool:
    return any(all(section[-1].endswith(end) for section in found) for end in _BOTH)


def _laid_over(values: dict[str, Any], section: tuple[str, ...], key: str, value: Any) -> dict[str, Any]:
    if section == ("",):
        return merge(values, {key: value})
    if section == ("data",):
        return {**values, "data": _changed_data(values.get("data"), key, value)}
    change: dict[str, Any] = {key: value}
    for part in reversed(section):
        change = {part: change}
    return merge(values, change)


def _changed_data(data: Any, key: str, value: Any) -> Any:
    if isinstance(data, list | tuple) and len(data) == 1:
        data = data[0]
    if isinstance(data, DataSettings):
        return {**with_data(data), key: value}
    if not isinstance(data, Mapping):
        raise ConfigError(f"{key} is for one place of recordings, and data has several; write it into each")
    return {**data, key: value}
