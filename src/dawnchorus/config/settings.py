"""Base of all settings objects, and the words for what is wrong with the values of one.

:func:`validate` checks the values of configs and of the files that dawnchorus writes; its messages name the
key, the value, what would be legal, and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dawnchorus.errors import ConfigError, DawnchorusError
from dawnchorus.wording import shown

SchemaT = TypeVar("SchemaT")
SettingsT = TypeVar("SettingsT", bound="Settings")

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "dict": "a dict of keys and values",
    "mapping": "a dict of keys and values",
    "model": "a dict of keys and values",
    "dataclass": "a dict of keys and values",
    "none": "None",
    "callable": "a function",
}
"""Legal values by the first word of pydantic's name for the error."""

_LIMITS = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}
"""Bounds of a number by their names in a field."""

_PROBLEMS_SHOWN = 5
_BOUNDS = {
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} letters",
    "string_too_short": "at least {min_length} letters",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} items",
    "missing_positional_only_argument": "more items",
    "unexpected_positional_argument": "fewer items",
}
"""Legal values by pydantic's name for the error, with its context."""


class Settings(BaseModel):
    """Base of every settings object: frozen, and unknown keys are refused.

    Raises
    ------
    ConfigError
        A key or a value is not legal.

    Examples
    --------
    >>> class Loader(Settings):
    ...     batch_size: int = 64
    >>> Loader(batch_size=32).batch_size
    32
    >>> Loader(batch_size="many")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: Loader: batch_size is 'many'; legal: a whole number
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(f"{type(self).__name__}: {_sentence(error, type(self), values)}") from None

    # Settings inside others are then made by pydantic itself, whose errors hold the whole path of a key.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def validate(
    schema: type[SchemaT],
    values: Any,
    *,
    where: str,
    error: type[DawnchorusError] = ConfigError,
    remedy: str = "",
) -> SchemaT:
    """Return ``values`` as an object of the schema.

    Parameters
    ----------
    schema
        Class of settings, or another type that pydantic knows, such as ``dict[str, int]``.
    values
        Keys and values from a config or a file.
    where
        Start of a message: a file, or a file and a key.
    error
        Class of the error.
    remedy
        End of a message.

    Raises
    ------
    ConfigError
        All problems at once, each with the key, the value and the legal values; or ``error`` in its place.

    Examples
    --------
    >>> class Loader(Settings):
    ...     batch_size: int = 64
    >>> validate(Loader, {"batchsize": 32}, where="mine.py")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: mine.py: batchsize is not known; did you mean batch_size?
    """
    values = dict(values) if isinstance(values, Mapping) else values
    end = f"; {remedy}" if remedy else ""
    try:
        return _adapter(cast(Hashable, schema)).validate_python(values)
    except ValidationError as found:
        raise error(f"{where}: {_sentence(found, schema, values)}{end}") from None
    except UnicodeEncodeError:  # half a surrogate pair, where pydantic looks for a number
        raise error(f"{where} holds text that is no Unicode{end}") from None
    except ConfigError as inner:  # of a part that a registry lacks
        raise error(f"{where}: {inner}") from inner.__cause__


@cache
def _adapter(schema: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, schema))


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


def _sentence(error: ValidationError, schema: Any, values: Any) -> str:
    """Return all problems that pydantic found: of each the key, the value, and what would be legal."""
    is_secret = getattr(schema, "model_config", {}).get("hide_input_in_errors", False)
    legal: dict[str, list[str]] = {}
    others: list[str] = []
    for problem in error.errors(include_url=False):
        keys, owner = _place(schema, values, problem["loc"])
        key, kind = ".".join(keys), problem["type"]
        if kind == "extra_forbidden":
            others.append(f"{key} is not known{nearest(keys[-1], list(_fields(owner)))}")
        elif kind == "missing":
            others.append(f"{key} is missing")
        elif kind in ("value_error", "assertion_error"):
            others.append(str(problem["ctx"]["error"]))
        else:
            found = "of another kind" if is_secret else shown(problem["input"])
            what = f"{key or 'the whole'} is {found}"
            legal.setdefault(what, []).append(_legal(problem, _fields(owner).get(keys[-1]) if keys else None))
    illegal = [f"{what}; legal: {' or '.join(dict.fromkeys(each))}" for what, each in legal.items()]
    return "; ".join([*illegal, *others][:_PROBLEMS_SHOWN])


def _legal(problem: Any, field: Any) -> str:
    """Return the legal values of a field that has another; its bounds are all named."""
    kind, context = problem["type"], problem.get("ctx", {})
    limits = {
        name: getattr(bound, name)
        for bound in getattr(field, "metadata", ())
        for name in _LIMITS
        if hasattr(bound, name)
    }
    bounds = " and ".join(_LIMITS[name].format(limit) for name, limit in limits.items())
    if kind.startswith(("greater", "less")):
        return bounds or _BOUNDS[kind].format(**context)
    if kind in _BOUNDS:
        return getattr(field, "description", None) or _BOUNDS[kind].format(**context)
    words = _KINDS.get(kind.partition("_")[0], problem["msg"].removeprefix("Input should be "))
    return f"{words}, {bounds}" if bounds and words.endswith("number") else words


def _place(schema: Any, values: Any, location: Sequence[str | int]) -> tuple[list[str], Any]:
    """Return the keys that lead to a problem, and the class whose field the last one is.

    Pydantic puts names of its own, such as the member of a union that it tried, between the keys.
    """
    keys: list[str] = []
    owner, inside = _owner_in(schema), schema
    for part in location:
        owner = _owner_in(inside)
        if isinstance(part, int):
            is_key = isinstance(values, list | tuple)
            values = values[part] if is_key and part < len(values) else values
        else:
            is_key = part in _fields(owner) or (isinstance(values, Mapping) and part in values)
            if part in _fields(owner):
                inside = getattr(_fields(owner)[part], "annotation", None)
            if is_key:
                values = values.get(part) if isinstance(values, Mapping) else getattr(values, part, None)
        keys += [str(part)] * is_key
    return keys, owner


def _owner_in(annotation: Any) -> Any:
    """Return the first class with fields in an annotation such as ``tuple[X, ...] | None``."""
    if _fields(annotation):
        return annotation
    return next((owner for part in get_args(annotation) if (owner := _owner_in(part)) is not None), None)


def _fields(owner: Any) -> Mapping[str, Any]:
    if not isinstance(owner, type):
        return {}
    return owner.model_fields if issubclass(owner, BaseModel) else getattr(owner, "__dataclass_fields__", {})


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
