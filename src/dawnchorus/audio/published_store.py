"""Reader of the HDF5 files of the published system: ``au`` float32, ``sr`` and ``do_normalize``.

Where ``au`` is contiguous, as the published program writes it, its offset in the file is taken from HDF5
once; a crop is then one plain read. A compressed or chunked ``au`` is read through HDF5.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from dawnchorus.audio.store import damaged, read_ranges
from dawnchorus.audio.windows import check_crop
from dawnchorus.errors import StoreError
from dawnchorus.files.storage import as_path, is_remote

if TYPE_CHECKING:
    import h5py

# Errors that h5py raises for damaged files.
_HDF5_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
)
_BLOCK = 1 << 22  # samples that are verified at a time


@dataclass(frozen=True)
class PublishedRecording:
    """A recording in a file of the published system; it holds no open file.

    Attributes
    ----------
    path
        The HDF5 file.
    n_samples
        Length in samples.
    sample_rate
        In Hz.
    offset
        Offset of the samples in the file, in bytes; None where they are in chunks.
    sample_type
        The NumPy type of a stored sample, such as ``"<f4"``.

    Examples
    --------
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> with h5py.File("XC1.hdf5", "w") as file:
    ...     file["au"] = np.zeros(32_000, np.float32)
    ...     file["sr"] = 32_000
    >>> recording = open_published_store(Path("XC1.hdf5"))
    >>> recording.n_samples, recording.read(0, 100).shape
    (32000, (100,))
    """

    kind: ClassVar[Literal["hdf5"]] = "hdf5"
    channel: ClassVar[Literal["mean"]] = "mean"  # by default; the file does not say

    path: Path
    n_samples: int
    sample_rate: int
    offset: int | None
    sample_type: str

    def is_made_from(self, source: Path) -> bool:
        """Return True: the file does not name its source."""
        return True

    def read(self, start: int, n_samples: int) -> np.ndarray:
        """Return samples ``start … start + n_samples``, fewer at the end, shape (n,), float32.

        Raises
        ------
        StoreError
            The file is gone or damaged.
        ValueError
            ``start`` or ``n_samples`` is negative.
        """
        check_crop(start, n_samples)
        n_samples = max(0, min(n_samples, self.n_samples - start))
        if self.offset is None:
            with _opened(self.path) as (sound, _):
                return sound[start : start + n_samples].astype(np.float32)
        item = np.dtype(self.sample_type)
        _, (data,) = read_ranges(self.path, (self.offset + start * item.itemsize, n_samples * item.itemsize))
        return np.frombuffer(data, item).astype(np.float32)

    def verify(self) -> None:
        """Read all samples, for there is no checksum. Raises StoreError where that fails or one is NaN."""
        for start in range(0, self.n_samples, _BLOCK):
            if not np.isfinite(self.read(start, _BLOCK)).all():
                raise damaged(self.path, f"NaN or infinite samples after sample {start}")


def open_published_store(path: Path) -> PublishedRecording:
    """Return the recording of a file of the published system.

    Raises
    ------
    StoreError
        The file is missing, damaged, or of another layout.

    Examples
    --------
    >>> from pathlib import Path
    >>> import h5py
    >>> import numpy as np
    >>> with h5py.File("XC1.hdf5", "w") as file:
    ...     file["au"] = np.zeros(32_000, np.float32)
    ...     file["sr"] = 32_000
    >>> open_published_store(Path("XC1.hdf5")).sample_rate
    32000
    """
    with _opened(path) as (sound, rate):
        sample_rate = int(np.ravel(rate[()])[0])
        if sample_rate < 1 or not len(sound):
            raise damaged(path, f"{len(sound)} samples at {sample_rate} Hz")
        return PublishedRecording(path, len(sound), sample_rate, sound.id.get_offset(), sound.dtype.str)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[h5py.Dataset, h5py.Dataset]]:
    """Yield ``au`` and ``sr``; errors of HDF5 become a StoreError."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file; run `dawnchorus precompute` to make it")
    import h5py  # here, so that an exported model predicts audio files without it

    try:
        with h5py.File(as_path(path).open("rb") if is_remote(path) else path, "r") as file:
            sound, rate = file.get("au"), file.get("sr")
            if not (isinstance(sound, h5py.Dataset) and sound.ndim == 1 and sound.dtype.kind == "f"):
                raise damaged(path, "it has no one-dimensional float sound `au`")
            if not (isinstance(rate, h5py.Dataset) and rate.size == 1 and rate.dtype.kind in "iuf"):
                raise damaged(path, "it has no sample rate `sr`")
            yield sound, rate
    except _HDF5_ERRORS as error:
        raise damaged(path, f"HDF5 says: {str(error).rstrip('.')}") from error
