"""Readers of ``.npy`` and ``.npz``, arrays and archives of them; none allocates more than a file can hold."""

from __future__ import annotations

import math
import zipfile
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from dawnchorus.errors import DataError, DawnchorusError
from dawnchorus.formats.pickled_arrays import unpickled_array
from dawnchorus.wording import in_line

_LARGEST_RATIO = 1032
"""Of deflate: a byte stands for at most this many."""

_MOST_EMPTY = 2**20
"""Items without a byte, such as the rows of shape (n, 0), that an array may have."""


def read_arrays(
    path: Path, *, error: type[DawnchorusError] = DataError, remedy: str = "delete it"
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an archive that ``numpy.savez`` wrote, by name; no code in it is run.

    Parameters
    ----------
    path
        The archive.
    error
        Class of the error.
    remedy
        End of a message.

    Raises
    ------
    DataError
        The file is missing or damaged, holds objects, or an array claims more bytes than are there; or
        ``error`` in its place.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> np.savez("night.npz", probabilities=np.zeros((2, 3), np.float32))
    >>> read_arrays(Path("night.npz"))["probabilities"].shape
    (2, 3)
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename.removesuffix(".npy"): _read(archive, info) for info in archive.infolist()}
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror or cause}; {remedy}") from None
    except Exception as cause:  # of a damaged archive, its parts raise what they do
        reason = in_line(str(cause)) or type(cause).__name__
        raise error(f"{path} is damaged, or no archive of arrays: {reason}; {remedy}") from cause


def read_array(path: Path, *, remedy: str) -> npt.NDArray[Any]:
    """Return the array that ``numpy.save`` wrote; no code in it is run.

    Parameters
    ----------
    path
        The file. It may hold objects, where these are whole numbers, text, or lists and arrays of them.
    remedy
        End of a message.

    Raises
    ------
    DataError
        The file is missing or damaged, or holds other objects, which only unpickling could read.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> np.save("folds.npy", np.array([0, 1, 0]))
    >>> read_array(Path("folds.npy"), remedy="save it again")
    array([0, 1, 0])
    """
    try:
        with path.open("rb") as file:
            if _header(file)[-1].hasobject:
                return unpickled_array(file.read())
            file.seek(0)
            return _array(file, path.name, path.stat().st_size)
    except OSError as cause:
        raise DataError(f"{path} cannot be read: {cause.strerror or cause}; {remedy}") from None
    except Exception as cause:  # of a damaged file, NumPy raises what it does
        raise DataError(
            f"{path} is damaged, or no array of NumPy that can be read without running code in it: "
            f"{in_line(str(cause))}; {remedy}"
        ) from cause


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if info.file_size > _LARGEST_RATIO * (info.compress_size + 1):
        raise ValueError(f"{info.filename} claims {info.file_size} bytes in {info.compress_size}")
    with archive.open(info) as file:
        return _array(file, info.filename, info.file_size)


def _array(file: IO[bytes], name: str, file_bytes: int) -> npt.NDArray[Any]:
    shape, is_fortran, dtype = _header(file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects")
    n_bytes, n_there = math.prod(shape) * dtype.itemsize, file_bytes - file.tell()
    if n_bytes != n_there or min(shape, default=0) < 0:
        raise ValueError(f"{name} claims {n_bytes} bytes of {dtype} and has {n_there}")
    if n_bytes == 0 and (n_empty := math.prod(takewhile(bool, shape))) > _MOST_EMPTY:
        raise ValueError(f"{name} claims {n_empty} items without a byte; legal: {_MOST_EMPTY} or less")
    data = file.read()  # to the end, where an archive's checksum is compared
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if is_fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
