"""Journal of a bulk job: the network's outputs for each recording, from which a killed job goes on.

::

    {out}/journal/
    ├── network.json        the model and the windows of all entries
    ├── index.json          of each entry what tells whether it is current, so that it need not be opened
    ├── shards/             of a job in shards (files/shards.py): locks, indexes, what each has done
    └── 3f/3f9a….npz        one recording: windows, probabilities, version of the file

Probabilities are stored before any postprocessing, so that other thresholds or another smoothing need no
second prediction. Entries are written atomically and hold a digest of their arrays; a damaged one counts as
missing. They are read without unpickling. The index can be lost: entries are then opened, each once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawnchorus.audio.container import read_info
from dawnchorus.audio.content_digest import content_digest, head_digest
from dawnchorus.audio.recorder_times import Recorder, recorder_of, recorder_time
from dawnchorus.config import read_json_if_sound
from dawnchorus.errors import AudioError, DataError, RunError
from dawnchorus.files import mend, replacing, write_text
from dawnchorus.files.checked_json import read_checked, write_checked
from dawnchorus.files.shards import SHARDS_NAME, Shard, alone_in, briefly_alone
from dawnchorus.files.storage import absolute_text, is_remote
from dawnchorus.formats.array_archives import read_arrays
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.predict.window_predictions import WindowPredictions

_DAMAGE = (DataError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""Errors of an entry whose archive or arrays are not as they were written."""


JOURNAL_NAME = "journal"
_COARSE_NS = 10_000_000
"""The finest clock of FAT and exFAT, the file systems of memory cards, which keep no time of status."""

Version = dict[str, str | int]
"""A recording's name, size in bytes, time of change in ns, and digest of its content."""


class Entry(NamedTuple):
    """The stored outputs of a recording.

    Attributes
    ----------
    predictions
        Its windows as the network gave them.
    start
        When the recording began, where that is known.
    version
        The version of the file that was predicted.
    root
        The folder that names began at; empty where an earlier release made the entry.
    source_rate
        Sample rate of the recording's file in Hz; None for HDF5 files, and in entries of earlier releases.
    recorder
        Its device and place; None in entries of earlier releases.
    digest
        Of all arrays.
    is_salvaged
        Whether the recording was read as far as it goes.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9, 0.2]]), 32_000)
    >>> Entry(windows, start=None).predictions.probabilities.shape
    (1, 2)
    """

    predictions: WindowPredictions
    start: datetime | None
    version: Version = {}  # noqa: RUF012  nothing changes it
    root: str = ""
    source_rate: int | None = None
    recorder: Recorder | None = None
    digest: str = ""
    is_salvaged: bool = False


class IndexedEntry(NamedTuple):
    """What the index holds of an entry.

    Attributes
    ----------
    version, root, digest
        As of :class:`Entry`.
    recording
        Size, times of change of content and status (ns) and inode of the recording when its version was
        determined; empty where that is not known.
    file
        Size and time of change of the entry's file.
    is_salvaged
        As of :class:`Entry`.

    Examples
    --------
    >>> IndexedEntry({"name": "night.wav"}, "/card", "3f9a", recording=[], file=[2048, 1]).root
    '/card'
    """

    version: Version
    root: str
    digest: str
    recording: list[int]
    file: list[int]
    is_salvaged: bool = False


