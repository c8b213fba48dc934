"""Reader of weights that runs no code in a file, and their fit to a model.

There are two kinds of files: checkpoints of the whole model, whose names begin with ``backbone.`` and
``head.`` (under Lightning's ``model.``), and files of a backbone alone, under timm's names.
"""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dawnchorus.errors import WeightsError
from dawnchorus.models.checkpoint_file import CARD_KEY, read_checkpoint
from dawnchorus.wording import counted

logger = logging.getLogger(__name__)

PICKLED_SUFFIXES = (".ckpt", ".pth", ".pt", ".bin")
WRAPPER_PREFIXES = ("model.", "_orig_mod.")  # Lightning's attribute, torch.compile's
CONSTANTS_PREFIX = "logmelspec_extractor."  # the published front-end keeps its windows in the checkpoint

# Layers of timm's classifiers behind the last feature map, which a feature extractor does not have.
CLASSIFIER_PREFIXES = (
    "classifier.",
    "conv_head.",
    "norm_head.",
    "bn2.",
    "head.",
    "head_norm.",
    "fc.",
    "norm.",
)


class LoadReport(NamedTuple):
    """The names of the tensors that were loaded, and of those that were not.

    Attributes
    ----------
    loaded
        Copied into the model.
    missing
        In the model but not in the file, or there of another shape: left as they were.
    unexpected
        In the file but not in the model, or there of another shape.
    reshaped
        Of those loaded, stems whose weights were summed to one channel, or spread over several.

    Examples
    --------
    >>> report = LoadReport(("backbone.conv1.weight",), ("head.att.bias",), unexpected=(), reshaped=())
    >>> report.missing
    ('head.att.bias',)
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]


def load_state_dict_file(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors of a weights file, on the CPU, by the names that our models use.

    Lightning's ``state_dict`` is opened, its prefix and torch.compile's are removed, and the published
    front-end's constants are left out, as are tensors beside the network, such as those of an augmentation,
    whose number is logged. No code in the file is run.

    Parameters
    ----------
    path
        A ``.safetensors``, ``.ckpt``, ``.pth``, ``.pt`` or ``.bin`` file.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, of another kind, or holds code.

    Examples
    --------
    >>> import torch
    >>> torch.save({"state_dict": {"model.head.weight": torch.zeros(3, 2)}}, "lightning.ckpt")
    >>> list(load_state_dict_file("lightning.ckpt"))
    ['head.weight']
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file")
    if path.suffix == ".safetensors":
        tensors, _, metadata = read_checkpoint(path)
        if CARD_KEY in metadata:
            return tensors  # of our own training: the network's names, whatever their prefix
    elif path.suffix in PICKLED_SUFFIXES:
        tensors = _read_pickled(path)
    else:
        legal = ", ".join((".safetensors", *PICKLED_SUFFIXES))
        raise WeightsError(
            f"{path}: weights cannot be read from {path.suffix or 'a file without suffix'}; legal: {legal}"
        )
    named = {_without_wrappers(name): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(CONSTANTS_PREFIX)}


def is_whole_model(tensors: Iterable[str]) -> bool:
    """Return whether names are those of a whole model, and not of a backbone alone.

    Examples
    --------
    >>> is_whole_model(["backbone.conv1.weight", "head.att.bias"]), is_whole_model(["conv1.weight"])
    (True, False)
    """
    return any(name.startswith("backbone.") for name in tensors)


def load_weights(model: nn.Module, path: str | PathLike[str], *, strict: bool = True) -> LoadReport:
    """Copy the weights of a file into a model and return which ones were loaded.

    Parameters
    ----------
    model
        Has ``backbone`` and ``head``; changed in place.
    path
        A checkpoint of the whole model, or a file of its backbone alone (timm's included); told apart by
        the names in it. A backbone's file leaves the head as it was.
    strict
        Whether every tensor must fit. With a backbone's file this covers the backbone, and layers of
        timm's classifier are passed over.

    Raises
    ------
    WeightsError
        If the file cannot be read, does not fit (``strict``), or has nothing for this model.

    Examples
    --------
    >>> import torch
    >>> from dawnchorus import WaveCNNAttenClassifier
    >>> model = WaveCNNAttenClassifier(n_classes=3, backbone="test_resnet.r160_in1k")
    >>> torch.save(model.state_dict(), "weights.pth")
    >>> load_weights(model, "weights.pth").missing
    ()
    """
    return fit_weights(model, load_state_dict_file(path), where=str(path), strict=strict)


def fit_weights(
    model: nn.Module, tensors: Mapping[str, Tensor], *, where: str, strict: bool = True
) -> LoadReport:
    """Copy named tensors into a model; :func:`load_weights` for tensors that are read already.

    Parameters
    ----------
    model
        Has ``backbone`` and ``head``; changed in place.
    tensors
        Of a whole model or of a backbone.
    where
        Their source, for messages.
    strict
        Whether every tensor must fit.

    Raises
    ------
    WeightsError
        If they do not fit (``strict``), or none is for this model.

    Examples
    --------
    >>> from dawnchorus import WaveCNNAttenClassifier
    >>> model = WaveCNNAttenClassifier(n_classes=3, backbone="test_resnet.r160_in1k")
    >>> other = WaveCNNAttenClassifier(n_classes=5, backbone="test_resnet.r160_in1k")
    >>> report = fit_weights(model, other.state_dict(), where="another model", strict=False)
    >>> all(name.startswith("head.") for name in report.missing)  # its classes are others
    True
    """
    own = model.state_dict()
    if not is_whole_model(tensors) and tensors.keys() != own.keys():
        own = {name: tensor for name, tensor in own.items() if name.startswith("backbone.")}
        tensors = _as_backbone(tensors, own)
    fitted, reshaped = _fit(tensors, own)
    missing = tuple(name for name in own if name not in fitted)
    unexpected = tuple(name for name in tensors if name not in fitted)
    if not fitted or (strict and (missing or unexpected)):
        raise WeightsError(f"{where}: {_misfit(tensors, own, missing, unexpected)}")
    model.load_state_dict(fitted, strict=False)
    return LoadReport(tuple(fitted), missing, unexpected, reshaped)


def _read_pickled(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a PyTorch file; see `load_state_dict_file`."""
    try:
        with warnings.catch_warnings():  # about pickle protocols: the error, if any, says more
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?i)unsupported global:? (?:GLOBAL )?([\w.]+)", str(error))
        what = f"it holds code or objects ({found[1]})" if found else "it may hold code"
        raise WeightsError(
            f"{path}: refused because {what}, which loading could run; nothing was run. "
            "Ask for the weights as safetensors or as a plain state dict"
        ) from error
    except Exception as error:  # of a damaged file, PyTorch raises whatever its parts do
        raise WeightsError(f"{path}: the file is damaged or no PyTorch file") from error
    is_lightning = isinstance(content, Mapping) and "state_dict" in content
    if is_lightning:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path}: the file holds no named tensors, so these are no weights of a model")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    return _of_network(tensors, path) if is_lightning else tensors


