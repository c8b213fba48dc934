"""Extraction of a checkpoint's backbone into a file of its own."""

from __future__ import annotations

from pathlib import Path

import torch

from dawnchorus.errors import WeightsError
from dawnchorus.files import replacing
from dawnchorus.models.checkpoint_file import write_checkpoint
from dawnchorus.models.weights import load_state_dict_file

_BACKBONE = "backbone."


def extract_backbone(checkpoint: Path, out: Path) -> int:
    """Write the backbone of a checkpoint, under timm's names, and return its number of tensors.

    Parameters
    ----------
    checkpoint
        A checkpoint of a whole model, ours or a published one.
    out
        A ``.safetensors`` file, or a ``.pth`` file with a plain state dict.

    Raises
    ------
    WeightsError
        The checkpoint cannot be read or has no backbone, or ``out`` has another suffix.

    Examples
    --------
    >>> from pathlib import Path
    >>> from dawnchorus import WaveCNNAttenClassifier
    >>> from dawnchorus.models.checkpoint_file import write_checkpoint
    >>> from dawnchorus.models.weights import is_whole_model, load_state_dict_file
    >>> model = WaveCNNAttenClassifier(n_classes=3, backbone="test_resnet.r160_in1k")
    >>> write_checkpoint(Path("whole.safetensors"), model.state_dict())
    >>> n_tensors = extract_backbone(Path("whole.safetensors"), Path("backbone.safetensors"))
    >>> is_whole_model(load_state_dict_file("backbone.safetensors"))
    False
    """
    if out.suffix not in (".safetensors", ".pth"):
        raise WeightsError(f"{out}: a backbone is written as .safetensors or .pth; choose one of them")
    tensors = load_state_dict_file(checkpoint)
    backbone = {
        name.removeprefix(_BACKBONE): tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith(_BACKBONE)
    }
    if not backbone:
        raise WeightsError(f"{checkpoint} has no tensors named {_BACKBONE}*; give one of a whole model")
    if out.suffix == ".safetensors":
        write_checkpoint(out, backbone)
    else:
        with replacing(out) as temporary, temporary.open("wb") as file:
            torch.save(backbone, file)
    return len(backbone)
