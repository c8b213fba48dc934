"""A run on disk: the files that training writes for an experiment, and access to them.

::

    logdirs/{exp_name}/
    ├── config.json               the resolved config; read back without running code
    ├── config_files/             the Python files it came from
    ├── recordings.csv            the recordings, where they were given as a DataFrame
    ├── model_card.json           classes, front-end, clip, versions
    ├── environment.json          package versions, git state
    ├── metrics.json              the validation metrics: heading and format of each
    ├── folds.csv                 fold of every recording, and whether it is validated there
    ├── labels.sha256             digest of all labels of the recordings, boxes among them
    ├── fold_0/
    │   ├── checkpoints/          the best by validation score, and last.safetensors to resume from
    │   ├── logs/                 metrics of every epoch, CSV
    │   ├── per_class.csv         validation scores of each class at the best epoch
    │   └── finished.json         written last: the best checkpoint and its scores
    ├── report.html, curves.png   scores and curves, on one page
    ├── oof_predictions.parquet   every recording as predicted by the fold not trained on it
    ├── score_calibration.json    raw scores → probabilities of presence, and the default threshold
    ├── onnx_ensem_5first_folds/
    ├── onnx_ensem_5first_folds_openvino_fp16/
    ├── onnx_ensem_5first_folds_openvino_int8/
    ├── onnx_ensem_5first_folds_one_file/
    └── onnx_ensem_5first_folds_fp16/
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from pydantic import ConfigDict

from dawnchorus.config import (
    DataSettings,
    Record,
    TrainConfig,
    differing_keys,
    from_json_file,
    load_train_config,
    read_json,
    read_saved_config,
    saved_roots,
    to_jsonable,
    validate,
    with_defaults,
)
from dawnchorus.config.registry import MODELS, NETWORKS
from dawnchorus.config.training_settings import VALIDATION_LOSS
from dawnchorus.errors import ConfigError, DataError, ModelError, RunError
from dawnchorus.files import inside, is_file
from dawnchorus.formats.text_tables import read_text_table
from dawnchorus.models.card import ModelCard
from dawnchorus.wording import counted, in_line, shown

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    import torch


_FOLD_COLUMNS = (
    ("fold", r"-?\d{1,6}", "fold must be a whole number in every row"),
    ("validated", "true|false", "it must be true or false"),
)
_USUAL_METRIC = "val_macro_roc_auc"
START_KEYS = ("weights", "weights_labels")
"""Keys of ``nn_model_config`` for the weights that a network starts from, not for its architecture."""


class _FinishedFold(Record):
    """The content of ``finished.json``: beside the checkpoint, the metrics of the config and counts."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | int | float | None]

    best_checkpoint: str


