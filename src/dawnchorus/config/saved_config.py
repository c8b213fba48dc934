"""The resolved config of a run as JSON, which is read back without running code; comparison of two."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dawnchorus.config.changes import merge
from dawnchorus.config.experiment_settings import TrainConfig
from dawnchorus.config.import_paths import is_same_part, saved_text
from dawnchorus.config.json_files import Record, read_json
from dawnchorus.config.registry import DATASETS, FROM_FILE, NETWORKS, TRAIN_FUNCTIONS
from dawnchorus.config.settings import validate
from dawnchorus.config.tables_in_memory import TableInMemory
from dawnchorus.config.training_settings import TrainFunctionArgs
from dawnchorus.errors import ConfigError
from dawnchorus.wording import shown

_DAMAGED = "open the run by the training config that it was made with (.py), or train it again"
_DATASET_CLASS_KEYS = ("train_dataset_class", "val_dataset_class")
_MAY_CHANGE = {
    "logdir",
    "data",
    "taxonomy",
    "accelerator",
    "devices",
    "num_nodes",
    "num_workers",
    "loggers",
    "frozen_baseline",
}
"""Keys that may change because they affect where and how fast a run is made, not its result.

The recordings of ``data`` are compared by name elsewhere.
"""


REMEDY = (
    "a saved config imports no code: open the run by the training config that it was made with, as in "
    "dawnchorus evaluate CONFIG.py"
)
"""Remedy in messages on a run whose parts are not dawnchorus's."""


class _SavedConfig(Record):
    """The sections of a run's ``config.json``, whatever is in them."""

    model_config = ConfigDict(extra="allow")

    data: dict[str, Any] | list[dict[str, Any]] | None = None
    nn_model_class: str | None = None
    nn_model_config: dict[str, Any] = Field(default_factory=dict)
    train_function: str | None = None
    train_function_args: dict[str, Any] = Field(default_factory=dict)


def read_saved_config(path: Path) -> dict[str, Any]:
    """Return the keys and values of a run's ``config.json``; only its sections are checked.

    Raises
    ------
    ConfigError
        The file is missing or damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_saved_config(Path("logdirs/tiny/config.json"))["exp_name"]
    'tiny'
    """
    saved = read_json(path, _SavedConfig, error=ConfigError, remedy=_DAMAGED)
    return saved.model_dump(exclude_unset=True)


def to_jsonable(value: Any) -> Any:
    """Return a settings object as plain JSON types; classes and functions become ``module:name``.

    An object becomes ``module:Class(attribute=value)``, see
    :func:`~dawnchorus.config.import_paths.saved_text`.

    Examples
    --------
    >>> from pathlib import Path
    >>> to_jsonable({"folder": Path("logs"), "sizes": (1, 2)})
    {'folder': 'logs', 'sizes': [1, 2]}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, BaseModel):
        return {name: to_jsonable(item) for name, item in value}
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return [to_jsonable(item) for item in sorted(value, key=repr)]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Enum):
        return to_jsonable(value.value)
    if isinstance(value, TableInMemory):
        return f"a DataFrame of {value.n_rows} rows"
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy
        return to_jsonable(value.tolist())
    return saved_text(value)


def from_json_file(path: Path) -> TrainConfig:
    """Return the experiment saved in a run's ``config.json``. No code of the run is executed.

    Raises
    ------
    ConfigError
        The file is missing or damaged, or names a class that is not registered: such a run is opened by
        its Python config.

    Examples
    --------
    >>> from pathlib import Path
    >>> from_json_file(Path("logdirs/tiny/config.json")).exp_name
    'tiny'
    """
    values = read_saved_config(path)
    values["data"] = saved_roots(values.get("data"), path.parent)
    args = values.setdefault("train_function_args", {})
    named = ((values, "nn_model_class", NETWORKS), (values, "train_function", TRAIN_FUNCTIONS))
    for owner, key, registry in (*named, *((args, key, DATASETS) for key in _DATASET_CLASS_KEYS)):
        owner[key] = registry.known(str(owner.get(key)), where=f"{path}: {key}", remedy=REMEDY)
    for owner, key in ((values, "nn_model_config"), (values, "train_function_args")):
        owner[key] = _without_imports(owner.get(key, {}))
    return validate(TrainConfig, values, where=str(path), remedy=_DAMAGED)


def _without_imports(value: Any) -> Any:
    """Return a part of a saved config with ``FROM_FILE`` before each text that may be an import path."""
    if isinstance(value, Mapping):
        return {
            _without_imports(key): item if key == "weights" else _without_imports(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_imports(item) for item in value]
    if isinstance(value, str) and ":" in value:
        return f"{FROM_FILE}{value}"
    return value


def with_defaults(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved config with the defaults of keys that it lacks, such as those of later versions.

    Examples
    --------
    >>> with_defaults({"exp_name": "mine"})["train_function_args"]["optimizer"]["name"]
    'AdamW'
    """
    defaults = {**_defaults(TrainConfig), "train_function_args": _defaults(TrainFunctionArgs)}
    return merge(defaults, saved)


def _defaults(settings_class: type[BaseModel]) -> dict[str, Any]:
    return {
        name: to_jsonable(field.get_default(call_default_factory=True))
        for name, field in settings_class.model_fields.items()
        if not field.is_required()
    }


def saved_roots(roots: Any, run_dir: Path) -> Any:
    """Return the ``data`` of a run's ``config.json``, with the paths of tables that lie in the run itself.

    Examples
    --------
    >>> from pathlib import Path
    >>> saved_roots([{"audio_dir": "recordings"}], Path("logdirs/owls"))
    [{'audio_dir': 'recordings'}]
    """
    if isinstance(roots, Mapping):
        own = run_dir / str(roots.get("recordings"))
        is_own = roots.get("recordings") is not None and own.is_file()
        return {**roots, "recordings": own.as_posix()} if is_own else roots
    return [saved_roots(root, run_dir) for root in roots] if isinstance(roots, list) else roots


def differing_keys(old: Any, new: Any, path: str = "") -> list[str]:
    """Return ``key: old → new`` for every value in which two resolved configs differ.

    Examples
    --------
    >>> differing_keys({"seed": 42, "folds": {"n_folds": 5}}, {"seed": 42, "folds": {"n_folds": 4}})
    ['folds.n_folds: 5 → 4']
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            difference
            for key in sorted(set(old) | set(new))
            if key not in _MAY_CHANGE
            for difference in differing_keys(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        ]
    is_same = old == new or (isinstance(old, str) and isinstance(new, str) and is_same_part(old, new))
    return [] if is_same else [f"{path}: {shown(old)} → {shown(new)}"]
