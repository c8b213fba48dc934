"""The resolved config of a run: written as JSON, read back without running code, compared."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dawnchorus.config.experiment import TrainConfig
from dawnchorus.config.settings import validate
from dawnchorus.errors import ConfigError

_DATASET_CLASS_KEYS = ("train_dataset_class", "val_dataset_class")
_MAY_CHANGE = {"logdir", "data", "accelerator", "devices", "num_nodes", "num_workers", "loggers"}
"""Keys that say where and how fast a run is made, not what it is; its recordings are compared by name."""


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
