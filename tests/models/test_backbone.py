"""Finding timm's backbones by name, and failing fast where their weights cannot be had."""

from __future__ import annotations

import email.message
import socket
import ssl
import time
import urllib.error
import urllib.request

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch

from dawnchorus.errors import ModelError, WeightsError
from dawnchorus.models import backbone as backbone_module
from dawnchorus.models.backbone import create_backbone

SMALL = "mobilenetv4_conv_small_035"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """A machine with an empty cache whose every request fails at once."""

    def refuse(*args, **kwargs):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def test_the_last_feature_map_has_a_cell_for_32_by_32_pixels():
    (features,) = create_backbone(SMALL).eval()(torch.zeros(2, 1, 128, 313))
    assert features.shape == (2, 336, 4, 10)


@pytest.mark.parametrize("name", ["tf_efficientnetv2_s.in21k", "tf_efficientnetv2_s_in21k"])
def test_old_and_new_names_of_timm_mean_the_same_network(name):
    backbone = create_backbone(name)
    assert backbone.feature_info.channels() == [256]
    assert backbone.pretrained_cfg["hf_hub_id"] == "timm/tf_efficientnetv2_s.in21k"


def test_stochastic_depth_reaches_the_backbone():
    backbone = create_backbone("mobilenetv4_conv_small", drop_path_rate=0.2)
    rates = [module.drop_prob for module in backbone.modules() if type(module).__name__ == "DropPath"]
    assert 0 < max(rates) <= 0.2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mobilenetv4_conv_smol",
            "'mobilenetv4_conv_smol' is not known; did you mean .*mobilenetv4_conv_small",
        ),
        ("☃", r"not known; timm.list_models\(\) lists"),
        ("eca_nfnet_l0.in99k", "has no weights 'in99k'; legal: eca_nfnet_l0, eca_nfnet_l0.ra2_in1k"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_ones(name, message):
    with pytest.raises(ModelError, match=message):
        create_backbone(name)


def test_a_network_that_cannot_be_built_so_is_named_with_the_setting():
    with pytest.raises(
        ModelError, match=r"'vgg11' cannot be built .* and drop_path_rate 0.1: .*drop_path_rate"
    ):
        create_backbone("vgg11", drop_path_rate=0.1)


def test_pretrained_weights_without_a_network_fail_at_once_and_name_the_remedy(no_network):
    began = time.perf_counter()
    with pytest.raises(WeightsError, match=rf"'{SMALL}' are not available: timm publishes none for it"):
        create_backbone(SMALL, pretrained=True)
    with pytest.raises(
        WeightsError,
        match=r"'mobilenetv4_conv_small' .*cannot be reached \(Name or service not known\); "
        "give a local file in nn_model_config as weights: path, or set pretrained: False",
    ):
        create_backbone("mobilenetv4_conv_small", pretrained=True)
    assert time.perf_counter() - began < 10


def test_pretrained_weights_respect_offline_mode(no_network, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set and they are not in the cache"):
        create_backbone("mobilenetv4_conv_small", pretrained=True)


def test_an_answer_of_the_hub_counts_as_a_network_whatever_it_says(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    forbidden = urllib.error.HTTPError("https://hub", 403, "no", email.message.Message(), None)
    for error in (forbidden, urllib.error.URLError(ssl.SSLError("own certificates"))):
        monkeypatch.setattr(
            urllib.request, "urlopen", lambda *_, error=error, **__: (_ for _ in ()).throw(error)
        )
        assert backbone_module._why_unreachable("https://hub") is None
    forbidden.close()


def test_a_failing_download_is_one_sentence(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: "/cache/model.safetensors")
    create_model = timm.create_model

    def fail_to_download(*args, pretrained=False, **kwargs):
        if pretrained:
            raise OSError("disk full\nand a long story")
        return create_model(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", fail_to_download)
    with pytest.raises(WeightsError, match="not available: disk full; give a local file"):
        create_backbone("mobilenetv4_conv_small", pretrained=True)


def test_pretrained_weights_arrive_with_the_stem_summed_to_one_channel(monkeypatch, tmp_path):
    torch.manual_seed(0)
    published = timm.create_model("test_resnet").state_dict()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(published, path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: str(path))
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *args, **kwargs: str(path))
    stem = create_backbone("test_resnet", pretrained=True).state_dict()["conv1.0.weight"]
    torch.testing.assert_close(stem, published["conv1.0.weight"].sum(1, keepdim=True))
