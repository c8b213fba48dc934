"""The errors that dawnchorus raises on purpose, as one tree.

::

    DawnchorusError            anything a user can fix: printed as one sentence, exit code 1
    ├── ConfigError            a config file, a key in it, or a value
    ├── AudioError             a recording that cannot be decoded
    ├── StoreError             an HDF5 file of the store that is damaged or not one of ours
    ├── DataError              a recordings table, a label, a fold
    ├── ModelError             a backbone or its settings
    │   └── WeightsError       weights that are missing, unreachable, unsafe or do not fit
    ├── RunError               a run directory that is incomplete or belongs to another config
    ├── TrainingError          a training that cannot go on: out of memory, disk full, a NaN loss
    ├── ExportError            an exported graph that does not agree with PyTorch
    ├── DownloadError          a service that refuses, cannot be reached, or sends other data than it declares
    ├── UnsafePathError        a name in a file that leads out of the output folder
    ├── OverwriteError         a file or folder that is there already; also a DataError and a RunError
    ├── WriteError             a full disk, or a folder that may not be written to; also an OSError
    └── MissingExtraError      an optional package; the message names the extra to install

A message names the fault, the place, the value found, the legal values and the remedy.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path


class DawnchorusError(Exception):
    """Base of all errors that a user can fix.

    Examples
    --------
    >>> try:
    ...     raise AudioError("night.wav: cannot be decoded as audio")
    ... except DawnchorusError as error:  # whatever a user can mend
    ...     print(error)
    night.wav: cannot be decoded as audio
    """


class ConfigError(DawnchorusError):
    """A config file, key or value that is not legal.

    Examples
    --------
    >>> from dawnchorus.config import DataSettings, validate
    >>> validate(DataSettings, {"audio_dirs": "recordings"}, where="mine.py: data")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ConfigError: mine.py: data: audio_dir is missing; audio_dirs is not known; did you mean
    audio_dir?
    """


class AudioError(DawnchorusError):
    """A recording that cannot be decoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.decode import load_audio
    >>> Path("empty.wav").touch()
    >>> load_audio(Path("empty.wav"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.AudioError: empty.wav: empty (0 bytes)
    """


class StoreError(DawnchorusError):
    """An HDF5 file of the store that is damaged or not one of ours.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus.audio.source import open_stored
    >>> open_stored(Path("XC1.ogg.hdf5"))
    Traceback (most recent call last):
        ...
    dawnchorus.errors.StoreError: XC1.ogg.hdf5: no such file; run `dawnchorus precompute` to make it
    """


class DataError(DawnchorusError):
    """A recordings table, label or fold that cannot be used.

    Examples
    --------
    >>> from dawnchorus.recordings.labels import LabelMap
    >>> LabelMap(("wren", "owl")).index("cuckoo")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.DataError: 'cuckoo' is not one of the 2 labels of this model
    """


class ModelError(DawnchorusError):
    """A backbone or settings of one that make no network.

    Examples
    --------
    >>> from dawnchorus.features.logmel import check_waves
    >>> check_waves((1, 1024), n_fft=2048)
    Traceback (most recent call last):
        ...
    dawnchorus.errors.ModelError: the waveform has 1024 samples; with n_fft 2048 it needs more than 1024
    """


class WeightsError(ModelError):
    """Weights that are missing, unreachable, unsafe to load, or do not fit.

    Examples
    --------
    >>> from dawnchorus.models.weights import load_state_dict_file
    >>> load_state_dict_file("backbone.pth")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.WeightsError: backbone.pth: there is no such weights file
    """


class RunError(DawnchorusError):
    """A run directory that is incomplete or belongs to another config.

    Examples
    --------
    >>> from dawnchorus.runs import Run
    >>> Run.open("logdirs/missing")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: logdirs/missing holds no run (it has no model_card.json); train it first with
    dawnchorus train
    """


class TrainingError(DawnchorusError):
    """A training that cannot go on: out of memory, disk full, a NaN loss.

    Examples
    --------
    >>> issubclass(TrainingError, DawnchorusError)
    True
    """


class ExportError(DawnchorusError):
    """An exported graph that does not agree with PyTorch.

    Examples
    --------
    >>> issubclass(ExportError, DawnchorusError)
    True
    """


class DownloadError(DawnchorusError):
    """A service that refuses, cannot be reached, or sends other data than it declares.

    Examples
    --------
    >>> issubclass(DownloadError, DawnchorusError)
    True
    """


class UnsafePathError(DawnchorusError):
    """A name, read from a file or a service, that leads out of the output folder.

    Examples
    --------
    >>> issubclass(UnsafePathError, DawnchorusError)
    True
    """


class OverwriteError(DataError, RunError):
    """A file or folder that is there already, and is not replaced unless that is asked for.

    Examples
    --------
    >>> issubclass(OverwriteError, DawnchorusError)
    True
    """


_MAKE_ROOM = "make room, and run the same command again"
WRITE_REMEDIES = {
    errno.ENOSPC: _MAKE_ROOM,
    errno.EDQUOT: _MAKE_ROOM,
    errno.EFBIG: "raise the limit (ulimit -f), or choose a file system that takes larger files",
    errno.EACCES: "change the permissions, or choose another folder",
    errno.EPERM: "change the permissions, or choose another folder",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a folder is needed where a file lies: choose another name",
    errno.EEXIST: "a folder is needed where this file lies: choose another name",
    errno.EISDIR: "a file is needed, and this is a folder: choose another name",
}
"""What helps where a file cannot be written, by the number of the system's error."""


class WriteError(DawnchorusError, OSError):
    """A file or folder that cannot be written: the disk is full, or it is not allowed.

    Made from the number and text of the system's error, and the path.

    Examples
    --------
    >>> import errno
    >>> print(WriteError(errno.EACCES, "Permission denied", "scores.csv"))
    scores.csv: cannot be written: Permission denied; change the permissions, or choose another folder
    """

    def __str__(self) -> str:
        return describe_os_error(self, what=f"{self.filename}: cannot be written")


def describe_os_error(error: OSError, *, what: str | None = None) -> str:
    """Return an error of the system as one sentence: what it is of, the reason, the free space, the remedy.

    Examples
    --------
    >>> import errno
    >>> describe_os_error(PermissionError(errno.EACCES, "Permission denied", "tables"))
    'tables: Permission denied; change the permissions, or choose another folder'
    >>> describe_os_error(OSError(errno.ENOSPC, "No space left on device"))
    'what was to be written: No space left on device; make room, and run the same command again'
    """
    if error.errno is None:
        return str(error)
    free, name = "", error.filename2 or error.filename  # of a copy the second is the one that is written
    if name and error.errno in (errno.ENOSPC, errno.EDQUOT):
        above = Path(str(name)).absolute().parents
        folder = next(each for each in above if each.is_dir())
        free = f" ({shutil.disk_usage(folder).free / 1e6:.1f} MB are free)"
    remedy = "check the path" if error.errno == errno.ENOENT else WRITE_REMEDIES.get(error.errno)
    what = what or name or ("what was to be written" if remedy else None)
    reason = f"{error.strerror}{free}{f'; {remedy}' if remedy else ''}"
    return f"{what}: {reason}" if what else reason


class MissingExtraError(DawnchorusError):
    """An optional package that is not installed; the message names the extra.

    Examples
    --------
    >>> issubclass(MissingExtraError, DawnchorusError)
    True
    """
