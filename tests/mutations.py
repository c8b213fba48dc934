"""Seeded damage to files, and counts of what their readers make of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dawnchorus.errors import DawnchorusError

T = TypeVar("T")
Generator = np.random.Generator
Mutation = Callable[[bytes, Generator], bytes]

COUNTS_VARIABLE = "DAWNCHORUS_STRESS_COUNTS"
"""Environment variable with the name of a file that takes the counts of every kind."""

_RAW = "@raw@"
_DEEP = ("[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 900 + "1" + "}" * 900)
_RAW_VALUES = (*_DEEP, "9" * 5000, "-1e999", "1e308", "NaN", "-Infinity", "0x10", '"\\ud800"', '"\\u0000"')
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 10**18, 10**30, "", "1", "owl", "é" * 10, "x" * 10_000, "../../x", "/x"),
    *([], {}, [[]], [None], {"": None}, ["owl", 3], {"a": {"b": 1}}, 1e-300),
)
_CELLS = (
    *("", " ", "nan", "NaN", "inf", "-inf", "-1", "0", "1e400", "1.5", "é", "\x00", "true", "None", "\ufeff"),
    *(
        '"',
        '""',
        '"a\nb"',
        "a,b",
        "a;b\tc",
        "\r",
        "\\",
        "[",
        "['a'",
        "[1, 'a'",
        "[[0, 1, 2]]",
        "../../x",
        "=1+1",
    ),
    *("9" * 5000, "x" * 100_000, "[" * 5000, "{" * 3000, "[" + "(" * 300, "-" * 4000 + "1"),
)


def _one(items: Sequence[T], rng: Generator) -> T:
    return items[int(rng.integers(len(items)))]


def bytes_changed(data: bytes, rng: Generator) -> bytes:
    """Return the file with bits flipped, a part cut, repeated, zeroed or replaced, or another encoding."""
    n = max(1, len(data))
    # Headers are short and matter most.
    at = int(rng.integers(min(n, 600) if rng.random() < 0.5 else n))
    length = int(rng.integers(1, max(2, n // 4)))
    number = _one([0, 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1], rng).to_bytes(8, "little")
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: _flipped(data, rng),
        lambda: _flipped(data, rng),
        lambda: data[:at],
        lambda: data[:at] + data[at + length :],
        lambda: data[: at + length] + data[at:],
        lambda: data[:at] + bytes(length) + data[at + length :],
        lambda: data[:at] + rng.bytes(min(length, 64)) + data[at + 64 :],
        lambda: data[:at] + number + data[at + 8 :],
        lambda: data[:at] + b"\0" + data[at:],
        lambda: data[:at] + b"\xff\xfe\xe9" + data[at:],
        lambda: data.decode("latin1").encode("utf-16"),
        lambda: b"",
        lambda: data + rng.bytes(100),
    )
    return _one(ways, rng)()


def _flipped(data: bytes, rng: Generator) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    span = min(len(data), 600) if rng.random() < 0.5 else len(data)
    for _ in range(int(rng.integers(1, 5))):
        changed[int(rng.integers(span))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def json_changed(data: bytes, rng: Generator) -> bytes:
    """Return the document with a key left out, added or doubled, or a value of another type or size."""
    document = json.loads(data)
    raw = _one(_RAW_VALUES, rng)
    value = _one(_VALUES, rng) if rng.random() < 0.6 else _RAW
    holders = [holder for holder in _holders(document) if len(holder)]
    if rng.random() < 0.08 or not holders:
        document = value
    else:
        holder = _one(holders, rng)
        key: Any = _one(list(holder) if isinstance(holder, dict) else range(len(holder)), rng)
        way = int(rng.integers(6))
        if way == 0:
            del holder[key]
        elif way == 1 and isinstance(holder, dict):
            holder[f"{key}_"] = holder.pop(key)
        elif way == 2 and isinstance(holder, list):
            holder.append(value)
        else:
            holder[key] = value
    text = json.dumps(document, ensure_ascii=bool(rng.random() < 0.5))
    return text.replace(json.dumps(_RAW), raw).encode("utf-8", "surrogatepass")


def _holders(document: Any) -> list[Any]:
    """Return the dicts and lists in a document."""
    found = [document] if isinstance(document, dict | list) else []
    for holder in found:  # grows as it is walked
        items = holder.values() if isinstance(holder, dict) else holder
        found += [item for item in items if isinstance(item, dict | list)]
    return found


def table_changed(data: bytes, rng: Generator) -> bytes:
    """Return the table with a cell, a line, a column or the separator changed."""
    separator = "\t" if b"\t" in data else ","
    rows = [line.split(separator) for line in data.decode().splitlines()]
    row = int(rng.integers(len(rows))) if rng.random() < 0.8 else 0
    column = int(rng.integers(len(rows[row])))
    cell = _one(_CELLS, rng)
    way = int(rng.integers(10))
    if way < 4:
        rows[row][column] = cell
    elif way == 4:
        del rows[row]
    elif way == 5:
        rows.insert(row, list(rows[row]))
    elif way == 6:
        del rows[row][column]
    elif way == 7:
        rows[row].insert(column, cell)
    elif way == 8:
        rows = [[*line[:column], *line[column + 1 :]] for line in rows]
    else:
        separator = _one([";", "\t", " ", "\x00", "sep"], rng)
    return ("\n".join(separator.join(line) for line in rows) + "\n").encode("utf-8", "surrogatepass")


def checked_json_changed(data: bytes, rng: Generator) -> bytes:
    """Return a file of JSON below its digest, the JSON changed and the digest that of what it became."""
    changed = json_changed(data.partition(b"\n")[2], rng)
    return hashlib.sha256(changed).hexdigest().encode() + b"\n" + changed


def safetensors_changed(data: bytes, rng: Generator) -> bytes:
    """Return a safetensors file with its header changed, which is JSON behind its length."""
    length = int.from_bytes(data[:8], "little")
    header = json_changed(data[8 : 8 + length], rng)
    if rng.random() < 0.5:  # the training state in the metadata is JSON in JSON
        document = json.loads(data[8 : 8 + length])
        metadata = document["__metadata__"]
        key = _one(list(metadata), rng)
        try:
            metadata[key] = json_changed(metadata[key].encode(), rng).decode("utf-8", "replace")
        except ValueError:
            metadata[key] = _one(_CELLS, rng)
        header = json.dumps(document).encode("utf-8", "surrogatepass")
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def zip_changed(data: bytes, rng: Generator) -> bytes:
    """Return an archive of arrays, such as ``.npz``, of which one was changed and packed again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = _one(list(files), rng)
    header, content = files[name][:128], files[name][128:]
    digits = [place for place, byte in enumerate(header) if chr(byte).isdigit()]
    if digits and rng.random() < 0.5:
        place = _one(digits, rng)
        grown = header[:place] + b"9" * int(rng.integers(1, 12)) + header[place + 1 :]
        files[name] = grown.rstrip(b" \n")[:127].ljust(127) + b"\n" + content
    else:
        files[name] = bytes_changed(files[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return out.getvalue()


@dataclass(frozen=True)
class Kind:
    """A kind of file that a command reads.

    Attributes
    ----------
    name
        Its name in the table of counts.
    file
        The file, as it was written.
    read
        What reads it, as a command does.
    form
        The mutation of its form, beside that of its bytes.
    cost
        How many times dearer a reading is than a millisecond or two: as many times fewer are done.
    folder
        The folder that a sentence names, where not the file; otherwise that of the file.
    """

    name: str
    file: Path
    read: Callable[[], object]
    form: Mutation = bytes_changed
    cost: int = 1
    folder: Path | None = None


@dataclass
class Count:
    """How often a kind was read, refused with one sentence that names the file, or ended otherwise."""

    n_mutations: int = 0
    n_read: int = 0
    n_refused: int = 0
    longest_s: float = 0.0
    badly: Counter[str] = field(default_factory=Counter)

    def row(self) -> dict[str, Any]:
        """Return the count in JSON's types."""
        return {
            "tried": self.n_mutations,
            "well": self.n_read,
            "sentence": self.n_refused,
            "badly": self.badly.total(),
            "longest_s": round(self.longest_s, 2),
            "how": dict(self.badly.most_common(5)),
        }


def count(kind: Kind, n_mutations: int, *, seed: int = 0) -> Count:
    """Return what became of ``n_mutations`` of a file, which is legal before, and restored at the end."""
    whole = kind.file.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind.read()
    rng = np.random.default_rng([seed, *kind.name.encode()])
    counted = Count()
    with kind.file.open("r+b", buffering=0) as file:  # opened once, which is slow where disks are

        def write(content: bytes) -> None:
            file.seek(0)
            file.write(content)
            file.truncate()

        try:
            for _ in range(max(1, n_mutations // kind.cost)):
                way = kind.form if rng.random() < 0.6 else bytes_changed
                write(way(whole, rng))
                _read_once(kind, counted)
        finally:
            write(whole)
    return counted


def _read_once(kind: Kind, counted: Count) -> None:
    counted.n_mutations += 1
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kind.read()
        counted.n_read += 1
    except DawnchorusError as error:
        fault = _fault_of_message(str(error), kind.file, kind.folder or kind.file.parent)
        if fault is None:
            counted.n_refused += 1
        else:
            counted.badly[f"{fault}: {str(error)[:160]}"] += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        counted.badly[f"{type(error).__name__}: {str(error)[:160]}"] += 1
    counted.longest_s = max(counted.longest_s, time.perf_counter() - started)


def _fault_of_message(message: str, file: Path, folder: Path) -> str | None:
    """Return what a sentence lacks, or None."""
    if file.name not in message and str(folder) not in message:
        return "does not name the file or its folder"
    if "\n" in message.strip() or len(message) > 1000:
        return "is no sentence"
    own_words = ("Input should", "pydantic", "Traceback", "validation error")
    return next((f"says {words}" for words in own_words if words in message), None)


def write_counts(counts: Iterable[tuple[str, Count]]) -> None:
    """Append the counts, a line of JSON each, to the file that ``DAWNCHORUS_STRESS_COUNTS`` names, if any."""
    path = os.environ.get(COUNTS_VARIABLE)
    if path is not None:
        lines = [json.dumps({"kind": name, **counted.row()}) + "\n" for name, counted in counts]
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("".join(lines))
