"""One HDF5 file a recording, at half the size of float32: written whole or not at all, read crop by crop.

::

    XC1.ogg.hdf5
    ├── au     int16, shape (n_samples,), contiguous     sound = au · scale, full scale ±1
    │          attributes: scale, normalized
    ├── sr     the sample rate, Hz
    └── attributes: format (ours), source_name, source_size, source_mtime_ns

``scale`` is the recording's peak / 32767: the error is at most half of that, and sound beyond full scale
is kept. ``au`` is contiguous, so that a crop is one read from one place. Files of the published system
(``au`` float32, ``sr``) are read as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from uuid import uuid4

import h5py
import numpy as np

from dawnchorus.errors import StoreError

FORMAT_VERSION = 1
TEMPORARY_PATTERN = ".dawnchorus-*.tmp"  # a hidden name, free of the recording's, which may be long
_CODE_MAX = 32_767  # largest int16
_SPOOL_BYTES = 1 << 26  # float32 kept in memory before it goes to disk: 8.7 min at 32 kHz
_CHUNK = 1 << 20  # samples converted at a time


def store_path(features_dir: Path, relative_audio_path: Path) -> Path:
    """Return where a recording is stored: its whole name with ``.hdf5`` after it.

    ``a.wav`` and ``a.ogg``, or two files of one name in different folders, never share a store.
    """
    relative = Path(relative_audio_path)
    return Path(features_dir) / relative.with_name(relative.name + ".hdf5")


def find_stored(features_dir: Path, relative_audio_path: Path) -> Path | None:
    """Return the store of a recording, ours before the published layout's (``XC1.hdf5``), or None."""
    ours = store_path(features_dir, relative_audio_path)
    published = Path(features_dir) / Path(relative_audio_path).with_suffix(".hdf5")
    return next((path for path in (ours, published) if path.is_file()), None)


def write_store(
    path: Path,
    blocks: Iterable[np.ndarray],
    *,
    sample_rate: int,
    source: Path | None = None,
    normalize: bool = False,
) -> int:
    """Write a recording and return its number of samples; ``path`` appears complete or not at all.

    The peak is known only after the last block, so the blocks wait in memory, and from about nine
    minutes on in a nameless file beside ``path`` that the system removes even after a kill.

    Parameters
    ----------
    path
        The file to write or replace; missing folders are made.
    blocks
        Consecutive pieces of the recording, each of shape (any number,), float32, finite.
    sample_rate
        In Hz.
    source
        The audio file, whose size and time of change :func:`is_current` compares.
    normalize
        Whether the recording is divided by its peak.

    Raises
    ------
    ValueError
        The blocks hold no samples.
    OSError
        The folder cannot be written, or the disk is full; nothing stays behind.
    """
    origin = {} if source is None else _fingerprint(source)  # before reading: a change meanwhile must show
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / TEMPORARY_PATTERN.replace("*", uuid4().hex)
    try:
        with SpooledTemporaryFile(_SPOOL_BYTES, dir=str(path.parent)) as spool:
            n_samples, peak = _spool(blocks, spool)
            step = (peak or 1.0) / _CODE_MAX
            scaling = {"scale": 1 / _CODE_MAX if normalize else step, "normalized": normalize}
            spool.seek(0)
            with temporary.open("xb") as file:
                file.write(_frame(n_samples, sample_rate, scaling=scaling, origin=origin))
                while piece := spool.read(4 * _CHUNK):
                    file.write(np.rint(np.frombuffer(piece, np.float32) / step).astype("<i2").tobytes())
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return n_samples


def _spool(blocks: Iterable[np.ndarray], spool: SpooledTemporaryFile[bytes]) -> tuple[int, float]:
    n_samples, peak = 0, 0.0
    for block in blocks:
        spool.write(np.ascontiguousarray(block, np.float32).tobytes())
        n_samples += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0)))
    if not n_samples:
        raise ValueError("a recording without samples cannot be stored")
    return n_samples, peak


