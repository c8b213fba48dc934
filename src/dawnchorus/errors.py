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
    └── MissingExtraError      an optional package; the message names the extra to install

A message names the fault, the place, the value found, the legal values and the remedy.
"""

from __future__ import annotations


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


class MissingExtraError(DawnchorusError):
    """An optional package that is not installed; the message names the extra.

    Examples
    --------
    >>> issubclass(MissingExtraError, DawnchorusError)
    True
    """
