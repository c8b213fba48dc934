"""Pieces of files, and bytes beside them, that are read as one file."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, NamedTuple


class Piece(NamedTuple):
    """Bytes from ``start`` to ``stop`` of a file, or ``given`` ones that stand for them.

    Examples
    --------
    >>> Piece(start=44, stop=768_044).n_bytes
    768000
    """

    start: int
    stop: int
    given: bytes | None = None
    path: Path | None = None

    @property
    def n_bytes(self) -> int:
        """Length in bytes."""
        return self.stop - self.start if self.given is None else len(self.given)


class FaultKeeper(io.RawIOBase):
    """A file that keeps the error which ends it, for libraries that would take that for its end.

    Parameters
    ----------
    file
        The file that is read.

    Attributes
    ----------
    fault
        The error, None as long as there was none.

    Examples
    --------
    >>> import io
    >>> FaultKeeper(io.BytesIO(b"dawn")).read(2)
    b'da'
    """

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self.fault: OSError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position in bytes, and return it."""
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return the number of bytes; 0 at the end and after an error."""
        try:
            return int(self._file.readinto(buffer) or 0)
        except OSError as error:
            self.fault = error
            return 0

    def close(self) -> None:
        """Close the file that is read."""
        self._file.close()
        super().close()


class PiecedFile(io.RawIOBase):
    """Pieces read as one file, at any position; their files must not change meanwhile.

    Parameters
    ----------
    path
        The file of the pieces that name none.
    pieces
        The pieces, in their order.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("a.txt").write_bytes(b"duskchorus")
    >>> with PiecedFile(Path("a.txt"), [Piece(0, 0, b"dawn"), Piece(4, 10)]) as joined:
    ...     joined.read()
    b'dawnchorus'
    """

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self._path, self._pieces, self._position = path, list(pieces), 0
        self._stops = list(accumulate(piece.n_bytes for piece in self._pieces))
        self._opened: tuple[Path, IO[bytes]] | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position in bytes, and return it."""
        if whence == io.SEEK_SET and offset < 0:
            raise ValueError(f"position {offset} lies before the beginning")
        n_bytes = self._stops[-1] if self._stops else 0
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: n_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from one piece, and return the number of bytes; 0 at the end."""
        index = bisect_right(self._stops, self._position)
        if index == len(self._pieces):
            return 0
        piece = self._pieces[index]
        within = self._position - self._stops[index] + piece.n_bytes
        n_bytes = min(len(buffer), piece.n_bytes - within)
        if piece.given is not None:
            data = piece.given[within : within + n_bytes]
        else:
            file = self._file_of(piece)
            file.seek(piece.start + within)
            data = file.read(n_bytes)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _file_of(self, piece: Piece) -> IO[bytes]:
        path = piece.path or self._path
        if self._opened is None or self._opened[0] != path:
            self._close_file()
            self._opened = path, path.open("rb")
        return self._opened[1]

    def _close_file(self) -> None:
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def close(self) -> None:
        """Close the file that is open."""
        self._close_file()
        super().close()
