"""Sound that a file holds and its header does not claim, which libsndfile would leave out without a word.

- WAV: sizes that wrapped at 4 GiB, or are those of a recorder's last flush before it died.
- MP3: a variable rate without a Xing tag, whose length libmpg123 guesses from the first frames; files that
  were put together, whose tag counts the first alone.
- Ogg: streams one after the other, of which the first alone is read.

A file is read through :class:`~dawnchorus.files.PiecedFile`, with the right header; its bytes on the disk
stay as they are.
"""

from __future__ import annotations

import mmap
import string
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import soundfile

from dawnchorus.errors import AudioError
from dawnchorus.files import Piece
from dawnchorus.files.storage import is_remote

TOLERANCE = 4_096
"""Bytes behind the sound that are left alone whatever they are: 21 ms at 96 kHz and 16 bits."""

_CHUNK_NAME = frozenset((string.ascii_letters + string.digits + " _-.").encode())
_WRAP = 1 << 32  # bytes at which the sizes of RIFF begin anew
_SUBTYPES = {
    **{(1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32"},
    **{(3, 32): "FLOAT", (3, 64): "DOUBLE", (6, 8): "ALAW", (7, 8): "ULAW"},
}
"""libsndfile's names of what a WAV file holds, by its format tag and the bits of a sample."""

_EXTENSIBLE = 0xFFFE
_TAG_OFF = 0.02  # of the bytes that a tag counts; encoders count the tag's own frame, or do not


class Reading(NamedTuple):
    """A way to read a file whole.

    Attributes
    ----------
    links
        The pieces of each stream: one, or those of a chained Ogg file.
    options
        What :class:`soundfile.SoundFile` is told where no header is right.

    Examples
    --------
    >>> from dawnchorus.files import Piece
    >>> Reading(links=((Piece(0, 500), Piece(500, 900)),), options={}).links[0][1].stop
    900
    """

    links: tuple[tuple[Piece, ...], ...]
    options: dict[str, Any]


@lru_cache(maxsize=1 << 16)
def whole_reading(path: Path, n_bytes: int, mtime_ns: int, *, salvage: bool = False) -> Reading | None:
    """Return how to read a file whole, or None where its header claims all that it holds.

    Parameters
    ----------
    path, n_bytes, mtime_ns
        A version of a file; what was found of it is remembered.
    salvage
        Whether a WAV file whose header claims no sound at all is read to its end.

    Raises
    ------
    AudioError
        There is sound that the header does not claim, and no way to read it.

    Examples
    --------
    >>> from pathlib import Path
    >>> night = Path("night.wav")
    >>> whole_reading(night, night.stat().st_size, 0) is None
    True
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic in (b"RIFF", b"RF64", b"BW64"):
            return _whole_wav(path, file, n_bytes, salvage=salvage)
        if magic == b"OggS":
            return _whole_ogg(file, n_bytes)
        if path.suffix.lower() == ".mp3":
            return _whole_mp3(path, file, n_bytes)
    return None


# WAV ----------------------------------------------------------------------------------------------


class _Chunk(NamedTuple):
    name: bytes
    start: int
    n_bytes: int

    @property
    def stop(self) -> int:
        return self.start + self.n_bytes + self.n_bytes % 2


def _chunks(file: IO[bytes], position: int, n_bytes: int) -> Iterator[_Chunk]:
    """Yield the chunks from a position on, as far as they have names and lie within the file."""
    while position + 8 <= n_bytes:
        file.seek(position)
        name, size = struct.unpack("<4sI", file.read(8))
        chunk = _Chunk(name, position + 8, size)
        yield chunk
        if not set(name) <= _CHUNK_NAME:
            return
        position = chunk.stop


def _whole_wav(path: Path, file: IO[bytes], n_bytes: int, *, salvage: bool) -> Reading | None:
    file.seek(0)
    head = file.read(12)
    is_long = head[:4] != b"RIFF"  # RF64 and BW64, whose sizes stand in a chunk ds64
    bw64 = Reading(((Piece(0, 0, b"RF64"), Piece(4, n_bytes)),), {}) if head[:4] == b"BW64" else None
    chunks = {}
    for chunk in _chunks(file, 12, n_bytes):
        chunks[chunk.name] = chunk
        if chunk.name == b"data":
            break
    data, form = chunks.get(b"data"), chunks.get(b"fmt ")
    if data is None or form is None:
        return bw64
    if salvage and _claims_nothing(file, data, chunks.get(b"ds64")):
        return _raw_reading(data.start, n_bytes, _raw_options(file, form))
    if is_long:
        return bw64
    n_behind = n_bytes - data.stop
    if data.n_bytes == 0 or n_behind <= TOLERANCE or _is_chunks(file, data.stop, n_bytes):
        return None
    if _is_silence(file, data.stop, n_bytes):
        return None
    claimed_end = 8 + int.from_bytes(head[4:8], "little")
    is_left_behind = claimed_end <= data.stop + TOLERANCE
    is_wrapped = (n_bytes - data.stop) // _WRAP * _WRAP > 0 and (n_bytes - data.stop) % _WRAP <= TOLERANCE
    options = _raw_options(file, form)
    if options is None or not (is_left_behind or is_wrapped):
        raise AudioError(
            f"{path}: its header claims {data.n_bytes} bytes of sound, and {n_behind} bytes lie behind them "
            "that are neither sound by its header nor chunks; repair the header"
        )
    stop = data.stop + n_behind // _WRAP * _WRAP if is_wrapped else n_bytes
    return _raw_reading(data.start, stop, options)


def _raw_reading(start: int, stop: int, options: dict[str, Any] | None) -> Reading | None:
    if options is None:
        return None
    stop -= (stop - start) % options.pop("frame_bytes")
    return Reading(((Piece(start, stop),),), options)


def _claims_nothing(file: IO[bytes], data: _Chunk, sizes: _Chunk | None) -> bool:
    """Return whether the size of the sound is 0; in RF64 files, it stands in the chunk ``ds64``."""
    if sizes is None or data.n_bytes != _WRAP - 1:
        return data.n_bytes == 0
    file.seek(sizes.start + 8)
    return not any(file.read(8))


def _is_chunks(file: IO[bytes], position: int, n_bytes: int) -> bool:
    """Return whether all behind a position are chunks with names, to the end of the file."""
    last = None
    for last in _chunks(file, position, n_bytes):
        if not set(last.name) <= _CHUNK_NAME:
            return False
    return last is not None and abs(last.stop - n_bytes) < 8


def _is_silence(file: IO[bytes], start: int, stop: int) -> bool:
    """Return whether bytes are all 0, as a recorder leaves them that reserves room on its card."""
    for position in (start, (start + stop) // 2, stop - TOLERANCE):
        file.seek(position)
        if any(file.read(TOLERANCE)):
            return False
    return True


def _raw_options(file: IO[bytes], form: _Chunk) -> dict[str, Any] | None:
    """Return how soundfile reads the bytes of the sound without their header, or None where it cannot."""
    file.seek(form.start)
    fields = file.read(min(form.n_bytes, 40))
    if len(fields) < 16:
        return None
    tag, n_channels, sample_rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", fields)
    if tag == _EXTENSIBLE and len(fields) >= 26:
        (tag,) = struct.unpack_from("<H", fields, 24)
    subtype = _SUBTYPES.get((tag, bits))
    if subtype is None or not n_channels or frame_bytes != n_channels * bits // 8:
        return None
    return {
        "format": "RAW",
        "subtype": subtype,
        "endian": "LITTLE",
        "channels": n_channels,
        "samplerate": sample_rate,
        "frame_bytes": frame_bytes,
    }


# Ogg ----------------------------------------------------------------------------------------------


class OggPage(NamedTuple):
    """A page of an Ogg file: its position, whether it begins a stream, and its granule position.

    Examples
    --------
    >>> OggPage(position=0, is_first=True, granule=0).is_first
    True
    """

    position: int
    is_first: bool
    granule: int


def ogg_pages(file: IO[bytes]) -> Iterator[OggPage]:
    """Yield the pages of an Ogg file, up to the first bytes that are none.

    Examples
    --------
    >>> import io
    >>> list(ogg_pages(io.BytesIO(b"no pages")))
    []
    """
    position = 0
    while True:
        file.seek(position)
        head = file.read(27)
        if len(head) < 27 or head[:4] != b"OggS":
            return
        yield OggPage(position, bool(head[5] & 2), int.from_bytes(head[6:14], "little", signed=True))
        file.seek(position + 27)
        position += 27 + head[26] + sum(file.read(head[26]))


def _whole_ogg(file: IO[bytes], n_bytes: int) -> Reading | None:
    starts, was_first = [], False
    for position, is_first, _ in ogg_pages(file):
        if is_first and not was_first:  # several begin together where streams are interleaved
            starts.append(position)
        was_first = is_first
    if len(starts) < 2:
        return None
    stops = [*starts[1:], n_bytes]
    return Reading(tuple((Piece(*bounds),) for bounds in zip(starts, stops, strict=True)), {})


# MP3 ----------------------------------------------------------------------------------------------


class _Frame(NamedTuple):
    n_bytes: int
    n_samples: int
    sample_rate: int
    side_bytes: int  # between its header and a tag


_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBIT_S = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of layer III for MPEG 1 and for MPEG 2 and 2.5 (ISO/IEC 11172-3 and 13818-3)."""


def _frame(head: bytes) -> _Frame | None:
    """Return what four bytes say of an MPEG frame of layer III, or None where they are no header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, rate, number = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate in (0, 15) or number == 3:
        return None
    is_first, is_mono = version == 3, head[3] >> 6 == 3
    n_samples, sample_rate = 1152 if is_first else 576, _RATES[version][number]
    n_bytes = n_samples * 125 * _KBIT_S[is_first][rate - 1] // sample_rate + (head[2] >> 1 & 1)
    return _Frame(
        n_bytes, n_samples, sample_rate, (17 if is_mono else 32) if is_first else 9 if is_mono else 17
    )


def _whole_mp3(path: Path, file: IO[bytes], n_bytes: int) -> Reading | None:
    file.seek(0)
    begin = behind_id3(file.read(10), 0)
    file.seek(begin)
    head = file.read(4096).ljust(64, b"\0")
    first = _frame(head)
    if first is None:
        return None  # libmpg123 looks for the first frame further on
    tag = 4 + first.side_bytes
    is_tagged = head[tag : tag + 4] in (b"Xing", b"Info")
    if head[36:40] == b"VBRI":
        return None
    claimed_frames = claimed_bytes = None
    if is_tagged:
        flags, *numbers = struct.unpack_from(">III", head, tag + 4)
        claimed_frames = numbers[0] if flags & 1 else None
        claimed_bytes = numbers[flags & 1] if flags & 2 else None
        if claimed_bytes and n_bytes - begin - claimed_bytes <= TOLERANCE + _TAG_OFF * claimed_bytes:
            return None
    n_frames = _count_frames(path, begin, first)
    n_claimed = (claimed_frames or 0) * first.n_samples if is_tagged else _guessed_length(path)
    if n_frames * first.n_samples - n_claimed <= TOLERANCE:
        return None
    header = bytearray(head[:4])
    header[1] |= 1  # no checksum follows
    made = bytes(header) + bytes(first.side_bytes) + struct.pack(">4sII", b"Xing", 1, n_frames)
    sound = begin + first.n_bytes if is_tagged else begin
    return Reading(((Piece(0, 0, made.ljust(first.n_bytes, b"\0")), Piece(sound, n_bytes)),), {})


def behind_id3(head: bytes, position: int) -> int:
    """Return the position behind an ID3 tag whose first ten bytes are ``head``; the same where it is none.

    Examples
    --------
    >>> behind_id3(b"ID3\\x04\\x00\\x00\\x00\\x00\\x01\\x00", 0), behind_id3(b"RIFF", 0)
    (138, 0)
    """
    if head[:3] != b"ID3" or len(head) < 10:
        return position
    return (
        position + 10 + sum((digit & 127) << 7 * number for number, digit in enumerate(reversed(head[6:10])))
    )


def _guessed_length(path: Path) -> int:
    try:
        return int(soundfile.info(path.open("rb") if is_remote(path) else path).frames)
    except soundfile.LibsndfileError:
        return 0


def _count_frames(path: Path, begin: int, first: _Frame) -> int:
    """Return the number of frames of the first one's sample rate, passing over tags and what is damaged."""
    n_frames, position = 0, begin
    with path.open("rb") as file, ExitStack() as stack:
        data: Any = (
            file.read()
            if is_remote(path)
            else stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        )
        while 0 <= position <= len(data) - 4:
            frame = _frame(data[position : position + 4])
            if frame is not None and frame.sample_rate == first.sample_rate:
                n_frames += position + frame.n_bytes <= len(data)
                position += frame.n_bytes
            elif data[position : position + 3] == b"TAG":
                position += 128
            elif data[position : position + 3] == b"ID3":
                position = behind_id3(data[position : position + 10], position)
            else:
                position = data.find(b"\xff", position + 1)
    return n_frames
