"""Writer of a store: in one pass, in the memory of a few blocks, complete or not at all."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from dawnchorus.audio.store_layout import (
    BLOCK,
    HEADER_BYTES,
    ROW,
    Header,
    StoreSettings,
    as_blocks,
    checks_of,
    count_blocks,
)
from dawnchorus.audio.windows import stream_windows
from dawnchorus.files import FileVersion, replacing, start_writing_back

_PIECE = 8 * BLOCK  # samples that are quantised and written at a time
_SIXTEEN_BIT = 32_768  # the integer that is full scale in a 16-bit recording
_CODE_MAX = 32_767
_SILENCE = 1e-30  # peaks up to this are not normalised; its reciprocal still fits float32
_PROBE = 256  # samples that suffice to tell most recordings from 16-bit ones


def write_store(
    path: Path,
    blocks: Iterable[np.ndarray],
    settings: StoreSettings,
    *,
    n_samples: int,
    source: FileVersion | None = None,
    source_digest: str | None = None,
) -> None:
    """Write a recording; ``path`` appears complete or not at all.

    Parameters
    ----------
    path
        The file to write or replace; missing folders are made.
    blocks
        Consecutive pieces of the recording, each of shape (any number,), float32, finite.
    settings
        Sample rate, normalisation, precision.
    n_samples
        Length of all pieces together, at least 1.
    source
        The version of the audio file, taken before it was read; :func:`~dawnchorus.audio.store.is_current`
        compares it.
    source_digest
        Digest of its content, which is compared too.

    Raises
    ------
    ValueError
        The pieces do not hold ``n_samples`` samples, or one is NaN or infinite.
    OSError
        The folder cannot be written, or the disk is full; nothing stays behind.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.audio.store import open_store
    >>> from dawnchorus.audio.store_layout import StoreSettings
    >>> blocks = [np.zeros(20_000, np.float32), np.ones(12_000, np.float32)]
    >>> write_store(Path("XC1.ogg.hdf5"), blocks, StoreSettings(), n_samples=32_000)
    >>> open_store(Path("XC1.ogg.hdf5")).read(19_999, 2)
    array([0., 1.], dtype=float32)
    """
    n_frame = len(_frame(np.zeros(count_blocks(n_samples), ROW), n_samples, settings)[0])
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.seek(n_frame)
        rows, peak, crc = _write_sound(file, blocks, settings, n_samples)
        gain = 1 / peak if settings.normalize and peak > _SILENCE else 1.0
        frame, blocks_at = _frame(rows, n_samples, settings, gain)
        crc = zlib.crc32(frame[HEADER_BYTES:], crc)
        header = Header(settings, source, n_samples, gain, blocks_at, n_frame, crc, source_digest)
        file.seek(0)
        file.write(header.to_bytes() + frame[HEADER_BYTES:])


def _write_sound(
    file: IO[bytes], blocks: Iterable[np.ndarray], settings: StoreSettings, n_samples: int
) -> tuple[np.ndarray, float, int]:
    """Write the samples; return the row of each block, the peak of the recording and the CRC-32."""
    rows = np.zeros(count_blocks(n_samples), ROW)
    stop, peak, crc = 0, 0.0, 0
    for start, stop, piece in stream_windows(blocks, _PIECE):
        if stop > n_samples:
            break
        found = as_blocks(piece)
        peaks = np.maximum(found.max(axis=1), -found.min(axis=1))
        if not np.isfinite(peaks).all():
            raise ValueError(f"NaN or infinite samples between {start} and {stop}")
        codes, scales = _quantize(found, peaks, settings)
        written = rows[start // BLOCK :][: len(codes)]
        written["scale"] = scales
        written["check"] = checks_of(codes, scales, start // BLOCK)
        data = codes.reshape(-1)[: stop - start].data
        file.write(data)
        start_writing_back(file, data.nbytes)
        crc = zlib.crc32(data, crc)
        peak = max(peak, float(peaks.max()))
    if stop != n_samples:
        raise ValueError(f"{n_samples} samples were announced, and they end at or go on after {stop}")
    return rows, peak, crc


def _quantize(
    blocks: np.ndarray, peaks: np.ndarray, settings: StoreSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers to store, shape (n_blocks, BLOCK), and the scale of each block, shape (n_blocks,).

    The scale is 2⁻¹⁵ where that loses nothing, as in any 16-bit recording, and else the peak / 32767.
    """
    if settings.lossless:
        return blocks.astype(settings.sample_type), np.ones(len(blocks), np.float32)
    # Near silence the scale is set to a number that can be divided by.
    scales = np.maximum(peaks / np.float32(_CODE_MAX), np.finfo(np.float32).tiny)
    if _is_sixteen_bit(blocks[:, :_PROBE]).any():
        scales[_is_sixteen_bit(blocks)] = 1 / _SIXTEEN_BIT
    codes = blocks / scales[:, None]
    return np.rint(codes, out=codes).astype(settings.sample_type), scales


def _is_sixteen_bit(blocks: np.ndarray) -> np.ndarray:
    """Return for each block whether it holds integers of 16 bits divided by 32,768."""
    codes = blocks * np.float32(_SIXTEEN_BIT)
    fits = (codes.max(axis=1) <= _CODE_MAX) & (codes.min(axis=1) >= -_SIXTEEN_BIT)
    return fits & (codes == np.rint(codes)).all(axis=1)


def _frame(rows: np.ndarray, n_samples: int, settings: StoreSettings, gain: float = 1.0) -> tuple[bytes, int]:
    """Return the bytes of a store up to its first sample, and where ``blocks`` stands in them.

    HDF5 makes them in memory, for on a full disk it would end the process. The storage of ``au`` is
    allocated last, by writing one sample, so that the samples end the file and may be written without HDF5.
    The first 512 bytes are left empty.
    """
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # the same recording gives the same bytes at any time
    space = h5py.h5s.create_simple((n_samples,))
    sample_type = h5py.h5t.py_create(settings.sample_type)
    memory = BytesIO()
    with h5py.File(memory, "w", userblock_size=HEADER_BYTES) as file:
        file["sr"] = settings.sample_rate
        blocks = file.create_dataset("blocks", data=rows)
        sound = h5py.Dataset(h5py.h5d.create(file.id, b"au", sample_type, space, dcpl=layout))
        sound.attrs.update({"block_samples": BLOCK, "gain": gain})
        file.flush()
        sound[0] = 0
        blocks_at, au_at = blocks.id.get_offset(), sound.id.get_offset()
    return memory.getvalue()[:au_at], blocks_at
