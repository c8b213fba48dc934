"""Reading of config files: running the file, merging it over its base, checking the result."""

from __future__ import annotations

import runpy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dawnchorus.config.changes import changed, given_changes, merge
from dawnchorus.config.experiment_settings import InferenceConfig, TrainConfig
from dawnchorus.config.import_paths import import_parts_in, importing_from
from dawnchorus.config.settings import validate
from dawnchorus.config.shipped import find_config
from dawnchorus.errors import ConfigError


def read_config_file(path: Path | str) -> dict[str, Any]:
    """Return the ``CONFIG`` dict of a Python file, laid over the file, or files, that its ``base`` key names.

    Parameters
    ----------
    path
        The file, or the name of a config that comes with dawnchorus, such as ``smoke``.

    Raises
    ------
    ConfigError
        The file is missing, is not Python, raises while it runs, has no ``CONFIG`` dict, or names
        itself as a base.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("base.py").write_text('CONFIG = {"seed": 42, "folds": {"n_folds": 5}}')
    >>> _ = Path("owls.py").write_text('CONFIG = {"base": "base.py", "folds": {"n_folds": 4}}')
    >>> read_config_file("owls.py")
    {'seed': 42, 'folds': {'n_folds': 4}}
    """
    return _read_config_file(find_config(path), seen=())


