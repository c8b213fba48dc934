"""Layout of a store on disk: one HDF5 file a recording, at half the size of float32.

::

    XC1.ogg.hdf5
    ├── 512 bytes that HDF5 leaves to us: one line of text with a checksum, all that reading needs
    ├── blocks   per block of 16,384 samples: scale (float32) and check (uint64)
    ├── sr       the sample rate, Hz
    └── au       int16, shape (n_samples,), contiguous, the end of the file
                 attributes: gain, block_samples      sound = au · scale of its block · gain, full scale ±1

A mono 16-bit recording at the store's rate loses nothing. Otherwise a block's scale is its own peak / 32767:
the error is at most half of that, and sound beyond full scale is kept. A lossless store holds float32 at
scale 1. Normalisation by the peak of the whole recording goes into ``gain``: one pass suffices, in the memory
of a few blocks.

``check`` is the sum of the 64-bit words of each 512 bytes of a block, weighted by their place in it, and of
its scale and number, modulo 2⁶⁴: a flipped bit changes it, and so do 512 bytes or more that were moved,
exchanged or set to zero. Words exchanged within 512 bytes show only in the CRC-32, which the first line holds
of all that follows it.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from dawnchorus.audio.channels import Channel, checked_channel
from dawnchorus.errors import ConfigError
from dawnchorus.files import FileVersion

MAGIC = b"dawnchorus store 2 "
HEADER_BYTES = 512
BLOCK = 16_384  # samples that share a scale and a check; a crop reads up to one block more at either end
ROW = np.dtype({"names": ["scale", "check"], "formats": ["<f4", "<u8"], "offsets": [0, 8], "itemsize": 16})
_SECTOR_WORDS = 64  # 512 bytes, the smallest unit that a disk loses or misplaces
_NUMBER_WEIGHT = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2⁶⁴ / golden ratio, so that neighbours differ widely
_INT16, _FLOAT32 = np.dtype("<i2"), np.dtype("<f4")

Decoder = Literal["soundfile", "torchaudio"]


@dataclass(frozen=True)
class StoreSettings:
    """Settings of a store.

    Attributes
    ----------
    sample_rate
        In Hz.
    normalize
        Whether the recording is divided by its peak.
    lossless
        Whether float32 is kept as it is, at twice the size.
    decoder
        Decoder of the recording.
    channel
        Channel of the recording: a number from 1, ``mean`` or ``loudest``.
    salvage
        For a conversion, whether damaged recordings are read as far as they go; in a store, whether its
        recording was.

    Raises
    ------
    ConfigError
        The channel is none of these, or torchaudio is to salvage.

    Examples
    --------
    >>> StoreSettings().sample_type, StoreSettings(lossless=True).sample_type
    (dtype('int16'), dtype('float32'))
    """

    sample_rate: int = 32_000
    normalize: bool = False
    lossless: bool = False
    decoder: Decoder = "soundfile"
    channel: Channel = "mean"
    salvage: bool = False

    def __post_init__(self) -> None:
        checked_channel(self.channel, each=False)
        if self.salvage and self.decoder != "soundfile":
            raise ConfigError(f"{self.decoder} cannot salvage; leave salvage out, or decode with soundfile")

    @property
    def sample_type(self) -> np.dtype:
        """The type of a stored sample."""
        return _FLOAT32 if self.lossless else _INT16


@dataclass(frozen=True)
class Header:
    """The line of text at the beginning of a store.

    Attributes
    ----------
    settings
        Settings that it was stored with.
    source
        The version of the audio file, where there was one.
    n_samples
        Length of the recording.
    gain
        Factor of all samples, beside the scale of their block.
    blocks_at, au_at
        Offsets of ``blocks`` and ``au`` in the file, in bytes.
    crc32
        Of the sound, then of all that stands between this line and the sound.
    source_digest
        :func:`~dawnchorus.audio.content_digest.content_digest` of the audio file; None in earlier stores.

    Examples
    --------
    >>> header = Header(StoreSettings(), None, 32_000, gain=1.0, blocks_at=800, au_at=2048, crc32=7)
    >>> header.n_bytes  # two bytes a sample behind 2048
    66048
    >>> Header.from_bytes(header.to_bytes()) == header
    True
    """

    settings: StoreSettings
    source: FileVersion | None
    n_samples: int
    gain: float
    blocks_at: int
    au_at: int
    crc32: int
    source_digest: str | None = None

    @property
    def n_bytes(self) -> int:
        """The size of the whole file."""
        return self.au_at + self.n_samples * self.settings.sample_type.itemsize

    def to_bytes(self) -> bytes:
        """Return the line, filled up to ``HEADER_BYTES``."""
        fields = asdict(self)
        for name in ("channel", "salvage"):  # as earlier versions wrote it
            if getattr(self.settings, name) == getattr(StoreSettings, name):
                del fields["settings"][name]
        text = json.dumps(fields, separators=(",", ":")).encode()
        return (MAGIC + b"%08x " % zlib.crc32(text) + text + b"\n").ljust(HEADER_BYTES, b"\0")

    @classmethod
    def from_bytes(cls, line: bytes) -> Header | None:
        """Return the header in a line, or None where the line is not as it was written."""
        checksum, _, text = line.removeprefix(MAGIC).rstrip(b"\0").removesuffix(b"\n").partition(b" ")
        if not line.startswith(MAGIC) or checksum != b"%08x" % zlib.crc32(text):
            return None
        fields = json.loads(text)
        settings, source = StoreSettings(**fields.pop("settings")), fields.pop("source")
        return cls(settings, FileVersion(*source) if source else None, **fields)


def count_blocks(n_samples: int) -> int:
    """Return how many blocks hold that many samples.

    Examples
    --------
    >>> count_blocks(160_000)
    10
    """
    return -(-n_samples // BLOCK)


def as_blocks(samples: np.ndarray) -> np.ndarray:
    """Return samples as rows of whole blocks, shape (n_blocks, BLOCK); zeros fill the last.

    Examples
    --------
    >>> import numpy as np
    >>> as_blocks(np.zeros(160_000, np.float32)).shape
    (10, 16384)
    """
    n_missing = -len(samples) % BLOCK
    return (np.pad(samples, (0, n_missing)) if n_missing else samples).reshape(-1, BLOCK)


def checks_of(blocks: np.ndarray, scales: np.ndarray, first: int) -> np.ndarray:
    """Return the checks of consecutive blocks, shape (n_blocks,), uint64.

    Parameters
    ----------
    blocks
        Stored numbers, shape (n_blocks, BLOCK).
    scales
        The scale of each block, shape (n_blocks,), float32.
    first
        The number of the first block in its recording.

    Examples
    --------
    >>> import numpy as np
    >>> blocks = np.zeros((2, BLOCK), np.int16)
    >>> scales = np.ones(2, np.float32)
    >>> checks = checks_of(blocks, scales, first=0)
    >>> blocks[1, 100] = 1
    >>> checks_of(blocks, scales, first=0) == checks  # a changed sample shows in its block
    array([ True, False])
    """
    sectors = blocks.view("<u8").reshape(len(blocks), -1, _SECTOR_WORDS).sum(axis=2, dtype=np.uint64)
    places = 2 * np.arange(1, sectors.shape[1] + 1, dtype=np.uint64) + 1
    numbers = np.arange(first + 1, first + 1 + len(blocks), dtype=np.uint64)
    return (sectors * places).sum(axis=1) + scales.view("<u4") + numbers * _NUMBER_WEIGHT
