"""Adoption of published models: runs of Lightning and exported ensembles become models of dawnchorus.

The weights are copied, so that nothing in the new folder leads out of it. Its model card states what the
files do not say: from a published config, from options, or else the settings of the winning system.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from dawnchorus.config.published_network import PublishedNetwork, read_published_network
from dawnchorus.config.published_optimization import METRICS
from dawnchorus.engines import Engine
from dawnchorus.engines.engine_settings import default_settings
from dawnchorus.engines.opening import BUNDLE_NAME, open_file
from dawnchorus.errors import ConfigError, MissingExtraError, ModelError, RunError
from dawnchorus.features.logmel import FrontendSettings
from dawnchorus.files import inside, mend, refuse_existing, replacing, walk
from dawnchorus.formats.taxonomy import read_taxonomy
from dawnchorus.models.card import CARD_KEY, LOGMEL_NAME, ModelCard
from dawnchorus.recordings.labels import read_labels
from dawnchorus.runs import START_KEYS, Run, build_model
from dawnchorus.wording import first_few, install_extra

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

MODEL_CLASS = "dawnchorus.models.wave_cnn:WaveCNNAttenClassifier"
BACKBONE = "tf_efficientnetv2_s_in21k"
_EXPORT_FOLDER = "onnx_ensem_5first_folds"
_ENGINE_ENDING = re.compile(r"_openvino(_fp16)?$")
_USUAL_STEMS = ("model", "model_simpl")
_LONGEST_NAME = 200
_SCORE = re.compile(r"(\w+)=(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class AdoptionSettings:
    """What the files of a published model do not say; None takes a published config's, else the winner's.

    Attributes
    ----------
    backbone
        Backbone of a run's networks, a name of timm; ``tf_efficientnetv2_s_in21k``.
    sample_rate
        Of the clips, Hz; 32,000.
    segment_len
        Seconds of a clip; 5.
    late_normalize
        Whether a clip is divided by its peak; True.
    frontend
        Settings of a run's log-mel spectrogram that differ from the recipe's, see
        :class:`dawnchorus.features.logmel.FrontendSettings`. An exported network has the spectrogram in it.

    Examples
    --------
    >>> AdoptionSettings(backbone="eca_nfnet_l0").segment_len is None
    True
    """

    backbone: str | None = None
    sample_rate: int | None = None
    segment_len: float | None = None
    late_normalize: bool | None = None
    frontend: Mapping[str, Any] = field(default_factory=dict)


class Adopted(NamedTuple):
    """A model that was adopted.

    Attributes
    ----------
    path
        Its folder: a run, or an export.
    card
        Its model card.
    sources
        The files that its weights are from.

    Examples
    --------
    >>> from pathlib import Path
    >>> Adopted(Path("adopted"), card=None, sources=(Path("last.ckpt"),)).path.name
    'adopted'
    """

    path: Path
    card: ModelCard
    sources: tuple[Path, ...]


def adopt(
    folder: Path | str,
    out: Path | str = "adopted",
    *,
    labels: Path | str,
    config: Path | str | None = None,
    settings: AdoptionSettings | None = None,
    checkpoint: Literal["best", "last"] = "best",
) -> list[Adopted]:
    """Make a folder that ``load_model``, ``predict`` and ``submit-kaggle`` open from published models.

    Parameters
    ----------
    folder
        A run of the published system, with ``fold_*/checkpoints/*.ckpt``; or a folder of exported networks at
        any depth, ``.onnx`` or OpenVINO's ``.xml`` and ``.bin``; or one such file.
    out
        The folder to make: a run, an export, or several exports in subfolders, which predict together.
    labels
        The classes in the order of the outputs, such as ``taxonomy.csv`` or the published label map in JSON.
    config
        The published config of a run, which is read as data; where it is not given, the one in the run's
        folder or its ``code``.
    settings
        What no file says.
    checkpoint
        ``best`` takes the checkpoint with the best score in its name, ``last`` the last.

    Raises
    ------
    RunError
        The folder has no such files, or a fold's checkpoint cannot be chosen.
    ModelError
        The networks do not fit the classes, the clip, or the card.
    WeightsError
        The checkpoints do not fit the network, are damaged, or hold code.
    ConfigError, DataError
        The config, the settings or the labels cannot be read.
    OverwriteError
        ``out`` exists.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.json").write_text('{"wren": 0, "robin": 1, "owl": 2}')
    >>> adopt("somewhere", labels="labels.json")
    Traceback (most recent call last):
        ...
    dawnchorus.errors.RunError: somewhere does not exist; give a published run, or exported networks
    """
    folder, out = Path(folder), Path(out)
    if not folder.exists():
        raise RunError(f"{folder} does not exist; give a published run, or exported networks")
    mend(out.parent)
    refuse_existing(out, force=False, remedy="delete it")
    folds = _checkpoints_of(folder)
    exports = {} if folds else _exports_in(folder)
    if not folds and not exports:
        raise RunError(
            f"{folder} holds no published model: no fold_*/checkpoints/*.ckpt, no .onnx file, and no .xml "
            "file with its .bin"
        )
    name = folder.stem if folder.is_file() else folder.resolve().name
    card = _card(name, Path(labels), _network_of(folder, config), settings or AdoptionSettings())
    with replacing(out) as temporary:
        temporary.mkdir()
        if folds:
            chosen = {fold: _chosen(files, checkpoint) for fold, files in folds.items()}
            card = _write_run(temporary, chosen, card)
            return [Adopted(out, card, tuple(chosen.values()))]
        adopted = []
        for each, file in exports.items():
            own = replace(card, exp_name=each if len(exports) > 1 else name)
            below = Path(each) if len(exports) > 1 else Path()
            _write_export(temporary / below, file, own)
            adopted.append(Adopted(out / below, own, (file,)))
        return adopted


def _checkpoints_of(folder: Path) -> dict[int, list[Path]]:
    """Return the checkpoints of each fold of a published run; without folds they are of fold 0."""
    folds: dict[int, list[Path]] = {}
    for file in sorted(folder.glob("fold_*/checkpoints/*.ckpt")):
        number = file.parent.parent.name.removeprefix("fold_")
        if number.isdecimal():
            folds.setdefault(int(number), []).append(file)
    alone = sorted(folder.glob("checkpoints/*.ckpt"))
    return folds or ({0: alone} if alone else {})


def _exports_in(folder: Path) -> dict[str, Path]:
    """Return exported networks by their names; of one for both engines, OpenVINO's."""
    files = [folder] if folder.is_file() else list(walk(folder))
    models = [
        file
        for file in files
        if file.suffix == ".onnx" or (file.suffix == ".xml" and file.with_suffix(".bin").is_file())
    ]
    found: dict[str, Path] = {}
    for file in sorted(models, key=lambda file: (file.suffix != ".xml", file)):
        name = _export_name(file, folder)
        if name in found:
            logger.info("%s is left out: it is the network of %s for another engine.", file, found[name])
        else:
            found[name] = file
    return dict(sorted(found.items()))


def _export_name(file: Path, folder: Path) -> str:
    """Return the name of an exported network: that of its experiment, by the folders that it lies in."""
    above = file.relative_to(folder).parts[:-1] if folder.is_dir() else ()
    parts = [_ENGINE_ENDING.sub("", part) for part in above]
    parts = [part for part in parts if part != _EXPORT_FOLDER]
    parts += [] if file.stem in _USUAL_STEMS else [file.stem]
    return "__".join(parts)[-_LONGEST_NAME:].lstrip(".") or "model"


def _network_of(folder: Path, config: Path | str | None) -> PublishedNetwork | None:
    """Return the network of a published config: the given one, or that in the folder of the run."""
    if config is not None:
        return read_published_network(Path(config))
    found: dict[Path, PublishedNetwork] = {}
    for file in sorted([*folder.glob("*.py"), *folder.glob("code/*.py")]):
        try:
            found[file] = read_published_network(file)
        except ConfigError:
            continue  # other code of the run, which has no CONFIG with a network
    own = [network for network in found.values() if network.exp_name == folder.resolve().name]
    candidates = own or list(found.values())
    if len(candidates) > 1 and any(one != candidates[0] for one in candidates):
        raise ConfigError(
            f"{folder} has several configs: {first_few(list(map(str, found)))}; give one with --config"
        )
    if not candidates:
        return None
    taken = next(file for file, network in found.items() if network is candidates[0])
    logger.info("The network's settings are those of %s.", taken)
    return candidates[0]


def _card(name: str, labels: Path, network: PublishedNetwork | None, given: AdoptionSettings) -> ModelCard:
    known = network or PublishedNetwork(name, {}, None, None)
    keywords = {key: value for key, value in known.keywords.items() if key not in (*START_KEYS, "pretrained")}
    frontend = {**keywords.get("frontend", {}), **given.frontend}
    sample_rate = given.sample_rate or frontend.get("sample_rate") or 32_000
    if "f_max_hz" not in given.frontend and given.sample_rate:
        frontend["f_max_hz"] = min(frontend.get("f_max_hz") or sample_rate / 2, sample_rate / 2)
    checked = FrontendSettings.from_mapping({**frontend, "sample_rate": sample_rate})
    keywords["backbone"] = given.backbone or keywords.get("backbone", BACKBONE)
    normalized = known.late_normalize if given.late_normalize is None else given.late_normalize
    classes = read_labels(labels).labels
    is_table = labels.suffix.lower() == ".csv"
    return ModelCard(
        exp_name=name,
        model_class=MODEL_CLASS,
        model_config={**keywords, "frontend": asdict(checked)},
        labels=classes,
        frontend=asdict(checked),
        sample_rate=sample_rate,
        segment_len=float(given.segment_len or known.segment_len or 5.0),
        late_normalize=True if normalized is None else normalized,
        versions={"dawnchorus": metadata.version("dawnchorus")},
        species=read_taxonomy(labels, classes, may_lack_names=True) if is_table else {},
    )


def _chosen(files: Sequence[Path], checkpoint: str) -> Path:
    """Return the checkpoint with the best score in its name, or the last."""
    last = [file for file in files if file.stem.startswith("last")]
    scored = [(score, file) for file in files if (score := _score(file)) is not None]
    if checkpoint == "best" and scored:
        return max(scored, key=lambda one: one[0][1])[1]
    candidates = last or list(files)
    if len(candidates) > 1:
        raise RunError(
            f"{candidates[0].parent} has several checkpoints, and none is the {checkpoint} by its name: "
            f"{first_few([file.name for file in candidates])}; leave one there"
        )
    return candidates[0]


def _score(file: Path) -> tuple[str, float] | None:
    """Return the metric in a checkpoint's name, by our name for it, and its value, larger is better."""
    for name, text in _SCORE.findall(file.stem):
        known = next((theirs for theirs in METRICS if name.endswith(theirs)), None)
        if known is not None:
            ours = METRICS[known]
            return ours, -float(text) if ours == "val_loss" else float(text)
    return None


def _write_run(folder: Path, checkpoints: Mapping[int, Path], card: ModelCard) -> ModelCard:
    """Write the best checkpoints of folds as a run, and return its card."""
    from dawnchorus.models.checkpoint_file import CARD_KEY as CHECKPOINT_CARD_KEY
    from dawnchorus.models.checkpoint_file import write_checkpoint
    from dawnchorus.models.weights import fit_weights

    run = Run(folder)
    model = None
    for fold, file in checkpoints.items():
        tensors = _weights_of(file)
        if model is None:
            card = _fitting(card, tensors, file)
            model = build_model(card, where="the adopted card")
        fit_weights(model, tensors, where=str(file))
        path = run.checkpoints_dir(fold) / "adopted.safetensors"
        path.parent.mkdir(parents=True)
        write_checkpoint(path, model.state_dict(), metadata={CHECKPOINT_CARD_KEY: card.to_json()})
        report: dict[str, Any] = {"best_checkpoint": path.name}
        if (score := _score(file)) is not None:
            report[score[0]] = abs(score[1])
        run.finished_file(fold).write_text(json.dumps(report), encoding="utf-8")
    run.card_file.write_text(card.to_json(), encoding="utf-8")
    return card


def _weights_of(file: Path) -> dict[str, Tensor]:
    """Return the weights of the network in a checkpoint; what lies beside them is left out."""
    from dawnchorus.models.weights import load_state_dict_file

    tensors = load_state_dict_file(file)
    return {name: tensor for name, tensor in tensors.items() if name.startswith(("backbone.", "head."))}


def _fitting(card: ModelCard, tensors: Mapping[str, Tensor], file: Path) -> ModelCard:
    """Return the card with the width of the head; raise where the number of classes differs."""
    scores, dense = tensors.get("head.fix_scale.weight"), tensors.get("head.dense_layers.1.weight")
    if scores is None or dense is None:
        raise ModelError(
            f"{file} holds no network with the published head (head.dense_layers, head.fix_scale); only such "
            "are adopted"
        )
    _check_classes(len(scores), card, file)
    return replace(card, model_config={**card.model_config, "hidden_features": len(dense)})


def _check_classes(n_classes: int, card: ModelCard, file: Path) -> None:
    if n_classes != len(card.labels):
        raise ModelError(
            f"{file} has {n_classes} classes and the labels are {len(card.labels)}; give --labels the table "
            "that it was trained with, a class a row in the order of the outputs"
        )


def _write_export(folder: Path, file: Path, card: ModelCard) -> None:
    """Write an exported network with its card in it, and try it."""
    folder.mkdir(exist_ok=True)
    write: Callable[[Path, ModelCard, Path], None] = _copy_onnx if file.suffix == ".onnx" else _copy_openvino
    copy = folder / f"model{file.suffix}"
    write(file, card, copy)
    facts = json.dumps({"adopted_from": file.name, **asdict(card)}, indent=2, ensure_ascii=False)
    (folder / BUNDLE_NAME).write_text(facts, encoding="utf-8")
    _try(open_file(copy, default_settings()), file)


def _try(engine: Engine, file: Path) -> None:
    """Raise where an adopted network gives no probabilities for a clip of noise."""
    noise = np.random.default_rng(0).uniform(-1, 1, (1, engine.card.n_samples)).astype(np.float32)
    try:
        found = engine.predict(noise)
    except Exception as error:  # engines raise classes of their own, which change between releases
        raise ModelError(f"{file} does not take a clip of {noise.shape[1]} samples: {error}") from error
    if not ((found >= 0) & (found <= 1 + 1e-5)).all():
        raise ModelError(
            f"{file} gives values from {found.min():g} to {found.max():g}, which are no probabilities; "
            "export the network with its final activation"
        )


def _check_ports(file: Path, card: ModelCard, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Raise where a graph does not take waveforms, or gives other classes.

    ``inputs`` are shapes, ``outputs`` names and shapes; an unknown length is no int.
    """
    shapes = [tuple(shape) for shape in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ModelError(
            f"{file} takes {shapes}, and not waveforms (batch, n_samples); export the network with its "
            "spectrogram in it"
        )
    n_samples = shapes[0][1]
    if isinstance(n_samples, int) and n_samples != card.n_samples:
        raise ModelError(
            f"{file} takes clips of {n_samples} samples, and {card.segment_len:g} s at {card.sample_rate} Hz "
            f"are {card.n_samples}; give --segment-len and --sample-rate as it was trained"
        )
    shape = next((shape for name, shape in outputs if name == "output"), None)
    if shape is None:
        raise ModelError(f"{file} has no output of the name output; it has {[name for name, _ in outputs]}")
    if len(shape) == 2 and isinstance(shape[1], int):
        _check_classes(shape[1], card, file)


def _copy_onnx(file: Path, card: ModelCard, copy: Path) -> None:
    try:
        import onnx
        from onnx.external_data_helper import load_external_data_for_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"adopting {file} needs {error.name}, which is not installed: {install_extra('train')}"
        ) from error
    try:
        graph = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf's own classes
        raise ModelError(f"{file} is no ONNX file: {error}") from error
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                inside(file.parent, entry.value, named_in=file)
    try:
        load_external_data_for_model(graph, str(file.parent))
    except Exception as error:
        raise ModelError(f"{file}: its weights beside it cannot be read: {error}") from error
    _check_ports(
        file,
        card,
        [_onnx_shape(one) for one in graph.graph.input],
        [(one.name, _onnx_shape(one)) for one in graph.graph.output],
    )
    others = [entry for entry in graph.metadata_props if entry.key != CARD_KEY]
    del graph.metadata_props[:]
    graph.metadata_props.extend([*others, onnx.StringStringEntryProto(key=CARD_KEY, value=card.to_json())])
    onnx.save(graph, copy)


def _onnx_shape(value: Any) -> tuple[int | str, ...]:
    sizes = value.type.tensor_type.shape.dim
    return tuple(size.dim_value if size.HasField("dim_value") else size.dim_param for size in sizes)


def _copy_openvino(file: Path, card: ModelCard, copy: Path) -> None:
    try:
        import openvino

        from dawnchorus.engines.openvino_engine import openvino_core
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"adopting {file} needs {error.name}, which is not installed: pip install {error.name}"
        ) from error
    try:
        model = openvino_core().read_model(file)
    except Exception as error:  # OpenVINO's classes change between releases
        raise ModelError(f"{file} cannot be opened as a model: {error}") from error
    _check_ports(
        file,
        card,
        [_openvino_shape(one) for one in model.inputs],
        [(name, _openvino_shape(one)) for one in model.outputs for name in one.get_names()],
    )
    for node in model.get_ops():
        for output in node.outputs():
            if LOGMEL_NAME in output.get_names():  # of another front-end than the engine would put there
                output.set_names(output.get_names() - {LOGMEL_NAME})
    model.set_rt_info(card.to_json(), [CARD_KEY])
    openvino.save_model(model, copy, compress_to_fp16=False)


def _openvino_shape(value: Any) -> tuple[int | str, ...]:
    sizes = value.get_partial_shape()
    return tuple(size.get_length() if size.is_static else "" for size in sizes)
