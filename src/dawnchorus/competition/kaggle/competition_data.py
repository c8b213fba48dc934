"""Download of a competition, part by part: each is checked, and placed where configs expect it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from dawnchorus.competition.kaggle.archives import bytes_at_hand, fetch_archive, remove_archive
from dawnchorus.competition.kaggle.download_record import (
    ArchiveRecord,
    DownloadRecord,
    PartRecord,
    missing_files,
    read_record,
    write_record,
)
from dawnchorus.competition.kaggle.esc50 import write_esc50_table
from dawnchorus.competition.kaggle.extraction import (
    WORK_NAME,
    DamagedArchiveError,
    below,
    destinations,
    open_joined,
    piece_folder,
    unpack,
)
from dawnchorus.competition.kaggle.kaggle_catalogue import Competition, KaggleSource, Part, select_parts
from dawnchorus.downloads import disk_space
from dawnchorus.downloads.disk_space import size_text
from dawnchorus.errors import DownloadError, MissingExtraError
from dawnchorus.files import locked, naming
from dawnchorus.wording import install_extra

if TYPE_CHECKING:
    from dawnchorus.competition.kaggle.kaggle_files import KaggleFiles

logger = logging.getLogger(__name__)

_LOCK_NAME = "lock"


class PartOutcome(NamedTuple):
    """The outcome of a part's download, and one sentence about it.

    Examples
    --------
    >>> PartOutcome("noise", "fetched", "12.30 GB in 4,500 files").state
    'fetched'
    """

    name: str
    state: Literal["fetched", "there", "failed"]
    sentence: str


class PartPlan(NamedTuple):
    """A part, and the size of its download.

    Attributes
    ----------
    part
        The part.
    is_there
        Whether nothing of it is left to fetch.
    n_bytes
        Its files together; None where unknown.

    Examples
    --------
    >>> from dawnchorus.competition.kaggle.kaggle_catalogue import Part
    >>> PartPlan(Part("noise", "soundscapes without birds", ()), is_there=False, n_bytes=None).is_there
    False
    """

    part: Part
    is_there: bool
    n_bytes: int | None


def plan_competition(competition: Competition, out: Path, *, only: Sequence[str] = ()) -> list[PartPlan]:
    """Return the parts of a download and their sizes; nothing is written, and only sizes are requested.

    Without credentials, or without Kaggle's client, the sizes are unknown, and the reason is logged.

    Raises
    ------
    DownloadError
        There is no part of such a name, or ``out`` holds another competition.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.competition.kaggle.kaggle_catalogue import Competition, Part
    >>> bundled = Competition("birdclef-1999", (Part("tables", "tables that come with dawnchorus", ()),))
    >>> [plan.part.name for plan in plan_competition(bundled, Path("data"))]
    ['tables']
    """
    parts = select_parts(competition, only)
    record = read_record(out, competition.name)
    there = {part.name for part in parts if _is_there(record, part, out)}
    waiting = [part for part in parts if part.name not in there]
    sizes: dict[str, int | None] = {}
    if waiting:
        try:
            with _open_kaggle() as kaggle:
                sizes = {
                    source.ref: kaggle.unpacked_bytes(source) for part in waiting for source in part.sources
                }
        except (DownloadError, MissingExtraError) as error:
            logger.info(str(error))
    return [PartPlan(part, part.name in there, _total(part, sizes)) for part in parts]


def download_parts(
    competition: Competition, out: Path, *, only: Sequence[str] = (), keep_archives: bool = False
) -> Iterator[PartOutcome]:
    """Download the parts of a competition that are not there, and yield the outcome of each.

    A killed run goes on when it is started again. One part that fails does not stop the others.

    Parameters
    ----------
    competition, only
        What to download: the named parts, or the default ones where none is named.
    out
        Folder of all downloads; it is made where it is missing.
    keep_archives
        Whether the archives stay in ``out``/.downloads.

    Raises
    ------
    DownloadError
        No part can be downloaded: no such part, no or wrong credentials, a folder that holds another
        competition or is in use, too little room for all parts together.
    MissingExtraError
        Kaggle's client is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.competition.kaggle.kaggle_catalogue import COMPETITIONS
    >>> list(download_parts(COMPETITIONS["birdclef-2025"], Path("data"), only=["owls"]))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DownloadError: birdclef-2025 has no part 'owls'; legal: competition, additional,
    backbones, pseudo-labels, noise, models, pretraining-tables
    """
    parts = select_parts(competition, only)
    read_record(out, competition.name)  # raises before anything is made
    work = out / WORK_NAME
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if not stack.enter_context(locked(work / _LOCK_NAME)):
            raise DownloadError(f"another download is at work in {out}; wait for it, or choose another --out")
        record = read_record(out, competition.name)
        waiting = [part for part in parts if not _is_there(record, part, out)]
        if waiting:
            kaggle = stack.enter_context(_open_kaggle())
            download = _Download(kaggle, competition, record, out, keep_archives)
            download.require_room_for(waiting)
        for part in parts:
            if part in waiting:
                outcome = download.attempt(part)
            else:
                outcome = PartOutcome(part.name, "there", "already there")
            if outcome.state != "failed":
                _finish(part, out, keep_archives=keep_archives)
            yield outcome


def _finish(part: Part, out: Path, *, keep_archives: bool) -> None:
    """Make a part's derived files, and remove leftovers of killed runs."""
    if part.esc50 is not None and (out / part.esc50[0]).is_dir():
        write_esc50_table(out / part.esc50[0], out / part.esc50[1])
    shutil.rmtree(out / piece_folder(part), ignore_errors=True)
    for source in () if keep_archives else part.sources:
        remove_archive(_archive_path(out, source))