class Journal:
    """The entries of one bulk job.

    Parameters
    ----------
    folder
        Where they are kept.
    shard
        The part of a job that writes here; the others do so at the same time, each of other recordings.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> from dawnchorus.predict.window_predictions import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9, 0.2]]), 32_000)
    >>> night, journal = RecordingFile(Path("night.wav"), "night.wav"), Journal(Path("tables/journal"))
    >>> with journal.opened({"model": "tiny"}):
    ...     journal.write(night, windows, version_of(night))
    >>> journal.find(night, version_of(night)).predictions.stops
    array([160000])
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self.folder, self.shard = folder, shard
        self.network_file = folder / "network.json"
        self.index_file = folder / "index.json"
        self.tables_file = folder / "tables.json"
        if shard is not None:
            self.index_file = folder / SHARDS_NAME / f"{shard.stem}.index"
        self.index: dict[str, IndexedEntry] = {}

    @contextmanager
    def opened(self, network: Mapping[str, Any], *, anew: bool = False) -> Iterator[None]:
        """Lock the journal while the block runs, and refuse or drop entries of other networks.

        Parameters
        ----------
        network
            What predictions depend on, in JSON's types.
        anew
            Whether entries that were made with another network are dropped, instead of refused.

        Raises
        ------
        RunError
            Another process is at work here, or the entries were made with another network.
        """
        if self.shard is not None:
            with self._opened_by_shard(network, anew=anew):
                yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock, is_left = self.folder / "lock", False
        try:
            with alone_in(self.folder.parent, lock=lock):
                self._check_network(network, anew=anew)
                for folder in (self.folder, *self.folder.glob("??")):
                    mend(folder)
                write_text(self.network_file, json.dumps(network, indent=2, ensure_ascii=False))
                self.index = self._read_index(self.index_file)
                before = dict(self.index)
                try:
                    yield
                finally:
                    if self.network_file.exists():
                        if self.index != before:
                            write_checked(self.index_file, self.index)
                    else:  # all entries were removed
                        try:
                            lock.unlink()
                        except PermissionError:  # on Windows, as long as the file is open
                            is_left = True
        finally:
            with suppress(OSError):  # it is not empty
                if is_left:
                    lock.unlink()
                self.folder.rmdir()

    @contextmanager
    def _opened_by_shard(self, network: Mapping[str, Any], *, anew: bool) -> Iterator[None]:
        """Lock this shard's part; another shard may have made the journal, and be at work in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock, out_dir = self.folder / "lock", self.folder.parent
        with alone_in(out_dir, lock=lock, shard=self.shard):
            with briefly_alone(out_dir, lock=lock):
                self._check_network(network, anew=anew)
                write_text(self.network_file, json.dumps(network, indent=2, ensure_ascii=False))
            for folder in (self.folder, *self.folder.glob("??")):
                mend(folder)
            whole = self.folder / "index.json"
            self.index = self._read_index(self.index_file if self.index_file.exists() else whole)
            before = dict(self.index)
            try:
                yield
            finally:
                if self.index != before:
                    write_checked(self.index_file, self.index)

    def _read_index(self, file: Path) -> dict[str, IndexedEntry]:
        return read_checked(file, dict[str, IndexedEntry]) or {}

    def gather(self, indexed: Mapping[str, IndexedEntry], names: Iterable[str]) -> list[str]:
        """Index entries that shards have written, and return the names that have none any more.

        Parameters
        ----------
        indexed
            What the shards have noted of their entries.
        names
            All recordings of the job.
        """
        lost = []
        for name in names:
            entry_file = _file_of(path := self.entry_path(name))
            for known in (indexed.get(name), self.index.get(name)):
                if entry_file and known is not None and known.file == entry_file:
                    self.index[name] = known
                    break
            else:
                entry = _read_entry(path)
                if entry is None:
                    lost.append(name)
                else:
                    self.index[name] = _indexed(entry, [], path)
        return lost

    def known(self, recording: RecordingFile) -> IndexedEntry | None:
        """Return what the index has of a recording, where neither its file nor the entry was touched since.

        Content that was changed in place shows in the time of change of the file's status, which no program
        can set back. Where the file system has none (memory cards, Windows), nothing is known.

        Raises
        ------
        OSError, ValueError
            The recording cannot be found, or its name is not legal.
        """
        indexed = self.index.get(recording.name)
        status = _status_of(recording.path)
        if indexed is None or indexed.recording != status or not _has_status_time(status):
            return None
        return indexed if _file_of(self.entry_path(recording.name)) == indexed.file else None

    def find(self, recording: RecordingFile, version: Version) -> Entry | None:
        """Return the entry of a version of a recording; None if there is none, or a damaged one.

        An entry of an earlier release is written again, with digests.
        """
        entry = self.read(recording.name)
        if entry is None or not _is_of(entry, recording, version):
            return None
        if entry.version != version or entry.root != _root_of(recording) or entry.recorder is None:
            return self._store(recording, _described(entry._replace(version=version), recording))
        self._remember(recording, entry)
        return entry

    def read(self, name: str) -> Entry | None:
        """Return the entry of a recording in any version; None if there is none, or a damaged one."""
        return _read_entry(self.entry_path(name))

    def is_damaged(self, name: str) -> bool:
        """Return whether there is an entry of a recording, but one that cannot be read."""
        return self.entry_path(name).exists() and self.read(name) is None

    def names(self, root: str) -> list[str]:
        """Return the names of all recordings below ``root`` that have an entry, sorted."""
        names = {str(self.entry_path(name)): name for name in self.index}
        there = set()
        for path in self.folder.glob("??/*.npz"):
            there.add(str(path))
            if str(path) not in names and (entry := _read_entry(path)) is not None:
                name = str(entry.version["name"])
                self.index[name] = _indexed(entry, [], path)
        for path_name, name in names.items():
            if path_name not in there:
                del self.index[name]
        return sorted(name for name, entry in self.index.items() if entry.root in ("", root))

    def write(
        self,
        recording: RecordingFile,
        predictions: WindowPredictions,
        version: Version,
        *,
        is_salvaged: bool = False,
    ) -> None:
        """Store the outputs for a recording, with the version that :func:`version_of` returned before."""
        began = recorder_time(recording.path)
        start = None if began is None else began.start
        entry = Entry(predictions, start, version, is_salvaged=is_salvaged)
        self._store(recording, _described(entry, recording))

    def _store(self, recording: RecordingFile, entry: Entry) -> Entry:
        arrays = _arrays_of(entry)
        digest = _digest_of(arrays)
        with replacing(self.entry_path(recording.name), sync=False) as temporary:  # checked when read
            np.savez(temporary, **arrays, digest=np.array(digest))
        self._remember(recording, entry := entry._replace(digest=digest))
        return entry

    def _remember(self, recording: RecordingFile, entry: Entry) -> None:
        """Index an entry, with the recording's status where that is still the one of this version."""
        try:
            status = _status_of(recording.path)
        except OSError:
            status = []
        if status[:2] != [entry.version["size"], entry.version["mtime_ns"]]:
            status = []
        self.index[recording.name] = _indexed(entry, status, self.entry_path(recording.name))

    def forget(self, names: Iterable[str]) -> None:
        """Remove the entries of recordings, and the whole journal where it has no others.

        To be called within :meth:`opened`, which removes the empty folder at its end.
        """
        for name in names:
            self.entry_path(name).unlink(missing_ok=True)
            self.index.pop(name, None)
        if self.shard is not None or next(self.folder.glob("??/*.npz"), None) is not None:
            return  # another shard may just be about to write the first one
        shutil.rmtree(self.folder / SHARDS_NAME, ignore_errors=True)
        for folder in self.folder.glob("??"):
            mend(folder)
            folder.rmdir()
        for file in (self.index_file, self.tables_file, self.network_file):
            file.unlink(missing_ok=True)

    def take(self, name: str, indexed: IndexedEntry) -> None:
        """Index an entry that another process has put here."""
        self.index[name] = indexed._replace(file=_file_of(self.entry_path(name)))

    def entry_path(self, name: str) -> Path:
        """Return the file of a recording's entry, whether it is there or not."""
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
        return self.folder / digest[:2] / f"{digest}.npz"

    def _check_network(self, network: Mapping[str, Any], *, anew: bool) -> None:
        if not self.network_file.exists():
            return
        earlier = read_json_if_sound(self.network_file, dict[str, Any]) or {}
        differing = [key for key in network if earlier.get(key) != json.loads(json.dumps(network[key]))]
        if differing and not anew:
            raise RunError(
                f"{self.folder.parent} holds predictions made otherwise ({', '.join(differing)}); choose "
                "another --out, or predict everything anew with --force"
            )
        if differing:
            indexes = (self.folder / "index.json", *self.folder.glob(f"{SHARDS_NAME}/*.index"))
            for path in (*indexes, *self.folder.glob("??/*.npz")):
                path.unlink(missing_ok=True)


