"""Changes to a config by single keys, each in the section of the config that has the key."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` on top: dicts key by key, any other value replaced.

    Examples
    --------
    >>> merge({"n_epochs": 50, "folds": {"n_folds": 5}}, {"folds": {"rare_up_to": 10}})
    {'n_epochs': 50, 'folds': {'n_folds': 5, 'rare_up_to': 10}}
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both_dicts = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both_dicts else value  # type: ignore[arg-type]
    return merged


def given_changes(given: Sequence[str]) -> dict[str, Any]:
    """Return the keys and values of texts ``KEY=VALUE``, as the option ``--set`` takes them.

    A value is a Python literal, such as ``3``, ``0.1``, ``None`` or ``[0.9, 0.99]``; anything else is text.

    Raises
    ------
    ConfigError
        A text has no key, or no ``=``.

    Examples
    --------
    >>> given_changes(["n_epochs=3", "optimizer.lr=1e-3", "backbone=resnet18"])
    {'n_epochs': 3, 'optimizer.lr': 0.001, 'backbone': 'resnet18'}
    """
    changes: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not all(part.strip() for part in key.split(".")):
            raise ConfigError(f"--set {text} sets nothing; write KEY=VALUE, such as --set n_epochs=3")
        try:
            changes[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            changes[key.strip()] = value
    return changes


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with changes laid over it.

    Parameters
    ----------
    values
        The whole config, resolved.
    changes
        New values, by keys of any of its sections: of the config itself, its ``data``, ``folds``,
        ``nn_model_config`` or ``train_function_args``, or of the loaders, datasets, optimiser and scheduler
        in these. A dotted key leads into its value: ``optimizer.lr``, ``folds.n_folds``.

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
    for dotted, value in changes.items():
        key, *inner = dotted.split(".")
        if key == "data" and inner:
            result = {**result, "data": _changed_data(result.get("data"), inner[:-1], inner[-1], value)}
            continue
        for part in reversed(inner):
            value = {part: value}
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
        return {**values, "data": _changed_data(values.get("data"), (), key, value)}
    change: dict[str, Any] = {key: value}
    for part in reversed(section):
        change = {part: change}
    return merge(values, change)


def _changed_data(data: Any, number: Sequence[str], key: str, value: Any) -> Any:
    """Return dataset roots with one key changed: of the only root, or of the one that a number chooses."""
    roots = list(data) if isinstance(data, list | tuple) else [data]
    chosen = ".".join(number) or ("0" if len(roots) == 1 else "")
    if not chosen.isdecimal() or int(chosen) >= len(roots):
        raise ConfigError(
            f"{key} is for one place of recordings, and data has {len(roots)}; write it into each, or name "
            f"one by its number, data.0.{key}"
        )
    root = roots[int(chosen)]
    roots[int(chosen)] = {**(with_data(root) if isinstance(root, DataSettings) else root or {}), key: value}
    return roots[0] if len(roots) == 1 else tuple(roots)