@dataclass
class _Download:
    """A running download: the service, and the record so far."""

    kaggle: KaggleFiles
    competition: Competition
    record: DownloadRecord
    out: Path
    keep_archives: bool
    sizes: dict[str, int | None] = field(default_factory=dict)
    at_hand: dict[str, int] = field(default_factory=dict)

    def require_room_for(self, parts: Sequence[Part]) -> None:
        """Request the sizes of all parts, and raise where the known ones together do not fit."""
        needed, passing = 0, [0]
        for part in parts:
            for source in part.sources:
                self.sizes[source.ref] = self.kaggle.unpacked_bytes(source)
                self.at_hand[source.ref] = self._unpacked_bytes(part, source)
                needed -= self.at_hand[source.ref] + bytes_at_hand(self._archive(source))
            sizes = [self.sizes[source.ref] or 0 for source in part.sources]
            needed += sum(sizes)
            # Room for what is removed later: each archive in turn, or all pieces of one together.
            passing.append(sum(sizes) if self.keep_archives or part.pieces else max(sizes))
        needed += sum(passing) if self.keep_archives else max(passing)
        names = ", ".join(part.name for part in parts)
        how = "all archives" if self.keep_archives else "one archive at a time"
        what = f"{names} (unpacked, and {how}, taken as big as what they hold)"
        disk_space.require_room(self.out, needed, what)

    def attempt(self, part: Part) -> PartOutcome:
        """Fetch a part, and return the outcome."""
        from dawnchorus.competition.kaggle.kaggle_files import CredentialsRefusedError

        try:
            with naming(self.out):
                files = self._fetch(part)
        except CredentialsRefusedError:
            raise
        except (DownloadError, OSError) as error:
            return PartOutcome(part.name, "failed", str(error))
        folder = self.out / part.folder
        total = size_text(sum(files.values()))
        counted = f"{len(files)} file{'s' if len(files) != 1 else ''}"
        return PartOutcome(part.name, "fetched", f"{counted} in {folder} ({total})")

    def _fetch(self, part: Part) -> dict[str, int]:
        record = self.record.parts.setdefault(part.name, PartRecord())
        if record.is_complete(part):
            gone = missing_files(self.out, record.files())
            logger.info(
                f"{part.name}: {len(gone)} of {len(record.files())} files are missing or have another size, "
                f"{gone[0]} for one; fetched again"
            )
            record = self.record.parts[part.name] = PartRecord()
        for source in part.sources:
            known = record.archives.get(source.ref)
            if known is None or missing_files(self.out, known.files):
                record.archives[source.ref] = self._fetch_source(part, source)
                write_record(self.out, self.record)
                if not self.keep_archives:
                    remove_archive(self._archive(source))
        if part.pieces is not None and record.joined is None:
            self._join(part, record)
        return record.files()

    def _fetch_source(self, part: Part, source: KaggleSource) -> ArchiveRecord:
        archive = self._archive(source)
        require_room = partial(self._require_room, source)
        fetched = fetch_archive(self.kaggle, source, archive, require_room=require_room)
        try:
            files = unpack(archive, self.out, partial(self._arrange, part), title=str(source))
        except DamagedArchiveError:
            remove_archive(archive)
            raise
        return ArchiveRecord(n_bytes=fetched.n_bytes, version=fetched.version, files=files)

    def _arrange(self, part: Part, names: Sequence[str]) -> dict[str, str]:
        """Return where the files of an archive must lie, without those that an earlier part has there."""
        earlier = self.competition.parts[: self.competition.parts.index(part)]
        records = [self.record.parts[other.name] for other in earlier if other.name in self.record.parts]
        taken = {name for record in records for name in record.files()}
        arranged = destinations(names, part)
        return {name: path for name, path in arranged.items() if path not in taken}

    def _join(self, part: Part, record: PartRecord) -> None:
        """Unpack the archive that a part holds in pieces, and remove them."""
        assert part.pieces is not None
        inside = f"{piece_folder(part)}/"
        names = sorted(name for name in record.files() if name.startswith(inside))
        folder = self.out / inside
        try:
            with open_joined([self.out / name for name in names]) as joined:
                arrange = partial(below, folder=part.pieces.folder)
                title = f"{part.pieces.prefix}* ({len(names)} pieces)"
                record.joined = unpack(joined, self.out, arrange, title=title)
        except DamagedArchiveError:
            del self.record.parts[part.name]
            write_record(self.out, self.record)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for archive in record.archives.values():
            archive.files = {name: size for name, size in archive.files.items() if name not in names}
        write_record(self.out, self.record)
        shutil.rmtree(folder)

    def _require_room(self, source: KaggleSource, n_bytes: int, to_come: int) -> None:
        """Raise where an archive of ``n_bytes`` and its files do not fit."""
        unpacked = self.sizes.get(source.ref)
        assumed = "" if unpacked is not None else ", taken as big as the archive"
        unpacked = n_bytes if unpacked is None else unpacked
        what = f"{source} (archive {size_text(n_bytes)}, unpacked {size_text(unpacked)}{assumed})"
        needed = to_come + max(0, unpacked - self.at_hand.get(source.ref, 0))
        disk_space.require_room(self.out, needed, what)

    def _unpacked_bytes(self, part: Part, source: KaggleSource) -> int:
        """Return how many bytes of an archive's files are there."""
        known = self.record.parts.get(part.name, PartRecord()).archives.get(source.ref)
        files = known.files if known else {}
        gone = set(missing_files(self.out, files))
        return sum(size for name, size in files.items() if name not in gone)

    def _archive(self, source: KaggleSource) -> Path:
        return _archive_path(self.out, source)


def _archive_path(out: Path, source: KaggleSource) -> Path:
    return out / WORK_NAME / f"{source.slug}.zip"


def _is_there(record: DownloadRecord, part: Part, out: Path) -> bool:
    known = record.parts.get(part.name)
    return known is not None and known.is_complete(part) and not missing_files(out, known.files())


def _total(part: Part, sizes: dict[str, int | None]) -> int | None:
    known = [size for source in part.sources if (size := sizes.get(source.ref)) is not None]
    return sum(known) if len(known) == len(part.sources) else None


def _open_kaggle() -> KaggleFiles:
    try:
        from dawnchorus.competition.kaggle.kaggle_credentials import find_credentials
        from dawnchorus.competition.kaggle.kaggle_files import KaggleFiles

        return KaggleFiles(find_credentials())
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"downloading from Kaggle needs {error.name}, which is not installed: {install_extra('download')}"
        ) from error