def resolve_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``CONFIG`` dict laid over the files that its ``base`` key names, as if it were a file's.

    Paths are relative to the working directory.

    Raises
    ------
    ConfigError
        As for :func:`read_config_file`.

    Examples
    --------
    >>> resolve_config({"base": "smoke", "seed": 1})["folds"]
    {'n_folds': 2, 'fewer_if_needed': True}
    """
    return _over_bases(values, _bases(Path(), values, where="CONFIG"), seen=())


def config_chain(path: Path | str) -> list[Path]:
    """Return a config file and the bases below it, each before its own bases.

    Raises
    ------
    ConfigError
        As for :func:`read_config_file`.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("base.py").write_text('CONFIG = {"seed": 42}')
    >>> _ = Path("owls.py").write_text('CONFIG = {"base": "base.py"}')
    >>> [path.name for path in config_chain("owls.py")]
    ['owls.py', 'base.py']
    """
    return list(dict.fromkeys(_chain(find_config(path), seen=())))


def bases_of(path: Path) -> list[Path]:
    """Return the base files of a config file, each laid over the one before it.

    Raises
    ------
    ConfigError
        As for :func:`read_own_config`, or its ``base`` is not a path, or there is no such file.

    Examples
    --------
    >>> from pathlib import Path
    >>> for name in ("base.py", "night.py"):
    ...     _ = Path(name).write_text("CONFIG = {}")
    >>> _ = Path("owls.py").write_text('CONFIG = {"base": ["base.py", "night.py"]}')
    >>> [path.name for path in bases_of(Path("owls.py"))]
    ['base.py', 'night.py']
    """
    return _bases(path.parent, read_own_config(path), where=str(path))


def _chain(path: Path, *, seen: tuple[Path, ...]) -> Iterator[Path]:
    _check_unseen(path, seen)
    yield path
    for base in bases_of(path):
        yield from _chain(base, seen=(*seen, path.resolve()))


def _read_config_file(path: Path, *, seen: tuple[Path, ...]) -> dict[str, Any]:
    _check_unseen(path, seen)
    config = read_own_config(path)
    bases = _bases(path.parent, config, where=str(path))
    return _over_bases(config, bases, seen=(*seen, path.resolve()))


def _over_bases(config: Mapping[str, Any], bases: list[Path], *, seen: tuple[Path, ...]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for base in bases:
        merged = merge(merged, _read_config_file(base, seen=seen))
    return merge(merged, {key: value for key, value in config.items() if key != "base"})


def _check_unseen(path: Path, seen: tuple[Path, ...]) -> None:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: its base leads back to itself; end the chain in a file without a base")


def _bases(folder: Path, config: Mapping[str, Any], *, where: str) -> list[Path]:
    base = config.get("base")
    bases = [] if base is None else [base] if isinstance(base, str | Path) else base
    if not isinstance(bases, list | tuple) or not all(isinstance(one, str | Path) for one in bases):
        raise ConfigError(f"{where}: base is {base!r}; give the path of another config file, or several")
    return [_base(folder, one, where=where) for one in bases]


def _base(folder: Path, base: str | Path, *, where: str) -> Path:
    try:
        file = find_config(base, folder=folder)
    except ConfigError as error:
        raise ConfigError(f"{where}: base: {error}") from None
    if not file.is_file():
        raise ConfigError(
            f"{where}: base is {str(base)!r}, and {file} is not a file; give its path from the folder of "
            "this config, or a name that dawnchorus configs lists"
        )
    return file


def read_own_config(path: Path) -> dict[str, Any]:
    """Return the ``CONFIG`` dict of a Python file itself, without reading its ``base``.

    Raises
    ------
    ConfigError
        The file is missing, is not Python, raises while it runs, or has no ``CONFIG`` dict.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("owls.py").write_text('CONFIG = {"base": "base.py", "seed": 7}')
    >>> read_own_config(Path("owls.py"))
    {'base': 'base.py', 'seed': 7}
    """
    if path.is_dir():
        raise ConfigError(
            f"{path} is a folder; give the path of a Python config file, or a name that dawnchorus configs "
            "lists"
        )
    if not path.is_file():
        raise ConfigError(f"{path} is not a file; give the path of a Python config file")
    if path.suffix != ".py":
        raise ConfigError(f"{path} is not a Python file; a config is a .py file that defines a dict CONFIG")
    try:
        with importing_from(path.parent):
            names = runpy.run_path(str(path))
    except Exception as error:  # a config is the user's own code and may raise anything
        raise ConfigError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    config = names.get("CONFIG")
    if not isinstance(config, dict):
        raise ConfigError(f"{path} defines no dict named CONFIG; see train_configs/base.py for one")
    return dict(config)


def load_train_config(
    path: Path | str, changes: Mapping[str, Any] | None = None, *, given: Sequence[str] = ()
) -> TrainConfig:
    """Return the experiment that a config file describes, with ``changes`` laid over it.

    Parts of one's own may lie beside the config file.

    Parameters
    ----------
    path
        The file, or the name of a config.
    changes
        Dicts of changes, merged key by key.
    given
        Changes as the option ``--set`` takes them, see
        :func:`~dawnchorus.config.changes.given_changes`.

    Raises
    ------
    ConfigError
        As for :func:`read_config_file`, or a key or value is not legal.

    Examples
    --------
    >>> config = load_train_config("train.py", {"train_function_args": {"n_epochs": 3}}, given=["lr=0.1"])
    >>> args = config.train_function_args
    >>> config.exp_name, args.n_epochs, args.optimizer.lr
    ('tiny', 3, 0.1)
    """
    file = find_config(path)
    values, changes = changed(read_config_file(file), given_changes(given)), changes or {}
    if isinstance(values.get("data"), list | tuple) and isinstance(changes.get("data"), Mapping):
        raise ConfigError(
            f"{path}: its data has several places, and --features is for one; name features_dir in each"
        )
    if "train_config" in values or "run" in values:
        raise ConfigError(
            f"{path} is an inference config; give it to dawnchorus compile, or name its training config"
        )
    import_parts_in(file.parent, values)
    return validate(TrainConfig, merge(values, changes), where=_where(path, given))


def load_inference_config(path: Path | str, *, given: Sequence[str] = ()) -> InferenceConfig:
    """Return the inference config of a file; its ``train_config`` is relative to the file's folder.

    Parameters
    ----------
    path
        The file.
    given
        Changes as the option ``--set`` takes them.

    Raises
    ------
    ConfigError
        As for :func:`read_config_file`, or a key or value is not legal.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("predict.py").write_text('CONFIG = {"run": "logdirs/owls", "threshold": 0.3}')
    >>> load_inference_config("predict.py", given=["threshold=0.4"]).threshold
    0.4
    """
    values = {**read_config_file(path), **given_changes(given)}
    if "train_function" in values or "train_function_args" in values:
        raise ConfigError(
            f"{path} is a training config; write an inference config that names it: "
            'CONFIG = {"train_config": ...}'
        )
    config = validate(InferenceConfig, values, where=_where(path, given))
    if config.train_config is None:
        return config
    return config.model_copy(update={"train_config": Path(path).parent / config.train_config})


def _where(path: Path | str, given: Sequence[str]) -> str:
    """Return the start of messages on a config: its file, and the changes of the command line."""
    return " ".join([str(path), *(f"--set {text}" for text in given)])
