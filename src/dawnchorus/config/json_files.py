"""Reader of the JSON files that dawnchorus writes: bounded in size and depth, and checked by a schema."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from dawnchorus.config.settings import SchemaT, Settings, validate
from dawnchorus.errors import DawnchorusError, RunError

logger = logging.getLogger(__name__)

MAX_BYTES = 1 << 26
"""Size of the largest file that is read: 64 MiB, a hundred times those of a large run."""

MAX_DEPTH = 64
"""Depth of the deepest document that is read; ours have about eight levels."""


class Record(Settings):
    """Base of what dawnchorus itself writes as JSON and reads back: frozen, and unknown keys are refused.

    Examples
    --------
    >>> class Visit(Record):
    ...     species: str
    >>> parsed_json('{"species": 3}', Visit, where="visit.json")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: visit.json: species is 3; legal: text
    """


def read_json(
    path: Path, schema: type[SchemaT], *, error: type[DawnchorusError] = RunError, remedy: str = ""
) -> SchemaT:
    """Return the content of a JSON file as an object of the schema.

    Parameters
    ----------
    path
        The file, in UTF-8.
    schema
        Class of settings, or another type that pydantic knows, such as ``dict[str, int]``.
    error
        Class of the error.
    remedy
        End of a message: what to do about a damaged file.

    Raises
    ------
    RunError
        The file is missing or damaged, larger or deeper than ours, or has other keys and values; or ``error``
        in its place.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("counts.json").write_text('{"owl": "many"}')
    >>> read_json(Path("counts.json"), dict[str, int], remedy="delete it")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: counts.json: owl is 'many'; legal: a whole number; delete it
    """
    end = f"; {remedy}" if remedy else ""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{path} is larger than {MAX_BYTES >> 20} MiB, which such a file never is{end}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{path} does not exist{end}") from None
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}{end}") from None
    return parsed_json(content, schema, where=str(path), error=error, remedy=remedy)


def parsed_json(
    content: str | bytes,
    schema: type[SchemaT],
    *,
    where: str,
    error: type[DawnchorusError] = RunError,
    remedy: str = "",
) -> SchemaT:
    """Return a JSON text as an object of the schema; see :func:`read_json`.

    Parameters
    ----------
    content
        The text, bytes in UTF-8.
    schema, error, remedy
        As for :func:`read_json`.
    where
        Start of a message: the file, and the place in it.

    Raises
    ------
    RunError
        The text is damaged or deeper than ours, or has other keys and values; or ``error`` in its place.

    Examples
    --------
    >>> parsed_json("[1, 2]", tuple[int, ...], where="sizes.json")
    (1, 2)
    """
    end = f"; {remedy}" if remedy else ""
    try:
        values = json.loads(content.decode("utf-8-sig") if isinstance(content, bytes) else content)
    except UnicodeDecodeError:
        raise error(f"{where} is no text in UTF-8{end}") from None
    except json.JSONDecodeError as cause:
        raise error(f"{where} is not JSON: {cause.msg} in line {cause.lineno}{end}") from None
    except ValueError:  # Python's limit of digits
        raise error(f"{where} holds a number of thousands of digits{end}") from None
    except RecursionError:
        values, is_deep = None, True
    else:
        is_deep = _is_deep(values)
    if is_deep:
        raise error(f"{where} is nested deeper than {MAX_DEPTH} levels{end}")
    return validate(schema, values, where=where, error=error, remedy=remedy)


def read_json_if_sound(path: Path, schema: type[SchemaT]) -> SchemaT | None:
    """Return the content of a JSON file; None where there is none, or with a warning where it is damaged.

    It is for files without which only time is lost, or a part of a page.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_json_if_sound(Path("missing.json"), dict[str, int]) is None
    True
    """
    if not path.is_file():
        return None
    try:
        return read_json(path, schema, remedy="it is ignored")
    except RunError as error:
        logger.warning("%s", error)
        return None


def _is_deep(value: Any) -> bool:
    """Return whether a document has more levels than ours ever have."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return False
    return True
