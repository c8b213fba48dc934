"""A file in pieces, read as one, so that no second copy of it is needed."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO


def open_joined(paths: Sequence[Path]) -> io.BufferedReader:
    """Open files as one, in the order given; they must not change meanwhile.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("zip.part-0").write_bytes(b"dawn"), Path("zip.part-1").write_bytes(b"chorus")
    >>> with open_joined([Path("zip.part-0"), Path("zip.part-1")]) as joined:
    ...     joined.read()
    b'dawnchorus'
    """
    return io.BufferedReader(_JoinedPieces(paths))


class _JoinedPieces(io.RawIOBase):
    """Files read one after the other as if they were one, from anywhere in it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._paths = list(paths)
        self._ends = list(accumulate(path.stat().st_size for path in self._paths))
        self._position = 0
        self._index = -1
        self._file: IO[bytes] | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return the position, bytes from the beginning of the first piece."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, and return it."""
        size = self._ends[-1] if self._ends else 0
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size}[whence]
        if begin + offset < 0:
            raise ValueError(f"position {begin + offset} lies before the beginning")
        self._position = begin + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from one piece, and return how many bytes it got; 0 at the end."""
        index = bisect_right(self._ends, self._position)
        if index == len(self._ends):
            return 0
        if index != self._index or self._file is None:
            self._close_piece()
            self._file, self._index = self._paths[index].open("rb"), index
        self._file.seek(self._position - (self._ends[index - 1] if index else 0))
        data = self._file.read(min(len(buffer), self._ends[index] - self._position))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the piece that is open."""
        self._close_piece()
        super().close()

    def _close_piece(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
