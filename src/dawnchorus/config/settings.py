"""Base of all settings objects: frozen and checked, with messages that name the key and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from dawnchorus.errors import ConfigError

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base of every settings object: frozen, and unknown keys are refused.

    Examples
    --------
    >>> class Loader(Settings):
    ...     batch_size: int = 64
    >>> Loader(batch_size=32).batch_size
    32
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def validate(settings_class: type[SettingsT], values: Mapping[str, Any], *, where: str) -> SettingsT:
    """Return ``values`` as a checked, frozen object.

    Parameters
    ----------
    settings_class
        Class of the object.
    values
        Keys and values from a config.
    where
        Start of a message: a file, or a file and a key.

    Raises
    ------
    ConfigError
        All problems at once, each with the key, the value and the legal values.

    Examples
    --------
    >>> class Loader(Settings):
    ...     batch_size: int = 64
    >>> validate(Loader, {"batchsize": 32}, where="mine.py")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: mine.py: batchsize is not known; did you mean batch_size?
    """
    try:
        return settings_class.model_validate(dict(values))
    except ValidationError as error:
        problems = [_explain(settings_class, problem) for problem in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(problems)) from None


def check_keywords(function: Callable[..., Any], values: Mapping[str, Any], *, where: str) -> None:
    """Raise a ConfigError where ``values`` has a key that ``function`` does not take.

    Examples
    --------
    >>> def resize(width, height): ...
    >>> check_keywords(resize, {"width": 3}, where="mine.py: resize")
    >>> check_keywords(resize, {"with": 3}, where="mine.py: resize")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: mine.py: resize.with is not known; did you mean width?
    """
    import inspect

    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # code in C may have no signature
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    check_keys(values, list(parameters), where=where)


def check_keys(values: Mapping[str, Any], legal: Sequence[str], *, where: str) -> None:
    """Raise a ConfigError where ``values`` has a key that is not among the legal ones.

    Examples
    --------
    >>> check_keys({"width": 3}, ["width", "height"], where="mine.py: resize")
    """
    for key in values:
        if key not in legal:
            raise ConfigError(f"{where}.{key} is not known{nearest(key, legal)}")


def _explain(settings_class: type[Settings], problem: Any) -> str:
    """Return one pydantic problem as a sentence: the key, the fault, the value."""
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "CONFIG"
    if problem["type"] == "extra_forbidden":
        owner = _settings_at(settings_class, location[:-1])
        legal = list(owner.model_fields) if owner else []
        return f"{key} is not known{nearest(location[-1], legal)}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{key} is {problem['input']!r}; {message}"


def _settings_at(settings_class: type[Settings], location: list[str]) -> type[Settings] | None:
    """Return the settings class that has a key, through ``X | None`` and ``tuple[X, ...]``."""
    for part in location:
        if part.isdigit():
            continue
        field = settings_class.model_fields.get(part)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inside = [c for c in candidates if isinstance(c, type) and issubclass(c, Settings)]
        if not inside:
            return None
        settings_class = inside[0]
    return settings_class


def nearest(key: str, legal: Sequence[str], *, kind: str = "keys") -> str:
    """Return the end of a message about an unknown key: the nearest legal one, or else all of them.

    Parameters
    ----------
    key
        The unknown key.
    legal
        The legal keys.
    kind
        Name of their kind, in the plural.

    Examples
    --------
    >>> nearest("n_mel", ["n_mels", "n_fft"])
    '; did you mean n_mels?'
    >>> nearest("colour", ["n_mels", "n_fft"])
    '; legal keys are n_fft, n_mels'
    """
    close = difflib.get_close_matches(key, legal, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; legal {kind} are {', '.join(sorted(legal))}" if legal else ""
