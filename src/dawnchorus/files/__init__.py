"""Files: written whole or not at all, locked, walked through, and what could not be read of them."""

from dawnchorus.files.failures import FAILURES_NAME, NOTES_NAME, Failure, read_failures, write_failures
from dawnchorus.files.paths import (
    FileVersion,
    from_legible,
    inside,
    is_file,
    legible,
    refuse_existing,
    size_of,
    walk,
)
from dawnchorus.files.pieces import FaultKeeper, Piece, PiecedFile
from dawnchorus.files.replacement import (
    locked,
    mend,
    naming,
    replacing,
    replacing_all,
    start_writing_back,
    sync_all,
    temporary_folder,
    write_text,
)

__all__ = [
    "FAILURES_NAME",
    "NOTES_NAME",
    "Failure",
    "FaultKeeper",
    "FileVersion",
    "Piece",
    "PiecedFile",
    "from_legible",
    "inside",
    "is_file",
    "legible",
    "locked",
    "mend",
    "naming",
    "read_failures",
    "refuse_existing",
    "replacing",
    "replacing_all",
    "size_of",
    "start_writing_back",
    "sync_all",
    "temporary_folder",
    "walk",
    "write_failures",
    "write_text",
]
