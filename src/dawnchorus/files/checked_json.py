"""JSON files that can be made again: they begin with a digest, and a damaged one counts as missing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from dawnchorus.files.replacement import replacing

SchemaT = TypeVar("SchemaT")


def write_checked(path: Path, content: Any) -> None:
    """Write JSON below a line with its digest.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_checked(Path("index.json"), {"night.wav": 3})
    >>> read_checked(Path("index.json"), dict[str, int])
    {'night.wav': 3}
    """
    text = json.dumps(content, separators=(",", ":")).encode("ascii")
    with replacing(path) as temporary:
        temporary.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def read_checked(path: Path, schema: type[SchemaT]) -> SchemaT | None:
    """Return what :func:`write_checked` wrote; None where the file is missing, or otherwise.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("index.json").write_text("{}")
    >>> read_checked(Path("index.json"), dict[str, int]) is None
    True
    """
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
        if digest == hashlib.sha256(text).hexdigest().encode():
            return TypeAdapter(schema).validate_json(text, strict=True)
    except (OSError, ValueError):
        pass
    return None
