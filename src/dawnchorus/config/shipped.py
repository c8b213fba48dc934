"""The training configs that come with dawnchorus, found by their names."""

from __future__ import annotations

from pathlib import Path

from dawnchorus.config.settings import nearest
from dawnchorus.errors import ConfigError

FOLDER_NAME = "train_configs"


def shipped_configs_dir() -> Path:
    """Return the folder of the configs that come with dawnchorus.

    In an installed package it lies inside, in a checkout at the top.

    Raises
    ------
    ConfigError
        It is missing.

    Examples
    --------
    >>> (shipped_configs_dir() / "base.py").is_file()
    True
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / FOLDER_NAME, package.parents[1] / FOLDER_NAME):
        if (folder / "base.py").is_file():
            return folder
    raise ConfigError(f"{package} has no folder {FOLDER_NAME}; install dawnchorus again")


def shipped_config(name: str) -> Path:
    """Return the file of a config that comes with dawnchorus.

    Parameters
    ----------
    name
        Its name, as ``dawnchorus configs`` lists it.

    Raises
    ------
    ConfigError
        There is none of that name; the nearest one is named.

    Examples
    --------
    >>> shipped_config("smoke").name
    'smoke.py'
    """
    folder = shipped_configs_dir()
    file = folder / f"{name}.py"
    if not file.is_file() or file.parent != folder:
        names = sorted(path.stem for path in folder.glob("*.py"))
        raise ConfigError(
            f"{name} is neither a config file nor the name of one that comes with dawnchorus"
            f"{nearest(name, names, kind='names')}"
        )
    return file


def find_config(name: str | Path, *, folder: Path | None = None) -> Path:
    """Return a config's file, by its path or by its name.

    A bare name stands for a config in ``train_configs`` of the working directory, which ``dawnchorus
    configs`` lists too, or else for one that comes with dawnchorus. Anything else is a path, and returned
    as it is where there is no such file.

    Parameters
    ----------
    name
        ``smoke``, or ``my_configs/owls.py``.
    folder
        Folder that a path is relative to; the working directory if not given.

    Raises
    ------
    ConfigError
        There is no config of that bare name.

    Examples
    --------
    >>> find_config("my_configs/owls.py").as_posix()
    'my_configs/owls.py'
    """
    path = (folder or Path()) / name
    if path.is_file() or not _is_bare(name) or (path.is_dir() and not names_config(name)):
        return path
    local = Path(FOLDER_NAME) / f"{name}.py"
    return local if local.is_file() else shipped_config(str(name))


def names_config(given: str | Path) -> bool:
    """Return whether a path is a config file by its suffix, or a name that ``dawnchorus configs`` lists.

    Examples
    --------
    >>> names_config("my_configs/owls.py"), names_config("smoke"), names_config("logdirs/smoke")
    (True, True, False)
    """
    if Path(given).suffix == ".py":
        return True
    folders = (Path(FOLDER_NAME), shipped_configs_dir())
    return _is_bare(given) and any((folder / f"{given}.py").is_file() for folder in folders)


def _is_bare(name: str | Path) -> bool:
    return not Path(name).suffix and Path(name).name == str(name)
