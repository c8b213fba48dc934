"""Record of a folder of downloads, ``.downloads.json``: its files, and the archives they came in."""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, Field

from dawnchorus.competition.kaggle.kaggle_catalogue import Part
from dawnchorus.config import Record, read_json
from dawnchorus.errors import DownloadError
from dawnchorus.files import inside, size_of, write_text
from dawnchorus.wording import in_line

RECORD_NAME = ".downloads.json"


class ArchiveRecord(Record):
    """An archive that was unpacked.

    Attributes
    ----------
    n_bytes
        Its size.
    version
        The service's name of this version; None where it has none.
    files
        The files from it, relative to the folder of downloads, and their sizes, bytes.

    Examples
    --------
    >>> ArchiveRecord(n_bytes=1024, version="2", files={"train.csv": 4096}).files
    {'train.csv': 4096}
    """

    model_config = ConfigDict(frozen=False)

    n_bytes: int
    version: str | None
    files: dict[str, int]


class PartRecord(Record):
    """The downloaded archives of a part, by their names at Kaggle, and the files from its pieces.

    Examples
    --------
    >>> archive = ArchiveRecord(n_bytes=1024, version="2", files={"train.csv": 4096})
    >>> PartRecord(archives={"birdclef-2025": archive}).files()
    {'train.csv': 4096}
    """

    model_config = ConfigDict(frozen=False)

    archives: dict[str, ArchiveRecord] = Field(default_factory=dict)
    joined: dict[str, int] | None = None

    def is_complete(self, part: Part) -> bool:
        """Return whether every archive of the part was unpacked, and its pieces too."""
        joined = part.pieces is None or self.joined is not None
        return joined and all(source.ref in self.archives for source in part.sources)

    def files(self) -> dict[str, int]:
        """Return all files of the part, relative to the folder of downloads, and their sizes, bytes."""
        files = dict(self.joined or {})
        for archive in self.archives.values():
            files.update(archive.files)
        return files


class DownloadRecord(Record):
    """The record of a folder of downloads.

    Examples
    --------
    >>> DownloadRecord(competition="birdclef-2025").parts
    {}
    """

    competition: str
    parts: dict[str, PartRecord] = Field(default_factory=dict)


def missing_files(out: Path, files: dict[str, int]) -> list[str]:
    """Return the files that are missing or of another size.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("train.csv").write_bytes(bytes(4))
    >>> missing_files(Path(), {"train.csv": 4, "taxonomy.csv": 10})
    ['taxonomy.csv']
    """
    return [name for name, size in files.items() if not (out / name).is_file() or size_of(out / name) != size]


def read_record(out: Path, competition: str) -> DownloadRecord:
    """Return the record of a folder; an empty one where nothing was downloaded into it.

    Raises
    ------
    DownloadError
        It holds another competition, or its record cannot be read.
    UnsafePathError
        The record names a file outside the folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_record(Path("data"), "birdclef-2025").parts
    {}
    """
    path = out / RECORD_NAME
    if not path.is_file():
        return DownloadRecord(competition=competition)
    remedy = "remove it and run this again: files that are whole stay as they are"
    record = read_json(path, DownloadRecord, error=DownloadError, remedy=remedy)
    if record.competition != competition:
        raise DownloadError(
            f"{out} holds {in_line(record.competition)}, and {competition} would mix with it; choose another "
            "--out"
        )
    for part in record.parts.values():
        for name in part.files():
            inside(out, name, named_in=path)
    return record


def write_record(out: Path, record: DownloadRecord) -> None:
    """Write the record of a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> write_record(Path(), DownloadRecord(competition="birdclef-2025"))
    >>> read_record(Path(), "birdclef-2025").competition
    'birdclef-2025'
    """
    write_text(out / RECORD_NAME, record.model_dump_json())