@dataclass(frozen=True)
class Run:
    """The files of one experiment.

    Attributes
    ----------
    path
        Its folder.
    experiment
        The config that it was made with, if the user gave one. Networks are then made from it and may have
        parts of the user's own; without it they are made from the model card, which can name registered
        parts only.

    Examples
    --------
    >>> run = Run.open("logdirs/tiny")
    >>> run.finished_folds(), run.card().labels
    ([0, 1], ('owl', 'wren'))
    >>> run.folds()["fold"].value_counts().to_dict()
    {0: 4, 1: 4}
    >>> run.load_model(0).training
    False
    """

    path: Path
    experiment: TrainConfig | None = field(default=None, compare=False, repr=False)

    @classmethod
    def open(cls, path: Path | str, experiment: TrainConfig | None = None) -> Run:
        """Return the run in a folder; :func:`open_run` checks that an experiment is the run's own.

        Raises
        ------
        RunError
            The folder does not exist or holds no run.
        """
        run = cls(Path(path), experiment)
        if not run.card_file.is_file():
            if str(path) in MODELS and not run.path.exists():
                raise RunError(
                    f"{path} is a model that others have trained, without the folds and recordings of a run, "
                    "which this needs; give a run directory"
                )
            raise RunError(
                f"{path} holds no run (it has no model_card.json); train it first with dawnchorus train"
            )
        return run

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        """Heading and format of the validation metrics."""
        return self.path / "metrics.json"

    @property
    def card_file(self) -> Path:
        """The model card."""
        return self.path / "model_card.json"

    @property
    def folds_file(self) -> Path:
        """The fold of every recording."""
        return self.path / "folds.csv"

    @property
    def labels_digest_file(self) -> Path:
        """Digest of the labels, boxes and ratings of the recordings."""
        return self.path / "labels.sha256"

    @property
    def onnx_file(self) -> Path:
        """The ensemble as one ONNX graph."""
        return self.path / "onnx_ensem_5first_folds" / "model.onnx"

    @property
    def openvino_file(self) -> Path:
        """The ensemble as OpenVINO IR with fp16 weights."""
        return self.path / "onnx_ensem_5first_folds_openvino_fp16" / "model.xml"

    @property
    def int8_file(self) -> Path:
        """The ensemble as OpenVINO IR with weights and activations in 8 bits."""
        return self.path / "onnx_ensem_5first_folds_openvino_int8" / "model.xml"

    @property
    def one_file(self) -> Path:
        """The ensemble as one ONNX file, its weights in it."""
        return self.path / "onnx_ensem_5first_folds_one_file" / "model.onnx"

    @property
    def onnx_fp16_file(self) -> Path:
        """The same with fp16 weights."""
        return self.path / "onnx_ensem_5first_folds_fp16" / "model.onnx"

    @property
    def auto_batch_file(self) -> Path:
        """The batch size that was found for the device, where the config has ``auto_batch``."""
        return self.path / "auto_batch.json"

    @property
    def oof_file(self) -> Path:
        """Out-of-fold predictions, one row a recording."""
        return self.path / "oof_predictions.parquet"

    def fold_dir(self, fold: int) -> Path:
        """Return the folder of a fold."""
        return self.path / f"fold_{fold}"

    def checkpoints_dir(self, fold: int) -> Path:
        """Return the folder of a fold's checkpoints."""
        return self.fold_dir(fold) / "checkpoints"

    def fold_lock(self, fold: int | Literal["*"]) -> Path:
        """Return the file that the process which trains a fold locks."""
        return self.path / f".fold_{fold}.lock"

    def finished_file(self, fold: int) -> Path:
        """Return the file that is written when a fold is trained to its end."""
        return self.fold_dir(fold) / "finished.json"

    def finished(self, fold: int) -> dict[str, Any] | None:
        """Return the report of a finished fold (best checkpoint, score, seconds), or None.

        Raises
        ------
        RunError
            The file is damaged.
        """
        file = self.finished_file(fold)
        if not file.is_file():
            return None
        remedy = "delete it and run the training command again, which goes on from the last epoch"
        return read_json(file, _FinishedFold, remedy=remedy).model_dump()

    def has_checkpoints(self) -> bool:
        """Return whether any fold has been trained for an epoch; until then a run may be made anew."""
        found = self.path.glob("fold_*/checkpoints/*")
        return any(path.suffix in (".safetensors", ".ckpt") for path in found)

    def chosen_folds(self, folds: Sequence[int] | None) -> tuple[int, ...]:
        """Return ``folds``, each once, or all that are finished.

        Raises
        ------
        RunError
            One of them is not finished, or none is.
        """
        finished = self.finished_folds()
        for fold in folds or ():
            if fold not in finished:
                raise RunError(f"{self.path} has no finished fold {fold}; finished are {finished}")
        if folds:
            return tuple(sorted(set(folds)))
        missing = sorted(set(self._all_folds()).difference(finished))
        if missing:
            logger.warning(
                "%s: of %d folds, %s not finished and left out",
                self.path,
                len(finished) + len(missing),
                f"fold {missing[0]} is" if len(missing) == 1 else f"{', '.join(map(str, missing))} are",
            )
        return tuple(finished)

    def _all_folds(self) -> list[int]:
        """Return the folds that the config trains."""
        if not self.folds_file.is_file():
            return []
        folds = [int(fold) for fold in self.folds()["fold"].unique() if fold >= 0]
        if not self.config_file.is_file():
            return folds
        trained = read_saved_config(self.config_file).get("folds", {}).get("trained")
        return [fold for fold in folds if fold in trained] if trained else folds

    def newest_weights_ns(self, folds: Sequence[int]) -> int:
        """Return when the best checkpoint of any of these folds was written last, ns since 1970.

        Calibrations and other files that are older were made with earlier weights.

        Raises
        ------
        RunError
            A fold is not finished, or its checkpoint is gone.

        Examples
        --------
        >>> run = Run.open("logdirs/tiny")
        >>> run.newest_weights_ns([0]) <= run.newest_weights_ns([0, 1])
        True
        """
        return max(self.best_checkpoint(fold).stat().st_mtime_ns for fold in folds)

    def finished_folds(self) -> list[int]:
        """Return the folds that are trained to their end.

        Raises
        ------
        RunError
            There is none.
        """
        numbers = (path.parent.name.removeprefix("fold_") for path in self.path.glob("fold_*/finished.json"))
        folds = sorted(int(number) for number in numbers if number.isdecimal())
        if not folds:
            raise RunError(f"{self.path} has no finished fold; run the training command again to go on")
        return folds

    def best_checkpoint(self, fold: int) -> Path:
        """Return the best checkpoint of a finished fold.

        Raises
        ------
        RunError
            The fold is not finished, or the file is gone.
        UnsafePathError
            ``finished.json`` names a file outside the folder of checkpoints.
        """
        report = self.finished(fold)
        if report is None:
            raise RunError(
                f"fold {fold} of {self.path} is not finished; run the training command again to go on"
            )
        named = report["best_checkpoint"]
        path = inside(self.checkpoints_dir(fold), named, named_in=self.finished_file(fold))
        if not is_file(path):
            raise RunError(
                f"{in_line(str(path))} is gone; delete {self.finished_file(fold)} and train the fold again"
            )
        return path

    def best_of_folds(self, fold: int | None = None) -> Path:
        """Return the best checkpoint of a fold, or of the finished fold with the best main metric.

        Raises
        ------
        RunError
            The fold is not finished, or none is, or the file is gone.
        """
        if fold is None:
            folds = self.finished_folds()
            best = min if self.main_metric() == VALIDATION_LOSS else max
            # Without validation, and of an average by its loss, there is no such score.
            scored = [fold for fold in folds if self.main_metric() in (self.finished(fold) or {})]
            fold = best(scored, key=self.score) if scored else folds[0]
        return self.best_checkpoint(fold)

    def main_metric(self) -> str:
        """Return the name of the metric that ranks checkpoints."""
        if not self.config_file.is_file():  # of an adopted run
            reports = [self.finished(fold) or {} for fold in self.finished_folds()]
            names = {name for report in reports for name in report if name.startswith("val_")}
            return min(names, default=_USUAL_METRIC)
        args = read_saved_config(self.config_file).get("train_function_args", {})
        return str(args.get("main_metric", _USUAL_METRIC))

    def score(self, fold: int) -> float:
        """Return the main metric of a finished fold.

        Raises
        ------
        RunError
            ``finished.json`` lacks it.
        """
        metric = self.main_metric()
        found = {metric: (self.finished(fold) or {}).get(metric)}
        return validate(dict[str, float], found, where=str(self.finished_file(fold)), error=RunError)[metric]

    def card(self) -> ModelCard:
        """Return the model card."""
        return ModelCard.read(self.card_file)

    def config(self) -> TrainConfig:
        """Return the config that the run was made with.

        Raises
        ------
        ConfigError
            The saved one is damaged, or names parts that are not registered; open such a run by its Python
            config.
        """
        return self.experiment or from_json_file(self.config_file)

    def data(self) -> tuple[DataSettings, ...]:
        """Return the dataset roots of the run, as they were when it was made."""
        roots = saved_roots(read_saved_config(self.config_file).get("data") or [], self.path)
        return tuple(
            validate(DataSettings, root, where=str(self.config_file))
            for root in ([roots] if isinstance(roots, dict) else roots)
        )

    def check_made_from(self, config: TrainConfig) -> None:
        """Raise a RunError that names the keys in which ``config`` differs from the run's own."""
        saved = with_defaults(read_saved_config(self.config_file))
        differences = differing_keys(saved, to_jsonable(config))
        if differences:
            raise RunError(
                f"{self.path} holds a run of another config ({'; '.join(differences[:3])}); "
                "undo the change, choose another exp_name, or delete the folder"
            )

    def folds(self) -> pd.DataFrame:
        """Return the table filename, primary_label, author, fold (int64) and validated (bool).

        In an older table without ``validated``, every recording is validated. The other columns that made
        the groups stand between, as text.

        Raises
        ------
        RunError
            The file is missing or no such table, a fold is not a whole number, or ``validated`` is neither
            true nor false.
        """
        try:
            table = read_text_table(self.folds_file, required=("filename", "fold"), stripped=False)
        except DataError as error:
            raise RunError(f"{error}; choose another exp_name and train again") from None
        if "validated" not in table:
            table["validated"] = "true"
        table["validated"] = table["validated"].str.lower()
        for column, form, legal in _FOLD_COLUMNS:
            wrong = table[column][~table[column].str.fullmatch(form)]
            if len(wrong):
                found = shown(wrong.iloc[0])
                raise RunError(
                    f"{self.folds_file}: {column} is {found} in line {wrong.index[0] + 2}; {legal}"
                )
        return table.assign(fold=table["fold"].astype("int64"), validated=table["validated"] == "true")

    def load_model(self, fold: int) -> torch.nn.Module:
        """Return the best model of a fold, in evaluation mode, on the CPU.

        Raises
        ------
        ConfigError
            The card names parts that are not registered, and the run was opened without its Python config.
        ModelError
            The card's values make no network.
        RunError
            The fold is not finished.
        """
        from dawnchorus.models.weights import load_weights

        card = self.card()
        if self.experiment is None:
            model = build_model(card, where=str(self.card_file))
        else:
            model = network_of(self.experiment, n_classes=len(card.labels), pretrained=False)
        load_weights(model, self.best_checkpoint(fold))
        return model.eval()

    def __repr__(self) -> str:
        finished = len(list(self.path.glob("fold_*/finished.json")))
        return f"Run({self.path}: {counted(finished, 'finished fold')})"

    def _repr_html_(self) -> str:
        """Return the scores of the finished folds as a table, as notebooks show it."""
        reports = {
            int(number): self.finished(int(number)) or {}
            for file in sorted(self.path.glob("fold_*/finished.json"))
            if (number := file.parent.name.removeprefix("fold_")).isdecimal()
        }
        for report in reports.values():  # pandas takes no text that is no Unicode
            report["best_checkpoint"] = report["best_checkpoint"].encode("utf-8", "replace").decode()
        table = pd.DataFrame.from_dict(reports, orient="index").rename_axis("fold")
        return f"<p>{escape(repr(self))}</p>{table.to_html() if len(table) else ''}"