def _of_network(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors under Lightning's ``model.``, or all where none is; log the number of the others."""
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(WRAPPER_PREFIXES)}
    beside = [name for name in tensors if name not in own]
    if not own or not beside:
        return tensors
    logger.info(
        f"{path}: {counted(len(beside), 'tensor')} beside the network's, {_first_few(beside)}, passed over"
    )
    return own


def _without_wrappers(name: str) -> str:
    """Return a tensor's name without the prefixes of Lightning and torch.compile."""
    while name.startswith(WRAPPER_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _as_backbone(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a backbone file's tensors under the model's names, without timm's classifier.

    Where timm wraps a network as feature extractor it flattens the first level (``stem.conv1`` becomes
    ``stem_conv1``); for files of the unwrapped network, both are tried.
    """
    renamed = {}
    for name, tensor in tensors.items():
        plain, flat = f"backbone.{name}", f"backbone.{name.replace('.', '_', 1)}"
        if plain in own or flat in own:
            renamed[plain if plain in own else flat] = tensor
        elif not name.startswith(CLASSIFIER_PREFIXES):
            renamed[plain] = tensor
    return renamed


def _fit(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors that fit by name and shape, and the names of the stems that were summed to fit."""
    fitted, reshaped = {}, []
    stem = next((name for name, tensor in own.items() if tensor.ndim == 4), None)
    for name in own.keys() & tensors.keys():
        tensor, shape = tensors[name], own[name].shape
        other_channels = tensor.ndim == len(shape) == 4 and tensor.shape[1] != shape[1]
        if other_channels and (name == stem or (tensor.shape[1], shape[1]) == (3, 1)):
            # A grey image is one of several equal channels.
            tensor = tensor.sum(1, keepdim=True).expand(-1, shape[1], -1, -1) / shape[1]
            reshaped.append(name)
        if tensor.shape == shape:
            fitted[name] = tensor
    return {name: fitted[name] for name in own if name in fitted}, tuple(reshaped)


def _misfit(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: Iterable[str],
    unexpected: Iterable[str],
) -> str:
    """Return one sentence about the misfit that names the first few tensors."""
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in missing
        if name in tensors
    ]
    parts = (
        ("of another shape", shapes),
        ("missing", [name for name in missing if name not in tensors]),
        ("not in the model", [name for name in unexpected if name not in own]),
    )
    described = [f"{len(names)} {kind} ({_first_few(names)})" for kind, names in parts if names]
    return (
        f"the weights do not fit the model; tensors {', '.join(described)}. Give the backbone, n_classes and "
        "hidden_features they were trained with, or strict=False to load what fits"
    )


def _first_few(names: list[str], n_shown: int = 3) -> str:
    return ", ".join(names[:n_shown]) + (", …" if len(names) > n_shown else "")