def _indexed(entry: Entry, status: list[int], path: Path) -> IndexedEntry:
    return IndexedEntry(entry.version, entry.root, entry.digest, status, _file_of(path), entry.is_salvaged)


def _read_entry(path: Path) -> Entry | None:
    try:
        return _entry_of(read_arrays(path))
    except _DAMAGE:
        return None


def _entry_of(arrays: dict[str, Any]) -> Entry:
    """Return an entry as it was written. Raises one of the errors of damage where it is not."""
    written, digest = arrays.pop("digest", None), _digest_of(arrays)
    if written is not None and str(written) != digest:
        raise ValueError("the arrays are not those that were written")
    began = str(arrays["began"])
    predictions = WindowPredictions(
        arrays["starts"],
        arrays["stops"],
        arrays["probabilities"],
        int(arrays["sample_rate"]),
        arrays.get("embeddings"),
        arrays.get("channels"),
    )
    _check_windows(predictions)
    start = datetime.fromisoformat(began) if began else None
    version = json.loads(str(arrays["made_of"]))
    str(version["name"])
    root = json.loads(str(arrays.get("root", '""')))
    source_rate = int(arrays.get("source_rate", 0)) or None
    facts = json.loads(str(arrays.get("recorder", "null")))
    recorder = None if facts is None else Recorder(*facts)
    return Entry(predictions, start, version, root, source_rate, recorder, digest, "salvaged" in arrays)


