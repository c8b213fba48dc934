"""Output folders in object storage: a job works in a folder of this machine, and finished files are sent.

What lies in storage is fetched before the job begins, so that it goes on from there on any machine. Each file
is sent whole under its own name, which storage does in one step, a while after it was finished, and at the
latest when the job ends or fails.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dawnchorus.audio.headers import cache_dir
from dawnchorus.files import inside, replacing
from dawnchorus.files.shards import alone_in
from dawnchorus.files.storage import RemotePath, given_path

_SEND_EVERY_S = 30.0
_COPY_BYTES = 1 << 22
_OWN = (".lock", "lock")
"""Ends of names that stay on this machine, beside those that begin with a dot."""


@contextmanager
def local_output(out_dir: Path) -> Iterator[Path]:
    """Yield the folder of this machine to work in: the folder itself, or one whose files go to storage.

    Raises
    ------
    RunError
        Another process of this machine writes there.
    OSError
        Storage cannot be reached, or may not be written.

    Examples
    --------
    >>> from pathlib import Path
    >>> with local_output(Path("tables")) as folder:
    ...     folder
    PosixPath('tables')
    """
    remote = given_path(out_dir)
    if not isinstance(remote, RemotePath):
        yield remote
        return
    place = cache_dir() / "outputs" / hashlib.sha256(str(remote).encode()).hexdigest()[:24]
    place.mkdir(parents=True, exist_ok=True)
    with alone_in(remote, lock=place / "lock"):
        mirror = Mirror(remote, place / "folder")
        mirror.fetch()
        with _sending(mirror):
            yield mirror.folder
        shutil.rmtree(mirror.folder, ignore_errors=True)


@contextmanager
def _sending(mirror: Mirror) -> Iterator[None]:
    """Send what is finished while the block runs, and all of it at its end."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(_SEND_EVERY_S):
            try:
                mirror.send()
            except OSError:  # it is tried again, and raised at the end
                continue

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        mirror.send()


def fetch_object(remote: Path, file: Path) -> None:
    """Copy an object of storage into a file of this machine.

    Raises
    ------
    OSError
        It is not there, or storage cannot be reached.

    Examples
    --------
    >>> from pathlib import Path
    >>> fetch_object(Path("night.wav"), Path("copies/night.wav"))
    >>> Path("copies/night.wav").stat().st_size == Path("night.wav").stat().st_size
    True
    """
    with (
        replacing(file, sync=False) as temporary,
        remote.open("rb") as source,
        temporary.open("wb") as target,
    ):
        shutil.copyfileobj(source, target, _COPY_BYTES)


@dataclass
class Mirror:
    """A folder of this machine, and its copy in storage.

    Attributes
    ----------
    remote, folder
        The prefix in storage, and the folder.
    sent
        Size and time of change of each file that is the same in both, by its name.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.files.storage import RemotePath
    >>> Mirror(RemotePath("s3://season/tables"), Path("tables")).sent
    {}
    """

    remote: RemotePath
    folder: Path
    sent: dict[str, tuple[int, int]] = field(default_factory=dict)

    def fetch(self) -> None:
        """Make the folder what storage has, and keep entries of the journal that were never sent.

        Raises
        ------
        OSError
            Storage cannot be reached.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self._files().values():
            if file.suffix != ".npz":  # which says itself what it is of
                file.unlink()
        for path, _ in self.remote.walk_objects():
            name = str(path).removeprefix(f"{self.remote}/")
            file = inside(self.folder, name, named_in=str(self.remote))
            fetch_object(path, file)
            self.sent[name] = _version(file)

    def send(self) -> None:
        """Send the files that are new or other than before, and remove those that are gone.

        Raises
        ------
        OSError
            Storage cannot be written.
        """
        files = self._files()
        for name, path in files.items():
            try:
                version = _version(path)
                if self.sent.get(name) != version:
                    self.remote.joinpath(name).put(path)
                    self.sent[name] = version
            except FileNotFoundError:  # it was replaced or removed meanwhile
                continue
        for name in self.sent.keys() - files.keys():
            self.remote.joinpath(name).unlink(missing_ok=True)
            del self.sent[name]

    def _files(self) -> dict[str, Path]:
        found = {
            path.relative_to(self.folder).as_posix(): path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        return {
            name: path
            for name, path in found.items()
            if not (name.endswith(_OWN) or any(part.startswith(".") for part in Path(name).parts))
        }


def _version(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
