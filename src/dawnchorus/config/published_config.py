"""Configs of the published system in the keys of dawnchorus, and what of them has no counterpart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dawnchorus.config.config_files import load_inference_config, load_train_config
from dawnchorus.config.published_data import (
    clip_values,
    data_values,
    extra_recordings,
    fold_values,
    training_clip_values,
)
from dawnchorus.config.published_keys import PUBLISHED_INFERENCE_KEYS
from dawnchorus.config.published_network import network_values
from dawnchorus.config.published_optimization import (
    class_balance,
    loader_values,
    loss_and_augmentations,
    optimizer_values,
    scheduler_values,
    training_values,
)
from dawnchorus.config.published_section import LeftOut, PublishedSection, experiment_name
from dawnchorus.config.python_literals import LiteralPart, read_config_literal
from dawnchorus.errors import ConfigError
from dawnchorus.files import legible, refuse_existing, replacing

_HEADER = '''"""{title}, in the keys of dawnchorus.

Made of {source} by dawnchorus adopt-config.
"""
'''
_IMPORTS = """
from dawnchorus import WaveAllFileDataset, WaveCNNAttenClassifier, WaveDataset, lightning_training
"""
_LINE_LENGTH = 80


class AdoptedConfig(NamedTuple):
    """A published config in the keys of dawnchorus.

    Attributes
    ----------
    values
        The ``CONFIG`` dict.
    left_out
        What has no counterpart.
    is_inference
        Whether it is a config for inference.

    Examples
    --------
    >>> AdoptedConfig({"exp_name": "owls"}, left_out=[], is_inference=False).values["exp_name"]
    'owls'
    """

    values: dict[str, Any]
    left_out: list[LeftOut]
    is_inference: bool


class _Bare(str):
    """The name of something that the written config imports."""

    def __repr__(self) -> str:
        return str(self)


def adopt_config(path: Path, out: Path, *, force: bool = False) -> list[LeftOut]:
    """Write a published config in the keys of dawnchorus, and return what has no counterpart.

    Parameters
    ----------
    path
        A Python file with the published system's ``CONFIG``, for training or inference. It is read as data:
        nothing in it is run, and none of its modules is needed.
    out
        The config to write. What has no counterpart stands in it as comments.
    force
        Whether to overwrite it.

    Raises
    ------
    ConfigError
        The file has no such config, or its values make no legal config.
    OverwriteError
        ``out`` is there.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("published.py").write_text("CONFIG = {'exp_name': 'ebs', 'model_class': Net, 'n_folds': 5}")
    >>> [left.key for left in adopt_config(Path("published.py"), Path("ebs.py"))]
    ['model_class', 'n_folds']
    """
    refuse_existing(out, force=force)
    adopted = read_published_config(path)
    with replacing(out) as temporary:
        temporary.write_text(_source(adopted, path), encoding="utf-8")
        try:
            (load_inference_config if adopted.is_inference else load_train_config)(temporary)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(temporary), str(path))) from None
    return adopted.left_out


def read_published_config(path: Path) -> AdoptedConfig:
    """Return a published config in the keys of dawnchorus.

    Raises
    ------
    ConfigError
        The file has no such config.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("published.py").write_text("CONFIG = {'exp_name': 'ebs', 'model_class': Net, 'n_folds': 5}")
    >>> read_published_config(Path("published.py")).values
    {'run': 'logdirs/ebs', 'exp_name': 'ebs'}
    """
    config = read_config_literal(path)
    if "model_class" in config and "train_function_args" not in config:
        left_out: list[LeftOut] = []
        return AdoptedConfig(
            _inference_values(PublishedSection(config, left_out, PUBLISHED_INFERENCE_KEYS)), left_out, True
        )
    if not isinstance(config.get("train_function_args"), dict):
        raise ConfigError(
            f"{path} is no config of the published system: its CONFIG has no dict train_function_args"
        )
    return _training_config(config)


def _inference_values(top: PublishedSection) -> dict[str, Any]:
    name = experiment_name(top)
    values: dict[str, Any] = {"run": f"logdirs/{name}", "exp_name": name}
    if folds := top.take_numbers("folds_to_onnx"):
        values["folds"] = folds
    top.leave_rest()
    return values


def _training_config(config: Mapping[str, Any]) -> AdoptedConfig:
    left_out: list[LeftOut] = []
    top = PublishedSection(config, left_out)
    args = top.section("train_function_args")
    train, val = args.section("train_dataset_config"), args.section("val_dataset_config")
    model = args.section("nn_model_config")
    network, masks, sample_rate = network_values(args, model)
    folds = fold_values(top)
    data, soundscapes = data_values(top, train, has_split="trained" in folds)
    values: dict[str, Any] = {
        "exp_name": experiment_name(top),
        "seed": top.take("seed", int, 42),
        **data,
        "folds": folds,
        "train_function": _known_part(top, "train_function", "lightning_training"),
        "nn_model_class": _known_part(
            args, "nn_model_class", "WaveCNNAttenClassifier", "WaveCNNAttenClasifier"
        ),
        "nn_model_config": network,
    }
    clip = {"sample_rate": sample_rate} if sample_rate else {}
    loss, augmentations = loss_and_augmentations(args)
    arguments = {
        "train_dataset_class": _known_part(args, "train_dataset_class", "WaveDataset"),
        "train_dataset_config": {**clip, **training_clip_values(train, soundscapes)},
        "val_dataset_class": _known_part(args, "val_dataset_class", "WaveAllFileDataset"),
        "val_dataset_config": {**clip, **clip_values(val)},
        "train_loader": loader_values(args.section("train_dataloader_config")),
        "val_loader": loader_values(args.section("val_dataloader_config")),
        "class_balance": class_balance(args),
        "extra_recordings": extra_recordings(train),
        "loss": loss,
        "batch_augmentations": {**augmentations, **masks},
        "optimizer": optimizer_values(args),
        **training_values(args, debug=train.take("debug", bool, False)),
    }
    arguments["scheduler"] = scheduler_values(args, arguments["n_epochs"])
    for section in (top, args, train, val, model):
        section.leave_rest()
    return AdoptedConfig({**values, "train_function_args": arguments}, left_out, False)


def _known_part(section: PublishedSection, key: str, ours: str, *others: str) -> _Bare:
    """Return a class or function of ours by its name; another one is listed."""
    given = section.take(key)
    if not isinstance(given, LiteralPart) or given.last_name not in (ours, *others):
        section.leave(key, given, f"{ours} takes its place")
    return _Bare(ours)


def _source(adopted: AdoptedConfig, path: Path) -> str:
    """Return the Python text of a config."""
    kind = "inference" if adopted.is_inference else "training"
    title = f"The published {kind} config {adopted.values['exp_name']}"
    text = _HEADER.format(title=title, source=re.sub(r"[^A-Za-z0-9._-]", "_", path.name))
    if not adopted.is_inference:
        text += _IMPORTS
    text += f"\nCONFIG = {_python_text(adopted.values)}\n"
    if adopted.left_out:
        listed = "".join(f"#   {' '.join(str(one).split())}\n" for one in adopted.left_out)
        text += f"\n# Without counterpart:\n{listed}"
    return legible(text)


def _python_text(value: Any, indent: str = "") -> str:
    """Return Python text of plain values, one key or item a line where one line would be long."""
    inner = f"{indent}    "
    if isinstance(value, dict):
        items, brackets = [f"{key!r}: {_python_text(item, inner)}" for key, item in value.items()], "{}"
    elif isinstance(value, list):
        items, brackets = [_python_text(item, inner) for item in value], "[]"
    else:
        return repr(value)
    line = f"{brackets[0]}{', '.join(items)}{brackets[1]}"
    if len(indent) + len(line) <= _LINE_LENGTH and "\n" not in line:
        return line
    return f"{brackets[0]}\n" + "".join(f"{inner}{item},\n" for item in items) + indent + brackets[1]