def _check_windows(predictions: WindowPredictions) -> None:
    """Raise ValueError where arrays do not belong together; entries of earlier releases have no digest."""
    starts, stops, probabilities, _, embeddings, channels = predictions
    arrays = (starts, stops, probabilities, embeddings, channels)
    shapes = [array.shape[:1] for array in arrays if array is not None]
    if starts.ndim != 1 or probabilities.ndim != 2 or set(shapes) != {starts.shape} or not len(starts):
        raise ValueError("the arrays are of different numbers of windows")
    rises = all((np.diff(part.starts) > 0).all() for part in predictions.by_channel())
    if (starts < 0).any() or (stops <= starts).any() or not rises:
        raise ValueError("the windows do not follow one another")


def _arrays_of(entry: Entry) -> dict[str, Any]:
    predictions = entry.predictions
    arrays = {
        "starts": predictions.starts,
        "stops": predictions.stops,
        "probabilities": predictions.probabilities,
        "sample_rate": np.int64(predictions.sample_rate),
        "made_of": np.array(json.dumps(entry.version)),
        "began": np.array("" if entry.start is None else entry.start.isoformat()),
        "root": np.array(json.dumps(entry.root)),
        "source_rate": np.int64(entry.source_rate or 0),
        "recorder": np.array(json.dumps(entry.recorder)),
    }
    if entry.is_salvaged:
        arrays["salvaged"] = np.bool_(True)
    if predictions.embeddings is not None:
        arrays["embeddings"] = predictions.embeddings
    if predictions.channels is not None:
        arrays["channels"] = predictions.channels
    return arrays


def _digest_of(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def version_of(recording: RecordingFile) -> Version:
    """Return a key that differs between versions of a file, and from files of its name elsewhere.

    Recorders on one schedule write files of one name, size and time at every site, and a file can be mended
    with its time set back; their content differs, of which at most 192 KiB are read
    (:func:`dawnchorus.audio.content_digest.content_digest`).

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or its name is not legal.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> night = RecordingFile(Path("night.wav"), "night.wav")
    >>> version_of(night) == version_of(night)
    True
    """
    status = recording.path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise OSError(f"{recording.path} is not a file")
    return {
        "name": recording.name,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "digest": content_digest(recording.path),
    }


def _is_of(entry: Entry, recording: RecordingFile, version: Version) -> bool:
    """Return whether an entry is of a version; one of an earlier release is known by its first bytes."""
    head = entry.version.get("head")
    if head is None:
        return entry.version == version
    keys = ("name", "size", "mtime_ns")
    is_same = all(entry.version.get(key) == version[key] for key in keys)
    return is_same and head == head_digest(recording.path)


def _root_of(recording: RecordingFile) -> str:
    """Return the folder that a recording's name begins at, empty where it lies elsewhere."""
    path = absolute_text(recording.path)  # as names were made
    return path.removesuffix(f"/{recording.name}") if path.endswith(f"/{recording.name}") else ""


def _described(entry: Entry, recording: RecordingFile) -> Entry:
    """Return an entry with what tables need of the recording's file, which may be gone later."""
    root, source_rate = _root_of(recording), _source_rate_of(recording)
    return entry._replace(root=root, source_rate=source_rate, recorder=recorder_of(recording.path))


def _source_rate_of(recording: RecordingFile) -> int | None:
    try:
        return read_info(recording.path).sample_rate
    except AudioError:
        return None


def _status_of(path: Path) -> list[int]:
    status = path.stat() if is_remote(path) else os.stat(path)  # noqa: PTH116  it is asked of every recording
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _has_status_time(status: list[int]) -> bool:
    """Return whether a file system keeps when the status of a file changed, and finely."""
    return sys.platform != "win32" and status[2] % _COARSE_NS != 0


def _file_of(path: Path) -> list[int]:
    """Return size and time of change of an entry's file, nothing where it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116  it is asked of every entry
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
