"""Registries of the parts that a config names: networks, losses, formats, and parts of your own.

Each kind of part has a :class:`Registry`, name → part. In a config a part is a name, the object itself, or an
import path of a user's module::

    "loss": "bce_focal"                      # a name
    "loss": my_loss                          # the object
    "loss": "my_package.losses:MyLoss"       # its import path

dawnchorus's own parts are listed here by import path, so that listing their names imports nothing. A part
that a data file names, such as a model card, is looked up among the registered parts and never imported
otherwise: no file can run code by naming it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from dawnchorus.config.import_paths import import_path, imported, is_same_part
from dawnchorus.config.settings import nearest
from dawnchorus.errors import ConfigError
from dawnchorus.wording import shown

PartT = TypeVar("PartT")

FROM_FILE = "from a saved config: "
"""Prefix of an import path that was read from a data file: it is never imported."""

OWN_PART = "One of your own is named as package.module:name"
"""End of a message about a name that is not known."""


class Registry(Mapping[str, Any]):
    """Parts of one kind by their names: a mapping whose values are imported on access.

    Parameters
    ----------
    kind
        Name of the kind, in the singular.
    own
        dawnchorus's own parts: name → ``module:attribute``.

    Attributes
    ----------
    own
        Their names.

    Examples
    --------
    >>> shapes = Registry("shape", {"path": "pathlib:Path"})
    >>> shapes.register("line", lambda length: "-" * length)
    >>> list(shapes), shapes["path"].__name__, shapes.find("line")(3)
    (['path', 'line'], 'Path', '---')
    """

    def __init__(self, kind: str, own: Mapping[str, str]) -> None:
        self.kind, self.own = kind, tuple(own)
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
        """Return the part of a name, or the import path of one that is not loaded."""
        return self._parts[name]

    def register(self, name: str, part: Any) -> None:
        """Register a part under a name, for this process; a part that is defined anew replaces itself.

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
        """Return the part that a user's code gives: by name, by import path, or as the part itself.

        Parameters
        ----------
        given
            A registered name, ``package.module:attribute``, or any object that is not text.
        where
            Start of a message: the key of a config.

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
        if given.startswith(FROM_FILE):
            raise ConfigError(
                f"{where} is {given.removeprefix(FROM_FILE)!r} in a saved config, which imports no code; "
                "open the run by the training config that it was made with (.py)"
            )
        if ":" not in given:
            near = nearest(given, list(self._parts), kind="names")
            end = " " if near.endswith("?") else ". "
            raise ConfigError(f"{where} is {given!r}, which is not known{near}{end}{OWN_PART}")
        return imported(given, where=where)

    def known(self, reference: str, *, where: str, remedy: str) -> Any:
        """Return the registered part that a data file names; nothing else is ever imported.

        Parameters
        ----------
        reference
            A registered name, or the ``module:attribute`` of a registered part.
        where
            Start of a message: the file and its key.
        remedy
            End of a message: the remedy where the part is a user's own.

        Raises
        ------
        ConfigError
            The reference is not a registered part.
        """
        for name, part in self._parts.items():
            path = part if isinstance(part, str) else import_path(part)
            if reference == name or is_same_part(reference, path):
                return self[name]
        raise ConfigError(f"{where} is {shown(reference)}, which is no {self.kind} of dawnchorus; {remedy}")


NETWORKS = Registry(
    "network",
    {
        "WaveCNNAttenClassifier": "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
        "WaveCNNAttenClasifier": "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier",
    },
)
BACKBONES = Registry("backbone", {})
"""Backbones in addition to timm's."""

HEADS = Registry(
    "head",
    {
        "attention": "dawnchorus.models.head:AttentionHead",
        "gru": "dawnchorus.models.head:GruHead",
        "linear": "dawnchorus.models.head:LinearHead",
    },
)
LOSSES = Registry(
    "loss",
    {
        name: f"dawnchorus.training.losses:{name}_loss"
        for name in (
            *("bce", "focal", "bce_focal", "masked_bce", "masked_bce_focal"),
            *("cross_entropy", "soft_auc", "bce_probabilities", "clip_frame"),
        )
    }
    | {"class_weighted": "dawnchorus.training.losses:ClassWeightedLoss"},
)
AUGMENTATIONS = Registry(
    "augmentation",
    {
        "random_filtering": "dawnchorus.augment.random_filtering:RandomFiltering",
        "spectral_tilt": "dawnchorus.augment.spectrogram_levels:SpectralTilt",
        "power_scaling": "dawnchorus.augment.spectrogram_levels:PowerScaling",
        "white_noise": "dawnchorus.augment.spectrogram_noise:WhiteNoise",
        "band_noise": "dawnchorus.augment.spectrogram_noise:BandNoise",
        "low_pass": "dawnchorus.augment.spectrogram_levels:LowPass",
        "spectrogram_masks": "dawnchorus.augment.spectrogram_masks:SpectrogramMasks",
    },
)
"""Augmentations of a training batch on its device."""

