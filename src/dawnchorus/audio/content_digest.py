"""A digest of a file's content that costs the same for files of any size."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from dawnchorus.files.storage import RemotePath

EDGE_BYTES = 1 << 16
"""Bytes at the beginning and at the end that are digested."""
N_BLOCKS, BLOCK_BYTES = 16, 1 << 12
"""Blocks between them, evenly spaced, and the size of each: 192 KiB and 18 reads in all, at most."""


def content_digest(path: Path) -> str:
    """Return a digest of a file's size, its head, its tail, and blocks between: 32 hexadecimal digits.

    A change that lies between the blocks of a file of more than 192 KiB is not seen.

    Raises
    ------
    OSError
        The file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> before = content_digest(Path("night.wav"))
    >>> content = bytearray(Path("night.wav").read_bytes())
    >>> content[-1] ^= 1
    >>> _ = Path("night.wav").write_bytes(content)
    >>> content_digest(Path("night.wav")) == before
    False
    """
    if isinstance(path, RemotePath):
        return hashlib.sha256(path.version().encode()).hexdigest()[:32]
    with path.open("rb", buffering=0) as file:
        n_bytes = file.seek(0, 2)
        digest = hashlib.sha256(n_bytes.to_bytes(8, "little"))
        for start, length in _stretches(n_bytes):
            digest.update(_read(file, start, length))
    return digest.hexdigest()[:32]


def head_digest(path: Path) -> str:
    """Return the SHA-256 of a file's first 64 KiB, by which earlier journals know a recording.

    Raises
    ------
    OSError
        The file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("sound.raw").write_bytes(b"sound")
    >>> head_digest(Path("sound.raw"))[:8]
    'dd29442d'
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.sha256(_read(file, 0, EDGE_BYTES)).hexdigest()


def _stretches(n_bytes: int) -> list[tuple[int, int]]:
    """Return the start and the length of what is digested, none overlapping."""
    between = n_bytes - 2 * EDGE_BYTES
    if between <= N_BLOCKS * BLOCK_BYTES:
        return [(0, n_bytes)]
    gap = (between - N_BLOCKS * BLOCK_BYTES) // (N_BLOCKS + 1)
    blocks = [(EDGE_BYTES + gap + k * (gap + BLOCK_BYTES), BLOCK_BYTES) for k in range(N_BLOCKS)]
    return [(0, EDGE_BYTES), *blocks, (n_bytes - EDGE_BYTES, EDGE_BYTES)]


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    content = bytearray()
    while len(content) < length and (part := file.read(length - len(content))):
        content += part
    return bytes(content)
