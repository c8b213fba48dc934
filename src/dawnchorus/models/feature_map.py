"""Feature maps of spectrograms from any backbone: one trial when it is made, then padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dawnchorus.errors import ModelError
from dawnchorus.features.logmel import FrontendSettings

WORKING = (
    "tf_efficientnetv2_s.in21k",
    "convnextv2_nano",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "maxvit_rmlp_pico_rw_256",
)
"""Backbones of timm that give a feature map, named in messages. ``tests/models`` tries their kinds."""

SIZE_ERRORS = (
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that networks raise for an input of a wrong size."""

MULTIPLES = ((1, 1), (32, 32), (64, 64))
"""Bands and frames that are tried in turn: any number, then the strides of most networks."""

_TRIAL_S = 5.0


class FeatureMaps(NamedTuple):
    """The layout of a backbone's input and feature map.

    Attributes
    ----------
    n_features
        Channels of the feature map.
    multiple
        A spectrogram must have multiples of these bands and frames; (1, 1) takes any.
    channels_last
        Whether the backbone gives (batch, frequency, time, channels).
    shape
        Of the feature map of the spectrogram that was tried, with a batch of 1.

    Examples
    --------
    >>> import torch
    >>> maps = FeatureMaps(n_features=8, multiple=(32, 32), channels_last=False, shape=(1, 8, 4, 10))
    >>> maps.of(torch.nn.Conv2d(1, 8, 32, stride=32), torch.zeros(2, 1, 128, 313)).shape
    torch.Size([2, 8, 4, 10])
    """

    n_features: int
    multiple: tuple[int, int]
    channels_last: bool
    shape: tuple[int, ...]

    def of(self, backbone: nn.Module, logmel: Tensor) -> Tensor:
        """Return the feature map, shape (batch, n_features, frequency, time).

        Spectrograms, shape (batch, n_channels, n_mels, n_frames), are padded above the highest band and
        behind the last frame with 0, the quietest level of a clip.
        """
        return _last_map(backbone(_padded(logmel, self.multiple)), channels_last=self.channels_last)


def trial_size(settings: FrontendSettings) -> tuple[int, int]:
    """Return bands and frames of the spectrogram that a backbone is tried with: 5 s, and an odd number.

    The length of the clips is not known when a network is made; one that takes an odd number of frames takes
    others too.

    Examples
    --------
    >>> from dawnchorus.features.logmel import FrontendSettings
    >>> trial_size(FrontendSettings())
    (128, 313)
    """
    n_frames = settings.n_frames(round(_TRIAL_S * settings.sample_rate))
    return settings.n_mels, n_frames | 1


def try_backbone(
    backbone: nn.Module,
    size: tuple[int, int],
    *,
    name: str,
    n_channels: int = 1,
    multiples: Sequence[tuple[int, int]] = MULTIPLES,
) -> FeatureMaps:
    """Return how a backbone takes spectrograms, by a forward pass with each multiple until one works.

    Weights, statistics and random numbers stay as they are.

    Parameters
    ----------
    backbone
        Maps (1, n_channels, n_mels, n_frames) to a feature map, or to a list whose last is that. One of timm
        that has ``output_fmt`` may give channels last.
    size
        Bands and frames of the spectrogram.
    name
        Its name in messages.
    n_channels
        Channels of the spectrogram.
    multiples
        Multiples that bands and frames are padded to, the least first.

    Raises
    ------
    ModelError
        It gives no feature map.

    Examples
    --------
    >>> import torch
    >>> try_backbone(torch.nn.Conv2d(1, 8, 32, stride=32), (128, 313), name="a convolution").shape
    (1, 8, 4, 9)
    """
    output_format = getattr(backbone, "output_fmt", None)
    channels_last = str(getattr(output_format, "value", output_format)) == "NHWC"
    reason = ""
    for multiple in multiples:
        try:
            with evaluating(backbone):
                logmel = _padded(torch.zeros(1, n_channels, *size, device=device_of(backbone)), multiple)
                found = _last_map(backbone(logmel), channels_last=channels_last)
        except SIZE_ERRORS as error:
            reason = reason or (str(error).strip() or type(error).__name__).splitlines()[0]
            continue
        return FeatureMaps(found.shape[1], multiple, channels_last, tuple(found.shape))
    raise ModelError(
        f"backbone {name} makes no feature map (batch, channels, frequency, time) of a spectrogram of "
        f"{size[0]} bands and {size[1]} frames: {reason}; backbones that do: {', '.join(WORKING)}"
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run a block in evaluation mode, without gradients, and leave modes and random numbers as they were.

    Examples
    --------
    >>> import torch
    >>> dropout = torch.nn.Dropout()
    >>> with evaluating(dropout):
    ...     dropout.training
    False
    >>> dropout.training
    True
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's weights; the CPU where it has none.

    Examples
    --------
    >>> import torch
    >>> device_of(torch.nn.Linear(2, 1))
    device(type='cpu')
    """
    found = next(module.parameters(), None)
    return torch.device("cpu") if found is None else found.device


def _padded(logmel: Tensor, multiple: tuple[int, int]) -> Tensor:
    above, behind = (-length % step for length, step in zip(logmel.shape[-2:], multiple, strict=True))
    return functional.pad(logmel, (0, behind, 0, above)) if above or behind else logmel


def _last_map(output: Any, *, channels_last: bool) -> Tensor:
    found = output[-1] if isinstance(output, list | tuple) and len(output) else output
    if not isinstance(found, Tensor):
        raise TypeError(f"it gives {type(found).__name__}, and no tensor or list of tensors")
    if found.ndim != 4:
        raise TypeError(
            f"it gives the shape {tuple(found.shape)}, and not (batch, channels, frequency, time)"
        )
    return found.permute(0, 3, 1, 2) if channels_last else found
