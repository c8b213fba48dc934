"""Start time and device of a field recording: from its metadata, else from its name.

Three sources, the most trusted first: GUANO metadata (the ``guan`` chunk of a WAV file; guano-md.org), the
comment that AudioMoths write (``ICMT`` in the ``LIST``/``INFO`` chunk), and the file name.

Of a file, only the chunk headers and these metadata are read, whatever its size. A damaged or missing file is
no error here: its name alone is used. The patterns of names are in :mod:`dawnchorus.audio.recorder_names`.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from dawnchorus.audio.recorder_names import YEARS, date_in, place_in_name, time_in_name, utc_offset
from dawnchorus.files.storage import as_path

_MAX_METADATA = 1 << 20  # bytes; AudioMoth writes 0.5 KiB and GUANO a few, so that more is damage
_MAX_CHUNKS = 256  # a file of zeros after a damaged header would be walked through eight bytes at a time
_UNKNOWN_SIZE = 0xFFFFFFFF  # of a chunk whose size is in the ds64 chunk of an RF64 file

_AUDIOMOTH = re.compile(
    r"Recorded at (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))? "
    r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>\d{4}) "
    r"(?:\(UTC(?P<offset>[+-]\d{1,2}(?::\d\d)?)?\) )?"  # the first firmware wrote UTC without a mark
    r"(?:by (?P<device>AudioMoth [0-9A-Za-z]{16})|during deployment )",
    re.ASCII,
)
_ARTIST = re.compile(r"AudioMoth [0-9A-Za-z]{16}\b", re.ASCII)
_ISO_WITH_TIME = re.compile(r"\d{4}-?\d\d-?\d\d[T ]\d\d", re.ASCII)


class Recorder(NamedTuple):
    """The device that made a recording, and its place.

    Attributes
    ----------
    device
        Such as ``AudioMoth 243B1F055B0F36FE`` or ``Wildlife Acoustics SM4BAT S4U01234``, from metadata.
    latitude, longitude
        Degrees north and east (WGS 84), from GUANO metadata or the name.

    Examples
    --------
    >>> Recorder("AudioMoth 243B1F055B0F36FE").latitude is None
    True
    """

    device: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class RecorderTime(NamedTuple):
    """Start time, place and device of a recording.

    Attributes
    ----------
    start
        Aware where the offset from UTC is known, else the local time that the recorder was set to.
    source
        Origin of ``start``.
    device
        Such as ``AudioMoth 243B1F055B0F36FE`` or ``Wildlife Acoustics SM4BAT S4U01234``, from the metadata
        even where the start is not from there; None where they lack it.
    latitude, longitude
        Degrees north and east (WGS 84), from GUANO metadata or the name; None where unknown.

    Examples
    --------
    >>> from datetime import datetime
    >>> began = RecorderTime(datetime(2024, 5, 4, 4, 30), "name")
    >>> began.start.hour, began.device
    (4, None)
    """

    start: datetime
    source: Literal["guano", "audiomoth", "name"]
    device: str | None = None
    latitude: float | None = None
    longitude: float | None = None


def recorder_time(path: Path) -> RecorderTime | None:
    """Return the start time in a recording's metadata or name; None where neither has one.

    Nothing is raised for a file that is damaged, missing or no recording: its name alone is used.

    Examples
    --------
    >>> recorder_time("SITE1_20240504_043000.wav").start
    datetime.datetime(2024, 5, 4, 4, 30)
    >>> recorder_time("20240504T043000+0200.flac").start.isoformat()
    '2024-05-04T04:30:00+02:00'
    >>> recorder_time("robin.wav") is None
    True
    """
    path = as_path(path)
    metadata = _Metadata.of(path)
    recorder = metadata.recorder(path)
    if (start := _iso_time(metadata.guano.get("Timestamp", ""))) is not None:
        return RecorderTime(start, "guano", *recorder)
    if metadata.comment and (start := _audiomoth_time(metadata.comment)) is not None:
        return RecorderTime(start, "audiomoth", *recorder)
    if (start := time_in_name(path)) is not None:
        return RecorderTime(start, "name", *recorder)
    return None


def recorder_of(path: Path) -> Recorder:
    """Return the device and the place in a recording's metadata or name, also where no time is known.

    Nothing is raised for a file that is damaged, missing or no recording: its name alone is used.

    Examples
    --------
    >>> recorder_of("20230510T080000+1000_REC [-27.4 152.9].flac")
    Recorder(device=None, latitude=-27.4, longitude=152.9)
    """
    path = as_path(path)
    return _Metadata.of(path).recorder(path)


def time_at(start: datetime, offset_s: float) -> datetime:
    """Return the time ``offset_s`` seconds after ``start``, to the nearest microsecond.

    An aware time is computed in UTC, so that a change to or from summer time in between does not shift it.

    Examples
    --------
    >>> from datetime import datetime
    >>> time_at(datetime(2024, 5, 4, 23, 59, 57), 5.5).isoformat()
    '2024-05-05T00:00:02.500000'
    """
    offset = timedelta(seconds=float(offset_s))
    if start.tzinfo is None:
        return start + offset
    return (start.astimezone(UTC) + offset).astimezone(start.tzinfo)


class _Metadata(NamedTuple):
    """GUANO's fields, an AudioMoth's comment, and the artist."""

    guano: dict[str, str]
    comment: re.Match[str] | None
    artist: str

    @classmethod
    def of(cls, path: Path) -> _Metadata:
        texts = _metadata_of(path)
        comment = _AUDIOMOTH.search(texts.get(b"ICMT", ""))
        return cls(_guano_fields(texts.get(b"guan", "")), comment, texts.get(b"IART", ""))

    def recorder(self, path: Path) -> Recorder:
        device = _guano_device(self.guano) or _audiomoth_device(self.comment, self.artist)
        return Recorder(device, *(_guano_place(self.guano) or place_in_name(path) or (None, None)))


def _metadata_of(path: Path) -> dict[bytes, str]:
    """Return the texts of a WAV file by the identifiers of their chunks: ``guan``, ``ICMT``, ``IART``."""
    texts: dict[bytes, str] = {}
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return texts
        with path.open("rb", buffering=0) as file:
            for identifier, content in _metadata_chunks(file, path.stat().st_size):
                if identifier == b"guan":
                    texts[identifier] = _text(content)
                elif content.startswith(b"INFO"):
                    texts.update(_info_texts(content))
    except (OSError, struct.error):
        pass  # texts from before the damage are kept
    return texts


def _metadata_chunks(file: BinaryIO, file_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the whole ``guan`` and ``LIST`` chunks of a RIFF or RF64 file, and step over the others."""
    kind, _, form = struct.unpack("<4sI4s", file.read(12))
    if kind not in (b"RIFF", b"RF64", b"BW64") or form != b"WAVE":
        return
    data_size = _UNKNOWN_SIZE
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > file_size:
            return
        file.seek(position)
        identifier, size = struct.unpack("<4sI", file.read(8))
        if identifier == b"data" and size == _UNKNOWN_SIZE:
            size = data_size
        end = position + 8 + size
        if end > file_size or not identifier.isascii() or not identifier.decode().isprintable():
            return  # the file is cut off, or these bytes are no chunk
        if identifier == b"ds64" and kind != b"RIFF":
            _, data_size = struct.unpack("<QQ", file.read(16))
        elif identifier in (b"guan", b"LIST") and size <= _MAX_METADATA:
            yield identifier, file.read(size)
        position = end + (size % 2 and _padding_at(file, end))


