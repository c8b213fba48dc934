"""Lists of the configs in a folder, and of the values that each states itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.config.config_files import bases_of, read_own_config
from dawnchorus.errors import ConfigError


class ListedConfig(NamedTuple):
    """A config file in a list of configs.

    Attributes
    ----------
    path
        The file.
    summary
        First line of its docstring, without the full stop.
    is_experiment
        Whether it has an ``exp_name``; others are bases.

    Examples
    --------
    >>> from pathlib import Path
    >>> listed = ListedConfig(Path("train_configs/small_data.py"), "Few recordings", is_experiment=True)
    >>> listed.path.stem, listed.summary
    ('small_data', 'Few recordings')
    """

    path: Path
    summary: str
    is_experiment: bool


class OwnSetting(NamedTuple):
    """One value that a config states itself, not by its bases: ``folds.rare_up_to``, ``10``.

    Examples
    --------
    >>> OwnSetting("folds.rare_up_to", "10").key
    'folds.rare_up_to'
    """

    key: str
    value: str


def list_configs(folder: Path) -> list[ListedConfig]:
    """Return the config files of a folder by name, experiments first, without running them.

    Raises
    ------
    ConfigError
        There is no such folder, or no config in it, or a file is not Python.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("configs").mkdir()
    >>> _ = Path("configs/owls.py").write_text('"Owls at night."\\nCONFIG = {"exp_name": "owls"}')
    >>> list_configs(Path("configs"))[0].summary
    'Owls at night'
    """
    files = sorted(folder.glob("*.py"))
    if not files:
        raise ConfigError(f"{folder}: no config files here; give a folder of them, such as train_configs")
    listed = [_listed(file) for file in files]
    return sorted(listed, key=lambda config: not config.is_experiment)


def own_settings(path: Path) -> list[OwnSetting]:
    """Return the values that a config file states itself, by full keys, without ``base`` and ``exp_name``.

    Raises
    ------
    ConfigError
        As for :func:`~dawnchorus.config.config_files.read_config_file`.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("owls.py").write_text('CONFIG = {"exp_name": "owls", "folds": {"n_folds": 4}}')
    >>> own_settings(Path("owls.py"))
    [OwnSetting(key='folds.n_folds', value='4')]
    """
    own = read_own_config(path)
    values = {key: value for key, value in own.items() if key not in ("base", "exp_name")}
    return [OwnSetting(key, _text(value)) for key, value in _flat(values)]


def differences_table(listed: Sequence[ListedConfig]) -> str:
    """Return a Markdown table of the configs, their bases, and the values that they state themselves.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("owls.py").write_text('CONFIG = {"exp_name": "owls", "folds": {"n_folds": 4}}')
    >>> print(differences_table(list_configs(Path())))
    | config | laid over | key | value |
    |---|---|---|---|
    | owls |  | `folds.n_folds` | `4` |
    """
    lines = ["| config | laid over | key | value |", "|---|---|---|---|"]
    for config in listed:
        over = ", ".join(base.stem for base in bases_of(config.path))
        name = config.path.stem
        for setting in own_settings(config.path) or [OwnSetting("", "")]:
            key, value = (f"`{text}`" if text else "" for text in setting)
            lines.append(f"| {name} | {over} | {key} | {value.replace('|', '&#124;')} |")
            name = over = ""
    return "\n".join(lines)


def _listed(file: Path) -> ListedConfig:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{file} is no Python file: {error}") from None
    documented = (ast.get_docstring(tree) or "").partition("\n")[0].rstrip(".")
    keys = {
        key.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    }
    return ListedConfig(file, documented, "exp_name" in keys or "train_config" in keys)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, type) or callable(value):
        return str(value.__name__)
    if isinstance(value, list | tuple):
        return "; ".join(map(_text, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items())
    return str(value)
