"""The parts that a config names: networks, losses, formats … and the doors for parts of one's own.

Each kind of part has a :class:`Registry`, name → part. In a config a part may be named, given as the object
itself, or as an import path of a guest's module::

    "loss": "bce_focal"                      # a name
    "loss": my_loss                          # the object
    "loss": "my_package.losses:MyLoss"       # where it lies

dawnchorus's own parts stand here by their import paths, so that listing their names imports nothing. What a
data file names, such as a model card, is looked up among the registered parts and never imported otherwise:
no file can run code by naming it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from dawnchorus.config.settings import check_keys, nearest
from dawnchorus.errors import ConfigError

PartT = TypeVar("PartT")

OWN_PART = "One of your own is named as package.module:name"
"""End of a message about a name that is not known."""


class Registry(Mapping[str, Any]):
    """Parts of one kind by their names: a mapping whose values are imported when they are asked for.

    Parameters
    ----------
    kind
        What a part is, in the singular.
    own
        dawnchorus's own parts: name → ``module:attribute``.

    Examples
    --------
    >>> shapes = Registry("shape", {"path": "pathlib:Path"})
    >>> shapes.register("line", lambda length: "-" * length)
    >>> list(shapes), shapes["path"].__name__, shapes.find("line")(3)
    (['path', 'line'], 'Path', '---')
    """

    def __init__(self, kind: str, own: Mapping[str, str]) -> None:
        self.kind = kind
        self._parts: dict[str, Any] = dict(own)

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self._parts)})"

    def __getitem__(self, name: str) -> Any:
        part = self._parts[name]
        if isinstance(part, str):
            return imported(part, where=f"the {self.kind} {name!r}")
        return part

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def part(self, name: str) -> Any:
        """Return what stands under a name: the part, or the import path of one that is not loaded."""
        return self._parts[name]

    def register(self, name: str, part: Any) -> None:
        """Give a part a name, for this process; a part that is defined anew takes its own place.

        Raises
        ------
        ConfigError
            Another part has the name.
        """
        before = self._parts.get(name, part)
        # A cell of a notebook that is run again, or a config that is read again, makes the same class anew.
        if isinstance(before, str) or import_path(before) != import_path(part):
            raise ConfigError(f"the {self.kind} {name!r} is registered already; choose another name")
        self._parts[name] = part

    def find(self, given: Any, *, where: str | None = None) -> Any:
        """Return the part that a user's own code means: by name, by import path, or the part itself.

        Parameters
        ----------
        given
            A registered name, ``package.module:attribute``, or any object that is not text.
        where
            What a message begins with: the key of a config.

        Raises
        ------
        ConfigError
            Nothing has the name, or it cannot be imported.
        """
        if not isinstance(given, str):
            return given
        if given in self._parts:
            return self[given]
        where = where or f"the {self.kind}"
        if ":" not in given:
            near = nearest(given, list(self._parts), kind="names")
            end = " " if near.endswith("?") else ". "
            raise ConfigError(f"{where} is {given!r}, which is not known{near}{end}{OWN_PART}")
        return imported(given, where=where)

    def known(self, reference: str, *, where: str, remedy: str) -> Any:
        """Return the registered part that a data file means; nothing else is ever imported.

        Parameters
        ----------
        reference
            A registered name, or the ``module:attribute`` of a registered part.
        where
            What a message begins with: the file and its key.
        remedy
            How a message ends: what to do where the part is a guest's.

        Raises
        ------
        ConfigError
            No registered part is meant.
        """
        for name, part in self._parts.items():
            if reference in (name, part if isinstance(part, str) else import_path(part)):
                return self[name]
        raise ConfigError(f"{where} is {reference!r}, which is no {self.kind} of dawnchorus; {remedy}")


def imported(path: str, *, where: str) -> Any:
    """Return what lies at ``package.module:attribute``. Importing runs the module: for trusted text only.

    Raises
    ------
    ConfigError
        There is no such module or attribute.

    Examples
    --------
    >>> imported("pathlib:Path", where="an example").__name__
    'Path'
    """
    module, _, attribute = path.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where} is {path!r}, which cannot be imported: {error}") from error


def import_path(part: Any) -> str:
    """Return ``module:name`` of a class or function; of any other object, that of its class.

    Examples
    --------
    >>> from pathlib import Path
    >>> import_path(Path).endswith(":Path")
    True
    """
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"


def saved_text(part: Any) -> str:
    """Return what a saved config keeps of a part: its import path, and of an object what it was made with.

    That is its attributes of plain values, so that two runs with the same parts compare alike.

    Examples
    --------
    >>> class Scaled:
    ...     def __init__(self, factor):
    ...         self.factor = factor
    >>> saved_text(Scaled(2.0)).endswith(":Scaled(factor=2.0)"), saved_text(Scaled).endswith(":Scaled")
    (True, True)
    """
    if hasattr(part, "__qualname__"):
        return import_path(part)
    path = import_path(part.func if isinstance(part, partial) else part)
    values = part.keywords if isinstance(part, partial) else getattr(part, "__dict__", {})
    kept = {name: value for name, value in values.items() if not name.startswith("_") and name != "training"}
    texts = (f"{name}={text}" for name, value in kept.items() if (text := _plain_text(value)) is not None)
    return f"{path}({', '.join(texts)})"


def _plain_text(value: Any) -> str | None:
    """Return a plain value as text, a part as its import path, and None of what has no lasting text."""
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        texts = [_plain_text(item) for item in value]
        return None if None in texts else f"[{', '.join(map(str, texts))}]"
    if isinstance(value, Mapping):
        return _plain_text([item for pair in value.items() for item in pair])
    return import_path(value) if hasattr(value, "__qualname__") else None


def made_part(part: Any, args: Mapping[str, Any], *, where: str, given_later: int = 0) -> Any:
    """Return a part that is ready to be called: a class made, a function with its arguments bound.

    An object comes back as it is, and takes no arguments.

    Parameters
    ----------
    part
        What :meth:`Registry.find` gave.
    args
        Keyword arguments.
    where
        What a message begins with: the key of the arguments in a config.
    given_later
        Leading parameters of a function that its caller gives, such as the logits and targets of a loss.

    Raises
    ------
    ConfigError
        An argument is not known or is refused, an object is given arguments, or the part cannot be called.

    Examples
    --------
    >>> made_part(pow, {"exp": 3}, where="args", given_later=1)(2)
    8
    >>> from fractions import Fraction
    >>> made_part(Fraction, {"numerator": 3}, where="args")
    Fraction(3, 1)
    """
    is_class = isinstance(part, type)
    if not is_class and not inspect.isroutine(part):
        if args:
            raise ConfigError(
                f"{where} is {dict(args)!r}, but {saved_text(part)} is an object that is made already; make "
                "it with these arguments, or give its class"
            )
        if not callable(part):
            raise ConfigError(f"{where}: {part!r} cannot be called; give a class, a function or an object")
        return part
    _check_arguments(part, args, where=where, given_later=0 if is_class else given_later)
    if not is_class:
        return partial(part, **args) if args else part
    try:
        return part(**args)
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{where}: {part.__name__} refuses {dict(args)!r}: {reason}") from error


def _check_arguments(part: Any, args: Mapping[str, Any], *, where: str, given_later: int) -> None:
    try:
        parameters = list(inspect.signature(part).parameters.values())[given_later:]
    except (TypeError, ValueError):
        return  # compiled code need not tell
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        taken = [each.name for each in parameters if each.kind is not each.VAR_POSITIONAL]
        if args and not taken:
            raise ConfigError(f"{where} is {dict(args)!r}, but {part.__name__} takes none; leave it out")
        check_keys(args, taken, where=where)


NETWORKS = Registry(
    "network",
    {
        "WaveCNNAttenClassifier": "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
        "WaveCNNAttenClasifier": "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
    },
)
BACKBONES = Registry("backbone", {})
"""Backbones beside timm's."""

