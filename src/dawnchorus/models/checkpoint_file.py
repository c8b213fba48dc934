"""Checkpoints as we write them: one safetensors file, its tensors by name, everything else as JSON.

The weights stand under the names that :class:`~dawnchorus.models.wave_cnn.WaveCNNAttenClassifier` gives them,
so that any reader of safetensors gets a state dict. The tensors of the training state stand beside them under
``training_state/``, and its structure in the header's metadata. Such a file holds no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dawnchorus.config.json_files import parsed_json
from dawnchorus.errors import WeightsError
from dawnchorus.files import replacing
from dawnchorus.wording import in_line

TRAINING_STATE = "training_state/"
"""Prefix of the tensors that are no weights."""

CARD_KEY = "model_card"
_STATE_KEY = "training_state"
_TENSOR, _TUPLE, _PAIRS = "$tensor", "$tuple", "$pairs"


class Checkpoint(NamedTuple):
    """The content of a checkpoint.

    Attributes
    ----------
    weights
        Tensors of the model by name.
    state
        State for resuming a training: dicts, lists, tuples, tensors, numbers, text; None if left out.
    metadata
        Text by key, such as the model card.

    Examples
    --------
    >>> import torch
    >>> checkpoint = Checkpoint({"head.weight": torch.zeros(3, 2)}, state=None, metadata={})
    >>> list(checkpoint.weights)
    ['head.weight']
    """

    weights: dict[str, Tensor]
    state: Any
    metadata: dict[str, str]


def write_checkpoint(
    path: Path,
    weights: Mapping[str, Tensor],
    *,
    state: Any = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint completely, or leave the file that was there.

    Parameters
    ----------
    path
        A ``.safetensors`` file.
    weights
        Tensors of the model by name.
    state
        State for resuming a training; None writes the weights alone.
    metadata
        Text by key, such as the model card.

    Raises
    ------
    TypeError
        The state holds something that is neither plain nor a tensor.
    OSError
        The disk is full, or the folder cannot be written to.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> weights = {"head.weight": torch.zeros(3, 2)}
    >>> write_checkpoint(Path("best.safetensors"), weights, state={"epoch": 4})
    >>> read_checkpoint(Path("best.safetensors")).state
    {'epoch': 4}
    """
    tensors = {name: _own_memory(tensor) for name, tensor in weights.items()}
    texts = {"format": "pt", **(metadata or {})}
    if state is not None:
        texts[_STATE_KEY] = json.dumps(_packed(state, TRAINING_STATE.rstrip("/"), tensors))
    # Written by Python and not by safetensors, whose errors do not name a full disk.
    content = safetensors.torch.save(tensors, texts)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return a checkpoint of :func:`write_checkpoint`, on the CPU.

    Raises
    ------
    WeightsError
        The file is damaged, or no safetensors file.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> write_checkpoint(Path("best.safetensors"), {"head.weight": torch.zeros(3, 2)})
    >>> read_checkpoint(Path("best.safetensors")).weights["head.weight"].shape
    torch.Size([3, 2])
    """
    tensors, metadata = _read(path)
    state = None
    if _STATE_KEY in metadata:
        try:
            packed = parsed_json(
                metadata.pop(_STATE_KEY), Any, where=f"{path}: its training state", error=WeightsError
            )
            state = _unpacked(packed, tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path}: its training state is damaged ({in_line(str(error))})") from None
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(TRAINING_STATE)}
    return Checkpoint(weights, state, metadata)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, without reading its tensors.

    Raises
    ------
    WeightsError
        The file is damaged, or no safetensors file.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> weights = {"head.weight": torch.zeros(3, 2)}
    >>> write_checkpoint(Path("best.safetensors"), weights, metadata={"epoch": "4"})
    >>> read_metadata(Path("best.safetensors"))["epoch"]
    '4'
    """
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise _damaged(path, error) from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    metadata = read_metadata(path)
    try:
        return safetensors.torch.load_file(path, device="cpu"), metadata
    except (OSError, safetensors.SafetensorError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path}: the file is damaged or no safetensors file ({in_line(str(error))})")


def _own_memory(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor, on the CPU in memory of its own, as safetensors requires."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON types; its tensors go into ``tensors``, under names below ``name``."""
    if isinstance(value, Tensor):
        while name in tensors:  # the keys "a/b" and "a", "b" give the same name
            name += "_"
        tensors[name] = _own_memory(value)
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _packed(item, f"{name}/{key}", tensors) for key, item in value.items()}
        pairs = enumerate(value.items())
        return {
            _PAIRS: [
                [_packed(key, f"the key {key!r} in {name}", {}), _packed(item, f"{name}/{number}", tensors)]
                for number, (key, item) in pairs
            ]
        }
    if isinstance(value, list | tuple):
        items = [_packed(item, f"{name}/{number}", tensors) for number, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} is {type(value).__name__}; a checkpoint holds tensors and plain values")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that was packed."""
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_unpacked(item, tensors) for item in value[_TUPLE])
    if _PAIRS in value:
        return {_unpacked(key, tensors): _unpacked(item, tensors) for key, item in value[_PAIRS]}
    return {key: _unpacked(item, tensors) for key, item in value.items()}