def open_run(
    path: Path | str | TrainConfig, *, config: Path | str | TrainConfig | None = None, debug: bool = False
) -> Run:
    """Return a run, by its directory or by its training config.

    Parameters
    ----------
    path
        A run directory, or the training config of the run: a ``.py`` file, which is run, or the object.
    config
        The training config of a run directory, which a run with parts of your own needs.
    debug
        Whether to open the run that was trained with ``--debug``.

    Raises
    ------
    RunError
        There is no run, or the config differs from the one that the run was made with.
    ConfigError
        The config cannot be read.

    Examples
    --------
    >>> open_run("logdirs/tiny").card().labels
    ('owl', 'wren')
    """
    if config is None and (isinstance(path, TrainConfig) or Path(path).suffix == ".py"):
        path, config = "", path
    if config is None:
        return Run.open(path)  # type: ignore[arg-type]
    if not isinstance(config, TrainConfig):
        config = load_train_config(config, {"train_function_args": {"debug": True}} if debug else None)
    if path:  # a run may have been given another name than the config's
        name = Run.open(path).card().exp_name  # type: ignore[arg-type]
        config = config.model_copy(update={"exp_name": name})
    run = Run.open(path or config.run_dir, config)  # type: ignore[arg-type]
    run.check_made_from(config)
    # The run may have been made with other folders than the config's, by the options of the command.
    data = run.data()
    if all(root.audio_dir.is_dir() for root in data):
        own, named = ([str(root.audio_dir.absolute()) for root in roots] for roots in (data, config.data))
        if own != named:
            logger.warning(
                "%s was made of the recordings in %s, which are taken, and not of those in %s, which the "
                "config names",
                run.path,
                " and ".join(own),
                " and ".join(named),
            )
        return replace(run, experiment=config.model_copy(update={"data": data}))
    return run