HEADS = Registry("head", {"attention": "dawnchorus.models.head:AttentionHead"})
LOSSES = Registry(
    "loss",
    {
        name: f"dawnchorus.training.losses:{name}_loss"
        for name in (
            *("bce", "focal", "bce_focal", "masked_bce", "masked_bce_focal"),
            *("cross_entropy", "soft_auc"),
        )
    },
)
AUGMENTATIONS = Registry(
    "augmentation",
    {
        "random_filtering": "dawnchorus.augment.wave:RandomFiltering",
        "spectral_tilt": "dawnchorus.augment.spectrogram:SpectralTilt",
        "power_scaling": "dawnchorus.augment.spectrogram:PowerScaling",
        "spectrogram_masks": "dawnchorus.augment.spectrogram:SpectrogramMasks",
    },
)
"""What is done to a training batch on its device."""

WAVE_TRANSFORMS = Registry("waveform transform", {})
"""What is done to a clip before it is batched, beside audiomentations' transforms."""

OPTIMIZERS = Registry(
    "optimizer", {name: f"torch.optim:{name}" for name in ("AdamW", "RAdam", "Adam", "SGD")}
)
METRICS = Registry(
    "metric", {"macro_roc_auc": "dawnchorus.metrics:MACRO_ROC_AUC", "cmap": "dawnchorus.metrics:CMAP"}
)
FORMATS = Registry(
    "output format",
    {
        "csv": "dawnchorus.formats.single_tables:CsvWriter",
        "raven": "dawnchorus.formats.folder_tables:RavenWriter",
        "audacity": "dawnchorus.formats.folder_tables:AudacityWriter",
        "birdnet": "dawnchorus.formats.folder_tables:BirdnetWriter",
        "kaleidoscope": "dawnchorus.formats.single_tables:KaleidoscopeWriter",
        "parquet": "dawnchorus.formats.parquet:ParquetWriter",
    },
)
"""Writers of detections: subclasses of :class:`dawnchorus.formats.DetectionWriter`."""