def _padding_at(file: BinaryIO, position: int) -> int:
    """Return how many bytes fill up a chunk of odd length: one, but some GUANO writers leave it out."""
    file.seek(position)
    return 0 if file.read(4) in (b"guan", b"LIST") else 1


def _info_texts(content: bytes) -> dict[bytes, str]:
    """Return the texts of a ``LIST`` chunk of type ``INFO``."""
    texts = {}
    position = 4
    while position + 8 <= len(content):
        identifier, size = struct.unpack_from("<4sI", content, position)
        position += 8
        if position + size > len(content):
            break
        texts[identifier] = _text(content[position : position + size])
        position += size + size % 2
    return texts


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace").strip("\0")


def _guano_fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.split("\n"))
    return {key.strip(): value.strip(" \t\r\0") for key, _, value in pairs}


def _guano_device(fields: dict[str, str]) -> str | None:
    return " ".join(filter(None, (fields.get(key) for key in ("Make", "Model", "Serial")))) or None


def _guano_place(fields: dict[str, str]) -> tuple[float, float] | None:
    try:
        latitude, longitude = map(float, fields.get("Loc Position", "").split())
    except ValueError:
        return None
    if math.isfinite(latitude + longitude) and abs(latitude) <= 90 and abs(longitude) <= 180:
        return latitude, longitude
    return None


def _iso_time(text: str) -> datetime | None:
    text = text.upper()
    if not _ISO_WITH_TIME.match(text):
        return None  # a date alone is no time
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        return None
    return start if start.year in YEARS else None


def _audiomoth_device(comment: re.Match[str] | None, artist: str) -> str | None:
    """Return the device; where the comment names the deployment instead, the artist is the device."""
    if comment is None:
        return None
    named = _ARTIST.search(artist)
    return comment["device"] or (named[0] if named else None)


def _audiomoth_time(comment: re.Match[str]) -> datetime | None:
    offset = utc_offset(comment["offset"] or "+00")
    start = date_in(comment)
    if start is None or offset is None or start.year not in YEARS:
        return None
    microsecond = int((comment["fraction"] or "").ljust(6, "0"))
    return start.replace(microsecond=microsecond, tzinfo=offset)
