"""timm backbones by name, new or old, and their published weights."""

from __future__ import annotations

import difflib
import ssl
import urllib.error
import urllib.request
import warnings
from typing import Any

import huggingface_hub
import timm
from torch import nn

from dawnchorus.errors import ModelError, WeightsError

PROBE_TIMEOUT_S = 5.0


def create_backbone(name: str, *, pretrained: bool = False, drop_path_rate: float | None = None) -> nn.Module:
    """Return a timm feature extractor for one-channel pictures that yields its last feature map.

    Parameters
    ----------
    name
        A name of timm, such as ``tf_efficientnetv2_s.in21k`` or its older form ``tf_efficientnetv2_s_in21k``.
    pretrained
        Whether to fetch timm's published weights; colour stems are summed to one channel.
    drop_path_rate
        Stochastic depth while training, in [0, 1); ``None`` leaves timm's default.

    Returns
    -------
    nn.Module
        Maps (batch, 1, height, width) to a list of one (batch, channels, height / 32, width / 32).

    Raises
    ------
    ModelError
        If timm does not know the name, or cannot build it so.
    WeightsError
        If ``pretrained`` weights cannot be had.
    """
    _check_name(name)
    extra = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    try:
        backbone: Any = _create(name, **extra)
    except (AttributeError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        settings = "".join(f" and {key} {value}" for key, value in extra.items())
        raise ModelError(
            f"backbone {name!r} cannot be built with one input channel as a feature extractor{settings}: "
            f"{_first_line(error)}"
        ) from error
    return _create_pretrained(name, backbone.pretrained_cfg, extra) if pretrained else backbone


def _create(name: str, **settings: Any) -> nn.Module:
    """Return timm's feature extractor; an older name of a model is as good as the new one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mapping deprecated model name", category=UserWarning)
        return timm.create_model(name, features_only=True, in_chans=1, out_indices=(-1,), **settings)


def _check_name(name: str) -> None:
    """Raise ModelError with the nearest legal names unless timm knows the name and its tag."""
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
    """Return in a few words why the Hub cannot be reached, or None where it answers.

    The Hub's own client repeats each request for most of a minute before it gives up.
    """
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and they are not in the cache"
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=PROBE_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return None  # any answer at all means that the network works
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return None  # the Hub's client brings its own certificates
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
