"""Recordings as services describe them, and the table of those that were fetched."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dawnchorus.audio.container import AUDIO_SUFFIXES
from dawnchorus.downloads.species_list import underscored
from dawnchorus.errors import DataError
from dawnchorus.files import replacing

ALL_RIGHTS_RESERVED = "all rights reserved"
_LEADING_ELSEWHERE = re.compile(r"^\.+|[/\\:\x00-\x1f]|^$")

_SUFFIX_OF_TYPE = {
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/vnd.wave": ".wav",
    "audio/mp4": ".m4a",
    "audio/m4a": ".m4a",
    "audio/x-m4a": ".m4a",
    "audio/aac": ".aac",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/flac": ".flac",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueRecording:
    """A recording as a service describes it.

    Attributes
    ----------
    id
        Unique among all services: XC694038, iNat123_456.
    file_url
        Address of its sound.
    suffix
        Suffix of its file, ``.mp3``.
    primary_label, secondary_labels
        Labels of the species it was made for, and of others heard in it.
    scientific_name
        As the service names the species.
    author
        Recordist, empty where unknown.
    license
        Its licence, such as ``cc-by-nc-sa 4.0``.
    rating
        5 for quality A to 1 for E, None where unknown.
    latitude, longitude
        Degrees, None where unknown.
    date, time
        As the service has them, 2022-01-18 and 08:00.
    duration_s
        Length, seconds, None where unknown.

    Examples
    --------
    >>> from dataclasses import fields
    >>> names = [field.name for field in fields(CatalogueRecording)]
    >>> blackbird = {"id": "XC1", "suffix": ".mp3", "scientific_name": "Turdus merula"}
    >>> CatalogueRecording(**dict.fromkeys(names, "") | blackbird).filename
    'Turdus_merula/XC1.mp3'
    """

    id: str
    file_url: str
    suffix: str
    primary_label: str
    secondary_labels: tuple[str, ...] = ()
    scientific_name: str
    common_name: str = ""
    author: str = ""
    license: str
    url: str = ""
    rating: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    date: str = ""
    time: str = ""
    country: str = ""
    locality: str = ""
    type: str = ""
    duration_s: float | None = None
    source: str

    @property
    def filename(self) -> str:
        """Its path below the folder of recordings: Turdus_merula/XC694038.mp3.

        Characters of a service's name that could lead to another folder become ``_``.
        """
        parts = (underscored(self.scientific_name), f"{self.id}{self.suffix}")
        return "/".join(_LEADING_ELSEWHERE.sub("_", part) for part in parts)


COLUMNS = (
    "filename",
    *(field.name for field in fields(CatalogueRecording) if field.name not in ("file_url", "suffix", "id")),
    "id",
    "size_bytes",
)
"""Columns of the table."""


class Found(NamedTuple):
    """The result of a search.

    Attributes
    ----------
    recordings
        Each once.
    left_out
        Number of others, by reason.
    notes
        Remarks on names for the user.

    Examples
    --------
    >>> from collections import Counter
    >>> found = Found([], Counter({"with all rights reserved": 3}), notes=[])
    >>> found.left_out.total()
    3
    """

    recordings: list[CatalogueRecording]
    left_out: Counter[str]
    notes: list[str]


@contextmanager
def leaving_out_absurd(found: Found) -> Iterator[None]:
    """Count an entry of another form than the service's API says as left out, instead of ending the search.

    Examples
    --------
    >>> from collections import Counter
    >>> found = Found([], Counter(), notes=[])
    >>> with leaving_out_absurd(found):
    ...     int("an id that is none")
    >>> found.left_out
    Counter({'described otherwise than the service says': 1})
    """
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        found.left_out["described otherwise than the service says"] += 1


def best_of(recordings: Iterable[CatalogueRecording], at_most: int | None) -> list[CatalogueRecording]:
    """Return at most so many recordings of each label, the best first: by rating, then the oldest.

    The order is by species; a duplicate recording is taken once.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> fair = SimpleNamespace(id="XC1", primary_label="owl", rating=3)
    >>> good = SimpleNamespace(id="XC2", primary_label="owl", rating=5)
    >>> [recording.id for recording in best_of([fair, good], at_most=1)]
    ['XC2']
    """
    once = {recording.id: recording for recording in reversed(list(recordings))}.values()
    ranked = sorted(once, key=lambda r: (r.primary_label, -(r.rating or 0), id_order(r.id)))
    n_taken: Counter[str] = Counter()
    best = []
    for recording in ranked:
        if at_most is None or n_taken[recording.primary_label] < at_most:
            n_taken[recording.primary_label] += 1
            best.append(recording)
    return best


def id_order(identity: str) -> tuple[int, ...]:
    """Return a key that sorts ids by their numbers.

    Examples
    --------
    >>> sorted(["XC100", "XC99"], key=id_order)
    ['XC99', 'XC100']
    """
    return tuple(int(digits) for digits in re.findall(r"\d+", identity))


def suffix_of(*, name: str = "", content_type: str = "") -> str | None:
    """Return the suffix of a file, from its name or its type; None where it cannot be decoded.

    Examples
    --------
    >>> suffix_of(name="dawn.FLAC"), suffix_of(content_type="audio/mpeg"), suffix_of(name="notes.txt")
    ('.flac', '.mp3', None)
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return suffix
    return _SUFFIX_OF_TYPE.get(content_type.partition(";")[0].strip().lower())


