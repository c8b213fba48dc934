"""Every error that dawnchorus raises on purpose, as one tree.

::

    DawnchorusError            anything a user can mend: printed as one sentence, exit code 1
    ├── ConfigError            a config file, a key in it, or a value
    ├── AudioError             a recording that cannot be decoded
    ├── StoreError             an HDF5 file of the store that is damaged or not one of ours
    ├── DataError              a recordings table, a label, a fold
    ├── ModelError             a backbone or its settings
    │   └── WeightsError       weights that are missing, unreachable, unsafe or do not fit
    ├── RunError               a run directory that is incomplete or belongs to another config
    ├── TrainingError          a training that cannot go on: no memory, no disk, a loss that is no number
    ├── ExportError            an exported graph that does not agree with PyTorch
    ├── DownloadError          a service that refuses, cannot be reached, or sends something else than it says
    ├── UnsafePathError        a name in a file that leads out of the folder it may write in
    └── MissingExtraError      an optional package; the message names the extra to install

A message says what is wrong, where, the value found, what would be legal and what to do.
"""

from __future__ import annotations


class DawnchorusError(Exception):
    """Anything a user can mend."""


class ConfigError(DawnchorusError):
    """A config file, a key in it, or a value."""


class AudioError(DawnchorusError):
    """A recording that cannot be decoded."""


class StoreError(DawnchorusError):
    """An HDF5 file of the store that is damaged or not one of ours."""


class DataError(DawnchorusError):
    """A recordings table, a label, a fold."""


class ModelError(DawnchorusError):
    """A backbone or its settings."""


class WeightsError(ModelError):
    """Weights that are missing, unreachable, unsafe to load, or do not fit."""


class RunError(DawnchorusError):
    """A run directory that is incomplete or belongs to another config."""


class TrainingError(DawnchorusError):
    """A training that cannot go on: no memory, no disk, a loss that is no number."""


class ExportError(DawnchorusError):
    """An exported graph that does not agree with PyTorch."""


class DownloadError(DawnchorusError):
    """A service that refuses, cannot be reached, or sends something else than it says."""


class UnsafePathError(DawnchorusError):
    """A name, read from a file or a service, that leads out of the folder that it may write in."""


class MissingExtraError(DawnchorusError):
    """An optional package that is not installed; the message names the extra."""
