"""Backbones: timm's by name, new or old, with published weights; registered ones; and one's own."""

from __future__ import annotations

import copy
import difflib
import ssl
import urllib.error
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import huggingface_hub
import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from dawnchorus.config.import_paths import import_path
from dawnchorus.config.registry import BACKBONES
from dawnchorus.config.settings import check_keywords
from dawnchorus.errors import ModelError, WeightsError
from dawnchorus.models.feature_map import MULTIPLES, WORKING, FeatureMaps, try_backbone

PROBE_TIMEOUT_S = 5.0
OWN_OPTIONS = ("features_only", "in_chans", "out_indices", "drop_path_rate", "pretrained")
"""Options of :func:`timm.create_model` that this module sets."""

WEIGHT_OPTIONS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Options that read weights from elsewhere, past the reader that runs no code."""

_BUILD_ERRORS = (AttributeError, TypeError, ValueError, RuntimeError, AssertionError)


class Backbone(NamedTuple):
    """A backbone, with the layout of its input and feature map.

    Examples
    --------
    >>> import torch
    >>> module, maps = make_backbone("test_resnet.r160_in1k", size=(128, 313))
    >>> maps.of(module, torch.zeros(2, 1, 128, 313)).shape
    torch.Size([2, 96, 4, 10])
    """

    module: nn.Module
    maps: FeatureMaps


def make_backbone(
    given: Any,
    *,
    size: tuple[int, int],
    n_channels: int = 1,
    pretrained: bool = False,
    drop_path_rate: float | None = None,
    config: Mapping[str, Any] | None = None,
) -> Backbone:
    """Return a backbone that was tried and gives a feature map.

    A backbone maps spectrograms (batch, n_channels, n_mels, n_frames), float32 in [0, 1], to a feature map
    (batch, channels, frequency, time), or to a list whose last is that.

    Parameters
    ----------
    given
        A name of timm, a registered name, ``package.module:factory``, a factory, or an ``nn.Module``, of
        which a copy is taken so that folds do not share it. A factory is called with ``config`` as its
        keywords, and with ``pretrained`` and ``drop_path_rate`` where they are set.
    size
        Bands and frames of the spectrogram that it is tried with.
    n_channels
        Channels of the spectrogram: one for each window length of the front-end.
    pretrained
        Whether to fetch published weights.
    drop_path_rate
        Stochastic depth while training, in [0, 1); ``None`` leaves the backbone's default.
    config
        More keywords, such as ``{"img_size": (128, 640)}`` for timm.

    Raises
    ------
    ModelError
        It cannot be built, or gives no feature map.
    ConfigError
        It cannot be imported, or a keyword is not known.
    WeightsError
        Published weights cannot be had.

    Examples
    --------
    >>> backbone = make_backbone("test_resnet.r160_in1k", size=(128, 313))
    >>> backbone.maps.n_features, backbone.maps.shape
    (96, (1, 96, 4, 10))
    """
    config = dict(config or {})
    if isinstance(given, str) and given not in BACKBONES and (":" not in given or _is_source(given)):
        return _timm_backbone(given, size, n_channels, pretrained, drop_path_rate, config)
    settings = dict(config)
    settings |= {"pretrained": True} if pretrained else {}
    settings |= {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    found = BACKBONES.find(given, where="backbone")
    name = given if isinstance(given, str) else import_path(given)
    if isinstance(found, nn.Module):
        if settings:
            raise ModelError(f"backbone {name} is made already, and {', '.join(settings)} come too late")
        module = copy.deepcopy(found)
    elif callable(found):
        check_keywords(found, settings, where=f"backbone {name}")
        module = found(**settings)
    else:
        raise ModelError(f"backbone is {given!r}; give a name, a factory or a module")
    if not isinstance(module, nn.Module):
        raise ModelError(f"backbone {name} makes {type(module).__name__}, and no torch.nn.Module")
    return Backbone(module, try_backbone(module, size, name=name, n_channels=n_channels))


def _timm_backbone(
    name: str,
    size: tuple[int, int],
    n_channels: int,
    pretrained: bool,
    drop_path_rate: float | None,
    config: Mapping[str, Any],
) -> Backbone:
    """Return a network of timm with the first of the options for other sizes that gives a feature map.

    Every attempt starts from the same random numbers, so that failed ones change no weights.
    """
    _check_name(name)
    # JSON has lists alone, and timm takes sizes as tuples.
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    if "img_size" in config:
        size = tuple(map(min, size, _both(config["img_size"])))  # type: ignore[assignment]
    random_state = torch.get_rng_state()
    failures: list[ModelError] = []
    for options in _size_options(name, size):
        settings = {**options, **config}
        torch.set_rng_state(random_state)
        try:
            module = create_backbone(
                name, n_channels=n_channels, drop_path_rate=drop_path_rate, config=settings
            )
            whole = [_both(settings["img_size"])] if "img_size" in options else MULTIPLES
            maps = try_backbone(module, size, name=repr(name), n_channels=n_channels, multiples=whole)
        except ModelError as error:
            failures.append(error)
            continue
        if pretrained:
            module = create_backbone(
                name, n_channels=n_channels, pretrained=True, drop_path_rate=drop_path_rate, config=settings
            )
        return Backbone(module, maps)
    raise failures[-1]


def _size_options(name: str, size: tuple[int, int]) -> Sequence[dict[str, Any]]:
    """Return options by which timm's networks for images of one size take another, the best first."""
    known = get_pretrained_cfg(name)
    whole = tuple(-(-length // 32) * 32 for length in size)
    others = (
        {"dynamic_img_size": True, "dynamic_img_pad": True},  # ViT: resamples its positions, pads patches
        {"strict_img_size": False},  # Swin: has no positions, and needs whole patches
        {"img_size": whole},  # MaxViT and others: windows, or positions, for spectrograms of this size
    )
    fixed = known is not None and known.fixed_input_size
    return (*others, {}) if fixed else ({}, *others, {}) if known is None else ({},)


def _both(img_size: Any) -> tuple[int, int]:
    """Return bands and frames of timm's ``img_size``, which may be one number for both."""
    bands, frames = (img_size, img_size) if isinstance(img_size, int) else img_size
    return int(bands), int(frames)


def create_backbone(
    name: str,
    *,
    n_channels: int = 1,
    pretrained: bool = False,
    drop_path_rate: float | None = None,
    config: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a timm feature extractor for spectrograms that yields its last feature map.

    Parameters
    ----------
    name
        A name of timm, such as ``tf_efficientnetv2_s.in21k`` or its older form ``tf_efficientnetv2_s_in21k``.
    n_channels
        Channels of the spectrograms.
    pretrained
        Whether to fetch timm's published weights; colour stems are summed to one channel, or spread over
        several.
    drop_path_rate
        Stochastic depth while training, in [0, 1); ``None`` leaves timm's default.
    config
        More keywords for :func:`timm.create_model`.

    Returns
    -------
    nn.Module
        Maps (batch, n_channels, height, width) to a list of one feature map; convolutional networks to
        (batch, channels, height / 32, width / 32).

    Raises
    ------
    ModelError
        If timm does not know the name, or cannot build it with these keywords.
    WeightsError
        If ``pretrained`` weights cannot be had.

    Examples
    --------
    >>> import torch
    >>> backbone = create_backbone("test_resnet")
    >>> backbone(torch.zeros(1, 1, 64, 96))[0].shape
    torch.Size([1, 96, 2, 3])
    """
    _check_name(name)
    extra = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    _check_options(config or {})
    extra |= {**(config or {}), "in_chans": n_channels}
    try:
        backbone: Any = _create(name, **extra)
    except _BUILD_ERRORS as error:
        settings = "".join(f" and {key} {value}" for key, value in extra.items() if key != "in_chans")
        channels = "one input channel" if n_channels == 1 else f"{n_channels} input channels"
        raise ModelError(
            f"backbone {name!r} cannot be built with {channels} as a feature extractor{settings}: "
            f"{_first_line(error)}; backbones that can: {', '.join(WORKING)}"
        ) from error
    return _create_pretrained(name, backbone.pretrained_cfg, extra) if pretrained else backbone


def _create(name: str, **settings: Any) -> nn.Module:
    """Return timm's feature extractor by the new or an older name of a model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mapping deprecated model name", category=UserWarning)
        return timm.create_model(name, features_only=True, out_indices=(-1,), **settings)


def is_timm_name(name: str) -> bool:
    """Return whether timm has a network of a name, with or without the tag of its weights, without any hub.

    Examples
    --------
    >>> is_timm_name("test_resnet.r160_in1k"), is_timm_name("hf-hub:timm/test_resnet.r160_in1k")
    (True, False)
    """
    return not _is_source(name) and timm.is_model(name.partition(".")[0])


def _is_source(name: str) -> bool:
    """Return whether timm takes a name for a hub or a folder, whose config could then name anything."""
    return name.replace("_", "-").startswith(("hf-hub:", "local-dir:"))


def _check_options(config: Mapping[str, Any]) -> None:
    for key in config:
        if key in WEIGHT_OPTIONS or key in OWN_OPTIONS:
            instead = "nn_model_config.weights" if key in WEIGHT_OPTIONS else "the network's own keywords"
            raise ModelError(f"backbone_config.{key} cannot be given; that is what {instead} is for")


def _check_name(name: str) -> None:
    """Raise ModelError with the nearest legal names unless timm has the name and its tag."""
    if _is_source(name):
        raise ModelError(
            f"backbone is {name!r}; give a name of timm itself, and a local file in nn_model_config as "
            "weights: path"
        )
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(name, timm.list_models() + timm.list_models(pretrained=True), n=4)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists the legal names"
        raise ModelError(f"backbone {name!r} is not known; {hint}")
    if tag:
        legal = timm.list_models(f"{architecture}.*", pretrained=True)
        if name not in legal:
            raise ModelError(
                f"backbone {name!r} is not known: {architecture} has no weights {tag!r}; "
                f"legal: {', '.join([architecture, *legal])}"
            )


def _create_pretrained(name: str, source: dict[str, Any], settings: dict[str, Any]) -> nn.Module:
    """Return the feature extractor with timm's weights, or raise WeightsError within seconds."""
    repository = source.get("hf_hub_id")
    if not (repository or source.get("url")):
        raise _weights_error(name, "timm publishes none for it")
    if repository and not _is_cached(repository):
        cause = _why_unreachable(huggingface_hub.constants.ENDPOINT)
        if cause:
            raise _weights_error(name, cause)
    try:
        return _create(name, pretrained=True, **settings)
    except Exception as error:
        # The Hub's client changes its HTTP library, and so its exceptions, from release to release.
        raise _weights_error(name, _first_line(error)) from error


def _is_cached(repository: str) -> bool:
    """Return whether the Hub's cache on this machine holds weights of the repository."""
    names = ("model.safetensors", "pytorch_model.bin")
    found = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return any(isinstance(path, str) for path in found)


def _why_unreachable(endpoint: str) -> str | None:
    """Return the reason why the Hub cannot be reached, in a few words, or None where it answers.

    The Hub's own client repeats each request for most of a minute before it gives up.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and they are not in the cache"
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return None  # any answer means that the network works
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return None  # the Hub's client has its own certificates
        return f"{endpoint} cannot be reached ({getattr(reason, 'strerror', None) or reason})"
    return None


def _weights_error(name: str, cause: str) -> WeightsError:
    return WeightsError(
        f"the published weights of backbone {name!r} are not available: {cause}; "
        "give a local file in nn_model_config as weights: path, or set pretrained: False"
    )


def _first_line(error: Exception) -> str:
    """Return the first line of another library's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