def model_keywords(config: TrainConfig) -> dict[str, Any]:
    """Return the keywords of an experiment's network, without those for its starting weights.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> model_keywords(load_train_config("train.py", {"nn_model_config": {"weights": "earlier.safetensors"}}))
    {'backbone': 'test_resnet.r160_in1k'}
    """
    return {key: value for key, value in config.nn_model_config.items() if key not in START_KEYS}


def network_of(config: TrainConfig, *, n_classes: int, pretrained: bool | None = None) -> torch.nn.Module:
    """Return an experiment's network, with parts of the user's own where its config has them.

    Parameters
    ----------
    config
        The experiment.
    n_classes
        Classes.
    pretrained
        Whether published weights are fetched, where the network has that keyword; None keeps the config's.

    Raises
    ------
    ConfigError
        Its keywords make no network.

    Examples
    --------
    >>> from dawnchorus.config import load_train_config
    >>> type(network_of(load_train_config("train.py"), n_classes=3)).__name__
    'WaveCNNAttenClassifier'
    """
    keywords = model_keywords(config)
    if pretrained is not None and _takes_pretrained(config.nn_model_class):
        keywords["pretrained"] = pretrained
    try:
        return config.nn_model_class(n_classes=n_classes, **keywords)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{config.exp_name}: nn_model_config does not make a network: {error}") from error


def _takes_pretrained(network: Any) -> bool:
    try:
        return "pretrained" in inspect.signature(network).parameters
    except (TypeError, ValueError):
        return False


def build_model(card: ModelCard, *, where: str = "the model card") -> torch.nn.Module:
    """Return a network as the card describes it, with untrained weights.

    Only registered networks, backbones and heads, and timm's by name, are looked up: no code in the card is
    run, no file is read and nothing is downloaded.

    Raises
    ------
    ConfigError
        The card names something else.
    ModelError
        Its values make no network.

    Examples
    --------
    >>> from pathlib import Path
    >>> model = build_model(Run.open("logdirs/tiny").card())
    >>> type(model).__name__, model.training
    ('WaveCNNAttenClassifier', True)
    """
    from dawnchorus.models.card_keywords import REMEDY, checked_keywords

    network = NETWORKS.known(card.model_class, where=f"{where}: model_class", remedy=REMEDY)
    keywords = checked_keywords(network, card.model_config, where=f"{where}: model_config")
    try:
        return network(n_classes=len(card.labels), **keywords)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where}: model_config does not make a network: {error}") from error