RECORDER_NAMES = Registry(
    "recorder file name",
    {
        "date_time": "dawnchorus.audio.recorder_names:date_time",
        "old_audiomoth": "dawnchorus.audio.recorder_names:old_audiomoth",
    },
)
"""Functions from a recording's path to the time when it began, or None."""

DOWNLOAD_SOURCES = Registry(
    "download source",
    {
        "xeno-canto": "dawnchorus.downloads.xeno_canto:XenoCanto",
        "inaturalist": "dawnchorus.downloads.inaturalist:INaturalist",
    },
)
"""Archives of recordings: subclasses of :class:`dawnchorus.downloads.source.DownloadSource`."""

DATASETS = Registry(
    "dataset",
    {
        "WaveDataset": "dawnchorus.data.wave_dataset:WaveDataset",
        "WaveAllFileDataset": "dawnchorus.data.wave_all_file_dataset:WaveAllFileDataset",
    },
)
TRAIN_FUNCTIONS = Registry(
    "training function",
    {"lightning_training": "dawnchorus.training.lightning_training:lightning_training"},
)

REGISTRIES: dict[str, Registry] = {
    "network": NETWORKS,
    "backbone": BACKBONES,
    "head": HEADS,
    "loss": LOSSES,
    "augmentation": AUGMENTATIONS,
    "transform": WAVE_TRANSFORMS,
    "optimizer": OPTIMIZERS,
    "metric": METRICS,
    "format": FORMATS,
    "recorder_name": RECORDER_NAMES,
    "download_source": DOWNLOAD_SOURCES,
    "dataset": DATASETS,
    "train_function": TRAIN_FUNCTIONS,
}
"""The registries by the word that :func:`register` takes."""


def register(kind: str, name: str) -> Callable[[PartT], PartT]:
    """Return a decorator that gives a part of one's own a name that configs and model cards may use.

    Parameters
    ----------
    kind
        ``network``, ``backbone``, ``head``, ``loss``, ``augmentation``, ``transform``, ``optimizer``,
        ``metric``, ``format``, ``recorder_name``, ``download_source``, ``dataset`` or ``train_function``.
    name
        What it is to be called.

    Raises
    ------
    ConfigError
        There is no such kind, or another part has the name.

    Examples
    --------
    >>> @register("loss", "squared_error")
    ... def squared_error(logits, targets):
    ...     return (logits.sigmoid() - targets).square().mean()
    >>> "squared_error" in registered("loss")
    True
    """
    registry = _registry(kind)

    def decorate(part: PartT) -> PartT:
        registry.register(name, part)
        return part

    return decorate


def registered(kind: str) -> list[str]:
    """Return the names of one kind of part, dawnchorus's own first; nothing is imported.

    Raises
    ------
    ConfigError
        There is no such kind.

    Examples
    --------
    >>> registered("head")
    ['attention']
    """
    return list(_registry(kind))


def _registry(kind: str) -> Registry:
    if kind not in REGISTRIES:
        raise ConfigError(f"{kind!r} is no kind of part{nearest(kind, list(REGISTRIES), kind='kinds')}")
    return REGISTRIES[kind]