def licence_code(text: str) -> str:
    """Return the code and version of a licence, from a Creative Commons address or an abbreviation.

    ``//creativecommons.org/licenses/by-nc-sa/4.0/`` is ``cc-by-nc-sa 4.0``.

    Examples
    --------
    >>> licence_code("//creativecommons.org/licenses/by-nc-sa/4.0/")
    'cc-by-nc-sa 4.0'
    """
    match = re.search(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/?([\d.]*)", text.lower())
    code, version = match.groups() if match else (text.strip().lower(), "")
    if code in ("zero", "cc-0", "cc0"):
        return "cc0"
    if code in ("mark", "pdm"):
        return "pdm"
    return f"cc-{code} {version}".strip() if match else code


def is_licensed(licence: str, wanted: Sequence[str]) -> bool:
    """Return whether a licence is one of those wanted; true for all if none is given.

    ``cc-by`` is that licence alone, in any version; ``cc-by*`` all that begin so.

    Examples
    --------
    >>> is_licensed("cc-by-nc 4.0", ["cc-by*"]), is_licensed("cc-by-nc 4.0", ["cc-by"])
    (True, False)
    """
    code = licence.partition(" ")[0]
    for pattern in (name.strip().lower() for name in wanted):
        long = pattern if pattern.startswith(("cc", "pdm", "all", "*")) else f"cc-{pattern}"
        if fnmatchcase(code, long) or fnmatchcase(licence, long):
            return True
    return not wanted


def number(text: object, low: float, high: float) -> float | None:
    """Return a number within a range; None for anything else.

    Examples
    --------
    >>> number("48.2", -90, 90), number("north", -90, 90)
    (48.2, None)
    """
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if low <= value <= high else None


def row_of(recording: CatalogueRecording, filename: str, size_bytes: int) -> dict[str, str]:
    """Return a recording's line of the table.

    Examples
    --------
    >>> from dataclasses import fields
    >>> names = [field.name for field in fields(CatalogueRecording)]
    >>> blackbird = CatalogueRecording(**dict.fromkeys(names, "") | {"id": "XC1", "suffix": ".mp3"})
    >>> row = row_of(blackbird, "Turdus_merula/XC1.mp3", size_bytes=4096)
    >>> row["id"], row["size_bytes"]
    ('XC1', '4096')
    """
    row = {"filename": filename, "size_bytes": str(size_bytes)}
    for name in COLUMNS[1:-1]:
        value = getattr(recording, name)
        row[name] = "" if value is None else str(list(value) if isinstance(value, tuple) else value)
    return row


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Return the lines of an earlier table by their id; nothing where there is none.

    Raises
    ------
    DataError
        The file is not such a table, and must not be overwritten.

    Examples
    --------
    >>> from pathlib import Path
    >>> row = {"id": "XC1", "filename": "owl/XC1.mp3", "size_bytes": "4096"}
    >>> write_table(Path("table.csv"), {"XC1": row})
    >>> read_table(Path("table.csv"))["XC1"]["filename"]
    'owl/XC1.mp3'
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = {"filename", "id", "size_bytes"}.difference(rows.fieldnames or ())
            lines = [] if missing else [{k: v or "" for k, v in row.items() if k} for row in rows]
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        missing = {"text in UTF-8"}
    if missing:
        raise DataError(
            f"{path} is no table of downloaded recordings, having no {', '.join(sorted(missing))}; name "
            "another with --table"
        )
    return {row["id"]: row for row in lines}


def write_table(path: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Write the table, sorted by id, with columns that users added at its end.

    Examples
    --------
    >>> from pathlib import Path
    >>> row = {"id": "XC1", "filename": "owl/XC1.mp3", "size_bytes": "4096"}
    >>> write_table(Path("table.csv"), {"XC1": row})
    >>> len(Path("table.csv").read_text().splitlines())  # a heading and a recording
    2
    """
    added = dict.fromkeys(name for row in rows.values() for name in row if name not in COLUMNS)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *added], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows, key=lambda name: (id_order(name), name)))