WAVE_TRANSFORMS = Registry("waveform transform", {})
"""Transforms of a clip before it is batched, in addition to those of audiomentations."""

OPTIMIZERS = Registry(
    "optimizer", {name: f"torch.optim:{name}" for name in ("AdamW", "RAdam", "Adam", "SGD")}
)
SCHEDULES = Registry("schedule", {})
"""Schedules of the learning rate in addition to dawnchorus's own."""

CALLBACKS = Registry("callback", {})
"""Callbacks of training in addition to dawnchorus's own."""

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
        "raven_combined": "dawnchorus.formats.folder_tables:CombinedRavenWriter",
        "effort": "dawnchorus.formats.single_tables:EffortWriter",
        "camtrap_dp": "dawnchorus.formats.camtrap_dp:CamtrapDpWriter",
        "darwin_core": "dawnchorus.formats.darwin_core:DarwinCoreWriter",
        "ebird": "dawnchorus.formats.ebird:EbirdWriter",
        "detection_history": "dawnchorus.formats.detection_histories:DetectionHistoryWriter",
        "soundevent": "dawnchorus.formats.annotation_tools:SoundeventWriter",
        "crowsetta": "dawnchorus.formats.annotation_tools:CrowsettaWriter",
        "parquet": "dawnchorus.formats.parquet:ParquetWriter",
    },
)
"""Writers of detections: subclasses of :class:`dawnchorus.formats.DetectionWriter`."""

RECORDER_NAMES = Registry(
    "recorder file name",
    {
        name: f"dawnchorus.audio.recorder_names:{name}"
        for name in ("date_time", "old_audiomoth", "birdnet_pi", "plain_digits", "soundtrap")
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
"""Archives of recordings: subclasses of :class:`dawnchorus.downloads.download_source.DownloadSource`."""

MODELS = Registry(
    "model",
    {
        "birdnet": "dawnchorus.engines.named_models:BIRDNET",
        "perch-2": "dawnchorus.engines.named_models:PERCH",
        "imagenet": "dawnchorus.engines.named_models:IMAGENET",
        "birdclef-2025": "dawnchorus.engines.named_models:BIRDCLEF_2025",
    },
)
"""Models of others that are opened by a name: :class:`dawnchorus.engines.named_models.NamedModel`."""

DATASETS = Registry(
    "dataset",
    {
        "WaveDataset": "dawnchorus.datasets.wave_dataset:WaveDataset",
        "WaveAllFileDataset": "dawnchorus.datasets.wave_all_file_dataset:WaveAllFileDataset",
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
    "schedule": SCHEDULES,
    "callback": CALLBACKS,
    "metric": METRICS,
    "format": FORMATS,
    "recorder_name": RECORDER_NAMES,
    "download_source": DOWNLOAD_SOURCES,
    "model": MODELS,
    "dataset": DATASETS,
    "train_function": TRAIN_FUNCTIONS,
}
"""The registries by kind, the first argument of :func:`register`."""


def register(kind: str, name: str) -> Callable[[PartT], PartT]:
    """Return a decorator that gives a part of your own a name for configs and model cards.

    Parameters
    ----------
    kind
        ``network``, ``backbone``, ``head``, ``loss``, ``augmentation``, ``transform``, ``optimizer``,
        ``schedule``, ``callback``, ``metric``, ``format``, ``recorder_name``, ``download_source``,
        ``model``, ``dataset`` or ``train_function``.
    name
        Its name.

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
    ['attention', 'gru', 'linear']
    """
    return list(_registry(kind))


def _registry(kind: str) -> Registry:
    if kind not in REGISTRIES:
        raise ConfigError(f"{kind!r} is no kind of part{nearest(kind, list(REGISTRIES), kind='kinds')}")
    return REGISTRIES[kind]
