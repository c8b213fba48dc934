"""Import paths of parts of your own: import, text in a saved config, and making of the part."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dawnchorus.config.settings import check_keys
from dawnchorus.errors import ConfigError


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Search a folder for modules while the block runs, after all others: nothing in it shadows a package.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("parts").mkdir()
    >>> _ = Path("parts/my_parts.py").write_text("LOUDER = 2.0")
    >>> with importing_from(Path("parts")):
    ...     imported("my_parts:LOUDER", where="an example")
    2.0
    """
    entry = str(folder.absolute())
    sys.path.append(entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if entry in sys.path:  # the last one is ours: the folder may have been there before
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(entry)]


def import_parts_in(folder: Path, values: Any) -> None:
    """Import the modules of a folder that import paths anywhere in a config name.

    The folder then stays at the end of the search path, for worker processes.

    Raises
    ------
    ConfigError
        A module cannot be imported.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("quiet_parts.py").write_text("def silence(wave): return 0 * wave")
    >>> import_parts_in(Path(), {"early_transforms": [{"name": "quiet_parts:silence"}]})
    """
    if isinstance(values, Mapping):
        values = [*values, *values.values()]
    if isinstance(values, list | tuple):
        for value in values:
            import_parts_in(folder, value)
    elif isinstance(values, str) and ":" in values:
        package = values.partition(":")[0].partition(".")[0]
        if (folder / f"{package}.py").is_file() or (folder / package / "__init__.py").is_file():
            with importing_from(folder):
                imported(values, where=f"a part in {folder}")
            if str(folder.absolute()) not in sys.path:
                sys.path.append(str(folder.absolute()))


def imported(path: str, *, where: str) -> Any:
    """Return the object at ``package.module:attribute``. This runs the module: for trusted text only.

    Raises
    ------
    ConfigError
        There is no such module or attribute.

    Examples
    --------
    >>> imported("pathlib:Path", where="an example").__name__
    'Path'
    """
    module, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    except Exception as error:  # a user's module may raise anything
        what = str(error) or type(error).__name__
        gone = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
        hint = "; install it, or name its folder in PYTHONPATH" if gone else ""
        raise ConfigError(f"{where} is {path!r}, which cannot be imported: {what}{hint}") from error


def import_path(part: Any) -> str:
    """Return ``module:name`` of a class or function, or of the class of any other object.

    Examples
    --------
    >>> from pathlib import Path
    >>> import_path(Path).endswith(":Path")
    True
    """
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"


def is_same_part(first: str, second: str) -> bool:
    """Return whether two import paths mean one part; renamed modules of dawnchorus count as the same.

    Examples
    --------
    >>> is_same_part("dawnchorus.data.clips:WaveDataset", "dawnchorus.datasets.clips:WaveDataset")
    True
    >>> is_same_part("owls.data:WaveDataset", "owls.datasets:WaveDataset")
    False
    """
    paths = [path.partition(":") for path in (first, second)]
    is_ours = all(module.startswith("dawnchorus.") for module, _, _ in paths)
    return first == second or (is_ours and paths[0][2] == paths[1][2] != "")


def saved_text(part: Any) -> str:
    """Return the text of a part in a saved config: its import path, and an object's public attributes.

    Only attributes with plain values are kept, so that two runs with the same parts compare equal.

    Examples
    --------
    >>> class Scaled:
    ...     def __init__(self, factor):
    ...         self.factor = factor
    >>> saved_text(Scaled(2.0)).endswith(":Scaled(factor=2.0)"), saved_text(Scaled).endswith(":Scaled")
    (True, True)
    """
    if hasattr(part, "__qualname__"):
        return import_path(part)
    path = import_path(part.func if isinstance(part, partial) else part)
    values = part.keywords if isinstance(part, partial) else getattr(part, "__dict__", {})
    kept = {name: value for name, value in values.items() if not name.startswith("_") and name != "training"}
    kept |= dict(part.named_buffers()) if hasattr(part, "named_buffers") else {}
    texts = (f"{name}={text}" for name, value in kept.items() if (text := _plain_text(value)) is not None)
    return f"{path}({', '.join(texts)})"


def _plain_text(value: Any) -> str | None:
    """Return the text of a plain value, the import path of a part, or None for other objects."""
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        texts = [_plain_text(item) for item in value]
        return None if None in texts else f"[{', '.join(map(str, texts))}]"
    if isinstance(value, Mapping):
        return _plain_text([item for pair in value.items() for item in pair])
    if hasattr(value, "tolist"):  # arrays and tensors
        return hashlib.sha256(repr(value.tolist()).encode()).hexdigest()[:16]
    return import_path(value) if hasattr(value, "__qualname__") else None


def made_part(part: Any, args: Mapping[str, Any], *, where: str, given_later: int = 0) -> Any:
    """Return a part that is ready to be called: an instance of a class, a function with bound arguments.

    An object is returned as it is, and takes no arguments.

    Parameters
    ----------
    part
        A part from :meth:`Registry.find`.
    args
        Keyword arguments.
    where
        Start of a message: the key of the arguments in a config.
    given_later
        Number of leading parameters that a function's caller gives: 2 for a loss, its logits and targets.

    Raises
    ------
    ConfigError
        An argument is not known or is refused, an object is given arguments, or the part cannot be called.

    Examples
    --------
    >>> made_part(pow, {"exp": 3}, where="args", given_later=1)(2)
    8
    >>> from fractions import Fraction
    >>> made_part(Fraction, {"numerator": 3}, where="args")
    Fraction(3, 1)
    """
    is_class = isinstance(part, type)
    if not is_class and not inspect.isroutine(part):
        if args:
            raise ConfigError(
                f"{where} is {dict(args)!r}, but {saved_text(part)} is an object that is made already; make "
                "it with these arguments, or give its class"
            )
        if not callable(part):
            raise ConfigError(f"{where}: {part!r} cannot be called; give a class, a function or an object")
        return part
    _check_arguments(part, args, where=where, given_later=0 if is_class else given_later)
    if not is_class:
        return partial(part, **args) if args else part
    try:
        return part(**args)
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{where}: {part.__name__} refuses {dict(args)!r}: {reason}") from error


def _check_arguments(part: Any, args: Mapping[str, Any], *, where: str, given_later: int) -> None:
    try:
        parameters = list(inspect.signature(part).parameters.values())[given_later:]
    except (TypeError, ValueError):
        return  # compiled code may have no signature
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        taken = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
        if args and not taken:
            raise ConfigError(f"{where} is {dict(args)!r}, but {part.__name__} takes none; leave it out")
        check_keys(args, taken, where=where)