def _frame(
    n_samples: int, sample_rate: int, *, scaling: dict[str, float], origin: dict[str, str | int]
) -> bytes:
    """Return the bytes of a store up to its first sample: everything of HDF5, made in memory.

    The storage of ``au`` is allocated last, by writing one sample, so that the samples end the file and
    may follow by plain writes. HDF5 itself never meets a full disk, after which it would end the process.
    """
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # the same recording gives the same bytes, whenever it is converted
    space = h5py.h5s.create_simple((n_samples,))
    memory = BytesIO()
    with h5py.File(memory, "w") as file:
        file["sr"] = sample_rate
        file.attrs.update({"format": FORMAT_VERSION, **origin})
        sound = h5py.Dataset(h5py.h5d.create(file.id, b"au", h5py.h5t.STD_I16LE, space, dcpl=layout))
        sound.attrs.update(scaling)
        file.flush()
        sound[0] = 0
        offset = sound.id.get_offset()
    return memory.getvalue()[:offset]


def _fingerprint(source: Path) -> dict[str, str | int]:
    status = source.stat()
    return {
        "source_name": source.name,
        "source_size": status.st_size,
        "source_mtime_ns": status.st_mtime_ns,
    }


def is_current(
    path: Path, source: Path, *, sample_rate: int | None = None, normalize: bool | None = None
) -> bool:
    """Tell whether ``path`` is a store of ``source`` as it is now, made with these settings where given."""
    try:
        with _open_store(path) as file:
            sound = file["au"].attrs
            return (
                all(file.attrs.get(key) == value for key, value in _fingerprint(source).items())
                and sample_rate in (None, int(file["sr"][()]))
                and normalize in (None, bool(sound.get("normalized")))
            )
    except StoreError:
        return False


def read_stored_crop(path: Path, start: int, n_samples: int) -> np.ndarray:
    """Return samples ``start … start + n_samples`` of a store, fewer at its end, shape (n,), float32.

    Raises
    ------
    StoreError
        The file is missing, damaged, or no store.
    ValueError
        ``start`` or ``n_samples`` is negative.
    """
    if start < 0 or n_samples < 0:
        raise ValueError(f"start={start} and n_samples={n_samples} must not be negative")
    with _open_store(path) as file:
        sound = file["au"]
        scale = np.float32(sound.attrs.get("scale", 1.0))
        return sound[start : start + n_samples].astype(np.float32) * scale


def stored_n_samples(path: Path) -> int:
    """Return the length of a stored recording in samples. Raises StoreError as :func:`read_stored_crop`."""
    with _open_store(path) as file:
        return int(file["au"].shape[0])


def stored_sample_rate(path: Path) -> int:
    """Return the sample rate of a store in Hz. Raises StoreError as :func:`read_stored_crop`."""
    with _open_store(path) as file:
        return int(file["sr"][()])


@contextmanager
def _open_store(path: Path) -> Iterator[h5py.File]:
    """Open a store of either layout; what HDF5 says against it becomes a StoreError."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file; run `dawnchorus precompute` to make it")
    try:
        with h5py.File(path, "r") as file:
            sound, rate = file.get("au"), file.get("sr")
            if not (isinstance(sound, h5py.Dataset) and sound.ndim == 1 and sound.dtype.kind in "if"):
                raise StoreError(_damaged(path, "it has no one-dimensional sound `au`"))
            if not (isinstance(rate, h5py.Dataset) and rate.size == 1 and rate.dtype.kind in "iuf"):
                raise StoreError(_damaged(path, "it has no sample rate `sr`"))
            yield file
    except (OSError, RuntimeError, KeyError) as error:
        raise StoreError(_damaged(path, f"HDF5 says: {str(error).rstrip('.')}")) from error


def _damaged(path: Path, reason: str) -> str:
    return f"{path}: damaged or not a store ({reason}); delete it and run `dawnchorus precompute` again"
