"""Reader of the store: a crop takes tens of microseconds, and corrupt blocks raise StoreError.

Reading does not go through HDF5, which is slow to open a file and may never return from a damaged one; the
offsets are in the first line of the file (``store_layout``). No file stays open, so threads and processes,
forked or spawned, share a :class:`StoredRecording` freely. A block is checked when a process first reads it,
and again when the file was written to since.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from dawnchorus.audio.channels import Channel
from dawnchorus.audio.content_digest import content_digest
from dawnchorus.audio.store_layout import (
    BLOCK,
    HEADER_BYTES,
    MAGIC,
    ROW,
    Header,
    StoreSettings,
    as_blocks,
    checks_of,
    count_blocks,
)
from dawnchorus.audio.windows import check_crop
from dawnchorus.errors import StoreError
from dawnchorus.files import FileVersion
from dawnchorus.files.storage import RemotePath, as_path, is_remote, version_in

_COPY_BYTES = 1 << 24
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # follows our first line; other HDF5 files begin with it
# Opening a pipe without O_NONBLOCK would wait for ever.
_OPEN_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NONBLOCK"))

Version = tuple[int, int, int, int]
"""Size in bytes, times of change of content and of status in ns, and inode of a file."""


@dataclass(frozen=True)
class StoredRecording:
    """A recording in the store; it holds no open file.

    Attributes
    ----------
    path
        The HDF5 file.
    header
        First line of the file.
    version
        Version of the HDF5 file when it was opened; blocks of another version are checked again.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.audio.store_layout import StoreSettings
    >>> from dawnchorus.audio.store_writing import write_store
    >>> wave = np.float32([0.5, -0.25, 0.0])
    >>> write_store(Path("XC1.ogg.hdf5"), [wave], StoreSettings(), n_samples=3)
    >>> recording = open_store(Path("XC1.ogg.hdf5"))
    >>> recording.sample_rate, recording.read(0, 2)
    (32000, array([ 0.5 , -0.25], dtype=float32))
    """

    kind: ClassVar[Literal["hdf5"]] = "hdf5"

    path: Path
    header: Header
    version: Version
    _checked: bytearray = field(init=False, repr=False, compare=False)  # 1 for each block found whole

    def __post_init__(self) -> None:
        object.__setattr__(self, "_checked", bytearray(count_blocks(self.header.n_samples)))

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return self.header.n_samples

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.header.settings.sample_rate

    @property
    def channel(self) -> Channel:
        """Channel that was stored."""
        return self.header.settings.channel

    def is_made_from(self, source: Path) -> bool:
        """Return whether an audio file has the size and time of the one that was stored. Raises OSError."""
        return self.header.source == FileVersion.of(source)

    def read(self, start: int, n_samples: int) -> np.ndarray:
        """Return samples ``start … start + n_samples``, fewer at the end, shape (n,), float32.

        Raises
        ------
        StoreError
            The file is missing, or these samples are not those that were written.
        ValueError
            ``start`` or ``n_samples`` is negative.
        """
        check_crop(start, n_samples)
        header = self.header
        n_samples = min(n_samples, header.n_samples - start)
        if n_samples <= 0:
            return np.zeros(0, np.float32)
        first, stop = start // BLOCK, count_blocks(start + n_samples)
        first_sample, last_sample = first * BLOCK, min(stop * BLOCK, header.n_samples)
        sample_type = header.settings.sample_type
        version, (row_bytes, sound) = read_ranges(
            self.path,
            (header.blocks_at + first * ROW.itemsize, (stop - first) * ROW.itemsize),
            (
                header.au_at + first_sample * sample_type.itemsize,
                (last_sample - first_sample) * sample_type.itemsize,
            ),
        )
        rows, codes = np.frombuffer(row_bytes, ROW), as_blocks(np.frombuffer(sound, sample_type))
        if version != self.version or 0 in self._checked[first:stop]:
            if (checks_of(codes, np.ascontiguousarray(rows["scale"]), first) != rows["check"]).any():
                what = f"samples {start} … {start + n_samples} are not those that were written"
                raise damaged(self.path, what)
            if version == self.version:
                self._checked[first:stop] = bytes([1]) * (stop - first)
        wave = codes.astype(np.float32)
        wave *= rows["scale"][:, None]
        if header.gain != 1:
            wave *= np.float32(header.gain)
        return wave.reshape(-1)[start - first_sample :][:n_samples]

    def verify(self) -> None:
        """Read every byte of the file. Raises StoreError where it is not as it was written."""
        crc = 0
        for start, stop in ((self.header.au_at, self.header.n_bytes), (HEADER_BYTES, self.header.au_at)):
            for offset in range(start, stop, _COPY_BYTES):
                _, (data,) = read_ranges(self.path, (offset, min(_COPY_BYTES, stop - offset)))
                crc = zlib.crc32(data, crc)
        if crc != self.header.crc32:
            raise damaged(self.path, "its checksum is not that of what was written")


def store_path(features_dir: Path, relative_audio_path: Path) -> Path:
    """Return the path of a recording's store: its whole name with ``.hdf5`` after it.

    ``a.wav`` and ``a.ogg``, or two files of one name in different folders, never share a store.

    Examples
    --------
    >>> from pathlib import Path
    >>> store_path(Path("features"), Path("owl/XC1.ogg")).as_posix()
    'features/owl/XC1.ogg.hdf5'
    """
    relative = Path(relative_audio_path)
    return Path(features_dir) / relative.with_name(relative.name + ".hdf5")


def open_store(path: Path) -> StoredRecording | None:
    """Return the recording of a store, or None where the file is of another layout.

    Raises
    ------
    StoreError
        The file is missing or damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.audio.store_layout import StoreSettings
    >>> from dawnchorus.audio.store_writing import write_store
    >>> write_store(Path("XC1.ogg.hdf5"), [np.zeros(32_000, np.float32)], StoreSettings(), n_samples=32_000)
    >>> open_store(Path("XC1.ogg.hdf5")).n_samples
    32000
    """
    version, (line, signature) = read_ranges(path, (0, HEADER_BYTES), (HEADER_BYTES, len(_HDF5_SIGNATURE)))
    if not line.startswith(MAGIC) and signature != _HDF5_SIGNATURE:
        return None
    header = Header.from_bytes(line)
    if header is None:
        raise damaged(path, "its first line is not as it was written")
    if version[0] != header.n_bytes:
        raise damaged(path, f"it has {version[0]} bytes instead of {header.n_bytes}")
    return StoredRecording(path, header, version)


def is_current(path: Path, source: Path, settings: StoreSettings) -> bool:
    """Return whether ``path`` is a store of ``source`` as it is now, made with these settings.

    A store of a whole recording is so with and without salvage, one of a salvaged recording only with it.
    At most 192 KiB of ``source`` are read, so that one that was mended with its time set back is noticed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.store_layout import StoreSettings
    >>> is_current(Path("night.wav.hdf5"), Path("night.wav"), StoreSettings())  # there is no such store yet
    False
    """
    try:
        stored = open_store(path)
        if stored is None or not stored.is_made_from(source):
            return False
        made_with = stored.header.settings
        if made_with != replace(settings, salvage=settings.salvage and made_with.salvage):
            return False
        return stored.header.source_digest in (None, content_digest(source))
    except (StoreError, OSError):
        return False


def read_ranges(path: Path, *ranges: tuple[int, int]) -> tuple[Version, list[bytes]]:
    """Return the version of a file and its bytes at each (offset, length); no file stays open.

    Raises
    ------
    StoreError
        The file cannot be read, or ends earlier.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("sound.raw").write_bytes(b"0123456789")
    >>> version, pieces = read_ranges(Path("sound.raw"), (2, 3), (8, 2))
    >>> pieces
    [b'234', b'89']
    """
    try:
        if is_remote(path):
            return _read_remote(as_path(path), ranges)
        file = os.open(path, _OPEN_FLAGS)
        try:
            status = os.fstat(file)
            version = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            found = []
            for offset, n_bytes in ranges:
                data = _pread(file, n_bytes, offset)
                found.append(data if len(data) == n_bytes else _read_rest(file, data, n_bytes, offset))
        finally:
            os.close(file)
    except EOFError as error:
        raise damaged(path, str(error)) from error
    except FileNotFoundError as error:
        raise StoreError(f"{path}: no such file; run `dawnchorus precompute` to make it") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read; {error.strerror or error}") from error
    return version, found


def _read_remote(path: Path, ranges: tuple[tuple[int, int], ...]) -> tuple[Version, list[bytes]]:
    """Return ranges of an object; the third number of its version is a digest of its storage's own."""
    assert isinstance(path, RemotePath)
    info = path.info()
    n_bytes = int(info.get("size") or 0)
    for offset, length in ranges:
        if offset + length > n_bytes:
            raise EOFError(f"it ends before byte {offset + length}")
    version = (n_bytes, 0, zlib.crc32(version_in(info).encode()), 0)
    return version, [path.read_range(offset, offset + length) for offset, length in ranges]


def _read_rest(file: int, data: bytes, n_bytes: int, offset: int) -> bytes:
    while len(data) < n_bytes:  # a system call returns 2 GiB at most
        more = _pread(file, n_bytes - len(data), offset + len(data))
        if not more:
            raise EOFError(f"it ends before byte {offset + n_bytes}")
        data += more
    return data


def _seek_and_read(file: int, n_bytes: int, offset: int) -> bytes:
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, n_bytes)


_pread: Callable[[int, int, int], bytes] = getattr(os, "pread", _seek_and_read)  # Windows has none


def damaged(path: Path, reason: str) -> StoreError:
    """Return the error for a file that is not as it was written, with the remedy.

    Examples
    --------
    >>> from pathlib import Path
    >>> print(damaged(Path("XC1.ogg.hdf5"), "its first line is not as it was written"))
    XC1.ogg.hdf5: damaged or not a store (its first line is not as it was written); delete it and run
    `dawnchorus precompute` again
    """
    return StoreError(
        f"{path}: damaged or not a store ({reason}); delete it and run `dawnchorus precompute` again"
    )
