"""Journal of a bulk job: the network's outputs for each recording, from which a killed job goes on.

::

    {out}/journal/
    ├── network.json        the model and the windows of all entries
    └── 3f/3f9a….npz        one recording: windows, probabilities, version of the file

Probabilities are stored before any postprocessing, so that other thresholds or another smoothing need no
second prediction. Entries are written atomically; a damaged one counts as missing. They are read without
unpickling.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dawnchorus.audio.recorder_times import RecorderTime, recorder_time
from dawnchorus.errors import RunError
from dawnchorus.files import locked, mend, replacing, write_text
from dawnchorus.predict.recording_files import RecordingFile
from dawnchorus.predict.windows import WindowPredictions

_DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""Exceptions that NumPy and its archives raise for missing and damaged files."""


JOURNAL_NAME = "journal"
_HEAD_BYTES = 1 << 16

Version = dict[str, str | int]
"""A recording's name, size in bytes, time of change in ns, and digest of its first bytes."""


@contextmanager
def alone_in(out_dir: Path, *, lock: Path) -> Iterator[None]:
    """Lock a folder against other processes while the block runs.

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
    with locked(lock) as is_ours:
        if not (is_ours and lock.exists()):  # another process may have removed its journal with the lock
            raise RunError(
                f"{out_dir} is being written by another process; wait for it, or choose another --out"
            )
        yield


class Entry(NamedTuple):
    """The stored outputs of a recording.

    Attributes
    ----------
    predictions
        Its windows as the network gave them.
    start
        When the recording began, where that is known.

    Examples
    --------
    >>> import numpy as np
    >>> from dawnchorus.predict.windows import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9, 0.2]]), 32_000)
    >>> Entry(windows, start=None).predictions.probabilities.shape
    (1, 2)
    """

    predictions: WindowPredictions
    start: datetime | None


class Journal:
    """The entries of one bulk job.

    Parameters
    ----------
    folder
        Where they are kept.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from dawnchorus.predict.recording_files import RecordingFile
    >>> from dawnchorus.predict.windows import WindowPredictions
    >>> windows = WindowPredictions(np.array([0]), np.array([160_000]), np.float32([[0.9, 0.2]]), 32_000)
    >>> night, journal = RecordingFile(Path("night.wav"), "night.wav"), Journal(Path("tables/journal"))
    >>> with journal.opened({"model": "tiny"}):
    ...     journal.write(night, windows, version_of(night))
    >>> journal.find(night, version_of(night)).predictions.stops
    array([160000])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network_file = folder / "network.json"

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
        self.folder.mkdir(parents=True, exist_ok=True)
        lock, is_left = self.folder / "lock", False
        try:
            with alone_in(self.folder.parent, lock=lock):
                self._check_network(network, anew=anew)
                for folder in (self.folder, *self.folder.glob("??")):
                    mend(folder)
                write_text(self.network_file, json.dumps(network, indent=2, ensure_ascii=False))
                try:
                    yield
                finally:
                    if not self.network_file.exists():  # all entries were removed
                        try:
                            lock.unlink()
                        except PermissionError:  # on Windows, as long as the file is open
                            is_left = True
        finally:
            with suppress(OSError):  # it is not empty
                if is_left:
                    lock.unlink()
                self.folder.rmdir()

    def find(self, recording: RecordingFile, version: Version) -> Entry | None:
        """Return the entry of a version of a recording; None if there is none, or a damaged one."""
        try:
            # Opened here, because NumPy leaves the file open where the archive is damaged.
            with (
                self._entry_path(recording.name).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                if json.loads(str(arrays["made_of"])) != version:
                    return None
                return _entry_of(arrays)
        except _DAMAGE:
            return None

    def write(self, recording: RecordingFile, predictions: WindowPredictions, version: Version) -> None:
        """Store the outputs for a recording, with the version that :func:`version_of` returned before."""
        began = recorder_time(recording.path)
        arrays = {
            "starts": predictions.starts,
            "stops": predictions.stops,
            "probabilities": predictions.probabilities,
            "sample_rate": np.int64(predictions.sample_rate),
            "made_of": np.array(json.dumps(version)),
            "began": np.array(_began_text(began)),
        }
        if predictions.embeddings is not None:
            arrays["embeddings"] = predictions.embeddings
        if predictions.channels is not None:
            arrays["channels"] = predictions.channels
        path = self._entry_path(recording.name)
        with replacing(path, sync=False) as temporary:  # checked when read, and made again
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    def forget(self, names: Iterable[str]) -> None:
        """Remove the entries of recordings, and the whole journal where it has no others.

        To be called within :meth:`opened`, which removes the empty folder at its end.
        """
        for name in names:
            self._entry_path(name).unlink(missing_ok=True)
        if next(self.folder.glob("??/*.npz"), None) is not None:
            return
        for folder in self.folder.glob("??"):
            mend(folder)
            folder.rmdir()
        self.network_file.unlink(missing_ok=True)

    def _entry_path(self, name: str) -> Path:
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
        return self.folder / digest[:2] / f"{digest}.npz"

    def _check_network(self, network: Mapping[str, Any], *, anew: bool) -> None:
        try:
            earlier = json.loads(self.network_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            earlier = None
        earlier = earlier if isinstance(earlier, dict) else {}
        differing = [key for key in network if earlier.get(key) != json.loads(json.dumps(network[key]))]
        if differing and not anew:
            raise RunError(
                f"{self.folder.parent} holds predictions made otherwise ({', '.join(differing)}); choose "
                "another --out, or predict everything anew with --force"
            )
        if differing:
            for path in self.folder.glob("??/*.npz"):
                path.unlink()


def _entry_of(arrays: Any) -> Entry:
    began = str(arrays["began"])
    predictions = WindowPredictions(
        arrays["starts"],
        arrays["stops"],
        arrays["probabilities"],
        int(arrays["sample_rate"]),
        arrays.get("embeddings"),
        arrays.get("channels"),
    )
    return Entry(predictions, datetime.fromisoformat(began) if began else None)


def version_of(recording: RecordingFile) -> Version:
    """Return a key that differs between versions of a file, and from files of its name elsewhere.

    Recorders on one schedule write files of one name, size and time at every site; their first bytes differ.

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
    with recording.path.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    return {"name": recording.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "head": head}


def _began_text(began: RecorderTime | None) -> str:
    return "" if began is None else began.start.isoformat()
