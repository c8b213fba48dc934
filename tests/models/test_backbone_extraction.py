"""The backbone of a checkpoint as a file of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dawnchorus.errors import WeightsError
from dawnchorus.models.backbone_extraction import extract_backbone
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.models.weights import load_state_dict_file, load_weights


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return (open, (str(self.proof), "w"))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_published_backbone_comes_out_of_the_published_checkpoint(
    golden: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / "new folder" / f"backbone{suffix}"
    n_tensors = extract_backbone(golden / "model_mobilenetv4_conv_small.ckpt", out)
    extracted = load_state_dict_file(out)
    published = torch.load(golden / "backbone_mobilenetv4_conv_small.pth", weights_only=True)
    assert n_tensors == len(extracted)
    model = WaveCNNAttenClassifier(n_classes=4, backbone="mobilenetv4_conv_small")
    assert extracted.keys() == model.backbone.state_dict().keys()
    for name, tensor in extracted.items():
        assert torch.equal(tensor, published[name]), name
    load_weights(model, out, strict=True)
    assert all(torch.equal(tensor, published[name]) for name, tensor in model.backbone.state_dict().items())


def test_the_file_holds_the_backbone_and_no_more_memory(tmp_path: Path) -> None:
    whole = torch.zeros(100_000)
    torch.save({"backbone.a": whole[:10], "head.b": whole}, tmp_path / "model.ckpt")
    extract_backbone(tmp_path / "model.ckpt", tmp_path / "backbone.pth")
    assert (tmp_path / "backbone.pth").stat().st_size < 10_000
    assert torch.load(tmp_path / "backbone.pth", weights_only=True).keys() == {"a"}


@pytest.mark.parametrize("name", ["backbone.onnx", "backbone", "backbone.pt"])
def test_another_kind_of_file_is_refused(golden: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=rf"{name}: a backbone is written as \.safetensors or \.pth"):
        extract_backbone(golden / "model_mobilenetv4_conv_small.ckpt", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_backbone_is_refused(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"\.pth has no tensors named backbone\.\*; give one of a whole model"
    ):
        extract_backbone(golden / "backbone_mobilenetv4_conv_small.pth", tmp_path / "backbone.pth")
    assert list(tmp_path.iterdir()) == []


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "trap.ckpt", tmp_path / "the code ran"
    torch.save({"state_dict": {"backbone.a": torch.ones(1)}, "callback": Trap(proof)}, path)
    with pytest.raises(WeightsError, match=r"trap\.ckpt: refused because it holds code"):
        extract_backbone(path, tmp_path / "backbone.pth")
    assert not proof.exists()
    assert list(tmp_path.iterdir()) == [path]
