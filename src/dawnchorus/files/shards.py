"""Shards of a job over many recordings, which processes without a common scheduler compute side by side.

Every shard lists the same recordings and takes its part of them, so that nothing but the output folder is
shared. What a shard has done stands in that folder, below ``shards/``::

    shards/
    ├── 3_of_40.lock        held while shard 3/40 is at work
    └── 3_of_40.json        what it did, from when it has ended
"""

from __future__ import annotations

import hashlib
import heapq
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dawnchorus.errors import ConfigError, RunError
from dawnchorus.files.checked_json import read_checked, write_checked
from dawnchorus.files.replacement import locked, mend
from dawnchorus.wording import counted, in_line, shown

SHARDS_NAME = "shards"
_WAIT_S = 60.0
"""How long a shard waits for others that begin at the same time."""
_PAUSE_S = 0.05
_NUMBERS = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_RECORD = re.compile(r"([1-9][0-9]{0,5})_of_([1-9][0-9]{0,5})\.json")

JobT = TypeVar("JobT")
SchemaT = TypeVar("SchemaT")


class Shard(NamedTuple):
    """One of several parts of a job.

    Attributes
    ----------
    number
        From 1 to ``n_shards``.
    n_shards
        Parts of the whole job.

    Examples
    --------
    >>> shard = Shard.parse("3/40")
    >>> shard.number, str(shard)
    (3, '3/40')
    """

    number: int
    n_shards: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that a text such as ``3/40`` names.

        Raises
        ------
        ConfigError
            It names none.

        Examples
        --------
        >>> Shard.parse("0/40")
        Traceback (most recent call last):
            ...
        dawnchorus.errors.ConfigError: the shard is '0/40'; legal: 1/40 to 40/40, the number of this one and
        of all; of an array of tasks that begins with 0, add 1
        """
        found = _NUMBERS.fullmatch(text.strip())
        n_shards = int(found[2]) if found else 40
        if found is None or not 1 <= int(found[1]) <= n_shards:
            last = max(n_shards, 1)
            raise ConfigError(
                f"the shard is {shown(text)}; legal: 1/{last} to {last}/{last}, the number of this one and "
                "of all; of an array of tasks that begins with 0, add 1"
            )
        return cls(int(found[1]), n_shards)

    @property
    def stem(self) -> str:
        """The name of its files, without suffix."""
        return f"{self.number}_of_{self.n_shards}"

    def of(self, sizes: Mapping[str, int]) -> list[str]:
        """Return the names that this shard takes, in their order.

        The largest go first, each to the shard that has the fewest bytes so far, so that all have about as
        many. The same names and sizes are always dealt alike.

        Parameters
        ----------
        sizes
            Bytes of every recording of the job, by name.

        Examples
        --------
        >>> sizes = {"dawn.wav": 50, "day.wav": 90, "dusk.wav": 40, "night.wav": 10}
        >>> Shard(1, 2).of(sizes), Shard(2, 2).of(sizes)
        (['day.wav', 'night.wav'], ['dawn.wav', 'dusk.wav'])
        """
        loads = [(0, 0, number) for number in range(1, self.n_shards + 1)]  # bytes, recordings, shard
        ours = set()
        for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
            n_bytes, n_names, number = loads[0]
            heapq.heapreplace(loads, (n_bytes + sizes[name], n_names + 1, number))
            if number == self.number:
                ours.add(name)
        return [name for name in sizes if name in ours]

    def __str__(self) -> str:
        return f"{self.number}/{self.n_shards}"


def listing_digest(sizes: Mapping[str, int]) -> str:
    """Return a digest of the names and sizes of all recordings of a job.

    Examples
    --------
    >>> listing_digest({"night.wav": 10}) == listing_digest({"night.wav": 11})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(sizes):
        digest.update(f"{name}\0{sizes[name]}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@contextmanager
def alone_in(out_dir: Path, *, lock: Path, shard: Shard | None = None) -> Iterator[None]:
    """Lock a folder against other processes while the block runs; shards lock out only their own like.

    Parameters
    ----------
    out_dir
        The folder, for messages.
    lock
        The file to lock.
    shard
        The part of a job that is at work: others may be so too, but not this one, nor the whole job.

    Raises
    ------
    RunError
        Another process is at work there.

    Examples
    --------
    >>> from pathlib import Path
    >>> Path("tables").mkdir()
    >>> with alone_in(Path("tables"), lock=Path("tables/lock")):
    ...     Path("tables/lock").is_file()
    True
    """
    folder = lock.parent / SHARDS_NAME
    if shard is None:
        with locked(lock) as is_ours:
            if not (is_ours and lock.exists()):  # another process may have removed its journal with the lock
                raise RunError(
                    f"{out_dir} is being written by another process; wait for it, or choose another --out"
                )
            for file in sorted(folder.glob("*.lock")):
                with locked(file) as is_free:
                    if not is_free:
                        number = file.stem.replace("_of_", "/")
                        raise RunError(
                            f"{out_dir} is being written by shard {number}; wait for it, or choose another "
                            "--out"
                        )
            yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{shard.stem}.lock") as is_ours:
        if not is_ours:
            raise RunError(f"shard {shard} of {out_dir} is being computed by another process; wait for it")
        with briefly_alone(out_dir, lock=lock):
            pass
        yield


@contextmanager
def briefly_alone(out_dir: Path, *, lock: Path) -> Iterator[None]:
    """Lock a folder for a moment, after other shards that do so too.

    Raises
    ------
    RunError
        Another process, which is no shard, is at work there.

    Examples
    --------
    >>> from pathlib import Path
    >>> with briefly_alone(Path(), lock=Path("lock")):
    ...     Path("lock").is_file()
    True
    """
    end = time.monotonic() + _WAIT_S
    while True:
        with locked(lock) as is_free:
            if is_free and lock.exists():
                yield
                return
        if time.monotonic() > end:
            raise RunError(
                f"{out_dir} is being written by another process, and not by shards of one job; wait for it, "
                "or choose another --out"
            )
        time.sleep(_PAUSE_S)


class _Record(BaseModel):
    """The file of a shard that has ended; the schemas of its job and content are those of the command."""

    model_config = ConfigDict(frozen=True)

    listing: str
    job: dict[str, Any]
    content: Any


class ShardRecords(NamedTuple):
    """What the shards of one job have done, in ``shards`` below a folder.

    Attributes
    ----------
    folder
        The folder that holds ``shards``.

    Examples
    --------
    >>> from pathlib import Path
    >>> records = ShardRecords(Path("tables"))
    >>> records.write(Shard(1, 2), {"n_recordings": 4}, listing="3f9a", job={"threshold": 0.5})
    >>> records.read(dict[str, float], dict[str, int])
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: tables: 1 of 2 shards is missing: 2/2; compute it, then join again
    >>> records.write(Shard(2, 2), {"n_recordings": 3}, listing="3f9a", job={"threshold": 0.5})
    >>> job, contents = records.read(dict[str, float], dict[str, int])
    >>> job, contents
    ({'threshold': 0.5}, [{'n_recordings': 4}, {'n_recordings': 3}])
    """

    folder: Path

    @property
    def exist(self) -> bool:
        """Whether a shard has ended here."""
        return bool(self._ended())

    def begin(self, shard: Shard) -> None:
        """Remove what a shard did before, now that it is at work again."""
        mend(self._shards)
        self._file(shard).unlink(missing_ok=True)

    def content(self, shard: Shard, schema: type[SchemaT]) -> SchemaT | None:
        """Return what a shard has noted; None where that is missing, damaged or of another release."""
        try:
            record = self._record(shard)
            return None if record is None else self._validated(schema, record.content, shard)
        except RunError:
            return None

    def write(self, shard: Shard, content: Any, *, listing: str, job: Mapping[str, Any]) -> None:
        """Note that a shard has ended.

        Parameters
        ----------
        shard
            The shard.
        content
            What it did, in JSON's types.
        listing
            Digest of the recordings of the whole job, :func:`listing_digest`.
        job
            What must be the same in all shards, in JSON's types.
        """
        write_checked(self._file(shard), {"listing": listing, "job": dict(job), "content": content})

    def read(self, job_schema: type[JobT], content_schema: type[SchemaT]) -> tuple[JobT, list[SchemaT]]:
        """Return the job, and what each shard did, in their order.

        Parameters
        ----------
        job_schema, content_schema
            Types of the job, and of what a shard did, which pydantic knows.

        Raises
        ------
        RunError
            There are none, some are missing, damaged or of another command, or not all are of one job.
        """
        shards = self._ended()
        if not shards:
            raise RunError(
                f"{self.folder} holds no shards that have ended; name the output of a command with --shard"
            )
        counts = sorted({shard.n_shards for shard in shards})
        if len(counts) > 1:
            raise RunError(
                f"{self._shards} holds shards of {counts[0]} and of {counts[-1]}; delete the outdated ones "
                f"there, such as *_of_{counts[0]}.json"
            )
        records = {shard: record for shard in shards if (record := self._record(shard)) is not None}
        if len(records) < counts[0]:
            missing = [n for n in range(1, counts[0] + 1) if Shard(n, counts[0]) not in records]
            one = len(missing) == 1
            raise RunError(
                f"{self.folder}: {len(missing)} of {counted(counts[0], 'shard')} {'is' if one else 'are'} "
                f"missing: {_ranges(missing)}{f'/{counts[0]}' if one else ''}; compute "
                f"{'it' if one else 'them'}, then join again"
            )
        self._check_same(records)
        jobs = [self._validated(job_schema, record.job, shard) for shard, record in records.items()]
        return jobs[0], [
            self._validated(content_schema, record.content, shard) for shard, record in records.items()
        ]

    def _ended(self) -> list[Shard]:
        """Return the shards that have a file, in their order; files of other names are passed over."""
        found = [match for file in self._shards.glob("*.json") if (match := _RECORD.fullmatch(file.name))]
        shards = [Shard(int(match[1]), int(match[2])) for match in found]
        return sorted(shard for shard in shards if shard.number <= shard.n_shards)

    def _record(self, shard: Shard) -> _Record | None:
        """Return the record of a shard, None where it is missing or damaged.

        Raises
        ------
        RunError
            The file is whole, but no record.
        """
        content = read_checked(self._file(shard), dict[str, Any])
        return None if content is None else self._validated(_Record, content, shard)

    def _validated(self, schema: type[SchemaT], values: Any, shard: Shard) -> SchemaT:
        """Return a part of a record as an object of its schema.

        Raises
        ------
        RunError
            It is damaged, or another command or release has written it.
        """
        try:
            return TypeAdapter(schema).validate_python(values)
        except ValidationError as error:
            raise RunError(
                f"{self._file(shard)} is damaged, or of another command or release: {_fault_of(error)}; "
                f"compute shard {shard} again"
            ) from None

    def _check_same(self, records: Mapping[Shard, _Record]) -> None:
        """Raise RunError where a shard lists other recordings, or was made otherwise."""
        first, one = next(iter(records.items()))
        others = [shard for shard, record in records.items() if record.listing != one.listing]
        if others:
            raise RunError(
                f"{self.folder}: shards {_ranges([shard.number for shard in others])} list other recordings, "
                f"or recordings of other sizes, than shard {first.number}; compute all shards of one listing"
            )
        for shard, record in records.items():
            keys = sorted(one.job.keys() | record.job.keys())
            differing = [key for key in keys if one.job.get(key) != record.job.get(key)]
            if differing:
                raise RunError(
                    f"{self.folder}: shards {first.number} and {shard.number} were computed with another "
                    f"{in_line(' and '.join(differing))}; compute both with the same"
                )

    @property
    def _shards(self) -> Path:
        return self.folder / SHARDS_NAME

    def _file(self, shard: Shard) -> Path:
        return self._shards / f"{shard.stem}.json"


def _fault_of(error: ValidationError) -> str:
    """Return the first fault that was found: the key and its value."""
    fault = error.errors(include_url=False)[0]
    key = in_line(".".join(map(str, fault["loc"]))) or "the whole"
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"{key} is {shown(fault['input'])}, which is not legal"


def _ranges(numbers: list[int]) -> str:
    """Return rising numbers as text, those that follow one another as a range: ``2, 5-7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][-1] == number - 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join("-".join(map(str, each)) for each in ranges)
