"""Reading weights: what fits, what is named when it does not, and what is never run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from dawnchorus.errors import WeightsError
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.models.weights import load_state_dict_file, load_weights

SMALL = "mobilenetv4_conv_small_035"


def build(n_classes: int = 3, *, backbone: str = SMALL, seed: int = 0) -> WaveCNNAttenClassifier:
    torch.manual_seed(seed)
    return WaveCNNAttenClassifier(n_classes=n_classes, backbone=backbone)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return (open, (str(self.proof), "w"))


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".pt", ".bin", ".safetensors"])
def test_every_kind_of_file_gives_back_what_was_saved(tmp_path, suffix):
    saved = {"head.pooling.p": torch.tensor([3.0]), "backbone.stem.weight": torch.rand(2, 3)}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(saved, path)
    else:
        torch.save(saved, path)
    loaded = load_state_dict_file(path)
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_wrappers_are_taken_off_and_constants_left_out(tmp_path):
    path = tmp_path / "last.ckpt"
    names = ("model.head.pooling.p", "model._orig_mod.backbone.a", "_orig_mod.model.backbone.b")
    constants = {"model.logmelspec_extractor.0.window": torch.ones(4)}
    torch.save({"state_dict": {name: torch.ones(1) for name in names} | constants, "epoch": 3}, path)
    assert list(load_state_dict_file(path)) == ["head.pooling.p", "backbone.a", "backbone.b"]


def test_tensors_beside_the_network_in_a_lightning_checkpoint_are_passed_over_and_counted(tmp_path, caplog):
    model, path = build(), tmp_path / "published.ckpt"
    beside = {"_forward.batch_aug.hann_window": torch.ones(4), "loss.weight": torch.ones(3)}
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state | beside}, path)
    with caplog.at_level("INFO"):
        assert load_weights(build(), path).unexpected == ()
    (told,) = caplog.messages
    assert "2 tensors beside the network's, _forward.batch_aug.hann_window, loss.weight, passed over" in told


def test_the_published_checkpoint_fits_whole(golden):
    model = build(10, backbone="mobilenetv4_conv_small")
    report = load_weights(model, golden / "model_mobilenetv4_conv_small.ckpt")
    assert set(report.loaded) == set(model.state_dict())
    assert report[1:] == ((), (), ())


def test_the_published_backbone_leaves_the_head_alone(golden):
    model = build(backbone="mobilenetv4_conv_small")
    before = {name: value.clone() for name, value in model.head.state_dict().items()}
    report = load_weights(model, golden / "backbone_mobilenetv4_conv_small.pth")
    assert {name.removeprefix("backbone.") for name in report.loaded} == set(model.backbone.state_dict())
    published = load_state_dict_file(golden / "backbone_mobilenetv4_conv_small.pth")
    assert torch.equal(model.backbone.conv_stem.weight, published["conv_stem.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())


@pytest.mark.parametrize(
    ("backbone", "stem"),
    [
        (SMALL, "conv_stem.weight"),
        ("tf_efficientnetv2_b0", "conv_stem.weight"),
        ("eca_nfnet_l0", "stem.conv1.weight"),
    ],
)
def test_a_file_of_timm_fits_without_its_classifier_and_with_its_stem_summed(tmp_path, backbone, stem):
    torch.manual_seed(1)
    published = timm.create_model(backbone).state_dict()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(published, path)
    model = build(backbone=backbone)
    report = load_weights(model, path)
    assert (report.missing, report.unexpected) == ((), ())
    (name,) = report.reshaped
    torch.testing.assert_close(model.state_dict()[name], published[stem].sum(1, keepdim=True))


def test_a_model_of_other_classes_is_refused_by_name_and_shape(tmp_path):
    path = tmp_path / "three.ckpt"
    torch.save(build(3).state_dict(), path)
    message = r"4 of another shape \(head.attention.weight \(3, 512, 1\) instead of \(5, 512, 1\).*, …\)"
    with pytest.raises(WeightsError, match=message):
        load_weights(build(5), path)


def test_without_strict_what_fits_is_loaded_and_the_rest_reported(tmp_path):
    path = tmp_path / "three.ckpt"
    source, target = build(3), build(5, seed=1)
    torch.save(source.state_dict() | {"extra": torch.ones(1)}, path)
    attention = target.head.attention.weight.clone()
    report = load_weights(target, path, strict=False)
    refused = {f"head.{layer}.{kind}" for layer in ("attention", "fix_scale") for kind in ("weight", "bias")}
    assert set(report.missing) == refused
    assert set(report.unexpected) == refused | {"extra"}
    assert torch.equal(target.head.attention.weight, attention)
    assert torch.equal(target.backbone.conv_stem.weight, source.backbone.conv_stem.weight)


def test_missing_and_unknown_tensors_are_named(tmp_path):
    path = tmp_path / "odd.ckpt"
    tensors = build().state_dict()
    del tensors["head.pooling.p"]
    torch.save(tensors | {"loss.weight": torch.ones(1)}, path)
    message = (
        r"odd.ckpt: .* 1 missing \(head.pooling.p\), 1 not in the model \(loss.weight\)\. Give the backbone"
    )
    with pytest.raises(WeightsError, match=message):
        load_weights(build(), path)


def test_another_backbones_file_is_refused_even_without_strict(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"layer1.0.conv1.weight": torch.ones(2, 2, 3, 3)}, path)
    for strict in (True, False):
        with pytest.raises(WeightsError, match=r"not in the model \(backbone.layer1.0.conv1.weight\)"):
            load_weights(build(), path, strict=strict)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))]
)
def test_a_file_that_holds_code_is_refused_and_its_code_not_run(tmp_path, save):
    path, proof = tmp_path / "trap.ckpt", tmp_path / "the code ran"
    save({"state_dict": {"a": torch.ones(1).numpy().tolist()}, "callback": Trap(proof)}, path)
    with pytest.raises(WeightsError, match=r"trap.ckpt: refused because it .*hold.* code.*nothing was run"):
        load_state_dict_file(path)
    assert not proof.exists()
    if save is not torch.save:
        pickle.loads(path.read_bytes())["callback"].close()
        assert proof.exists(), "the trap works: any other loader runs it"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pth", b"", "damaged or no PyTorch file"),
        ("junk.ckpt", b"hello, this is a text file", "damaged or no PyTorch file"),
        ("junk.safetensors", b"hello, this is a text file", "damaged or no safetensors file"),
        ("model.h5", b"", r"cannot be read from \.h5; legal: \.safetensors, \.ckpt"),
        ("model", b"", "cannot be read from a file without suffix"),
    ],
)
def test_a_file_that_holds_no_weights_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_state_dict_file(path)


def test_half_a_file_is_damaged(tmp_path):
    path = tmp_path / "half.pth"
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match=r"half\.pth: the file is damaged"):
        load_state_dict_file(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(1)], {}])
def test_a_file_without_named_tensors_is_no_weights(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="holds no named tensors"):
        load_state_dict_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.ckpt: there is no such weights file"):
        load_state_dict_file(tmp_path / "absent.ckpt")
