"""Config files → checked objects: running the file, laying it over its base."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dawnchorus.config.experiment import InferenceConfig, TrainConfig
from dawnchorus.config.settings import validate
from dawnchorus.errors import ConfigError


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


def load_train_config(path: Path | str, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """Return the experiment that a config file describes, with ``changes`` laid over it."""
    values, changes = read_config_file(path), changes or {}
    if isinstance(values.get("data"), list | tuple) and isinstance(changes.get("data"), Mapping):
        raise ConfigError(
            f"{path}: its data has several places, and --features is for one; name features_dir in each"
        )
    return validate(TrainConfig, merge(values, changes), where=str(path))


def load_inference_config(path: Path | str) -> InferenceConfig:
    """Return the inference config of a file; its ``train_config`` is relative to the file's folder."""
    config = validate(InferenceConfig, read_config_file(path), where=str(path))
    if config.train_config is None:
        return config
    return config.model_copy(update={"train_config": Path(path).parent / config.train_config})
